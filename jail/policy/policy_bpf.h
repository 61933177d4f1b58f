/* SPDX-License-Identifier: ISC */
/* What policy_gen does to a filter after libseccomp. */
#ifndef JAIL_POLICY_POLICY_BPF_H
#define JAIL_POLICY_POLICY_BPF_H

#include <linux/filter.h>
#include <stddef.h>

/* Leave out tests of @p (@n instructions) that are always true. Returns the new length, 0 when a jump does not fit. */
size_t policy_bpf_drop_idle(struct sock_filter *p, size_t n);

#endif
