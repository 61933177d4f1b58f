/* SPDX-License-Identifier: ISC */
/* A queue from the side of the library: making, starting, stopping, signalling. */
#ifndef DEVICES_COMMON_VQ_INTERNAL_H
#define DEVICES_COMMON_VQ_INTERNAL_H

#include <stdatomic.h>

#include "common/err.h"
#include "common/gmem.h"
#include "devices/common/dirty_log.h"
#include "devices/common/inflight.h"
#include "devices/common/vq.h"
#include "proto/stats_page.h"

/* Where a ring is and how it is to be served. Guest addresses, from the guest: vq_start() checks them. */
struct vq_setup {
	const struct gmem *gm; /* borrowed until vq_stop() */
	struct dirty_log *log;
	uint16_t num;
	uint16_t base; /* next index of the available ring */
	uint64_t desc, avail, used;
	uint64_t log_used; /* guest address under which the used ring's pages are logged, ... */
	bool log_ring;     /* ... if they are */
	uint64_t features;
	struct inflight inflight; /* zeroed: not tracked */
};

enum { VQ_INDIRECT_MAX = 1024 /* descriptors of an indirect table: no system call takes more iovecs */ };

struct vq {
	/* const after vq_init() */
	unsigned index;
	uint16_t size_max;
	uint64_t *busy;   /* bit per head: popped, not yet published */
	uint16_t *again;  /* heads that a predecessor left in flight, oldest first */
	uint16_t *batch;  /* heads pushed, not yet published */
	struct stats_page *stats;

	/* const after vq_start() */
	const struct gmem *gm;
	struct dirty_log *log;
	uint64_t features, used_gpa, log_used;
	uint16_t num;
	bool event_idx, indirect;
	const uint8_t *desc, *avail; /* in guest memory, as gmem_iov() gave them */
	uint8_t *used;

	/* queue thread */
	struct inflight inflight;
	unsigned near;         /* region of the last buffer */
	uint16_t next_avail;   /* next entry of the available ring to pop */
	uint16_t seen_avail;   /* the driver's index when last looked at */
	uint16_t next_used;    /* next entry of the used ring to fill */
	uint16_t told_used;    /* the index that the driver can see */
	uint16_t n_again, at_again;
	uint16_t n_batch, n_flight;
	bool started, broken, last_was_again;
	bool saw_empty;        /* vq_pop() found nothing since vq_look() */
	const char *fault;     /* what broke it */

	_Atomic bool log_ring; /* main thread sets it while the queue runs */
	_Atomic int call_fd;   /* -1: the driver polls. Numbers stay, descriptors behind them may be replaced */
};

/* Storage for up to @size_max (a power of two) descriptors. 0 or -ENOMEM. */
int vq_init(struct vq *vq, unsigned index, uint16_t size_max, struct stats_page *stats) __must_check;
void vq_fini(struct vq *vq);

/* Check the ring and begin. 0 or -EBADMSG: what the guest gave as a ring is none; nothing is popped then, and
 * vq_stop() gives the base as it was. Queue thread. */
int vq_start(struct vq *vq, const struct vq_setup *s, struct err *e) __must_check;
/* Publishes what was pushed. Returns the base for a later start. Queue thread. */
uint16_t vq_stop(struct vq *vq);
/* Interrupt, whatever the driver wishes: after a start. Queue thread. */
void vq_signal(struct vq *vq);
/* Refuse to pop from now on. */
void vq_break(struct vq *vq, const char *why);

/* --- ring words: the only live things. Aligned, so that each is one access -------------------------------------- */

static inline uint16_t ring_ld16(const uint8_t *p)
{
	return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE);
}
static inline void ring_st16(uint8_t *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)p, v, __ATOMIC_RELEASE);
}
static inline void ring_st32(uint8_t *p, uint32_t v)
{
	__atomic_store_n((uint32_t *)(void *)p, v, __ATOMIC_RELAXED);
}
static inline uint64_t ring_ld64(const uint8_t *p)
{
	return __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED);
}

/* Offsets in the rings: virtio v1.2 2.7.6, 2.7.8. */
enum { AVAIL_FLAGS = 0, AVAIL_IDX = 2, AVAIL_RING = 4, USED_FLAGS = 0, USED_IDX = 2, USED_RING = 4 };

static inline uint64_t vq_avail_bytes(uint16_t num, bool event_idx)
{
	return UINT64_C(4) + 2u * num + (event_idx ? 2 : 0);
}
static inline uint64_t vq_used_bytes(uint16_t num, bool event_idx)
{
	return UINT64_C(4) + 8u * num + (event_idx ? 2 : 0);
}

static inline void vq_count(struct vq *vq, enum stats_common what, uint64_t n)
{
	if (vq->stats != NULL)
		atomic_fetch_add_explicit(&vq->stats->v[what], n, memory_order_relaxed);
}

#endif
