/* SPDX-License-Identifier: ISC */
#include "devices/blk/blk_order.h"

void blk_order_init(struct blk_order *o, bool shared)
{
	o->shared = shared;
	LIST_INIT(&o->busy);
	(void)pthread_mutex_init(&o->mtx, NULL);
}

static void lock(struct blk_order *o)
{
	if (o->shared)
		(void)pthread_mutex_lock(&o->mtx);
}

static void unlock(struct blk_order *o)
{
	if (o->shared)
		(void)pthread_mutex_unlock(&o->mtx);
}

static bool overlaps_any(const struct blk_order *o, uint64_t off, uint64_t end)
{
	const struct blk_range *r;

	LIST_FOREACH(r, &o->busy, link)
		if (off < r->end && r->off < end)
			return true;
	return false;
}

bool blk_order_begin(struct blk_order *o, struct blk_range *r, uint64_t off, uint64_t len)
{
	lock(o);
	bool free = !overlaps_any(o, off, off + len);
	if (free) {
		r->off = off;
		r->end = off + len;
		LIST_INSERT_HEAD(&o->busy, r, link);
	}
	unlock(o);
	return free;
}

void blk_order_end(struct blk_order *o, struct blk_range *r)
{
	lock(o);
	LIST_REMOVE(r, link);
	unlock(o);
}
