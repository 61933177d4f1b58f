/* SPDX-License-Identifier: ISC */
/* One queue of a disk: requests from the ring to the engine and back. Queue thread, but for init and fini. */
#ifndef DEVICES_BLK_BLK_QUEUE_H
#define DEVICES_BLK_BLK_QUEUE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "devices/blk/blk_engine.h"
#include "devices/blk/blk_image.h"
#include "devices/blk/blk_order.h"
#include "devices/blk/blk_req.h"
#include "devices/common/ratelimit.h"
#include "devices/common/vdevice.h"
#include "devices/common/vq.h"

enum { BLK_SMALL_IOV = 8 };

/* What the queues of a disk share. */
struct blk_disk {
	struct vdevice *vd;               /* const after start */
	struct blk_image image;           /* const after start */
	struct blk_rules rules;           /* const after start */
	struct blk_order order;
	struct ratelimit_shared *limits;  /* NULL: none */
	bool threads;                     /* const: more than one queue */
	pthread_mutex_t stats_mtx;        /* guards the latency counters, if threads */
	_Atomic bool writeback;           /* else every write ends with a flush */
	_Atomic bool no_punch_zero;       /* a device that cannot promise zeros for a hole: found out at the first one */
	_Atomic bool no_zero;             /* no call for zeros: they are written */
};

/* A request between the ring and the image. */
struct blk_slot {
	struct blk_io io; /* first: the engine gives it back */
	struct vq_chain chain;
	struct blk_req req;
	uint64_t done;       /* bytes of req.len */
	uint64_t popped_ns;
	struct blk_range range;
	struct iovec *iov;   /* max of them for the chain, and as many for the part under way */
	unsigned max;
	uint8_t *bounce;     /* NULL: the guest's own buffers do */
	uint32_t bounce_skip, bounce_use; /* bytes of the one under way that count */
	unsigned tries;
	bool ordered, syncing;
	uint8_t status;
	STAILQ_ENTRY(blk_slot) link;
	struct iovec small[2 * BLK_SMALL_IOV];
};
STAILQ_HEAD(blk_slots, blk_slot);

/* Buffers that are lent out: all of one size, in one piece of memory. */
struct blk_pool {
	uint8_t *mem;
	size_t item;
	unsigned n, n_free;
	void **free;
};

struct blk_queue {
	/* const after init */
	struct blk_disk *disk;
	unsigned index, depth, max_iov;
	struct blk_engine engine;
	struct blk_slot *slot;
	struct iovec *scratch;
	struct blk_pool bigs, bounces;
	void *mem;
	size_t mem_bytes;

	struct event *ev_ring, *ev_later;

	struct vq *vq; /* NULL: not started */
	struct blk_slots free, finished, later;
	unsigned under_way;  /* slots that the engine has, or that wait in later */
	bool stalled;        /* the next chain waits for one of these */
	bool stopping;
	uint64_t now_ns;     /* of this round; 0: not asked yet */
};

/* Memory for @depth requests of up to @max_iov pieces. Descriptor phase; the engine is made by the caller. */
int blk_queue_init(struct blk_queue *q, struct blk_disk *disk, unsigned index, unsigned depth, struct err *e) __must_check;
void blk_queue_fini(struct blk_queue *q);
/* In the queue's thread, before the lock-down, when the engine is there: its events. */
int blk_queue_watch(struct blk_queue *q, struct event_base *base, struct err *e) __must_check;
/* Bytes of address space that it takes. */
uint64_t blk_queue_bytes(const struct blk_queue *q);

void blk_queue_start(struct blk_queue *q, struct vq *vq);
/* Nothing is popped from now on; vdevice_queue_idle() when all that was is done. */
void blk_queue_stop(struct blk_queue *q);
/* Something may be there: in the ring or in the engine. */
void blk_queue_run(struct blk_queue *q);

/* blk_io.c: what a request does next. True: io is to be begun; false: it is finished, status is set. */
bool blk_slot_prepare(struct blk_queue *q, struct blk_slot *s);
/* An operation of @s is finished. True: go on with blk_slot_prepare(). */
bool blk_slot_advance(struct blk_queue *q, struct blk_slot *s);
/* Whether its buffers can be used as they are. */
bool blk_slot_needs_bounce(const struct blk_queue *q, const struct blk_slot *s);

void *blk_pool_get(struct blk_pool *p);
void blk_pool_put(struct blk_pool *p, void *item);

#endif
