/* SPDX-License-Identifier: ISC */
#include "jail/monitor_adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static int new_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 3);
	return fd;
}

static void what_is_written_is_read_and_survives_exec_in_between(void **state)
{
	struct monitor_adopt a = { .channel = new_fd(), .exe = new_fd(), .child = SPAWN_CHILD_NONE }, b;
	char word[MONITOR_ADOPT_MAX];
	int start = new_fd(), got = -1;

	(void)state;
	a.child.pid = 4711;
	a.child.pidfd = new_fd();
	a.child.report_fd = new_fd();
	monitor_adopt_write(&a, start, word, sizeof(word));
	assert_int_equal(fcntl(a.channel, F_GETFD), 0);
	assert_int_equal(fcntl(a.child.report_fd, F_GETFD), 0);
	assert_int_equal(monitor_adopt_read(&b, &got, word), 0);
	assert_int_equal(got, start);
	assert_int_equal(b.channel, a.channel);
	assert_int_equal(b.exe, a.exe);
	assert_int_equal(b.child.pid, 4711);
	assert_int_equal(b.child.pidfd, a.child.pidfd);
	assert_int_equal(b.child.report_fd, a.child.report_fd);
	assert_int_equal(fcntl(start, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(b.child.pidfd, F_GETFD), FD_CLOEXEC);
	int fds[] = { start, a.channel, a.exe, a.child.pidfd, a.child.report_fd };
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		(void)close(fds[i]);
}

static void a_start_without_apid_is_fine(void **state)
{
	struct monitor_adopt a = { .channel = -1, .exe = -1, .child = SPAWN_CHILD_NONE }, b;
	char word[MONITOR_ADOPT_MAX];
	int start = new_fd(), got = -1;

	(void)state;
	monitor_adopt_write(&a, start, word, sizeof(word));
	assert_int_equal(monitor_adopt_read(&b, &got, word), 0);
	assert_int_equal(b.channel, -1);
	assert_int_equal(b.child.pid, 0);
	(void)close(start);
}

static void other_words_are_refused(void **state)
{
	static const char *const bad[] = { "", "7", "x", "7,8,9,10,11", "7,8,9,10,11,12,13", "7,8,9,10,11,12 ",
					   "2,8,9,10,11,12", "7,8,9,0,11,12", "7,8,9,10,1,12", "7,8,9,10,11,-1" };
	struct monitor_adopt b;
	int got = -1;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (monitor_adopt_read(&b, &got, bad[i]) != -EINVAL)
			fail_msg("\"%s\" is taken", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_and_survives_exec_in_between),
		cmocka_unit_test(a_start_without_apid_is_fine),
		cmocka_unit_test(other_words_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
