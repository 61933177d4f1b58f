/* SPDX-License-Identifier: ISC */
/* An input as a sequence of operations for register fuzzers. Numbers behind its end are 0. */
#ifndef TESTS_FUZZ_OPS_H
#define TESTS_FUZZ_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct ops {
	const uint8_t *p;
	size_t left;
};

static inline uint64_t ops_take(struct ops *o, unsigned bytes)
{
	uint64_t v = 0;

	if (bytes > o->left)
		bytes = (unsigned)o->left;
	memcpy(&v, o->p, bytes);
	o->p += bytes;
	o->left -= bytes;
	return v;
}

static inline void ops_promise(bool kept)
{
	if (!kept)
		abort();
}

#endif
