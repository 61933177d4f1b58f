/* SPDX-License-Identifier: ISC */
#include "devices/blk/blk_stats.h"

/* Readers take each number by itself, so relaxed stores do; they are plain moves. */
static uint64_t get(struct stats_page *p, unsigned i)
{
	return atomic_load_explicit(&p->v[i], memory_order_relaxed);
}

static void set(struct stats_page *p, unsigned i, uint64_t v)
{
	atomic_store_explicit(&p->v[i], v, memory_order_relaxed);
}

void blk_stats_init(struct stats_page *p)
{
#define FIRST(c, name, first) set(p, c, first);
	STATS_BLK(FIRST)
#undef FIRST
}

/* Which counters: reads and writes have the same ones. */
struct set {
	unsigned bytes, ops, min, max, avg;
};

static const struct set of_reads = { STATS_BLK_READ_BYTES, STATS_BLK_READ_OPS, STATS_BLK_READ_LATENCY_MIN,
				     STATS_BLK_READ_LATENCY_MAX, STATS_BLK_READ_LATENCY_AVG };
static const struct set of_writes = { STATS_BLK_WRITE_BYTES, STATS_BLK_WRITE_OPS, STATS_BLK_WRITE_LATENCY_MIN,
				      STATS_BLK_WRITE_LATENCY_MAX, STATS_BLK_WRITE_LATENCY_AVG };

/* A running mean with decimal places: the first sample, then a part of the distance that gets smaller. What stands
 * in the page may be anything: it is shared. */
static uint64_t mean(uint64_t avg, uint64_t sample, uint64_t n)
{
	if (n <= 1)
		return sample;
	return sample >= avg ? avg + (sample - avg) / n : avg - (avg - sample) / n;
}

void blk_stats_add(struct stats_page *page, bool write, uint64_t bytes, uint64_t us)
{
	const struct set *s = write ? &of_writes : &of_reads;
	uint64_t n = get(page, s->ops) + 1, min = get(page, s->min), max = get(page, s->max);

	set(page, s->bytes, get(page, s->bytes) + bytes);
	set(page, s->ops, n);
	if (us < min)
		set(page, s->min, us);
	if (us > max || max == UINT64_MAX) /* all ones: nothing yet */
		set(page, s->max, us);
	set(page, s->avg, mean(get(page, s->avg), us * STATS_LATENCY_SCALE, n));
}
