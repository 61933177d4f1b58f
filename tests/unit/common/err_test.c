/* SPDX-License-Identifier: ISC */
#include "common/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/str.h"

static void set_starts_a_chain(void **state)
{
	struct err e = { .n = 0 };

	(void)state;
	assert_int_equal(err_set(&e, -EINVAL, "queue %u: size %u is not a power of two", 3U, 5U), -EINVAL);
	assert_int_equal(err_count(&e), 1);
	assert_string_equal(err_text(&e, 0), "queue 3: size 5 is not a power of two");
	assert_int_equal(err_code(&e, 0), -EINVAL);
}

static void set_forgets_the_earlier_chain(void **state)
{
	struct err e = { .n = 0 };

	(void)state;
	err_set(&e, -EIO, "old");
	err_wrap(&e, -EIO, "old outer");
	err_set(&e, -EINVAL, "new");
	assert_int_equal(err_count(&e), 1);
	assert_string_equal(err_text(&e, 0), "new");
}

static void wrap_puts_the_outer_link_first(void **state)
{
	struct err e = { .n = 0 };
	char text[128];

	(void)state;
	err_set(&e, -ERR_INVALID, "root");
	assert_int_equal(err_wrap(&e, -EIO, "disk \"%s\"", "d0"), -EIO);
	err_wrap(&e, -ENOENT, "boot");
	assert_int_equal(err_count(&e), 3);
	assert_string_equal(err_text(&e, 0), "boot");
	assert_string_equal(err_text(&e, 1), "disk \"d0\"");
	assert_string_equal(err_text(&e, 2), "root");
	assert_int_equal(err_code(&e, 0), -ENOENT);
	assert_int_equal(err_code(&e, 2), -ERR_INVALID);
	assert_int_equal(err_join(&e, text, sizeof(text)), strlen("boot: disk \"d0\": root"));
	assert_string_equal(text, "boot: disk \"d0\": root");
}

static void wrap_without_inner_link_acts_as_set(void **state)
{
	struct err e = { .n = 0 };

	(void)state;
	err_wrap(&e, -EIO, "alone");
	assert_int_equal(err_count(&e), 1);
	assert_string_equal(err_text(&e, 0), "alone");
}

static void links_beyond_the_end_are_empty(void **state)
{
	struct err e = { .n = 0 };

	(void)state;
	err_set(&e, -EIO, "one");
	assert_string_equal(err_text(&e, 1), "");
	assert_int_equal(err_code(&e, 1), 0);
	assert_string_equal(err_text(NULL, 0), "");
	assert_int_equal(err_count(NULL), 0);
}

static void null_err_passes_the_code_on(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, -EBADF, "x"), -EBADF);
	assert_int_equal(err_wrap(NULL, -EBADF, "x"), -EBADF);
	assert_int_equal(err_sys(NULL, -EBADF, "x"), -EBADF);
	err_clear(NULL);
}

static void code_that_reads_as_success_becomes_eio(void **state)
{
	struct err e = { .n = 0 };

	(void)state;
	assert_int_equal(err_set(&e, 0, "x"), -EIO);
	assert_int_equal(err_wrap(&e, 22, "y"), -EIO);
	assert_int_equal(err_wrap(&e, -4096, "z"), -EIO);
	assert_int_equal(err_code(&e, 0), -EIO);
}

static void sys_appends_the_description(void **state)
{
	struct err e = { .n = 0 };

	(void)state;
	assert_int_equal(err_sys(&e, -ENOENT, "open %s", "/x"), -ENOENT);
	assert_string_equal(err_text(&e, 0), "open /x: No such file or directory");
	err_wrap(&e, -ENOENT, "outer");
	assert_string_equal(err_text(&e, 0), "outer");
	assert_string_equal(err_text(&e, 1), "open /x: No such file or directory");
	err_sys(&e, -4000, "odd");
	assert_string_equal(err_text(&e, 0), "odd: unknown error");
}

static void full_chain_replaces_the_outermost(void **state)
{
	struct err e = { .n = 0 };

	(void)state;
	for (int i = 0; i < ERR_LINKS_MAX; i++)
		err_wrap(&e, -EIO, "link %d", i);
	err_wrap(&e, -ENOENT, "last");
	assert_int_equal(err_count(&e), ERR_LINKS_MAX);
	assert_string_equal(err_text(&e, 0), "last");
	assert_int_equal(err_code(&e, 0), -ENOENT);
	assert_string_equal(err_text(&e, 1), "link 8");
	assert_string_equal(err_text(&e, ERR_LINKS_MAX - 1), "link 0");
}

static void full_chain_never_grows_the_text(void **state)
{
	struct err e = { .n = 0 };

	(void)state;
	for (int i = 0; i < 10000; i++)
		err_wrap(&e, -EIO, "a link of some length, number %d", i);
	assert_int_equal(err_count(&e), ERR_LINKS_MAX);
	assert_string_equal(err_text(&e, 0), "a link of some length, number 9999");
	assert_string_equal(err_text(&e, ERR_LINKS_MAX - 1), "a link of some length, number 0");
}

