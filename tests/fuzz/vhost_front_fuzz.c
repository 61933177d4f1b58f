/* SPDX-License-Identifier: ISC */
/*
 * The front end of vhost-user against a hostile back end. First byte: bit 0 ours, bit 1 it may have no configuration
 * space. Then operations: what the back end sends (an answer that is right in all but its payload, a header of any
 * kind, bytes as they are, descriptors, the end), and what happens on our side meanwhile (start, stop, doorbells,
 * configuration, a successor). What must hold: once broken it is down and stays so until it is opened again; a stop
 * is told at most once, and not while something is unanswered; the configuration space keeps its length; no
 * descriptor is left behind.
 */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "common/ev.h"
#include "common/fd.h"
#include "tests/fuzz/ops.h"
#include "vmmd/vhost/backend.h"
#include "vmmd/vhost/front.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { QUEUES = 2, CONFIG = 60, TURNS = 256 };

struct world {
	struct ops in;
	struct event_base *base;
	struct vhost_front front;
	struct vhost_ram ram;
	struct vhost_backend backend;
	int be;    /* the back end's end, -1: gone */
	int own;   /* and that of its own channel */
	int event; /* for everything that is one */
	bool stopping;
};

static void on_nothing(void *arg)
{
	(void)arg;
}

static void on_stopped(void *arg)
{
	struct world *w = arg;

	ops_promise(w->stopping);
	w->stopping = false;
}

static void on_refused(void *arg, const char *what)
{
	struct world *w = arg;

	(void)what;
	ops_promise(w->front.state == VHOST_RUNNING);
}

static void on_broken(void *arg, const char *why)
{
	struct world *w = arg;

	ops_promise(why != NULL && w->front.state == VHOST_DOWN && !vhost_link_is_open(&w->front.link));
	w->stopping = false; /* its death would end that */
}

static void on_changed(void *arg)
{
	struct world *w = arg;

	vhost_front_refresh_config(&w->front);
}

static void on_backend_broken(void *arg, const char *why)
{
	struct world *w = arg;

	ops_promise(why != NULL && w->backend.fd < 0);
}

static void open_front(struct world *w)
{
	int pair[2];

	fd_closep(&w->own);
	ops_promise(fd_socketpair(SOCK_STREAM, pair) == 0);
	w->own = pair[0];
	ops_promise(vhost_backend_open(&w->backend, w->base, &pair[1]) == 0);

	fd_closep(&w->be);
	ops_promise(fd_socketpair(SOCK_STREAM, pair) == 0);
	w->be = pair[0];
	ops_promise(vhost_front_open(&w->front, &pair[1]) == 0);
	w->stopping = false;
}

/* --- the back end ----------------------------------------------------------------------------------------------------- */

static void send_bytes(struct world *w, const void *p, size_t len, unsigned n_fds)
{
	int fds[16];

	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = w->event;
	if (w->be >= 0 && len > 0)
		(void)!fd_sendmsg(w->be, p, len, fds, n_fds);
}

/* An answer: the size is right for most requests when @len says so. */
static void send_answer(struct world *w, bool fix)
{
	struct {
		struct vhost_user_header h;
		uint8_t payload[VHOST_USER_PAYLOAD_MAX];
	} m = { .h = { (uint32_t)ops_take(&w->in, 1), VHOST_USER_VERSION | VHOST_USER_REPLY, 0 } };
	unsigned n_fds = (unsigned)ops_take(&w->in, 1) & 15;

	m.h.size = (uint32_t)ops_take(&w->in, fix ? 1 : 4);
	if (!fix)
		m.h.flags = (uint32_t)ops_take(&w->in, 4);
	size_t len = m.h.size < sizeof(m.payload) ? m.h.size : sizeof(m.payload);

	for (size_t i = 0; i < len && w->in.left > 0; i++)
		m.payload[i] = (uint8_t)ops_take(&w->in, 1);
	send_bytes(w, &m, sizeof(m.h) + len, n_fds);
}

/* What a sound back end says, so that the fuzzer gets far. */
static void send_sound(struct world *w)
{
	struct {
		struct vhost_user_header h;
		uint8_t payload[VHOST_USER_PAYLOAD_MAX];
	} m;
	ssize_t n = w->be >= 0 ? recv(w->be, &m.h, sizeof(m.h), MSG_DONTWAIT) : -1;
	uint64_t all = UINT64_MAX;

	if (n != (ssize_t)sizeof(m.h) || m.h.size > sizeof(m.payload))
		return;
	if (m.h.size > 0 && recv(w->be, m.payload, m.h.size, MSG_DONTWAIT) != (ssize_t)m.h.size)
		return;
	bool number = m.h.request == VHOST_USER_GET_FEATURES || m.h.request == VHOST_USER_GET_PROTOCOL_FEATURES ||
		      m.h.request == VHOST_USER_GET_QUEUE_NUM || m.h.request == VHOST_USER_GET_MAX_MEM_SLOTS;
	bool ack = (m.h.flags & VHOST_USER_NEED_REPLY) != 0;
	bool same = m.h.request == VHOST_USER_GET_CONFIG || m.h.request == VHOST_USER_GET_VRING_BASE ||
		    m.h.request == VHOST_USER_GET_INFLIGHT_FD;

	if (!number && !ack && !same)
		return;
	m.h.flags = VHOST_USER_VERSION | VHOST_USER_REPLY;
	if (!same) {
		m.h.size = sizeof(all);
		all = ack ? 0 : all;
		memcpy(m.payload, &all, sizeof(all));
	} else if (m.h.request == VHOST_USER_GET_INFLIGHT_FD) {
		m.payload[0] = 1; /* of a region that has bytes */
	}
	send_bytes(w, &m, sizeof(m.h) + m.h.size, m.h.request == VHOST_USER_GET_INFLIGHT_FD && !w->front.cfg.ours);
}

