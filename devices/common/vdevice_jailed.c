/* SPDX-License-Identifier: ISC */
/*
 * The jailed life of a virtio device: its control socket, and the order in which it gives up its rights.
 *
 *	1  HLP_VHOST	memory, in-flight region, dirty log and statistics page are mapped, their descriptors closed at once;
 *			sockets and err eventfd wait at high numbers
 *	2  HLP_EVENTS	call and kick of each queue wait beside them
 *	3  the device's configuration: everything else is closed; sockets go to 5..7; the device puts its own from 8 on
 *	4  HLP_LOCKDOWN	threads; call and kick of each queue behind the device's own, without a gap; limits; filter
 *	5  the device looks at untrusted contents; HLP_READY, or RESULT with what is wrong
 *
 * Kept for good: control socket, log, the front end's two sockets, err, call and kick of each queue, one eventfd when
 * there are threads, and what the device's table in jail/policy/roles.def lists. The limit on descriptors is the highest
 * number, and no lower one is free: nothing can be opened, or received, any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/ev.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/units.h"
#include "devices/common/helper.h"
#include "devices/common/vdevice_internal.h"
#include "jail/policy/roles.h"
#include "proto/dispatch.h"

enum { BLANK, VHOST, EVENTS, CONFIGURED, LOCKED };
enum { IN_BLANK = 1u << BLANK, IN_VHOST = 1u << VHOST, IN_EVENTS = 1u << EVENTS, IN_CONFIGURED = 1u << CONFIGURED,
       IN_LOCKED = 1u << LOCKED };

/* Descriptors of HLP_VHOST, in order. */
enum { V_VHOST, V_BACKEND, V_ERR, V_RAM, V_INFLIGHT, V_LOG, V_STATS, V_COUNT };

enum { FD_VHOST = 5, FD_BACKEND = 6, FD_ERR = 7, AS_MIB = 64 };
_Static_assert((int)FD_rng_VHOST == FD_VHOST && (int)FD_rng_BACKEND == FD_BACKEND && (int)FD_rng_ERR == FD_ERR &&
		       (int)FD_blk_VHOST == FD_VHOST && (int)FD_net_ERR == FD_ERR && (int)FD_vconsole_BACKEND == FD_BACKEND,
	       "the same in every device");

struct jailed {
	struct vdevice *vd;
	struct chan *chan;
	struct event *ev_control;
	unsigned state; /* BLANK .. LOCKED */
	struct jail_missing missing;
	struct jail_limits lim;
	int lift;       /* lowest number for descriptors that wait */
	int vhost[3];   /* waiting: sockets, err */
	int *events;    /* waiting: call and kick of each queue */
	unsigned n_events;
	bool draining;
	uint32_t drain_id;
};

static struct jailed *of(struct vdevice *vd)
{
	static struct jailed one;

	one.vd = vd;
	return &one;
}

/* --- moving descriptors ----------------------------------------------------------------------------------------- */

/* Out of the way of the fixed numbers.
 * #syscalls monitor: fcntl(F_DUPFD_CLOEXEC) close_range dup3 -- of a child before its own filter
 */
static int lift(const struct jailed *j, int *fd, struct err *e)
{
	int high = fcntl(*fd, F_DUPFD_CLOEXEC, j->lift);

	if (high < 0)
		return err_sys(e, -errno, "descriptors");
	fd_closep(fd);
	*fd = high;
	return 0;
}

static int lift_all(const struct jailed *j, struct chan_msg *m, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < m->nfds && r == 0; i++)
		r = lift(j, &m->fds[i], e);
	return r;
}

/* Whatever lies between the log and what waits is nobody's: pipes that libevent makes for signals. */
static int close_low(const struct jailed *j, struct err *e)
{
	return close_range(FD_VHOST, (unsigned)j->lift - 1, 0) < 0 ? err_sys(e, -errno, "descriptors") : 0;
}

