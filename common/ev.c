/* SPDX-License-Identifier: ISC */
/*
 * The system calls that libevent makes for us stand here, as its sources have no notes. Bases are made before the
 * filter; what a filter must allow afterwards is the waiting and, with epoll, the changing of the set.
 */
#include "common/ev.h"

#include <errno.h>
#include <stdlib.h>

#include "common/clock.h"

struct deferred {
	void (*fn)(void *arg);
	void *arg;
};

/*
 * libevent always makes a pipe for signals, two descriptors that nobody uses; epoll makes a third.
 * #syscalls monitor apid vmmd: epoll_ctl epoll_wait
 * #syscalls console: poll
 * Now and then it compares its clock with the wall clock; where the clock source has no vDSO (hpet) that is a call.
 * #syscalls gettimeofday
 */
struct event_base *ev_new(enum ev_backend backend)
{
	struct event_config *cfg = event_config_new();
	struct event_base *base = NULL;

	if (cfg == NULL)
		return NULL;
	if (event_config_avoid_method(cfg, "select") == 0 &&
	    event_config_avoid_method(cfg, backend == EV_BACKEND_EPOLL ? "poll" : "epoll") == 0 &&
	    event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV) == 0)
		base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	return base;
}

void ev_free(struct event_base *base)
{
	if (base != NULL)
		event_base_free(base);
}

static void on_deferred(evutil_socket_t fd, short what, void *arg)
{
	struct deferred d = *(struct deferred *)arg;

	(void)fd;
	(void)what;
	free(arg);
	d.fn(d.arg);
}

int ev_defer(struct event_base *base, void (*fn)(void *arg), void *arg)
{
	static const struct timeval now;
	struct deferred *d = malloc(sizeof(*d));

	if (d == NULL)
		return -ENOMEM;
	*d = (struct deferred){ .fn = fn, .arg = arg };
	if (event_base_once(base, -1, EV_TIMEOUT, on_deferred, d, &now) < 0) {
		free(d);
		return -ENOMEM;
	}
	return 0;
}

uint64_t ev_now_ns(void)
{
	return clock_mono_ns();
}
