/* SPDX-License-Identifier: ISC */
/* Requests of a virtio block device (virtio v1.2 5.2.6), one at a time or many. */
#ifndef TESTS_BACKEND_VU_BLK_H
#define TESTS_BACKEND_VU_BLK_H

#include <linux/virtio_blk.h>

#include "tests/backend/vu/vu.h"

enum { VU_BLK_SLOTS = 256, VU_SECTOR = 512, VU_BLK_NO_STATUS = 0xee };

/* One queue with places for requests. A slot has a header, a status byte and a buffer; its number is the token. */
struct vu_blk {
	struct vu *v;
	struct vu_ring *r;
	unsigned n_slots;
	uint32_t bytes; /* of a buffer */
	uint64_t head, status, data;
	uint8_t *head_p, *status_p, *data_p;
};

int vu_blk_init(struct vu_blk *b, struct vu *v, unsigned queue, unsigned n_slots, uint32_t bytes) __must_check;
static inline void *vu_blk_data(const struct vu_blk *b, unsigned slot)
{
	return b->data_p + (size_t)slot * b->bytes;
}

/* Into the ring, not yet kicked: @len bytes of the slot's buffer. 0 or -ENOSPC. */
int vu_blk_add(struct vu_blk *b, unsigned slot, uint32_t type, uint64_t sector, uint32_t len) __must_check;
/* A used one: its slot, -EAGAIN none, -EBADMSG. *@written may be NULL. */
int vu_blk_take(struct vu_blk *b, uint32_t *written);
uint8_t vu_blk_status(const struct vu_blk *b, unsigned slot);

/* From the header to the status, with slot 0: VIRTIO_BLK_S_*, or -errno. */
int vu_blk_do(struct vu_blk *b, uint32_t type, uint64_t sector, uint32_t len);
/* One range to discard or to write zeroes to. */
int vu_blk_range(struct vu_blk *b, uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags);

/* What a block says about itself: where it belongs, when it was written, whether it is whole. */
void vu_blk_stamp(void *block, uint32_t bytes, uint64_t lba, uint64_t sequence);
/* The sequence, 0 for a block of zeroes, UINT64_MAX: torn or not of @lba. */
uint64_t vu_blk_read_stamp(const void *block, uint32_t bytes, uint64_t lba);

#endif
