/* SPDX-License-Identifier: ISC */
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/clock.h"

static int new_fd(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static ino_t inode(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* The lowest free number: what was received and not closed shows in it. */
static int lowest_free(void)
{
	int fd = dup(0);

	assert_true(fd >= 0);
	(void)close(fd);
	return fd;
}

static void take_leaves_minus_one(void **state)
{
	int fd = 7;

	(void)state;
	assert_int_equal(fd_take(&fd), 7);
	assert_int_equal(fd, -1);
}

static void close_all_accepts_minus_one(void **state)
{
	int fds[3] = { new_fd(), -1, new_fd() };
	int first = fds[0], last = fds[2];

	(void)state;
	fd_close_all(fds, 3);
	assert_false(is_open(first));
	assert_false(is_open(last));
	assert_int_equal(fds[0] + fds[1] + fds[2], -3);
	fd_close_all(fds, 3);
}

static void pair_is_nonblocking_and_close_on_exec(void **state)
{
	int s[2];

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	for (int i = 0; i < 2; i++) {
		assert_true((fcntl(s[i], F_GETFL) & O_NONBLOCK) != 0);
		assert_int_equal(fcntl(s[i], F_GETFD), FD_CLOEXEC);
	}
	fd_close_all(s, 2);
	assert_int_equal(fd_socketpair(12345, s), -EINVAL);
	assert_int_equal(s[0], -1);
	assert_int_equal(s[1], -1);
}

static void message_carries_descriptors(void **state)
{
	int s[2], sent[3] = { new_fd(), new_fd(), new_fd() }, got[3] = { -1, -1, -1 };
	unsigned n = 99;
	char text[16] = "";

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	assert_int_equal(fd_sendmsg(s[0], "hello", 5, sent, 3), 5);
	assert_int_equal(fd_recvmsg(s[1], text, sizeof(text), got, 3, &n), 5);
	assert_string_equal(text, "hello");
	assert_int_equal(n, 3);
	for (int i = 0; i < 3; i++) {
		assert_true(got[i] != sent[i]);
		assert_int_equal(inode(got[i]), inode(sent[i]));
		assert_int_equal(fcntl(got[i], F_GETFD), FD_CLOEXEC);
	}
	fd_close_all(got, 3);
	fd_close_all(sent, 3);
	fd_close_all(s, 2);
}

static void message_carries_as_many_as_the_kernel_lets(void **state)
{
	int s[2], one = new_fd(), sent[FD_PASS_MAX + 1], got[FD_PASS_MAX];
	unsigned n = 0;
	char c;

	(void)state;
	for (unsigned i = 0; i <= FD_PASS_MAX; i++)
		sent[i] = one;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	assert_int_equal(fd_sendmsg(s[0], "x", 1, sent, FD_PASS_MAX + 1), -EINVAL);
	assert_int_equal(fd_sendmsg(s[0], "x", 1, sent, FD_PASS_MAX), 1);
	assert_int_equal(fd_recvmsg(s[1], &c, 1, got, FD_PASS_MAX, &n), 1);
	assert_int_equal(n, FD_PASS_MAX);
	fd_close_all(got, n);
	(void)close(one);
	fd_close_all(s, 2);
}

static void more_descriptors_than_wanted_are_closed(void **state)
{
	int s[2], sent[2] = { new_fd(), new_fd() }, got[1] = { -1 };
	unsigned n = 99;
	char c;

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	int before = lowest_free();
	assert_int_equal(fd_sendmsg(s[0], "x", 1, sent, 2), 1);
	assert_int_equal(fd_recvmsg(s[1], &c, 1, got, 1, &n), -EBADMSG);
	assert_int_equal(n, 0);
	assert_int_equal(got[0], -1);
	assert_int_equal(lowest_free(), before);
	fd_close_all(sent, 2);
	fd_close_all(s, 2);
}

static void descriptors_that_do_not_fit_the_table_are_an_error(void **state)
{
	int s[2], sent[4], got[4] = { -1, -1, -1, -1 };
	unsigned n = 99;
	struct rlimit old, low;
	char c;

	(void)state;
	sent[0] = sent[1] = sent[2] = sent[3] = new_fd();
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	assert_int_equal(fd_sendmsg(s[0], "x", 1, sent, 4), 1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	int before = lowest_free();
	low.rlim_cur = (rlim_t)before + 2; /* room for two of the four: MSG_CTRUNC */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	ssize_t r = fd_recvmsg(s[1], &c, 1, got, 4, &n);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(r, -EBADMSG);
	assert_int_equal(n, 0);
	assert_int_equal(lowest_free(), before);
	(void)close(sent[0]);
	fd_close_all(s, 2);
}

static void record_longer_than_the_buffer_is_an_error(void **state)
{
	int s[2], sent[1] = { new_fd() }, got[1] = { -1 };
	unsigned n = 99;
	char two[2];

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	int before = lowest_free();
	assert_int_equal(fd_sendmsg(s[0], "abc", 3, sent, 1), 3);
	assert_int_equal(fd_recvmsg(s[1], two, sizeof(two), got, 1, &n), -EBADMSG);
	assert_int_equal(lowest_free(), before);
	fd_close_all(sent, 1);
	fd_close_all(s, 2);
}

static void receive_tells_nothing_now_from_end_of_file(void **state)
{
	int s[2], got[1];
	unsigned n = 99;
	char c;

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	assert_int_equal(fd_recvmsg(s[1], &c, 1, got, 1, &n), -EAGAIN);
	assert_int_equal(n, 0);
	fd_closep(&s[0]);
	assert_int_equal(fd_recvmsg(s[1], &c, 1, got, 1, &n), 0);
	fd_close_all(s, 2);
}

static void empty_record_drops_its_descriptors(void **state)
{
	int s[2], sent[1] = { new_fd() }, got[1] = { -1 };
	unsigned n = 99;
	char c;

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	int before = lowest_free();
	assert_int_equal(fd_sendmsg(s[0], "", 0, sent, 1), 0);
	assert_int_equal(fd_recvmsg(s[1], &c, 1, got, 1, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(lowest_free(), before);
	fd_close_all(sent, 1);
	fd_close_all(s, 2);
}

static void last_words_of_a_peer_that_left_mail_unread_arrive(void **state)
{
	int s[2], got[1];
	unsigned n;
	char text[8] = "";

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	assert_int_equal(fd_sendmsg(s[0], "unread", 6, NULL, 0), 6);
	assert_int_equal(fd_sendmsg(s[1], "last", 4, NULL, 0), 4);
	fd_closep(&s[1]);
	assert_int_equal(fd_recvmsg(s[0], text, sizeof(text), got, 1, &n), 4);
	assert_string_equal(text, "last");
	assert_int_equal(fd_recvmsg(s[0], text, sizeof(text), got, 1, &n), 0);
	fd_close_all(s, 2);
}

static void send_never_blocks_and_never_kills(void **state)
{
	static char block[4096];
	int s[2];
	ssize_t r;

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	assert_int_equal(fd_set_nonblock(s[0], false), 0); /* MSG_DONTWAIT alone must do */
	do {
		r = fd_sendmsg(s[0], block, sizeof(block), NULL, 0);
	} while (r > 0);
	assert_int_equal(r, -EAGAIN);
	fd_closep(&s[1]);
	assert_int_equal(fd_sendmsg(s[0], "x", 1, NULL, 0), -EPIPE);
	fd_close_all(s, 2);
}

static void move_puts_a_descriptor_at_its_number(void **state)
{
	int fd = new_fd(), want = 57;
	ino_t which = inode(fd);

	(void)state;
	assert_int_equal(fd_move(&fd, want, false), 0);
	assert_int_equal(fd, -1);
	assert_int_equal(inode(want), which);
	assert_int_equal(fcntl(want, F_GETFD), 0);
	fd = want; /* onto itself: only the flag changes */
	assert_int_equal(fd_move(&fd, want, true), 0);
	assert_int_equal(fd, -1);
	assert_int_equal(fcntl(want, F_GETFD), FD_CLOEXEC);
	(void)close(want);
	fd = want;
	assert_int_equal(fd_move(&fd, want, true), -EBADF);
	assert_int_equal(fd_move(&fd, 58, true), -EBADF);
	assert_int_equal(fd, want);
}

static void nonblock_is_switched_on_and_off(void **state)
{
	int p[2];

	(void)state;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(fd_set_nonblock(p[0], true), 0);
	assert_true((fcntl(p[0], F_GETFL) & O_NONBLOCK) != 0);
	assert_int_equal(fd_set_nonblock(p[0], false), 0);
	assert_true((fcntl(p[0], F_GETFL) & O_NONBLOCK) == 0);
	fd_close_all(p, 2);
	assert_int_equal(fd_set_nonblock(-1, true), -EBADF);
}

static void wait_sees_readiness_and_deadline(void **state)
{
	int s[2];

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	assert_int_equal(fd_wait(s[0], POLLIN, 0), 0);
	int64_t before = clock_mono_ms();
	assert_int_equal(fd_wait(s[0], POLLIN, 20), 0);
	assert_true(clock_mono_ms() - before >= 20);
	assert_int_equal(fd_sendmsg(s[1], "x", 1, NULL, 0), 1);
	assert_int_equal(fd_wait(s[0], POLLIN, 0), 1);
	assert_int_equal(fd_wait(s[0], POLLIN, -1), 1);
	fd_close_all(s, 2);
}

static void write_all_gives_up_at_the_deadline(void **state)
{
	static char block[1 << 20];
	int p[2];

	(void)state;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0); /* a blocking one, whose reader never reads */
	assert_int_equal(fd_write_all(p[1], "abc", 3, 0), 0);
	int64_t before = clock_mono_ms();
	assert_int_equal(fd_write_all(p[1], block, sizeof(block), 30), -ETIMEDOUT);
	assert_true(clock_mono_ms() - before >= 30);
	fd_closep(&p[0]);
	void (*old)(int) = signal(SIGPIPE, SIG_IGN);
	assert_int_equal(fd_write_all(p[1], "abc", 3, 1000), -EPIPE);
	(void)signal(SIGPIPE, old);
	fd_close_all(p, 2);
}

static void write_all_writes_every_byte(void **state)
{
	static char block[20000], back[20000];
	int p[2];

	(void)state;
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (char)(i % 251);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(fd_write_all(p[1], block, sizeof(block), 1000), 0);
	assert_int_equal(read(p[0], back, sizeof(back)), sizeof(back));
	assert_memory_equal(block, back, sizeof(back));
	fd_close_all(p, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(take_leaves_minus_one),
		cmocka_unit_test(close_all_accepts_minus_one),
		cmocka_unit_test(pair_is_nonblocking_and_close_on_exec),
		cmocka_unit_test(message_carries_descriptors),
		cmocka_unit_test(message_carries_as_many_as_the_kernel_lets),
		cmocka_unit_test(more_descriptors_than_wanted_are_closed),
		cmocka_unit_test(descriptors_that_do_not_fit_the_table_are_an_error),
		cmocka_unit_test(record_longer_than_the_buffer_is_an_error),
		cmocka_unit_test(receive_tells_nothing_now_from_end_of_file),
		cmocka_unit_test(empty_record_drops_its_descriptors),
		cmocka_unit_test(last_words_of_a_peer_that_left_mail_unread_arrive),
		cmocka_unit_test(send_never_blocks_and_never_kills),
		cmocka_unit_test(move_puts_a_descriptor_at_its_number),
		cmocka_unit_test(nonblock_is_switched_on_and_off),
		cmocka_unit_test(wait_sees_readiness_and_deadline),
		cmocka_unit_test(write_all_gives_up_at_the_deadline),
		cmocka_unit_test(write_all_writes_every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
