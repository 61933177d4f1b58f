/* SPDX-License-Identifier: ISC */
/* What a driver asks of a disk (virtio v1.2 5.2.6). Pure: copied bytes in, a checked request out. */
#ifndef DEVICES_BLK_BLK_REQ_H
#define DEVICES_BLK_BLK_REQ_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"

enum {
	BLK_SECTOR = 512,
	BLK_HDR_BYTES = 16, /* struct virtio_blk_outhdr */
	BLK_SEG_BYTES = 16, /* struct virtio_blk_discard_write_zeroes */
	BLK_ID_BYTES = 20,
};

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_GET_ID, BLK_DISCARD, BLK_ZEROES };

/* What requests are held against; as the disk is now, not as it was when they were queued. */
struct blk_rules {
	uint64_t capacity;  /* sectors */
	bool readonly;      /* whether the driver knows it or not */
	bool guard_first;   /* no write may begin at sector 0 */
	bool discard;       /* offered */
	bool zeroes;        /* offered */
	uint32_t write_unit; /* bytes: what cannot be written in part (O_DIRECT); at least BLK_SECTOR */
};

/* A chain as far as parsing needs it. The header may be spread over any number of descriptors, and so may the rest. */
struct blk_raw {
	uint32_t out_bytes, in_bytes; /* of the whole chain */
	uint8_t hdr[BLK_HDR_BYTES];   /* the first readable bytes; valid when there are that many */
	uint8_t seg[BLK_SEG_BYTES];   /* the next ones, likewise */
};

struct blk_req {
	enum blk_op op;
	uint64_t off, len; /* bytes; inside the disk */
	bool unmap;        /* zeroes: may deallocate */
};

/* 0: *@out is to be done; 1: @out->len is 0 and there is nothing to do but to say OK; VIRTIO_BLK_S_... (as a
 * negative number): end the request with that status; -EBADMSG: there is no room for a status, the driver broke the
 * rules. */
enum { BLK_REQ_RUN = 0, BLK_REQ_NOTHING = 1, BLK_REQ_IOERR = -1, BLK_REQ_UNSUPP = -2 };
int blk_req_parse(const struct blk_raw *raw, const struct blk_rules *rules, struct blk_req *out) __must_check;

/* Whether the request changes what is on the disk. */
static inline bool blk_op_writes(enum blk_op op)
{
	return op == BLK_WRITE || op == BLK_DISCARD || op == BLK_ZEROES;
}

#endif
