/* SPDX-License-Identifier: ISC */
#include "jail/con_open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/str.h"
#include "jail/api_socket.h"
#include "jail/open_policy.h"

/* --- tty: whatever stdin and stdout are --------------------------------------------------------------------------- */

/* A description of the helper's own where there is one to be had (another user's terminal is not: su).
 * #syscalls monitor: fcntl(F_DUPFD_CLOEXEC)
 */
static int own_copy(int fd, int flags)
{
	int r = open_policy_again(fd, flags | O_NONBLOCK);

	if (r < 0)
		r = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return r < 0 ? -errno : r;
}

/* #syscalls monitor: ioctl(ANY: TCGETS, TCSETS) */
int con_make_raw(struct con_host *t)
{
	struct termios raw = t->saved;

	if (!t->is_tty || t->raw)
		return 0;
	cfmakeraw(&raw);
	if (tcsetattr(t->fds[0], TCSANOW, &raw) < 0)
		return -errno;
	t->raw = true;
	return 0;
}

/* #syscalls monitor: ioctl(ANY: TCGETS) */
static int open_terminal(struct con_host *t, struct err *e)
{
	int r = own_copy(STDOUT_FILENO, O_RDWR);

	if (r < 0)
		return err_sys(e, r, "cannot open the terminal");
	t->fds[t->n_fds++] = r;
	if (tcgetattr(t->fds[0], &t->saved) < 0)
		return err_sys(e, -errno, "cannot read the terminal's settings");
	t->is_tty = true;
	return 0;
}

/* Input comes from stdin when that is a terminal, wherever output goes.
 * #syscalls monitor: ioctl(ANY: TCGETS)
 */
static int open_input(struct con_host *t, struct err *e)
{
	if (!isatty(STDIN_FILENO))
		return 0;
	int r = own_copy(STDIN_FILENO, O_RDONLY);
	if (r < 0)
		return err_sys(e, r, "cannot open the terminal");
	t->fds[t->n_fds++] = r;
	t->has_input = true;
	return 0;
}

/* #syscalls monitor: newfstatat fcntl(F_DUPFD_CLOEXEC) ioctl(ANY: TCGETS) */
static int open_tty(struct con_host *t, struct err *e)
{
	struct stat st;
	int r;

	if (fstat(STDOUT_FILENO, &st) < 0)
		return err_sys(e, -errno, "standard output");
	t->kind = CON_TARGET_STREAM;
	if (isatty(STDOUT_FILENO)) {
		r = open_terminal(t, e);
		return r < 0 ? r : open_input(t, e);
	}
	/* The offset of a file is the user's, and a socket cannot be opened again. */
	if (S_ISREG(st.st_mode) || S_ISSOCK(st.st_mode)) {
		r = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
		r = r < 0 ? -errno : r;
	} else {
		r = own_copy(STDOUT_FILENO, O_WRONLY);
	}
	if (r < 0)
		return err_sys(e, r, "cannot open standard output");
	t->fds[t->n_fds++] = r;
	if (S_ISREG(st.st_mode)) {
		t->kind = CON_TARGET_FILE; /* and no input: the helper for a file has none */
		return 0;
	}
	return open_input(t, e);
}

/* --- pty -------------------------------------------------------------------------------------------------------- */

