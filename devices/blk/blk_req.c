/* SPDX-License-Identifier: ISC */
#include "devices/blk/blk_req.h"

#include <errno.h>
#include <linux/virtio_blk.h>

#include "common/le.h"

_Static_assert(sizeof(struct virtio_blk_outhdr) == BLK_HDR_BYTES, "virtio v1.2 5.2.6");
_Static_assert(sizeof(struct virtio_blk_discard_write_zeroes) == BLK_SEG_BYTES, "virtio v1.2 5.2.6");
_Static_assert(VIRTIO_BLK_ID_BYTES == BLK_ID_BYTES, "virtio v1.2 5.2.6");
_Static_assert(BLK_REQ_IOERR == -VIRTIO_BLK_S_IOERR && BLK_REQ_UNSUPP == -VIRTIO_BLK_S_UNSUPP, "the status, negated");
_Static_assert(BLK_REQ_UNSUPP > -EBADMSG, "a status is no errno");

/* Sectors [@sector, @sector + @n) lie on the disk; none does so anywhere up to its end. */
static bool range_is_inside(const struct blk_rules *rules, uint64_t sector, uint64_t n)
{
	return sector <= rules->capacity && n <= rules->capacity - sector;
}

static int parse_transfer(uint64_t sector, uint32_t bytes, const struct blk_rules *rules, struct blk_req *out)
{
	if (bytes % BLK_SECTOR != 0 || !range_is_inside(rules, sector, bytes / BLK_SECTOR))
		return BLK_REQ_IOERR;
	out->off = sector * BLK_SECTOR; /* at most the capacity in bytes, which was a file size */
	out->len = bytes;
	return bytes == 0 ? BLK_REQ_NOTHING : BLK_REQ_RUN;
}

static int parse_write(uint64_t sector, uint32_t bytes, const struct blk_rules *rules, struct blk_req *out)
{
	if (rules->readonly || (rules->guard_first && sector == 0 && bytes > 0))
		return BLK_REQ_IOERR;
	int r = parse_transfer(sector, bytes, rules, out);
	/* Part of a block would have to be read, changed and written back, while other requests run. */
	if (r == BLK_REQ_RUN && (out->off % rules->write_unit != 0 || out->len % rules->write_unit != 0))
		return BLK_REQ_IOERR;
	return r;
}

/* Exactly one segment is announced (max_discard_seg, max_write_zeroes_seg). virtio v1.2 5.2.6.2: unknown flags, and the
 * unmap flag of a discard, are unsupported. */
static int parse_segment(const struct blk_raw *raw, const struct blk_rules *rules, struct blk_req *out)
{
	uint64_t sector = le64_get(raw->seg);
	uint32_t n = le32_get(raw->seg + 8), flags = le32_get(raw->seg + 12);
	uint32_t known = out->op == BLK_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;

	if (rules->readonly)
		return BLK_REQ_IOERR;
	if (out->op == BLK_ZEROES ? !rules->zeroes : !rules->discard)
		return BLK_REQ_UNSUPP;
	if (raw->out_bytes != BLK_HDR_BYTES + BLK_SEG_BYTES || (flags & ~known) != 0)
		return BLK_REQ_UNSUPP;
	if (!range_is_inside(rules, sector, n))
		return BLK_REQ_IOERR;
	out->off = sector * BLK_SECTOR;
	out->len = (uint64_t)n * BLK_SECTOR;
	out->unmap = flags != 0;
	return n == 0 ? BLK_REQ_NOTHING : BLK_REQ_RUN;
}

int blk_req_parse(const struct blk_raw *raw, const struct blk_rules *rules, struct blk_req *out)
{
	*out = (struct blk_req){ 0 };
	if (raw->in_bytes < 1)
		return -EBADMSG;
	if (raw->out_bytes < BLK_HDR_BYTES)
		return BLK_REQ_IOERR;
	uint64_t sector = le64_get(raw->hdr + 8);
	switch (le32_get(raw->hdr)) {
	case VIRTIO_BLK_T_IN:
		out->op = BLK_READ;
		return parse_transfer(sector, raw->in_bytes - 1, rules, out);
	case VIRTIO_BLK_T_OUT:
		out->op = BLK_WRITE;
		return parse_write(sector, raw->out_bytes - BLK_HDR_BYTES, rules, out);
	case VIRTIO_BLK_T_FLUSH:
		out->op = BLK_FLUSH;
		return BLK_REQ_RUN;
	case VIRTIO_BLK_T_GET_ID:
		out->op = BLK_GET_ID;
		out->len = raw->in_bytes - 1 < BLK_ID_BYTES ? raw->in_bytes - 1 : BLK_ID_BYTES;
		return BLK_REQ_RUN;
	case VIRTIO_BLK_T_DISCARD:
		out->op = BLK_DISCARD;
		return parse_segment(raw, rules, out);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		out->op = BLK_ZEROES;
		return parse_segment(raw, rules, out);
	default:
		return BLK_REQ_UNSUPP;
	}
}