static int place(int *fd, unsigned number, struct err *e)
{
	int r = fd_move(fd, (int)number, true);

	return r < 0 ? err_sys(e, r, "descriptor %u", number) : 0;
}

int vdevice_own_fd(struct vdevice *vd, int *fd, unsigned number, struct err *e)
{
	struct jailed *j = of(vd);
	int r = 0;

	if (number < VDEVICE_FD_FIRST_OWN || number >= VDEVICE_FD_FIRST_OWN + 2 * VDEVICE_QUEUES_MAX)
		return err_set(e, -EINVAL, "descriptor %u", number);
	if (!vd->alone) /* its present number may be another one's place */
		r = lift(j, fd, e);
	if (r == 0)
		r = place(fd, number, e);
	if (r == 0 && number >= vd->own_top)
		vd->own_top = number + 1;
	return r;
}

int vdevice_take_fd(struct vdevice *vd, struct chan_msg *m, unsigned i, unsigned number, struct err *e)
{
	if (i >= m->nfds || m->fds[i] < 0)
		return err_set(e, -EBADMSG, "descriptor %u is missing", i);
	return vdevice_own_fd(vd, &m->fds[i], number, e);
}

/* --- messages --------------------------------------------------------------------------------------------------- */

/* A parent that reads none of its answers is no parent. */
static int answer(struct jailed *j, enum msg_type type, uint32_t id, const struct desc *d, const void *obj, struct err *e)
{
	int r = chan_send(j->chan, type, id, d, obj, NULL, 0);

	return r < 0 ? err_set(e, -ECONNABORTED, "answering %s: error %d", msg_type_name(type), -r) : 0;
}

/* What it will never serve, the parent hears; then the process ends. */
static int give_up(struct jailed *j, uint32_t id, int r, struct err *e)
{
	struct msg_result res;

	(void)msg_result_set(&res, r, e);
	if (chan_send(j->chan, MSG_RESULT, id, &desc_msg_result, &res, NULL, 0) == 0)
		(void)chan_flush(j->chan);
	obj_fini(&desc_msg_result, &res);
	return err_wrap(e, -ECONNABORTED, "cannot serve");
}

static int map_one(int fd, uint64_t bytes, uint8_t **out, const char *what, struct err *e)
{
	void *map;
	uint64_t map_bytes;

	*out = vu_mem_map_file(fd, 0, bytes, &map, &map_bytes, e);
	return *out == NULL ? err_wrap(e, -EINVAL, "%s", what) : 0;
}

static int map_all(struct vdevice *vd, const struct msg_hlp_vhost *c, const int *fds, struct err *e)
{
	struct vu_server *s = &vd->server;
	uint8_t *stats = NULL;
	int r = map_one(fds[V_RAM], c->ram_bytes, &s->mem.ram, "guest memory", e);

	if (r == 0)
		r = map_one(fds[V_INFLIGHT], c->inflight_bytes, &s->inflight.at, "in-flight region", e);
	if (r == 0)
		r = map_one(fds[V_LOG], c->log_bytes, &s->log_map.at, "dirty log", e);
	if (r == 0)
		r = map_one(fds[V_STATS], STATS_PAGE_BYTES, &stats, "statistics page", e);
	if (r < 0)
		return r;
	s->mem.ram_bytes = c->ram_bytes;
	s->inflight.bytes = c->inflight_bytes;
	s->log_map.bytes = c->log_bytes;
	vd->stats = (struct stats_page *)(void *)stats;
	return 0;
}