/* #syscalls monitor: ioctl(ANY: TIOCGPTPEER) openat */
static int pty_slave(int master, const char *path)
{
	int fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* From the devpts of the place where we were started: clients open the name.
 * #syscalls monitor: openat ioctl(ANY: TIOCSPTLCK, TIOCGPTN, TCGETS, TCSETS)
 */
static int open_pty(struct con_host *t, struct err *e)
{
	struct termios raw;
	unsigned number = 0;
	int unlock = 0;

	t->kind = CON_TARGET_PTY;
	t->has_input = true;
	t->fds[0] = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (t->fds[0] < 0)
		return err_sys(e, -errno, "cannot open \"/dev/ptmx\"");
	t->n_fds = 1;
	if (ioctl(t->fds[0], TIOCSPTLCK, &unlock) < 0 || ioctl(t->fds[0], TIOCGPTN, &number) < 0)
		return err_sys(e, -errno, "cannot make a pty");
	(void)str_fmt(t->path, sizeof(t->path), "/dev/pts/%u", number);
	int r = pty_slave(t->fds[0], t->path);
	if (r < 0)
		return err_sys(e, r, "cannot open \"%s\"", t->path);
	t->fds[t->n_fds++] = r;
	if (tcgetattr(t->fds[1], &raw) < 0)
		return err_sys(e, -errno, "settings of \"%s\"", t->path);
	cfmakeraw(&raw);
	return tcsetattr(t->fds[1], TCSANOW, &raw) < 0 ? err_sys(e, -errno, "settings of \"%s\"", t->path) : 0;
}

/* --- file, socket ----------------------------------------------------------------------------------------------- */

static int open_file(struct con_host *t, const char *path, struct err *e)
{
	mode_t mode = 0;
	int r = open_policy_console(path, &mode, e);

	if (r < 0)
		return r;
	t->kind = S_ISREG(mode) ? CON_TARGET_FILE : CON_TARGET_STREAM;
	t->fds[t->n_fds++] = r;
	return 0;
}

/* A socket file that nobody listens on is a dead instance's.
 * #syscalls monitor: socket(AF_UNIX) connect close
 */
static bool is_served(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	_cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || strlen(path) >= sizeof(sa.sun_path))
		return false;
	memcpy(sa.sun_path, path, strlen(path) + 1);
	return connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0 || errno == EAGAIN;
}

/* #syscalls monitor: newfstatat unlink */
static int open_socket(struct con_host *t, const char *path, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return err_set(e, -EEXIST, "\"%s\" exists and is not a socket", path);
		if (is_served(path))
			return err_set(e, -EADDRINUSE, "\"%s\" is in use", path);
		if (unlink(path) < 0)
			return err_sys(e, -errno, "cannot replace \"%s\"", path);
	}
	int r = api_socket_listen(path, 1, e);
	if (r < 0)
		return r;
	t->kind = CON_TARGET_LISTEN;
	t->has_input = true;
	t->fds[t->n_fds++] = r;
	t->unlink_path = true;
	(void)str_fmt(t->path, sizeof(t->path), "%s", path);
	return 0;
}

int con_open(struct con_host *t, enum console_mode mode, const char *path, struct err *e)
{
	int r = 0;

	*t = CON_HOST_NONE;
	if ((mode == CONSOLE_MODE_FILE || mode == CONSOLE_MODE_SOCKET) && (path == NULL || *path == '\0'))
		return err_set(e, -ERR_INVALID, "the console needs a path");
	switch (mode) {
	case CONSOLE_MODE_OFF:
		return err_set(e, -EINVAL, "the console is off");
	case CONSOLE_MODE_NULL:
		t->kind = CON_TARGET_NULL;
		break;
	case CONSOLE_MODE_TTY:
		r = open_tty(t, e);
		break;
	case CONSOLE_MODE_PTY:
		r = open_pty(t, e);
		break;
	case CONSOLE_MODE_FILE:
		r = open_file(t, path, e);
		break;
	case CONSOLE_MODE_SOCKET:
		r = open_socket(t, path, e);
		break;
	}
	if (r < 0)
		con_close(t);
	return r;
}

/* #syscalls monitor: ioctl(ANY: TCSETS) unlink close */
void con_close(struct con_host *t)
{
	/* TCSANOW: what the terminal has not shown yet must not hold us up. */
	if (t->raw)
		(void)tcsetattr(t->fds[0], TCSANOW, &t->saved);
	if (t->unlink_path)
		(void)unlink(t->path);
	fd_close_all(t->fds, CON_OPEN_FDS_MAX);
	*t = CON_HOST_NONE;
}
