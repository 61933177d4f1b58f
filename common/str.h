/* SPDX-License-Identifier: ISC */
/* Text to number and small text checks. Pure. */
#ifndef COMMON_STR_H
#define COMMON_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

/* Decimal digits only (no sign, no blank, no leading '+'), in [min, max]. 0, -EINVAL (not a number), -ERANGE. */
int str_to_u64(const char *s, uint64_t min, uint64_t max, uint64_t *out) __must_check;

/* Valid UTF-8 (no surrogates, no overlong forms, at most U+10FFFF). */
bool str_is_utf8(const char *p, size_t len);

/* The largest length up to @len that does not end inside a UTF-8 sequence: where to cut text that must stay valid. */
size_t str_utf8_cut(const char *p, size_t len);

/* snprintf into @buf, always terminated; true if all of it fitted. */
bool str_fmt(char *buf, size_t cap, const char *fmt, ...) __printf(3, 4);

#endif
