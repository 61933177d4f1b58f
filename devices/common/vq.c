/* SPDX-License-Identifier: ISC */
/*
 * Taking chains from a split ring. What the guest wrote is copied descriptor by descriptor, each byte read once, into the
 * caller's bounded array; whatever is wrong with it breaks the queue (-EBADMSG) and nothing else.
 *
 * The walk is bounded by the ring's size (a chain in the table; virtio v1.2 2.7.5.3.1) or by the indirect table's own
 * length, by the caller's iovecs, and by 32 bits of bytes.
 */
#include "devices/common/vq_internal.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "common/ovf.h"

_Static_assert(sizeof(struct vring_desc) == 16, "virtio v1.2 2.7.5");

int vq_init(struct vq *vq, unsigned index, uint16_t size_max, struct stats_page *stats)
{
	*vq = (struct vq){ .index = index, .size_max = size_max, .stats = stats, .call_fd = -1 };
	vq->busy = calloc((size_max + 63u) / 64, sizeof(*vq->busy));
	vq->again = calloc(size_max, sizeof(*vq->again));
	vq->batch = calloc(size_max, sizeof(*vq->batch));
	if (vq->busy != NULL && vq->again != NULL && vq->batch != NULL)
		return 0;
	vq_fini(vq);
	return -ENOMEM;
}

void vq_fini(struct vq *vq)
{
	free(vq->busy);
	free(vq->again);
	free(vq->batch);
	vq->busy = NULL;
	vq->again = vq->batch = NULL;
}

static bool is_busy(const struct vq *vq, uint16_t head)
{
	return (vq->busy[head / 64] >> (head % 64) & 1) != 0;
}

void vq_break(struct vq *vq, const char *why)
{
	vq->broken = true;
	if (vq->fault == NULL)
		vq->fault = why;
}

static int fault(struct vq *vq, const char *why)
{
	vq_break(vq, why);
	return -EBADMSG;
}

const char *vq_fault(const struct vq *vq)
{
	return vq->fault != NULL ? vq->fault : "no fault";
}

/* --- start and stop --------------------------------------------------------------------------------------------- */

/* One part of the ring: aligned, all of it in one piece of guest memory. */
static int map_part(const struct gmem *gm, const char *what, uint64_t gpa, uint64_t bytes, uint64_t align, uint8_t **out,
		    struct err *e)
{
	struct iovec iov;

	if (gpa % align != 0)
		return err_set(e, -EBADMSG, "%s ring at 0x%llx is not aligned", what, (unsigned long long)gpa);
	if (gmem_iov(gm, gpa, bytes, &iov, 1) != 1)
		return err_set(e, -EBADMSG, "%s ring at 0x%llx is not in memory", what, (unsigned long long)gpa);
	/* Guest memory is mapped at pages, so an aligned guest address is an aligned pointer; a peer that maps otherwise
	 * gets no ring. */
	if ((uintptr_t)iov.iov_base % 16 != gpa % 16)
		return err_set(e, -EBADMSG, "memory is mapped at an odd place");
	*out = iov.iov_base;
	return 0;
}

static int map_ring(struct vq *vq, const struct vq_setup *s, struct err *e)
{
	uint8_t *desc, *avail;
	int r = map_part(s->gm, "descriptor", s->desc, 16 * (uint64_t)s->num, 16, &desc, e);

	if (r == 0)
		r = map_part(s->gm, "available", s->avail, vq_avail_bytes(s->num, vq->event_idx), 2, &avail, e);
	if (r == 0)
		r = map_part(s->gm, "used", s->used, vq_used_bytes(s->num, vq->event_idx), 4, &vq->used, e);
	if (r < 0)
		return r;
	vq->desc = desc;
	vq->avail = avail;
	return 0;
}

static void resume_from_region(struct vq *vq, const struct vq_setup *s)
{
	vq->inflight = s->inflight;
	vq->n_again = inflight_recover(&vq->inflight, s->features, vq->told_used, vq->again);
	for (uint16_t i = 0; i < vq->n_again; i++)
		vq->busy[vq->again[i] / 64] |= UINT64_C(1) << (vq->again[i] % 64);
	/* Entries are popped in order, so behind what the driver got back there are as many as are in flight. */
	if (vq->inflight.queue != NULL)
		vq->next_avail = (uint16_t)(vq->told_used + vq->n_again);
}

