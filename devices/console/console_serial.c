/* SPDX-License-Identifier: ISC */
/*
 * The host side of vmmd's 16550.
 *
 *	vmmd ══ STREAM ══> read ──> ring (shared memory, 1 MiB) ──> write ──> target
 *	vmmd <══ STREAM ══ write <── one chunk <── read <── target's input
 *
 * It always reads what vmmd sends, however slow the target is, so that neither a vCPU nor vmmd ever waits for a terminal
 * under Ctrl-S: what the ring cannot hold costs the oldest bytes, counted. In the other direction it waits: input is
 * read only when the last chunk has gone.
 *
 * The ring outlives this process. Each chunk (4 KiB at most) is either still in the socket, or in the ring, or on its way
 * between the two or out; it is never in two of these places. So a kill at any point loses at most one chunk and repeats
 * nothing.
 *
 * Descriptors held: jail/policy/roles.def. Believed: the parent's configuration. Not believed: the ring's header (a
 * predecessor may have been taken over), anything a guest or a client sends (never interpreted but for a lone LF).
 */
#include "devices/console/console_serial.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/units.h"
#include "devices/common/device.h"
#include "devices/console/console_host.h"
#include "jail/policy/roles.h"

enum {
	STREAM = FD_console_STREAM,
	FIRST = FD_console_STREAM,     /* lowest and highest number that a configuration fills */
	LAST = FD_console_CLIENT,
	LIFTED = 32,                   /* where they wait while the fixed numbers are cleared */
	CHUNKS_PER_WAKE = 16,          /* then the loop gets its turn */
	FDS_FIRST = 2,                 /* stream and ring, then the target's */
	FDS_MAX = FDS_FIRST + CONSOLE_TARGET_FDS,
};

static const struct console_numbers numbers = {
	.out = FD_console_TARGET_OUT,
	.in = FD_console_TARGET_IN,
	.listen = FD_console_LISTEN,
	.client = FD_console_CLIENT,
};

struct console {
	struct event_base *base; /* [const] after configure */
	struct console_host host;
	bool stream_ended;
	struct event *ev_stream, *ev_stream_write;

	struct event *ev_deadline;
	device_drained_fn drained;
	void *drained_arg;
};

static void drain_check(struct console *c);

/* --- from the guest ---------------------------------------------------------------------------------------------------- */

static void stream_ended(struct console *c)
{
	c->stream_ended = true;
	(void)event_del(c->ev_stream);
	(void)event_del(c->ev_stream_write);
	console_host_end_input(&c->host);
}

/* Stream to ring, one chunk: out of the socket first, then covered by the ring's head. Returns false when there is no
 * more now.
 * #syscalls console: read(fd=STREAM)
 */
static bool pull_chunk(struct console *c)
{
	uint8_t buf[CONSOLE_CHUNK];
	ssize_t n = read(STREAM, buf, sizeof(buf));

	if (n > 0) {
		console_host_put(&c->host, buf, (size_t)n);
		return true;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		stream_ended(c);
	return false;
}

static void on_stream(evutil_socket_t fd, short what, void *arg)
{
	struct console *c = arg;
	int i = 0;

	(void)fd;
	(void)what;
	while (i < CHUNKS_PER_WAKE && pull_chunk(c))
		i++;
	drain_check(c);
}

/* --- to the guest ------------------------------------------------------------------------------------------------------ */

/* What waits of the last chunk.
 * #syscalls console: write(fd=STREAM)
 */
static void push_input(void *arg)
{
	struct console *c = arg;
	const uint8_t *p;
	size_t n;

	while (!c->stream_ended && (n = console_host_input(&c->host, &p)) > 0) {
		ssize_t w = write(STREAM, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0 && errno == EAGAIN) {
			(void)event_add(c->ev_stream_write, NULL);
			return;
		}
		/* An error: the stream has ended, and on_stream() sees it too. */
		console_host_input_taken(&c->host, w < 0 ? n : (size_t)w);
	}
}

static void on_stream_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	push_input(arg);
}

static void on_output(void *arg)
{
	drain_check(arg);
}

static const struct console_guest_ops guest_ops = { .on_input = push_input, .on_output = on_output };

/* --- descriptor phase ------------------------------------------------------------------------------------------------- */

/* Out of the way of the fixed numbers, which are then all empty. The event base's own pair for signals is closed with
 * them: this process handles none.
 * #syscalls monitor: fcntl(F_DUPFD_CLOEXEC) close_range
 */
static int lift_descriptors(struct chan_msg *m, int *fds, struct err *e)
{
	for (unsigned i = 0; i < m->nfds; i++) {
		fds[i] = fcntl(m->fds[i], F_DUPFD_CLOEXEC, LIFTED);
		if (fds[i] < 0)
			return err_sys(e, -errno, "descriptors");
		fd_closep(&m->fds[i]);
	}
	if (close_range(FIRST, LIFTED - 1, 0) < 0)
		return err_sys(e, -errno, "descriptors");
	return 0;
}

