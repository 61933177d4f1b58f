/* SPDX-License-Identifier: ISC */
/*
 * A channel to the monitor or to vmmd, with requests that wait for their answers. An answer is the typed result or
 * RESULT, in a frame of the request's id; every wait has a deadline, believed only after one more look at the channel.
 */
#ifndef APID_RPC_H
#define APID_RPC_H

#include <stdint.h>

#include "common/err.h"
#include "common/ev.h"
#include "proto/chan.h"

struct rpc;

struct rpc_ops {
	/* Something that answers no request of ours. The message is freed here afterwards. */
	void (*message)(void *arg, struct chan_msg *m);
	/* An answer came, awaited or not, and will be handled next: vmmd keeps it until it is acknowledged. May be NULL. */
	void (*answered)(void *arg, uint32_t id);
	/* The channel is unusable: -EPIPE, -EBADMSG, ... Called once. */
	void (*lost)(void *arg, int code);
};

/* @m: the typed answer, or NULL when the request succeeded by RESULT or failed, which @e tells (NULL: success). Called
 * exactly once unless the call was dropped, never from within rpc_call(). */
typedef void rpc_done_fn(void *arg, struct chan_msg *m, const struct err *e);

/* Takes @chan, also on failure. NULL: out of memory, or @chan was NULL. @name is for messages. */
struct rpc *rpc_new(struct event_base *base, struct chan *chan, const char *name, const struct rpc_ops *ops, void *arg);
void rpc_free(struct rpc *p);

/* Ids start here; a successor goes on where its predecessor stopped. */
void rpc_set_next_id(struct rpc *p, uint32_t id);

/* Send a request. Its id goes to *@id (may be NULL). */
int rpc_call(struct rpc *p, enum msg_type type, const void *obj, unsigned timeout_ms, rpc_done_fn *fn, void *arg,
	     uint32_t *id, struct err *e) __must_check;
/* Wait for the answer to a predecessor's request. */
int rpc_expect(struct rpc *p, uint32_t id, unsigned timeout_ms, rpc_done_fn *fn, void *arg) __must_check;
/* Nobody wants the answer any more. */
void rpc_drop(struct rpc *p, uint32_t id);

/* Send what has no answer; failures are those of the channel and reported by lost(). */
void rpc_tell(struct rpc *p, enum msg_type type, uint32_t id, const void *obj, const int *fds, unsigned nfds);

/* Handle all that has arrived, now. */
void rpc_pump(struct rpc *p);

#endif
