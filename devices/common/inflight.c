/* SPDX-License-Identifier: ISC */
#include "devices/common/inflight.h"

#include <errno.h>

enum { INFLIGHT_VERSION = 1 };

/* Every store of this file happens, whole and in the order of the source: what a later one says is true of the earlier
 * ones at any instruction. (Death is no other processor: program order is all that counts.) */
#define put(where, value) (*(volatile __typeof__(where) *)&(where) = (value))
#define get(where) (*(const volatile __typeof__(where) *)&(where))

int inflight_attach(struct inflight *f, void *map, uint64_t bytes, uint32_t queue_size, unsigned index, uint16_t num)
{
	uint64_t each = vhost_user_inflight_queue_bytes(queue_size);

	*f = (struct inflight){ .num = num };
	if (num == 0 || num > queue_size || each > bytes || index >= bytes / each)
		return -EINVAL;
	uint8_t *at = (uint8_t *)map + index * each;
	f->queue = (struct vhost_user_inflight_queue *)(void *)at;
	f->desc = (struct vhost_user_inflight_desc *)(void *)(at + sizeof(*f->queue));
	return 0;
}

static void start_empty(struct inflight *f, uint64_t features, uint16_t ring_used)
{
	/* Not valid until it is whole. */
	put(f->queue->version, 0);
	for (uint16_t i = 0; i < f->num; i++)
		put(f->desc[i].inflight, 0);
	put(f->queue->features, features);
	put(f->queue->desc_num, f->num);
	put(f->queue->last_batch_head, 0);
	put(f->queue->used_idx, ring_used);
	put(f->queue->version, INFLIGHT_VERSION);
}

/* The last @n that were completed have been published; their marks may still stand. */
static void finish_batch(struct inflight *f, uint16_t n)
{
	uint16_t head = get(f->queue->last_batch_head);

	for (; n > 0 && head < f->num; n--) {
		put(f->desc[head].inflight, 0);
		head = get(f->desc[head].next);
	}
}

static bool is_before(const struct inflight *f, uint16_t a, uint16_t b)
{
	return get(f->desc[a].counter) < get(f->desc[b].counter);
}

/* Restore the heap's order below @i: the newest on top. */
static void sift(const struct inflight *f, uint16_t *v, uint16_t n, uint32_t i)
{
	for (uint32_t child = 2 * i + 1; child < n; i = child, child = 2 * i + 1) {
		if (child + 1 < n && is_before(f, v[child], v[child + 1]))
			child++;
		if (!is_before(f, v[i], v[child]))
			return;
		uint16_t t = v[i];
		v[i] = v[child];
		v[child] = t;
	}
}

/* Oldest first. By heap, in place: qsort() may allocate. Should somebody change counters meanwhile, the order suffers and
 * nothing else does. */
static void sort(const struct inflight *f, uint16_t *v, uint16_t n)
{
	for (uint32_t i = n / 2; i > 0; i--)
		sift(f, v, n, i - 1);
	for (uint16_t end = n; end > 1; end--) {
		uint16_t t = v[0];

		v[0] = v[end - 1];
		v[end - 1] = t;
		sift(f, v, (uint16_t)(end - 1), 0);
	}
}

uint16_t inflight_recover(struct inflight *f, uint64_t features, uint16_t ring_used, uint16_t *heads)
{
	uint16_t n = 0;

	f->counter = 0;
	if (f->queue == NULL)
		return 0;
	uint16_t behind = (uint16_t)(ring_used - get(f->queue->used_idx));
	if (get(f->queue->version) != INFLIGHT_VERSION || get(f->queue->desc_num) != f->num || behind > f->num) {
		start_empty(f, features, ring_used);
		return 0;
	}
	/* A second death in here starts the same again: used_idx changes last. */
	finish_batch(f, behind);
	put(f->queue->used_idx, ring_used);
	for (uint16_t i = 0; i < f->num; i++) {
		if (get(f->desc[i].inflight) == 0)
			continue;
		heads[n++] = i;
		uint64_t counter = get(f->desc[i].counter);
		if (counter >= f->counter)
			f->counter = counter + 1;
	}
	sort(f, heads, n);
	return n;
}

void inflight_popped(struct inflight *f, uint16_t head)
{
	if (f->queue == NULL)
		return;
	put(f->desc[head].counter, f->counter++);
	put(f->desc[head].inflight, 1);
}

void inflight_unpopped(struct inflight *f, uint16_t head)
{
	if (f->queue != NULL)
		put(f->desc[head].inflight, 0);
}

void inflight_completed(struct inflight *f, uint16_t head)
{
	if (f->queue == NULL)
		return;
	put(f->desc[head].next, get(f->queue->last_batch_head));
	put(f->queue->last_batch_head, head);
}

void inflight_published(struct inflight *f, const uint16_t *heads, uint16_t n, uint16_t used_idx)
{
	if (f->queue == NULL)
		return;
	for (uint16_t i = 0; i < n; i++)
		put(f->desc[heads[i]].inflight, 0);
	put(f->queue->used_idx, used_idx);
}
