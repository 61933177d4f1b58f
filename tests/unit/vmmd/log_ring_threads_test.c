/* SPDX-License-Identifier: ISC */
#include "vmmd/log_ring.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/log.h"

static struct log_rec numbered(unsigned n)
{
	struct log_rec rec = { .level = LOG_WARN, .mono_ns = n };

	(void)snprintf(rec.msg, sizeof(rec.msg), "record %u", n);
	return rec;
}

static void log_ring_keeps_order(void **state)
{
	struct log_ring *r = log_ring_new();
	struct log_rec out;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		struct log_rec rec = numbered(i);

		assert_true(log_ring_push(r, &rec));
	}
	for (unsigned i = 0; i < 5; i++) {
		assert_true(log_ring_pop(r, &out));
		assert_int_equal(out.mono_ns, i);
	}
	assert_false(log_ring_pop(r, &out));
	log_ring_free(r);
}

static void log_ring_full_counts_what_is_lost(void **state)
{
	struct log_ring *r = log_ring_new();
	struct log_rec rec = numbered(0), out;
	unsigned fitted = 0;

	(void)state;
	while (log_ring_push(r, &rec))
		fitted++;
	assert_int_equal(fitted, 16);
	assert_false(log_ring_push(r, &rec));
	assert_true(log_ring_pop(r, &out));
	assert_int_equal(out.dropped, 0);
	rec.dropped = 3; /* lost before it came here */
	assert_true(log_ring_push(r, &rec));
	for (unsigned i = 0; i < fitted; i++)
		assert_true(log_ring_pop(r, &out));
	assert_int_equal(out.dropped, 3 + 2);
	log_ring_free(r);
}

enum { RECORDS = 20000 };

struct producer {
	struct log_ring *ring;
	_Atomic int done;
};

static void *produce(void *arg)
{
	struct producer *p = arg;

	for (unsigned i = 0; i < RECORDS; i++) {
		struct log_rec rec = numbered(i);

		(void)log_ring_push(p->ring, &rec);
	}
	atomic_store(&p->done, 1);
	return NULL;
}

static void log_ring_between_threads_loses_nothing_uncounted(void **state)
{
	struct producer p = { .ring = log_ring_new() };
	struct log_rec out, last = numbered(RECORDS);
	uint64_t seen = 0;
	pthread_t t;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, produce, &p), 0);
	for (;;) {
		int done = atomic_load(&p.done);

		while (log_ring_pop(p.ring, &out)) {
			char text[32];

			seen += 1 + out.dropped;
			assert_int_equal(out.mono_ns + 1, seen);
			(void)snprintf(text, sizeof(text), "record %u", (unsigned)out.mono_ns);
			assert_string_equal(out.msg, text);
		}
		if (done)
			break;
		sched_yield();
	}
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_true(log_ring_push(p.ring, &last));
	assert_true(log_ring_pop(p.ring, &out));
	assert_int_equal(seen + out.dropped, RECORDS);
	log_ring_free(p.ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(log_ring_keeps_order),
		cmocka_unit_test(log_ring_full_counts_what_is_lost),
		cmocka_unit_test(log_ring_between_threads_loses_nothing_uncounted),
	};

	return cmocka_run_group_tests_name("log_ring", tests, NULL, NULL);
}
