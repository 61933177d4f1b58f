/* SPDX-License-Identifier: ISC */
/* A channel on the control loop: readable and writable events beside a struct chan. */
#ifndef VMMD_PEER_H
#define VMMD_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "proto/chan.h"

struct event;
struct event_base;

struct peer {
	struct chan *chan; /* NULL: nobody there */
	struct event *on_read, *on_write;
};

/* Takes @fd. @on_readable(@arg) is called while there is something to receive. 0 or -ENOMEM. */
int peer_open(struct peer *p, struct event_base *base, int fd, size_t max_msg, size_t max_queued,
	      void (*on_readable)(void *arg), void *arg) __must_check;
void peer_close(struct peer *p); /* also from its own callback; accepts a zeroed one */
bool peer_is_open(const struct peer *p);

/* chan_send(), and wait for room if it has to. @desc and @body NULL: no body. */
int peer_send(struct peer *p, enum msg_type type, uint32_t id, const void *body) __must_check;
/* After sends that went around peer_send(). */
void peer_update(struct peer *p);

#endif
