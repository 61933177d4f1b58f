/* SPDX-License-Identifier: ISC */
/*
 * The slots and the two ways to their configuration space. Both decode functions 1 to 7 as absent,
 * for reads and writes: no device here has more than function 0.
 */
#include "vmmd/pci/pci.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static const struct pci_ids host_bridge_ids = {
	.vendor = 0x8086,
	.device = 0x0D57,
	.class_code = 0x060000,
};

static uint32_t host_bridge_read(void *dev, unsigned reg, uint32_t mask)
{
	(void)mask;
	return pci_config_read(dev, reg);
}

static void host_bridge_write(void *dev, unsigned reg, uint32_t value, uint32_t mask)
{
	(void)pci_config_write(dev, reg, value, mask);
}

static const struct pci_function_ops host_bridge_ops = { .read = host_bridge_read,
							 .write = host_bridge_write };

void pci_segment_init(struct pci_segment *s)
{
	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->mtx, NULL);
	pci_config_init(&s->host_bridge, &host_bridge_ids);
	s->slot[0] = (struct pci_slot){ .ops = &host_bridge_ops, .dev = &s->host_bridge };
}

void pci_segment_fini(struct pci_segment *s)
{
	pci_config_fini(&s->host_bridge);
	pthread_mutex_destroy(&s->mtx);
}

int pci_segment_reserve(struct pci_segment *s, int slot)
{
	if (slot < 0 || slot >= PCI_SLOTS)
		return -EINVAL;
	if (s->slot[slot].ops != NULL || s->slot[slot].reserved)
		return -EBUSY;
	s->slot[slot].reserved = true;
	return 0;
}

int pci_segment_add(struct pci_segment *s, int slot, const struct pci_function_ops *ops, void *dev)
{
	if (ops == NULL || slot >= PCI_SLOTS)
		return -EINVAL;
	if (slot < 0) {
		slot = 0;
		while (slot < PCI_SLOTS && (s->slot[slot].ops != NULL || s->slot[slot].reserved))
			slot++;
		if (slot == PCI_SLOTS)
			return -ENOSPC;
	}
	if (s->slot[slot].ops != NULL)
		return -EBUSY;
	s->slot[slot] = (struct pci_slot){ .ops = ops, .dev = dev };
	return slot;
}

/* A byte-wise access within one register. */
struct lanes {
	unsigned shift; /* bits */
	uint32_t mask;
};

/* False when the access doesn't lie inside one aligned dword. */
static bool lanes_of(uint64_t off, unsigned len, struct lanes *l)
{
	unsigned in = (unsigned)(off & 3);

	if (len == 0 || len > 4 - in)
		return false;
	l->shift = in * 8;
	l->mask = (len == 4 ? UINT32_MAX : (UINT32_C(1) << (len * 8)) - 1) << l->shift;
	return true;
}

static void lanes_get(const struct lanes *l, uint32_t reg, void *data, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		((uint8_t *)data)[i] = (uint8_t)(reg >> (l->shift + 8 * i));
}

static uint32_t lanes_put(const struct lanes *l, const void *data, unsigned len)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < len; i++)
		v |= (uint32_t)((const uint8_t *)data)[i] << (l->shift + 8 * i);
	return v;
}

static void all_ones(void *data, unsigned len)
{
	memset(data, 0xFF, len);
}

/* Function 0 of a slot, or NULL when nobody is there. */
static const struct pci_slot *function_at(const struct pci_segment *s, unsigned slot,
					  unsigned function)
{
	if (slot >= PCI_SLOTS || function != 0 || s->slot[slot].ops == NULL)
		return NULL;
	return &s->slot[slot];
}

/* PCIe 6.0 7.2.2: the window's address is bus 27:20, device 19:15, function 14:12, byte 11:0. */
static const struct pci_slot *ecam_function(const struct pci_segment *s, uint64_t off)
{
	return function_at(s, (unsigned)(off >> 15), (unsigned)(off >> 12 & 7));
}

static unsigned ecam_register(uint64_t off)
{
	return (unsigned)(off >> 2 & (PCI_CONFIG_DWORDS - 1));
}

static void ecam_read(void *dev, uint64_t off, void *data, unsigned len)
{
	const struct pci_slot *f = ecam_function(dev, off);
	struct lanes l;

	if (f == NULL || !lanes_of(off, len, &l))
		all_ones(data, len);
	else
		lanes_get(&l, f->ops->read(f->dev, ecam_register(off), l.mask), data, len);
}

static void ecam_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	const struct pci_slot *f = ecam_function(dev, off);
	struct lanes l;

	if (f != NULL && lanes_of(off, len, &l))
		f->ops->write(f->dev, ecam_register(off), lanes_put(&l, data, len), l.mask);
}

const struct bus_ops pci_ecam_bus_ops = { .read = ecam_read, .write = ecam_write };

/* Mechanism 1 (PCI 3.0 3.2.2.3.2): the address at 0xCF8, the dword it names at 0xCFC. */
enum { MECH1_DATA = 4 };
#define MECH1_ENABLE UINT32_C(0x80000000)

static uint32_t mech1_address(struct pci_segment *s)
{
	pthread_mutex_lock(&s->mtx);
	uint32_t v = s->address;
	pthread_mutex_unlock(&s->mtx);
	return v;
}

static const struct pci_slot *mech1_function(const struct pci_segment *s, uint32_t address)
{
	if ((address & MECH1_ENABLE) == 0 || (address >> 16 & 0xFF) != 0)
		return NULL;
	return function_at(s, address >> 11 & 31, address >> 8 & 7);
}

static void mech1_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct pci_segment *s = dev;
	uint32_t address = mech1_address(s);
	const struct pci_slot *f;
	struct lanes l;

	if (!lanes_of(off, len, &l)) {
		all_ones(data, len);
	} else if (off < MECH1_DATA) {
		lanes_get(&l, address, data, len);
	} else {
		f = mech1_function(s, address);
		lanes_get(&l, f != NULL ? f->ops->read(f->dev, address >> 2 & 63, l.mask) : UINT32_MAX, data, len);
	}
}

static void mech1_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct pci_segment *s = dev;
	const struct pci_slot *f;
	struct lanes l;

	if (!lanes_of(off, len, &l))
		return;
	uint32_t v = lanes_put(&l, data, len);
	if (off < MECH1_DATA) {
		pthread_mutex_lock(&s->mtx);
		s->address = (s->address & ~l.mask) | v;
		pthread_mutex_unlock(&s->mtx);
		return;
	}
	uint32_t address = mech1_address(s);
	f = mech1_function(s, address);
	if (f != NULL)
		f->ops->write(f->dev, address >> 2 & 63, v, l.mask);
}

const struct bus_ops pci_mech1_bus_ops = { .read = mech1_read, .write = mech1_write };
