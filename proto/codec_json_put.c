/* SPDX-License-Identifier: ISC */
/* Objects to JSON: compact, ASCII, rows in their order, integers as they are. Needs no library. */
#include "proto/codec_json.h"

#include <inttypes.h>
#include <string.h>

#include "common/utf8.h"

static int put_object(struct wbuf *out, const struct desc *d, const void *obj);

static const char *short_escape(uint32_t cp)
{
	switch (cp) {
	case '"':
		return "\\\"";
	case '\\':
		return "\\\\";
	case '\b':
		return "\\b";
	case '\f':
		return "\\f";
	case '\n':
		return "\\n";
	case '\r':
		return "\\r";
	case '\t':
		return "\\t";
	}
	return NULL;
}

static int put_escaped(struct wbuf *out, uint32_t cp)
{
	const char *esc = short_escape(cp);

	if (esc != NULL)
		return wbuf_str(out, esc);
	if (cp < 0x10000)
		return wbuf_printf(out, "\\u%04" PRIx32, cp);
	cp -= 0x10000;
	return wbuf_printf(out, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xd800 + (cp >> 10), 0xdc00 + (cp & 0x3ff));
}

static bool is_plain(uint8_t c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

int json_put_string(struct wbuf *out, const char *s)
{
	const uint8_t *p = (const uint8_t *)s;
	size_t len = strlen(s), i = 0;

	(void)wbuf_u8(out, '"');
	while (i < len) {
		size_t run = 0;
		uint32_t cp = 0xfffd; /* what is not UTF-8 */

		while (i + run < len && is_plain(p[i + run]))
			run++;
		(void)wbuf_put(out, p + i, run);
		i += run;
		if (i == len)
			break;
		size_t n = utf8_next(p + i, len - i, &cp);
		(void)put_escaped(out, n > 0 ? cp : 0xfffd);
		i += n > 0 ? n : 1;
	}
	return wbuf_u8(out, '"');
}

static int put_value(struct wbuf *out, const struct field_desc *f, const void *p)
{
	uint64_t v = field_load(f->kind, p);
	const char *s;

	switch (f->kind) {
	case FK_BOOL:
		return wbuf_str(out, v != 0 ? "true" : "false");
	case FK_U8:
	case FK_U16:
	case FK_U32:
	case FK_U64:
		return wbuf_printf(out, "%" PRIu64, v);
	case FK_I32:
		return wbuf_printf(out, "%" PRId64, (int64_t)v);
	case FK_ENUM:
		return json_put_string(out, v < f->en->n ? f->en->names[v].json : "");
	case FK_STR:
		memcpy(&s, p, sizeof(s));
		return json_put_string(out, s != NULL ? s : "");
	case FK_OBJ:
		return put_object(out, f->obj, p);
	case FK_ANY:
		break;
	}
	return wbuf_str(out, "null");
}

static int put_list(struct wbuf *out, const struct field_desc *f, const void *obj)
{
	const char *list = field_list(f, obj);
	size_t n = field_count(f, obj);

	(void)wbuf_u8(out, '[');
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			(void)wbuf_u8(out, ',');
		(void)put_value(out, f, list + i * f->elem);
	}
	return wbuf_u8(out, ']');
}

/* Where nothing is given but something is written. */
static const char *text_of_absent(const struct field_desc *f, const void *obj)
{
	if (!field_is_stored(f) || field_has(f, obj))
		return NULL;
	return f->put_null ? "null" : f->def_str;
}

static bool is_omitted(const struct field_desc *f, const void *obj)
{
	if (!field_is_stored(f) || f->internal)
		return true;
	if (!field_has(f, obj))
		return text_of_absent(f, obj) == NULL;
	return f->omit_false && field_load(f->kind, field_at_const(f, obj)) == 0;
}

static int put_object(struct wbuf *out, const struct desc *d, const void *obj)
{
	bool first = true;

	(void)wbuf_u8(out, '{');
	for (unsigned i = 0; i < d->n; i++) {
		const struct field_desc *f = &d->f[i];

		if (is_omitted(f, obj))
			continue;
		(void)wbuf_printf(out, "%s\"%s\":", first ? "" : ",", f->name);
		first = false;
		const char *absent = text_of_absent(f, obj);
		if (absent != NULL && f->kind == FK_STR)
			(void)json_put_string(out, absent);
		else if (absent != NULL)
			(void)wbuf_str(out, absent);
		else if (field_is_list(f))
			(void)put_list(out, f, obj);
		else
			(void)put_value(out, f, field_at_const(f, obj));
	}
	return wbuf_u8(out, '}');
}

int json_encode(const struct desc *d, const void *obj, struct wbuf *out)
{
	return put_object(out, d, obj);
}
