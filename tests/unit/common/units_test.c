/* SPDX-License-Identifier: ISC */
#include "common/units.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/cleanup.h"

static void size_parse_reads_what_people_write(void **state)
{
	static const struct {
		const char *text;
		uint64_t want;
	} cases[] = {
		{ "0", 0 },
		{ "1", 1 },
		{ "512M", 512 * MIB },
		{ "4K", 4 * KIB },
		{ "5G", 5 * GIB },
		{ " \t5G\n", 5 * GIB },
		{ "+7", 7 },
		{ "007K", 7 * KIB },
		{ "1KM", MIB }, /* the last letter decides */
		{ "1GK", KIB },
		{ "0G", 0 },
		{ "18446744073709551615", UINT64_MAX },
		{ "17179869183G", UINT64_C(17179869183) * GIB },
		{ "00000000000000000000000000000000000000000000001K", KIB },
	};

	(void)state;
	for (size_t i = 0; i < nitems(cases); i++) {
		uint64_t v = 99;

		assert_int_equal(size_parse(cases[i].text, &v), 0);
		assert_true(v == cases[i].want);
	}
}

static void size_parse_refuses_other_text(void **state)
{
	static const char *const bad[] = {
		"",    " ",    "K",    "M ",    "+",
		"+K",  "-1",   "1.5G", "1KiB",  "1k",
		"1g",  "0x10", "1 K",  "K1",    "1T",
		"++1", "+ 1",  "1,2",  "\"1\"", "1234567890123456789012345678901234567890x",
	};
	uint64_t v = 0;

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++)
		assert_int_equal(size_parse(bad[i], &v), -EINVAL);
}

static void size_parse_detects_overflow(void **state)
{
	static const char *const big[] = { "18446744073709551616", "17179869184G", "18446744073709551615K",
					   "99999999999999999999999999999999999999999999" };
	uint64_t v = 0;

	(void)state;
	for (size_t i = 0; i < nitems(big); i++)
		assert_int_equal(size_parse(big[i], &v), -ERANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(size_parse_reads_what_people_write),
		cmocka_unit_test(size_parse_refuses_other_text),
		cmocka_unit_test(size_parse_detects_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
