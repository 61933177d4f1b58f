/* SPDX-License-Identifier: ISC */
#include "proto/codec_bin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/text_form.h"

/* --- writing --------------------------------------------------------------------------------------------------------- */

static int put_object(struct wbuf *out, const struct desc *d, const void *obj);

static int put_string(struct wbuf *out, const struct field_desc *f, const void *p)
{
	const char *s;
	size_t len;

	memcpy(&s, p, sizeof(s));
	if (s == NULL)
		return -EINVAL;
	len = strlen(s);
	if (len < field_value_min(f) || len > field_value_max(f))
		return -ERANGE;
	(void)wbuf_le32(out, (uint32_t)len); /* at most CFG_CMDLINE_MAX */
	return wbuf_put(out, s, len);
}

static int put_number(struct wbuf *out, const struct field_desc *f, const void *p)
{
	uint64_t v = field_load(f->kind, p);

	if (f->kind == FK_I32)
		return wbuf_le32(out, (uint32_t)v);
	if (v < field_value_min(f) || v > field_value_max(f))
		return -ERANGE;
	switch (f->kind) {
	case FK_BOOL:
	case FK_U8:
		return wbuf_u8(out, (uint8_t)v);
	case FK_U16:
		return wbuf_le16(out, (uint16_t)v);
	case FK_U32:
	case FK_ENUM:
		return wbuf_le32(out, (uint32_t)v);
	case FK_U64:
		return wbuf_le64(out, v);
	case FK_I32:
	case FK_STR:
	case FK_OBJ:
	case FK_ANY:
		break;
	}
	return -EINVAL;
}

static int put_value(struct wbuf *out, const struct field_desc *f, const void *p)
{
	if (f->kind == FK_OBJ)
		return put_object(out, f->obj, p);
	if (f->kind == FK_STR)
		return put_string(out, f, p);
	return put_number(out, f, p);
}

static int put_list(struct wbuf *out, const struct field_desc *f, const void *obj)
{
	const char *list = field_list(f, obj);
	size_t n = field_count(f, obj);
	int r;

	if (n < f->min || n > field_max(f))
		return -ERANGE;
	(void)wbuf_le32(out, (uint32_t)n); /* every list row's limit is far below 2^32 */
	if (f->kind == FK_U8)
		return wbuf_put(out, list, n);
	for (size_t i = 0; i < n; i++) {
		r = put_value(out, f, list + i * f->elem);
		if (r < 0)
			return r;
	}
	return out->error;
}

static int put_field(struct wbuf *out, const struct field_desc *f, const void *obj)
{
	if (f->pres == FP_OPT || f->pres == FP_NULLABLE || f->pres == FP_OPTLIST) {
		bool has = field_has(f, obj);

		(void)wbuf_u8(out, has ? 1 : 0);
		if (!has)
			return 0;
	}
	return field_is_list(f) ? put_list(out, f, obj) : put_value(out, f, field_at_const(f, obj));
}

static int put_object(struct wbuf *out, const struct desc *d, const void *obj)
{
	size_t at;

	(void)wbuf_le16(out, d->version);
	at = out->len;
	(void)wbuf_le32(out, 0); /* length, known below */
	for (unsigned i = 0; i < d->n; i++) {
		int r = field_is_stored(&d->f[i]) ? put_field(out, &d->f[i], obj) : 0;

		if (r < 0)
			return r;
	}
	if (out->error < 0)
		return out->error;
	if (out->len - at - sizeof(uint32_t) > UINT32_MAX)
		return -EMSGSIZE;
	return wbuf_patch_le32(out, at, (uint32_t)(out->len - at - sizeof(uint32_t)));
}

int bin_encode(const struct desc *d, const void *obj, struct wbuf *out)
{
	int r = put_object(out, d, obj);

	return r < 0 ? r : out->error;
}

/* --- reading --------------------------------------------------------------------------------------------------------- */

/* What is being read, for the text of the first error. */
struct dec {
	struct err *e;
	const struct desc *d;
	const struct field_desc *f; /* NULL: the object's own header */
};

static int get_object(const struct desc *d, void *obj, struct rbuf *r, struct err *e, unsigned depth);

static int bad(const struct dec *c, const char *what)
{
	return err_set(c->e, -EBADMSG, "%s%s%s: %s", c->d->name, c->f != NULL ? "." : "", c->f != NULL ? c->f->name : "",
		       what);
}

static int no_memory(const struct dec *c)
{
	return err_set(c->e, -ENOMEM, "%s: out of memory", c->d->name);
}

static bool has_form(const struct field_desc *f, const char *s)
{
	char canon[TEXT_FORM_MAX];

	return f->form == TF_ANY || (text_form_canon(f->form, s, canon) == 0 && strcmp(canon, s) == 0);
}

/* A byte that says whether something follows. */
static int get_flag(const struct dec *c, struct rbuf *r, bool *out)
{
	uint8_t v = rbuf_u8(r);

	if (r->error < 0)
		return bad(c, "cut short");
	if (v > 1)
		return bad(c, "flag is neither 0 nor 1");
	*out = v != 0;
	return 0;
}