int vq_start(struct vq *vq, const struct vq_setup *s, struct err *e)
{
	vq->started = vq->broken = vq->saw_empty = vq->last_was_again = false;
	vq->fault = NULL;
	vq->next_avail = vq->seen_avail = s->base;
	vq->n_again = vq->at_again = vq->n_batch = vq->n_flight = 0;
	vq->near = 0;
	vq->inflight = (struct inflight){ 0 };
	if (s->num > vq->size_max || !is_pow2_u64(s->num))
		return err_set(e, -EBADMSG, "a ring of %u descriptors", s->num);
	vq->num = s->num;
	vq->gm = s->gm;
	vq->log = s->log;
	vq->features = s->features;
	vq->event_idx = (s->features >> VIRTIO_RING_F_EVENT_IDX & 1) != 0;
	vq->indirect = (s->features >> VIRTIO_RING_F_INDIRECT_DESC & 1) != 0;
	vq->used_gpa = s->used;
	vq->log_used = s->log_used;
	vq->log_ring = s->log_ring;
	memset(vq->busy, 0, (vq->size_max + 63u) / 64 * sizeof(*vq->busy));
	int r = map_ring(vq, s, e);
	if (r < 0)
		return r;
	vq->next_used = vq->told_used = le16toh(ring_ld16(vq->used + USED_IDX));
	resume_from_region(vq, s);
	vq->seen_avail = vq->next_avail;
	vq->started = true;
	return 0;
}

uint16_t vq_stop(struct vq *vq)
{
	if (!vq->started)
		return vq->next_avail;
	vq_flush(vq);
	vq->started = false;
	/* What was popped and given up comes again: a region remembers it; else the device served in order, and it is what
	 * was popped last. */
	if (vq->inflight.queue == NULL)
		vq->next_avail = (uint16_t)(vq->next_avail - vq->n_flight);
	vq->n_flight = 0;
	return vq->next_avail;
}

/* --- popping ---------------------------------------------------------------------------------------------------- */

/* How far the driver is. 0 nothing new, > 0 entries, -EBADMSG. */
static int look(struct vq *vq)
{
	if (vq->seen_avail == vq->next_avail) {
		/* Acquire: the entry and its descriptors were written before the index that announced them; without it they
		 * could be read first, as they were before. */
		vq->seen_avail = le16toh(ring_ld16(vq->avail + AVAIL_IDX));
	}
	uint16_t n = (uint16_t)(vq->seen_avail - vq->next_avail);
	if (n > vq->num)
		return fault(vq, "the available index has jumped");
	return n;
}

/* Where descriptors come from: the ring's table, or an indirect one. */
struct table {
	const uint8_t *p; /* in guest memory, in one piece; NULL: at gpa, in several */
	uint64_t gpa;
	uint32_t n;
	bool indirect; /* not to be told from the address: a guest may put the one on top of the other */
};

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* Each byte is read once, here. Two loads of 8 bytes where the table is aligned, as the ring's always is. */
static int fetch(const struct vq *vq, const struct table *t, uint32_t i, struct desc *d)
{
	uint64_t raw[2];

	if (t->p != NULL && (uintptr_t)t->p % 8 == 0) {
		raw[0] = ring_ld64(t->p + 16 * (size_t)i);
		raw[1] = ring_ld64(t->p + 16 * (size_t)i + 8);
	} else if (gmem_read(vq->gm, t->gpa + 16 * (uint64_t)i, raw, sizeof(raw)) < 0) {
		return -EFAULT;
	}
	uint64_t rest = le64toh(raw[1]);
	d->addr = le64toh(raw[0]);
	d->len = (uint32_t)rest;
	d->flags = (uint16_t)(rest >> 32);
	d->next = (uint16_t)(rest >> 48);
	return 0;
}

/* virtio v1.2 2.7.5.3: @d stands for a whole table. */
static int enter_indirect(struct vq *vq, const struct desc *d, struct table *t)
{
	struct iovec iov;

	if (!vq->indirect)
		return fault(vq, "an indirect descriptor that was not negotiated");
	if (t->indirect)
		return fault(vq, "an indirect table inside another");
	if ((d->flags & VRING_DESC_F_NEXT) != 0)
		return fault(vq, "an indirect descriptor with a next one");
	if (d->len == 0 || d->len % 16 != 0 || d->len / 16 > VQ_INDIRECT_MAX)
		return fault(vq, "an indirect table of an impossible length");
	int r = gmem_iov_near(vq->gm, &vq->near, d->addr, d->len, &iov, 1);
	if (r == -EFAULT || r == 0)
		return fault(vq, "an indirect table outside memory");
	*t = (struct table){ .p = r == 1 ? iov.iov_base : NULL, .gpa = d->addr, .n = d->len / 16, .indirect = true };
	return 0;
}

