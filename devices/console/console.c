/* SPDX-License-Identifier: ISC */
/*
 * cloister-console: the host side of one character device (today vmmd's 16550).
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
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/units.h"
#include "devices/common/device.h"
#include "devices/console/console_ring.h"
#include "devices/console/console_target.h"
#include "jail/policy/roles.h"

enum {
	STREAM = FD_console_STREAM,
	FIRST = FD_console_STREAM,     /* lowest and highest number that a configuration fills */
	LAST = FD_console_CLIENT,
	LIFTED = 32,                   /* where they wait while the fixed numbers are cleared */
	CHUNKS_PER_WAKE = 16,          /* then the loop gets its turn */
	FDS_MAX = 4,
};

struct console {
	/* const after configure */
	struct event_base *base;
	struct console_target target;

	struct console_ring ring;
	bool stream_ended;
	bool target_gone; /* nobody will ever read it */

	uint8_t input[CONSOLE_CHUNK]; /* what the stream has not taken yet */
	size_t input_at, input_len;

	struct event *ev_stream, *ev_stream_write, *ev_listen, *ev_out, *ev_in;
	bool out_waits; /* ev_out is armed: no use trying before it fires */

	struct event *ev_deadline;
	device_drained_fn drained;
	void *drained_arg;
};

/* --- output -------------------------------------------------------------------------------------------------------- */

static void drain_check(struct console *c);
static void client_gone(struct console *c);

static void wait_for_target(struct console *c)
{
	if (!c->out_waits && c->ev_out != NULL)
		c->out_waits = event_add(c->ev_out, NULL) == 0;
}

/* The target refused for another reason than being slow. */
static void target_failed(struct console *c, int error, size_t n)
{
	if (c->target.kind == CON_TARGET_LISTEN) {
		client_gone(c); /* the bytes stay for the next one */
		return;
	}
	console_ring_drop(&c->ring, n);
	if (c->target.kind == CON_TARGET_STREAM && (error == EPIPE || error == ECONNRESET || error == EIO)) {
		if (!c->target_gone)
			log_warn("console output has no reader any more");
		c->target_gone = true;
		return;
	}
	log_at_rl(LOG_WARN, "console output lost: %s", strerror(error)); /* a full disk: later bytes may fit again */
}

/* Ring to target, one chunk. False when there is no more to do now. */
static bool push_chunk(struct console *c)
{
	const uint8_t *p;
	size_t n = console_ring_peek(&c->ring, &p);

	if (n == 0)
		return false;
	if (c->target_gone) {
		console_ring_drop(&c->ring, n);
		return true;
	}
	console_ring_take(&c->ring, n);
	ssize_t w = console_target_write(&c->target, p, n);
	if (w == (ssize_t)n)
		return true;
	console_ring_put_back(&c->ring, w < 0 ? n : n - (size_t)w);
	if (w >= 0 || w == -EAGAIN)
		wait_for_target(c);
	else
		target_failed(c, (int)-w, n);
	return w < 0 && w != -EAGAIN && c->target.kind != CON_TARGET_LISTEN;
}

static void push_output(struct console *c)
{
	if (c->out_waits || (c->target.kind == CON_TARGET_LISTEN && c->target.out < 0))
		return;
	for (int i = 0; push_chunk(c); i++) {
		if (i >= CHUNKS_PER_WAKE && c->ev_out != NULL && !c->target_gone) {
			wait_for_target(c);
			break;
		}
	}
}

static void on_target_writable(evutil_socket_t fd, short what, void *arg)
{
	struct console *c = arg;

	(void)fd;
	(void)what;
	c->out_waits = false; /* not persistent: armed again while output waits */
	push_output(c);
	drain_check(c);
}

/* --- the guest's side ------------------------------------------------------------------------------------------------ */

static void stream_ended(struct console *c)
{
	c->stream_ended = true;
	(void)event_del(c->ev_stream);
	(void)event_del(c->ev_stream_write);
	if (c->ev_in != NULL)
		(void)event_del(c->ev_in);
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
		(void)console_ring_put(&c->ring, buf, (size_t)n);
		return true;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		stream_ended(c);
	return false;
}

static void on_stream(evutil_socket_t fd, short what, void *arg)
{
	struct console *c = arg;

	(void)fd;
	(void)what;
	for (int i = 0; i < CHUNKS_PER_WAKE && pull_chunk(c); i++)
		push_output(c);
	drain_check(c);
}

/* --- input --------------------------------------------------------------------------------------------------------- */

/* What waits of the last chunk, to the guest.
 * #syscalls console: write(fd=STREAM)
 */
static void push_input(struct console *c)
{
	while (c->input_at < c->input_len) {
		ssize_t n = write(STREAM, c->input + c->input_at, c->input_len - c->input_at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			(void)event_add(c->ev_stream_write, NULL);
			if (c->ev_in != NULL)
				(void)event_del(c->ev_in); /* a terminal's reader waits with it */
			return;
		}
		if (n < 0)
			break; /* the stream has ended: on_stream() sees it too */
		c->input_at += (size_t)n;
	}
	c->input_at = 0;
	c->input_len = 0;
	if (c->ev_in != NULL && !c->stream_ended)
		(void)event_add(c->ev_in, NULL);
}

static void on_stream_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	push_input(arg);
}

