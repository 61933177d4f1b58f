/* SPDX-License-Identifier: ISC */
/*
 * A PCI segment: bus 0 with 32 slots, function 0 only, reached by ECAM and (segment 0) by
 * configuration mechanism 1.
 */
#ifndef VMMD_PCI_PCI_H
#define VMMD_PCI_PCI_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "vmmd/bus.h"
#include "vmmd/pci/config.h"

enum { PCI_SLOTS = 32, PCI_ECAM_BYTES = 0x100000, PCI_MECH1_PORTS = 8 };

/* Register accesses are whole dwords with a mask of the bits (whole bytes, adjacent, at least one) that take part; @reg is
 * the dword's number, below PCI_CONFIG_DWORDS. Any vCPU thread, several at once, no lock held. */
struct pci_function_ops {
	uint32_t (*read)(void *dev, unsigned reg, uint32_t mask);
	void (*write)(void *dev, unsigned reg, uint32_t value, uint32_t mask);
};

struct pci_slot {
	const struct pci_function_ops *ops; /* NULL: nobody there */
	void *dev;                          /* borrowed */
	bool reserved;                      /* for who asks for it by number */
};

struct pci_segment {
	struct pci_slot slot[PCI_SLOTS]; /* [const] while vCPUs run */
	struct pci_config host_bridge;   /* slot 0 of segment 0 */
	pthread_mutex_t mtx;             /* guards address */
	uint32_t address;                /* mechanism 1's address register */
};

/* A segment with the host bridge in slot 0. */
void pci_segment_init(struct pci_segment *s);
void pci_segment_fini(struct pci_segment *s);
/* Nobody gets @slot who doesn't ask for it. -EBUSY when taken or reserved, -EINVAL. While no vCPU runs. */
int pci_segment_reserve(struct pci_segment *s, int slot) __must_check;
/* Put a function into @slot, or into the lowest free one that isn't reserved when @slot is negative. Returns the slot,
 * -EBUSY when taken, -ENOSPC when all are, -EINVAL. While no vCPU runs. */
int pci_segment_add(struct pci_segment *s, int slot, const struct pci_function_ops *ops,
		    void *dev) __must_check;

/* dev is the struct pci_segment. */
extern const struct bus_ops pci_ecam_bus_ops;  /* PCI_ECAM_BYTES of memory */
extern const struct bus_ops pci_mech1_bus_ops; /* PCI_MECH1_PORTS from 0xCF8 */

#endif
