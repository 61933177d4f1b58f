/* SPDX-License-Identifier: ISC */
/* The tables a PC's firmware would leave in memory, besides what the boot protocol has: one call
 * writes all. */
#ifndef VMMD_BOOT_FIRMWARE_H
#define VMMD_BOOT_FIRMWARE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/gmem.h"
#include "vmmd/arch/x86_64/cpuid.h"
#include "vmmd/arch/x86_64/memmap.h"

struct firmware_cfg {
	const struct memmap *map;
	struct cpuid_topology topo;
	uint32_t boot_vcpus, max_vcpus;
	bool serial; /* COM1 exists */
};

/* GDT and IDT, EBDA pointer, ACPI, SMBIOS, MP table. -ENOSPC: too many vCPUs for the room; -EFAULT:
 * no RAM. */
int firmware_write(const struct gmem *gm, const struct firmware_cfg *cfg,
		   struct err *e) __must_check;

#endif
