/* SPDX-License-Identifier: ISC */
/* Replies in the exact bytes that clients parse: no reason phrase, fixed header lines, head and body in one piece. */
#ifndef APID_REPLY_H
#define APID_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"
#include "common/err.h"

/* Room for any reply: vm.info of the largest configuration. */
enum { REPLY_MAX = 16 * 1024 * 1024 };

/* Append a whole reply. 204 has neither body nor length. @close: this is the connection's last. */
int reply_put(struct wbuf *out, unsigned status, const void *body, size_t len, bool close);
/* The request could not be parsed: 400 in the form of the parser, not of the API. */
int reply_put_parse_error(struct wbuf *out, const char *reason, bool close);
/* "Go on" for Expect: 100-continue; @minor as in the request's version. */
int reply_put_continue(struct wbuf *out, unsigned minor);

/* What a connection beyond the last free slot gets. */
extern const char reply_busy[];
extern const size_t reply_busy_len;

/* Append ["@first"] or, with @e, ["@first", outermost, ..., root cause]. */
int reply_body_error(struct wbuf *body, const char *first, const struct err *e);

#endif
