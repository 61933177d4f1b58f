/* SPDX-License-Identifier: ISC */
#include "devices/common/ratelimit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)
#define NOW (UINT64_C(5000) * MS)

static struct ratelimit r;

static struct cfg_token_bucket bucket(uint64_t size, uint64_t burst, uint64_t refill_ms)
{
	return (struct cfg_token_bucket){ .size = size, .has_one_time_burst = burst > 0, .one_time_burst = burst,
					  .refill_time = refill_ms };
}

static void bytes_only(uint64_t size, uint64_t burst, uint64_t refill_ms)
{
	struct cfg_rate_limiter c = { .has_bandwidth = true, .bandwidth = bucket(size, burst, refill_ms) };

	ratelimit_init(&r, &c, NOW);
}

static void both(uint64_t bytes, uint64_t ops, uint64_t refill_ms)
{
	struct cfg_rate_limiter c = { .has_bandwidth = true, .bandwidth = bucket(bytes, 0, refill_ms), .has_ops = true,
				      .ops = bucket(ops, 0, refill_ms) };

	ratelimit_init(&r, &c, NOW);
}

static void without_size_or_time_there_is_no_limit(void **state)
{
	(void)state;
	bytes_only(0, 0, 1000);
	assert_false(ratelimit_is_on(&r));
	assert_int_equal(ratelimit_take(&r, UINT64_MAX, NOW), 0);
	bytes_only(1000, 0, 0);
	assert_false(ratelimit_is_on(&r));
	assert_int_equal(ratelimit_take(&r, UINT64_MAX, NOW), 0);
	ratelimit_init(&r, &(struct cfg_rate_limiter){ 0 }, NOW);
	assert_false(ratelimit_is_on(&r));
}

static void bucket_starts_full(void **state)
{
	(void)state;
	bytes_only(1000, 0, 1000);
	assert_true(ratelimit_is_on(&r));
	assert_int_equal(ratelimit_take(&r, 600, NOW), 0);
	assert_int_equal(ratelimit_take(&r, 400, NOW), 0);
	assert_int_equal(ratelimit_take(&r, 1, NOW), 100 * MS);
}

static void refused_blocks_for_a_tenth_of_a_second(void **state)
{
	(void)state;
	bytes_only(1000, 0, 1000);
	assert_int_equal(ratelimit_take(&r, 1000, NOW), 0);
	assert_int_equal(ratelimit_take(&r, 50, NOW), 100 * MS);
	/* there would be enough by now, but nothing can be consumed while blocked */
	assert_int_equal(ratelimit_take(&r, 50, NOW + 60 * MS), 40 * MS);
	assert_int_equal(ratelimit_take(&r, 0, NOW + 99 * MS), 1 * MS);
	assert_int_equal(ratelimit_take(&r, 50, NOW + 100 * MS), 0);
}

static void refill_is_continuous_and_capped(void **state)
{
	(void)state;
	bytes_only(1000, 0, 1000);
	assert_int_equal(ratelimit_take(&r, 1000, NOW), 0);
	assert_int_equal(ratelimit_take(&r, 250, NOW + 250 * MS), 0);
	assert_int_equal(ratelimit_take(&r, 1, NOW + 250 * MS), 100 * MS);
	assert_int_equal(ratelimit_take(&r, 1000, NOW + 5000 * MS), 0);
	assert_int_equal(ratelimit_take(&r, 1, NOW + 5000 * MS), 100 * MS);
}

static void small_steps_lose_no_tokens(void **state)
{
	uint64_t got = 0, t = NOW;

	(void)state;
	bytes_only(3, 0, 1000);
	assert_int_equal(ratelimit_take(&r, 3, NOW), 0);
	for (int i = 0; i < 1000000; i++) { /* 10 s in steps of 10 us */
		t += 10000;
		if (t >= r.blocked_until_ns && ratelimit_take(&r, 1, t) == 0)
			got++;
	}
	assert_in_range(got, 27, 30); /* 30, less what waits out a refusal */
}

static void burst_is_used_first_and_once(void **state)
{
	(void)state;
	bytes_only(1000, 500, 1000);
	assert_int_equal(ratelimit_take(&r, 500, NOW), 0);
	assert_int_equal(r.bytes.budget, 1000);
	assert_int_equal(ratelimit_take(&r, 1000, NOW), 0);
	assert_int_equal(ratelimit_take(&r, 1, NOW), 100 * MS);
	assert_int_equal(ratelimit_take(&r, 1000, NOW + 60000 * MS), 0);
	assert_int_equal(ratelimit_take(&r, 1, NOW + 60000 * MS), 100 * MS); /* no new burst */
}

static void burst_covers_a_part(void **state)
{
	(void)state;
	bytes_only(1000, 500, 1000);
	assert_int_equal(ratelimit_take(&r, 1400, NOW), 0);
	assert_int_equal(r.bytes.burst, 0);
	assert_int_equal(r.bytes.budget, 100);
}

static void larger_than_the_bucket_goes_at_once_and_blocks(void **state)
{
	(void)state;
	bytes_only(1000, 0, 1000);
	assert_int_equal(ratelimit_take(&r, 400, NOW), 0); /* 600 left */
	assert_int_equal(ratelimit_take(&r, 2600, NOW), 0);
	assert_int_equal(r.bytes.budget, 0);
	assert_int_equal(ratelimit_take(&r, 1, NOW), 2000 * MS); /* (2600 - 600) / 1000 x 1 s */
	assert_int_equal(ratelimit_take(&r, 1, NOW + 1999 * MS), 1 * MS);
	assert_int_equal(ratelimit_take(&r, 1, NOW + 2000 * MS), 0);
}

