/* SPDX-License-Identifier: ISC */
/* The ACPI tables of one VM. Pure. */
#ifndef VMMD_ACPI_TABLES_H
#define VMMD_ACPI_TABLES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "vmmd/arch/x86_64/cpuid.h"

enum { ACPI_VCPUS_MAX = 4096 }; /* processor objects are named C000..CFFF */

struct acpi_cfg {
	struct cpuid_topology topo;
	uint32_t boot_vcpus, max_vcpus;
	bool serial; /* COM1 exists */
	uint64_t mmio32, mmio32_size;
	uint64_t mmio64, mmio64_size;
	uint64_t ged; /* address of the GED status register */
};

/* Appends RSDP, DSDT, FADT, MADT, MCFG, XSDT without gaps, as they lie at @gpa. -EINVAL: vCPU
 * counts; wbuf's error. */
int acpi_build(uint64_t gpa, const struct acpi_cfg *cfg, struct wbuf *out,
	       struct err *e) __must_check;

/* The DSDT alone. */
int acpi_build_dsdt(const struct acpi_cfg *cfg, struct wbuf *out) __must_check;

#endif
