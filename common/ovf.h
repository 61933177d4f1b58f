/* SPDX-License-Identifier: ISC */
/* Checked arithmetic for every number that comes from outside. All return 0 or -EOVERFLOW / -ERANGE. */
#ifndef COMMON_OVF_H
#define COMMON_OVF_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

#define OVF_OP(name, type, op) \
	__must_check static inline int ovf_##name(type a, type b, type *out) \
	{ \
		return __builtin_##op##_overflow(a, b, out) ? -EOVERFLOW : 0; \
	}
OVF_OP(add_u64, uint64_t, add)
OVF_OP(sub_u64, uint64_t, sub)
OVF_OP(mul_u64, uint64_t, mul)
OVF_OP(add_u32, uint32_t, add)
OVF_OP(mul_u32, uint32_t, mul)
OVF_OP(add_size, size_t, add)
OVF_OP(mul_size, size_t, mul)
#undef OVF_OP

/* Round @v up to a multiple of @align (a power of two). */
__must_check static inline int ovf_align_up_u64(uint64_t v, uint64_t align, uint64_t *out)
{
	if (__builtin_add_overflow(v, align - 1, out))
		return -EOVERFLOW;
	*out &= ~(align - 1);
	return 0;
}

/* Narrowing is a call, not a cast. */
#define OVF_NARROW(to) \
	__must_check static inline int to##_from_u64(uint64_t n, to##_t *out) \
	{ \
		if (n > (to##_t)-1) \
			return -ERANGE; \
		*out = (to##_t)n; \
		return 0; \
	}
typedef uint8_t u8_t;
typedef uint16_t u16_t;
typedef uint32_t u32_t;
OVF_NARROW(u8)
OVF_NARROW(u16)
OVF_NARROW(u32)
#undef OVF_NARROW

static inline bool is_pow2_u64(uint64_t v)
{
	return v != 0 && (v & (v - 1)) == 0;
}

#endif
