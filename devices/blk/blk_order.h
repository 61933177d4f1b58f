/* SPDX-License-Identifier: ISC */
/*
 * Which parts of a disk are being changed. A write that overlaps one under way is not begun before the driver can
 * see that the earlier one is done; the theory stands in blk_queue.c.
 *
 * Any thread: shared by the queues of a disk, whose lock it takes when there is more than one.
 */
#ifndef DEVICES_BLK_BLK_ORDER_H
#define DEVICES_BLK_BLK_ORDER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/cleanup.h"

struct blk_range {
	uint64_t off, end;
	LIST_ENTRY(blk_range) link;
};

struct blk_order {
	bool shared;
	pthread_mutex_t mtx; /* guards the list, if shared */
	LIST_HEAD(, blk_range) busy;
};

void blk_order_init(struct blk_order *o, bool shared);
/* Enter [@off, @off + @len), which does not wrap. False: it overlaps another one, nothing was entered. */
bool blk_order_begin(struct blk_order *o, struct blk_range *r, uint64_t off, uint64_t len) __must_check;
void blk_order_end(struct blk_order *o, struct blk_range *r);

#endif
