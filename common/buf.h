/* SPDX-License-Identifier: ISC */
/*
 * Bounded reader and writer over bytes. Both are sticky: after the first failure every call fails the same way, so
 * that a decoder can read a whole record and look at the result once.
 */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

/* Growing writer. @max bounds it for ever; the memory belongs to the writer. */
struct wbuf {
	uint8_t *p;
	size_t len, cap, max;
	int error; /* 0, -ENOMEM, -EMSGSIZE */
};

void wbuf_init(struct wbuf *b, size_t max);
void wbuf_fini(struct wbuf *b);
void wbuf_reset(struct wbuf *b); /* empty again, keeps memory, clears the error */
int wbuf_put(struct wbuf *b, const void *p, size_t n);
int wbuf_u8(struct wbuf *b, uint8_t v);
int wbuf_le16(struct wbuf *b, uint16_t v);
int wbuf_le32(struct wbuf *b, uint32_t v);
int wbuf_le64(struct wbuf *b, uint64_t v);
int wbuf_zero(struct wbuf *b, size_t n);
int wbuf_str(struct wbuf *b, const char *s); /* without the terminator */
int wbuf_printf(struct wbuf *b, const char *fmt, ...) __printf(2, 3);
/* Overwrite earlier bytes (a length field); -ERANGE outside what was written. */
int wbuf_patch_le32(struct wbuf *b, size_t at, uint32_t v);

/* Reader over borrowed bytes. */
struct rbuf {
	const uint8_t *p;
	size_t len, off;
	int error; /* 0 or -EBADMSG */
};

void rbuf_init(struct rbuf *r, const void *p, size_t len);
size_t rbuf_left(const struct rbuf *r);
int rbuf_get(struct rbuf *r, void *dst, size_t n);
const uint8_t *rbuf_take(struct rbuf *r, size_t n); /* borrowed, NULL on failure */
uint8_t rbuf_u8(struct rbuf *r);
uint16_t rbuf_le16(struct rbuf *r);
uint32_t rbuf_le32(struct rbuf *r);
uint64_t rbuf_le64(struct rbuf *r);

#endif