/* Add one buffer to the chain. */
static int add_buffer(struct vq *vq, struct vq_chain *c, const struct desc *d, unsigned max)
{
	bool in = (d->flags & VRING_DESC_F_WRITE) != 0;
	unsigned n = c->n_out + c->n_in;
	uint32_t total;

	if (!in && c->in_seen)
		return fault(vq, "a readable buffer behind a writable one");
	c->in_seen = c->in_seen || in;
	if (d->len == 0)
		return 0;
	if (ovf_add_u32(c->out_bytes + c->in_bytes, d->len, &total) < 0)
		return fault(vq, "a chain of more than 4 GiB");
	int r = gmem_iov_near(vq->gm, &vq->near, d->addr, d->len, c->iov + n, max - n);
	if (r == -E2BIG || n == max)
		return fault(vq, "a chain of too many buffers");
	if (r < 0)
		return fault(vq, "a buffer outside memory");
	if (in) {
		c->n_in += (unsigned)r;
		c->in_bytes += d->len;
	} else {
		c->n_out += (unsigned)r;
		c->out_bytes += d->len;
	}
	return 0;
}

static int walk(struct vq *vq, struct vq_chain *c, unsigned max)
{
	struct table t = { .p = vq->desc, .n = vq->num };
	uint32_t i = c->head;
	struct desc d;
	int r = 0;

	/* Bounded: at most the table's entries, and one step into a second table, which starts counting anew. */
	for (uint32_t left = t.n; left > 0; left--) {
		if (fetch(vq, &t, i, &d) < 0)
			return fault(vq, "an indirect table outside memory");
		if ((d.flags & VRING_DESC_F_INDIRECT) != 0) {
			r = enter_indirect(vq, &d, &t);
			if (r < 0)
				return r;
			i = 0;
			left = t.n + 1;
			continue;
		}
		r = add_buffer(vq, c, &d, max);
		if (r < 0)
			return r;
		if ((d.flags & VRING_DESC_F_NEXT) == 0)
			return 0;
		if (d.next >= t.n)
			return fault(vq, "a next descriptor outside the table");
		i = d.next;
	}
	return fault(vq, "a chain without an end");
}

/* The next head. 1, 0 empty, -EBADMSG. */
static int next_head(struct vq *vq, uint16_t *head)
{
	vq->last_was_again = vq->at_again < vq->n_again;
	if (vq->last_was_again) {
		*head = vq->again[vq->at_again];
		return 1;
	}
	int r = look(vq);
	if (r <= 0) {
		vq->saw_empty = vq->saw_empty || r == 0;
		return r;
	}
	*head = le16toh(ring_ld16(vq->avail + AVAIL_RING + 2 * (vq->next_avail & (vq->num - 1u))));
	if (*head >= vq->num)
		return fault(vq, "a head outside the table");
	if (is_busy(vq, *head))
		return fault(vq, "a head that is in flight already");
	return 1;
}

int vq_pop(struct vq *vq, struct vq_chain *out, struct iovec *iov, unsigned max)
{
	uint16_t head;

	if (vq->broken)
		return -EBADMSG;
	if (!vq->started)
		return 0;
	int r = next_head(vq, &head);
	if (r <= 0)
		return r;
	*out = (struct vq_chain){ .head = head, .iov = iov };
	r = walk(vq, out, max);
	if (r < 0)
		return r;
	if (vq->last_was_again) {
		vq->at_again++;
	} else {
		inflight_popped(&vq->inflight, head);
		vq->busy[head / 64] |= UINT64_C(1) << (head % 64);
		vq->next_avail++;
	}
	vq->n_flight++;
	vq_count(vq, STATS_REQUESTS, 1);
	return 1;
}

void vq_unpop(struct vq *vq, const struct vq_chain *c)
{
	if (vq->n_flight == 0)
		return;
	vq->n_flight--;
	if (vq->last_was_again) {
		vq->at_again--;
		return;
	}
	inflight_unpopped(&vq->inflight, c->head);
	vq->busy[c->head / 64] &= ~(UINT64_C(1) << (c->head % 64));
	vq->next_avail--;
}

int vq_pending(struct vq *vq)
{
	if (vq->broken)
		return -EBADMSG;
	if (!vq->started)
		return 0;
	vq->seen_avail = le16toh(ring_ld16(vq->avail + AVAIL_IDX));
	uint16_t n = (uint16_t)(vq->seen_avail - vq->next_avail);
	if (n > vq->num)
		return fault(vq, "the available index has jumped");
	n = (uint16_t)(n + vq->n_again - vq->at_again);
	return n > vq->num ? vq->num : n;
}

unsigned vq_index(const struct vq *vq)
{
	return vq->index;
}

uint16_t vq_size(const struct vq *vq)
{
	return vq->num;
}

bool vq_is_started(const struct vq *vq)
{
	return vq->started && !vq->broken;
}

uint16_t vq_in_flight(const struct vq *vq)
{
	return vq->n_flight;
}

uint16_t vq_used_index(const struct vq *vq)
{
	return vq->next_used;
}

uint16_t vq_resubmitted(const struct vq *vq)
{
	return (uint16_t)(vq->n_again - vq->at_again);
}

uint64_t vq_features(const struct vq *vq)
{
	return vq->features;
}
