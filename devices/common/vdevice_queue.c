/* SPDX-License-Identifier: ISC */
/*
 * Queues and the threads that serve them.
 *
 * The main thread decides (vu_rings.c), the queue's thread acts: bits in dqueue.asked, and a write to an eventfd that the
 * thread sleeps on. In the jailed life that is the queue's own kick, which is there for good; alone, the thread has
 * one of its own. When the queue is idle the thread says so in dqueue.state and wakes the main thread. A queue that
 * the main thread serves itself needs none of that: the same functions are called directly.
 *
 * A wake-up costs poll, the read of the kick, the device's own calls, and one write for the interrupt.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/ev.h"
#include "common/fd.h"
#include "common/log.h"
#include "devices/common/vdevice_internal.h"

enum {
	ROUNDS = 8,            /* of on_queue, before the loop gets its turn */
	SPIN_LOOKS = 64,       /* between two looks at the clock */
	SPIN_AT_MOST_NS = 2000000, /* in a row, before the loop gets its turn */
	WAIT_LONG_NS = 1000000000,
};

static void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static enum dqueue_state state_of(struct dqueue *q)
{
	return (enum dqueue_state)atomic_load_explicit(&q->state, memory_order_relaxed);
}

static void write_event(int fd)
{
	const uint64_t one = 1;

	(void)!write(fd, &one, sizeof(one)); /* full is as good as written */
}

/* --- polling instead of sleeping -------------------------------------------------------------------------------- */

/* How long it took until something came: the average decides whether polling is worth it. */
static void note_wait(struct dqueue *q, uint64_t now)
{
	uint64_t waited = now - q->idle_since_ns;

	if (q->idle_since_ns == 0)
		return;
	if (waited > WAIT_LONG_NS)
		waited = WAIT_LONG_NS;
	q->wait_ns = (uint32_t)((q->wait_ns * UINT64_C(3) + waited) / 4);
	q->idle_since_ns = 0;
}

static bool look_around(struct dqueue *q)
{
	const struct vdevice_ops *ops = q->vd->ops;

	for (int i = 0; i < SPIN_LOOKS; i++) {
		if (vq_pending(&q->vq) != 0 || (ops->poll != NULL && ops->poll(q->vd->dev, &q->vq)))
			return true;
		cpu_relax();
	}
	return false;
}

/* True when something came while the thread looked; false: sleep. Kicks are off meanwhile. No look at the clock
 * stands between seeing it and serving it: the last one, a few microseconds old, does for the average. */
static bool poll_queue(struct dqueue *q, uint64_t *now)
{
	if (q->poll_ns == 0)
		return false;
	q->idle_since_ns = *now = clock_mono_ns();
	if (q->wait_ns > q->poll_ns)
		return false;
	do {
		if (look_around(q)) {
			note_wait(q, *now);
			vq_count(&q->vq, STATS_POLLS, 1);
			return true;
		}
		*now = clock_mono_ns();
	} while (*now - q->idle_since_ns < q->poll_ns);
	return false;
}

/* --- serving ---------------------------------------------------------------------------------------------------- */

/* A guest can do it again and again: a line a second. */
static void log_fault(struct dqueue *q, const char *why)
{
	uint64_t now_s = clock_mono_ns() / 1000000000 + 1;

	if (q->fault_logged_s == now_s) {
		q->faults_unsaid++;
		return;
	}
	if (q->faults_unsaid > 0)
		log_warn("queue %u stopped: %s (and %u times unsaid)", vq_index(&q->vq), why, q->faults_unsaid);
	else
		log_warn("queue %u stopped: %s", vq_index(&q->vq), why);
	q->fault_logged_s = now_s;
	q->faults_unsaid = 0;
}

static void tell_fault(struct dqueue *q, const char *why)
{
	if (q->told_fault)
		return;
	q->told_fault = true;
	vq_count(&q->vq, STATS_GUEST_ERRORS, 1);
	log_fault(q, why);
	vu_server_needs_reset(&q->vd->server);
	int fd = atomic_load_explicit(&q->err_fd, memory_order_relaxed);
	if (fd >= 0)
		write_event(fd);
}

static void call_again(struct dqueue *q, unsigned ms)
{
	struct timeval after = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };
	struct timeval due, now;

	q->again = true;
	if (event_pending(q->ev_again, EV_TIMEOUT, &due)) {
		(void)evutil_gettimeofday(&now, NULL);
		evutil_timeradd(&now, &after, &now);
		if (!evutil_timercmp(&now, &due, <))
			return;
	}
	(void)event_add(q->ev_again, &after);
}

