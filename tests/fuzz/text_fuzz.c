/* SPDX-License-Identifier: ISC */
/* Numbers, sizes and UTF-8 from outside, against what they promise of each other. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/str.h"
#include "common/units.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_number(const char *text)
{
	uint64_t v, as_size;
	char back[32];

	if (str_to_u64(text, 0, UINT64_MAX, &v) < 0)
		return;
	if (size_parse(text, &as_size) < 0 || as_size != v)
		abort();
	(void)snprintf(back, sizeof(back), "%llu", (unsigned long long)v);
	if (strcmp(back, text + strspn(text, "0")) != 0 && v != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	uint64_t v;

	if (text == NULL)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	check_number(text);
	if (size_parse(text, &v) == 0 && strpbrk(text, "0123456789") == NULL)
		abort();
	size_t cut = str_utf8_cut(text, size / 2);
	if (cut > size / 2 || (str_is_utf8(text, size) && !str_is_utf8(text, cut)))
		abort();
	free(text);
	return 0;
}
