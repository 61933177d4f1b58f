/* SPDX-License-Identifier: ISC */
#include "vmmd/acpi/aml.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
	struct wbuf b;
	struct aml a;
};

static struct fixture f;

static int setup(void **state)
{
	(void)state;
	wbuf_init(&f.b, 8 << 20);
	aml_init(&f.a, &f.b);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	wbuf_fini(&f.b);
	return 0;
}

#define EXPECT(...) \
	do { \
		const uint8_t want_[] = { __VA_ARGS__ }; \
		assert_int_equal(aml_finish(&f.a), 0); \
		assert_int_equal(f.b.len, sizeof(want_)); \
		assert_memory_equal(f.b.p, want_, sizeof(want_)); \
		wbuf_reset(&f.b); \
	} while (0)

static void integers_take_the_shortest_form(void **state)
{
	(void)state;
	aml_int(&f.a, 0);
	EXPECT(0x00);
	aml_int(&f.a, 1);
	EXPECT(0x01);
	aml_int(&f.a, 2);
	EXPECT(0x0A, 2);
	aml_int(&f.a, 0xFF);
	EXPECT(0x0A, 0xFF);
	aml_int(&f.a, 0x100);
	EXPECT(0x0B, 0x00, 0x01);
	aml_int(&f.a, 0x10000);
	EXPECT(0x0C, 0, 0, 1, 0);
	aml_int(&f.a, UINT64_C(0x100000000));
	EXPECT(0x0E, 0, 0, 0, 0, 1, 0, 0, 0);
}

static void names_get_their_prefixes(void **state)
{
	(void)state;
	aml_path(&f.a, "ABCD");
	EXPECT('A', 'B', 'C', 'D');
	aml_path(&f.a, "_SB_.PC00");
	EXPECT(0x2E, '_', 'S', 'B', '_', 'P', 'C', '0', '0');
	aml_path(&f.a, "\\_SB_.CPUS.C000");
	EXPECT('\\', 0x2F, 3, '_', 'S', 'B', '_', 'C', 'P', 'U', 'S', 'C', '0', '0', '0');
}

static void eisa_ids_are_packed(void **state)
{
	(void)state;
	aml_eisa_id(&f.a, "PNP0A03");
	EXPECT(0x0C, 0x41, 0xD0, 0x0A, 0x03);
	aml_eisa_id(&f.a, "PNP0501");
	EXPECT(0x0C, 0x41, 0xD0, 0x05, 0x01);
}

static void uuids_are_in_mixed_order(void **state)
{
	static const uint8_t uuid[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };

	(void)state;
	aml_uuid(&f.a, uuid);
	EXPECT(0x11, 0x13, 0x0A, 16, 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15);
}

static void containers_count_themselves(void **state)
{
	(void)state;
	aml_name(&f.a, "_S5_");
	aml_package(&f.a, 2);
	aml_int(&f.a, 5);
	aml_int(&f.a, 0);
	aml_end(&f.a);
	EXPECT(0x08, '_', 'S', '5', '_', 0x12, 5, 2, 0x0A, 5, 0x00);
	aml_method(&f.a, "ABCD", 2, true);
	aml_return(&f.a);
	aml_arg(&f.a, 1);
	aml_end(&f.a);
	EXPECT(0x14, 8, 'A', 'B', 'C', 'D', 0x0A, 0xA4, 0x69);
}

static void fields_carry_access_and_width(void **state)
{
	(void)state;
	aml_region_memory(&f.a, "GDST", 0x1000, 1);
	aml_field(&f.a, "GDST", AML_ACCESS_BYTE, AML_WRITE_AS_ZEROS);
	aml_field_unit(&f.a, "GDAT", 8);
	aml_end(&f.a);
	EXPECT(0x5B, 0x80, 'G', 'D', 'S', 'T', 0, 0x0B, 0x00, 0x10, 0x01, 0x5B, 0x81, 11, 'G', 'D',
	       'S', 'T', 0x41, 'G', 'D', 'A', 'T', 8);
}

