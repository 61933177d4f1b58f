/* SPDX-License-Identifier: ISC */
/* Every port and every register window of the machine, at every width, as a hostile guest would
 * sweep them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "vmmd/arch/x86_64/layout.h"
#include "vmmd/bus.h"
#include "vmmd/legacy/acpi_pm.h"
#include "vmmd/legacy/cmos.h"
#include "vmmd/legacy/debug_port.h"
#include "vmmd/legacy/i8042.h"
#include "vmmd/legacy/ioapic.h"
#include "vmmd/legacy/serial.h"
#include "vmmd/pci/pci.h"

#define GED_AT UINT64_C(0x3FFFFFFED000)

static const unsigned widths[] = { 1, 2, 3, 4, 5, 6, 7, 8 };

static struct {
	struct bus pio, mmio;
	struct platform_sink sink;
	struct serial *serial;
	struct ioapic *ioapic;
	struct cmos cmos;
	struct debug_port debug;
	struct acpi_pm_timer timer;
	struct ged ged;
	struct pci_segment pci;
	unsigned resets, power_offs;
} m;

static void on_event(void *arg, enum platform_event ev)
{
	(void)arg;
	if (ev == PLATFORM_RESET)
		m.resets++;
	else
		m.power_offs++;
}

static void nothing(void *arg)
{
	(void)arg;
}

static void no_line(void *arg, const char *text)
{
	(void)arg;
	(void)text;
}

static void no_route(void *arg, unsigned pin, bool masked, uint64_t addr, uint32_t data)
{
	(void)arg;
	(void)pin;
	(void)masked;
	(void)addr;
	(void)data;
}

static void no_inject(void *arg, unsigned pin)
{
	(void)arg;
	(void)pin;
}

static void add(struct bus *b, uint64_t base, uint64_t len, const struct bus_ops *ops, void *dev)
{
	assert_int_equal(bus_add(b, base, len, ops, dev, "test"), 0);
}

static int setup(void **state)
{
	const struct serial_ops serial_ops = { .tx_wake = nothing };
	const struct ioapic_ops ioapic_ops = { .set_route = no_route, .inject = no_inject };

	(void)state;
	memset(&m, 0, sizeof(m));
	m.sink.event = on_event;
	m.serial = serial_new(&serial_ops);
	m.ioapic = ioapic_new(&ioapic_ops);
	if (m.serial == NULL || m.ioapic == NULL)
		return -1;
	cmos_init(&m.cmos, 512 * MIB, 0, &m.sink, NULL);
	debug_port_init(&m.debug, clock_mono_ns(), no_line, NULL);
	acpi_pm_timer_init(&m.timer, NULL);
	ged_init(&m.ged, nothing, NULL);
	pci_segment_init(&m.pci);
	bus_init(&m.pio);
	bus_init(&m.mmio);
	add(&m.pio, PORT_I8042, I8042_PORTS, &i8042_bus_ops, &m.sink);
	add(&m.pio, PORT_CMOS, CMOS_PORTS, &cmos_bus_ops, &m.cmos);
	add(&m.pio, PORT_DEBUG, 1, &debug_port_bus_ops, &m.debug);
	add(&m.pio, PORT_COM1, SERIAL_PORTS, &serial_bus_ops, m.serial);
	add(&m.pio, PORT_FW_DEBUG, 1, &fw_debug_bus_ops, NULL);
	add(&m.pio, PORT_ACPI_SLEEP, ACPI_SLEEP_PORTS, &acpi_sleep_bus_ops, &m.sink);
	add(&m.pio, PORT_ACPI_PM_TIMER, ACPI_PM_TIMER_PORTS, &acpi_pm_timer_bus_ops, &m.timer);
	add(&m.pio, PORT_PCI_MECH1, PCI_MECH1_PORTS, &pci_mech1_bus_ops, &m.pci);
	add(&m.mmio, LAYOUT_ECAM, PCI_ECAM_BYTES, &pci_ecam_bus_ops, &m.pci);
	add(&m.mmio, LAYOUT_IOAPIC, IOAPIC_MMIO_BYTES, &ioapic_bus_ops, m.ioapic);
	add(&m.mmio, GED_AT, GED_MMIO_BYTES, &ged_bus_ops, &m.ged);
	bus_seal(&m.pio);
	bus_seal(&m.mmio);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	serial_free(m.serial);
	ioapic_free(m.ioapic);
	cmos_fini(&m.cmos);
	pci_segment_fini(&m.pci);
	return 0;
}

/* Read, write, read; nothing is touched behind the access, and what nobody claims reads as all
 * ones. */
