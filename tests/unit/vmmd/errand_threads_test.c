/* SPDX-License-Identifier: ISC */
#include "vmmd/errand.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmmd/gate.h"

struct fixture {
	struct wake wake;
	struct errands es;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (f == NULL || wake_init(&f->wake) < 0 || errands_init(&f->es, &f->wake) < 0)
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	errands_fini(&f->es);
	wake_fini(&f->wake);
	free(f);
	return 0;
}

static void await_wake(struct fixture *f)
{
	struct pollfd p = { .fd = f->wake.fd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, 10000), 1);
	wake_take(&f->wake);
}

/* --- one thread ------------------------------------------------------------------------------------------------------ */

static bool count(void *arg)
{
	(*(unsigned *)arg)++;
	return true;
}

static bool stays(void *arg)
{
	(*(unsigned *)arg)++;
	return false;
}

static void call_in_the_control_thread_runs_at_once(void **state)
{
	struct fixture *f = *state;
	unsigned n = 0;

	errand_call(&f->es, count, &n);
	assert_int_equal(n, 1);
	errand_call(&f->es, stays, &n); /* isn't waited for */
	assert_int_equal(n, 2);
	errand_done(&f->es, &n);
}

static void post_runs_once_however_often_it_was_posted(void **state)
{
	struct fixture *f = *state;
	struct errand er = { 0 };
	unsigned n = 0;

	errand_post(&f->es, &er, count, &n);
	errand_post(&f->es, &er, count, &n);
	assert_int_equal(n, 0);
	await_wake(f);
	errands_serve(&f->es);
	assert_int_equal(n, 1);
	errand_post(&f->es, &er, count, &n);
	errands_serve(&f->es);
	assert_int_equal(n, 2);
	errands_serve(&f->es);
	assert_int_equal(n, 2);
}

struct again {
	struct fixture *f;
	struct errand er;
	unsigned n;
};

static bool post_again(void *arg)
{
	struct again *a = arg;

	a->n++;
	errand_post(&a->f->es, &a->er, post_again, a);
	return true;
}

/* Whoever posts without end must not keep the control thread from its loop. */
static void serving_does_not_go_on_for_ever(void **state)
{
	struct again a = { .f = *state };

	errand_post(&a.f->es, &a.er, post_again, &a);
	errands_serve(&a.f->es);
	assert_int_equal(a.n, 1);
	await_wake(a.f); /* the next one has a wake-up of its own */
	errands_serve(&a.f->es);
	assert_int_equal(a.n, 2);
	errands_close(&a.f->es);
}

static void nothing_runs_after_the_close(void **state)
{
	struct fixture *f = *state;
	struct errand before = { 0 }, after = { 0 };
	unsigned n = 0;

	errand_post(&f->es, &before, count, &n);
	errands_close(&f->es);
	errand_post(&f->es, &after, count, &n);
	errands_serve(&f->es);
	assert_int_equal(n, 0);
	errand_done(&f->es, &n);
}

/* --- threads --------------------------------------------------------------------------------------------------------- */

enum { THREADS = 4, CALLS = 5000 };

struct caller {
	struct fixture *f;
	pthread_t thread;
	unsigned n;      /* written by the control thread, read by the caller when its call returns */
	unsigned *total; /* control thread only */
	bool (*run)(void *arg);
	_Atomic bool returned;
	unsigned wrong;
};

static bool add(void *arg)
{
	struct caller *c = arg;

	c->n++;
	(*c->total)++;
	return true;
}

static void *call_often(void *arg)
{
	struct caller *c = arg;

	for (unsigned i = 1; i <= CALLS; i++) {
		errand_call(&c->f->es, add, c);
		c->wrong += c->n != i;
	}
	atomic_store(&c->returned, true);
	return NULL;
}

/* Each call returns after it was run, never before, and no wake-up is lost. */
static void calls_from_many_threads_are_served_one_by_one(void **state)
{
	struct caller c[THREADS] = { 0 };
	unsigned total = 0;

	for (unsigned i = 0; i < THREADS; i++) {
		c[i].f = *state;
		c[i].total = &total;
		assert_int_equal(pthread_create(&c[i].thread, NULL, call_often, &c[i]), 0);
	}
	while (total < THREADS * CALLS) {
		await_wake(*state);
		errands_serve(&c[0].f->es);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(c[i].thread, NULL), 0);
		assert_int_equal(c[i].wrong, 0);
	}
}

