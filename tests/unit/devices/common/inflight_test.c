/* SPDX-License-Identifier: ISC */
/*
 * The region that outlives a back end. The heart of it: a child serves a queue one instruction at a time, and after each that
 * changed anything its memory is looked at as a successor would find it.
 */
#include "devices/common/inflight.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/unit/devices/common/driver.h"

static struct driver *d; /* shared with children */
static struct vq vq;
static struct iovec iov[4];
static struct vq_chain c;

static int fresh(void **state)
{
	(void)state;
	if (d == NULL)
		d = mmap(NULL, sizeof(*d), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (d == MAP_FAILED)
		return -1;
	driver_init(d, NUM, 0);
	if (inflight_attach(&d->setup.inflight, d->region, sizeof(d->region), NUM, 0, NUM) < 0)
		return -1;
	return vq_init(&vq, 0, NUM, NULL);
}

static int gone(void **state)
{
	(void)state;
	vq_fini(&vq);
	return 0;
}

static void begin(void)
{
	assert_int_equal(vq_start(&vq, &d->setup, NULL), 0);
}

static uint16_t pop(void)
{
	return vq_pop(&vq, &c, iov, 4) == 1 ? c.head : UINT16_MAX;
}

/* --- the region by itself --------------------------------------------------------------------------------------- */

static void attach_checks_every_number(void **state)
{
	struct inflight f;
	uint64_t each = vhost_user_inflight_queue_bytes(NUM);

	(void)state;
	assert_int_equal(inflight_attach(&f, d->region, 2 * each, NUM, 1, NUM), 0);
	assert_ptr_equal(f.queue, d->region + each);
	assert_int_equal(inflight_attach(&f, d->region, 2 * each, NUM, 2, NUM), -EINVAL);
	assert_int_equal(inflight_attach(&f, d->region, 2 * each - 1, NUM, 1, NUM), -EINVAL);
	assert_int_equal(inflight_attach(&f, d->region, 2 * each, NUM, 0, NUM * 2), -EINVAL);
	assert_int_equal(inflight_attach(&f, d->region, 2 * each, NUM, 0, 0), -EINVAL);
	assert_int_equal(inflight_attach(&f, d->region, 2 * each, UINT32_MAX, 0, NUM), -EINVAL);
	assert_int_equal(inflight_attach(&f, d->region, 2 * each, NUM, UINT32_MAX, NUM), -EINVAL);
}

static void fresh_region_has_nothing_to_do_again(void **state)
{
	uint16_t heads[NUM];

	(void)state;
	assert_int_equal(inflight_recover(&d->setup.inflight, 5, 9, heads), 0);
	assert_int_equal(d->setup.inflight.queue->version, 1);
	assert_int_equal(d->setup.inflight.queue->desc_num, NUM);
	assert_int_equal(d->setup.inflight.queue->used_idx, 9);
}

static void successor_does_again_what_was_in_flight_in_order(void **state)
{
	(void)state;
	for (uint16_t i = 0; i < 5; i++)
		driver_simple(d, (uint16_t)(6 - i));
	begin();
	for (int i = 0; i < 4; i++)
		(void)pop(); /* 6 5 4 3 */
	vq_push(&vq, 4, 0);
	vq_flush(&vq);
	/* killed here */
	assert_int_equal(vq_start(&vq, &d->setup, NULL), 0);
	assert_int_equal(vq_pending(&vq), 4);
	assert_int_equal(pop(), 6);
	assert_int_equal(pop(), 5);
	assert_int_equal(pop(), 3);
	assert_int_equal(pop(), 2);
	assert_int_equal(pop(), UINT16_MAX);
	assert_int_equal(vq_in_flight(&vq), 4);
}

static void order_holds_over_many_deaths(void **state)
{
	(void)state;
	for (uint16_t i = 0; i < 6; i++)
		driver_simple(d, i);
	begin();
	(void)pop();
	(void)pop();
	for (int death = 0; death < 5; death++) {
		begin();
		assert_int_equal(pop(), 0);
		assert_int_equal(pop(), 1);
		for (int i = 0; i <= death && i < 4; i++)
			assert_int_equal(pop(), 2 + i);
	}
}

static void unpopped_comes_from_the_ring_again(void **state)
{
	(void)state;
	driver_simple(d, 3);
	begin();
	assert_int_equal(pop(), 3);
	vq_unpop(&vq, &c);
	begin();
	assert_int_equal(vq_pending(&vq), 1);
	assert_int_equal(pop(), 3);
	begin(); /* resubmitted now */
	assert_int_equal(pop(), 3);
	vq_unpop(&vq, &c);
	assert_int_equal(pop(), 3);
	assert_int_equal(pop(), UINT16_MAX);
}

static void region_of_another_ring_starts_empty(void **state)
{
	uint16_t heads[NUM];
	struct vhost_user_inflight_queue *q = d->setup.inflight.queue;

	(void)state;
	driver_simple(d, 3);
	begin();
	assert_int_equal(pop(), 3);
	q->desc_num = NUM / 2;
	assert_int_equal(inflight_recover(&d->setup.inflight, 0, 0, heads), 0);
	d->setup.inflight.desc[1].inflight = 1;
	q->version = 2;
	assert_int_equal(inflight_recover(&d->setup.inflight, 0, 0, heads), 0);
	d->setup.inflight.desc[1].inflight = 1;
	assert_int_equal(inflight_recover(&d->setup.inflight, 0, NUM + 1, heads), 0); /* used.idx from nowhere */
	assert_int_equal(q->used_idx, NUM + 1);
}

static void garbage_is_walked_within_bounds(void **state)
{
	uint16_t heads[NUM];
	uint32_t seed = 1;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		bool seen[NUM] = { false };

		for (size_t i = 0; i < vhost_user_inflight_queue_bytes(NUM); i++) {
			seed = seed * 1103515245 + 12345;
			d->region[i] = (uint8_t)(seed >> 16) & (round % 3 == 0 ? 0xff : 0x0f);
		}
		d->setup.inflight.queue->version = 1;
		d->setup.inflight.queue->desc_num = NUM;
		uint16_t used = (uint16_t)(d->setup.inflight.queue->used_idx + round % (NUM + 2));
		uint16_t n = inflight_recover(&d->setup.inflight, 0, used, heads);
		assert_in_range(n, 0, NUM);
		for (uint16_t i = 0; i < n; i++) {
			assert_in_range(heads[i], 0, NUM - 1);
			assert_false(seen[heads[i]]);
			seen[heads[i]] = true;
		}
	}
}