static void probe(const struct bus *b, uint64_t addr, unsigned len, uint8_t fill)
{
	uint8_t data[16];

	for (unsigned pass = 0; pass < 2; pass++) {
		memset(data, 0x77, sizeof(data));
		bool claimed = bus_read(b, addr, data, len);

		for (unsigned i = 0; i < sizeof(data); i++) {
			if (i >= len)
				assert_int_equal(data[i], 0x77);
			else if (!claimed)
				assert_int_equal(data[i], 0xFF);
		}
		memset(data, fill, sizeof(data));
		assert_int_equal(bus_write(b, addr, data, len), claimed);
	}
}

static void every_port_at_every_width_is_answered(void **state)
{
	(void)state;
	for (unsigned fill = 0; fill < 256; fill += 51) { /* 0 and 0xFF among them */
		for (uint64_t port = 0; port < 0x10000; port++) {
			for (unsigned i = 0; i < nitems(widths); i++)
				probe(&m.pio, port, widths[i], (uint8_t)fill);
		}
	}
	/* None of these bytes is one that asks for an end, and no wide write is. */
	assert_int_equal(m.resets + m.power_offs, 0);
}

static void every_register_window_and_its_surroundings_are_answered(void **state)
{
	static const struct {
		uint64_t base, len;
	} windows[] = {
		{ LAYOUT_ECAM, 0x3000 },
		{ LAYOUT_ECAM + PCI_ECAM_BYTES - 0x1000, 0x1000 },
		{ LAYOUT_IOAPIC, IOAPIC_MMIO_BYTES },
		{ GED_AT, GED_MMIO_BYTES },
		{ LAYOUT_MMIO32, 64 },
		{ LAYOUT_LAPIC, 64 },
		{ UINT64_MAX - 64, 32 },
	};

	(void)state;
	for (unsigned w = 0; w < nitems(windows); w++) {
		for (uint64_t off = 0; off < windows[w].len + 64; off++) {
			for (unsigned i = 0; i < nitems(widths); i++)
				probe(&m.mmio, windows[w].base - 32 + off, widths[i], (uint8_t)off);
		}
	}
}

static void only_documented_bytes_end_the_machine(void **state)
{
	unsigned want_resets = 0, want_offs = 0;

	(void)state;
	for (uint64_t port = 0; port < 0x10000; port++) {
		for (unsigned v = 0; v < 256; v++) {
			const uint8_t b = (uint8_t)v;

			(void)bus_write(&m.pio, port, &b, 1);
			bool sleep = port >= PORT_ACPI_SLEEP &&
				     port < PORT_ACPI_SLEEP + ACPI_SLEEP_PORTS;
			want_resets += (port == 0x64 && v == 0xFE) || (sleep && v == 1) ? 1 : 0;
			want_offs += sleep && v == 0x34 ? 1 : 0;
			assert_int_equal(m.resets, want_resets);
			assert_int_equal(m.power_offs, want_offs);
		}
	}
	assert_int_equal(want_resets, 1 + ACPI_SLEEP_PORTS);
	assert_int_equal(want_offs, ACPI_SLEEP_PORTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_port_at_every_width_is_answered, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			every_register_window_and_its_surroundings_are_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(only_documented_bytes_end_the_machine, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
