/* SPDX-License-Identifier: ISC */
#include "common/buf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void writer_is_little_endian(void **state)
{
	static const uint8_t want[] = { 1, 3, 2, 7, 6, 5, 4, 15, 14, 13, 12, 11, 10, 9, 8, 0, 0, 'h', 'i' };
	struct wbuf b;

	(void)state;
	wbuf_init(&b, 1024);
	wbuf_u8(&b, 1);
	wbuf_le16(&b, 0x0203);
	wbuf_le32(&b, 0x04050607);
	wbuf_le64(&b, UINT64_C(0x08090a0b0c0d0e0f));
	wbuf_zero(&b, 2);
	assert_int_equal(wbuf_str(&b, "hi"), 0);
	assert_int_equal(b.len, sizeof(want));
	assert_memory_equal(b.p, want, sizeof(want));
	wbuf_fini(&b);
}

static void writer_takes_exactly_max(void **state)
{
	struct wbuf b;

	(void)state;
	wbuf_init(&b, 4);
	assert_int_equal(wbuf_put(&b, "abcd", 4), 0);
	assert_int_equal(wbuf_put(&b, NULL, 0), 0);
	assert_int_equal(wbuf_u8(&b, 0), -EMSGSIZE);
	assert_int_equal(b.len, 4);
	wbuf_fini(&b);
}

static void writer_stays_failed_until_reset(void **state)
{
	struct wbuf b;

	(void)state;
	wbuf_init(&b, 4);
	assert_int_equal(wbuf_put(&b, "abcde", 5), -EMSGSIZE);
	assert_int_equal(wbuf_u8(&b, 1), -EMSGSIZE);
	assert_int_equal(wbuf_printf(&b, "x"), -EMSGSIZE);
	assert_int_equal(wbuf_patch_le32(&b, 0, 1), -EMSGSIZE);
	assert_int_equal(b.len, 0);
	wbuf_reset(&b);
	assert_int_equal(wbuf_u8(&b, 1), 0);
	assert_int_equal(b.len, 1);
	wbuf_fini(&b);
}

static void writer_refuses_lengths_that_wrap(void **state)
{
	struct wbuf b;

	(void)state;
	wbuf_init(&b, SIZE_MAX);
	assert_int_equal(wbuf_u8(&b, 1), 0);
	assert_int_equal(wbuf_zero(&b, SIZE_MAX), -EMSGSIZE);
	wbuf_fini(&b);
}

static void writer_reports_failed_memory(void **state)
{
	struct wbuf b;

	(void)state;
	wbuf_init(&b, SIZE_MAX);
	assert_int_equal(wbuf_zero(&b, SIZE_MAX / 2), -ENOMEM);
	assert_int_equal(wbuf_u8(&b, 1), -ENOMEM);
	wbuf_fini(&b);
}

static void writer_grows_over_many_puts(void **state)
{
	struct wbuf b;

	(void)state;
	wbuf_init(&b, 100000);
	for (uint32_t i = 0; i < 25000; i++)
		assert_int_equal(wbuf_le32(&b, i), 0);
	assert_int_equal(wbuf_u8(&b, 0), -EMSGSIZE);
	assert_int_equal(b.p[4 * 258], 2);
	assert_int_equal(b.p[4 * 258 + 1], 1);
	wbuf_fini(&b);
}

static void printf_fits_to_the_last_byte(void **state)
{
	struct wbuf b;

	(void)state;
	wbuf_init(&b, 6);
	assert_int_equal(wbuf_printf(&b, "%s-%d", "abc", 12), 0);
	assert_int_equal(b.len, 6);
	assert_memory_equal(b.p, "abc-12", 6);
	assert_int_equal(wbuf_printf(&b, "%s", ""), 0);
	assert_int_equal(wbuf_printf(&b, "x"), -EMSGSIZE);
	wbuf_fini(&b);
}