static void larger_than_the_bucket_but_covered_by_burst_does_not_block(void **state)
{
	(void)state;
	bytes_only(1000, 2000, 1000);
	assert_int_equal(ratelimit_take(&r, 3000, NOW), 0);
	assert_int_equal(r.blocked_until_ns, 0);
}

static void requests_are_counted_one_by_one(void **state)
{
	(void)state;
	both(1000000, 2, 1000);
	assert_int_equal(ratelimit_take(&r, 1, NOW), 0);
	assert_int_equal(ratelimit_take(&r, 1, NOW), 0);
	assert_int_equal(ratelimit_take(&r, 1, NOW), 100 * MS);
	assert_int_equal(r.bytes.budget, 999998); /* not taken */
}

static void refused_bytes_give_the_request_back(void **state)
{
	(void)state;
	both(1000, 5, 1000);
	assert_int_equal(ratelimit_take(&r, 900, NOW), 0);
	assert_int_equal(r.ops.budget, 4);
	assert_int_equal(ratelimit_take(&r, 900, NOW), 100 * MS);
	assert_int_equal(r.ops.budget, 4);
}

static void extreme_numbers_do_not_overflow(void **state)
{
	(void)state;
	bytes_only(UINT64_MAX, UINT64_MAX, UINT64_MAX);
	assert_int_equal(ratelimit_take(&r, UINT64_MAX, NOW), 0);
	assert_int_equal(ratelimit_take(&r, UINT64_MAX, NOW), 0);
	assert_int_equal(ratelimit_take(&r, 1, NOW), 100 * MS);
	bytes_only(1, 0, UINT64_MAX);
	assert_int_equal(ratelimit_take(&r, UINT64_MAX, NOW), 0);
	assert_int_equal(ratelimit_take(&r, 1, NOW), UINT64_MAX - NOW);
	bytes_only(1, 0, 1);
	assert_int_equal(ratelimit_take(&r, 1, UINT64_MAX), 0);
}

static void clock_that_stands_refills_nothing(void **state)
{
	(void)state;
	bytes_only(1000, 0, 1000);
	assert_int_equal(ratelimit_take(&r, 1000, NOW), 0);
	assert_int_equal(ratelimit_take(&r, 1, NOW - 500 * MS), 100 * MS);
}

static void group_is_one_limit_for_all_processes(void **state)
{
	struct ratelimit_shared *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct cfg_rate_limiter c = { .has_ops = true, .ops = bucket(10, 0, 1000) };
	int status;

	(void)state;
	assert_ptr_not_equal(s, MAP_FAILED);
	assert_int_equal(ratelimit_shared_init(s, &c, NOW), 0);
	pid_t pid = fork();
	if (pid == 0) {
		int good = 0;

		for (int i = 0; i < 6; i++)
			good += ratelimit_shared_take(s, 1, NOW) == 0;
		_exit(good);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 6);
	for (int i = 0; i < 4; i++)
		assert_int_equal(ratelimit_shared_take(s, 1, NOW), 0);
	assert_int_equal(ratelimit_shared_take(s, 1, NOW), 100 * MS);
	(void)munmap(s, 4096);
}

static void holder_that_died_or_hangs_stops_nobody(void **state)
{
	struct ratelimit_shared *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct cfg_rate_limiter c = { .has_ops = true, .ops = bucket(10, 0, 1000) };
	int status;

	(void)state;
	assert_ptr_not_equal(s, MAP_FAILED);
	assert_int_equal(ratelimit_shared_init(s, &c, NOW), 0);
	pid_t pid = fork();
	if (pid == 0)
		_exit(pthread_mutex_lock(&s->mtx));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(ratelimit_shared_take(s, 1, NOW), 0);
	assert_int_equal(ratelimit_shared_take(s, 1, NOW), 0);

	assert_int_equal(pthread_mutex_lock(&s->mtx), 0); /* hangs: this process */
	pid = fork();
	if (pid == 0)
		_exit(ratelimit_shared_take(s, 1, NOW) == MS ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(pthread_mutex_unlock(&s->mtx), 0);
	(void)munmap(s, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_size_or_time_there_is_no_limit),
		cmocka_unit_test(bucket_starts_full),
		cmocka_unit_test(refused_blocks_for_a_tenth_of_a_second),
		cmocka_unit_test(refill_is_continuous_and_capped),
		cmocka_unit_test(small_steps_lose_no_tokens),
		cmocka_unit_test(burst_is_used_first_and_once),
		cmocka_unit_test(burst_covers_a_part),
		cmocka_unit_test(larger_than_the_bucket_goes_at_once_and_blocks),
		cmocka_unit_test(larger_than_the_bucket_but_covered_by_burst_does_not_block),
		cmocka_unit_test(requests_are_counted_one_by_one),
		cmocka_unit_test(refused_bytes_give_the_request_back),
		cmocka_unit_test(extreme_numbers_do_not_overflow),
		cmocka_unit_test(clock_that_stands_refills_nothing),
		cmocka_unit_test(group_is_one_limit_for_all_processes),
		cmocka_unit_test(holder_that_died_or_hangs_stops_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
