/* SPDX-License-Identifier: ISC */
#include "vmmd/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { THREADS = 4, LONG_MS = 10000 };

struct worker {
	struct gate *gate;
	pthread_t thread;
	_Atomic unsigned long turns;
	unsigned long last; /* written while running, read while held: TSan watches */
};

static void *work(void *arg)
{
	struct worker *w = arg;

	while (gate_pass(w->gate))
		while (gate_is_open(w->gate)) {
			w->last++;
			atomic_fetch_add(&w->turns, 1);
		}
	return NULL;
}

static void start(struct worker *w, struct gate *g)
{
	assert_int_equal(gate_init(g), 0);
	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .gate = g };
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
}

static void finish(struct worker *w, struct gate *g)
{
	gate_end(g);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(w[i].thread, NULL), 0);
	gate_fini(g);
}

static void gate_starts_closed_and_holds_everybody(void **state)
{
	struct worker w[THREADS];
	struct gate g;

	(void)state;
	start(w, &g);
	assert_true(gate_wait_held(&g, THREADS, LONG_MS));
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(atomic_load(&w[i].turns), 0);
	finish(w, &g);
}

static void gate_lets_run_and_holds_again(void **state)
{
	struct worker w[THREADS];
	struct gate g;

	(void)state;
	start(w, &g);
	for (int round = 0; round < 20; round++) {
		unsigned long before = atomic_load(&w[0].turns);

		gate_open(&g);
		while (atomic_load(&w[0].turns) == before)
			sched_yield();
		gate_close(&g);
		assert_true(gate_wait_held(&g, THREADS, LONG_MS));
		for (int i = 0; i < THREADS; i++)
			assert_int_equal(w[i].last, atomic_load(&w[i].turns));
	}
	finish(w, &g);
}

static void gate_held_count_is_not_reached_while_threads_run(void **state)
{
	struct worker w[THREADS];
	struct gate g;

	(void)state;
	start(w, &g);
	gate_open(&g);
	while (atomic_load(&w[0].turns) == 0)
		sched_yield();
	assert_false(gate_wait_held(&g, THREADS, 10));
	finish(w, &g);
}

static void gate_end_is_final(void **state)
{
	struct gate g;

	(void)state;
	assert_int_equal(gate_init(&g), 0);
	gate_end(&g);
	gate_open(&g);
	assert_false(gate_is_open(&g));
	assert_false(gate_pass(&g));
	gate_fini(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gate_starts_closed_and_holds_everybody),
		cmocka_unit_test(gate_lets_run_and_holds_again),
		cmocka_unit_test(gate_held_count_is_not_reached_while_threads_run),
		cmocka_unit_test(gate_end_is_final),
	};

	return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