/* #syscalls monitor: getsockopt(arg1=SOL_SOCKET) */
static int place_all(struct console *c, const struct msg_con_config *cfg, int *fds, struct err *e)
{
	int type = 0;
	socklen_t len = sizeof(type);
	int r = console_host_map_ring(&c->host, fds[1], e);

	if (r < 0)
		return r;
	if (getsockopt(fds[0], SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return err_set(e, -ENOTSOCK, "the device's side is no stream socket");
	if ((r = fd_move(&fds[0], STREAM, true)) < 0 || (r = fd_set_nonblock(STREAM, true)) < 0)
		return err_sys(e, r, "stream");
	return console_target_place(&c->host.target, &numbers, cfg, fds + FDS_FIRST, e);
}

/* Highest number that can ever be in use. */
static uint64_t last_number(const struct console_target *t)
{
	if (t->kind == CON_TARGET_LISTEN)
		return LAST;
	if (t->kind == CON_TARGET_PTY)
		return FD_console_LISTEN;
	if (t->in >= 0)
		return FD_console_TARGET_IN;
	return t->out >= 0 ? FD_console_TARGET_OUT : STREAM;
}

static int console_configure(void *dev, struct event_base *base, const void *config, struct chan_msg *m,
			     struct jail_limits *lim, struct err *e)
{
	struct console *c = dev;
	const struct msg_con_config *cfg = config;
	int fds[FDS_MAX] = { -1, -1, -1, -1 };
	int want = console_target_count(cfg, e);

	if (want < 0)
		return want;
	want += FDS_FIRST;
	if (m->nfds != (unsigned)want)
		return err_set(e, -EBADMSG, "%u descriptors instead of %d", m->nfds, want);
	c->base = base;
	int r = lift_descriptors(m, fds, e);
	if (r == 0)
		r = place_all(c, cfg, fds, e);
	fd_close_all(fds, FDS_MAX);
	if (close_range(LAST + 1, ~0u, 0) < 0 && r == 0)
		r = err_sys(e, -errno, "descriptors");
	*lim = (struct jail_limits){
		.nofile = last_number(&c->host.target) + 1,
		.fsize = cfg->target == CON_TARGET_FILE ? JAIL_KEEP : ROLE_console_FSIZE,
		.as_bytes = ROLE_console_AS_MIB * MIB,
		.nproc = ROLE_console_NPROC,
	};
	return r;
}

/* --- life ------------------------------------------------------------------------------------------------------------- */

static void on_deadline(evutil_socket_t fd, short what, void *arg);

static int console_start(void *dev, struct err *e)
{
	struct console *c = dev;

	c->ev_stream = event_new(c->base, STREAM, EV_READ | EV_PERSIST, on_stream, c);
	c->ev_stream_write = event_new(c->base, STREAM, EV_WRITE, on_stream_writable, c);
	c->ev_deadline = event_new(c->base, -1, 0, on_deadline, c);
	if (c->ev_stream == NULL || c->ev_stream_write == NULL || c->ev_deadline == NULL ||
	    event_add(c->ev_stream, NULL) < 0)
		return err_set(e, -ENOMEM, "events");
	return console_host_start(&c->host, c->base, &guest_ops, c, e);
}

static void console_stats(const void *dev, struct msg_hlp_stats_result *out)
{
	const struct console *c = dev;

	*out = (struct msg_hlp_stats_result){
		.bytes_in = c->host.ring.head,
		.bytes_out = c->host.ring.tail - c->host.ring.dropped,
		.dropped = c->host.ring.dropped,
	};
}

static void drain_end(struct console *c, bool complete)
{
	device_drained_fn done = c->drained;

	c->drained = NULL;
	(void)event_del(c->ev_deadline);
	done(c->drained_arg, complete);
}

/* A drain is over when the stream has nothing and the ring is empty, or when nobody can take what is there. */
static void drain_check(struct console *c)
{
	bool complete;

	if (c->drained != NULL && console_host_is_settled(&c->host, &complete))
		drain_end(c, complete);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct console *c = arg;

	(void)fd;
	(void)what;
	/* Stopped in between? One more look before the deadline counts. */
	console_host_push(&c->host, true);
	drain_check(c);
	if (c->drained != NULL)
		drain_end(c, false);
}

static void pull_all(struct console *c)
{
	/* More than this is no backlog but a guest that goes on writing. */
	enum { CHUNKS_MAX = 2 * CONSOLE_RING_DATA / CONSOLE_CHUNK };

	int i = 0;

	while (i < CHUNKS_MAX && !c->stream_ended && pull_chunk(c))
		i++;
}

static void console_drain(void *dev, uint32_t timeout_ms, device_drained_fn done, void *arg)
{
	struct console *c = dev;
	struct timeval after = { .tv_sec = timeout_ms / 1000, .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000 };

	c->drained = done;
	c->drained_arg = arg;
	pull_all(c);
	drain_check(c);
	if (c->drained != NULL && event_add(c->ev_deadline, &after) < 0)
		drain_end(c, false);
}

/* The parent is gone. What the target takes without waiting still goes out; then the terminal is the user's again. */
static void console_stop(void *dev)
{
	struct console *c = dev;

	if (c->ev_stream != NULL) {
		console_host_push(&c->host, true);
		pull_all(c);
	}
	console_target_restore(&c->host.target);
}

static const struct device_ops console_ops = {
	.name = "console",
	.role = JAIL_CONSOLE,
	.config_type = MSG_CON_CONFIG,
	.config_desc = &desc_msg_con_config,
	.configure = console_configure,
	.start = console_start,
	.stats = console_stats,
	.drain = console_drain,
	.stop = console_stop,
};

int serial_console_main(int argc, char **argv)
{
	static struct console console;

	return device_main(&console_ops, &console, argc, argv);
}
