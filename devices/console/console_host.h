/* SPDX-License-Identifier: ISC */
/*
 * The half of a console that faces the host, the same for a serial port and for a virtio console: the ring with the guest's
 * output, the target it goes to, and one chunk of input on its way to the guest.
 *
 * Output is always taken, however slow the target is; what the ring cannot hold costs the oldest bytes, counted. Input
 * waits: it is read only when the guest's half has taken the chunk before.
 */
#ifndef DEVICES_CONSOLE_CONSOLE_HOST_H
#define DEVICES_CONSOLE_CONSOLE_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/event.h>

#include "common/err.h"
#include "devices/console/console_ring.h"
#include "devices/console/console_target.h"

/* The guest's half. Called from the loop. */
struct console_guest_ops {
	/* There is input (console_host_input()). Take what the guest has room for; the rest is asked for again by the
	 * guest's half itself, when there is room. */
	void (*on_input)(void *arg);
	/* Output went out, or its target: see whether a drain is over. May be absent. */
	void (*on_output)(void *arg);
};

struct console_host {
	/* const after start */
	struct event_base *base;
	const struct console_guest_ops *ops;
	void *arg;
	struct console_target target;

	struct console_ring ring;
	bool target_gone; /* nobody will ever read it */
	bool no_guest;    /* input has nowhere to go any more */

	uint8_t input[CONSOLE_CHUNK]; /* what the guest has not taken yet */
	size_t input_at, input_len;

	struct event *ev_listen, *ev_out, *ev_in;
	bool out_waits; /* ev_out is armed: no use trying before it fires */
};

/* Descriptor phase. Take over the ring in the shared memory @fd (borrowed). */
int console_host_map_ring(struct console_host *h, int fd, struct err *e) __must_check;

/* Locked: watch the target, go on with what a predecessor left in the ring. */
int console_host_start(struct console_host *h, struct event_base *base, const struct console_guest_ops *ops, void *arg,
		       struct err *e) __must_check;

/* Output: @n <= CONSOLE_CHUNK bytes into the ring, then on to the target as far as it takes them. */
void console_host_put(struct console_host *h, const void *p, size_t n);
/* The same without the first half. @again: also when the target was slow a moment ago. */
void console_host_push(struct console_host *h, bool again);

/* Input that waits for the guest, 0: none. Borrowed until it is taken. */
size_t console_host_input(const struct console_host *h, const uint8_t **p);
void console_host_input_taken(struct console_host *h, size_t n);
/* There will be nobody to take it. */
void console_host_end_input(struct console_host *h);

/* Nothing more can be done for the output that is there: it is out (true), or nobody can take it (false). */
bool console_host_is_settled(const struct console_host *h, bool *complete);

#endif