static void long_text_is_cut_and_outer_links_keep_room(void **state)
{
	static char big[2 * ERR_TEXT_MAX];
	struct err e = { .n = 0 };

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	err_set(&e, -EINVAL, "%s", big);
	assert_int_equal(strlen(err_text(&e, 0)), ERR_LINK_TEXT_MAX - 1);
	err_wrap(&e, -EINVAL, "outer");
	assert_string_equal(err_text(&e, 0), "outer");
}

static void cut_text_stays_utf8(void **state)
{
	static char big[3 * ERR_LINK_TEXT_MAX];
	struct err e = { .n = 0 };

	(void)state;
	for (size_t i = 0; i + 3 < sizeof(big); i += 3)
		memcpy(big + i, "\xe2\x82\xac", 3); /* U+20AC */
	for (int shift = 0; shift < 3; shift++) {
		err_set(&e, -EINVAL, "%.*s%s", shift, "ab", big);
		assert_true(str_is_utf8(err_text(&e, 0), strlen(err_text(&e, 0))));
		assert_true(strlen(err_text(&e, 0)) >= ERR_LINK_TEXT_MAX - 4);
	}
}

static void exhausted_text_leaves_empty_links_with_codes(void **state)
{
	static char big[ERR_TEXT_MAX];
	struct err e = { .n = 0 };

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	err_set(&e, -EINVAL, "%s", big);
	err_wrap(&e, -EINVAL, "%s", big);
	err_wrap(&e, -ENOENT, "no room");
	err_wrap(&e, -EPERM, "none either");
	assert_int_equal(err_count(&e), 4);
	assert_string_equal(err_text(&e, 0), "");
	assert_int_equal(err_code(&e, 0), -EPERM);
	assert_int_equal(err_code(&e, 1), -ENOENT);
	assert_int_equal(err_sys(&e, -EPERM, "fresh"), -EPERM);
	assert_string_equal(err_text(&e, 0), "fresh: Operation not permitted");
}

static void sys_with_long_text_stays_bounded(void **state)
{
	static char big[2 * ERR_TEXT_MAX];
	struct err e = { .n = 0 };

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	err_sys(&e, -ENOENT, "%s", big);
	const char *text = err_text(&e, 0);
	assert_true(strlen(text) < ERR_TEXT_MAX);
	assert_non_null(strstr(text, ": No such file or directory"));
}

static void copy_by_assignment_is_independent(void **state)
{
	struct err a = { .n = 0 }, b;

	(void)state;
	err_set(&a, -EIO, "kept");
	b = a;
	err_set(&a, -EIO, "other");
	assert_string_equal(err_text(&b, 0), "kept");
}

static void join_is_cut_and_terminated(void **state)
{
	struct err e = { .n = 0 };
	char text[8];

	(void)state;
	err_set(&e, -EIO, "root");
	err_wrap(&e, -EIO, "outer");
	assert_int_equal(err_join(&e, text, sizeof(text)), 7);
	assert_string_equal(text, "outer: ");
	assert_int_equal(err_join(&e, text, 1), 0);
	assert_string_equal(text, "");
	assert_int_equal(err_join(&e, text, 0), 0);
}

static void exit_block_of_one_link(void **state)
{
	struct err e = { .n = 0 };
	char text[256];

	(void)state;
	err_set(&e, -EIO, "it broke");
	size_t n = err_exit_block(&e, text, sizeof(text));
	assert_string_equal(text, "Error: Cloud Hypervisor exited with the following error:\n  it broke\n");
	assert_int_equal(n, strlen(text));
}

static void exit_block_of_a_chain(void **state)
{
	struct err e = { .n = 0 };
	char text[256];

	(void)state;
	err_set(&e, -EIO, "root");
	err_wrap(&e, -EIO, "top");
	err_exit_block(&e, text, sizeof(text));
	assert_string_equal(text, "Error: Cloud Hypervisor exited with the following chain of errors:\n"
				  "  0: top\n  1: root\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_starts_a_chain),
		cmocka_unit_test(set_forgets_the_earlier_chain),
		cmocka_unit_test(wrap_puts_the_outer_link_first),
		cmocka_unit_test(wrap_without_inner_link_acts_as_set),
		cmocka_unit_test(links_beyond_the_end_are_empty),
		cmocka_unit_test(null_err_passes_the_code_on),
		cmocka_unit_test(code_that_reads_as_success_becomes_eio),
		cmocka_unit_test(sys_appends_the_description),
		cmocka_unit_test(full_chain_replaces_the_outermost),
		cmocka_unit_test(full_chain_never_grows_the_text),
		cmocka_unit_test(long_text_is_cut_and_outer_links_keep_room),
		cmocka_unit_test(cut_text_stays_utf8),
		cmocka_unit_test(exhausted_text_leaves_empty_links_with_codes),
		cmocka_unit_test(sys_with_long_text_stays_bounded),
		cmocka_unit_test(copy_by_assignment_is_independent),
		cmocka_unit_test(join_is_cut_and_terminated),
		cmocka_unit_test(exit_block_of_one_link),
		cmocka_unit_test(exit_block_of_a_chain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
