/* SPDX-License-Identifier: ISC */
#include "common/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/utf8.h"

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

bool str_is_utf8(const char *p, size_t len)
{
	uint32_t cp;

	for (size_t i = 0; i < len;) {
		size_t n = utf8_next((const uint8_t *)p + i, len - i, &cp);

		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

size_t str_utf8_cut(const char *p, size_t len)
{
	size_t lead = len;

	/* step back over at most three continuation bytes to the lead byte of the last sequence */
	while (lead > 0 && len - lead < 3 && ((uint8_t)p[lead - 1] & 0xc0) == 0x80)
		lead--;
	if (lead == 0)
		return len;
	uint8_t first = (uint8_t)p[lead - 1];
	size_t wants = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
	return wants > len - lead + 1 ? lead - 1 : len;
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