/* The Enter key of a line-buffered peer is a lone LF; a guest's terminal expects CR. */
static void convert_input(uint8_t *p, size_t n)
{
	if (n == 1 && p[0] == '\n')
		p[0] = '\r';
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	struct console *c = arg;
	ssize_t n = console_target_read(&c->target, c->input, sizeof(c->input));

	(void)fd;
	(void)what;
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		/* No more input; output may go on (a client that only closed its sending side). */
		(void)event_del(c->ev_in);
		return;
	}
	convert_input(c->input, (size_t)n);
	c->input_at = 0;
	c->input_len = (size_t)n;
	push_input(c);
}

/* --- clients of a listening socket ------------------------------------------------------------------------------------ */

static void free_event(struct event **ev)
{
	if (*ev != NULL)
		event_free(*ev);
	*ev = NULL;
}

static void client_gone(struct console *c)
{
	free_event(&c->ev_out);
	free_event(&c->ev_in);
	c->out_waits = false;
	console_target_hang_up(&c->target);
}

/* Events for the target's present descriptors. */
static int watch_target(struct console *c)
{
	if (c->target.out >= 0) {
		c->ev_out = event_new(c->base, c->target.out, EV_WRITE, on_target_writable, c);
		if (c->ev_out == NULL)
			return -ENOMEM;
	}
	if (c->target.in >= 0) {
		c->ev_in = event_new(c->base, c->target.in, EV_READ | EV_PERSIST, on_input, c);
		if (c->ev_in == NULL)
			return -ENOMEM;
		if (c->input_len == 0 && !c->stream_ended && event_add(c->ev_in, NULL) < 0)
			return -ENOMEM;
	}
	return 0;
}

static void on_listen(evutil_socket_t fd, short what, void *arg)
{
	struct console *c = arg;

	(void)fd;
	(void)what;
	client_gone(c);
	int r = console_target_accept(&c->target);
	if (r == 0 && watch_target(c) < 0)
		client_gone(c);
	if (r < 0 && r != -EAGAIN) {
		log_warn("console accepts no more clients: %s", strerror(-r));
		(void)event_del(c->ev_listen);
	}
	push_output(c);
}

/* --- descriptor phase ------------------------------------------------------------------------------------------------- */

/* #syscalls monitor: newfstatat mmap madvise(DONTDUMP) */
static int map_ring(struct console *c, int fd, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size < 0)
		return err_set(e, -EINVAL, "ring");
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return err_sys(e, -errno, "mapping the ring");
	(void)madvise(p, (size_t)st.st_size, MADV_DONTDUMP);
	int r = console_ring_attach(&c->ring, p, (size_t)st.st_size);
	if (r < 0)
		return err_set(e, r, "ring of %lld bytes", (long long)st.st_size);
	if (r == 0)
		log_debug("console ring starts empty");
	return 0;
}

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
	int r = map_ring(c, fds[1], e);

	if (r < 0)
		return r;
	if (getsockopt(fds[0], SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return err_set(e, -ENOTSOCK, "the device's side is no stream socket");
	if ((r = fd_move(&fds[0], STREAM, true)) < 0 || (r = fd_set_nonblock(STREAM, true)) < 0)
		return err_sys(e, r, "stream");
	return console_target_place(&c->target, cfg, fds + 2, e);
}

/* Highest number that can ever be in use. */
static uint64_t last_number(const struct console *c)
{
	if (c->target.kind == CON_TARGET_LISTEN)
		return LAST;
	if (c->target.kind == CON_TARGET_PTY)
		return FD_console_LISTEN;
	if (c->target.in >= 0)
		return FD_console_TARGET_IN;
	return c->target.out >= 0 ? FD_console_TARGET_OUT : STREAM;
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
		.nofile = last_number(c) + 1,
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
	if (c->target.kind == CON_TARGET_LISTEN)
		c->ev_listen = event_new(c->base, FD_console_LISTEN, EV_READ | EV_PERSIST, on_listen, c);
	if (c->ev_stream == NULL || c->ev_stream_write == NULL || c->ev_deadline == NULL || watch_target(c) < 0 ||
	    event_add(c->ev_stream, NULL) < 0 || (c->ev_listen != NULL && event_add(c->ev_listen, NULL) < 0))
		return err_set(e, -ENOMEM, "events");
	push_output(c); /* what a predecessor left */
	return 0;
}

static void console_stats(const void *dev, struct msg_hlp_stats_result *out)
{
	const struct console *c = dev;

	*out = (struct msg_hlp_stats_result){
		.bytes_in = c->ring.head,
		.bytes_out = c->ring.tail - c->ring.dropped,
		.dropped = c->ring.dropped,
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
	if (c->drained == NULL)
		return;
	bool empty = console_ring_used(&c->ring) == 0;
	if (empty || (c->target.kind == CON_TARGET_LISTEN && c->target.out < 0))
		drain_end(c, empty);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct console *c = arg;

	(void)fd;
	(void)what;
	/* Stopped in between? One more look before the deadline counts. */
	c->out_waits = false;
	push_output(c);
	drain_check(c);
	if (c->drained != NULL)
		drain_end(c, false);
}

static void pull_all(struct console *c)
{
	/* More than this is no backlog but a guest that goes on writing. */
	enum { CHUNKS_MAX = 2 * CONSOLE_RING_DATA / CONSOLE_CHUNK };

	for (int i = 0; i < CHUNKS_MAX && !c->stream_ended && pull_chunk(c); i++)
		push_output(c);
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
		c->out_waits = false;
		pull_all(c);
	}
	console_target_restore(&c->target);
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

int main(int argc, char **argv)
{
	static struct console console;

	return device_main(&console_ops, &console, argc, argv);
}
