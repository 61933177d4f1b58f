/* SPDX-License-Identifier: ISC */
/*
 * Requests from a ring to the engine and back.
 *
 *	   ring ── pop ──> slot ── begin ──> engine (submit once per round)
 *	                    │ ▲                 │
 *	   ring <── push ── finished <── reap ──┘        flush (one interrupt) at the end of a round
 *
 * What is acknowledged, and what a successor does again
 *
 * When this process dies, its successor finds in the in-flight region every request that the driver has not got
 * back, and does it again. Some of them were done already, so writes may be applied twice. That is harmless unless
 * something newer has been written to the same place in between, and been acknowledged:
 *
 *	W1 written	(not acknowledged)
 *	W2 to the same place written, acknowledged
 *	death; the successor writes W1 again: the place holds W1, although W2 was acknowledged later
 *
 * So a write (or discard, or zeroing) that overlaps one under way is not begun before the earlier one is
 * *published*: its used entry is visible and its in-flight mark cleared, so that no successor sees it. blk_order
 * holds the ranges under way, over all queues of the disk; a range is released only behind vq_flush(). A request
 * that meets one is put back into the ring and its queue waits; drivers that care for their data do not write to
 * one place twice at a time, so the wait costs nobody. Two of one queue that are both done again are done in the
 * order in which they were popped, one after the other.
 *
 * A successor starts when its predecessor is dead, but the kernel may still have direct I/O of it under way: see
 * blk_uring.c for how the parent knows.
 *
 * A flush covers the writes that were acknowledged before: these are in the image's page cache (or beyond), which
 * does not die with a process.
 */
#include "devices/blk/blk_queue.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/clock.h"
#include "common/log.h"
#include "devices/blk/blk_stats.h"

enum {
	BUDGET = 64,            /* requests of a round, at the end of which the driver is told */
	TURN = 4 * BUDGET,      /* then the loop gets its turn */
	SPARE_SLOTS = BUDGET,   /* finished ones that are not published yet */
	BIG_BYTES = 1 << 20,    /* what long requests may take at least */
	BIG_MIN = 16,
	BOUNCE_BYTES = 2 * BLK_ALIGN_MAX,
	BOUNCES = 4,
	TRIES_MAX = 1000,       /* a millisecond apart */
	RETRY_MS = 1,
};

/* --- memory --------------------------------------------------------------------------------------------------- */

void *blk_pool_get(struct blk_pool *p)
{
	return p->n_free > 0 ? p->free[--p->n_free] : NULL;
}

void blk_pool_put(struct blk_pool *p, void *item)
{
	p->free[p->n_free++] = item;
}

/* The one given back last is lent first, so that few pages are ever touched. */
static int pool_init(struct blk_pool *p, uint8_t *mem, size_t item, unsigned n)
{
	*p = (struct blk_pool){ .mem = mem, .item = item, .n = n };
	p->free = calloc(n > 0 ? n : 1, sizeof(*p->free));
	if (p->free == NULL)
		return -ENOMEM;
	for (unsigned i = n; i > 0; i--)
		blk_pool_put(p, mem + (i - 1) * item);
	return 0;
}

static size_t page_up(size_t n)
{
	return (n + 4095) & ~(size_t)4095;
}

