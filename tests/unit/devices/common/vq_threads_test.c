/* SPDX-License-Identifier: ISC */
/*
 * The other side of a ring is alive. One thread rewrites descriptors, indirect tables and indices as fast as it can while
 * another pops: whatever comes out is inside guest memory, and the sums are those of its parts. Then a driver and a device
 * that play by the rules, with the sleeping that event indices allow: nobody sleeps for ever.
 */
#include "devices/common/vq.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/eventfd.h>

#include <cmocka.h>

#include "tests/unit/devices/common/driver.h"

enum {
#if defined(CLOISTER_SANITIZER)
	POPS = 200000,
	REQUESTS = 20000,
#else
	POPS = 3000000,
	REQUESTS = 300000,
#endif
	IOVS = 32,
};

static struct driver d;
static struct vq vq;
static _Atomic bool stop;

static uint32_t next_random(uint32_t *s)
{
	*s = *s * 1664525 + 1013904223;
	return *s >> 8;
}

static void put64(uint64_t gpa, uint64_t v)
{
	__atomic_store_n((uint64_t *)(void *)driver_at(&d, gpa), v, __ATOMIC_RELAXED);
}

/* A descriptor is two words: each changes at its own time. */
static void *flip(void *arg)
{
	static const uint64_t addrs[] = { BUF, HIGH, HIGH + HIGH_BYTES - 8, LOW, UINT64_MAX - 7, TABLE, 0 };
	static const uint32_t lens[] = { 8, 16, 32, 64, 1, 0, 4096, UINT32_MAX };
	uint32_t s = 1;

	(void)arg;
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t at = (next_random(&s) % 2 != 0 ? DESC : TABLE) + 16 * (next_random(&s) % NUM);
		uint64_t flags = next_random(&s) % 8, next = next_random(&s) % (NUM + 1);

		put64(at, addrs[next_random(&s) % nitems(addrs)]);
		put64(at + 8, lens[next_random(&s) % nitems(lens)] | flags << 32 | next << 48);
		if (next_random(&s) % 16 == 0)
			__atomic_store_n(&driver_avail(&d)[2 + next_random(&s) % NUM], (uint16_t)(next_random(&s) % (NUM + 1)),
					 __ATOMIC_RELAXED);
	}
	return NULL;
}

static bool is_memory(const struct iovec *v)
{
	const uint8_t *p = v->iov_base;

	return v->iov_len > 0 && ((p >= d.low && v->iov_len <= (size_t)(d.low + LOW_BYTES - p) && p < d.low + LOW_BYTES) ||
				  (p >= d.high && v->iov_len <= (size_t)(d.high + HIGH_BYTES - p) && p < d.high + HIGH_BYTES));
}

static void check_chain(const struct vq_chain *c)
{
	uint64_t out = 0, in = 0;

	assert_in_range(c->n_out + c->n_in, 0, IOVS);
	assert_in_range(c->head, 0, NUM - 1);
	for (unsigned i = 0; i < c->n_out + c->n_in; i++) {
		assert_true(is_memory(&c->iov[i]));
		*(i < c->n_out ? &out : &in) += c->iov[i].iov_len;
	}
	assert_int_equal(out, c->out_bytes);
	assert_int_equal(in, c->in_bytes);
}

enum { ENOUGH = POPS / 1000 };

static void nothing_that_changes_meanwhile_gets_past_the_checks(void **state)
{
	struct iovec iov[IOVS];
	struct vq_chain c;
	pthread_t t;
	unsigned good = 0, bad = 0;

	(void)state;
	driver_init(&d, NUM, F_INDIRECT);
	assert_int_equal(vq_init(&vq, 0, NUM, NULL), 0);
	stop = false;
	assert_int_equal(pthread_create(&t, NULL, flip, NULL), 0);
	assert_int_equal(vq_start(&vq, &d.setup, NULL), 0);
	/* As often as said, and on a busy machine until both outcomes were seen. */
	for (unsigned i = 0; i < POPS || ((good < ENOUGH || bad < ENOUGH) && i < UINT_MAX); i++) {
		if (i >= POPS)
			(void)sched_yield();
		d.avail_idx++;
		__atomic_store_n(&driver_avail(&d)[1], d.avail_idx, __ATOMIC_RELEASE);
		if (vq_pop(&vq, &c, iov, IOVS) == 1) {
			check_chain(&c);
			vq_push(&vq, c.head, 0);
			vq_flush(&vq);
			good++;
		} else {
			vq.broken = false; /* as a reset would */
			vq.next_avail++;
			bad++;
		}
	}
	atomic_store(&stop, true);
	(void)pthread_join(t, NULL);
	vq_fini(&vq);
	assert_true(good >= ENOUGH && bad >= ENOUGH);
}

