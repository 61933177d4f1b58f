/* SPDX-License-Identifier: ISC */
/*
 * The life of a virtio device that was started by hand: options, a UNIX socket for front ends, one of them at a time.
 *
 * Order: options; the device opens what they name; the socket; the keeper; threads; Landlock stands before them; filter
 * (the role's second policy: descriptors come by the protocol, so recvmsg and mmap stay); only then images are looked at
 * and front ends are listened to.
 *
 * The keeper is a second process that waits for the end of this one, however it comes, and removes the socket's name: this
 * process cannot any more.
 */
#include "devices/common/vdevice_alone.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/ev.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/str.h"
#include "devices/common/helper.h"
#include "devices/common/vdevice_internal.h"
#include "proto/version.h"

enum { EXIT_USAGE = 2, FIRST_NUMBER = 64 };

struct alone {
	struct vdevice *vd;
	struct alone_options opts;
	int listen_fd, conn_fd, signal_fd, keeper_fd;
	struct event *ev_listen, *ev_signal;
	struct jail_missing missing;
	struct jail_limits lim;
};

/* --- texts ------------------------------------------------------------------------------------------------------ */

static void log_to_stderr(void *arg, const struct log_rec *rec)
{
	static const char *const levels[] = { "error", "warning", "info", "debug", "trace" };
	const char *name = arg;
	char line[LOG_MSG_MAX + 128];

	(void)str_fmt(line, sizeof(line), "cloister-%s: %s: %s\n", name, levels[rec->level], rec->msg);
	/* A reader that is behind costs lines, not time: a pipe that is ready takes as much as this at once.
	 * #syscalls blk_alone net_alone rng_alone vconsole_alone: write
	 */
	if (fd_wait(STDERR_FILENO, POLLOUT, 0) > 0)
		(void)!write(STDERR_FILENO, line, strlen(line));
}

static void say_error(const struct vdevice_ops *ops, const struct err *e)
{
	char text[ERR_TEXT_MAX];

	(void)err_join(e, text, sizeof(text));
	(void)fprintf(stderr, "cloister-%s: %s\n", ops->name, text);
}

/* --- the socket ------------------------------------------------------------------------------------------------- */

/* @held keeps the socket's inode number from being given to a successor's. */
static bool is_ours(const char *path, int held)
{
	struct stat st, was;

	return fstat(held, &was) == 0 && lstat(path, &st) == 0 && st.st_dev == was.st_dev && st.st_ino == was.st_ino;
}

/* Child: wait for the other end to close, or to say that it wants to see it done. */
static void __attribute__((noreturn)) keep(int fd, int held, const char *path)
{
	char word;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	helper_ignore_signals();
	(void)setsid();
	for (int i = 0; i < 3 && null >= 0; i++)
		(void)dup2(null, i);
	int first = fd < held ? fd : held, second = fd < held ? held : fd;
	(void)close_range(3, (unsigned)first - 1, 0);
	(void)close_range((unsigned)first + 1, (unsigned)second - 1, 0);
	(void)close_range((unsigned)second + 1, ~0u, 0);
	while (read(fd, &word, 1) < 0 && errno == EINTR)
		continue;
	if (is_ours(path, held))
		(void)unlink(path);
	_exit(0);
}

static int start_keeper(struct alone *a, const char *path, struct err *e)
{
	_cleanup_(fd_closep) int held = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	int pair[2];

	if (held < 0)
		return err_sys(e, -errno, "\"%s\"", path);
	int r = fd_socketpair(SOCK_STREAM, pair);
	if (r < 0)
		return err_sys(e, r, "socket pair");
	(void)fd_set_nonblock(pair[0], false);
	(void)fd_set_nonblock(pair[1], false);
	pid_t pid = fork();
	if (pid < 0)
		r = err_sys(e, -errno, "fork");
	if (pid == 0)
		keep(pair[1], held, path);
	fd_closep(&pair[1]);
	a->keeper_fd = pair[0];
	return r;
}

/* The name is gone when this returns. */
static void end_keeper(struct alone *a)
{
	char word = 0;

	if (a->keeper_fd >= 0 && write(a->keeper_fd, &word, 1) == 1)
		(void)!read(a->keeper_fd, &word, 1);
	fd_closep(&a->keeper_fd);
}

static int bind_name(int fd, const struct sockaddr_un *addr)
{
	return bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
}

/* A socket that nobody listens to: somebody was killed. Anything else is left alone. */
static bool is_stale(const struct sockaddr_un *addr)
{
	_cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 && errno == ECONNREFUSED;
}

