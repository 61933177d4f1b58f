/* SPDX-License-Identifier: ISC */
/* Little-endian numbers at any address. */
#ifndef COMMON_LE_H
#define COMMON_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define LE_OPS(bits) \
	static inline void le##bits##_put(uint8_t *p, uint##bits##_t v) \
	{ \
		v = htole##bits(v); \
		memcpy(p, &v, sizeof(v)); \
	} \
	static inline uint##bits##_t le##bits##_get(const uint8_t *p) \
	{ \
		uint##bits##_t v; \
\
		memcpy(&v, p, sizeof(v)); \
		return le##bits##toh(v); \
	}
LE_OPS(16)
LE_OPS(32)
LE_OPS(64)
#undef LE_OPS

#endif
