/* SPDX-License-Identifier: ISC */
/*
 * Both ways to configuration space: read-only bits stay, absent functions stay absent, the two ways
 * agree, and a function only ever sees whole bytes of a register that exists.
 */
#include "tests/fuzz/ops.h"
#include "vmmd/bus.h"
#include "vmmd/pci/pci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ECAM = 0x10000, MECH1 = 0xCF8 };

static uint32_t probe_read(void *dev, unsigned reg, uint32_t mask)
{
	ops_promise(reg < PCI_CONFIG_DWORDS && mask != 0);
	return ((uint32_t *)dev)[reg];
}

static void probe_write(void *dev, unsigned reg, uint32_t value, uint32_t mask)
{
	uint32_t *regs = dev;

	ops_promise(reg < PCI_CONFIG_DWORDS && (value & ~mask) == 0 && mask != 0);
	for (unsigned i = 0; i < 4; i++)
		ops_promise((mask >> (8 * i) & 0xFF) == 0 || (mask >> (8 * i) & 0xFF) == 0xFF);
	regs[reg] = (regs[reg] & ~mask) | value;
}

static const struct pci_function_ops probe_ops = { .read = probe_read, .write = probe_write };

static void access_bus(const struct bus *b, uint64_t addr, unsigned len, bool write, uint64_t v)
{
	uint8_t data[16];

	memset(data, 0xA5, sizeof(data));
	memcpy(data, &v, sizeof(v));
	if (write)
		(void)bus_write(b, addr, data, len);
	else
		(void)bus_read(b, addr, data, len);
	for (unsigned i = len > 8 ? len : 8; i < sizeof(data); i++)
		ops_promise(data[i] == 0xA5);
}

static uint32_t config_by_mech1(const struct bus *pio, unsigned dev, unsigned reg)
{
	uint32_t address = 0x80000000 | dev << 11 | reg << 2, v = 0;

	(void)bus_write(pio, MECH1, &address, 4);
	(void)bus_read(pio, MECH1 + 4, &v, 4);
	return v;
}

static uint32_t config_by_ecam(const struct bus *mmio, unsigned dev, unsigned reg)
{
	uint32_t v = 0;

	(void)bus_read(mmio, ECAM + (dev << 15 | reg << 2), &v, 4);
	return v;
}

static void check(const struct bus *pio, const struct bus *mmio)
{
	for (unsigned dev = 0; dev < 5; dev++) {
		for (unsigned reg = 0; reg < 64; reg++) {
			uint32_t v = config_by_mech1(pio, dev, reg);

			ops_promise(v == config_by_ecam(mmio, dev, reg));
			ops_promise(dev == 0 || dev == 3 || v == UINT32_MAX);
		}
	}
	ops_promise(config_by_ecam(mmio, 0, 0) == 0x0D578086);
	ops_promise(config_by_ecam(mmio, 0, 2) == 0x06000000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint32_t regs[PCI_CONFIG_DWORDS];
	static struct pci_segment seg;
	static struct bus pio, mmio;
	struct ops o = { data, size };

	memset(regs, 0, sizeof(regs));
	pci_segment_init(&seg);
	ops_promise(pci_segment_add(&seg, 3, &probe_ops, regs) == 3);
	bus_init(&pio);
	bus_init(&mmio);
	ops_promise(bus_add(&pio, MECH1, PCI_MECH1_PORTS, &pci_mech1_bus_ops, &seg, "pci") == 0);
	ops_promise(bus_add(&mmio, ECAM, PCI_ECAM_BYTES, &pci_ecam_bus_ops, &seg, "ecam") == 0);
	bus_seal(&pio);
	bus_seal(&mmio);
	while (o.left > 0) {
		uint8_t op = (uint8_t)ops_take(&o, 1);
		unsigned len = 1 + (op & 15);

		if ((op & 0x40) != 0)
			access_bus(&pio, MECH1 - 4 + ops_take(&o, 1) % 16, len, (op & 0x80) != 0,
				   ops_take(&o, 4));
		else
			access_bus(&mmio, ECAM - 16 + ops_take(&o, 3) % (PCI_ECAM_BYTES + 32), len,
				   (op & 0x80) != 0, ops_take(&o, 4));
	}
	check(&pio, &mmio);
	pci_segment_fini(&seg);
	return 0;
}