static bool keep(void *arg)
{
	struct caller *c = arg;

	c->n++;
	return false;
}

static void *call_once(void *arg)
{
	struct caller *c = arg;

	errand_call(&c->f->es, c->run, c);
	atomic_store(&c->returned, true);
	return NULL;
}

static void start(struct caller *c, struct fixture *f, bool (*run)(void *arg))
{
	*c = (struct caller){ .f = f, .run = run };
	assert_int_equal(pthread_create(&c->thread, NULL, call_once, c), 0);
}

static void serve_until(struct fixture *f, const unsigned *n)
{
	while (*n == 0) {
		await_wake(f);
		errands_serve(&f->es);
	}
}

static void errand_that_stays_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct caller a, b;

	start(&a, f, keep);
	serve_until(f, &a.n);
	start(&b, f, keep);
	serve_until(f, &b.n);
	assert_false(atomic_load(&a.returned));
	errand_done(&f->es, &a);
	assert_int_equal(pthread_join(a.thread, NULL), 0);
	assert_false(atomic_load(&b.returned));
	errand_done(&f->es, &a); /* none is fine */
	errand_done(&f->es, &b);
	assert_int_equal(pthread_join(b.thread, NULL), 0);
}

/* One that stays, one that was never looked at, one that comes too late. */
static void close_ends_every_wait(void **state)
{
	struct fixture *f = *state;
	struct caller a, b, c;

	start(&a, f, keep);
	serve_until(f, &a.n);
	start(&b, f, keep);
	await_wake(f);
	errands_close(&f->es);
	start(&c, f, keep);
	assert_int_equal(pthread_join(a.thread, NULL), 0);
	assert_int_equal(pthread_join(b.thread, NULL), 0);
	assert_int_equal(pthread_join(c.thread, NULL), 0);
	assert_int_equal(b.n + c.n, 0);
	errand_done(&f->es, &a); /* its caller's stack may be gone: nothing may be touched */
}

/* --- with the gate, as vcpus_close() does ------------------------------------------------------------------------------ */

struct vcpu {
	struct fixture *f;
	struct gate gate;
	unsigned n;
};

static void nudge(void *arg)
{
	gate_nudge(&((struct vcpu *)arg)->gate);
}

/* A vCPU that is in the middle of an access, with an errand, when the gate closes. */
static void *run_vcpu(void *arg)
{
	struct vcpu *v = arg;

	while (gate_pass(&v->gate))
		while (gate_is_open(&v->gate))
			errand_call(&v->f->es, count, &v->n);
	return NULL;
}

static void control_thread_that_holds_vcpus_serves_their_errands(void **state)
{
	struct vcpu v = { .f = *state };
	pthread_t t;

	assert_int_equal(gate_init(&v.gate), 0);
	errands_set_nudge(&v.f->es, nudge, &v);
	assert_int_equal(pthread_create(&t, NULL, run_vcpu, &v), 0);
	for (unsigned i = 0; i < 200; i++) {
		gate_open(&v.gate);
		await_wake(v.f);
		gate_close(&v.gate);
		while (!gate_wait_held(&v.gate, 1, 10000))
			errands_serve(&v.f->es);
	}
	gate_end(&v.gate);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_true(v.n >= 200);
	gate_fini(&v.gate);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(call_in_the_control_thread_runs_at_once),
		T(post_runs_once_however_often_it_was_posted),
		T(serving_does_not_go_on_for_ever),
		T(nothing_runs_after_the_close),
		T(calls_from_many_threads_are_served_one_by_one),
		T(errand_that_stays_is_waited_for),
		T(close_ends_every_wait),
		T(control_thread_that_holds_vcpus_serves_their_errands),
	};

	return cmocka_run_group_tests_name("errand", tests, NULL, NULL);
}
