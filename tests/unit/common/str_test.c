/* SPDX-License-Identifier: ISC */
#include "common/str.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"

static void to_u64_reads_every_value_exactly(void **state)
{
	uint64_t v = 1;

	(void)state;
	assert_int_equal(str_to_u64("0", 0, UINT64_MAX, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(str_to_u64("18446744073709551615", 0, UINT64_MAX, &v), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(str_to_u64("007", 0, 10, &v), 0);
	assert_int_equal(v, 7);
}

static void to_u64_refuses_what_is_no_number(void **state)
{
	static const char *const bad[] = { "",    "+1", "-1", " 1",  "1 ",
					   "0x1", "1k", "1.", "one", "99999999999999999999999x" };
	uint64_t v = 77;

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++)
		assert_int_equal(str_to_u64(bad[i], 0, UINT64_MAX, &v), -EINVAL);
	assert_int_equal(v, 77);
}

static void to_u64_keeps_its_range(void **state)
{
	uint64_t v = 77;

	(void)state;
	assert_int_equal(str_to_u64("18446744073709551616", 0, UINT64_MAX, &v), -ERANGE);
	assert_int_equal(str_to_u64("99999999999999999999999", 0, UINT64_MAX, &v), -ERANGE);
	assert_int_equal(str_to_u64("4", 5, 9, &v), -ERANGE);
	assert_int_equal(str_to_u64("10", 5, 9, &v), -ERANGE);
	assert_int_equal(v, 77);
	assert_int_equal(str_to_u64("5", 5, 9, &v), 0);
	assert_int_equal(str_to_u64("9", 5, 9, &v), 0);
}

static void utf8_accepts_each_length(void **state)
{
	static const char *const good[] = { "",
					    "abc",
					    "\x7f",
					    "\xc2\x80",
					    "\xdf\xbf",
					    "\xe0\xa0\x80",
					    "\xed\x9f\xbf",
					    "\xee\x80\x80",
					    "\xef\xbf\xbf",
					    "\xf0\x90\x80\x80",
					    "\xf4\x8f\xbf\xbf" };

	(void)state;
	for (size_t i = 0; i < nitems(good); i++)
		assert_true(str_is_utf8(good[i], strlen(good[i])));
	assert_true(str_is_utf8("a\0b", 3));
}

static void utf8_refuses_overlong_surrogate_and_cut_forms(void **state)
{
	static const char *const bad[] = { "\x80",
					   "\xc0\x80",
					   "\xc1\xbf",
					   "\xc2",
					   "\xc2\x41",
					   "\xe0\x9f\xbf",
					   "\xe2\x82",
					   "\xed\xa0\x80",
					   "\xed\xbf\xbf",
					   "\xf0\x8f\xbf\xbf",
					   "\xf0\x90\x80",
					   "\xf4\x90\x80\x80",
					   "\xf5\x80\x80\x80",
					   "\xf8\x88\x80\x80\x80",
					   "\xfe",
					   "\xff",
					   "a\xff" };

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++)
		assert_false(str_is_utf8(bad[i], strlen(bad[i])));
}

static void utf8_cut_never_splits_a_sequence(void **state)
{
	static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"; /* 1, 2, 3, 4 and 1 bytes */

	(void)state;
	for (size_t len = 0; len < sizeof(text); len++) {
		size_t cut = str_utf8_cut(text, len);

		assert_true(cut <= len && len - cut < 4);
		assert_true(str_is_utf8(text, cut));
	}
	assert_int_equal(str_utf8_cut(text, 3), 3);
	assert_int_equal(str_utf8_cut(text, 5), 3);
	assert_int_equal(str_utf8_cut(text, 9), 6);
	assert_int_equal(str_utf8_cut(text, 10), 10);
}

static void utf8_cut_leaves_garbage_alone(void **state)
{
	(void)state;
	assert_int_equal(str_utf8_cut("\x80\x80\x80\x80\x80", 5), 5);
	assert_int_equal(str_utf8_cut("\x80", 1), 1);
	assert_int_equal(str_utf8_cut("", 0), 0);
}

static void fmt_tells_when_it_cut(void **state)
{
	char buf[4];

	(void)state;
	assert_true(str_fmt(buf, sizeof(buf), "%d", 123));
	assert_string_equal(buf, "123");
	assert_false(str_fmt(buf, sizeof(buf), "%d", 1234));
	assert_string_equal(buf, "123");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(to_u64_reads_every_value_exactly),
		cmocka_unit_test(to_u64_refuses_what_is_no_number),
		cmocka_unit_test(to_u64_keeps_its_range),
		cmocka_unit_test(utf8_accepts_each_length),
		cmocka_unit_test(utf8_refuses_overlong_surrogate_and_cut_forms),
		cmocka_unit_test(utf8_cut_never_splits_a_sequence),
		cmocka_unit_test(utf8_cut_leaves_garbage_alone),
		cmocka_unit_test(fmt_tells_when_it_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
