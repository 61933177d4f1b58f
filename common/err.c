/* SPDX-License-Identifier: ISC */
/*
 * Error chains. The texts lie one behind the other in e->text, each terminated, in the order of adding; so the
 * outermost link is always the last text and can be replaced in place.
 */
#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/str.h"

/* A code that came from outside or from a mistake must not read as success. */
static int sane_code(int code)
{
	return code < 0 && code > -4096 ? code : -EIO;
}

void err_clear(struct err *e)
{
	if (e == NULL)
		return;
	e->n = 0;
	e->used = 0;
}

/* Where the next link's text goes and how many bytes, terminator included, it may have (0: none left). */
static char *link_room(struct err *e, size_t *cap)
{
	size_t left = sizeof(e->text) - e->used;

	*cap = left < ERR_LINK_TEXT_MAX ? left : ERR_LINK_TEXT_MAX;
	return e->text + e->used;
}

/* Account for the terminated text that was written to link_room(). */
static void link_commit(struct err *e, int code, size_t len)
{
	e->code[e->n] = sane_code(code);
	e->off[e->n] = e->used;
	e->used = (uint16_t)(e->used + len + 1); /* at most ERR_TEXT_MAX */
	e->n++;
}

static void link_drop_outermost(struct err *e)
{
	e->n--;
	e->used = e->off[e->n];
}

static __printf(3, 0) void link_add(struct err *e, int code, const char *fmt, va_list ap)
{
	size_t cap;
	char *p;
	int want;

	if (e->n == ERR_LINKS_MAX)
		link_drop_outermost(e);
	p = link_room(e, &cap);
	if (cap == 0) { /* the text is full to the last byte: the code still counts, with an empty text */
		e->code[e->n] = sane_code(code);
		e->off[e->n] = (uint16_t)(e->used - 1); /* the last terminator */
		e->n++;
		return;
	}
	want = vsnprintf(p, cap, fmt, ap);
	size_t len = want < 0 ? 0 : (size_t)want;
	if (len >= cap)
		len = str_utf8_cut(p, cap - 1);
	p[len] = '\0';
	link_commit(e, code, len);
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (e == NULL)
		return sane_code(code);
	err_clear(e);
	va_start(ap, fmt);
	link_add(e, code, fmt, ap);
	va_end(ap);
	return sane_code(code);
}

int err_wrap(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (e == NULL)
		return sane_code(code);
	va_start(ap, fmt);
	link_add(e, code, fmt, ap);
	va_end(ap);
	return sane_code(code);
}

/* Append to the outermost link. */
static void link_append(struct err *e, const char *text)
{
	unsigned last = e->n - 1U;
	size_t have = strlen(e->text + e->off[last]);
	size_t room = sizeof(e->text) - e->off[last] - have - 1;
	size_t len = strlen(text);

	if (len > room)
		len = room;
	memcpy(e->text + e->off[last] + have, text, len);
	e->text[e->off[last] + have + len] = '\0';
	e->used = (uint16_t)(e->off[last] + have + len + 1);
}

int err_sys(struct err *e, int code, const char *fmt, ...)
{
	const char *what = strerrordesc_np(-sane_code(code));
	va_list ap;

	if (e == NULL)
		return sane_code(code);
	err_clear(e);
	va_start(ap, fmt);
	link_add(e, code, fmt, ap);
	va_end(ap);
	link_append(e, ": ");
	link_append(e, what != NULL ? what : "unknown error");
	return sane_code(code);
}

unsigned err_count(const struct err *e)
{
	return e != NULL ? e->n : 0;
}

const char *err_text(const struct err *e, unsigned i)
{
	return i < err_count(e) ? e->text + e->off[e->n - 1U - i] : "";
}

int err_code(const struct err *e, unsigned i)
{
	return i < err_count(e) ? e->code[e->n - 1U - i] : 0;
}

/* Bounded output that stays terminated. */
struct out {
	char *p;
	size_t cap, len;
};

static void out_str(struct out *o, const char *s)
{
	size_t n = strlen(s);

	if (o->cap == 0)
		return;
	if (n > o->cap - 1 - o->len)
		n = str_utf8_cut(s, o->cap - 1 - o->len);
	memcpy(o->p + o->len, s, n);
	o->len += n;
	o->p[o->len] = '\0';
}

static struct out out_init(char *buf, size_t cap)
{
	if (cap > 0)
		buf[0] = '\0';
	return (struct out){ .p = buf, .cap = cap };
}

size_t err_join(const struct err *e, char *buf, size_t cap)
{
	struct out o = out_init(buf, cap);

	for (unsigned i = 0; i < err_count(e); i++) {
		if (i > 0)
			out_str(&o, ": ");
		out_str(&o, err_text(e, i));
	}
	return o.len;
}

size_t err_exit_block(const struct err *e, char *buf, size_t cap)
{
	struct out o = out_init(buf, cap);
	unsigned n = err_count(e);

	if (n < 2) {
		out_str(&o, "Error: Cloud Hypervisor exited with the following error:\n  ");
		out_str(&o, n == 1 ? err_text(e, 0) : "unknown error");
		out_str(&o, "\n");
		return o.len;
	}
	out_str(&o, "Error: Cloud Hypervisor exited with the following chain of errors:\n");
	for (unsigned i = 0; i < n; i++) {
		char number[16];

		(void)str_fmt(number, sizeof(number), "  %u: ", i);
		out_str(&o, number);
		out_str(&o, err_text(e, i));
		out_str(&o, "\n");
	}
	return o.len;
}
