/* SPDX-License-Identifier: ISC */
/* Handler tables: which message is taken in which state, what its body is and who handles it. */
#ifndef PROTO_DISPATCH_H
#define PROTO_DISPATCH_H

#include "common/err.h"
#include "proto/chan.h"
#include "proto/desc.h"

enum {
	DISPATCH_FDS = 1u << 0, /* may carry descriptors; else a message with any is refused */
};
#define DISPATCH_ANY_STATE UINT32_MAX

struct dispatch_entry {
	enum msg_type type;
	uint32_t states; /* bits of the states in which it is taken */
	uint32_t flags;
	const struct desc *desc; /* NULL: no body, and one is refused */
	/* @msg is freed after the call; keep copies. @m has the id and the descriptors. 0 or -errno with @e filled. */
	int (*handle)(void *ctx, const void *msg, struct chan_msg *m, struct err *e);
};

/* Find, decode, call, free (also @m). -ENOTSUP: unlisted, -EPROTO: not in this state, -EBADMSG: bad body or stray
 * descriptors; else what the handler returned (-EREMOTEIO for one of these three, so that they always are the peer's
 * fault). */
int dispatch(const struct dispatch_entry *table, size_t n, uint32_t state_bit, void *ctx, struct chan_msg *m,
	     struct err *e) __must_check;

#endif
