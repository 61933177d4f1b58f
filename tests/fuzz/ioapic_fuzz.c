/* SPDX-License-Identifier: ISC */
/*
 * The I/O APIC under any sequence of accesses, pulses and EOIs: routes say what the entries say,
 * messages go to the APIC window only, nothing is delivered through a masked pin, and read-only
 * bits hold.
 */
#include "tests/fuzz/ops.h"
#include "vmmd/legacy/ioapic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	bool unmasked;
	uint64_t addr;
	uint32_t data;
} route[IOAPIC_PINS];

static void set_route(void *arg, unsigned pin, bool masked, uint64_t addr, uint32_t data)
{
	(void)arg;
	ops_promise(pin < IOAPIC_PINS && (addr & ~UINT64_C(0xFFFFF)) == 0xFEE00000 &&
		    (data & ~0xC7FFu) == 0);
	route[pin].unmasked = !masked;
	route[pin].addr = addr;
	route[pin].data = data;
}

static void inject(void *arg, unsigned pin)
{
	(void)arg;
	ops_promise(pin < IOAPIC_PINS && route[pin].unmasked);
}

static uint32_t read_reg(struct ioapic *io, uint32_t reg)
{
	uint32_t v = 0;

	ioapic_bus_ops.write(io, 0, &reg, sizeof(reg));
	ioapic_bus_ops.read(io, 0x10, &v, sizeof(v));
	return v;
}

static void check(struct ioapic *io)
{
	ops_promise(read_reg(io, 1) == 0x00170011);
	ops_promise((read_reg(io, 0) & ~0x0F000000u) == 0);
	for (uint32_t pin = 0; pin < IOAPIC_PINS; pin++) {
		uint32_t low = read_reg(io, 0x10 + 2 * pin), high = read_reg(io, 0x11 + 2 * pin);

		ops_promise((low & 0x1000) == 0 && ((low & 0x4000) == 0 || (low & 0x8000) != 0));
		ops_promise(route[pin].unmasked == ((low & 0x10000) == 0));
		if (!route[pin].unmasked)
			continue;
		ops_promise((route[pin].data & 0x7FF) == (low & 0x7FF));
		ops_promise((route[pin].addr >> 12 & 0xFF) == high >> 24);
	}
}

static void step(struct ioapic *io, struct ops *o)
{
	uint8_t op = (uint8_t)ops_take(o, 1), data[8] = { 0 };
	uint32_t reg, v;
	uint64_t off;

	switch (op >> 6) {
	case 0: /* the usual pair of accesses */
		reg = (uint32_t)ops_take(o, 1);
		v = (uint32_t)ops_take(o, 4);
		ioapic_bus_ops.write(io, 0, &reg, sizeof(reg));
		ioapic_bus_ops.write(io, 0x10, &v, sizeof(v));
		break;
	case 1:
		ioapic_pulse(io, op & 0x3F);
		break;
	case 2:
		ioapic_eoi(io, (uint8_t)ops_take(o, 1));
		break;
	case 3:
		off = ops_take(o, 1) % (IOAPIC_MMIO_BYTES - 8);
		memcpy(data, &(uint64_t){ ops_take(o, 8) }, sizeof(data));
		if ((op & 8) != 0)
			ioapic_bus_ops.write(io, off, data, 1 + (op & 7));
		else
			ioapic_bus_ops.read(io, off, data, 1 + (op & 7));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct ioapic_ops ops = { .set_route = set_route, .inject = inject };
	struct ops o = { data, size };
	struct ioapic *io = ioapic_new(&ops);

	if (io == NULL)
		return 0;
	memset(route, 0, sizeof(route));
	while (o.left > 0)
		step(io, &o);
	check(io);
	ioapic_free(io);
	return 0;
}
