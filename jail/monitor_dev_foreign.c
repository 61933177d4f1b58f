/* SPDX-License-Identifier: ISC */
/*
 * Somebody else's back end: only its socket is ours. As a client: connect, again every 100 ms for a minute, without ever
 * waiting for it. As a server: listen, take the first who connects and, when that one is lost, the next.
 */
#include "jail/monitor_dev.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/str.h"
#include "jail/api_socket.h"

enum { RETRY_MS = 100, GIVE_UP_MS = 60000 };

static void try_again(struct dev *d);

/* #syscalls monitor: socket(AF_UNIX) connect close */
static int connect_now(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	_cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return -errno;
	memcpy(sa.sun_path, path, strlen(path) + 1);
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	r = fd;
	fd = -1;
	return r;
}

static void have_socket(struct dev *d, int fd)
{
	if (d->foreign.on_timer != NULL)
		(void)event_del(d->foreign.on_timer);
	if (d->foreign.on_listen != NULL)
		(void)event_del(d->foreign.on_listen);
	d->foreign.socket = fd;
	dev_up(d);
}

static void give_up(struct dev *d)
{
	struct err e;

	if (d->foreign.on_listen != NULL)
		(void)event_del(d->foreign.on_listen);
	if (d->foreign.listen >= 0)
		(void)err_set(&e, -ETIMEDOUT, "nobody has connected to \"%s\" for %d s", d->foreign.path, GIVE_UP_MS / 1000);
	else
		(void)err_sys(&e, d->foreign.error, "cannot connect to \"%s\" for %d s", d->foreign.path, GIVE_UP_MS / 1000);
	dev_fail(d, &e);
}

/* #syscalls monitor: accept4 */
static void on_listen(evutil_socket_t fd, short what, void *arg)
{
	struct dev *d = arg;
	int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)what;
	if (conn >= 0)
		have_socket(d, conn);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	try_again(arg);
}

static void try_again(struct dev *d)
{
	if (d->foreign.listen < 0) {
		int fd = connect_now(d->foreign.path);

		if (fd >= 0) {
			have_socket(d, fd);
			return;
		}
		d->foreign.error = fd;
	}
	if (clock_mono_ms() >= d->foreign.give_up_ms)
		give_up(d);
	else
		monitor_after(d->foreign.on_timer, RETRY_MS);
}

static void begin(struct dev *d)
{
	d->foreign.give_up_ms = clock_mono_ms() + GIVE_UP_MS;
	if (d->foreign.on_listen != NULL)
		(void)event_add(d->foreign.on_listen, NULL);
	monitor_after(d->foreign.on_timer, 0);
}

/* #syscalls monitor: newfstatat */
static int listen_on(struct dev *d, const char *path, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) == 0)
		return err_set(e, -EEXIST, "\"%s\" exists", path);
	d->foreign.listen = api_socket_listen(path, 1, e);
	if (d->foreign.listen < 0)
		return d->foreign.listen;
	d->foreign.on_listen = event_new(d->mon->base, d->foreign.listen, EV_READ | EV_PERSIST, on_listen, d);
	return d->foreign.on_listen == NULL ? err_sys(e, -ENOMEM, "listening") : 0;
}

int dev_foreign_open(struct dev *d, const char *path, bool listens, struct err *e)
{
	int r = 0;

	if (path == NULL || *path == '\0')
		return err_set(e, -ERR_INVALID, "no socket of its back end is given");
	if (!str_fmt(d->foreign.path, sizeof(d->foreign.path), "%s", path)) {
		d->foreign.path[0] = '\0';
		return err_set(e, -ENAMETOOLONG, "the path of a socket has at most %zu bytes", sizeof(d->foreign.path) - 1);
	}
	d->foreign.on_timer = event_new(d->mon->base, -1, 0, on_timer, d);
	if (d->foreign.on_timer == NULL)
		return err_sys(e, -ENOMEM, "connecting");
	if (listens)
		r = listen_on(d, path, e);
	if (r == 0)
		begin(d);
	return r < 0 ? r : 1;
}

void dev_foreign_renew(struct dev *d)
{
	fd_closep(&d->foreign.socket);
	dev_down(d, "it was disconnected");
	begin(d);
}

/* #syscalls monitor: unlink */
void dev_foreign_close(struct dev *d)
{
	struct dev_foreign *f = &d->foreign;

	if (f->on_timer != NULL)
		event_free(f->on_timer);
	if (f->on_listen != NULL)
		event_free(f->on_listen);
	if (f->listen >= 0)
		(void)unlink(f->path);
	fd_closep(&f->listen);
	fd_closep(&f->socket);
	*f = DEV_FOREIGN_NONE;
}
