/* SPDX-License-Identifier: ISC */
#include "devices/blk/blk_config.h"

#include <endian.h>
#include <linux/virtio_blk.h>
#include <stddef.h>
#include <string.h>

#include "devices/blk/blk_req.h"

#define BIT(n) (UINT64_C(1) << (n))

_Static_assert(offsetof(struct virtio_blk_config, max_secure_erase_sectors) == BLK_CONFIG_BYTES, "virtio v1.2 5.2.4");
_Static_assert(offsetof(struct virtio_blk_config, wce) == BLK_CONFIG_WCE, "virtio v1.2 5.2.4");

static bool offers_zeroes(const struct blk_shape *s)
{
	return s->can_zero && !s->readonly;
}

static bool offers_discard(const struct blk_shape *s)
{
	return s->can_discard && s->sparse && !s->readonly;
}

uint64_t blk_features(const struct blk_shape *s, unsigned n_queues)
{
	uint64_t f = BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_BLK_SIZE) |
		     BIT(VIRTIO_BLK_F_TOPOLOGY) | BIT(VIRTIO_BLK_F_SEG_MAX);

	if (n_queues > 1)
		f |= BIT(VIRTIO_BLK_F_MQ);
	if (s->readonly)
		f |= BIT(VIRTIO_BLK_F_RO);
	if (offers_zeroes(s))
		f |= BIT(VIRTIO_BLK_F_WRITE_ZEROES);
	if (offers_discard(s))
		f |= BIT(VIRTIO_BLK_F_DISCARD);
	return f;
}

static uint8_t log2_ratio(uint32_t big, uint32_t small)
{
	uint8_t n = 0;

	while (n < 31 && small < big) {
		small <<= 1;
		n++;
	}
	return n;
}

void blk_config_fill(const struct blk_shape *s, unsigned n_queues, uint16_t queue_size, uint8_t out[BLK_CONFIG_BYTES])
{
	uint32_t min_io = s->min_io / s->logical, segments = queue_size > 2 ? queue_size - 2u : 1;
	struct virtio_blk_config c = {
		.capacity = htole64(s->bytes / BLK_SECTOR),
		/* Linux takes it that header and status fit the queue beside the segments. */
		.seg_max = htole32(segments < BLK_SEGMENTS_MAX ? segments : BLK_SEGMENTS_MAX),
		.blk_size = htole32(s->logical),
		.physical_block_exp = log2_ratio(s->physical, s->logical),
		.min_io_size = htole16((uint16_t)(min_io <= UINT16_MAX ? min_io : 0)),
		.opt_io_size = htole32(s->opt_io / s->logical),
		.wce = 1,
		.num_queues = htole16((uint16_t)n_queues),
	};

	if (offers_discard(s)) {
		c.max_discard_sectors = htole32(UINT32_MAX);
		c.max_discard_seg = htole32(1);
		c.discard_sector_alignment = htole32(s->logical / BLK_SECTOR);
	}
	if (offers_zeroes(s)) {
		c.max_write_zeroes_sectors = htole32(UINT32_MAX);
		c.max_write_zeroes_seg = htole32(1);
		c.write_zeroes_may_unmap = offers_discard(s);
	}
	memcpy(out, &c, BLK_CONFIG_BYTES);
}

bool blk_is_writeback(uint64_t acked, uint8_t wce)
{
	bool flush = (acked & BIT(VIRTIO_BLK_F_FLUSH)) != 0;

	return (acked & BIT(VIRTIO_BLK_F_CONFIG_WCE)) != 0 ? flush && wce != 0 : flush;
}
