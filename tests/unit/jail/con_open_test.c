/* SPDX-License-Identifier: ISC */
#include "jail/con_open.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/jail/tmpdir.h"

/* stdin and stdout of the test program, put aside while a test has its own. */
static int saved_in = -1, saved_out = -1;

static void use_std(int in, int out)
{
	(void)fflush(stdout);
	saved_in = dup(STDIN_FILENO);
	saved_out = dup(STDOUT_FILENO);
	assert_true(dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0);
}

static void restore_std(void)
{
	(void)dup2(saved_in, STDIN_FILENO);
	(void)dup2(saved_out, STDOUT_FILENO);
	(void)close(saved_in);
	(void)close(saved_out);
}

static int open_slave(int *master)
{
	*master = posix_openpt(O_RDWR | O_NOCTTY);
	assert_true(*master >= 0 && grantpt(*master) == 0 && unlockpt(*master) == 0);
	int fd = open(ptsname(*master), O_RDWR | O_NOCTTY);
	assert_true(fd >= 0);
	return fd;
}

static bool is_raw(int fd)
{
	struct termios t;

	assert_int_equal(tcgetattr(fd, &t), 0);
	return (t.c_lflag & (ECHO | ICANON | ISIG)) == 0 && (t.c_oflag & OPOST) == 0;
}

static void pty_has_a_name_and_a_raw_slave(void **state)
{
	struct con_host h;
	struct stat st;
	struct err e;

	(void)state;
	assert_int_equal(con_open(&h, CONSOLE_MODE_PTY, NULL, &e), 0);
	assert_int_equal(h.kind, CON_TARGET_PTY);
	assert_int_equal(h.n_fds, 2);
	assert_true(h.has_input);
	assert_int_equal(stat(h.path, &st), 0);
	assert_true(S_ISCHR(st.st_mode));
	assert_true(is_raw(h.fds[1]));
	assert_true((fcntl(h.fds[0], F_GETFL) & O_NONBLOCK) != 0);
	con_close(&h);
	assert_int_equal(h.fds[0], -1);
}

static void terminal_is_opened_again_and_given_back(void **state)
{
	struct termios before, after;
	struct con_host h;
	struct err e;
	int master = -1, slave = open_slave(&master);

	(void)state;
	assert_int_equal(tcgetattr(slave, &before), 0);
	use_std(slave, slave);
	int r = con_open(&h, CONSOLE_MODE_TTY, NULL, &e);
	restore_std();
	assert_int_equal(r, 0);
	assert_int_equal(h.kind, CON_TARGET_STREAM);
	assert_int_equal(h.n_fds, 2);
	assert_true(h.has_input && h.is_tty);
	/* The user's shell shares the first description: it must not become non-blocking. */
	assert_true((fcntl(slave, F_GETFL) & O_NONBLOCK) == 0);
	assert_true((fcntl(h.fds[0], F_GETFL) & O_NONBLOCK) != 0);
	assert_false(is_raw(slave));
	assert_int_equal(con_make_raw(&h), 0);
	assert_true(is_raw(slave));
	con_close(&h);
	assert_int_equal(tcgetattr(slave, &after), 0);
	assert_memory_equal(&before, &after, sizeof(before));
	(void)close(slave);
	(void)close(master);
}

static void stdout_that_is_a_pipe_has_no_input_and_no_raw_mode(void **state)
{
	struct con_host h;
	struct err e;
	int p[2], null = open("/dev/null", O_RDONLY);

	(void)state;
	assert_int_equal(pipe(p), 0);
	use_std(null, p[1]);
	int r = con_open(&h, CONSOLE_MODE_TTY, NULL, &e);
	restore_std();
	assert_int_equal(r, 0);
	assert_int_equal(h.kind, CON_TARGET_STREAM);
	assert_int_equal(h.n_fds, 1);
	assert_false(h.has_input || h.is_tty);
	assert_true((fcntl(p[1], F_GETFL) & O_NONBLOCK) == 0);
	assert_true((fcntl(h.fds[0], F_GETFL) & O_NONBLOCK) != 0);
	con_close(&h);
	(void)close(p[0]);
	(void)close(p[1]);
	(void)close(null);
}

