/* SPDX-License-Identifier: ISC */
/*
 * Which chains of a split queue are in flight, in memory that outlives this process ("Vhost-user Protocol", Inflight I/O
 * tracking). The layout and the order of the stores are the protocol's: a process that is killed between any two of them
 * leaves a region from which its successor finds the requests that the driver has not got back.
 *
 *	popped		counter, then inflight = 1
 *	completed	next = last_batch_head, then last_batch_head = the head; for each of a batch
 *	published	used.idx in the ring, then inflight = 0 for each of the batch, then used_idx
 *
 * So after a death: when the ring's used.idx is ahead of used_idx, as many heads from last_batch_head on were published
 * and are done; whatever still has inflight set is to be done again, in the order of its counters.
 *
 * The region may have been written by a process that was taken over, so nothing in it is believed: every index is
 * checked, every walk is bounded.
 */
#ifndef DEVICES_COMMON_INFLIGHT_H
#define DEVICES_COMMON_INFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "proto/vhost_user.h"

/* One queue's part of a region. Zeroed: nothing is tracked, and everything below does nothing. */
struct inflight {
	struct vhost_user_inflight_queue *queue; /* borrowed, shared memory */
	struct vhost_user_inflight_desc *desc;
	uint16_t num;
	uint64_t counter; /* of the next request */
};

/* Queue @index's part of the region of @bytes at @map that was laid out for queues of @queue_size, for a queue of @num
 * descriptors. -EINVAL: it has no room. */
int inflight_attach(struct inflight *f, void *map, uint64_t bytes, uint32_t queue_size, unsigned index, uint16_t num)
	__must_check;

/* Before the first pop. @ring_used is used.idx as the ring has it. Fills @heads (room for num) with what is to be
 * done again, oldest first; returns how many. A part that is fresh, or makes no sense for this ring, starts empty. */
uint16_t inflight_recover(struct inflight *f, uint64_t features, uint16_t ring_used, uint16_t *heads);

void inflight_popped(struct inflight *f, uint16_t head);
/* Take the last inflight_popped() back. */
void inflight_unpopped(struct inflight *f, uint16_t head);
void inflight_completed(struct inflight *f, uint16_t head);
/* @heads have been published, and used.idx in the ring is @used_idx now. */
void inflight_published(struct inflight *f, const uint16_t *heads, uint16_t n, uint16_t used_idx);

#endif