static void patch_stays_inside_what_was_written(void **state)
{
	struct wbuf b;

	(void)state;
	wbuf_init(&b, 64);
	assert_int_equal(wbuf_patch_le32(&b, 0, 1), -ERANGE);
	wbuf_zero(&b, 6);
	assert_int_equal(wbuf_patch_le32(&b, 2, 0x01020304), 0);
	assert_memory_equal(b.p, "\0\0\4\3\2\1", 6);
	assert_int_equal(wbuf_patch_le32(&b, 3, 1), -ERANGE);
	assert_int_equal(wbuf_patch_le32(&b, SIZE_MAX, 1), -ERANGE);
	assert_int_equal(b.error, 0);
	wbuf_fini(&b);
	wbuf_fini(&b); /* a finished one may be finished again */
}

static void reader_reads_what_the_writer_wrote(void **state)
{
	struct wbuf b;
	struct rbuf r;
	char text[3] = "";

	(void)state;
	wbuf_init(&b, 64);
	wbuf_u8(&b, 0xfe);
	wbuf_le16(&b, 0xfedc);
	wbuf_le32(&b, 0xfedcba98);
	wbuf_le64(&b, UINT64_C(0xfedcba9876543210));
	wbuf_str(&b, "ok");
	rbuf_init(&r, b.p, b.len);
	assert_int_equal(rbuf_u8(&r), 0xfe);
	assert_int_equal(rbuf_le16(&r), 0xfedc);
	assert_int_equal(rbuf_le32(&r), 0xfedcba98);
	assert_true(rbuf_le64(&r) == UINT64_C(0xfedcba9876543210));
	assert_int_equal(rbuf_left(&r), 2);
	assert_int_equal(rbuf_get(&r, text, 2), 0);
	assert_string_equal(text, "ok");
	assert_int_equal(rbuf_left(&r), 0);
	wbuf_fini(&b);
}

static void reader_fails_for_good_at_the_first_short_read(void **state)
{
	static const uint8_t three[] = { 1, 2, 3 };
	struct rbuf r;
	uint8_t byte;

	(void)state;
	rbuf_init(&r, three, sizeof(three));
	assert_int_equal(rbuf_le32(&r), 0);
	assert_int_equal(r.error, -EBADMSG);
	assert_int_equal(rbuf_u8(&r), 0); /* although a byte is there */
	assert_int_equal(rbuf_get(&r, &byte, 1), -EBADMSG);
	assert_null(rbuf_take(&r, 0));
	assert_int_equal(rbuf_left(&r), 0);
}

static void reader_refuses_lengths_that_wrap(void **state)
{
	static const uint8_t three[] = { 1, 2, 3 };
	struct rbuf r;

	(void)state;
	rbuf_init(&r, three, sizeof(three));
	assert_int_equal(rbuf_u8(&r), 1);
	assert_null(rbuf_take(&r, SIZE_MAX));
	assert_int_equal(r.error, -EBADMSG);
}

static void reader_of_nothing_gives_empty_takes(void **state)
{
	struct rbuf r;

	(void)state;
	rbuf_init(&r, NULL, 0);
	assert_non_null(rbuf_take(&r, 0));
	assert_int_equal(rbuf_get(&r, NULL, 0), 0);
	assert_null(rbuf_take(&r, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writer_is_little_endian),
		cmocka_unit_test(writer_takes_exactly_max),
		cmocka_unit_test(writer_stays_failed_until_reset),
		cmocka_unit_test(writer_refuses_lengths_that_wrap),
		cmocka_unit_test(writer_reports_failed_memory),
		cmocka_unit_test(writer_grows_over_many_puts),
		cmocka_unit_test(printf_fits_to_the_last_byte),
		cmocka_unit_test(patch_stays_inside_what_was_written),
		cmocka_unit_test(reader_reads_what_the_writer_wrote),
		cmocka_unit_test(reader_fails_for_good_at_the_first_short_read),
		cmocka_unit_test(reader_refuses_lengths_that_wrap),
		cmocka_unit_test(reader_of_nothing_gives_empty_takes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
