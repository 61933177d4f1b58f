/* SPDX-License-Identifier: ISC */
/*
 * Token buckets for bytes and requests. Pure: the caller brings the time. The state is plain data without pointers, so that
 * it can lie in a page shared by the disks of a group; then ratelimit_shared_*() lock it (robustly: a helper may die
 * holding it).
 *
 * A bucket starts full plus a one-time burst that is used first and never refilled; it refills continuously, size tokens per
 * refill time, up to its size. A request that does not fit the budget but is not larger than the size is refused and
 * the limiter is blocked for 100 ms. One that is larger than the size (and the budget) goes through at once, empties
 * the bucket and blocks for as long as the missing tokens take. While blocked, nothing of the limiter can be
 * consumed. When the bytes are refused, the request's token is given back.
 */
#ifndef DEVICES_COMMON_RATELIMIT_H
#define DEVICES_COMMON_RATELIMIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "proto/config.h"

enum { RATELIMIT_REFUSED_MS = 100 };

struct ratelimit_bucket {
	uint64_t size, refill_ms; /* either 0: no limit */
	uint64_t burst, budget;
	uint64_t refilled_ns; /* when the budget was right */
};
struct ratelimit {
	struct ratelimit_bucket bytes, ops;
	uint64_t blocked_until_ns;
};

void ratelimit_init(struct ratelimit *r, const struct cfg_rate_limiter *cfg, uint64_t now_ns);
bool ratelimit_is_on(const struct ratelimit *r);
/* Take for one request of @bytes. 0: go; else refused, and how many ns from @now_ns to wait before asking again (> 0). */
uint64_t ratelimit_take(struct ratelimit *r, uint64_t bytes, uint64_t now_ns) __must_check;

/* The page that the disks of a group share. */
struct ratelimit_shared {
	pthread_mutex_t mtx; /* process-shared, robust; guards limit */
	struct ratelimit limit;
};
/* Whoever makes the page. */
int ratelimit_shared_init(struct ratelimit_shared *s, const struct cfg_rate_limiter *cfg, uint64_t now_ns) __must_check;
/* Never waits long: a lock that stays taken counts as "ask again in a millisecond". */
uint64_t ratelimit_shared_take(struct ratelimit_shared *s, uint64_t bytes, uint64_t now_ns) __must_check;

#endif