/* --- by the rules ----------------------------------------------------------------------------------------------- */

static int kick_fd;

static void sleep_on(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n;

	assert_int_equal(poll(&p, 1, 10000), 1); /* ten seconds are for ever */
	(void)!read(fd, &n, sizeof(n));
}

static void *serve(void *arg)
{
	struct iovec iov[IOVS];
	struct vq_chain c;
	unsigned done = 0;

	(void)arg;
	while (done < REQUESTS) {
		int r = vq_pop(&vq, &c, iov, IOVS);

		assert_true(r >= 0);
		if (r == 1) {
			vq_push(&vq, c.head, 1);
			done++;
			if (done % 3 != 0)
				continue;
		}
		vq_flush(&vq);
		if (r == 0 && vq_want_kicks(&vq, true) == 0)
			sleep_on(kick_fd);
		if (r == 0)
			(void)vq_want_kicks(&vq, false);
	}
	vq_flush(&vq);
	return NULL;
}

static bool event_idx;

/* The driver's half, after virtio v1.2 2.7.13 and 2.7.14. */
static void driver_publish(uint16_t from)
{
	const uint64_t one = 1;

	__atomic_store_n(&driver_avail(&d)[1], d.avail_idx, __ATOMIC_RELEASE);
	atomic_thread_fence(memory_order_seq_cst);
	uint16_t event = __atomic_load_n(&driver_used(&d)[2 + 4 * NUM], __ATOMIC_RELAXED);
	bool quiet = (__atomic_load_n(&driver_used(&d)[0], __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY) != 0;
	if (event_idx ? vring_need_event(event, d.avail_idx, from) : !quiet)
		(void)!write(kick_fd, &one, sizeof(one));
}

static void wait_for_used(uint16_t seen)
{
	for (;;) {
		if (driver_used_idx(&d) != seen)
			return;
		__atomic_store_n(&driver_avail(&d)[2 + NUM], seen, __ATOMIC_RELAXED); /* used_event */
		atomic_thread_fence(memory_order_seq_cst);
		if (driver_used_idx(&d) != seen)
			return;
		sleep_on(vq.call_fd);
	}
}

static void play(uint64_t features)
{
	pthread_t t;
	uint16_t seen = 0;
	unsigned offered = 0, got = 0;

	driver_init(&d, NUM, features);
	event_idx = features != 0;
	assert_int_equal(vq_init(&vq, 0, NUM, NULL), 0);
	for (uint16_t i = 0; i < NUM; i++)
		driver_desc(&d, i, (uint64_t)BUF + i * 64, 64, VRING_DESC_F_WRITE, 0);
	assert_int_equal(vq_start(&vq, &d.setup, NULL), 0);
	vq.call_fd = eventfd(0, EFD_NONBLOCK);
	kick_fd = eventfd(0, EFD_NONBLOCK);
	assert_int_equal(pthread_create(&t, NULL, serve, NULL), 0);
	while (got < REQUESTS) {
		uint16_t from = d.avail_idx;

		while (offered < REQUESTS && offered - got < NUM) {
			driver_avail(&d)[2 + d.avail_idx % NUM] = (uint16_t)(offered++ % NUM);
			d.avail_idx++;
		}
		if (d.avail_idx != from)
			driver_publish(from);
		wait_for_used(seen);
		for (uint16_t used = driver_used_idx(&d); seen != used; seen++, got++)
			assert_int_equal(driver_used_id(&d, seen), got % NUM);
	}
	(void)pthread_join(t, NULL);
	(void)close(vq.call_fd);
	(void)close(kick_fd);
	vq_fini(&vq);
}

static void nobody_sleeps_for_ever_with_event_indices(void **state)
{
	(void)state;
	play(F_EVENT);
}

static void nobody_sleeps_for_ever_with_flags(void **state)
{
	(void)state;
	play(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_that_changes_meanwhile_gets_past_the_checks),
		cmocka_unit_test(nobody_sleeps_for_ever_with_event_indices),
		cmocka_unit_test(nobody_sleeps_for_ever_with_flags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
