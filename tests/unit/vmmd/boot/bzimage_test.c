/* SPDX-License-Identifier: ISC */
#include "vmmd/boot/bzimage.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/units.h"
#include "tests/unit/vmmd/boot/image_mem.h"

enum { FILE_SIZE = 0x5000, SETUP_SECTS = 27, PAYLOAD = (SETUP_SECTS + 1) * 512 };

static struct memmap map;
static uint8_t file[FILE_SIZE];

static void put(unsigned at, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		file[at + i] = (uint8_t)(v >> (8 * i));
}

/* What a Debian kernel has there. */
static void make(void)
{
	memset(file, 0x90, sizeof(file));
	file[0x1F1] = SETUP_SECTS;
	put(0x1F4, (FILE_SIZE - PAYLOAD) / 16, 4);
	put(0x200, 0x6AEB, 2); /* jump over the header: it ends at 0x26C */
	memcpy(file + 0x202, "HdrS", 4);
	put(0x206, 0x020F, 2);
	file[0x210] = 0;
	file[0x211] = 1;
	put(0x214, 0x100000, 4);
	put(0x258, 0x1000000, 8);
	put(0x260, 0x2000000, 4);
}

static int setup(void **state)
{
	(void)state;
	return memmap_init(&map, 512 * MIB, 46, NULL);
}

