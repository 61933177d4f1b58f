/* SPDX-License-Identifier: ISC */
#include "jail/verify.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* As the kernel writes it, one line each to be spoilt. */
static const char *const good[] = {
	"Name:\tcloister-consol", "State:\tS (sleeping)", "Uid:\t1900000002\t1900000002\t1900000002\t1900000002",
	"Gid:\t1900000002\t1900000002\t1900000002\t1900000002", "FDSize:\t64", "Groups:\t ", "NStgid:\t12\t1", "Threads:\t1",
	"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
	"CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "Seccomp_filters:\t2",
};

static const struct verify_want want = { .uid = 1900000002, .gid = 1900000002, .own_uid = true, .nofile = 10, .threads = 1 };

/* @line replaces the good line with the same key; NULL: nothing does. */
static int status_with(const char *line, const struct verify_want *w, struct err *e)
{
	char text[2048] = "";
	size_t key = line != NULL ? strcspn(line, ":") + 1 : 0;

	for (size_t i = 0; i < nitems(good); i++) {
		bool replaced = line != NULL && strncmp(good[i], line, key) == 0;

		(void)strcat(text, replaced ? line : good[i]);
		(void)strcat(text, "\n");
	}
	err_clear(e);
	return verify_status(text, w, e);
}

static void locked_process_passes(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(status_with(NULL, &want, &e), 0);
}

static void each_weakness_is_found_and_named(void **state)
{
	static const struct {
		const char *line, *named;
	} bad[] = {
		{ "Uid:\t0\t1900000002\t1900000002\t1900000002", "Uid" },
		{ "Uid:\t1900000002\t1900000002\t0\t1900000002", "Uid" },
		{ "Uid:\t1900000002\t1900000002\t1900000002", "Uid" },
		{ "Gid:\t1900000002\t1900000002\t1900000002\t0", "Gid" },
		{ "Groups:\t27", "Groups" },
		{ "CapInh:\t0000000000000001", "CapInh" },
		{ "CapPrm:\t0000000000200000", "CapPrm" },
		{ "CapEff:\t0000010000000000", "CapEff" },
		{ "CapBnd:\t0000000000000080", "CapBnd" },
		{ "CapAmb:\t0000000000000001", "CapAmb" },
		{ "NoNewPrivs:\t0", "NoNewPrivs" },
		{ "Seccomp:\t0", "Seccomp" },
		{ "Seccomp:\t1", "Seccomp" },
		{ "Threads:\t2", "Threads" },
	};
	struct err e;

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++) {
		if (status_with(bad[i].line, &want, &e) != -EPERM)
			fail_msg("%s passes", bad[i].line);
		if (strstr(err_text(&e, 0), bad[i].named) == NULL)
			fail_msg("%s: %s", bad[i].line, err_text(&e, 0));
	}
}

static void one_that_its_filter_is_ending_is_told_apart(void **state)
{
	struct verify_want w = want;
	struct err e;

	(void)state;
	assert_int_equal(status_with("Seccomp:\t3", &w, &e), -ESRCH);
	w.missing.old = UINT32_C(1) << JAIL_LAYER_SECCOMP;
	assert_int_equal(status_with("Seccomp:\t3", &w, &e), -ESRCH);
}

static void missing_layers_are_not_demanded(void **state)
{
	static const struct {
		const char *line;
		enum jail_layer layer;
	} off[] = {
		{ "CapBnd:\t000001ffffffffff", JAIL_LAYER_CAPS },
		{ "NoNewPrivs:\t0", JAIL_LAYER_NNP },
		{ "Seccomp:\t0", JAIL_LAYER_SECCOMP },
	};
	struct err e;

	(void)state;
	for (size_t i = 0; i < nitems(off); i++) {
		struct verify_want w = want;

		w.missing.old = UINT32_C(1) << off[i].layer;
		assert_int_equal(status_with(off[i].line, &w, &e), 0);
	}
}

static void truncated_text_does_not_pass(void **state)
{
	struct err e;

	(void)state;
	err_clear(&e);
	assert_int_equal(verify_status("", &want, &e), -EPERM);
	assert_int_equal(verify_status("Name:\tx\nUid:\t1900000002\t19", &want, &e), -EPERM);
	assert_int_equal(verify_limits("", &want, &e), -EPERM);
}

static int nofile(unsigned soft, unsigned hard)
{
	char text[256];
	struct err e;

	err_clear(&e);
	(void)snprintf(text, sizeof(text),
		       "Limit                     Soft Limit           Hard Limit           Units     \n"
		       "Max open files            %-20u %-20u files     \n", soft, hard);
	return verify_limits(text, &want, &e);
}

static void more_descriptors_than_planned_are_found(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(nofile(10, 10), 0);
	assert_int_equal(nofile(6, 6), 0);
	assert_int_equal(nofile(11, 11), -EPERM);
	assert_int_equal(nofile(10, 1024), -EPERM);
	assert_int_equal(verify_limits("Max open files            unlimited            unlimited            files\n",
				       &want, &e),
			 -EPERM);
}

static void threads_are_counted_up_to_what_is_planned(void **state)
{
	struct verify_want w = want;
	struct err e;

	(void)state;
	w.threads = 4;
	assert_int_equal(status_with("Threads:\t1", &w, &e), 0);
	assert_int_equal(status_with("Threads:\t4", &w, &e), 0);
	assert_int_equal(status_with("Threads:\t5", &w, &e), -EPERM);
}

static void every_number_below_a_bound_may_be_open_and_single_ones_above(void **state)
{
	const struct verify_want w = { .fds = UINT64_C(1) << 40, .fds_below = 12 };

	(void)state;
	for (uint64_t n = 0; n < 600; n++)
		assert_int_equal(verify_fd_is_planned(&w, n), n < 12 || n == 40);
	const struct verify_want many = { .fds_below = 521 };
	assert_true(verify_fd_is_planned(&many, 520));
	assert_false(verify_fd_is_planned(&many, 521));
	const struct verify_want one = { .fds = UINT64_C(1) << 63 };
	assert_true(verify_fd_is_planned(&one, 63));
	assert_false(verify_fd_is_planned(&one, 64 + 63));
}

static void this_process_is_not_taken_for_a_jailed_one(void **state)
{
	struct err e;

	(void)state;
	err_clear(&e);
	assert_int_equal(verify_process(getpid(), &want, &e), -EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(locked_process_passes),
		cmocka_unit_test(each_weakness_is_found_and_named),
		cmocka_unit_test(one_that_its_filter_is_ending_is_told_apart),
		cmocka_unit_test(missing_layers_are_not_demanded),
		cmocka_unit_test(truncated_text_does_not_pass),
		cmocka_unit_test(more_descriptors_than_planned_are_found),
		cmocka_unit_test(threads_are_counted_up_to_what_is_planned),
		cmocka_unit_test(every_number_below_a_bound_may_be_open_and_single_ones_above),
		cmocka_unit_test(this_process_is_not_taken_for_a_jailed_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
