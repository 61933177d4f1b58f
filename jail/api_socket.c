/* SPDX-License-Identifier: ISC */
#include "jail/api_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/str.h"
#include "proto/opts.h"

enum { BACKLOG = 128 };

/* #syscalls monitor: bind listen unlink */
static int bind_and_listen(int fd, const char *path, int backlog)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	memcpy(sa.sun_path, path, strlen(path) + 1);
	if (bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	if (listen(fd, backlog) < 0) {
		int r = -errno;

		(void)unlink(path);
		return r;
	}
	return 0;
}

/*
 * Clients wait for the file and connect at once: it must not be there before it listens. So it gets its name last,
 * without replacing anything. 0, -EEXIST, or -ENOTSUP where that cannot be done (a long name, a file system without
 * such a rename); nothing is left behind.
 *
 * #syscalls monitor: renameat2 unlink getpid
 */
static int listen_then_name(int fd, const char *path, int backlog)
{
	char made[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int r;

	if (!str_fmt(made, sizeof(made), "%s.%d", path, (int)getpid()) || bind_and_listen(fd, made, backlog) < 0)
		return -ENOTSUP;
	if (renameat2(AT_FDCWD, made, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
		return 0;
	r = errno == EEXIST ? -EEXIST : -ENOTSUP;
	(void)unlink(made);
	return r;
}

/* #syscalls monitor: socket(AF_UNIX) close */
static int new_socket(struct err *e)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? err_sys(e, -errno, "socket") : fd;
}

int api_socket_listen(const char *path, int backlog, struct err *e)
{
	_cleanup_(fd_closep) int fd = new_socket(e);
	int r;

	if (fd < 0)
		return fd;
	r = listen_then_name(fd, path, backlog);
	if (r == -ENOTSUP) {
		/* A socket that has had a name keeps it. */
		fd_closep(&fd);
		fd = new_socket(e);
		if (fd < 0)
			return fd;
		r = bind_and_listen(fd, path, backlog);
	}
	if (r < 0)
		return err_sys(e, r == -EEXIST ? -EADDRINUSE : r, "cannot listen on \"%s\"", path);
	return fd_take(&fd);
}

/* #syscalls monitor: openat fcntl(F_OFD_SETLK) */
static int take_lock(struct api_socket *s, struct err *e)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char lock[API_SOCKET_PATH_MAX + 8];

	if (!str_fmt(lock, sizeof(lock), "%s.lock", s->path))
		return err_set(e, -ENAMETOOLONG, "the socket path is too long");
	s->lock_fd = open(lock, O_RDWR | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return err_sys(e, -errno, "cannot open the lock file \"%s\"", lock);
	if (fcntl(s->lock_fd, F_OFD_SETLK, &l) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(e, -EADDRINUSE, "another instance serves \"%s\"", s->path);
	return err_sys(e, -errno, "cannot lock \"%s\"", lock);
}

/* #syscalls monitor: newfstatat unlink */
static int open_path(struct api_socket *s, struct err *e)
{
	struct stat st;
	int r = take_lock(s, e);

	if (r < 0)
		return r;
	/* Whoever left it there holds no lock any more. Only a socket is ever removed. */
	if (lstat(s->path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return err_set(e, -EEXIST, "\"%s\" exists and is not a socket", s->path);
		if (unlink(s->path) < 0)
			return err_sys(e, -errno, "cannot replace \"%s\"", s->path);
	}
	r = api_socket_listen(s->path, BACKLOG, e);
	if (r >= 0)
		s->listen_fd = r;
	return r < 0 ? r : 0;
}

/* #syscalls monitor: getsockopt(arg1=SOL_SOCKET) */
static int option(int fd, int name, int *value)
{
	socklen_t len = sizeof(*value);

	return getsockopt(fd, SOL_SOCKET, name, value, &len) < 0 ? -errno : 0;
}

/* #syscalls monitor: fcntl(F_DUPFD_CLOEXEC) */
static int open_inherited(struct api_socket *s, int fd, struct err *e)
{
	int domain = 0, type = 0, listening = 0;
	int r = option(fd, SO_DOMAIN, &domain);

	if (r == 0)
		r = option(fd, SO_TYPE, &type);
	if (r == 0)
		r = option(fd, SO_ACCEPTCONN, &listening);
	if (r < 0)
		return err_sys(e, r, "descriptor %d", fd);
	if (domain != AF_UNIX || type != SOCK_STREAM || listening == 0)
		return err_set(e, -EINVAL, "descriptor %d is not a listening UNIX stream socket", fd);
	s->listen_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return s->listen_fd < 0 ? err_sys(e, -errno, "descriptor %d", fd) : 0;
}

int api_socket_open(struct api_socket *s, const char *arg, struct err *e)
{
	struct api_socket_arg a;
	int r = opts_parse_api_socket(arg, &a, e);

	*s = API_SOCKET_NONE;
	if (r == 0 && a.fd >= 0) {
		r = open_inherited(s, a.fd, e);
	} else if (r == 0) {
		(void)str_fmt(s->path, sizeof(s->path), "%s", a.path);
		r = open_path(s, e);
	}
	if (r < 0) {
		api_socket_close(s, false);
		return err_wrap(e, r, "API socket");
	}
	return 0;
}

/* #syscalls monitor: unlink close */
void api_socket_close(struct api_socket *s, bool unlink_path)
{
	if (unlink_path && s->listen_fd >= 0 && s->path[0] != '\0')
		(void)unlink(s->path);
	fd_closep(&s->listen_fd);
	/* Last: until here nobody else may take the path for stale. */
	fd_closep(&s->lock_fd);
}
