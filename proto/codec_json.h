/* SPDX-License-Identifier: ISC */
/*
 * JSON to objects and back. Reading: json_scan() proves the text (UTF-8, grammar, depth, no NUL) and rewrites numbers
 * as tagged strings, cJSON builds the tree, the walker checks members, types and ranges. Every integer up to 2^64-1 is
 * exact. Writing: ASCII only, compact, rows in order.
 */
#ifndef PROTO_CODEC_JSON_H
#define PROTO_CODEC_JSON_H

#include "common/buf.h"
#include "common/err.h"
#include "proto/desc.h"

enum {
	JSON_DEPTH_MAX = 32,
	JSON_VALUES_MAX = 1 << 18, /* bounds the tree at some 40 MiB */
};

/* @obj needs no init; on failure it is zeroed and there is nothing to free. 0, or
 *   -EINVAL       not JSON, or not of this shape: the text says what, and "at line L column C"
 *   -ERR_INVALID  well formed, but asks for what this build does not serve: the text names the member
 *   -ENOMEM */
int json_decode(const struct desc *d, void *obj, const char *text, size_t len, struct err *e) __must_check;

/* Append the object. 0 or the writer's error. Bytes that are not UTF-8 become U+FFFD. */
int json_encode(const struct desc *d, const void *obj, struct wbuf *out);
/* Append @s as a JSON string with its quotes. */
int json_put_string(struct wbuf *out, const char *s);

#endif
