/* SPDX-License-Identifier: ISC */
/* Configuration space of one function: 4096 bytes of which the writable bits are known. */
#ifndef VMMD_PCI_CONFIG_H
#define VMMD_PCI_CONFIG_H

#include <pthread.h>
#include <stdint.h>

enum { PCI_CONFIG_DWORDS = 1024 };

struct pci_config {
	pthread_mutex_t mtx; /* guards reg */
	uint32_t reg[PCI_CONFIG_DWORDS];
	uint32_t writable[PCI_CONFIG_DWORDS]; /* [const] after set-up: bits a guest may change */
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

/* @reg counts dwords and is below PCI_CONFIG_DWORDS. Any thread. */
uint32_t pci_config_read(struct pci_config *c, unsigned reg);
/* Bits set in @mask take @value as far as they are writable. Any thread. */
void pci_config_write(struct pci_config *c, unsigned reg, uint32_t value, uint32_t mask);

#endif
