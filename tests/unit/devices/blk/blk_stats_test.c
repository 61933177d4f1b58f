/* SPDX-License-Identifier: ISC */
#include "devices/blk/blk_stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct stats_page page;

static int fresh(void **state)
{
	(void)state;
	blk_stats_init(&page);
	return 0;
}

static uint64_t v(unsigned i)
{
	return page.v[i];
}

static void before_the_first_request_there_is_nothing(void **state)
{
	(void)state;
	assert_int_equal(v(STATS_BLK_READ_OPS), 0);
	assert_true(v(STATS_BLK_READ_LATENCY_MIN) == UINT64_MAX);
	assert_true(v(STATS_BLK_READ_LATENCY_MAX) == UINT64_MAX);
	assert_true(v(STATS_BLK_WRITE_LATENCY_AVG) == UINT64_C(1844674407370955));
	assert_int_equal(v(STATS_BLK_FLUSH_FAILED), 0);
}

static void the_first_sample_is_all_three(void **state)
{
	(void)state;
	blk_stats_add(&page, false, 4096, 25);
	assert_int_equal(v(STATS_BLK_READ_BYTES), 4096);
	assert_int_equal(v(STATS_BLK_READ_OPS), 1);
	assert_int_equal(v(STATS_BLK_READ_LATENCY_MIN), 25);
	assert_int_equal(v(STATS_BLK_READ_LATENCY_MAX), 25);
	assert_int_equal(v(STATS_BLK_READ_LATENCY_AVG), 250000);
	assert_int_equal(v(STATS_BLK_WRITE_OPS), 0);
}

static void the_average_is_a_running_mean(void **state)
{
	(void)state;
	blk_stats_add(&page, true, 512, 10);
	blk_stats_add(&page, true, 512, 20); /* 100000 + 100000/2 */
	blk_stats_add(&page, true, 512, 0);  /* 150000 - 150000/3 */
	assert_int_equal(v(STATS_BLK_WRITE_BYTES), 1536);
	assert_int_equal(v(STATS_BLK_WRITE_OPS), 3);
	assert_int_equal(v(STATS_BLK_WRITE_LATENCY_MIN), 0);
	assert_int_equal(v(STATS_BLK_WRITE_LATENCY_MAX), 20);
	assert_int_equal(v(STATS_BLK_WRITE_LATENCY_AVG), 100000);
}

static void the_maximum_starts_at_all_ones(void **state)
{
	(void)state;
	blk_stats_add(&page, false, 0, 0);
	assert_int_equal(v(STATS_BLK_READ_LATENCY_MAX), 0);
	blk_stats_add(&page, false, 0, 7);
	assert_int_equal(v(STATS_BLK_READ_LATENCY_MAX), 7);
	blk_stats_add(&page, false, 0, 3);
	assert_int_equal(v(STATS_BLK_READ_LATENCY_MAX), 7);
}

static void numbers_of_a_predecessor_go_on(void **state)
{
	(void)state;
	page.v[STATS_BLK_READ_OPS] = 9;
	page.v[STATS_BLK_READ_LATENCY_AVG] = 100000;
	blk_stats_add(&page, false, 512, 20);
	assert_int_equal(v(STATS_BLK_READ_OPS), 10);
	assert_int_equal(v(STATS_BLK_READ_LATENCY_AVG), 110000);
}

static void any_contents_of_the_page_are_survived(void **state)
{
	(void)state;
	for (unsigned i = 0; i < STATS_COUNTERS_MAX; i++)
		page.v[i] = UINT64_MAX;
	blk_stats_add(&page, false, UINT64_MAX, UINT64_MAX);
	blk_stats_add(&page, true, UINT64_MAX, UINT64_MAX);
	blk_stats_add(&page, true, 1, 1);
	assert_int_equal(v(STATS_BLK_WRITE_OPS), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(before_the_first_request_there_is_nothing, fresh),
		cmocka_unit_test_setup(the_first_sample_is_all_three, fresh),
		cmocka_unit_test_setup(the_average_is_a_running_mean, fresh),
		cmocka_unit_test_setup(the_maximum_starts_at_all_ones, fresh),
		cmocka_unit_test_setup(numbers_of_a_predecessor_go_on, fresh),
		cmocka_unit_test_setup(any_contents_of_the_page_are_survived, fresh),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("blk_stats", tests, NULL, NULL);
}
