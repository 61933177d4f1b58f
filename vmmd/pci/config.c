/* SPDX-License-Identifier: ISC */
#include "vmmd/pci/config.h"

#include <string.h>

#include <linux/pci_regs.h>

enum {
	REG_ID = PCI_VENDOR_ID / 4,
	REG_COMMAND = PCI_COMMAND / 4,
	REG_CLASS = PCI_CLASS_REVISION / 4,
	REG_CACHE_LINE = PCI_CACHE_LINE_SIZE / 4,
	REG_SUBSYSTEM = PCI_SUBSYSTEM_VENDOR_ID / 4,
	REG_INTERRUPT = PCI_INTERRUPT_LINE / 4,
};

void pci_config_init(struct pci_config *c, const struct pci_ids *ids)
{
	memset(c, 0, sizeof(*c));
	pthread_mutex_init(&c->mtx, NULL);
	c->reg[REG_ID] = (uint32_t)ids->device << 16 | ids->vendor;
	c->reg[REG_CLASS] = ids->class_code << 8 | ids->revision;
	c->reg[REG_SUBSYSTEM] = (uint32_t)ids->subsys << 16 | ids->subsys_vendor;
	c->writable[REG_COMMAND] = 0x0000FFFF; /* status, above it, is read-only */
	c->writable[REG_CACHE_LINE] = 0x000000FF;
	c->writable[REG_INTERRUPT] = 0x000000FF;
}

void pci_config_fini(struct pci_config *c)
{
	pthread_mutex_destroy(&c->mtx);
}

uint32_t pci_config_read(struct pci_config *c, unsigned reg)
{
	pthread_mutex_lock(&c->mtx);
	uint32_t v = c->reg[reg];
	pthread_mutex_unlock(&c->mtx);
	return v;
}

void pci_config_write(struct pci_config *c, unsigned reg, uint32_t value, uint32_t mask)
{
	mask &= c->writable[reg];
	if (mask == 0)
		return;
	pthread_mutex_lock(&c->mtx);
	c->reg[reg] = (c->reg[reg] & ~mask) | (value & mask);
	pthread_mutex_unlock(&c->mtx);
}
