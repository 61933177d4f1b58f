/* SPDX-License-Identifier: ISC */
/* Thin helpers over libevent: one base per thread, no threads support, no environment. */
#ifndef COMMON_EV_H
#define COMMON_EV_H

#include <stdint.h>

#include <event2/event.h>
#include <event2/event_struct.h>

enum ev_backend {
	EV_BACKEND_EPOLL, /* vmmd's control thread, the monitor, apid */
	EV_BACKEND_POLL,  /* helpers: no descriptor of its own, needs only poll after lock-down */
};

/* NULL when out of memory. */
struct event_base *ev_new(enum ev_backend backend);

/* Everything of the base's own; events are freed by their owners before. NULL is fine. */
void ev_free(struct event_base *base);

/* Call @fn(@arg) once from the loop, after the running callbacks: the way to die inside one's own callback. 0 or
 * -ENOMEM. A call still pending when the base is freed is never made. */
int ev_defer(struct event_base *base, void (*fn)(void *arg), void *arg);

/* Monotonic clock, nanoseconds. */
uint64_t ev_now_ns(void);

#endif
