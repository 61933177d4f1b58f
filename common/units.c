/* SPDX-License-Identifier: ISC */
#include "common/units.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "common/ovf.h"
#include "common/str.h"

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static uint64_t suffix_factor(char c)
{
	switch (c) {
	case 'K':
		return KIB;
	case 'M':
		return MIB;
	case 'G':
		return GIB;
	}
	return 0;
}

int size_parse(const char *s, uint64_t *out)
{
	char digits[32];
	uint64_t factor = 1, v;

	while (is_blank(*s))
		s++;
	size_t len = strlen(s);
	while (len > 0 && is_blank(s[len - 1]))
		len--;
	/* several suffix letters are tolerated, the last one decides */
	if (len > 0 && suffix_factor(s[len - 1]) != 0)
		factor = suffix_factor(s[len - 1]);
	while (len > 0 && suffix_factor(s[len - 1]) != 0)
		len--;
	if (len > 0 && *s == '+') {
		s++;
		len--;
	}
	while (len > 1 && *s == '0') {
		s++;
		len--;
	}
	if (len >= sizeof(digits))
		return strspn(s, "0123456789") >= len ? -ERANGE : -EINVAL;
	memcpy(digits, s, len);
	digits[len] = '\0';
	int r = str_to_u64(digits, 0, UINT64_MAX, &v);
	if (r < 0)
		return r;
	return ovf_mul_u64(v, factor, out) < 0 ? -ERANGE : 0;
}
