/* SPDX-License-Identifier: ISC */
#include "devices/blk/blk_order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void overlapping_ranges_are_refused(void **state)
{
	static const struct {
		uint64_t off, len;
		bool free;
	} cases[] = {
		{ 0, 100, true },    { 0, 101, false },  { 99, 1, true },    { 100, 1, false }, { 150, 10, false },
		{ 199, 1, false },   { 199, 50, false }, { 200, 1, true },   { 50, 500, false }, { 100, 100, false },
	};
	struct blk_order o;
	struct blk_range busy, r;

	(void)state;
	blk_order_init(&o, false);
	assert_true(blk_order_begin(&o, &busy, 100, 100));
	for (size_t i = 0; i < nitems(cases); i++) {
		assert_int_equal(blk_order_begin(&o, &r, cases[i].off, cases[i].len), cases[i].free);
		if (cases[i].free)
			blk_order_end(&o, &r);
	}
}

static void a_range_that_has_ended_is_free(void **state)
{
	struct blk_order o;
	struct blk_range a, b, c;

	(void)state;
	blk_order_init(&o, false);
	assert_true(blk_order_begin(&o, &a, 0, 10));
	assert_true(blk_order_begin(&o, &b, 10, 10));
	assert_false(blk_order_begin(&o, &c, 5, 10));
	blk_order_end(&o, &a);
	assert_false(blk_order_begin(&o, &c, 5, 10));
	blk_order_end(&o, &b);
	assert_true(blk_order_begin(&o, &c, 5, 10));
}

enum { THREADS = 4, ROUNDS = 20000, PLACES = 8 };

static struct blk_order shared;
static _Atomic int owner[PLACES];
static _Atomic int clashes;

static void *fight(void *arg)
{
	int me = (int)(intptr_t)arg;
	struct blk_range r;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned at = (i * 7 + (unsigned)me) % PLACES;

		if (!blk_order_begin(&shared, &r, at * 512, 512))
			continue;
		if (atomic_exchange(&owner[at], me) != 0)
			clashes++;
		atomic_store(&owner[at], 0);
		blk_order_end(&shared, &r);
	}
	return NULL;
}

static void no_two_threads_have_one_range(void **state)
{
	pthread_t t[THREADS];

	(void)state;
	blk_order_init(&shared, true);
	for (intptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, fight, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < THREADS; i++)
		(void)pthread_join(t[i], NULL);
	assert_int_equal(clashes, 0);
	assert_true(LIST_EMPTY(&shared.busy));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(overlapping_ranges_are_refused),
		cmocka_unit_test(a_range_that_has_ended_is_free),
		cmocka_unit_test(no_two_threads_have_one_range),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("blk_order", tests, NULL, NULL);
}
