/* SPDX-License-Identifier: ISC */
/* Sizes as people write them on the command line: decimal u64 with optional K, M, G. */
#ifndef COMMON_UNITS_H
#define COMMON_UNITS_H

#include <stdint.h>

#include "common/cleanup.h"

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * KIB)
#define GIB (UINT64_C(1024) * MIB)

/* 0, -EINVAL, or -ERANGE when the value does not fit 64 bits. Surrounding blanks are trimmed. */
int size_parse(const char *s, uint64_t *out) __must_check;

#endif
