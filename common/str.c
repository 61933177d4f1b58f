/* SPDX-License-Identifier: ISC */
#include "common/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int str_to_u64(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;
	bool over = false;

	if (*s == '\0')
		return -EINVAL;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		/* go on after an overflow: "not a number" wins over "too large" */
		over = over || __builtin_mul_overflow(v, UINT64_C(10), &v) ||
		       __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v);
	}
	if (over || v < min || v > max)
		return -ERANGE;
	*out = v;
	return 0;
}

/* Length of the sequence that starts with @lead, 0 when none does; *@min is the smallest code point that needs it. */
static unsigned utf8_length(uint8_t lead, uint32_t *bits, uint32_t *min)
{
	if (lead < 0x80) {
		*bits = lead;
		*min = 0;
		return 1;
	}
	if ((lead & 0xe0) == 0xc0) {
		*bits = lead & 0x1fU;
		*min = 0x80;
		return 2;
	}
	if ((lead & 0xf0) == 0xe0) {
		*bits = lead & 0x0fU;
		*min = 0x800;
		return 3;
	}
	if ((lead & 0xf8) == 0xf0) {
		*bits = lead & 0x07U;
		*min = 0x10000;
		return 4;
	}
	return 0;
}

/* Bytes of the valid sequence at @p, 0 when there is none. */
static size_t utf8_step(const char *p, size_t len)
{
	uint32_t cp = 0, min = 0;
	unsigned n = utf8_length((uint8_t)p[0], &cp, &min);

	if (n == 0 || n > len)
		return 0;
	for (unsigned i = 1; i < n; i++) {
		uint8_t c = (uint8_t)p[i];

		if ((c & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (c & 0x3fU);
	}
	if (cp < min || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
		return 0;
	return n;
}

bool str_is_utf8(const char *p, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t n = utf8_step(p + i, len - i);

		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

size_t str_utf8_cut(const char *p, size_t len)
{
	uint32_t bits, min;
	size_t lead = len;

	/* step back over at most three continuation bytes to the lead byte of the last sequence */
	while (lead > 0 && len - lead < 3 && ((uint8_t)p[lead - 1] & 0xc0) == 0x80)
		lead--;
	if (lead == 0)
		return len;
	return utf8_length((uint8_t)p[lead - 1], &bits, &min) > len - lead + 1 ? lead - 1 : len;
}

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_fmt(char *buf, size_t cap, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, cap, fmt, ap);
	va_end(ap);
	return n >= 0 && (size_t)n < cap;
}
