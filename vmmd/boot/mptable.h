/* SPDX-License-Identifier: ISC */
/* MP table (MultiProcessor Specification 1.4) for guests without ACPI. Pure. */
#ifndef VMMD_BOOT_MPTABLE_H
#define VMMD_BOOT_MPTABLE_H

#include <stdint.h>

#include "common/buf.h"
#include "vmmd/arch/x86_64/cpuid.h"

/* Appends floating pointer and table as they lie at @gpa. wbuf's error. APIC ids above 253 can't be
 * told here: the caller leaves the table out then. */
int mptable_build(uint64_t gpa, const struct cpuid_topology *topo, uint32_t boot_vcpus,
		  struct wbuf *out) __must_check;

#endif
