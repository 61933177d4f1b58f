/* SPDX-License-Identifier: ISC */
#include "devices/console/console_target.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"

int console_target_count(const struct msg_con_config *cfg, struct err *e)
{
	bool input_ok = cfg->target == CON_TARGET_STREAM || cfg->target == CON_TARGET_PTY ||
			cfg->target == CON_TARGET_LISTEN;

	if (cfg->has_input && !input_ok)
		return err_set(e, -EINVAL, "this target has no input");
	if (cfg->restore_tty && (cfg->target != CON_TARGET_STREAM || cfg->n_termios != sizeof(struct termios)))
		return err_set(e, -EINVAL, "terminal settings of %zu bytes", cfg->n_termios);
	switch (cfg->target) {
	case CON_TARGET_NULL:
		return 0;
	case CON_TARGET_FILE:
	case CON_TARGET_LISTEN:
		return 1;
	case CON_TARGET_STREAM:
		return cfg->has_input ? 2 : 1;
	case CON_TARGET_PTY:
		return 2; /* master and slave */
	}
	return err_set(e, -EINVAL, "unknown target");
}

/* #syscalls monitor: newfstatat */
static bool is_kind(int fd, mode_t kind)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == kind;
}

/* #syscalls monitor: getsockopt(arg1=SOL_SOCKET) */
static bool is_listening(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on != 0;
}

/* A master and not a slave: only it can tell its number.
 * #syscalls monitor: ioctl(ANY: TIOCGPTN)
 */
static bool is_pty_master(int fd)
{
	unsigned number;

	return ioctl(fd, TIOCGPTN, &number) == 0;
}

static int place(int *fd, int want, struct err *e)
{
	int r = fd_move(fd, want, true);

	return r < 0 ? err_sys(e, r, "descriptor %d", want) : 0;
}

/* Terminals and pipes were opened for this process alone, so their flags are its own. A socket's may be shared with
 * whoever started us: it is written with MSG_DONTWAIT instead. A regular file knows no waiting. */
static int place_out(struct console_target *t, int *fd, struct err *e)
{
	bool is_file = is_kind(*fd, S_IFREG);

	t->out_is_socket = is_kind(*fd, S_IFSOCK);
	t->out = t->at.out;
	int r = place(fd, t->out, e);
	if (r == 0 && !is_file && !t->out_is_socket && (r = fd_set_nonblock(t->out, true)) < 0)
		return err_sys(e, r, "target");
	return r;
}

static int place_in(struct console_target *t, int *fd, struct err *e)
{
	t->in = t->at.in;
	int r = place(fd, t->in, e);
	if (r == 0 && (r = fd_set_nonblock(t->in, true)) < 0)
		return err_sys(e, r, "input");
	return r;
}

/* The slave is held open, so the master never sees a hang-up and output waits for whoever opens the slave next.
 * #syscalls monitor: fcntl(F_DUPFD_CLOEXEC)
 */
static int place_pty(struct console_target *t, int *fds, bool has_input, struct err *e)
{
	int r, in = -1;

	if (!is_pty_master(fds[0]) || is_pty_master(fds[1]))
		return err_set(e, -ENOTTY, "not a pty's master and slave");
	/* Above the fixed numbers, as the other descriptors still are. */
	if (has_input && (in = fcntl(fds[0], F_DUPFD_CLOEXEC, fds[0])) < 0)
		return err_sys(e, -errno, "input");
	r = place_out(t, &fds[0], e);
	if (r == 0 && has_input)
		r = place_in(t, &in, e);
	fd_closep(&in);
	return r == 0 ? place(&fds[1], t->at.listen, e) : r;
}

/* accept4() takes the lowest free number, and the filter knows the client by its own: fill what is below.
 * #syscalls monitor: dup3
 */
static int place_listen(const struct console_target *t, int *fd, struct err *e)
{
	if (!is_kind(*fd, S_IFSOCK) || !is_listening(*fd))
		return err_set(e, -ENOTSOCK, "not a listening socket");
	if (t->at.client >= 0 &&
	    (dup3(STDIN_FILENO, t->at.out, O_CLOEXEC) < 0 || dup3(STDIN_FILENO, t->at.in, O_CLOEXEC) < 0))
		return err_sys(e, -errno, "placeholder");
	int r = fd_set_nonblock(*fd, true);
	return r < 0 ? err_sys(e, r, "listening socket") : place(fd, t->at.listen, e);
}

