/* SPDX-License-Identifier: ISC */
/* Where RAM and the 64-bit windows of one VM lie. Pure. */
#ifndef VMMD_ARCH_X86_64_MEMMAP_H
#define VMMD_ARCH_X86_64_MEMMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"

enum { MEMMAP_RAM_MAX = 2, MEMMAP_E820_MAX = MEMMAP_RAM_MAX + 2 };

struct memmap_ram {
	uint64_t gpa, size, file_off; /* bytes */
};

struct memmap {
	uint64_t ram_size;
	unsigned n_ram; /* [0, 3 GiB) and, if there is more, from 4 GiB */
	struct memmap_ram ram[MEMMAP_RAM_MAX];
	unsigned phys_bits;
	uint64_t device64, device64_end;   /* 64-bit PCI aperture, end exclusive */
	uint64_t platform, platform_end;   /* ACPI control devices */
	uint64_t pci_hotplug, cpu_hotplug; /* kept for controllers that aren't served yet */
	uint64_t ged;                      /* GED status register */
};

/* E820 types, also those of a PVH memory map. */
enum { MEMMAP_E820_RAM = 1, MEMMAP_E820_RESERVED = 2 };
struct memmap_e820 {
	uint64_t addr, size;
	uint32_t type;
};

/* Guest physical address bits: the smaller of what the host has and what the configuration
 * allows. */
unsigned memmap_phys_bits(unsigned host_bits, unsigned max_bits);

/* Lay out @ram_size bytes of boot RAM in @phys_bits of address space. -EINVAL with the reason: 1
 * MiB or less, not a multiple of 4096, or more than the address space takes together with the
 * windows above it. */
int memmap_init(struct memmap *m, uint64_t ram_size, unsigned phys_bits,
		struct err *e) __must_check;

/* True when all of [@gpa, @gpa + @len) is boot RAM in one run. */
bool memmap_is_ram(const struct memmap *m, uint64_t gpa, uint64_t len);

/* The memory map handed to the guest, in order; returns the number of entries. */
unsigned memmap_e820(const struct memmap *m, struct memmap_e820 out[MEMMAP_E820_MAX]);

#endif
