/* SPDX-License-Identifier: ISC */
#include "devices/common/ratelimit.h"

#include <errno.h>

enum { NS_PER_MS = 1000000 };

/* A product of two 64-bit numbers over a third, at most UINT64_MAX. */
static uint64_t mul_div(uint64_t a, uint64_t b, uint64_t c)
{
	unsigned __int128 v = (unsigned __int128)a * b / c;

	return v > UINT64_MAX ? UINT64_MAX : (uint64_t)v;
}

static void bucket_init(struct ratelimit_bucket *b, uint64_t size, uint64_t burst, uint64_t refill_ms, uint64_t now_ns)
{
	*b = (struct ratelimit_bucket){
		.size = size,
		.refill_ms = refill_ms,
		.burst = burst,
		.budget = size,
		.refilled_ns = now_ns,
	};
}

static bool bucket_is_on(const struct ratelimit_bucket *b)
{
	return b->size != 0 && b->refill_ms != 0;
}

static uint64_t refill_ns(const struct ratelimit_bucket *b)
{
	return b->refill_ms > UINT64_MAX / NS_PER_MS ? UINT64_MAX : b->refill_ms * NS_PER_MS;
}

/* What has flowed in since the last time, whole tokens; the time of a fraction is kept for the next. */
static void bucket_refill(struct ratelimit_bucket *b, uint64_t now_ns)
{
	if (now_ns <= b->refilled_ns)
		return;
	uint64_t passed = now_ns - b->refilled_ns;
	uint64_t tokens = mul_div(passed, b->size, refill_ns(b));
	if (tokens >= b->size - b->budget) {
		b->budget = b->size;
		b->refilled_ns = now_ns;
		return;
	}
	b->budget += tokens;
	b->refilled_ns += mul_div(tokens, refill_ns(b), b->size);
}

enum verdict { GO, REFUSED, OVERDRAWN };

/* @n tokens. *@wait_ns: how long the limiter is blocked. */
static enum verdict bucket_take(struct ratelimit_bucket *b, uint64_t n, uint64_t now_ns, uint64_t *wait_ns)
{
	*wait_ns = 0;
	if (!bucket_is_on(b))
		return GO;
	uint64_t burst = n < b->burst ? n : b->burst; /* first, and once */
	uint64_t rest = n - burst;

	bucket_refill(b, now_ns);
	if (rest > b->budget && rest <= b->size) {
		*wait_ns = (uint64_t)RATELIMIT_REFUSED_MS * NS_PER_MS;
		return REFUSED;
	}
	b->burst -= burst;
	if (rest <= b->budget) {
		b->budget -= rest;
		return GO;
	}
	*wait_ns = mul_div(rest - b->budget, refill_ns(b), b->size);
	b->budget = 0;
	return OVERDRAWN;
}

static void init_from(struct ratelimit_bucket *b, bool has, const struct cfg_token_bucket *cfg, uint64_t now_ns)
{
	if (has)
		bucket_init(b, cfg->size, cfg->has_one_time_burst ? cfg->one_time_burst : 0, cfg->refill_time, now_ns);
}

void ratelimit_init(struct ratelimit *r, const struct cfg_rate_limiter *cfg, uint64_t now_ns)
{
	*r = (struct ratelimit){ 0 };
	init_from(&r->bytes, cfg->has_bandwidth, &cfg->bandwidth, now_ns);
	init_from(&r->ops, cfg->has_ops, &cfg->ops, now_ns);
}

bool ratelimit_is_on(const struct ratelimit *r)
{
	return bucket_is_on(&r->bytes) || bucket_is_on(&r->ops);
}

/* Later and later, never past the end of time. */
static void block(struct ratelimit *r, uint64_t now_ns, uint64_t wait_ns)
{
	uint64_t until = wait_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + wait_ns;

	if (wait_ns > 0 && until > r->blocked_until_ns)
		r->blocked_until_ns = until;
}

uint64_t ratelimit_take(struct ratelimit *r, uint64_t bytes, uint64_t now_ns)
{
	struct ratelimit_bucket before = r->ops;
	uint64_t wait_ops, wait_bytes;

	if (now_ns < r->blocked_until_ns)
		return r->blocked_until_ns - now_ns;
	if (bucket_take(&r->ops, 1, now_ns, &wait_ops) == REFUSED) {
		block(r, now_ns, wait_ops);
		return wait_ops;
	}
	if (bucket_take(&r->bytes, bytes, now_ns, &wait_bytes) == REFUSED) {
		r->ops = before;
		block(r, now_ns, wait_bytes);
		return wait_bytes;
	}
	block(r, now_ns, wait_bytes);
	return 0;
}

int ratelimit_shared_init(struct ratelimit_shared *s, const struct cfg_rate_limiter *cfg, uint64_t now_ns)
{
	pthread_mutexattr_t attr;
	int r = pthread_mutexattr_init(&attr);

	if (r != 0)
		return -r;
	r = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	if (r == 0)
		r = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	if (r == 0)
		r = pthread_mutex_init(&s->mtx, &attr);
	(void)pthread_mutexattr_destroy(&attr);
	if (r == 0)
		ratelimit_init(&s->limit, cfg, now_ns);
	return -r;
}

uint64_t ratelimit_shared_take(struct ratelimit_shared *s, uint64_t bytes, uint64_t now_ns)
{
	enum { TRIES = 100 };
	int r = EBUSY;

	/* Held for some dozens of instructions; whoever was interrupted with it is not waited for. */
	for (int i = 0; i < TRIES && r == EBUSY; i++)
		r = pthread_mutex_trylock(&s->mtx);
	if (r == EOWNERDEAD) /* numbers in between are numbers still: at worst a request too many or too few */
		r = pthread_mutex_consistent(&s->mtx);
	if (r != 0)
		return NS_PER_MS;
	uint64_t wait = ratelimit_take(&s->limit, bytes, now_ns);
	(void)pthread_mutex_unlock(&s->mtx);
	return wait;
}
