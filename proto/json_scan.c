/* SPDX-License-Identifier: ISC */
#include "proto/json_scan.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "proto/codec_json.h"

/* What may come next (RFC 8259). */
enum expect {
	EXPECT_VALUE,
	EXPECT_VALUE_OR_END, /* after '[' */
	EXPECT_NAME,         /* after ',' in an object */
	EXPECT_NAME_OR_END,  /* after '{' */
	EXPECT_COLON,
	EXPECT_COMMA_OR_END,
	EXPECT_NOTHING, /* the document is whole */
};

struct scan {
	struct json_scan *out;
	const uint8_t *p;
	size_t len, at;
	enum expect expect;
	unsigned depth;
	bool in_object[JSON_DEPTH_MAX];
	uint32_t open[JSON_DEPTH_MAX]; /* span of the container */
	struct err *e;
};

void json_place(const char *text, size_t off, unsigned *line, unsigned *column)
{
	*line = 1;
	*column = 1;
	for (size_t i = 0; i < off; i++) {
		if (text[i] == '\n') {
			++*line;
			*column = 1;
		} else {
			++*column;
		}
	}
}

static int bad_at(struct scan *s, size_t off, const char *what)
{
	unsigned line, column;

	json_place((const char *)s->p, off, &line, &column);
	return err_set(s->e, -EINVAL, "%s at line %u column %u", what, line, column);
}

static int bad(struct scan *s, const char *what)
{
	return bad_at(s, s->at, what);
}

static int emit(struct scan *s, const void *p, size_t n)
{
	return wbuf_put(&s->out->text, p, n) < 0 ? err_set(s->e, s->out->text.error, "JSON document: out of memory") : 0;
}

/* --- texts ----------------------------------------------------------------------------------------------------------- */

