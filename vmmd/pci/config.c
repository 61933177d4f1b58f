/* SPDX-License-Identifier: ISC */
#include "vmmd/pci/config.h"

#include <errno.h>
#include <string.h>

#include <linux/pci_regs.h>

#include "common/log.h"

enum {
	REG_ID = PCI_VENDOR_ID / 4,
	REG_COMMAND = PCI_COMMAND / 4,
	REG_CLASS = PCI_CLASS_REVISION / 4,
	REG_CACHE_LINE = PCI_CACHE_LINE_SIZE / 4,
	REG_BAR_0 = PCI_BASE_ADDRESS_0 / 4,
	REG_SUBSYSTEM = PCI_SUBSYSTEM_VENDOR_ID / 4,
	REG_CAP_POINTER = PCI_CAPABILITY_LIST / 4,
	REG_INTERRUPT = PCI_INTERRUPT_LINE / 4,
	BARS_OF_HEADER = 6,
	FIRST_CAP = 0x40,
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
	c->cap_end = FIRST_CAP;
}

void pci_config_fini(struct pci_config *c)
{
	pthread_mutex_destroy(&c->mtx);
}

/* --- set-up --------------------------------------------------------------------------------------------------------- */

static void put_byte(struct pci_config *c, unsigned off, uint8_t v)
{
	unsigned shift = off % 4 * 8;

	c->reg[off / 4] = (c->reg[off / 4] & ~(UINT32_C(0xFF) << shift)) | (uint32_t)v << shift;
}

int pci_config_add_cap(struct pci_config *c, uint8_t id, const void *body, unsigned len)
{
	const unsigned off = c->cap_end;

	if (len > sizeof(c->reg) - off)
		return -ENOSPC;
	for (unsigned i = PCI_CAP_LIST_NEXT + 1; i < len; i++)
		put_byte(c, off + i, ((const uint8_t *)body)[i]);
	put_byte(c, off + PCI_CAP_LIST_ID, id);
	if (c->last_cap == 0) {
		c->reg[REG_CAP_POINTER] = off;
		c->reg[REG_COMMAND] |= (uint32_t)PCI_STATUS_CAP_LIST << 16;
	} else {
		put_byte(c, c->last_cap + PCI_CAP_LIST_NEXT, (uint8_t)off);
	}
	c->last_cap = off;
	c->cap_end = (off + len + 3) & ~3u;
	return (int)off;
}

void pci_config_set_writable(struct pci_config *c, unsigned off, uint32_t bits)
{
	c->writable[off / 4] |= bits;
}

/* What the registers of a BAR at @base hold. [mtx] */
static void put_base(struct pci_config *c, const struct pci_bar *b, uint64_t base)
{
	c->reg[b->reg] = (uint32_t)base | (b->is_64 ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0);
	if (b->is_64)
		c->reg[b->reg + 1] = (uint32_t)(base >> 32);
}

int pci_config_add_bar(struct pci_config *c, unsigned index, bool is_64, struct pci_region *region)
{
	if (c->n_bars == PCI_CONFIG_BARS)
		return -ENOSPC;
	if (index + is_64 >= BARS_OF_HEADER || region->size > UINT32_MAX)
		return -EINVAL;
	struct pci_bar *b = &c->bar[c->n_bars++];

	*b = (struct pci_bar){ .reg = REG_BAR_0 + index, .is_64 = is_64, .region = region };
	c->writable[b->reg] = ~((uint32_t)region->size - 1);
	if (is_64)
		c->writable[b->reg + 1] = UINT32_MAX;
	put_base(c, b, pci_region_base(region));
	return 0;
}

/* --- moves ---------------------------------------------------------------------------------------------------------- */

static uint64_t written_base(const struct pci_config *c, const struct pci_bar *b)
{
	uint64_t base = c->reg[b->reg] & c->writable[b->reg];

	return b->is_64 ? base | (uint64_t)c->reg[b->reg + 1] << 32 : base;
}

/* A whole register of the BAR was written. Only the last half of a 64-bit one asks for a move, so that it isn't torn; while
 * the other half holds a probe the move waits for that to be over. [mtx] */
static void note_write(struct pci_bar *b, unsigned reg, uint32_t value)
{
	bool probe = value == UINT32_MAX;

	if (reg == b->reg)
		b->probe_low = probe;
	else
		b->probe_high = probe;
	if (!probe && (reg != b->reg || !b->is_64))
		b->pending = true;
}

/* [mtx] */
static bool apply_move(struct pci_config *c, struct pci_bar *b)
{
	if (!b->pending || b->probe_low || b->probe_high)
		return false;
	b->pending = false;
	uint64_t old = pci_region_base(b->region), base = written_base(c, b);

	if (base == old)
		return false;
	int r = pci_region_move(b->region, base);

	if (r == 0)
		return true;
	log_debug_rl("a BAR stays at 0x%llx: 0x%llx: %s", (unsigned long long)old, (unsigned long long)base,
		     strerrordesc_np(-r));
	put_base(c, b, old);
	return false;
}

/* [mtx] */
static bool update_bars(struct pci_config *c, unsigned reg, uint32_t value, uint32_t mask)
{
	bool moved = false;

	for (unsigned i = 0; i < c->n_bars; i++) {
		struct pci_bar *b = &c->bar[i];

		if (mask == UINT32_MAX && (reg == b->reg || (b->is_64 && reg == b->reg + 1)))
			note_write(b, reg, value);
		if ((c->reg[REG_COMMAND] & PCI_COMMAND_MEMORY) != 0 && apply_move(c, b))
			moved = true;
	}
	return moved;
}

/* --- access --------------------------------------------------------------------------------------------------------- */

uint32_t pci_config_read(struct pci_config *c, unsigned reg)
{
	if (reg >= PCI_CONFIG_KEPT)
		return 0;
	pthread_mutex_lock(&c->mtx);
	uint32_t v = c->reg[reg];
	pthread_mutex_unlock(&c->mtx);
	return v;
}

bool pci_config_write(struct pci_config *c, unsigned reg, uint32_t value, uint32_t mask)
{
	if (reg >= PCI_CONFIG_KEPT)
		return false;
	uint32_t bits = mask & c->writable[reg];

	if (bits == 0)
		return false;
	pthread_mutex_lock(&c->mtx);
	c->reg[reg] = (c->reg[reg] & ~bits) | (value & bits);
	bool moved = update_bars(c, reg, value, mask);

	pthread_mutex_unlock(&c->mtx);
	return moved;
}
