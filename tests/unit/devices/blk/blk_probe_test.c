/* SPDX-License-Identifier: ISC */
#include "devices/blk/blk_probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint8_t head[BLK_PROBE_HEAD], tail[BLK_PROBE_TAIL];

static int clear(void **state)
{
	(void)state;
	memset(head, 0, sizeof(head));
	memset(tail, 0, sizeof(tail));
	return 0;
}

static void put_footer(uint8_t type)
{
	memcpy(tail, "conectix", 8);
	tail[63] = type;
}

static enum image_type probe(void)
{
	return blk_probe(head, sizeof(head), tail);
}

/* In a block of exactly its size. */
static enum image_type probe_text(const char *text)
{
	size_t n = strlen(text);
	uint8_t *p = malloc(n > 0 ? n : 1);

	assert_non_null(p);
	memcpy(p, text, n);
	enum image_type type = blk_probe(p, n, NULL);
	free(p);
	return type;
}

static void qcow2_is_found_by_its_magic(void **state)
{
	(void)state;
	memcpy(head, "QFI\xfb", 4);
	assert_int_equal(probe(), IMAGE_TYPE_QCOW2);
	head[3] = 0xfa;
	assert_int_equal(probe(), IMAGE_TYPE_RAW);
}

static void fixed_vhd_is_found_by_its_footer(void **state)
{
	(void)state;
	put_footer(2);
	assert_int_equal(probe(), IMAGE_TYPE_FIXED_VHD);
	assert_int_equal(blk_probe(head, sizeof(head), NULL), IMAGE_TYPE_RAW);
}

static void other_vhds_are_not_fixed(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		put_footer((uint8_t)type);
		assert_int_equal(probe(), type == 2 ? IMAGE_TYPE_FIXED_VHD : IMAGE_TYPE_RAW);
	}
	put_footer(2);
	tail[60] = 1;
	assert_int_equal(probe(), IMAGE_TYPE_RAW);
}

static void vhdx_is_found_by_its_signature(void **state)
{
	(void)state;
	memcpy(head, "vhdxfile", 8);
	assert_int_equal(probe(), IMAGE_TYPE_VHDX);
	head[7] = 'E';
	assert_int_equal(probe(), IMAGE_TYPE_RAW);
}

static void flat_vmdk_is_found_by_its_text(void **state)
{
	(void)state;
	assert_int_equal(probe_text("# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\n"), IMAGE_TYPE_FLAT_VMDK);
	assert_int_equal(probe_text("# Disk DescriptorFile\r\nCID=1\r\n createtype = \"twoGbMaxExtentFlat\" \r\n"),
			 IMAGE_TYPE_FLAT_VMDK);
	assert_int_equal(probe_text("# disk descriptorfile\ncreateType=\"monolithicFlat\""), IMAGE_TYPE_FLAT_VMDK);
}

static void other_vmdks_are_not_flat(void **state)
{
	(void)state;
	assert_int_equal(probe_text("# Disk DescriptorFile\ncreateType=\"monolithicSparse\"\n"), IMAGE_TYPE_RAW);
	assert_int_equal(probe_text("# Disk DescriptorFile\nversion=1\n"), IMAGE_TYPE_RAW);
	assert_int_equal(probe_text("# Disk DescriptorFile\nxcreateType=\"monolithicFlat\"\n"), IMAGE_TYPE_RAW);
	assert_int_equal(probe_text("# Disk DescriptorFile\ncreateType=\"monolithicFlat"), IMAGE_TYPE_RAW);
	assert_int_equal(probe_text("\n# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\n"), IMAGE_TYPE_RAW);
	assert_int_equal(probe_text("createType=\"monolithicFlat\"\n"), IMAGE_TYPE_RAW);
	memcpy(head, "KDMV", 4);
	assert_int_equal(probe(), IMAGE_TYPE_RAW);
}

static void short_images_are_raw(void **state)
{
	static const char *const texts[] = { "", "Q", "QFI", "vhdxfil", "#", "# Disk DescriptorFil", "# Disk DescriptorFile", "\n=" };

	(void)state;
	for (size_t i = 0; i < nitems(texts); i++)
		assert_int_equal(probe_text(texts[i]), IMAGE_TYPE_RAW);
}

static void the_order_decides_between_two(void **state)
{
	(void)state;
	put_footer(2);
	memcpy(head, "vhdxfile", 8);
	assert_int_equal(probe(), IMAGE_TYPE_FIXED_VHD);
	memcpy(head, "QFI\xfb", 4);
	assert_int_equal(probe(), IMAGE_TYPE_QCOW2);
}

static void raw_is_served_whether_configured_or_found(void **state)
{
	struct err e = { 0 };

	(void)state;
	assert_int_equal(blk_probe_check(IMAGE_TYPE_UNKNOWN, IMAGE_TYPE_RAW, &e), 0);
	assert_int_equal(blk_probe_check(IMAGE_TYPE_RAW, IMAGE_TYPE_RAW, &e), 0);
	assert_int_equal(err_count(&e), 0);
}

static void other_formats_are_refused_by_name(void **state)
{
	static const struct {
		enum image_type type;
		const char *text;
	} cases[] = {
		{ IMAGE_TYPE_QCOW2, "image type Qcow2 is not supported by this build" },
		{ IMAGE_TYPE_FIXED_VHD, "image type FixedVhd is not supported by this build" },
		{ IMAGE_TYPE_VHDX, "image type Vhdx is not supported by this build" },
		{ IMAGE_TYPE_FLAT_VMDK, "image type FlatVmdk is not supported by this build" },
	};

	(void)state;
	for (size_t i = 0; i < nitems(cases); i++) {
		struct err e = { 0 };

		assert_int_equal(blk_probe_check(IMAGE_TYPE_UNKNOWN, cases[i].type, &e), -ENOTSUP);
		assert_string_equal(err_text(&e, 0), cases[i].text);
		assert_int_equal(blk_probe_check(cases[i].type, cases[i].type, &e), -ENOTSUP);
	}
}

static void another_format_than_configured_is_refused(void **state)
{
	struct err e = { 0 };

	(void)state;
	assert_int_equal(blk_probe_check(IMAGE_TYPE_RAW, IMAGE_TYPE_QCOW2, &e), -EINVAL);
	assert_string_equal(err_text(&e, 0), "image type is configured as Raw, but the image is Qcow2");
	assert_int_equal(blk_probe_check(IMAGE_TYPE_QCOW2, IMAGE_TYPE_RAW, &e), -EINVAL);
	assert_string_equal(err_text(&e, 0), "image type is configured as Qcow2, but the image is Raw");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(qcow2_is_found_by_its_magic, clear),
		cmocka_unit_test_setup(fixed_vhd_is_found_by_its_footer, clear),
		cmocka_unit_test_setup(other_vhds_are_not_fixed, clear),
		cmocka_unit_test_setup(vhdx_is_found_by_its_signature, clear),
		cmocka_unit_test(flat_vmdk_is_found_by_its_text),
		cmocka_unit_test_setup(other_vmdks_are_not_flat, clear),
		cmocka_unit_test(short_images_are_raw),
		cmocka_unit_test_setup(the_order_decides_between_two, clear),
		cmocka_unit_test(raw_is_served_whether_configured_or_found),
		cmocka_unit_test(other_formats_are_refused_by_name),
		cmocka_unit_test(another_format_than_configured_is_refused),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("blk_probe", tests, NULL, NULL);
}