static void refuse(uint64_t size, int code, const char *text)
{
	struct boot_kernel out;
	struct image_mem m;
	struct err e;

	err_clear(&e);
	image_mem_init(&m, &map, file, size);
	assert_int_equal(bzimage_load(&m.img, &map, &out, &e), code);
	if (strstr(err_text(&e, 0), text) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", err_text(&e, 0), text);
	assert_int_equal(m.n_loads, 0);
}

static void good_file_is_loaded_behind_its_setup(void **state)
{
	struct boot_kernel out;
	struct image_mem m;

	(void)state;
	make();
	image_mem_init(&m, &map, file, FILE_SIZE);
	assert_int_equal(bzimage_load(&m.img, &map, &out, NULL), 0);
	assert_int_equal(out.proto, BOOT_BZIMAGE);
	assert_true(out.entry == 0x100000 && out.start == 0x100000);
	assert_true(out.end == 0x3000000); /* what it unpacks into */
	assert_int_equal(out.header_len, 0x26C - 0x1F1);
	assert_memory_equal(out.header, file + 0x1F1, out.header_len);
	assert_int_equal(out.header[out.header_len], 0); /* code behind the header isn't copied */
	assert_int_equal(m.n_loads, 1);
	assert_true(m.load[0].off == PAYLOAD && m.load[0].gpa == 0x100000 &&
		    m.load[0].len == FILE_SIZE - PAYLOAD);
}

static void no_setup_sectors_means_four(void **state)
{
	struct boot_kernel out;
	struct image_mem m;

	(void)state;
	make();
	file[0x1F1] = 0;
	image_mem_init(&m, &map, file, FILE_SIZE);
	assert_int_equal(bzimage_load(&m.img, &map, &out, NULL), 0);
	assert_true(m.load[0].off == 5 * 512);
}

static void old_protocols_have_no_run_time_size(void **state)
{
	struct boot_kernel out;
	struct image_mem m;

	(void)state;
	make();
	put(0x206, 0x0209, 2);
	image_mem_init(&m, &map, file, FILE_SIZE);
	assert_int_equal(bzimage_load(&m.img, &map, &out, NULL), 0);
	assert_true(out.end == 0x100000 + FILE_SIZE - PAYLOAD);
}

static void header_lies_are_named(void **state)
{
	(void)state;
	make();
	memcpy(file + 0x202, "HdrT", 4);
	refuse(FILE_SIZE, -ENOEXEC, "neither an ELF file nor a bzImage");
	make();
	put(0x206, 0x01FF, 2);
	refuse(FILE_SIZE, -ENOEXEC, "protocol 0x01ff");
	make();
	file[0x211] = 0xFE;
	refuse(FILE_SIZE, -ENOEXEC, "zImage");
	make();
	put(0x214, 0xFFFFF, 4);
	refuse(FILE_SIZE, -ENOEXEC, "below 1 MiB");
	make();
	put(0x214, 0, 4);
	refuse(FILE_SIZE, -ENOEXEC, "below 1 MiB");
	make();
	file[0x201] = 0;
	refuse(FILE_SIZE, -ENOEXEC, "setup header ends");
	make();
	file[0x201] = 0xFF;
	refuse(FILE_SIZE, -ENOEXEC, "setup header ends");
}

static void lying_setup_sectors_are_named(void **state)
{
	(void)state;
	make();
	file[0x1F1] = 255;
	refuse(FILE_SIZE, -ENOEXEC, "255 setup sectors");
	make();
	refuse(PAYLOAD, -ENOEXEC, "27 setup sectors");
	make();
	file[0x1F1] = 0;
	refuse(5 * 512, -ENOEXEC, "4 setup sectors");
}

static void places_that_are_no_ram_are_refused(void **state)
{
	(void)state;
	make();
	put(0x214, 0xFFFFFFF0, 4);
	refuse(FILE_SIZE, -ENOSPC, "does not fit into guest RAM");
	make();
	put(0x214, 512 * MIB - 0x1000, 4);
	refuse(FILE_SIZE, -ENOSPC, "does not fit into guest RAM");
	make();
	put(0x260, 0xFFFFFFFF, 4);
	refuse(FILE_SIZE, -ENOSPC, "to unpack");
	make();
	put(0x258, UINT64_MAX, 8);
	refuse(FILE_SIZE, -ENOSPC, "to unpack");
}

static void every_truncation_is_refused(void **state)
{
	struct boot_kernel out;
	struct image_mem m;
	struct err e;

	(void)state;
	make();
	for (uint64_t size = 0; size < FILE_SIZE; size++) {
		err_clear(&e);
		image_mem_init(&m, &map, file, size);
		assert_int_equal(bzimage_load(&m.img, &map, &out, &e), -ENOEXEC);
		assert_true(err_count(&e) > 0);
	}
}

static void every_header_byte_at_every_value_is_survived(void **state)
{
	struct boot_kernel out;
	struct image_mem m;
	struct err e;

	(void)state;
	for (unsigned at = 0x1F1; at < 0x290; at++) {
		for (unsigned v = 0; v < 256; v++) {
			make();
			file[at] = (uint8_t)v;
			err_clear(&e);
			image_mem_init(&m, &map, file, FILE_SIZE);
			assert_true(bzimage_load(&m.img, &map, &out, &e) == 0 || err_count(&e) > 0);
		}
	}
}

static void failing_callbacks_are_passed_on(void **state)
{
	struct boot_kernel out;
	struct image_mem m;
	struct err e;

	(void)state;
	make();
	err_clear(&e);
	image_mem_init(&m, &map, file, FILE_SIZE);
	m.fail_read = -EIO;
	assert_int_equal(bzimage_load(&m.img, &map, &out, &e), -EIO);
	err_clear(&e);
	image_mem_init(&m, &map, file, FILE_SIZE);
	m.fail_load = -EIO;
	assert_int_equal(bzimage_load(&m.img, &map, &out, &e), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_file_is_loaded_behind_its_setup),
		cmocka_unit_test(no_setup_sectors_means_four),
		cmocka_unit_test(old_protocols_have_no_run_time_size),
		cmocka_unit_test(header_lies_are_named),
		cmocka_unit_test(lying_setup_sectors_are_named),
		cmocka_unit_test(places_that_are_no_ram_are_refused),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(every_header_byte_at_every_value_is_survived),
		cmocka_unit_test(failing_callbacks_are_passed_on),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
