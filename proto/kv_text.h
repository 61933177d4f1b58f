/* SPDX-License-Identifier: ISC */
/* Texts of the key=value grammar: splitting and single values, without descriptors. */
#ifndef PROTO_KV_TEXT_H
#define PROTO_KV_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

/* Cut blanks at both ends of @s in place. */
char *kv_trim(char *s);

/* Next piece of *@rest up to @sep outside of quotes and brackets; terminated in place. NULL when there is none;
 * *@rest is NULL after the last. Start with *@rest = text. */
char *kv_next(char **rest, char sep);

/* Quotes closed, brackets paired. */
bool kv_is_balanced(const char *s);

/* Remove quotes in place: a quote toggles, two of them within a quoted run are one literal quote. */
void kv_dequote(char *s);

/* Without brackets at either end, in place. */
char *kv_strip_brackets(char *s);

/* Decimal digits with an optional plus sign. 0, -EINVAL, -ERANGE. */
int kv_int(const char *s, uint64_t min, uint64_t max, uint64_t *out) __must_check;
/* 0x and hexadecimal digits. */
int kv_hex(const char *s, uint64_t max, uint64_t *out) __must_check;
/* on, off, true, false in any case. */
int kv_toggle(const char *s, bool *out) __must_check;

/* "a", "a-b" (a < b) lists in brackets or without: numbers at most @max, at most @max_n of them. *@out is owned by
 * the caller. 0, -EINVAL, -ERANGE, -E2BIG, -ENOMEM. */
int kv_ints(char *s, uint64_t max, size_t max_n, uint64_t **out, size_t *n) __must_check;

#endif
