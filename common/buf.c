/* SPDX-License-Identifier: ISC */
#include "common/buf.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ovf.h"

void wbuf_init(struct wbuf *b, size_t max)
{
	*b = (struct wbuf){ .max = max };
}

void wbuf_fini(struct wbuf *b)
{
	free(b->p);
	*b = (struct wbuf){ .error = 0 };
}

void wbuf_reset(struct wbuf *b)
{
	b->len = 0;
	b->error = 0;
}

static int wbuf_fail(struct wbuf *b, int r)
{
	if (b->error == 0)
		b->error = r;
	return b->error;
}

/* Make room for @n more bytes. */
static int wbuf_reserve(struct wbuf *b, size_t n)
{
	size_t need, cap;
	uint8_t *p;

	if (b->error < 0)
		return b->error;
	if (ovf_add_size(b->len, n, &need) < 0 || need > b->max)
		return wbuf_fail(b, -EMSGSIZE);
	if (need <= b->cap)
		return 0;
	cap = b->cap < 128 ? 128 : b->cap + b->cap / 2; /* no overflow: memory never fills half the address space */
	if (cap > b->max)
		cap = b->max;
	if (cap < need)
		cap = need;
	p = realloc(b->p, cap);
	if (p == NULL)
		return wbuf_fail(b, -ENOMEM);
	b->p = p;
	b->cap = cap;
	return 0;
}

int wbuf_put(struct wbuf *b, const void *p, size_t n)
{
	int r = wbuf_reserve(b, n);

	if (r < 0)
		return r;
	if (n > 0) /* memcpy and NULL do not go together, even for nothing */
		memcpy(b->p + b->len, p, n);
	b->len += n;
	return 0;
}

int wbuf_zero(struct wbuf *b, size_t n)
{
	int r = wbuf_reserve(b, n);

	if (r < 0)
		return r;
	if (n > 0)
		memset(b->p + b->len, 0, n);
	b->len += n;
	return 0;
}

int wbuf_u8(struct wbuf *b, uint8_t v)
{
	return wbuf_put(b, &v, sizeof(v));
}

int wbuf_le16(struct wbuf *b, uint16_t v)
{
	v = htole16(v);
	return wbuf_put(b, &v, sizeof(v));
}

int wbuf_le32(struct wbuf *b, uint32_t v)
{
	v = htole32(v);
	return wbuf_put(b, &v, sizeof(v));
}

int wbuf_le64(struct wbuf *b, uint64_t v)
{
	v = htole64(v);
	return wbuf_put(b, &v, sizeof(v));
}

int wbuf_str(struct wbuf *b, const char *s)
{
	return wbuf_put(b, s, strlen(s));
}

/* Print into what is reserved; vsnprintf wants one byte more for its terminator, which is then not counted. */
static __printf(3, 0) int wbuf_vprintf_n(struct wbuf *b, size_t n, const char *fmt, va_list ap)
{
	size_t max = b->max;
	int r;

	b->max = max < SIZE_MAX ? max + 1 : max;
	r = wbuf_reserve(b, n + 1);
	b->max = max;
	if (r == 0 && b->len + n > max)
		r = wbuf_fail(b, -EMSGSIZE);
	if (r < 0)
		return r;
	(void)vsnprintf((char *)b->p + b->len, n + 1, fmt, ap);
	b->len += n;
	return 0;
}

int wbuf_printf(struct wbuf *b, const char *fmt, ...)
{
	va_list ap, again;
	int r;

	va_start(ap, fmt);
	va_copy(again, ap);
	r = vsnprintf(NULL, 0, fmt, ap);
	if (r >= 0)
		r = wbuf_vprintf_n(b, (size_t)r, fmt, again);
	else
		r = wbuf_fail(b, -ENOMEM);
	va_end(again);
	va_end(ap);
	return r;
}

int wbuf_patch_le32(struct wbuf *b, size_t at, uint32_t v)
{
	if (b->error < 0)
		return b->error;
	if (b->len < sizeof(v) || at > b->len - sizeof(v))
		return -ERANGE;
	v = htole32(v);
	memcpy(b->p + at, &v, sizeof(v));
	return 0;
}

void rbuf_init(struct rbuf *r, const void *p, size_t len)
{
	*r = (struct rbuf){ .p = p, .len = len };
}

size_t rbuf_left(const struct rbuf *r)
{
	return r->error < 0 ? 0 : r->len - r->off;
}

const uint8_t *rbuf_take(struct rbuf *r, size_t n)
{
	static const uint8_t nothing[1];
	const uint8_t *p;

	if (r->error == 0 && n > r->len - r->off)
		r->error = -EBADMSG;
	if (r->error < 0)
		return NULL;
	p = r->p != NULL ? r->p + r->off : nothing;
	r->off += n;
	return p;
}

int rbuf_get(struct rbuf *r, void *dst, size_t n)
{
	const uint8_t *p = rbuf_take(r, n);

	if (p == NULL)
		return r->error;
	if (n > 0)
		memcpy(dst, p, n);
	return 0;
}

uint8_t rbuf_u8(struct rbuf *r)
{
	uint8_t v = 0;

	(void)rbuf_get(r, &v, sizeof(v));
	return v;
}

uint16_t rbuf_le16(struct rbuf *r)
{
	uint16_t v = 0;

	(void)rbuf_get(r, &v, sizeof(v));
	return le16toh(v);
}

uint32_t rbuf_le32(struct rbuf *r)
{
	uint32_t v = 0;

	(void)rbuf_get(r, &v, sizeof(v));
	return le32toh(v);
}

uint64_t rbuf_le64(struct rbuf *r)
{
	uint64_t v = 0;

	(void)rbuf_get(r, &v, sizeof(v));
	return le64toh(v);
}