/* One call of the device. False: nothing more to do for now. */
static bool serve_once(struct dqueue *q)
{
	struct vdevice *vd = q->vd;

	(void)vq_want_kicks(&q->vq, false);
	q->again = false;
	q->vq.saw_empty = false;
	vd->ops->on_queue(vd->dev, &q->vq);
	/* Called again anyhow, or chains left on purpose until something of the device's own happens: no kicks. */
	return !q->vq.broken && state_of(q) == DQ_RUNNING && !q->again && q->vq.saw_empty;
}

/* Kicks are on when it returns false because there is nothing more. True: there is, once the loop had its turn. */
static bool serve_rounds(struct dqueue *q)
{
	uint64_t polled_from = 0, now = 0;

	for (int i = 0; i < ROUNDS;) {
		if (state_of(q) != DQ_RUNNING || q->vq.broken || !serve_once(q))
			return false;
		if (poll_queue(q, &now)) {
			polled_from = polled_from != 0 ? polled_from : now;
			if (now - polled_from < SPIN_AT_MOST_NS)
				continue;
			return true;
		}
		if (vq_want_kicks(&q->vq, true) == 0)
			return false;
		i++;
	}
	return true;
}

static void serve(struct dqueue *q)
{
	bool more = serve_rounds(q);

	/* Whoever looked last may have met a fault. */
	if (q->vq.broken && state_of(q) == DQ_RUNNING)
		tell_fault(q, vq_fault(&q->vq));
	else if (more)
		call_again(q, 0);
}

void vdevice_serve(struct vdevice *vd, unsigned q)
{
	serve(&vd->queues[q]);
}

void vdevice_again(struct vdevice *vd, unsigned q, unsigned ms)
{
	call_again(&vd->queues[q], ms);
}

void vdevice_guest_error(struct vdevice *vd, unsigned q, const char *why)
{
	vq_break(&vd->queues[q].vq, why);
	tell_fault(&vd->queues[q], why);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	serve(arg);
}

/* --- starting and stopping -------------------------------------------------------------------------------------- */

static void on_kick(evutil_socket_t fd, short what, void *arg);

static void watch_kick(struct dqueue *q)
{
	if (!q->vd->alone) /* watched for good */
		return;
	if (q->kick_fd < 0) { /* the front end's wish: look now and then */
		call_again(q, 1);
		return;
	}
	(void)event_assign(q->ev_kick, q->worker->base, q->kick_fd, EV_READ | EV_PERSIST, on_kick, q);
	(void)event_add(q->ev_kick, NULL);
}

static void start(struct dqueue *q)
{
	struct vdevice *vd = q->vd;
	struct err e = { 0 };
	int r = vq_start(&q->vq, &q->setup, &e);

	q->told_fault = q->again = false;
	q->idle_since_ns = 0;
	q->wait_ns = q->poll_ns; /* a first try */
	atomic_store_explicit(&q->state, DQ_RUNNING, memory_order_relaxed);
	if (r < 0) {
		vq_break(&q->vq, err_text(&e, 0));
		tell_fault(q, err_text(&e, 0));
		q->vq.fault = NULL; /* its text goes with this function */
		return;
	}
	watch_kick(q);
	if (vd->ops->queue_start != NULL)
		vd->ops->queue_start(vd->dev, &q->vq);
	/* Whoever served before may have died between publishing and interrupting. */
	vq_signal(&q->vq);
	serve(q);
}

void vdevice_queue_idle(struct vdevice *vd, unsigned i)
{
	struct dqueue *q = &vd->queues[i];

	if (state_of(q) != DQ_STOPPING)
		return;
	q->base = vq_stop(&q->vq);
	/* Release: what the queue's thread wrote is the main thread's from here on. */
	atomic_store_explicit(&q->state, DQ_IDLE, memory_order_release);
	vdevice_notify_main(vd);
}

static void stop(struct dqueue *q)
{
	struct vdevice *vd = q->vd;

	if (state_of(q) != DQ_RUNNING)
		return;
	(void)event_del(q->ev_again);
	if (vd->alone)
		(void)event_del(q->ev_kick);
	atomic_store_explicit(&q->state, DQ_STOPPING, memory_order_relaxed);
	if (vd->ops->queue_stop != NULL && q->vq.started)
		vd->ops->queue_stop(vd->dev, &q->vq);
	else
		vdevice_queue_idle(vd, vq_index(&q->vq));
}