/* On its own channel: a request that is right but for what the input says, or bytes as they are. */
static void send_own(struct world *w)
{
	struct vhost_user_header h = { (uint32_t)ops_take(&w->in, 1), VHOST_USER_VERSION,
				       (uint32_t)ops_take(&w->in, 1) };
	uint8_t bytes[256] = { 0 };
	size_t len = h.size;

	h.flags |= (uint32_t)ops_take(&w->in, 1) << 2;
	if (w->own >= 0) {
		(void)!fd_sendmsg(w->own, &h, sizeof(h), NULL, 0);
		(void)!fd_sendmsg(w->own, bytes, len, &w->event, (unsigned)ops_take(&w->in, 1) & 1);
	}
	vhost_backend_pump(&w->backend);
	while (w->own >= 0 && recv(w->own, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void send_raw(struct world *w)
{
	uint8_t bytes[64];
	size_t len = (size_t)ops_take(&w->in, 1) % sizeof(bytes);

	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)ops_take(&w->in, 1);
	send_bytes(w, bytes, len, (unsigned)ops_take(&w->in, 1) & 15);
}

/* --- our side --------------------------------------------------------------------------------------------------------- */

static void start(struct world *w)
{
	for (unsigned q = 0; q < QUEUES; q++)
		w->front.rings[q] = (struct vhost_ring){ .enabled = ops_take(&w->in, 1) & 1, .size = 64, .desc = 4096 };
	vhost_front_start(&w->front, ops_take(&w->in, 8), &w->ram, ops_take(&w->in, 1) & 1);
}

static void stop(struct world *w)
{
	if (w->front.state == VHOST_STOPPING)
		return;
	w->stopping = true;
	vhost_front_stop(&w->front);
	ops_promise(!w->stopping || w->front.state == VHOST_STOPPING);
}

static void step(struct world *w)
{
	uint8_t config[4];

	switch (ops_take(&w->in, 1) % 15) {
	case 0:
	case 1:
	case 2:
	case 3:
		send_sound(w);
		break;
	case 4:
		send_answer(w, true);
		break;
	case 5:
		send_answer(w, false);
		break;
	case 6:
		send_raw(w);
		break;
	case 7:
		start(w);
		break;
	case 8:
		stop(w);
		break;
	case 9:
		vhost_front_kick(&w->front, (unsigned)ops_take(&w->in, 1));
		break;
	case 10:
		vhost_front_refresh_config(&w->front);
		break;
	case 11:
		memset(config, (int)ops_take(&w->in, 1), sizeof(config));
		vhost_front_write_config(&w->front, (uint32_t)ops_take(&w->in, 1), config,
					 (uint32_t)ops_take(&w->in, 1) & 3);
		break;
	case 12:
		fd_closep(&w->be);
		break;
	case 13:
		open_front(w);
		break;
	case 14:
		send_own(w);
		break;
	}
	vhost_front_pump(&w->front);
	ops_promise(vhost_link_is_open(&w->front.link) == (w->front.state != VHOST_DOWN));
	ops_promise(w->front.state != VHOST_STOPPING || w->front.bases_due > 0);
}

static void play(struct world *w, bool ours, bool config_needed)
{
	static const struct vhost_front_ops ops = { on_nothing, on_nothing, on_stopped, on_refused, on_broken };
	const int events[QUEUES] = { w->event, w->event };
	const struct vhost_front_cfg cfg = {
		.base = w->base,
		.ours = ours,
		.n_queues = QUEUES,
		.queue_size = 128,
		.config_len = CONFIG,
		.config_needed = config_needed,
		.kick = events,
		.call = events,
		.err = w->event,
		.timeouts = { 100000, 100000, 100000 },
		.ops = &ops,
		.arg = w,
	};

	static const struct vhost_backend_ops backend_ops = { on_changed, on_backend_broken };

	vhost_backend_init(&w->backend, &backend_ops, w);
	ops_promise(vhost_front_init(&w->front, &cfg) == 0);
	vhost_front_writable(&w->front, 32, 1);
	open_front(w);
	for (unsigned i = 0; i < TURNS && w->in.left > 0; i++)
		step(w);
	for (size_t i = CONFIG; i < sizeof(w->front.config); i++)
		ops_promise(w->front.config[i] == 0);
	vhost_backend_close(&w->backend);
	vhost_front_fini(&w->front);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = { .in = { data, size }, .be = -1, .own = -1 };
	uint8_t how = (uint8_t)ops_take(&w.in, 1);

	w.base = ev_new(EV_BACKEND_POLL);
	w.event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ops_promise(w.base != NULL && w.event >= 0);
	w.ram = (struct vhost_ram){ .fd = w.event, .n = 1, .run = { { 0, 65536, 0 } } };
	play(&w, (how & 1) != 0, (how & 2) == 0);
	fd_closep(&w.be);
	fd_closep(&w.own);
	int probe = fcntl(w.event, F_DUPFD_CLOEXEC, 0);

	ops_promise(probe == w.event + 1); /* nothing was left open */
	fd_closep(&probe);
	fd_closep(&w.event);
	ev_free(w.base);
	return 0;
}