/* The length of a package of @content bytes, decoded from its bytes. */
static size_t decoded_length(unsigned *bytes)
{
	const uint8_t *p = f.b.p + 1;
	size_t len = p[0] & 0x0F;

	*bytes = 1 + (p[0] >> 6);
	if (*bytes == 1)
		return p[0] & 0x3F;
	for (unsigned i = 1; i < *bytes; i++)
		len |= (size_t)p[i] << (4 + 8 * (i - 1));
	return len;
}

static void package_lengths_grow_at_the_right_sizes(void **state)
{
	static const struct {
		size_t content;
		unsigned bytes;
	} cases[] = {
		{ 62, 1 },      { 63, 2 },      { 4093, 2 },    { 4094, 3 },
		{ 0xFFFFC, 3 }, { 0xFFFFD, 4 }, { 3 << 20, 4 },
	};

	(void)state;
	for (unsigned i = 0; i < nitems(cases); i++) {
		unsigned bytes;

		wbuf_reset(&f.b);
		aml_if(&f.a);
		wbuf_zero(&f.b, cases[i].content);
		aml_end(&f.a);
		assert_int_equal(aml_finish(&f.a), 0);
		assert_int_equal(decoded_length(&bytes), cases[i].content + cases[i].bytes);
		assert_int_equal(bytes, cases[i].bytes);
		assert_int_equal(f.b.len, 1 + cases[i].bytes + cases[i].content);
	}
}

static void resources_patch_their_size(void **state)
{
	(void)state;
	aml_resources(&f.a, "_CRS");
	aml_res_irq(&f.a, 4);
	aml_res_io(&f.a, 0x3F8, 0, 8);
	aml_resources_end(&f.a);
	EXPECT(0x08, '_', 'C', 'R', 'S', 0x11, 23, 0x0B, 19, 0, 0x89, 6, 0, 0x03, 1, 4, 0, 0, 0,
	       0x47, 1, 0xF8, 0x03, 0xF8, 0x03, 0, 8, 0x79, 0);
}

static void address_spaces_are_as_documented(void **state)
{
	(void)state;
	aml_res_memory64(&f.a, 0x100000000, 0x1000);
	EXPECT(0x8A, 43, 0, 0, 0x0C, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0xFF, 0x0F,
	       0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x10, 0, 0, 0, 0, 0, 0);
	aml_res_bus(&f.a, 0, 0);
	EXPECT(0x88, 13, 0, 2, 0x0C, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0);
	aml_res_io_range(&f.a, 0xD00, 0xFFFF);
	EXPECT(0x88, 13, 0, 1, 0x0C, 3, 0, 0, 0x00, 0x0D, 0xFF, 0xFF, 0, 0, 0x00, 0xF3);
	aml_res_memory32(&f.a, 0xE8000000, 0x100000);
	EXPECT(0x86, 9, 0, 1, 0, 0, 0, 0xE8, 0, 0, 0x10, 0);
}

/* Whatever the moment at which memory ends, the error stays and nothing is written behind the
 * end. */
static void a_full_buffer_is_an_error_at_every_size(void **state)
{
	(void)state;
	for (size_t max = 0; max < 40; max++) {
		struct wbuf b;
		struct aml a;

		wbuf_init(&b, max);
		aml_init(&a, &b);
		aml_device(&a, "_SB_.COM1");
		aml_name_string(&a, "_HID", "ACPI0013");
		aml_resources(&a, "_CRS");
		aml_res_irq(&a, 4);
		aml_resources_end(&a);
		aml_end(&a);
		assert_int_equal(aml_finish(&a), -EMSGSIZE);
		assert_true(b.len <= max);
		wbuf_fini(&b);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(integers_take_the_shortest_form),
		T(names_get_their_prefixes),
		T(eisa_ids_are_packed),
		T(uuids_are_in_mixed_order),
		T(containers_count_themselves),
		T(fields_carry_access_and_width),
		T(package_lengths_grow_at_the_right_sizes),
		T(resources_patch_their_size),
		T(address_spaces_are_as_documented),
		T(a_full_buffer_is_an_error_at_every_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
