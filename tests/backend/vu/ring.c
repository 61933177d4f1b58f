/* SPDX-License-Identifier: ISC */
/* A driver's side of a split virtqueue (virtio v1.2 2.7), fast enough to be the driver of the benchmarks. */
#include "tests/backend/vu/vu.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <linux/virtio_ring.h>

#include "common/fd.h"
#include "tests/backend/vu/tests.h"

enum { RING_ALIGN = 4096 };

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint16_t ld16(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
static void st16(uint16_t *p, uint16_t n)
{
	__atomic_store_n(p, n, __ATOMIC_RELEASE);
}

/* --- places in the two rings -------------------------------------------------------------------------------------------------------- */

static uint16_t *used_event(const struct vu_ring *r)
{
	return &r->avail[2 + r->size];
}
static uint16_t *avail_event(const struct vu_ring *r)
{
	return &r->used[2 + 4 * r->size];
}
static uint64_t avail_bytes(uint16_t size)
{
	return 6 + UINT64_C(2) * size;
}
static uint64_t used_bytes(uint16_t size)
{
	return 6 + UINT64_C(8) * size;
}

/* --- life ----------------------------------------------------------------------------------------------------------------------------- */

int vu_ring_init(struct vu_ring *r, struct vu *v, unsigned index, uint16_t size)
{
	*r = (struct vu_ring){ .v = v, .index = index, .size = size, .kick = v->kick[index], .call = v->call[index] };
	r->desc_gpa = vu_alloc(v, 16 * UINT64_C(1) * size, RING_ALIGN);
	r->avail_gpa = vu_alloc(v, avail_bytes(size), 2);
	r->used_gpa = vu_alloc(v, used_bytes(size), RING_ALIGN);
	r->indirect_gpa = vu_alloc(v, UINT64_C(16) * VU_INDIRECT_MAX * size, RING_ALIGN);
	r->next = calloc(size, sizeof(*r->next));
	r->n_desc = calloc(size, sizeof(*r->n_desc));
	r->token = calloc(size, sizeof(*r->token));
	if (r->indirect_gpa == 0 || r->next == NULL || r->n_desc == NULL || r->token == NULL)
		return -ENOMEM;
	r->d = vu_ptr(v, r->desc_gpa, UINT64_C(16) * size);
	r->avail = vu_ptr(v, r->avail_gpa, avail_bytes(size));
	r->used = vu_ptr(v, r->used_gpa, used_bytes(size));
	vu_ring_clear(r);
	return 0;
}

void vu_ring_fini(struct vu_ring *r)
{
	free(r->next);
	free(r->n_desc);
	free(r->token);
	r->next = r->n_desc = NULL;
	r->token = NULL;
}

void vu_ring_clear(struct vu_ring *r)
{
	memset(r->d, 0, (size_t)16 * r->size);
	memset(r->avail, 0, avail_bytes(r->size));
	memset(r->used, 0, used_bytes(r->size));
	memset(r->n_desc, 0, r->size * sizeof(*r->n_desc));
	r->event_idx = (r->v->acked & VHOST_USER_BIT(VIRTIO_RING_F_EVENT_IDX)) != 0;
	r->use_indirect = (r->v->acked & VHOST_USER_BIT(VIRTIO_RING_F_INDIRECT_DESC)) != 0;
	r->avail_idx = r->used_idx = r->kicked_idx = 0;
	r->n_free = r->size;
	r->free_head = 0;
	for (uint16_t i = 0; i < r->size; i++)
		r->next[i] = (uint16_t)(i + 1);
	uint64_t n;

	(void)!read(r->call, &n, sizeof(n));
	(void)!read(r->kick, &n, sizeof(n));
}

/* --- adding ---------------------------------------------------------------------------------------------------------------------------- */

static struct vu_desc desc_of(const struct vu_buf *out, unsigned n_out, const struct vu_buf *in, unsigned i)
{
	const struct vu_buf *b = i < n_out ? &out[i] : &in[i - n_out];

	return (struct vu_desc){ .addr = b->gpa, .len = b->len, .flags = i < n_out ? 0 : VU_WRITE };
}

static uint16_t take_free(struct vu_ring *r)
{
	uint16_t i = r->free_head;

	r->free_head = r->next[i];
	r->n_free--;
	return i;
}

static uint16_t add_indirect(struct vu_ring *r, const struct vu_buf *out, unsigned n_out, const struct vu_buf *in, unsigned n)
{
	uint16_t head = take_free(r);
	uint64_t gpa = r->indirect_gpa + UINT64_C(16) * VU_INDIRECT_MAX * head;
	struct vu_desc *t = vu_ptr(r->v, gpa, UINT64_C(16) * VU_INDIRECT_MAX);

	for (unsigned i = 0; i < n; i++) {
		t[i] = desc_of(out, n_out, in, i);
		if (i + 1 < n) {
			t[i].flags |= VU_NEXT;
			t[i].next = (uint16_t)(i + 1);
		}
	}
	r->d[head] = (struct vu_desc){ .addr = gpa, .len = 16 * n, .flags = VU_INDIRECT };
	r->n_desc[head] = 1;
	return head;
}

static uint16_t add_direct(struct vu_ring *r, const struct vu_buf *out, unsigned n_out, const struct vu_buf *in, unsigned n)
{
	uint16_t head = r->free_head, last = head;

	for (unsigned i = 0; i < n; i++) {
		uint16_t at = take_free(r);

		r->d[at] = desc_of(out, n_out, in, i);
		if (i > 0) {
			r->d[last].flags |= VU_NEXT;
			r->d[last].next = at;
		}
		last = at;
	}
	r->n_desc[head] = (uint16_t)n;
	return head;
}

int vu_ring_add(struct vu_ring *r, const struct vu_buf *out, unsigned n_out, const struct vu_buf *in, unsigned n_in,
		uint64_t token)
{
	unsigned n = n_out + n_in;
	bool indirect = r->use_indirect && n > 1 && n <= VU_INDIRECT_MAX;

	if (n == 0 || r->n_free < (indirect ? 1 : n))
		return -ENOSPC;
	uint16_t head = indirect ? add_indirect(r, out, n_out, in, n) : add_direct(r, out, n_out, in, n);

	r->token[head] = token;
	r->avail[2 + r->avail_idx % r->size] = head;
	r->avail_idx++;
	return head;
}

static void kick(struct vu_ring *r)
{
	uint64_t one = 1;

	r->kicks++;
	(void)!write(r->kick, &one, sizeof(one));
}

void vu_ring_kick(struct vu_ring *r)
{
	uint16_t before = r->kicked_idx;
	bool wanted;

	if (r->avail_idx == before)
		return;
	st16(&r->avail[1], r->avail_idx);
	/* The index, then whether the device wants to hear: the other way round both sides could sleep. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (r->event_idx)
		wanted = (uint16_t)(r->avail_idx - ld16(avail_event(r)) - 1) < (uint16_t)(r->avail_idx - before);
	else
		wanted = (ld16(&r->used[0]) & VRING_USED_F_NO_NOTIFY) == 0;
	r->kicked_idx = r->avail_idx;
	if (wanted)
		kick(r);
}

/* --- taking ----------------------------------------------------------------------------------------------------------------------------- */

static void give_back(struct vu_ring *r, uint16_t head)
{
	uint16_t last = head;

	for (uint16_t n = r->n_desc[head]; n > 1; n--)
		last = r->next[last];
	r->next[last] = r->free_head;
	r->free_head = head;
	r->n_free = (uint16_t)(r->n_free + r->n_desc[head]);
	r->n_desc[head] = 0;
}

int vu_ring_pop(struct vu_ring *r, uint64_t *token, uint32_t *len)
{
	uint32_t e[2];

	if (ld16(&r->used[1]) == r->used_idx)
		return 0;
	memcpy(e, &r->used[2 + 4 * (r->used_idx % r->size)], sizeof(e));
	if (e[0] >= r->size || r->n_desc[e[0]] == 0) {
		vu_diag("used: head %u was not in flight", e[0]);
		return -EBADMSG;
	}
	r->used_idx++;
	*token = r->token[e[0]];
	*len = e[1];
	give_back(r, (uint16_t)e[0]);
	return 1;
}

static void want_interrupts(struct vu_ring *r, bool on)
{
	if (r->event_idx)
		st16(used_event(r), on ? r->used_idx : (uint16_t)(r->used_idx - 1));
	else
		st16(&r->avail[0], on ? 0 : VRING_AVAIL_F_NO_INTERRUPT);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

int vu_ring_wait(struct vu_ring *r, int timeout_ms)
{
	uint64_t end = 0, n;

	for (unsigned spins = 0;; spins++) {
		if (ld16(&r->used[1]) != r->used_idx)
			return 1;
		if (r->no_interrupts) {
			if (spins == 0)
				want_interrupts(r, false);
			if (spins % 65536 == 65535) {
				end = end == 0 ? now_ms() + (uint64_t)timeout_ms : end;
				if (now_ms() > end)
					return 0;
			}
			__builtin_ia32_pause();
			continue;
		}
		want_interrupts(r, true);
		if (ld16(&r->used[1]) != r->used_idx)
			return 1;
		end = end == 0 ? now_ms() + (uint64_t)timeout_ms : end;
		uint64_t now = now_ms();
		struct pollfd p = { .fd = r->call, .events = POLLIN };

		if (now >= end && spins > 0)
			return 0;
		if (poll(&p, 1, now < end ? (int)(end - now) : 0) > 0 && read(r->call, &n, sizeof(n)) > 0)
			r->calls += n;
	}
}

int vu_ring_do(struct vu_ring *r, const struct vu_buf *out, unsigned n_out, const struct vu_buf *in, unsigned n_in)
{
	uint64_t token;
	uint32_t len;
	int head = vu_ring_add(r, out, n_out, in, n_in, 0);

	if (head < 0)
		return head;
	vu_ring_kick(r);
	if (vu_ring_wait(r, VU_TIMEOUT_MS) == 0) {
		vu_diag("queue %u: nothing comes back", r->index);
		return -ETIMEDOUT;
	}
	int n = vu_ring_pop(r, &token, &len);

	return n < 0 ? n : (int)len;
}

uint16_t vu_ring_in_flight(const struct vu_ring *r)
{
	return (uint16_t)(r->avail_idx - r->used_idx);
}

uint16_t vu_ring_device_idx(const struct vu_ring *r)
{
	return ld16(&r->used[1]);
}

void vu_ring_raw(struct vu_ring *r, const struct vu_desc *d, unsigned n, uint16_t head, unsigned times)
{
	for (unsigned i = 0; i < n && i < r->size; i++)
		r->d[i] = d[i];
	for (unsigned i = 0; i < times; i++)
		r->avail[2 + (uint16_t)(r->avail_idx + i) % r->size] = head;
	r->avail_idx = (uint16_t)(r->avail_idx + times);
	st16(&r->avail[1], r->avail_idx);
	r->kicked_idx = r->avail_idx;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	kick(r);
}