static void stdout_that_is_a_file_keeps_its_offset(void **state)
{
	struct con_host h;
	struct err e;
	int null = open("/dev/null", O_RDONLY), out = open("out", O_RDWR | O_CREAT, 0600);

	(void)state;
	assert_int_equal(write(out, "before", 6), 6);
	use_std(null, out);
	int r = con_open(&h, CONSOLE_MODE_TTY, NULL, &e);
	restore_std();
	assert_int_equal(r, 0);
	assert_int_equal(h.kind, CON_TARGET_FILE);
	assert_int_equal(write(h.fds[0], "after", 5), 5);
	assert_int_equal(lseek(out, 0, SEEK_CUR), 11);
	con_close(&h);
	(void)close(out);
	(void)close(null);
}

static void file_is_made(void **state)
{
	struct con_host h;
	struct stat st;
	struct err e;

	(void)state;
	assert_int_equal(con_open(&h, CONSOLE_MODE_FILE, "serial.log", &e), 0);
	assert_int_equal(h.kind, CON_TARGET_FILE);
	con_close(&h);
	assert_int_equal(stat("serial.log", &st), 0);
}

static void modes_without_their_path_are_invalid(void **state)
{
	struct con_host h;
	struct err e;

	(void)state;
	assert_int_equal(con_open(&h, CONSOLE_MODE_FILE, NULL, &e), -ERR_INVALID);
	assert_int_equal(con_open(&h, CONSOLE_MODE_SOCKET, "", &e), -ERR_INVALID);
}

static void socket_is_removed_at_the_end(void **state)
{
	struct con_host h;
	struct stat st;
	struct err e;

	(void)state;
	assert_int_equal(con_open(&h, CONSOLE_MODE_SOCKET, "serial.sock", &e), 0);
	assert_int_equal(h.kind, CON_TARGET_LISTEN);
	assert_int_equal(stat("serial.sock", &st), 0);
	con_close(&h);
	assert_int_equal(stat("serial.sock", &st), -1);
}

static int bind_at(const char *path, bool do_listen)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	if (do_listen)
		assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static void socket_in_use_is_refused_a_stale_one_replaced(void **state)
{
	struct con_host h;
	struct err e;
	int fd = bind_at("serial.sock", true);

	(void)state;
	assert_int_equal(con_open(&h, CONSOLE_MODE_SOCKET, "serial.sock", &e), -EADDRINUSE);
	(void)close(fd);
	assert_int_equal(con_open(&h, CONSOLE_MODE_SOCKET, "serial.sock", &e), 0);
	con_close(&h);
}

static void socket_does_not_take_the_place_of_another_file(void **state)
{
	struct con_host h;
	struct stat st;
	struct err e;
	int fd = open("serial.sock", O_WRONLY | O_CREAT, 0600);

	(void)state;
	(void)close(fd);
	assert_int_equal(con_open(&h, CONSOLE_MODE_SOCKET, "serial.sock", &e), -EEXIST);
	assert_int_equal(stat("serial.sock", &st), 0);
	assert_true(S_ISREG(st.st_mode));
}

#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, tmpdir_setup, tmpdir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_DIR(pty_has_a_name_and_a_raw_slave),
		IN_DIR(terminal_is_opened_again_and_given_back),
		IN_DIR(stdout_that_is_a_pipe_has_no_input_and_no_raw_mode),
		IN_DIR(stdout_that_is_a_file_keeps_its_offset),
		IN_DIR(file_is_made),
		IN_DIR(modes_without_their_path_are_invalid),
		IN_DIR(socket_is_removed_at_the_end),
		IN_DIR(socket_in_use_is_refused_a_stale_one_replaced),
		IN_DIR(socket_does_not_take_the_place_of_another_file),
	};

	(void)umask(077);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