static int listen_at(struct alone *a, const char *path, struct err *e)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (!str_fmt(addr.sun_path, sizeof(addr.sun_path), "%s", path))
		return err_set(e, -ENAMETOOLONG, "\"%s\": too long for a socket", path);
	a->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (a->listen_fd < 0)
		return err_sys(e, -errno, "socket");
	mode_t was = umask(0177);
	int r = bind_name(a->listen_fd, &addr);
	if (r == -EADDRINUSE && is_stale(&addr) && unlink(path) == 0)
		r = bind_name(a->listen_fd, &addr);
	(void)umask(was);
	if (r < 0)
		return err_sys(e, r, "\"%s\"", path);
	r = start_keeper(a, path, e);
	if (r == 0 && listen(a->listen_fd, 1) < 0)
		r = err_sys(e, -errno, "\"%s\"", path);
	return r;
}

/* A descriptor that was inherited: connected or listening. */
static int adopt(struct alone *a, struct err *e)
{
	int fd = a->opts.fd, listening = 0, type = 0;
	socklen_t len = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return err_set(e, -ENOTSOCK, "descriptor %d is no stream socket", fd);
	len = sizeof(listening);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
		return err_sys(e, -errno, "descriptor %d", fd);
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	int r = fd_set_nonblock(fd, true);
	if (r < 0)
		return err_sys(e, r, "descriptor %d", fd);
	*(listening != 0 ? &a->listen_fd : &a->conn_fd) = fd;
	return 0;
}

/* Away from the numbers that the role may pin. */
static int lift(int *fd, struct err *e)
{
	if (*fd < 0 || *fd >= FIRST_NUMBER)
		return 0;
	int high = fcntl(*fd, F_DUPFD_CLOEXEC, FIRST_NUMBER);
	if (high < 0)
		return err_sys(e, -errno, "descriptors");
	fd_closep(fd);
	*fd = high;
	return 0;
}

static int open_socket(struct alone *a, struct err *e)
{
	int r = a->opts.socket_path != NULL ? listen_at(a, a->opts.socket_path, e) : adopt(a, e);

	if (r == 0)
		r = lift(&a->listen_fd, e);
	if (r == 0)
		r = lift(&a->conn_fd, e);
	if (r == 0)
		r = lift(&a->keeper_fd, e);
	return r;
}

/* --- front ends ------------------------------------------------------------------------------------------------- */

static struct alone *of(struct vdevice *vd)
{
	static struct alone one = { .listen_fd = -1, .conn_fd = -1, .signal_fd = -1, .keeper_fd = -1 };

	one.vd = vd;
	return &one;
}

static void on_gone(struct vdevice *vd)
{
	struct alone *a = of(vd);

	if (a->listen_fd < 0)
		vdevice_finish(vd, 0);
	else
		(void)event_add(a->ev_listen, NULL);
}

/* #syscalls blk_alone net_alone rng_alone vconsole_alone: accept4 */
static void on_listen(evutil_socket_t fd, short what, void *arg)
{
	struct alone *a = arg;
	int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)what;
	if (conn < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
			log_error("accepting a front end: %s", strerror(errno));
			vdevice_finish(a->vd, 1); /* it would be tried again for ever */
		}
		return;
	}
	/* The next one waits in the queue until this one has gone. */
	(void)event_del(a->ev_listen);
	if (vdevice_conn_open(a->vd, conn) < 0)
		vdevice_finish(a->vd, 1);
}

/* SIGTERM and the like arrive here: an orderly end. */
static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	struct signalfd_siginfo info;
	struct alone *a = arg;

	(void)what;
	(void)!read(fd, &info, sizeof(info));
	vdevice_finish(a->vd, 0);
}

/* Before threads, which inherit the mask. */
static int take_signals(struct alone *a, struct err *e)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_sys(e, -errno, "signals");
	a->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (a->signal_fd < 0)
		return err_sys(e, -errno, "signals");
	return lift(&a->signal_fd, e);
}

static int watch(struct alone *a, struct err *e)
{
	a->ev_signal = event_new(a->vd->base, a->signal_fd, EV_READ | EV_PERSIST, on_signal, a);
	if (a->ev_signal == NULL || event_add(a->ev_signal, NULL) < 0)
		return err_set(e, -ENOMEM, "events");
	if (a->listen_fd < 0)
		return vdevice_conn_open(a->vd, a->conn_fd) < 0 ? err_set(e, -ENOMEM, "events") : 0;
	a->ev_listen = event_new(a->vd->base, a->listen_fd, EV_READ | EV_PERSIST, on_listen, a);
	if (a->ev_listen == NULL || event_add(a->ev_listen, NULL) < 0)
		return err_set(e, -ENOMEM, "events");
	return 0;
}

