/* SPDX-License-Identifier: ISC */
#include "jail/uids.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/jail/tmpdir.h"

static void blocks_are_distinct_while_held(void **state)
{
	int a_lock = -1, b_lock = -1, c_lock = -1;
	struct err e;

	(void)state;
	int a = uids_claim(tmpdir_path, &a_lock, &e), b = uids_claim(tmpdir_path, &b_lock, &e);
	assert_int_equal(a, UIDS_FIRST);
	assert_int_equal(b, UIDS_FIRST + UIDS_PER_BLOCK);
	/* The descriptor is the claim. */
	(void)close(a_lock);
	assert_int_equal(uids_claim(tmpdir_path, &c_lock, &e), a);
	(void)close(b_lock);
	(void)close(c_lock);
}

static void a_duplicate_keeps_the_claim(void **state)
{
	int a_lock = -1, b_lock = -1;
	struct err e;

	(void)state;
	int a = uids_claim(tmpdir_path, &a_lock, &e);
	int copy = dup(a_lock);
	(void)close(a_lock);
	assert_true(uids_claim(tmpdir_path, &b_lock, &e) > a);
	(void)close(copy);
	(void)close(b_lock);
}

static void folder_is_made_when_missing(void **state)
{
	struct err e;
	int lock = -1;

	(void)state;
	assert_int_equal(uids_claim("made", &lock, &e), UIDS_FIRST);
	(void)close(lock);
	assert_int_equal(unlink("made/uids"), 0);
}

static void folder_that_others_can_write_is_refused(void **state)
{
	struct err e;
	int lock = -1;

	(void)state;
	assert_int_equal(mkdir("open", 0700), 0);
	assert_int_equal(chmod("open", 0777), 0);
	err_clear(&e);
	assert_int_equal(uids_claim("open", &lock, &e), -EPERM);
	assert_int_equal(lock, -1);
}

static void link_in_place_of_the_file_is_not_followed(void **state)
{
	struct err e;
	int lock = -1;

	(void)state;
	assert_int_equal(symlink("elsewhere", "uids"), 0);
	err_clear(&e);
	assert_int_equal(uids_claim(tmpdir_path, &lock, &e), -ELOOP);
}

#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, tmpdir_setup, tmpdir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_DIR(blocks_are_distinct_while_held),
		IN_DIR(a_duplicate_keeps_the_claim),
		IN_DIR(folder_is_made_when_missing),
		IN_DIR(folder_that_others_can_write_is_refused),
		IN_DIR(link_in_place_of_the_file_is_not_followed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