/* --- killed at every instruction -------------------------------------------------------------------------------- */

enum { PLAN = 64 };
static struct driver *found; /* what a successor finds: a copy */

/* Nothing lost, nothing twice: what the driver got back and what is to be done again are together the first entries of the
 * available ring, and the latter are in its order. @offered are all its entries. */
static void assert_whole(const uint16_t *offered, unsigned n_offered, const uint16_t *published)
{
	uint16_t heads[NUM], used = driver_used_idx(found);
	struct inflight f;
	int count[NUM] = { 0 };

	assert_int_equal(inflight_attach(&f, found->region, sizeof(found->region), NUM, 0, NUM), 0);
	uint16_t n = inflight_recover(&f, 0, used, heads);
	assert_true(used + n <= (int)n_offered);
	for (unsigned i = 0; i < used + (unsigned)n; i++)
		count[offered[i]]++;
	for (unsigned i = 0; i < used; i++)
		count[published[i]]--;
	unsigned at = 0;
	for (uint16_t i = 0; i < n; i++) {
		count[heads[i]]--;
		while (at < used + (unsigned)n && offered[at] != heads[i])
			at++;
		assert_true(at++ < used + (unsigned)n); /* behind the one before */
	}
	for (unsigned i = 0; i < NUM; i++)
		assert_int_equal(count[i], 0);
}

