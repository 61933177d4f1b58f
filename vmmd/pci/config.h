/* SPDX-License-Identifier: ISC */
/*
 * Configuration space of one function: a type 0 header, capabilities, base address registers. Of the 4096 bytes
 * those behind the first 256 read as 0: nothing here has an extended capability.
 *
 * Base addresses. Writing all ones to a register is a size probe and moves nothing; any other value asks for a move,
 * with a 64-bit BAR once its upper half is written. A move is carried out while memory decoding (command bit 1) is
 * on, else when it is switched on: firmware and Linux switch it off, write both halves, switch it on. A move to where
 * it cannot be puts the old address back into the registers. Decoding itself isn't gated: a BAR answers at its
 * address whatever the command register says.
 */
#ifndef VMMD_PCI_CONFIG_H
#define VMMD_PCI_CONFIG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "vmmd/pci/window.h"

enum { PCI_CONFIG_DWORDS = 1024, PCI_CONFIG_KEPT = 64, PCI_CONFIG_BARS = 2 };

/* A BAR in memory, not prefetchable. */
struct pci_bar {
	unsigned reg;                        /* [const] number of its (lower) dword */
	bool is_64;                          /* [const] */
	bool probe_low, probe_high, pending; /* [mtx of the configuration space] */
	struct pci_region *region;           /* [const] borrowed */
};

struct pci_config {
	pthread_mutex_t mtx; /* guards reg and the BARs' state; taken before the windows' */
	uint32_t reg[PCI_CONFIG_KEPT];
	uint32_t writable[PCI_CONFIG_KEPT]; /* [const] after set-up: bits a guest may change */
	unsigned cap_end, last_cap;         /* [const] after set-up: byte offsets */
	unsigned n_bars;                    /* [const] after set-up */
	struct pci_bar bar[PCI_CONFIG_BARS];
};

struct pci_ids {
	uint16_t vendor, device, subsys_vendor, subsys;
	uint32_t class_code; /* class, subclass, interface: 24 bits */
	uint8_t revision;
};

/* A type 0 header: ids, command (writable), cache line size and interrupt line (writable), the rest
 * 0. */
void pci_config_init(struct pci_config *c, const struct pci_ids *ids);
void pci_config_fini(struct pci_config *c);

/* Set-up. Append a capability of @len bytes, whose first two (id and next) are filled in here; returns its offset, a
 * multiple of 4, or -ENOSPC. */
int pci_config_add_cap(struct pci_config *c, uint8_t id, const void *body, unsigned len) __must_check;
/* Bits of the dword at @off that a guest may change. */
void pci_config_set_writable(struct pci_config *c, unsigned off, uint32_t bits);
/* BAR @index (and with @is_64 the one behind it) is @region, which is placed already. -ENOSPC, -EINVAL. */
int pci_config_add_bar(struct pci_config *c, unsigned index, bool is_64, struct pci_region *region) __must_check;

/* @reg counts dwords and is below PCI_CONFIG_DWORDS. Any thread. */
uint32_t pci_config_read(struct pci_config *c, unsigned reg);
/* Bits set in @mask take @value as far as they are writable. True: a BAR has moved. Any thread. */
bool pci_config_write(struct pci_config *c, unsigned reg, uint32_t value, uint32_t mask);

#endif
