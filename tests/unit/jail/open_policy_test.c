/* SPDX-License-Identifier: ISC */
#include "jail/open_policy.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/jail/tmpdir.h"

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	(void)close(fd);
}

static void expect_refused(const char *path, int code, const char *says)
{
	uint64_t size;
	struct err e;

	err_clear(&e);
	assert_int_equal(open_policy_image(path, &size, &e), code);
	if (strstr(err_text(&e, 0), says) == NULL)
		fail_msg("%s: %s", path, err_text(&e, 0));
}

static void relative_file_opens_for_reading_only(void **state)
{
	uint64_t size = 0;
	struct err e;

	(void)state;
	write_file("kernel", "12345");
	int fd = open_policy_image("kernel", &size, &e);
	assert_true(fd >= 0);
	assert_int_equal(size, 5);
	int flags = fcntl(fd, F_GETFL);
	assert_int_equal(flags & O_ACCMODE, O_RDONLY);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	(void)close(fd);
}

static void symbolic_link_is_followed(void **state)
{
	uint64_t size = 0;
	struct err e;

	(void)state;
	write_file("kernel", "123");
	assert_int_equal(symlink("kernel", "link"), 0);
	int fd = open_policy_image("link", &size, &e);
	assert_true(fd >= 0);
	assert_int_equal(size, 3);
	(void)close(fd);
}

static void missing_file_is_named(void **state)
{
	(void)state;
	expect_refused("nothing", -ENOENT, "\"nothing\"");
}

static void directory_is_refused(void **state)
{
	(void)state;
	expect_refused(".", -EISDIR, "directory");
}

/* No reader, no writer: an open that waits would hang the monitor. */
static void fifo_is_refused_without_waiting(void **state)
{
	(void)state;
	assert_int_equal(mkfifo("fifo", 0600), 0);
	expect_refused("fifo", -EINVAL, "neither a regular file nor a block device");
}

static void character_device_is_refused(void **state)
{
	(void)state;
	expect_refused("/dev/null", -EINVAL, "neither a regular file nor a block device");
}

static void unreadable_file_is_refused(void **state)
{
	(void)state;
	uid_t uid = geteuid();

	write_file("secret", "x");
	assert_int_equal(chmod("secret", 0), 0);
	assert_int_equal(chmod(".", 0755), 0);
	if (uid == 0) /* root reads everything */
		assert_int_equal(seteuid(65534), 0);
	expect_refused("secret", -EACCES, "Permission denied");
	if (uid == 0)
		assert_int_equal(seteuid(0), 0);
}

static void console_file_is_made_private_and_truncated(void **state)
{
	mode_t mode = 0;
	struct stat st;
	struct err e;

	(void)state;
	int fd = open_policy_console("new", &mode, &e);
	assert_true(fd >= 0);
	assert_true(S_ISREG(mode));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	(void)close(fd);

	write_file("old", "text from before");
	fd = open_policy_console("old", &mode, &e);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 0);
	(void)close(fd);
}

static void console_fifo_without_reader_is_refused_without_waiting(void **state)
{
	mode_t mode = 0;
	struct err e;

	(void)state;
	assert_int_equal(mkfifo("fifo", 0600), 0);
	assert_int_equal(open_policy_console("fifo", &mode, &e), -ENXIO);
}

static void opening_again_gives_other_flags_and_leaves_the_first_alone(void **state)
{
	int first[2];

	(void)state;
	assert_int_equal(pipe(first), 0);
	int again = open_policy_again(first[1], O_WRONLY | O_NONBLOCK);
	assert_true(again >= 0);
	assert_true((fcntl(again, F_GETFL) & O_NONBLOCK) != 0);
	assert_true((fcntl(first[1], F_GETFL) & O_NONBLOCK) == 0);
	(void)close(again);
	(void)close(first[0]);
	(void)close(first[1]);
}

static void log_file_is_made_private(void **state)
{
	struct stat st;
	struct err e;

	(void)state;
	int fd = open_policy_log("log", &e);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	(void)close(fd);
	err_clear(&e);
	assert_int_equal(open_policy_log("no/such/folder", &e), -ENOENT);
}

#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, tmpdir_setup, tmpdir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_DIR(relative_file_opens_for_reading_only),
		IN_DIR(symbolic_link_is_followed),
		IN_DIR(missing_file_is_named),
		IN_DIR(directory_is_refused),
		IN_DIR(fifo_is_refused_without_waiting),
		IN_DIR(character_device_is_refused),
		IN_DIR(unreadable_file_is_refused),
		IN_DIR(console_file_is_made_private_and_truncated),
		IN_DIR(console_fifo_without_reader_is_refused_without_waiting),
		IN_DIR(opening_again_gives_other_flags_and_leaves_the_first_alone),
		IN_DIR(log_file_is_made_private),
	};

	(void)umask(077);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
