/* SPDX-License-Identifier: ISC */
/* What the driver sees of a disk before the first request: features and configuration space. Pure. */
#ifndef DEVICES_BLK_BLK_CONFIG_H
#define DEVICES_BLK_BLK_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

enum {
	BLK_CONFIG_BYTES = 60,   /* as far as secure erase, which is never offered */
	BLK_CONFIG_WCE = 32,     /* offset of the one byte that drivers may write */
	/* With header and status as many buffers as a chain can have; no more than one call takes. */
	BLK_SEGMENTS_MAX = 1022,
};

/* Of the image; const after the descriptor phase. Sizes in bytes. */
struct blk_shape {
	uint64_t bytes;       /* as the host has it */
	uint32_t logical;     /* smallest unit, a power of two, at least 512 */
	uint32_t physical;    /* a power of two, at least logical */
	uint32_t min_io, opt_io; /* 0: unknown */
	bool readonly;
	bool can_zero;        /* a range becomes zero without its zeros being sent */
	bool can_discard;     /* blocks can be given back */
	bool sparse;          /* and may be */
};

uint64_t blk_features(const struct blk_shape *s, unsigned n_queues);
void blk_config_fill(const struct blk_shape *s, unsigned n_queues, uint16_t queue_size, uint8_t out[BLK_CONFIG_BYTES]);
/* Whether writes may stay in a cache (the host's) until the driver flushes: virtio v1.2 5.2.6.2. @wce: the
 * configuration byte. */
bool blk_is_writeback(uint64_t acked, uint8_t wce);

#endif