/* What the main thread asked for. A start never overtakes the stop before it: it is asked for when the queue is idle. */
static void run_asked(struct dqueue *q)
{
	unsigned asked = atomic_exchange_explicit(&q->asked, 0, memory_order_acquire);

	if ((asked & ASK_STOP) != 0)
		stop(q);
	if ((asked & ASK_START) != 0)
		start(q);
	else if ((asked & ASK_KICK) != 0)
		serve(q);
}

static void ask(struct dqueue *q, unsigned what)
{
	struct worker *w = q->worker;

	/* Release: the setup is written before it is asked to be used. */
	atomic_fetch_or_explicit(&q->asked, what, memory_order_release);
	if (!w->threaded)
		run_asked(q);
	else
		write_event(w->wake >= 0 ? w->wake : q->kick_fd);
}

/* #syscalls blk blk_uring net rng vconsole: read(fd>=EVENTS)
 * #syscalls blk_alone net_alone rng_alone vconsole_alone: read
 */
static void on_kick(evutil_socket_t fd, short what, void *arg)
{
	struct dqueue *q = arg;
	uint64_t count;

	(void)what;
	(void)!read(fd, &count, sizeof(count));
	vq_count(&q->vq, STATS_KICKS, 1);
	if (q->idle_since_ns != 0)
		note_wait(q, clock_mono_ns());
	if (atomic_load_explicit(&q->asked, memory_order_relaxed) != 0)
		run_asked(q);
	serve(q);
}

/* Alone: a thread's own wake-up. */
static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	uint64_t count;

	(void)what;
	(void)!read(fd, &count, sizeof(count));
	for (unsigned i = 0; i < w->vd->n_queues; i++) {
		if (w->vd->queues[i].worker == w)
			run_asked(&w->vd->queues[i]);
	}
}

/* --- for the server --------------------------------------------------------------------------------------------- */

static void vu_start(void *arg, unsigned i, const struct vq_setup *s)
{
	struct vdevice *vd = arg;

	vd->queues[i].setup = *s;
	ask(&vd->queues[i], ASK_START);
}

static void vu_stop(void *arg, unsigned i)
{
	struct vdevice *vd = arg;

	ask(&vd->queues[i], ASK_STOP);
}

static bool vu_is_idle(void *arg, unsigned i)
{
	struct vdevice *vd = arg;

	/* Acquire, and nothing asked for: a start that is still to come is no rest. */
	return atomic_load_explicit(&vd->queues[i].asked, memory_order_acquire) == 0 &&
	       atomic_load_explicit(&vd->queues[i].state, memory_order_acquire) == DQ_IDLE;
}

static uint16_t vu_base(void *arg, unsigned i)
{
	struct vdevice *vd = arg;

	return vd->queues[i].base;
}

static void vu_kick(void *arg, unsigned i)
{
	struct vdevice *vd = arg;

	ask(&vd->queues[i], ASK_KICK);
}

static void vu_log(void *arg, unsigned i, bool on)
{
	struct vdevice *vd = arg;

	atomic_store_explicit(&vd->queues[i].vq.log_ring, on, memory_order_relaxed);
}

static void vu_set_kick(void *arg, unsigned i, int fd)
{
	struct vdevice *vd = arg;

	fd_closep(&vd->queues[i].kick_fd);
	if (fd >= 0) /* the front end may read it too: no read here may wait */
		(void)fd_set_nonblock(fd, true);
	vd->queues[i].kick_fd = fd;
}

/* A queue thread may be writing to the number: what stands behind it is exchanged, never the number.
 * #syscalls blk_alone net_alone rng_alone vconsole_alone: dup3 close fcntl(F_SETFL, F_GETFL)
 */
static void exchange(_Atomic int *used, int *number, int fd)
{
	if (fd < 0) {
		atomic_store_explicit(used, -1, memory_order_relaxed);
		return;
	}
	/* A front end may have made it blocking, and might never read it. */
	(void)fd_set_nonblock(fd, true);
	if (*number >= 0) {
		(void)dup3(fd, *number, O_CLOEXEC);
		fd_closep(&fd);
	} else {
		*number = fd;
	}
	atomic_store_explicit(used, *number, memory_order_relaxed);
}

