/* SPDX-License-Identifier: ISC */
/*
 * A channel in the monitor's loop: reads whole messages, writes when it can, bounds what one peer may cost. A peer that
 * asks faster than the limit is not refused but read more slowly.
 */
#ifndef JAIL_LINK_H
#define JAIL_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ev.h"
#include "proto/chan.h"

struct link_ops {
	/* One message; the callee frees it. May close the link. */
	void (*on_msg)(void *arg, struct chan_msg *m);
	/* End of file (-EPIPE) or a broken peer (-EBADMSG). The link is closed already. */
	void (*on_gone)(void *arg, int why);
};

struct link {
	struct event_base *base;
	struct chan *chan; /* NULL: closed */
	struct event *on_read, *on_write, *on_refill;
	const struct link_ops *ops;
	void *arg;
	uint32_t per_second; /* messages, 0: no limit */
	uint32_t tokens;
	int64_t refilled_ms;
};

/* Takes @fd (closed on failure too). */
int link_open(struct link *l, struct event_base *base, int fd, const struct link_ops *ops, void *arg) __must_check;
void link_limit(struct link *l, uint32_t per_second);
/* Accepts a zeroed or closed link. Also from within its own callbacks. */
void link_close(struct link *l);
bool link_is_open(const struct link *l);

/* chan_send(); what cannot be sent at once goes later. A failure means that the peer is gone or stuck. */
int link_send(struct link *l, enum msg_type type, uint32_t id, const struct desc *d, const void *obj, const int *fds,
	      unsigned nfds);

/* Handle everything that has arrived. */
void link_drain(struct link *l);

#endif
