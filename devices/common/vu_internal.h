/* SPDX-License-Identifier: ISC */
/* Inside of the vhost-user server: the wire, the rings, the messages. */
#ifndef DEVICES_COMMON_VU_INTERNAL_H
#define DEVICES_COMMON_VU_INTERNAL_H

#include "devices/common/vu_server.h"

/* --- vu_wire.c -------------------------------------------------------------------------------------------------- */

/* Read towards one whole message: 1 it is there, 0 not yet, -EPIPE, -EPROTO. */
int vu_wire_read(struct vu_server *s);
/* Forget the message, closing what came with it. */
void vu_wire_drop(struct vu_server *s);
/* Answer the present message with @len bytes and perhaps a descriptor, which stays the caller's for as long as the
 * connection lasts. 0 or the error that ended the connection. */
int vu_wire_reply(struct vu_server *s, const void *p, size_t len, int fd);
int vu_wire_reply_u64(struct vu_server *s, uint64_t v);
int vu_wire_flush(struct vu_server *s);
int vu_wire_tell(struct vu_server *s);

/* --- vu_rings.c ------------------------------------------------------------------------------------------------- */

/* Stop ring @q, or all (-1). True when none of it runs. */
bool vu_rings_rest(struct vu_server *s, int q);
/* Start and stop what should run and what should not. */
void vu_rings_settle(struct vu_server *s);
/* Back to what a new connection finds. They are idle. */
void vu_rings_forget(struct vu_server *s);

/* --- vu_shared.c: handlers of the server's table; see there -------------------------------------------------------- */

int vu_set_mem_table(struct vu_server *s, struct err *e);
int vu_add_mem_reg(struct vu_server *s, struct err *e);
int vu_rem_mem_reg(struct vu_server *s, struct err *e);
int vu_set_log_base(struct vu_server *s, struct err *e);
int vu_get_inflight_fd(struct vu_server *s, struct err *e);
int vu_set_inflight_fd(struct vu_server *s, struct err *e);
void vu_shared_clear(struct vu_shared *m);

#endif
