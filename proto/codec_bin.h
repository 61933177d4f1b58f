/* SPDX-License-Identifier: ISC */
/*
 * The binary form of an object, between our own processes: little endian, no padding, no pointers.
 *
 *	object	u16 version, u32 bytes of what follows, then the rows in order
 *	REQ DEF	the value		number: its width; bool: u8 0 or 1; enum: u32; string: u32 length, bytes; object
 *	OPT NULLABLE	u8 0, or u8 1 and the value
 *	LIST	u32 count, then the values;  OPTLIST	u8 0, or u8 1 and a LIST
 *
 * The decoder believes nothing: every range, count and length is checked before memory is taken, strings hold no NUL,
 * and nothing may follow. LATER rows are data like any other here.
 */
#ifndef PROTO_CODEC_BIN_H
#define PROTO_CODEC_BIN_H

#include "common/buf.h"
#include "common/err.h"
#include "proto/desc.h"

/* Append @obj. 0, -ENOMEM, -EMSGSIZE, -ERANGE when a value is outside its row's range (the reader would refuse it),
 * -EINVAL when a REQ string is NULL. */
int bin_encode(const struct desc *d, const void *obj, struct wbuf *out) __must_check;

/* Decode exactly @len bytes. @obj needs no init; on failure it is zeroed and there is nothing to free.
 * 0, -EBADMSG with the first reason in @e, -ENOMEM. */
int bin_decode(const struct desc *d, void *obj, const void *p, size_t len, struct err *e) __must_check;

#endif
