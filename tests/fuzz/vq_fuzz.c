/* SPDX-License-Identifier: ISC */
/*
 * A ring whose every byte is the input's, and an in-flight region left by whoever: starts, pops, pushes, stops as the
 * input says. A checker of its own knows what may come out.
 *
 *	byte 0	features: indirect, event index, region, log; byte 1 log2 of the size; byte 2 base; then the operations' count,
 *		the operations, and what is left goes over rings, tables and region again and again
 */
#include <errno.h>

#include "devices/common/vq.h"
#include "tests/fuzz/ops.h"
#include "tests/unit/devices/common/driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { IOVS = 24, OPS_MAX = 64, SIZE_MAX_LOG = 4, FLIGHT = 1 << SIZE_MAX_LOG };

static struct driver d;

struct run {
	struct vq vq;
	struct iovec iov[FLIGHT][IOVS];
	struct vq_chain flying[FLIGHT]; /* popped, not pushed */
	unsigned n_flying;
	bool may_unpop;
	unsigned popped, pushed;
};

static bool is_memory(const struct iovec *v)
{
	const uint8_t *p = v->iov_base;

	if (p >= d.low && p < d.low + LOW_BYTES)
		return v->iov_len > 0 && v->iov_len <= (size_t)(d.low + LOW_BYTES - p);
	return p >= d.high && p < d.high + HIGH_BYTES && v->iov_len > 0 && v->iov_len <= (size_t)(d.high + HIGH_BYTES - p);
}

static void check_chain(const struct run *r, const struct vq_chain *c)
{
	uint64_t sum[2] = { 0, 0 };

	ops_promise(c->n_out + c->n_in <= IOVS && c->head < vq_size(&r->vq));
	for (unsigned i = 0; i < c->n_out + c->n_in; i++) {
		ops_promise(is_memory(&c->iov[i]));
		sum[i >= c->n_out] += c->iov[i].iov_len;
	}
	ops_promise(sum[0] == c->out_bytes && sum[1] == c->in_bytes);
	for (unsigned i = 0; i < r->n_flying; i++)
		ops_promise(r->flying[i].head != c->head);
}

static void do_pop(struct run *r)
{
	struct vq_chain *c = &r->flying[r->n_flying];

	r->may_unpop = false;
	if (r->n_flying == FLIGHT)
		return;
	int n = vq_pop(&r->vq, c, r->iov[r->n_flying], IOVS);
	ops_promise(n == 1 || n == 0 || n == -EBADMSG);
	if (n == -EBADMSG)
		ops_promise(!vq_is_started(&r->vq));
	if (n != 1)
		return;
	check_chain(r, c);
	r->n_flying++;
	r->popped++;
	r->may_unpop = true;
	ops_promise(vq_in_flight(&r->vq) == r->n_flying && r->n_flying <= vq_size(&r->vq));
}

/* The last one's iovecs move into the place of the one that went. */
static void do_push(struct run *r, unsigned which)
{
	if (r->n_flying == 0)
		return;
	which %= r->n_flying;
	vq_push(&r->vq, r->flying[which].head, (uint32_t)which);
	r->n_flying--;
	r->flying[which] = r->flying[r->n_flying];
	memcpy(r->iov[which], r->iov[r->n_flying], sizeof(r->iov[which]));
	r->flying[which].iov = r->iov[which];
	r->may_unpop = false;
	r->pushed++;
}

static void do_copy(struct run *r, struct ops *o)
{
	uint8_t bytes[256];
	uint32_t off = (uint32_t)ops_take(o, 2), len = (uint32_t)ops_take(o, 1);

	if (r->n_flying == 0)
		return;
	const struct vq_chain *c = &r->flying[r->n_flying - 1];
	ops_promise((vq_chain_read(c, off, bytes, len) == 0) == (off + len <= c->out_bytes));
	ops_promise((vq_chain_write(&r->vq, c, off, bytes, len) == 0) == (off + len <= c->in_bytes));
	vq_chain_dirty(&r->vq, c, off, len);
}

/* The guest's part of the memory, from the rest of the input. */
static void guest_writes(const uint8_t *p, size_t n)
{
	static const struct { uint64_t at; unsigned bytes; } where[] = { { AVAIL, 40 }, { DESC, 256 }, { TABLE, 128 }, { USED, 24 } };
	size_t k = 0;

	for (size_t w = 0; w < nitems(where) && n > 0; w++) {
		for (unsigned i = 0; i < where[w].bytes; i++, k++)
			driver_at(&d, where[w].at)[i] = p[k % n];
	}
	for (unsigned i = 0; i < 64 && n > 0; i++, k++)
		d.region[i] = p[k % n];
}

static void step(struct run *r, struct ops *o)
{
	uint8_t op = (uint8_t)ops_take(o, 1);

	switch (op % 8) {
	case 0:
	case 1:
		do_pop(r);
		break;
	case 2:
		do_push(r, op / 8);
		break;
	case 3:
		vq_flush(&r->vq);
		break;
	case 4:
		if (r->may_unpop) {
			vq_unpop(&r->vq, &r->flying[--r->n_flying]);
			r->popped--;
		}
		r->may_unpop = false;
		break;
	case 5: {
		int n = vq_want_kicks(&r->vq, op / 8 % 2 != 0);

		ops_promise(n == 0 || n == 1);
		n = vq_pending(&r->vq);
		ops_promise(n == -EBADMSG || (n >= 0 && n <= vq_size(&r->vq)));
		break;
	}
	case 6:
		do_copy(r, o);
		break;
	case 7: /* the guest changes its mind */
		driver_at(&d, op / 8 % 2 != 0 ? AVAIL : DESC)[ops_take(o, 1)] = (uint8_t)ops_take(o, 1);
		break;
	}
}

static void life(struct run *r, struct ops *o, unsigned ops)
{
	struct err e = { 0 };

	r->n_flying = 0;
	r->may_unpop = false;
	if (vq_start(&r->vq, &d.setup, &e) < 0) {
		ops_promise(err_count(&e) > 0);
		return;
	}
	for (unsigned i = 0; i < ops; i++)
		step(r, o);
	d.setup.base = vq_stop(&r->vq);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run r;
	struct ops o = { data, size };
	uint8_t features = (uint8_t)ops_take(&o, 1);
	uint16_t num = (uint16_t)(1u << ops_take(&o, 1) % (SIZE_MAX_LOG + 1));

	driver_init(&d, num, (features & 1 ? F_INDIRECT : 0) | (features & 2 ? F_EVENT : 0));
	d.setup.base = (uint16_t)ops_take(&o, 1);
	if ((features & 4) != 0)
		ops_promise(inflight_attach(&d.setup.inflight, d.region, sizeof(d.region), num, 0, num) == 0);
	d.log.on = (features & 8) != 0;
	unsigned n = (unsigned)ops_take(&o, 1) % OPS_MAX;
	if (n < o.left)
		guest_writes(o.p + n, o.left - n);
	ops_promise(vq_init(&r.vq, 0, FLIGHT, NULL) == 0);
	life(&r, &o, n);
	life(&r, &o, n); /* what a successor makes of it */
	vq_fini(&r.vq);
	return 0;
}
