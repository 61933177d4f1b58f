/* SPDX-License-Identifier: ISC */
#include "proto/kv_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/str.h"

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

char *kv_trim(char *s)
{
	size_t len;

	while (is_blank(*s))
		s++;
	len = strlen(s);
	while (len > 0 && is_blank(s[len - 1]))
		len--;
	s[len] = '\0';
	return s;
}

bool kv_is_balanced(const char *s)
{
	bool quoted = false;
	size_t open = 0;

	for (; *s != '\0'; s++) {
		if (*s == '"') {
			quoted = !quoted;
		} else if (!quoted && *s == '[') {
			open++;
		} else if (!quoted && *s == ']') {
			if (open == 0)
				return false;
			open--;
		}
	}
	return !quoted && open == 0;
}

char *kv_next(char **rest, char sep)
{
	char *start = *rest, *p = start;
	bool quoted = false;
	size_t open = 0;

	if (start == NULL)
		return NULL;
	for (; *p != '\0'; p++) {
		if (*p == '"')
			quoted = !quoted;
		else if (!quoted && *p == '[')
			open++;
		else if (!quoted && *p == ']' && open > 0)
			open--;
		else if (!quoted && open == 0 && *p == sep)
			break;
	}
	*rest = *p != '\0' ? p + 1 : NULL;
	*p = '\0';
	return start;
}

void kv_dequote(char *s)
{
	bool quoted = false;
	char *to = s;

	for (; *s != '\0'; s++) {
		if (*s != '"') {
			*to++ = *s;
		} else if (quoted && s[1] == '"') {
			*to++ = '"';
			s++;
		} else {
			quoted = !quoted;
		}
	}
	*to = '\0';
}

char *kv_strip_brackets(char *s)
{
	size_t len;

	while (*s == '[' || *s == ']')
		s++;
	len = strlen(s);
	while (len > 0 && (s[len - 1] == '[' || s[len - 1] == ']'))
		len--;
	s[len] = '\0';
	return s;
}

int kv_int(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
	return str_to_u64(*s == '+' ? s + 1 : s, min, max, out);
}

int kv_hex(const char *s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (s[0] != '0' || s[1] != 'x' || s[2] == '\0')
		return -EINVAL;
	for (s += 2; *s != '\0'; s++) {
		uint64_t digit;

		if (*s >= '0' && *s <= '9')
			digit = (uint64_t)(*s - '0');
		else if ((*s | 0x20) >= 'a' && (*s | 0x20) <= 'f')
			digit = (uint64_t)((*s | 0x20) - 'a' + 10);
		else
			return -EINVAL;
		if (v > UINT64_MAX >> 4)
			return -ERANGE;
		v = v << 4 | digit;
	}
	if (v > max)
		return -ERANGE;
	*out = v;
	return 0;
}

int kv_toggle(const char *s, bool *out)
{
	if (strcasecmp(s, "on") == 0 || strcasecmp(s, "true") == 0)
		*out = true;
	else if (strcasecmp(s, "off") == 0 || strcasecmp(s, "false") == 0)
		*out = false;
	else
		return -EINVAL;
	return 0;
}

struct ints {
	uint64_t *v;
	size_t n, cap, max_n;
};

static int ints_add(struct ints *l, uint64_t v)
{
	if (l->n == l->max_n)
		return -E2BIG;
	if (l->n == l->cap) {
		size_t cap = l->cap < 16 ? 16 : l->cap * 2; /* max_n is far below SIZE_MAX */
		uint64_t *p = realloc(l->v, cap * sizeof(*p));

		if (p == NULL)
			return -ENOMEM;
		l->v = p;
		l->cap = cap;
	}
	l->v[l->n++] = v;
	return 0;
}

/* "a" or "a-b". */
static int ints_add_piece(struct ints *l, char *piece, uint64_t max)
{
	char *dash = strchr(piece, '-');
	uint64_t a, b;
	int r;

	if (dash != NULL)
		*dash = '\0';
	r = kv_int(piece, 0, max, &a);
	if (r < 0)
		return r;
	if (dash == NULL)
		return ints_add(l, a);
	r = kv_int(dash + 1, 0, max, &b);
	if (r == 0 && a >= b)
		r = -EINVAL;
	for (uint64_t v = a; r == 0; v++) {
		r = ints_add(l, v);
		if (v == b)
			break;
	}
	return r;
}

int kv_ints(char *s, uint64_t max, size_t max_n, uint64_t **out, size_t *n)
{
	struct ints l = { .max_n = max_n };
	char *rest = kv_strip_brackets(s), *piece;
	int r = 0;

	while (r == 0 && (piece = kv_next(&rest, ',')) != NULL)
		r = ints_add_piece(&l, piece, max);
	if (r < 0) {
		free(l.v);
		return r;
	}
	*out = l.v;
	*n = l.n;
	return 0;
}