static int take_vhost(struct jailed *j, const struct msg_hlp_vhost *c, struct chan_msg *m, struct err *e)
{
	struct vdevice *vd = j->vd;

	if (m->nfds != V_COUNT)
		return err_set(e, -EBADMSG, "%u descriptors instead of %d", m->nfds, V_COUNT);
	vd->n_queues = c->n_queues;
	vd->queue_size = (uint16_t)c->queue_size;
	fd_raise_limit(); /* it only goes down again */
	j->lift = VDEVICE_FD_FIRST_OWN + 4 * (int)c->n_queues + 32;
	j->events = calloc(2 * (size_t)c->n_queues, sizeof(int));
	if (j->events == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	int r = lift_all(j, m, e);
	if (r == 0)
		r = vu_server_init(&vd->server, &vdevice_vu_ops, vd, true, vd->n_queues, vd->queue_size);
	if (r < 0)
		return r;
	vd->server.with_inflight = (vd->ops->flags & VDEVICE_INFLIGHT) != 0;
	r = map_all(vd, c, m->fds, e);
	for (unsigned i = 0; i < nitems(j->vhost); i++)
		j->vhost[i] = fd_take(&m->fds[i]);
	return r;
}

static int handle_vhost(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct jailed *j = ctx;
	int r = take_vhost(j, msg, m, e);

	if (r < 0)
		return give_up(j, m->id, r, e);
	j->state = VHOST;
	return 0;
}

static int handle_events(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct jailed *j = ctx;
	const struct msg_hlp_events *c = msg;
	int r;

	if (m->nfds != c->n || c->n > 2 * j->vd->n_queues - j->n_events)
		r = err_set(e, -EBADMSG, "%u descriptors of queues", m->nfds);
	else
		r = lift_all(j, m, e);
	if (r < 0)
		return give_up(j, m->id, r, e);
	for (unsigned i = 0; i < m->nfds; i++)
		j->events[j->n_events++] = fd_take(&m->fds[i]);
	if (j->n_events == 2 * j->vd->n_queues)
		j->state = EVENTS;
	return 0;
}

/* Memory, thread stacks, and a bit. */
static struct jail_limits first_limits(const struct vdevice *vd)
{
	const struct vu_server *s = &vd->server;
	uint64_t threads = vd->n_workers - 1;

	return (struct jail_limits){
		.nofile = 0,
		.fsize = 0,
		.as_bytes = s->mem.ram_bytes + s->inflight.bytes + s->log_map.bytes + AS_MIB * MIB + threads * MIB,
		.nproc = threads == 0 ? 0 : threads + 1,
	};
}

static int configure(struct jailed *j, const void *msg, struct chan_msg *m, struct err *e)
{
	struct vdevice *vd = j->vd;
	int r = lift_all(j, m, e);

	if (r == 0)
		r = vdevice_queues_init(vd, e);
	if (r == 0)
		r = close_low(j, e);
	for (unsigned i = 0; i < nitems(j->vhost) && r == 0; i++)
		r = place(&j->vhost[i], FD_VHOST + i, e);
	if (r < 0)
		return r;
	j->lim = first_limits(vd);
	return vd->ops->configure(vd->dev, msg, m, &j->lim, e);
}

static int handle_config(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct jailed *j = ctx;
	int r = configure(j, msg, m, e);

	if (r < 0)
		return give_up(j, m->id, r, e);
	j->state = CONFIGURED;
	return 0;
}

/* --- lock-down -------------------------------------------------------------------------------------------------- */

/* Numbers from 8 up to the first event that nothing of the device's own fills. */
static int fill_holes(unsigned first_event, struct err *e)
{
	for (unsigned n = VDEVICE_FD_FIRST_OWN; n < first_event; n++) {
		if (fcntl((int)n, F_GETFD) < 0 && dup3(STDIN_FILENO, (int)n, O_CLOEXEC) < 0)
			return err_sys(e, -errno, "descriptor %u", n);
	}
	return 0;
}

/* #syscalls monitor: eventfd2 -- of a child before its own filter */
static int place_wake(struct vdevice *vd, unsigned number, struct err *e)
{
	_cleanup_(fd_closep) int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return err_sys(e, -errno, "eventfd");
	int r = place(&fd, number, e);
	if (r == 0)
		vd->main_wake = (int)number;
	return r;
}

/* Behind the device's own: call and kick of each queue, the main thread's wake-up. *@top: one more than the last. */
static int place_events(struct jailed *j, unsigned *top, struct err *e)
{
	struct vdevice *vd = j->vd;
	unsigned first = vd->own_top > vd->ops->fd_events ? vd->own_top : vd->ops->fd_events;
	int r = fill_holes(first, e);

	*top = first + j->n_events;
	for (unsigned i = 0; i < j->n_events && r == 0; i++)
		r = place(&j->events[i], first + i, e);
	for (unsigned i = 0; i < vd->n_queues && r == 0; i++) {
		vd->queues[i].vq.call_fd = (int)(first + 2 * i);
		vd->queues[i].kick_fd = (int)(first + 2 * i + 1);
		vd->queues[i].err_fd = FD_ERR;
	}
	if (r == 0 && vd->n_workers > 1)
		r = place_wake(vd, (*top)++, e);
	return r;
}

static void on_front_end_gone(struct vdevice *vd)
{
	(void)vd; /* the parent ends this process, or it gets a successor */
}

static int lock_down(struct jailed *j, struct err *e)
{
	struct vdevice *vd = j->vd;
	unsigned top = VDEVICE_FD_FIRST_OWN;
	int r = vdevice_threads_start(vd, e);

	if (r == 0)
		r = place_events(j, &top, e);
	if (r == 0)
		r = vdevice_conn_init(vd, e);
	if (r == 0 && close_range(top, ~0u, 0) < 0)
		r = err_sys(e, -errno, "descriptors");
	vd->server.backend_fd = FD_BACKEND;
	vd->gone = on_front_end_gone;
	if (r == 0)
		r = vdevice_conn_open(vd, FD_VHOST);
	if (r == 0)
		r = vdevice_threads_go(vd, e);
	if (r == 0 && helper_keep_heap() < 0)
		r = err_set(e, -ENOMEM, "out of memory");
	j->lim.nofile += top;
	return r == 0 ? jail_lock_rest(vd->ops->role, &j->lim, &j->missing, e) : r;
}

static int handle_lockdown(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct jailed *j = ctx;
	struct msg_hlp_ready ready = { 0 };
	int r = lock_down(j, e);

	(void)msg;
	if (r == 0) {
		j->state = LOCKED;
		r = j->vd->ops->start(j->vd->dev, &ready.detail, e);
	}
	if (r < 0)
		return give_up(j, m->id, r, e);
	r = answer(j, MSG_HLP_READY, m->id, &desc_msg_hlp_ready, &ready, e);
	helper_forget_start();
	return r;
}

static int handle_stats(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct msg_hlp_stats_result stats = { 0 }; /* a virtio device's are in its statistics page */

	(void)msg;
	return answer(ctx, MSG_HLP_STATS_RESULT, m->id, &desc_msg_hlp_stats_result, &stats, e);
}

static void on_drained(void *arg, bool complete)
{
	struct jailed *j = arg;
	struct msg_hlp_drained drained = { .complete = complete };

	/* An answer that finds no room is missed by a parent that does not read: its deadline ends this process. */
	j->draining = false;
	(void)answer(j, MSG_HLP_DRAINED, j->drain_id, &desc_msg_hlp_drained, &drained, NULL);
}

static int handle_drain(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct jailed *j = ctx;
	const struct msg_hlp_drain *d = msg;

	if (j->draining)
		return err_set(e, -EBUSY, "a drain is going on");
	j->draining = true;
	j->drain_id = m->id;
	if (j->vd->ops->drain != NULL)
		j->vd->ops->drain(j->vd->dev, d->timeout_ms, on_drained, j);
	else
		on_drained(j, true);
	return 0;
}

static int handle(struct jailed *j, struct chan_msg *m, struct err *e)
{
	const struct vdevice_ops *ops = j->vd->ops;
	const struct dispatch_entry table[] = {
		{ MSG_HLP_VHOST, IN_BLANK, DISPATCH_FDS, &desc_msg_hlp_vhost, handle_vhost },
		{ MSG_HLP_EVENTS, IN_VHOST, DISPATCH_FDS, &desc_msg_hlp_events, handle_events },
		{ ops->config_type, IN_EVENTS, DISPATCH_FDS, ops->config_desc, handle_config },
		{ MSG_HLP_LOCKDOWN, IN_CONFIGURED, 0, NULL, handle_lockdown },
		{ MSG_HLP_STATS, IN_LOCKED, 0, NULL, handle_stats },
		{ MSG_HLP_DRAIN, IN_LOCKED, 0, &desc_msg_hlp_drain, handle_drain },
	};
	bool own = j->state == LOCKED && ops->control != NULL;

	for (unsigned i = 0; i < nitems(table); i++)
		own = own && table[i].type != m->type;
	if (!own)
		return dispatch(table, nitems(table), 1u << j->state, j, m, e);
	int r = ops->control(j->vd->dev, m, e);
	chan_msg_fini(m);
	return r;
}

static void take_message(struct jailed *j, struct chan_msg *m)
{
	struct err e = { 0 };
	char text[LOG_MSG_MAX];
	int r = handle(j, m, &e);

	if (r == 0)
		return;
	(void)err_join(&e, text, sizeof(text));
	log_at_rl(r == -ECONNABORTED ? LOG_ERROR : LOG_WARN, "%s: %s", j->vd->ops->name, text);
	if (r == -ECONNABORTED)
		vdevice_finish(j->vd, 1);
}

/* The poll back end of libevent needs poll, and gettimeofday where the clock source is one that user space cannot read.
 * #syscalls blk blk_uring net rng vconsole: poll gettimeofday recvfrom(fd=CONTROL) sendto(fd=CONTROL|LOG) write(fd=ERR)
 */
static void on_control(evutil_socket_t fd, short what, void *arg)
{
	enum { BUDGET = 16 };
	struct jailed *j = arg;
	struct chan_msg m;

	(void)fd;
	(void)what;
	for (int i = 0; i < BUDGET && j->vd->status < 0; i++) {
		int r = j->state == LOCKED ? chan_recv_plain(j->chan, &m) : chan_recv(j->chan, &m);

		if (r == 0)
			break;
		if (r < 0) {
			vdevice_finish(j->vd, r == -EPIPE ? 0 : 1); /* the parent ended, and so do we, in order */
			break;
		}
		take_message(j, &m);
	}
	if (chan_flush(j->chan) < 0)
		vdevice_finish(j->vd, 0);
}

int vdevice_jailed_main(struct vdevice *vd, int argc, char **argv)
{
	struct jailed *j = of(vd);

	jail_post_exec(argc > 0 ? argv[0] : vd->ops->name);
	helper_ignore_signals();
	log_open(HELPER_FD_LOG, vd->ops->name, LOG_DEBUG);
	/* Per thread, so before there are any; nothing is opened by name from the first instruction on. */
	jail_lock_landlock(&j->missing);
	if (helper_keep_heap() < 0)
		return 1;
	vd->base = ev_new(EV_BACKEND_POLL);
	j->chan = chan_new(HELPER_FD_CONTROL, HELPER_MSG_MAX, HELPER_QUEUED_MAX);
	if (vd->base == NULL || j->chan == NULL)
		return 1;
	j->ev_control = event_new(vd->base, HELPER_FD_CONTROL, EV_READ | EV_PERSIST, on_control, j);
	if (j->ev_control == NULL || event_add(j->ev_control, NULL) < 0 || helper_say_hello(j->chan, &j->missing) < 0)
		return 1;
	(void)event_base_loop(vd->base, EVLOOP_NO_EXIT_ON_EMPTY);
	if (vd->ops->stop != NULL)
		vd->ops->stop(vd->dev);
	return vd->status < 0 ? 1 : vd->status;
}