/* Four hexadecimal digits at @off. */
static bool hex4(const struct scan *s, size_t off, uint32_t *out)
{
	uint32_t v = 0;

	if (s->len - off < 4)
		return false;
	for (size_t i = off; i < off + 4; i++) {
		uint8_t c = s->p[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint32_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
		else
			return false;
	}
	*out = v;
	return true;
}

/* s->at is behind "\u". */
static int scan_unicode(struct scan *s)
{
	uint32_t v = 0, low = 0;

	if (!hex4(s, s->at, &v))
		return bad(s, "invalid \\u escape");
	if (v == 0)
		return bad(s, "NUL in a string");
	if (v >= 0xdc00 && v <= 0xdfff)
		return bad(s, "lone trailing surrogate");
	s->at += 4;
	if (v < 0xd800 || v > 0xdbff)
		return 0;
	if (s->len - s->at < 6 || s->p[s->at] != '\\' || s->p[s->at + 1] != 'u' || !hex4(s, s->at + 2, &low) ||
	    low < 0xdc00 || low > 0xdfff)
		return bad(s, "lone leading surrogate");
	s->at += 6;
	return 0;
}

/* s->at is behind the backslash. */
static int scan_escape(struct scan *s)
{
	if (s->at == s->len)
		return bad(s, "end of text within a string");
	uint8_t c = s->p[s->at];
	if (c == 'u') {
		s->at++;
		return scan_unicode(s);
	}
	if (c == 0 || strchr("\"\\/bfnrt", c) == NULL)
		return bad(s, "invalid escape");
	s->at++;
	return 0;
}

static int scan_char(struct scan *s)
{
	uint32_t cp;
	size_t n;

	if (s->p[s->at] == '\\') {
		s->at++;
		return scan_escape(s);
	}
	if (s->p[s->at] == 0)
		return bad(s, "NUL in a string");
	if (s->p[s->at] < 0x20)
		return bad(s, "control character in a string");
	n = utf8_next(s->p + s->at, s->len - s->at, &cp);
	if (n == 0)
		return bad(s, "invalid UTF-8");
	s->at += n;
	return 0;
}

/* From the opening quote to behind the closing one. @tag is put in front of a value. */
static int scan_string(struct scan *s, const char *tag)
{
	size_t start = s->at++;
	int r;

	for (;;) {
		if (s->at == s->len)
			return bad(s, "end of text within a string");
		if (s->p[s->at] == '"')
			break;
		r = scan_char(s);
		if (r < 0)
			return r;
	}
	s->at++;
	r = emit(s, "\"", 1);
	if (r == 0)
		r = emit(s, tag, strlen(tag));
	return r < 0 ? r : emit(s, s->p + start + 1, s->at - start - 1);
}

/* --- numbers and words ----------------------------------------------------------------------------------------------- */

static size_t digits(const struct scan *s, size_t at)
{
	size_t n = 0;

	while (at + n < s->len && s->p[at + n] >= '0' && s->p[at + n] <= '9')
		n++;
	return n;
}

static int scan_number(struct scan *s)
{
	static const char quote_tag[] = { '"', JSON_TAG_NUMBER };
	size_t start = s->at, n;
	int r;

	if (s->p[s->at] == '-')
		s->at++;
	n = digits(s, s->at);
	if (n == 0 || (n > 1 && s->p[s->at] == '0'))
		return bad(s, "invalid number");
	s->at += n;
	if (s->at < s->len && s->p[s->at] == '.') {
		n = digits(s, ++s->at);
		if (n == 0)
			return bad(s, "invalid number");
		s->at += n;
	}
	if (s->at < s->len && (s->p[s->at] | 0x20) == 'e') {
		s->at++;
		if (s->at < s->len && (s->p[s->at] == '+' || s->p[s->at] == '-'))
			s->at++;
		n = digits(s, s->at);
		if (n == 0)
			return bad(s, "invalid number");
		s->at += n;
	}
	r = emit(s, quote_tag, sizeof(quote_tag));
	if (r == 0)
		r = emit(s, s->p + start, s->at - start);
	return r < 0 ? r : emit(s, "\"", 1);
}

static int scan_word(struct scan *s)
{
	static const char *const words[] = { "null", "true", "false" };

	for (size_t i = 0; i < nitems(words); i++) {
		size_t n = strlen(words[i]);

		if (s->len - s->at >= n && memcmp(s->p + s->at, words[i], n) == 0) {
			s->at += n;
			return emit(s, words[i], n);
		}
	}
	return bad(s, "expected a value");
}

/* --- structure ------------------------------------------------------------------------------------------------------- */

/* Note that a value begins here. */
static int begin_value(struct scan *s)
{
	struct json_scan *o = s->out;

	if (o->n_values == JSON_VALUES_MAX)
		return bad(s, "too many values");
	if (o->n_values == o->cap) {
		size_t cap = o->cap < 64 ? 64 : o->cap * 2; /* stops at JSON_VALUES_MAX */
		struct json_span *p = realloc(o->spans, cap * sizeof(*p));

		if (p == NULL)
			return err_set(s->e, -ENOMEM, "JSON document: out of memory");
		o->spans = p;
		o->cap = cap;
	}
	o->spans[o->n_values].start = (uint32_t)s->at;
	o->spans[o->n_values].end = (uint32_t)s->at;
	o->n_values++;
	return 0;
}

static void value_done(struct scan *s)
{
	s->expect = s->depth == 0 ? EXPECT_NOTHING : EXPECT_COMMA_OR_END;
}

static int open_container(struct scan *s)
{
	bool object = s->p[s->at] == '{';

	if (s->depth == JSON_DEPTH_MAX)
		return bad(s, "nested too deep");
	s->in_object[s->depth] = object;
	s->open[s->depth] = (uint32_t)(s->out->n_values - 1);
	s->depth++;
	s->expect = object ? EXPECT_NAME_OR_END : EXPECT_VALUE_OR_END;
	return emit(s, s->p + s->at++, 1);
}

static int close_container(struct scan *s)
{
	s->depth--;
	s->out->spans[s->open[s->depth]].end = (uint32_t)s->at;
	int r = emit(s, s->p + s->at++, 1);
	value_done(s);
	return r;
}

static int scan_value(struct scan *s)
{
	static const char tag[] = { JSON_TAG_STRING, '\0' };
	size_t index = s->out->n_values;
	uint8_t c = s->p[s->at];
	int r = begin_value(s);

	if (r < 0)
		return r;
	if (c == '{' || c == '[')
		return open_container(s);
	if (c == '"')
		r = scan_string(s, tag);
	else if (c == '-' || (c >= '0' && c <= '9'))
		r = scan_number(s);
	else
		r = scan_word(s);
	if (r < 0)
		return r;
	s->out->spans[index].end = (uint32_t)(s->at - 1);
	value_done(s);
	return 0;
}

static int scan_separator(struct scan *s, uint8_t c)
{
	bool object = s->in_object[s->depth - 1];

	if (c == (object ? '}' : ']'))
		return close_container(s);
	if (c != ',')
		return bad(s, object ? "expected \",\" or \"}\"" : "expected \",\" or \"]\"");
	s->expect = object ? EXPECT_NAME : EXPECT_VALUE;
	return emit(s, s->p + s->at++, 1);
}

static int scan_token(struct scan *s)
{
	uint8_t c = s->p[s->at];

	switch (s->expect) {
	case EXPECT_VALUE_OR_END:
		if (c == ']')
			return close_container(s);
		return scan_value(s);
	case EXPECT_VALUE:
		return scan_value(s);
	case EXPECT_NAME_OR_END:
		if (c == '}')
			return close_container(s);
		/* a name, as below */
		__attribute__((fallthrough));
	case EXPECT_NAME:
		if (c != '"')
			return bad(s, "expected the name of a member");
		s->expect = EXPECT_COLON;
		return scan_string(s, "");
	case EXPECT_COLON:
		if (c != ':')
			return bad(s, "expected \":\"");
		s->expect = EXPECT_VALUE;
		return emit(s, s->p + s->at++, 1);
	case EXPECT_COMMA_OR_END:
		return scan_separator(s, c);
	case EXPECT_NOTHING:
		break;
	}
	return bad(s, "text after the document");
}

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

int json_scan(struct json_scan *out, const char *text, size_t len, struct err *e)
{
	struct scan s = { .out = out, .p = (const uint8_t *)text, .len = len, .expect = EXPECT_VALUE, .e = e };

	memset(out, 0, sizeof(*out));
	if (len > UINT32_MAX)
		return err_set(e, -EINVAL, "JSON document: too large");
	/* a tag for each value, and quotes around each number */
	wbuf_init(&out->text, len + (size_t)3 * JSON_VALUES_MAX);
	for (;;) {
		while (s.at < len && is_space(s.p[s.at]))
			s.at++;
		if (s.at == len)
			break;
		int r = scan_token(&s);
		if (r < 0)
			return r;
	}
	return s.expect == EXPECT_NOTHING ? 0 : bad_at(&s, len, "end of text within the document");
}

void json_scan_fini(struct json_scan *s)
{
	wbuf_fini(&s->text);
	free(s->spans);
	memset(s, 0, sizeof(*s));
}