/* --- life ------------------------------------------------------------------------------------------------------- */

static int wake_fd(int *fd, struct err *e)
{
	*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (*fd < 0)
		return err_sys(e, -errno, "eventfd");
	return lift(fd, e);
}

static int make_wakes(struct vdevice *vd, struct err *e)
{
	int r = vd->n_workers > 1 ? wake_fd(&vd->main_wake, e) : 0;

	for (unsigned i = 1; i < vd->n_workers && r == 0; i++)
		r = wake_fd(&vd->workers[i].wake, e);
	return r;
}

/* Everything that is made while there are rights. */
static int prepare(struct alone *a, struct err *e)
{
	struct vdevice *vd = a->vd;
	int r = vd->ops->open_alone != NULL ? vd->ops->open_alone(vd->dev, &a->lim, e) : 0;

	if (r == 0)
		r = open_socket(a, e);
	if (r == 0)
		r = take_signals(a, e);
	if (r == 0)
		r = vu_server_init(&vd->server, &vdevice_vu_ops, vd, false, vd->n_queues, vd->queue_size) < 0 ?
			    err_set(e, -ENOMEM, "out of memory") :
			    0;
	if (r == 0)
		r = vdevice_queues_init(vd, e);
	if (r == 0)
		r = make_wakes(vd, e);
	vd->server.with_inflight = (vd->ops->flags & VDEVICE_INFLIGHT) != 0;
	return r;
}

/* Memory for what the C library and libevent still want is there (helper_keep_heap()); mmap is the protocol's.
 * #syscalls blk_alone net_alone rng_alone vconsole_alone: poll gettimeofday brk
 */
static int lock_down(struct alone *a, struct err *e)
{
	struct vdevice *vd = a->vd;
	int r;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		log_warn("no_new_privs is not to be had: %s", strerror(errno));
	jail_lock_landlock(&a->missing);
	r = vdevice_threads_start(vd, e);
	vd->gone = on_gone;
	if (r == 0)
		r = vdevice_conn_init(vd, e);
	if (r == 0)
		r = vdevice_threads_go(vd, e);
	if (r == 0 && helper_keep_heap() < 0)
		r = err_set(e, -ENOMEM, "out of memory");
	return r == 0 ? jail_lock_rest(vd->ops->role_alone, &a->lim, &a->missing, e) : r;
}

static void say_missing(const struct jail_missing *m)
{
	for (unsigned i = 0; i < JAIL_LAYER_COUNT; i++) {
		if (((m->perm | m->old) >> i & 1) != 0)
			log_info("runs without: %s", jail_layer_name((enum jail_layer)i));
	}
}

static int serve(struct alone *a, struct err *e)
{
	struct vdevice *vd = a->vd;
	uint32_t detail = 0;
	int r = prepare(a, e);

	if (r == 0)
		r = lock_down(a, e);
	if (r == 0)
		r = vd->ops->start(vd->dev, &detail, e);
	if (r == 0)
		r = watch(a, e);
	if (r < 0)
		return r;
	say_missing(&a->missing);
	(void)event_base_loop(vd->base, EVLOOP_NO_EXIT_ON_EMPTY);
	if (vd->ops->stop != NULL)
		vd->ops->stop(vd->dev);
	return 0;
}

int vdevice_alone_main(struct vdevice *vd, int argc, char **argv)
{
	struct alone *a = of(vd);
	struct err e = { 0 };

	vd->alone = true;
	vd->n_queues = vd->ops->queues_max;
	vd->queue_size = VDEVICE_ALONE_QUEUE_SIZE;
	a->lim = (struct jail_limits){ JAIL_KEEP, JAIL_KEEP, JAIL_KEEP, JAIL_KEEP };
	int r = alone_options_parse(vd->ops, vd->dev, argc, argv, &a->opts, &e);
	if (r > 0)
		return 0;
	if (r < 0) {
		say_error(vd->ops, &e);
		(void)fprintf(stderr, "Try \"cloister-%s --help\".\n", vd->ops->name);
		return EXIT_USAGE;
	}
	log_open(-1, vd->ops->name, LOG_INFO);
	log_set_process_sink(log_to_stderr, (void *)(uintptr_t)vd->ops->name);
	jail_post_exec(argc > 0 ? argv[0] : vd->ops->name);
	vd->base = helper_keep_heap() == 0 ? ev_new(EV_BACKEND_POLL) : NULL;
	r = vd->base != NULL ? serve(a, &e) : err_set(&e, -ENOMEM, "out of memory");
	if (r < 0)
		say_error(vd->ops, &e);
	end_keeper(a);
	return r < 0 || vd->status < 0 ? 1 : vd->status;
}
