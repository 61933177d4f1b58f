/* SPDX-License-Identifier: ISC */
/* What a request does next: which operation of the engine, on which bytes, and what its result means. */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <string.h>

#include "common/log.h"
#include "devices/blk/blk_queue.h"

enum { ZERO_BYTES = 65536, BOUNCE_BYTES = 2 * BLK_ALIGN_MAX };

/* Where zeros come from when they have to be written. Never written to. */
static uint8_t zeros[ZERO_BYTES] __attribute__((aligned(4096)));

/* --- flushes -------------------------------------------------------------------------------------------------- */

/* After a failed flush the kernel may have dropped what it could not write, and the next one would succeed: so none
 * does, until the driver resets the device. In the statistics page, because it must outlive this process. */
static bool flush_has_failed(const struct blk_queue *q)
{
	return atomic_load_explicit(&vdevice_stats(q->disk->vd)->v[STATS_BLK_FLUSH_FAILED], memory_order_relaxed) != 0;
}

static void flush_failed(const struct blk_queue *q, int error)
{
	log_warn_rl("flush failed: %s; so will all until the device is reset", strerror(error));
	atomic_store_explicit(&vdevice_stats(q->disk->vd)->v[STATS_BLK_FLUSH_FAILED], 1, memory_order_relaxed);
}

/* --- preparing ------------------------------------------------------------------------------------------------ */

static bool end_with(struct blk_slot *s, uint8_t status)
{
	s->status = status;
	return false;
}

/* Most drivers give header and status buffers of their own: then the data's part of the chain is there already. */
static bool plain_view(struct blk_slot *s, bool in)
{
	struct vq_chain *c = &s->chain;

	if (in) {
		if (c->n_in < 2 || c->iov[c->n_out + c->n_in - 1].iov_len != 1)
			return false;
		s->io.iov = c->iov + c->n_out;
		s->io.n_iov = c->n_in - 1;
		return true;
	}
	if (c->n_out < 2 || c->iov[0].iov_len != BLK_HDR_BYTES)
		return false;
	s->io.iov = c->iov + 1;
	s->io.n_iov = c->n_out - 1;
	return true;
}

/* The guest's buffers from @done on. */
static bool prepare_view(struct blk_slot *s)
{
	bool in = s->req.op == BLK_READ;

	if (s->done > 0 || !plain_view(s, in)) {
		int n = vq_chain_iov(&s->chain, in, (uint32_t)s->done + (in ? 0 : BLK_HDR_BYTES),
				     (uint32_t)(s->req.len - s->done), s->iov + s->max, s->max);
		if (n <= 0)
			return end_with(s, VIRTIO_BLK_S_IOERR);
		s->io.iov = s->iov + s->max;
		s->io.n_iov = (unsigned)n;
	}
	if (s->io.n_iov > BLK_IOV_MAX)
		s->io.n_iov = BLK_IOV_MAX;
	s->io.off = s->req.off + s->done;
	return true;
}

/* Through a buffer of ours: reads are widened to whole units (writes are whole by the rules). */
static bool prepare_bounced(struct blk_queue *q, struct blk_slot *s)
{
	uint32_t unit = q->disk->image.off_align;
	uint64_t at = s->req.off + s->done, left = s->req.len - s->done;
	struct iovec *v = s->iov + s->max;

	s->bounce_skip = (uint32_t)(at % unit);
	s->bounce_use = left < BOUNCE_BYTES - s->bounce_skip ? (uint32_t)left : BOUNCE_BYTES - s->bounce_skip;
	if (s->req.op == BLK_WRITE &&
	    vq_chain_read(&s->chain, BLK_HDR_BYTES + (uint32_t)s->done, s->bounce, s->bounce_use) < 0)
		return end_with(s, VIRTIO_BLK_S_IOERR);
	*v = (struct iovec){ s->bounce, (s->bounce_skip + s->bounce_use + unit - 1) / unit * unit };
	s->io.iov = v;
	s->io.n_iov = 1;
	s->io.off = at - s->bounce_skip;
	return true;
}

static bool prepare_transfer(struct blk_queue *q, struct blk_slot *s)
{
	s->io.op = s->req.op == BLK_READ ? BLK_IO_READ : BLK_IO_WRITE;
	return s->bounce != NULL ? prepare_bounced(q, s) : prepare_view(s);
}

static bool prepare_zeros_to_write(struct blk_slot *s, uint64_t left)
{
	struct iovec *v = s->iov + s->max;
	unsigned n = 0;

	for (; n < s->max && left > 0; n++) {
		v[n] = (struct iovec){ zeros, left < ZERO_BYTES ? left : ZERO_BYTES };
		left -= v[n].iov_len;
	}
	s->io.op = BLK_IO_WRITE;
	s->io.iov = v;
	s->io.n_iov = n;
	return true;
}