static void vu_set_call(void *arg, unsigned i, int fd)
{
	struct dqueue *q = &((struct vdevice *)arg)->queues[i];

	exchange(&q->vq.call_fd, &q->call_number, fd);
}

static void vu_set_err(void *arg, unsigned i, int fd)
{
	struct dqueue *q = &((struct vdevice *)arg)->queues[i];

	exchange(&q->err_fd, &q->err_number, fd);
}

static void vu_set_features(void *arg, uint64_t acked)
{
	struct vdevice *vd = arg;

	if (vd->ops->set_features != NULL)
		vd->ops->set_features(vd->dev, acked);
}

static void vu_config_written(void *arg, uint32_t off, uint32_t len)
{
	struct vdevice *vd = arg;

	if (vd->ops->config_written != NULL)
		vd->ops->config_written(vd->dev, off, len);
}

static void vu_reset(void *arg)
{
	struct vdevice *vd = arg;

	/* The queues forget their faults when they start. A front end of ours that is gone has not reset its device:
	 * the driver goes on with a successor. */
	if (vd->ops->reset != NULL && (vd->alone || !vd->server.closing))
		vd->ops->reset(vd->dev);
}

const struct vu_ops vdevice_vu_ops = {
	.queue_start = vu_start,
	.queue_stop = vu_stop,
	.queue_is_idle = vu_is_idle,
	.queue_base = vu_base,
	.queue_kick = vu_kick,
	.queue_log = vu_log,
	.set_kick = vu_set_kick,
	.set_call = vu_set_call,
	.set_err = vu_set_err,
	.set_features = vu_set_features,
	.config_written = vu_config_written,
	.reset = vu_reset,
};

/* --- making ----------------------------------------------------------------------------------------------------- */

static unsigned worker_of(const struct vdevice *vd, unsigned q)
{
	if ((vd->ops->flags & VDEVICE_THREADS) == 0 || vd->n_queues == 1)
		return 0;
	int t = vd->ops->thread_of != NULL ? vd->ops->thread_of(vd->dev, q) : (int)q;

	return t < 0 || (unsigned)t >= vd->n_queues ? 0 : (unsigned)t + 1;
}

static int init_queue(struct vdevice *vd, unsigned i)
{
	struct dqueue *q = &vd->queues[i];

	*q = (struct dqueue){ .vd = vd, .kick_fd = -1, .call_number = -1, .err_number = -1, .err_fd = -1 };
	return vq_init(&q->vq, i, vd->queue_size, vd->stats);
}

static int init_worker(struct vdevice *vd, unsigned i)
{
	struct worker *w = &vd->workers[i];

	*w = (struct worker){ .vd = vd, .index = i, .threaded = i > 0, .wake = -1, .base = i == 0 ? vd->base : NULL };
	if (i > 0)
		w->base = ev_new(EV_BACKEND_POLL);
	return w->base != NULL ? 0 : -ENOMEM;
}

/* Each queue's events in its thread's loop. */
static int bind_queue(struct dqueue *q, unsigned worker)
{
	q->worker = &q->vd->workers[worker];
	q->ev_again = event_new(q->worker->base, -1, 0, on_again, q);
	q->ev_kick = event_new(q->worker->base, -1, EV_READ | EV_PERSIST, on_kick, q);
	return q->ev_again != NULL && q->ev_kick != NULL ? 0 : -ENOMEM;
}

int vdevice_queues_init(struct vdevice *vd, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < vd->n_queues; i++) {
		if (worker_of(vd, i) + 1 > vd->n_workers)
			vd->n_workers = worker_of(vd, i) + 1;
	}
	vd->queues = calloc(vd->n_queues, sizeof(*vd->queues));
	vd->workers = calloc(vd->n_workers, sizeof(*vd->workers));
	if (vd->queues == NULL || vd->workers == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < vd->n_workers && r == 0; i++)
		r = init_worker(vd, i);
	for (unsigned i = 0; i < vd->n_queues && r == 0; i++) {
		r = init_queue(vd, i);
		if (r == 0)
			r = bind_queue(&vd->queues[i], worker_of(vd, i));
	}
	return r < 0 ? err_set(e, r, "out of memory") : 0;
}

struct event_base *vdevice_base(struct vdevice *vd, unsigned q)
{
	return vd->queues[q].worker->base;
}