/* One mapping for all of a queue: slots, long iovecs, bounce buffers. What is not used is never there. */
int blk_queue_init(struct blk_queue *q, struct blk_disk *disk, unsigned index, unsigned depth, struct err *e)
{
	unsigned longest = depth < BLK_SEGMENTS_MAX ? depth : BLK_SEGMENTS_MAX + 2;
	unsigned max_iov = (longest > 128 ? longest : 128) + 16;
	size_t big = 2 * sizeof(struct iovec) * max_iov;
	unsigned n_big = (unsigned)(BIG_BYTES / big > BIG_MIN ? BIG_BYTES / big : BIG_MIN);
	unsigned n_slots = depth + SPARE_SLOTS, n_bounce = disk->image.direct ? BOUNCES : 0;
	size_t slots = page_up(n_slots * sizeof(struct blk_slot)), bigs = page_up(big * n_big);
	size_t scratch = page_up(max_iov * sizeof(struct iovec)), bounces = (size_t)n_bounce * BOUNCE_BYTES;

	q->disk = disk;
	q->index = index;
	q->depth = depth;
	q->max_iov = max_iov;
	STAILQ_INIT(&q->free);
	STAILQ_INIT(&q->finished);
	STAILQ_INIT(&q->later);
	q->mem_bytes = bounces + slots + bigs + scratch;
	q->mem = mmap(NULL, q->mem_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (q->mem == MAP_FAILED) {
		q->mem = NULL;
		return err_sys(e, -errno, "memory for queue %u", index);
	}
	uint8_t *p = q->mem;
	q->slot = (struct blk_slot *)(void *)(p + bounces);
	q->scratch = (struct iovec *)(void *)(p + bounces + slots + bigs);
	for (unsigned i = 0; i < n_slots; i++)
		STAILQ_INSERT_TAIL(&q->free, &q->slot[i], link);
	if (pool_init(&q->bounces, p, BOUNCE_BYTES, n_bounce) < 0 ||
	    pool_init(&q->bigs, p + bounces + slots, big, n_big) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	return 0;
}

void blk_queue_fini(struct blk_queue *q)
{
	if (q->ev_ring != NULL)
		event_free(q->ev_ring);
	if (q->ev_later != NULL)
		event_free(q->ev_later);
	if (q->engine.ops != NULL)
		q->engine.ops->fini(&q->engine);
	free(q->bigs.free);
	free(q->bounces.free);
	if (q->mem != NULL)
		(void)munmap(q->mem, q->mem_bytes);
	*q = (struct blk_queue){ 0 };
}

uint64_t blk_queue_bytes(const struct blk_queue *q)
{
	return q->mem_bytes;
}

/* --- the end of a request ------------------------------------------------------------------------------------- */

static uint64_t now(struct blk_queue *q)
{
	if (q->now_ns == 0)
		q->now_ns = clock_mono_ns();
	return q->now_ns;
}

/* virtio v1.2 2.7.8.2: how many bytes from the start of the writable part on were certainly written. */
static uint32_t bytes_written(const struct blk_slot *s)
{
	if (s->status == VIRTIO_BLK_S_OK && (s->req.op == BLK_READ || s->req.op == BLK_GET_ID))
		return s->chain.in_bytes - 1 == s->req.len ? s->chain.in_bytes : (uint32_t)s->req.len;
	return s->chain.in_bytes == 1 ? 1 : 0;
}

/* The status is the last byte of the writable part, and written last (virtio v1.2 5.2.6). */
static void finish(struct blk_queue *q, struct blk_slot *s)
{
	if (s->req.op == BLK_READ && s->bounce == NULL && s->req.len > 0)
		vq_chain_dirty(q->vq, &s->chain, 0, (uint32_t)s->req.len);
	(void)!vq_chain_write(q->vq, &s->chain, s->chain.in_bytes - 1, &s->status, 1);
	vq_push(q->vq, s->chain.head, bytes_written(s));
	if (s->bounce != NULL)
		blk_pool_put(&q->bounces, s->bounce);
	s->bounce = NULL;
	STAILQ_INSERT_TAIL(&q->finished, s, link);
}

static void slot_free(struct blk_queue *q, struct blk_slot *s)
{
	if (s->iov != s->small)
		blk_pool_put(&q->bigs, s->iov);
	/* The head, so that the same few stay in the processor's cache. */
	STAILQ_INSERT_HEAD(&q->free, s, link);
}

/* Only successful transfers count. */
static void count(struct blk_queue *q, const struct blk_slot *s, uint64_t at)
{
	if (s->status == VIRTIO_BLK_S_OK && (s->req.op == BLK_READ || s->req.op == BLK_WRITE))
		blk_stats_add(vdevice_stats(q->disk->vd), s->req.op == BLK_WRITE, s->req.len, (at - s->popped_ns) / 1000);
}

/* Before the driver can see them, so that whoever compares finds no request that is not counted. */
static void count_finished(struct blk_queue *q)
{
	const struct blk_slot *s;
	uint64_t at = clock_mono_ns();

	if (q->disk->threads)
		(void)pthread_mutex_lock(&q->disk->stats_mtx);
	STAILQ_FOREACH(s, &q->finished, link)
		count(q, s, at);
	if (q->disk->threads)
		(void)pthread_mutex_unlock(&q->disk->stats_mtx);
}

/* Tell the driver about all that is finished; what that was is over only now. */
static void publish(struct blk_queue *q)
{
	struct blk_slot *s;

	if (STAILQ_EMPTY(&q->finished))
		return;
	count_finished(q);
	vq_flush(q->vq);
	while ((s = STAILQ_FIRST(&q->finished)) != NULL) {
		STAILQ_REMOVE_HEAD(&q->finished, link);
		if (s->ordered)
			blk_order_end(&q->disk->order, &s->range);
		slot_free(q, s);
	}
	q->stalled = false;
}

/* --- under way ------------------------------------------------------------------------------------------------ */

static bool is_transient(int64_t res)
{
	return res == -EAGAIN || res == -EINTR || res == -ECANCELED;
}

/* An operation of @s has a result. True: it goes on at once. */
static bool look_at_result(struct blk_queue *q, struct blk_slot *s)
{
	if (is_transient(s->io.res) && s->tries++ < TRIES_MAX) {
		STAILQ_INSERT_TAIL(&q->later, s, link);
		return false;
	}
	if (!blk_slot_advance(q, s)) {
		q->under_way--;
		finish(q, s);
		return false;
	}
	/* Long discards and zeroings step by step, so that the others have their turn. */
	if (!s->syncing && s->req.op != BLK_READ && s->req.op != BLK_WRITE) {
		STAILQ_INSERT_TAIL(&q->later, s, link);
		return false;
	}
	return true;
}

static void go(struct blk_queue *q, struct blk_slot *s)
{
	do {
		if (!blk_slot_prepare(q, s)) {
			q->under_way--;
			finish(q, s);
			return;
		}
		if (!q->engine.ops->begin(&q->engine, &s->io))
			return;
	} while (look_at_result(q, s));
}

static unsigned reap(struct blk_queue *q)
{
	struct blk_io *io;
	unsigned n = 0;

	while (n < BUDGET && (io = q->engine.ops->reap(&q->engine)) != NULL) {
		struct blk_slot *s = (struct blk_slot *)(void *)io;

		n++;
		if (look_at_result(q, s))
			go(q, s);
	}
	return n;
}

static void go_on_with_later(struct blk_queue *q)
{
	struct blk_slots list = STAILQ_HEAD_INITIALIZER(list);
	struct blk_slot *s;

	STAILQ_CONCAT(&list, &q->later);
	while ((s = STAILQ_FIRST(&list)) != NULL) {
		STAILQ_REMOVE_HEAD(&list, link);
		go(q, s);
	}
}

/* --- from the ring -------------------------------------------------------------------------------------------- */

static void broken(const struct blk_queue *q, const char *why)
{
	vdevice_guest_error(q->disk->vd, q->index, why);
}

static int parse(struct blk_queue *q, const struct vq_chain *c, struct blk_req *req)
{
	struct blk_raw raw = { .out_bytes = c->out_bytes, .in_bytes = c->in_bytes };

	if (c->out_bytes >= BLK_HDR_BYTES && vq_chain_read(c, 0, raw.hdr, BLK_HDR_BYTES) < 0)
		return -EBADMSG;
	if (c->out_bytes >= BLK_HDR_BYTES + BLK_SEG_BYTES && vq_chain_read(c, BLK_HDR_BYTES, raw.seg, BLK_SEG_BYTES) < 0)
		return -EBADMSG;
	return blk_req_parse(&raw, &q->disk->rules, req);
}

static uint64_t limit(struct blk_queue *q, const struct blk_slot *s)
{
	bool transfer = s->req.op == BLK_READ || s->req.op == BLK_WRITE;

	if (q->disk->limits == NULL)
		return 0;
	return ratelimit_shared_take(q->disk->limits, transfer ? s->req.len : 0, now(q));
}

/* Everything that a request needs before it can begin. False: not now; @s holds nothing then. */
static bool admit(struct blk_queue *q, struct blk_slot *s)
{
	s->ordered = blk_op_writes(s->req.op);
	if (s->ordered && !blk_order_begin(&q->disk->order, &s->range, s->req.off, s->req.len)) {
		/* Another queue's end wakes nobody here. */
		if (q->under_way == 0)
			vdevice_again(q->disk->vd, q->index, RETRY_MS);
		goto refused;
	}
	if (q->disk->image.direct && blk_slot_prepare(q, s) && blk_slot_needs_bounce(q, s)) {
		s->bounce = blk_pool_get(&q->bounces);
		if (s->bounce == NULL)
			goto refused_in_order;
	}
	uint64_t wait = limit(q, s);
	if (wait == 0)
		return true;
	vdevice_count(q->disk->vd, STATS_LIMITED, 1);
	vdevice_again(q->disk->vd, q->index, (unsigned)(wait / 1000000 + 1));
	if (s->bounce != NULL)
		blk_pool_put(&q->bounces, s->bounce);
	s->bounce = NULL;
refused_in_order:
	if (s->ordered)
		blk_order_end(&q->disk->order, &s->range);
refused:
	q->stalled = true;
	return false;
}

/* A slot with room for the chain. NULL: none is free now. */
static struct blk_slot *slot_for(struct blk_queue *q, const struct vq_chain *c)
{
	struct blk_slot *s = STAILQ_FIRST(&q->free);
	unsigned n = c->n_out + c->n_in;
	struct iovec *big = NULL;

	if (s == NULL || (n > BLK_SMALL_IOV && (big = blk_pool_get(&q->bigs)) == NULL))
		return NULL;
	STAILQ_REMOVE_HEAD(&q->free, link);
	s->iov = big != NULL ? big : s->small;
	s->max = big != NULL ? q->max_iov : BLK_SMALL_IOV;
	memcpy(s->iov, c->iov, n * sizeof(*s->iov));
	s->chain = *c;
	s->chain.iov = s->iov;
	s->done = 0;
	s->tries = 0;
	s->bounce = NULL;
	s->ordered = s->syncing = false;
	s->popped_ns = now(q);
	return s;
}

static void answer_id(struct blk_queue *q, struct blk_slot *s)
{
	s->status = VIRTIO_BLK_S_OK;
	(void)!vq_chain_write(q->vq, &s->chain, 0, q->disk->image.id, (uint32_t)s->req.len);
}

/* The next chain. False: nothing (more) can be begun now. */
static bool pop_one(struct blk_queue *q)
{
	struct vq_chain c;
	struct blk_req req;
	int r = vq_pop(q->vq, &c, q->scratch, q->max_iov);

	if (r <= 0) /* what is wrong with a ring the library tells */
		return false;
	int what = parse(q, &c, &req);
	if (what == -EBADMSG) {
		broken(q, "a request without room for its status");
		return false;
	}
	struct blk_slot *s = slot_for(q, &c);
	if (s == NULL) {
		vq_unpop(q->vq, &c);
		q->stalled = true;
		return false;
	}
	s->req = req;
	if (what == BLK_REQ_RUN && req.op != BLK_GET_ID && !admit(q, s)) {
		slot_free(q, s);
		vq_unpop(q->vq, &c);
		return false;
	}
	if (what == BLK_REQ_RUN && req.op != BLK_GET_ID) {
		q->under_way++;
		go(q, s);
		return true;
	}
	s->status = what < 0 ? (uint8_t)-what : VIRTIO_BLK_S_OK;
	if (what == BLK_REQ_RUN)
		answer_id(q, s);
	finish(q, s);
	return true;
}

static void retry_soon(struct blk_queue *q)
{
	static const struct timeval soon = { .tv_usec = RETRY_MS * 1000 };

	(void)event_add(q->ev_later, &soon);
}

/* One round: what is there, at most BUDGET of it. Returns how many requests moved. */
static unsigned round_trip(struct blk_queue *q)
{
	unsigned n = reap(q), popped = 0;

	q->now_ns = 0;
	go_on_with_later(q);
	while (!q->stopping && !q->stalled && popped < BUDGET && pop_one(q))
		popped++;
	if (!q->engine.ops->submit(&q->engine))
		retry_soon(q);
	n += reap(q); /* what was in the page cache is there already */
	publish(q);
	return n + popped;
}

/* --- from outside --------------------------------------------------------------------------------------------- */

void blk_queue_start(struct blk_queue *q, struct vq *vq)
{
	q->vq = vq;
	q->stopping = q->stalled = false;
}

static void check_idle(struct blk_queue *q)
{
	if (!q->stopping || q->under_way > 0)
		return;
	q->vq = NULL;
	q->stopping = false;
	vdevice_queue_idle(q->disk->vd, q->index);
}

void blk_queue_stop(struct blk_queue *q)
{
	if (q->vq == NULL) {
		vdevice_queue_idle(q->disk->vd, q->index);
		return;
	}
	q->stopping = true;
	check_idle(q);
}

/* Slots that wait for another try, or for their next step. */
static void come_back_for_later(struct blk_queue *q)
{
	const struct blk_slot *s = STAILQ_FIRST(&q->later);
	static const struct timeval at_once;

	if (s != NULL && s->tries > 0)
		retry_soon(q);
	else if (s != NULL)
		(void)event_add(q->ev_later, &at_once);
}

/* Rounds until nothing is left (true) or this thread's turn is over. */
static bool serve(struct blk_queue *q)
{
	unsigned total = 0, n;

	do {
		n = round_trip(q);
		total += n;
	} while (n > 0 && total < TURN);
	return n == 0;
}

void blk_queue_run(struct blk_queue *q)
{
	if (q->vq == NULL)
		return;
	q->stalled = false;
	if (!serve(q))
		vdevice_again(q->disk->vd, q->index, 0);
	come_back_for_later(q);
	check_idle(q);
}

/* Of the engine, or a timer. What is under way goes on while the queue stops, and when its ring turns out to be
 * broken; only then nothing is popped. */
static void on_own_event(evutil_socket_t fd, short what, void *arg)
{
	struct blk_queue *q = arg;

	(void)fd;
	(void)what;
	if (q->vq != NULL && (q->stopping || !vq_is_started(q->vq)))
		blk_queue_run(q);
	else
		vdevice_serve(q->disk->vd, q->index);
}

int blk_queue_watch(struct blk_queue *q, struct event_base *base, struct err *e)
{
	static const struct timeval hour = { 3600, 0 };

	/* The timer once, so that the loop has room for it later. */
	q->ev_later = event_new(base, -1, 0, on_own_event, q);
	if (q->ev_later == NULL || event_add(q->ev_later, &hour) < 0 || event_del(q->ev_later) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	if (q->engine.ring == NULL)
		return 0;
	q->ev_ring = event_new(base, blk_uring_fd(&q->engine), EV_READ | EV_PERSIST, on_own_event, q);
	if (q->ev_ring == NULL || event_add(q->ev_ring, NULL) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	return 0;
}