/* Blocks may be given back only if both the driver and the configuration say so. */
static bool prepare_range(struct blk_queue *q, struct blk_slot *s)
{
	struct blk_disk *d = q->disk;

	s->io.off = s->req.off + s->done;
	s->io.len = s->req.len - s->done < BLK_RANGE_STEP ? s->req.len - s->done : BLK_RANGE_STEP;
	s->io.op = BLK_IO_PUNCH;
	if (s->req.op == BLK_DISCARD && d->no_punch_zero)
		s->io.op = BLK_IO_DISCARD;
	if (s->req.op == BLK_ZEROES && (!s->req.unmap || !d->rules.discard || d->no_punch_zero))
		s->io.op = BLK_IO_ZERO;
	if (s->io.op == BLK_IO_ZERO && d->no_zero)
		return prepare_zeros_to_write(s, s->io.len);
	return true;
}

bool blk_slot_prepare(struct blk_queue *q, struct blk_slot *s)
{
	s->io.may_block = s->tries > 0;
	if (s->syncing || s->req.op == BLK_FLUSH) {
		s->io.op = BLK_IO_SYNC;
		return flush_has_failed(q) ? end_with(s, VIRTIO_BLK_S_IOERR) : true;
	}
	return s->req.op == BLK_READ || s->req.op == BLK_WRITE ? prepare_transfer(q, s) : prepare_range(q, s);
}

bool blk_slot_needs_bounce(const struct blk_queue *q, const struct blk_slot *s)
{
	const struct blk_image *img = &q->disk->image;

	if (!img->direct || (s->io.op != BLK_IO_READ && s->io.op != BLK_IO_WRITE))
		return false;
	if (s->io.off % img->off_align != 0)
		return true;
	for (unsigned i = 0; i < s->io.n_iov; i++)
		if ((uintptr_t)s->io.iov[i].iov_base % img->mem_align != 0 || s->io.iov[i].iov_len % img->off_align != 0)
			return true;
	return false;
}

/* --- results -------------------------------------------------------------------------------------------------- */

static bool is_unsupported(int64_t res)
{
	return res == -EOPNOTSUPP || res == -ENOSYS || res == -ENOTTY;
}

/* Another way to the same end, if this one is closed. */
static bool fall_back(struct blk_queue *q, const struct blk_slot *s)
{
	struct blk_disk *d = q->disk;

	if (s->io.op == BLK_IO_PUNCH && !d->no_punch_zero && (d->image.is_device || s->req.op == BLK_ZEROES)) {
		d->no_punch_zero = true;
		return true;
	}
	if (s->io.op == BLK_IO_ZERO && !d->no_zero) {
		d->no_zero = true;
		return true;
	}
	return false;
}

static bool failed(struct blk_queue *q, struct blk_slot *s)
{
	int error = (int)-s->io.res;

	if (is_unsupported(s->io.res) && (s->req.op == BLK_DISCARD || s->req.op == BLK_ZEROES) && fall_back(q, s))
		return true;
	if (s->io.op == BLK_IO_SYNC)
		flush_failed(q, error);
	else
		log_warn_rl("%s of %llu bytes at %llu failed: %s", s->req.op == BLK_READ ? "read" : "write",
			    (unsigned long long)s->req.len, (unsigned long long)s->req.off, strerror(error));
	return end_with(s, VIRTIO_BLK_S_IOERR);
}

/* How many bytes of the request the operation has done; 0: the image ended. */
static uint64_t progress(struct blk_queue *q, struct blk_slot *s)
{
	uint64_t n = (uint64_t)s->io.res;

	if (s->io.op == BLK_IO_PUNCH || s->io.op == BLK_IO_ZERO)
		return s->io.len;
	if (s->bounce == NULL)
		return n;
	if (s->req.op == BLK_WRITE)
		return n - n % q->disk->image.off_align;
	n = n > s->bounce_skip ? n - s->bounce_skip : 0;
	if (n > s->bounce_use)
		n = s->bounce_use;
	return vq_chain_write(q->vq, &s->chain, (uint32_t)s->done, s->bounce + s->bounce_skip, (uint32_t)n) == 0 ? n : 0;
}

bool blk_slot_advance(struct blk_queue *q, struct blk_slot *s)
{
	if (s->io.res < 0)
		return failed(q, s);
	if (s->io.op == BLK_IO_SYNC)
		return end_with(s, VIRTIO_BLK_S_OK);
	uint64_t n = progress(q, s);
	if (n == 0 || n > s->req.len - s->done) {
		log_warn_rl("the image ends before %llu", (unsigned long long)(s->req.off + s->req.len));
		return end_with(s, VIRTIO_BLK_S_IOERR);
	}
	s->done += n;
	s->tries = 0;
	if (s->done < s->req.len)
		return true;
	/* virtio v1.2 5.2.6.2: without a write-back cache, what is acknowledged is stable. */
	s->syncing = blk_op_writes(s->req.op) && !q->disk->writeback;
	return s->syncing ? true : end_with(s, VIRTIO_BLK_S_OK);
}