struct vq *vdevice_queue(struct vdevice *vd, unsigned q)
{
	return &vd->queues[q].vq;
}

void vdevice_set_polling(struct vdevice *vd, unsigned q, uint32_t us)
{
	vd->queues[q].poll_ns = us < 1000 ? us * 1000 : 1000000;
}

/* --- threads ---------------------------------------------------------------------------------------------------- */

/* The device's own preparations for each queue of this thread. */
static int prepare(struct worker *w, struct err *e)
{
	struct vdevice *vd = w->vd;
	int r = 0;

	for (unsigned i = 0; i < vd->n_queues && r == 0 && vd->ops->queue_init != NULL; i++) {
		if (vd->queues[i].worker == w)
			r = vd->ops->queue_init(vd->dev, i, e);
	}
	return r;
}

static void *thread_main(void *arg)
{
	struct worker *w = arg;
	struct vdevice *vd = w->vd;
	int r = prepare(w, &vd->init_err); /* its maker waits: the only one that writes */

	(void)pthread_mutex_lock(&vd->mtx);
	vd->init_result = r;
	vd->inits_done++;
	(void)pthread_cond_broadcast(&vd->cond);
	while (!vd->go)
		(void)pthread_cond_wait(&vd->cond, &vd->mtx);
	(void)pthread_mutex_unlock(&vd->mtx);
	(void)event_base_loop(w->base, EVLOOP_NO_EXIT_ON_EMPTY);
	return NULL;
}

/* #syscalls monitor: clone mmap mprotect rt_sigprocmask -- of a child before its own filter */
static int make_thread(struct worker *w, struct err *e)
{
	struct vdevice *vd = w->vd;
	pthread_attr_t attr;
	int r = pthread_attr_init(&attr);

	if (r == 0)
		r = pthread_attr_setstacksize(&attr, VDEVICE_STACK);
	if (r == 0)
		r = pthread_create(&w->thread, &attr, thread_main, w);
	if (r != 0)
		return err_sys(e, -r, "thread for queues");
	(void)pthread_attr_destroy(&attr);
	(void)pthread_mutex_lock(&vd->mtx);
	while (vd->inits_done < w->index)
		(void)pthread_cond_wait(&vd->cond, &vd->mtx);
	r = vd->init_result;
	(void)pthread_mutex_unlock(&vd->mtx);
	if (r < 0 && e != NULL)
		*e = vd->init_err;
	return r;
}

int vdevice_threads_start(struct vdevice *vd, struct err *e)
{
	int r = prepare(&vd->workers[0], e);

	(void)pthread_mutex_init(&vd->mtx, NULL);
	(void)pthread_cond_init(&vd->cond, NULL);
	for (unsigned i = 1; i < vd->n_workers && r == 0; i++)
		r = make_thread(&vd->workers[i], e);
	return r;
}

static int watch_worker(struct worker *w)
{
	if (w->wake < 0)
		return 0;
	w->ev_wake = event_new(w->base, w->wake, EV_READ | EV_PERSIST, on_wake, w);
	return w->ev_wake != NULL && event_add(w->ev_wake, NULL) == 0 ? 0 : -ENOMEM;
}

/* A timer and a descriptor once, so that libevent has the room for both later, when there is no more memory to be had. */
static int warm_up(struct dqueue *q)
{
	static const struct timeval hour = { 3600, 0 };

	if (event_add(q->ev_again, &hour) < 0 || event_del(q->ev_again) < 0)
		return -ENOMEM;
	if (q->kick_fd < 0)
		return 0;
	(void)event_assign(q->ev_kick, q->worker->base, q->kick_fd, EV_READ | EV_PERSIST, on_kick, q);
	return event_add(q->ev_kick, NULL) < 0 ? -ENOMEM : 0;
}

int vdevice_threads_go(struct vdevice *vd, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < vd->n_queues && r == 0; i++)
		r = warm_up(&vd->queues[i]);
	for (unsigned i = 0; i < vd->n_workers && r == 0; i++)
		r = watch_worker(&vd->workers[i]);
	if (r < 0)
		return err_set(e, r, "events");
	(void)pthread_mutex_lock(&vd->mtx);
	vd->go = true;
	(void)pthread_cond_broadcast(&vd->cond);
	(void)pthread_mutex_unlock(&vd->mtx);
	return 0;
}
