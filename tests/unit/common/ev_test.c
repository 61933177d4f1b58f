/* SPDX-License-Identifier: ISC */
#include "common/ev.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fd.h"

static void backend_is_the_one_asked_for(void **state)
{
	struct event_base *e = ev_new(EV_BACKEND_EPOLL), *p = ev_new(EV_BACKEND_POLL);

	(void)state;
	assert_non_null(e);
	assert_non_null(p);
	assert_string_equal(event_base_get_method(e), "epoll");
	assert_string_equal(event_base_get_method(p), "poll");
	ev_free(e);
	ev_free(p);
	ev_free(NULL);
}

static void environment_does_not_choose_the_backend(void **state)
{
	(void)state;
	assert_int_equal(setenv("EVENT_NOEPOLL", "1", 1), 0);
	assert_int_equal(setenv("EVENT_NOPOLL", "1", 1), 0);
	backend_is_the_one_asked_for(state);
	unsetenv("EVENT_NOEPOLL");
	unsetenv("EVENT_NOPOLL");
}

struct trace {
	struct event_base *base;
	char text[32];
};

static void on_deferred(void *arg)
{
	struct trace *t = arg;

	strcat(t->text, "deferred ");
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct trace *t = arg;
	char c;

	(void)what;
	assert_int_equal(read(fd, &c, 1), 1);
	assert_int_equal(ev_defer(t->base, on_deferred, t), 0);
	strcat(t->text, "callback ");
}

static void deferred_call_runs_once_after_the_callback(void **state)
{
	struct trace t = { .base = ev_new(EV_BACKEND_POLL) };
	int s[2];

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_STREAM, s), 0);
	struct event *e = event_new(t.base, s[0], EV_READ, on_readable, &t);
	assert_int_equal(event_add(e, NULL), 0);
	assert_int_equal(write(s[1], "x", 1), 1);
	assert_true(event_base_loop(t.base, 0) >= 0); /* until nothing is left to wait for */
	assert_string_equal(t.text, "callback deferred ");
	event_free(e);
	fd_close_all(s, 2);
	ev_free(t.base);
}

static void clock_moves_forward(void **state)
{
	uint64_t a = ev_now_ns();

	(void)state;
	assert_true(a > 0 && ev_now_ns() >= a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(backend_is_the_one_asked_for),
		cmocka_unit_test(environment_does_not_choose_the_backend),
		cmocka_unit_test(deferred_call_runs_once_after_the_callback),
		cmocka_unit_test(clock_moves_forward),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
