/* SPDX-License-Identifier: ISC */
#include "vmmd/wake.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

static int readable(const struct wake *w, int timeout_ms)
{
	struct pollfd p = { .fd = w->fd, .events = POLLIN };

	return poll(&p, 1, timeout_ms);
}

static void wake_signals_once_until_taken(void **state)
{
	struct wake w;
	uint64_t n;

	(void)state;
	assert_int_equal(wake_init(&w), 0);
	assert_int_equal(readable(&w, 0), 0);
	wake_signal(&w);
	wake_signal(&w);
	wake_signal(&w);
	assert_int_equal(read(w.fd, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 1);
	wake_take(&w);
	wake_signal(&w);
	assert_int_equal(readable(&w, 0), 1);
	wake_fini(&w);
	assert_int_equal(w.fd, -1);
}

enum { ITEMS = 200000 };

struct shared {
	struct wake wake;
	_Atomic unsigned produced;
};

static void *produce(void *arg)
{
	struct shared *s = arg;
	int own = dup(s->wake.fd);

	wake_enter_thread(own);
	for (unsigned i = 0; i < ITEMS; i++) {
		atomic_fetch_add(&s->produced, 1);
		wake_signal(&s->wake);
	}
	(void)close(own);
	return NULL;
}

/* Would hang, and time out, if a wake-up could get lost between take and look. */
static void wake_is_never_lost(void **state)
{
	struct shared s = { 0 };
	unsigned seen = 0;
	pthread_t t;

	(void)state;
	assert_int_equal(wake_init(&s.wake), 0);
	assert_int_equal(pthread_create(&t, NULL, produce, &s), 0);
	while (seen < ITEMS) {
		assert_int_equal(readable(&s.wake, 10000), 1);
		wake_take(&s.wake);
		seen = atomic_load(&s.produced);
	}
	assert_int_equal(pthread_join(t, NULL), 0);
	wake_fini(&s.wake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wake_signals_once_until_taken),
		cmocka_unit_test(wake_is_never_lost),
	};

	return cmocka_run_group_tests_name("wake", tests, NULL, NULL);
}
