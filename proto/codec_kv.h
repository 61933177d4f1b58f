/* SPDX-License-Identifier: ISC */
/* The key=value form of command-line options: "boot=2,max=4" (rows with a .kv). */
#ifndef PROTO_CODEC_KV_H
#define PROTO_CODEC_KV_H

#include "common/buf.h"
#include "common/err.h"
#include "proto/desc.h"

/* @obj needs no init; on failure it is zeroed and there is nothing to free. 0, -EINVAL (text says what is wrong),
 * -ERR_INVALID (not supported by this build, named), -ENOMEM. */
int kv_decode(const struct desc *d, void *obj, const char *text, struct err *e) __must_check;

/* Append "boot=<n>,max=<n>,..." with defaults, for help texts; only what this build serves. */
int kv_help(const struct desc *d, struct wbuf *out);

#endif