/* #syscalls monitor: prctl(PR_SET_PDEATHSIG) */
int console_target_place(struct console_target *t, const struct console_numbers *at, const struct msg_con_config *cfg,
			 int *fds, struct err *e)
{
	int r = 0;

	*t = (struct console_target){ .kind = cfg->target, .at = *at, .out = -1, .in = -1 };
	switch (cfg->target) {
	case CON_TARGET_NULL:
		return 0;
	case CON_TARGET_FILE:
		return place_out(t, &fds[0], e);
	case CON_TARGET_STREAM:
		r = place_out(t, &fds[0], e);
		if (r == 0 && cfg->has_input)
			r = place_in(t, &fds[1], e);
		if (r == 0 && cfg->restore_tty) {
			/* Our end follows the end of the control socket: killed by the monitor's death instead, this
			 * process could not give the terminal back. */
			(void)prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
			t->restore = true;
			memcpy(&t->termios, cfg->termios, sizeof(t->termios));
		}
		return r;
	case CON_TARGET_PTY:
		return place_pty(t, fds, cfg->has_input, e);
	case CON_TARGET_LISTEN:
		return place_listen(t, &fds[0], e);
	}
	return err_set(e, -EINVAL, "unknown target");
}

static bool is_soon_again(int error)
{
	return error == EAGAIN || error == EINTR || error == ENOBUFS;
}

/*
 * #syscalls console vconsole: write(fd=TARGET_OUT|CLIENT) sendto(fd=TARGET_OUT)
 * #syscalls vconsole_alone: write sendto
 */
ssize_t console_target_write(struct console_target *t, const void *p, size_t n)
{
	ssize_t w;

	if (t->kind == CON_TARGET_NULL)
		return (ssize_t)n;
	if (t->out < 0)
		return -EPIPE;
	if (t->out_is_socket)
		w = send(t->out, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		w = write(t->out, p, n);
	if (w >= 0)
		return w;
	return is_soon_again(errno) ? -EAGAIN : -errno;
}

/*
 * #syscalls console vconsole: read(fd=TARGET_IN|CLIENT)
 * #syscalls vconsole_alone: read
 */
ssize_t console_target_read(struct console_target *t, void *p, size_t n)
{
	ssize_t r = read(t->in, p, n);

	if (r >= 0)
		return r;
	return is_soon_again(errno) ? -EAGAIN : 0;
}

/*
 * #syscalls console vconsole: close(fd=CLIENT)
 * #syscalls vconsole_alone: close
 */
void console_target_hang_up(struct console_target *t)
{
	if (t->kind != CON_TARGET_LISTEN || t->out < 0)
		return;
	(void)close(t->out);
	t->out = -1;
	t->in = -1;
}

/*
 * #syscalls console vconsole: accept4(fd=LISTEN)
 * #syscalls vconsole_alone: accept4
 */
int console_target_accept(struct console_target *t)
{
	/* First, or the new one would get another number. Whether somebody still waits shows only by taking him. */
	console_target_hang_up(t);
	int fd = accept4(t->at.listen, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return is_soon_again(errno) || errno == ECONNABORTED ? -EAGAIN : -errno;
	t->out = fd;
	t->in = fd;
	return t->at.client < 0 || fd == t->at.client ? 0 : -EBADFD;
}

/* A pty's size is that of whoever shows it; of a terminal behind a file or socket nobody knows.
 * #syscalls vconsole: ioctl(TARGET_OUT: TIOCGWINSZ)
 * #syscalls vconsole_alone: ioctl(ANY: TIOCGWINSZ)
 */
bool console_target_size(const struct console_target *t, uint16_t *cols, uint16_t *rows)
{
	struct winsize size;

	if ((t->kind != CON_TARGET_STREAM && t->kind != CON_TARGET_PTY) || ioctl(t->at.out, TIOCGWINSZ, &size) < 0)
		return false;
	*cols = size.ws_col;
	*rows = size.ws_row;
	return true;
}

/* Not tcsetattr(), which reads the settings back. The kernel's structure is how libc's begins.
 * #syscalls console vconsole: ioctl(TARGET_OUT: TCSETS)
 * #syscalls vconsole_alone: ioctl(ANY: TCSETS)
 */
void console_target_restore(struct console_target *t)
{
	_Static_assert(offsetof(struct termios, c_cc) == 17, "four words, then c_line and c_cc");

	if (t->restore)
		(void)ioctl(t->at.out, TCSETS, &t->termios);
	t->restore = false;
}