/* Run @scenario in a child; look after every instruction. Returns how many changes were looked at, -1: no ptrace here. */
static int step_through(void (*scenario)(void), const uint16_t *offered, unsigned n_offered, const uint16_t *published)
{
	int status, changes = 0;
	pid_t pid = fork();

	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(77);
		(void)raise(SIGSTOP);
		scenario();
		_exit(0);
	}
	assert_true(pid > 0);
	memcpy(found, d, sizeof(*d));
	for (;;) {
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (!WIFSTOPPED(status))
			break;
		/* the scenario touches the region and the used ring; both are small */
		if (memcmp(found->region, d->region, sizeof(d->region)) != 0 ||
		    memcmp(driver_used(found), driver_used(d), 256) != 0) {
			memcpy(found, d, sizeof(*d));
			assert_whole(offered, n_offered, published);
			memcpy(found, d, sizeof(*d)); /* the look has changed it */
			changes++;
		}
		int sig = WSTOPSIG(status) == SIGTRAP || WSTOPSIG(status) == SIGSTOP ? 0 : WSTOPSIG(status);
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, (void *)(intptr_t)sig) < 0) {
			(void)kill(pid, SIGKILL);
			(void)waitpid(pid, &status, 0);
			return -1;
		}
	}
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status) == 77 ? -1 : changes;
}

static const uint16_t orders[] = { 4, 2, 7, 1, 0, 3, 4, 2, 7, 1 }, given_back[] = { 2, 4, 7, 0, 1, 3, 2, 4, 7, 1 };

static void do_pop(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		(void)pop();
}

static void do_push(unsigned from, unsigned n)
{
	for (unsigned i = from; i < from + n; i++)
		vq_push(&vq, given_back[i], 1);
	vq_flush(&vq);
}

/* Batches of several sizes, out of order, an unpop, heads that come a second time. */
static void scenario_serve(void)
{
	do_pop(3); /* 4 2 7 */
	do_push(0, 2);
	do_pop(1); /* 1 */
	vq_unpop(&vq, &c);
	do_pop(2); /* 1 0 */
	do_push(2, 3); /* 7 0 1 */
	for (unsigned i = 6; i < nitems(orders); i++)
		driver_offer(d, orders[i]);
	do_pop(5); /* 3 4 2 7 1 */
	do_push(5, 1);
	do_push(6, 4);
}

static void start_plan(void)
{
	for (uint16_t i = 0; i < NUM; i++)
		driver_desc(d, i, (uint64_t)BUF + i * 64, 64, VRING_DESC_F_WRITE, 0);
	for (unsigned i = 0; i < 6; i++)
		driver_offer(d, orders[i]);
	begin();
}

static void killed_anywhere_while_serving_nothing_is_lost_or_done_twice(void **state)
{
	(void)state;
	found = aligned_alloc(4096, sizeof(*found));
	assert_non_null(found);
	start_plan();
	int n = step_through(scenario_serve, orders, nitems(orders), given_back);
	free(found);
	if (n < 0)
		skip();
	assert_int_equal(driver_used_idx(d), nitems(given_back));
	assert_true(n > 60);
}

static void scenario_recover(void)
{
	if (vq_start(&vq, &d->setup, NULL) < 0)
		_exit(1);
}

static void killed_anywhere_while_recovering_nothing_changes(void **state)
{
	(void)state;
	found = aligned_alloc(4096, sizeof(*found));
	assert_non_null(found);
	start_plan();
	do_pop(5); /* 4 2 7 1 0 */
	do_push(0, 3); /* 2 4 7 */
	/* as if the death had been between the publishing and the clearing of the marks */
	d->setup.inflight.queue->used_idx = 0;
	d->setup.inflight.desc[2].inflight = d->setup.inflight.desc[4].inflight = d->setup.inflight.desc[7].inflight = 1;
	int n = step_through(scenario_recover, orders, nitems(orders), given_back);
	free(found);
	if (n < 0)
		skip();
	assert_int_equal(d->setup.inflight.queue->used_idx, 3);
	assert_true(n >= 4);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fresh, gone)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(attach_checks_every_number), T(fresh_region_has_nothing_to_do_again),
		T(successor_does_again_what_was_in_flight_in_order), T(order_holds_over_many_deaths),
		T(unpopped_comes_from_the_ring_again), T(region_of_another_ring_starts_empty),
		T(garbage_is_walked_within_bounds),
		T(killed_anywhere_while_serving_nothing_is_lost_or_done_twice),
		T(killed_anywhere_while_recovering_nothing_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