static int get_string(const struct dec *c, void *p, struct rbuf *r)
{
	uint32_t len = rbuf_le32(r);
	const uint8_t *bytes;
	char *s;

	if (r->error < 0)
		return bad(c, "cut short");
	if (len < field_value_min(c->f) || len > field_value_max(c->f))
		return bad(c, "length out of range");
	bytes = rbuf_take(r, len);
	if (bytes == NULL)
		return bad(c, "cut short");
	if (memchr(bytes, 0, len) != NULL)
		return bad(c, "NUL in a text");
	s = malloc((size_t)len + 1);
	if (s == NULL)
		return no_memory(c);
	memcpy(s, bytes, len);
	s[len] = '\0';
	memcpy(p, &s, sizeof(s)); /* the caller frees it, whatever follows */
	return has_form(c->f, s) ? 0 : bad(c, "not in its canonical form");
}

static int get_number(const struct dec *c, void *p, struct rbuf *r)
{
	const struct field_desc *f = c->f;
	uint64_t v = 0;

	switch (f->kind) {
	case FK_BOOL:
	case FK_U8:
		v = rbuf_u8(r);
		break;
	case FK_U16:
		v = rbuf_le16(r);
		break;
	case FK_U32:
	case FK_I32:
	case FK_ENUM:
		v = rbuf_le32(r);
		break;
	case FK_U64:
		v = rbuf_le64(r);
		break;
	case FK_STR:
	case FK_OBJ:
	case FK_ANY:
		return bad(c, "not a number");
	}
	if (r->error < 0)
		return bad(c, "cut short");
	if (f->kind != FK_I32 && (v < field_value_min(f) || v > field_value_max(f)))
		return bad(c, "value out of range");
	field_store(f->kind, p, v);
	return 0;
}

static int get_value(const struct dec *c, void *p, struct rbuf *r, unsigned depth)
{
	if (c->f->kind == FK_OBJ)
		return get_object(c->f->obj, p, r, c->e, depth + 1);
	if (c->f->kind == FK_STR)
		return get_string(c, p, r);
	return get_number(c, p, r);
}

/* Fewest bytes that one element can take: bounds the memory that a count can ask for by the bytes that came. */
static size_t wire_min(const struct field_desc *f)
{
	switch (f->kind) {
	case FK_BOOL:
	case FK_U8:
		return 1;
	case FK_U16:
		return 2;
	case FK_U32:
	case FK_I32:
	case FK_ENUM:
	case FK_STR:
		return 4;
	case FK_U64:
		return 8;
	case FK_OBJ:
		return 6;
	case FK_ANY:
		break;
	}
	return 1;
}

static int get_list(const struct dec *c, void *obj, struct rbuf *r, unsigned depth)
{
	const struct field_desc *f = c->f;
	uint32_t n = rbuf_le32(r);
	char *list;

	if (r->error < 0)
		return bad(c, "cut short");
	if (n < f->min || n > field_max(f))
		return bad(c, "count out of range");
	if (n > rbuf_left(r) / wire_min(f))
		return bad(c, "cut short");
	if (n == 0)
		return 0;
	list = calloc(n, f->elem);
	if (list == NULL)
		return no_memory(c);
	field_set_ptr(f, obj, list);
	field_set_count(f, obj, n); /* zeroed elements are free to fini */
	if (f->kind == FK_U8)
		return rbuf_get(r, list, n) < 0 ? bad(c, "cut short") : 0;
	for (uint32_t i = 0; i < n; i++) {
		int err = get_value(c, list + i * f->elem, r, depth);

		if (err < 0)
			return err;
	}
	return 0;
}

static int get_field(const struct dec *c, void *obj, struct rbuf *r, unsigned depth)
{
	const struct field_desc *f = c->f;

	if (f->pres == FP_OPT || f->pres == FP_NULLABLE || f->pres == FP_OPTLIST) {
		bool has = false;
		int err = get_flag(c, r, &has);

		if (err < 0 || !has)
			return err;
		field_set_has(f, obj, true);
	}
	return field_is_list(f) ? get_list(c, obj, r, depth) : get_value(c, field_at(f, obj), r, depth);
}

/* @obj is zeroed. What was filled before a failure is freed by the outermost caller. */
static int get_object(const struct desc *d, void *obj, struct rbuf *r, struct err *e, unsigned depth)
{
	struct dec c = { .e = e, .d = d };
	uint16_t version = rbuf_le16(r);
	uint32_t len = rbuf_le32(r);
	const uint8_t *body = rbuf_take(r, len);
	struct rbuf in;

	if (body == NULL)
		return bad(&c, "cut short");
	if (version != d->version)
		return err_set(e, -EBADMSG, "%s: version %u is unknown, %u expected", d->name, (unsigned)version,
			       (unsigned)d->version);
	if (depth >= DESC_NEST_MAX)
		return bad(&c, "nested too deep");
	rbuf_init(&in, body, len);
	for (unsigned i = 0; i < d->n; i++) {
		if (!field_is_stored(&d->f[i]))
			continue;
		c.f = &d->f[i];
		int err = get_field(&c, obj, &in, depth);
		if (err < 0)
			return err;
	}
	c.f = NULL;
	return rbuf_left(&in) > 0 ? bad(&c, "bytes left over") : 0;
}

int bin_decode(const struct desc *d, void *obj, const void *p, size_t len, struct err *e)
{
	struct rbuf r;
	int err;

	memset(obj, 0, d->size);
	rbuf_init(&r, p, len);
	err = get_object(d, obj, &r, e, 0);
	if (err == 0 && rbuf_left(&r) > 0)
		err = err_set(e, -EBADMSG, "%s: bytes left over", d->name);
	if (err < 0)
		obj_fini(d, obj);
	return err;
}
