/* SPDX-License-Identifier: ISC */
/* What policy_gen does to a filter after libseccomp. */
#ifndef JAIL_POLICY_POLICY_BPF_H
#define JAIL_POLICY_POLICY_BPF_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Leave out tests of @p (@n instructions) that are always true. Returns the new length, 0 when a jump does not fit. */
size_t policy_bpf_drop_idle(struct sock_filter *p, size_t n);

/* libseccomp compares 64 bits or masked ones for equality, never the lower half for order; but the kernel looks at the lower
 * half of a descriptor only. So "from @first on" goes through it as a comparison with this mark, which becomes one for
 * order at the end. */
enum { POLICY_BPF_RANGE = 0x7ffe0000, POLICY_BPF_RANGE_MASK = 0xffff };

static inline uint64_t policy_bpf_range(uint64_t first)
{
	return POLICY_BPF_RANGE | (first & POLICY_BPF_RANGE_MASK);
}

static inline bool policy_bpf_is_range(uint64_t value)
{
	return (value & ~(uint64_t)POLICY_BPF_RANGE_MASK) == POLICY_BPF_RANGE;
}

void policy_bpf_open_ranges(struct sock_filter *p, size_t n);

#endif
