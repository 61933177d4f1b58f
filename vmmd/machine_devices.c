/* SPDX-License-Identifier: ISC */
/* Which devices a machine has, where they answer and which interrupts they raise. */
#include "vmmd/machine_internal.h"

#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "vmmd/arch/x86_64/layout.h"
#include "vmmd/legacy/i8042.h"
#include "vmmd/legacy/ioapic.h"
#include "vmmd/legacy/serial.h"

/* --- callbacks of devices, from vCPU threads unless they say otherwise --------------------------------------------- */

static void on_event(void *arg, enum platform_event ev)
{
	struct machine *m = arg;

	switch (ev) {
	case PLATFORM_RESET:
		vcpus_ask(m->vcpus, VCPU_REQ_RESET);
		break;
	case PLATFORM_POWER_OFF:
		vcpus_ask(m->vcpus, VCPU_REQ_POWER_OFF);
		break;
	}
}

static void on_route(void *arg, unsigned pin, bool masked, uint64_t addr, uint32_t data)
{
	struct devices *d = arg;
	int r = irqs_set_pin(&d->irqs, pin, masked, addr, data);

	if (r < 0)
		log_warn_rl("IOAPIC pin %u: KVM refuses its route: %s", pin, strerrordesc_np(-r));
}

static void on_inject(void *arg, unsigned pin)
{
	struct devices *d = arg;

	/* A message to nobody is the guest's business. */
	(void)irqs_inject_pin(&d->irqs, pin);
}

/* Also from the control thread, with input. */
static void on_serial_irq(void *arg)
{
	struct machine *m = arg;

	ioapic_pulse(m->dev.ioapic, IRQ_COM1);
}

static void on_serial_wake(void *arg)
{
	struct machine *m = arg;

	wake_signal(m->cfg.wake);
}

static void on_ged_irq(void *arg)
{
	struct devices *d = arg;

	ioapic_pulse(d->ioapic, IRQ_GED);
}

/* --- making -------------------------------------------------------------------------------------------------------- */

static int make_serial(struct machine *m)
{
	const struct serial_ops ops = {
		.raise_irq = on_serial_irq,
		.tx_wake = m->cfg.serial_stream ? on_serial_wake : NULL,
		.rx_room = m->cfg.serial_stream ? on_serial_wake : NULL,
		.arg = m,
	};

	if (!m->cfg.serial)
		return 0;
	m->dev.serial = serial_new(&ops);
	return m->dev.serial != NULL ? 0 : -ENOMEM;
}

static void ram_sizes(const struct memmap *map, uint64_t *below, uint64_t *above)
{
	*below = map->n_ram > 0 ? map->ram[0].size : 0;
	*above = map->n_ram > 1 ? map->ram[1].size : 0;
}

static int make_windows(struct machine *m)
{
	struct pci_windows *w = &m->dev.windows;
	const struct memmap *map = m->cfg.map;
	int r = pci_windows_init(w);

	if (r < 0)
		return r;
	m->dev.windows_made = true;
	pci_windows_set(&w->low, LAYOUT_MMIO32, LAYOUT_MMIO32_SIZE);
	pci_windows_set(&w->high, map->device64, map->device64_end - map->device64);
	return 0;
}

static int make_devices(struct machine *m)
{
	struct devices *d = &m->dev;
	const struct ioapic_ops ioapic_ops = { .set_route = on_route, .inject = on_inject, .arg = d };
	uint64_t below, above;
	int r = irqs_init(&d->irqs, m->vm, m->wide_ids);

	if (r < 0)
		return r;
	d->ioapic = ioapic_new(&ioapic_ops);
	if (d->ioapic == NULL)
		return -ENOMEM;
	r = make_serial(m);
	if (r < 0)
		return r;
	d->sink = (struct platform_sink){ .event = on_event, .arg = m };
	ram_sizes(m->cfg.map, &below, &above);
	cmos_init(&d->cmos, below, above, &d->sink, NULL);
	acpi_pm_timer_init(&d->pm_timer, NULL);
	ged_init(&d->ged, on_ged_irq, d);
	debug_port_init(&d->debug_port, clock_mono_ns(), NULL, NULL);
	pci_segment_init(&d->pci);
	d->made = true;
	return make_windows(m);
}

/* --- virtio -------------------------------------------------------------------------------------------------------- */

/* Slots that are asked for by number are nobody else's, whoever is made first. */
static int reserve_slots(struct machine *m, struct err *e)
{
	for (unsigned i = 0; i < m->cfg.n_devices; i++) {
		const struct virtio_dev_cfg *cfg = m->cfg.devices[i].cfg;
		int r = cfg->slot >= 0 ? pci_segment_reserve(&m->dev.pci, cfg->slot) : 0;

		if (r == -EBUSY)
			return err_set(e, r, "device \"%s\": PCI slot %d is taken", cfg->id, cfg->slot);
		if (r < 0)
			return err_set(e, r, "device \"%s\": there is no PCI slot %d", cfg->id, cfg->slot);
	}
	return 0;
}

static int make_virtio(struct machine *m, struct err *e)
{
	struct devices *d = &m->dev;
	const struct virtio_env env = {
		.vm = m->vm,
		.errands = &m->errands,
		.irqs = &d->irqs,
		.segment = &d->pci,
		.windows = &d->windows,
	};
	int r = reserve_slots(m, e);

	for (unsigned i = 0; r == 0 && i < m->cfg.n_devices; i++) {
		if (d->n_virtio == nitems(d->virtio))
			return err_set(e, -ENOSPC, "more than %zu devices", nitems(d->virtio));
		r = virtio_dev_new(&env, m->cfg.devices[i].cfg, &d->virtio[d->n_virtio], e);
		if (r < 0)
			break;
		d->out[d->n_virtio] = m->cfg.devices[i].out;
		*d->out[d->n_virtio] = d->virtio[d->n_virtio];
		d->n_virtio++;
	}
	return r;
}

void machine_stop_devices(struct machine *m)
{
	for (unsigned i = 0; i < m->dev.n_virtio; i++)
		virtio_dev_stop(m->dev.virtio[i]);
}

bool machine_devices_stopped(const struct machine *m)
{
	for (unsigned i = 0; i < m->dev.n_virtio; i++)
		if (!virtio_dev_is_idle(m->dev.virtio[i]))
			return false;
	return true;
}

struct virtio_dev *machine_device(const struct machine *m, unsigned i)
{
	return i < m->dev.n_virtio ? m->dev.virtio[i] : NULL;
}

/* --- places -------------------------------------------------------------------------------------------------------- */

struct placement {
	uint64_t base, len;
	const struct bus_ops *ops;
	void *dev; /* NULL: not in this machine */
	const char *name;
};

static int place(struct bus *bus, const struct placement *p, size_t n, struct err *e)
{
	bus_init(bus);
	for (size_t i = 0; i < n; i++) {
		if (p[i].dev == NULL)
			continue;
		int r = bus_add(bus, p[i].base, p[i].len, p[i].ops, p[i].dev, p[i].name);

		if (r < 0)
			return err_sys(e, r, "%s at 0x%llx", p[i].name, (unsigned long long)p[i].base);
	}
	bus_seal(bus);
	return 0;
}

int devices_init(struct machine *m, struct err *e)
{
	struct devices *d = &m->dev;
	int r = make_devices(m);

	if (r < 0)
		return err_sys(e, r, "cannot make the devices");

	const struct placement pio[] = {
		{ PORT_I8042, I8042_PORTS, &i8042_bus_ops, &d->sink, "i8042" },
		{ PORT_CMOS, CMOS_PORTS, &cmos_bus_ops, &d->cmos, "CMOS" },
		{ PORT_DEBUG, 1, &debug_port_bus_ops, &d->debug_port, "debug port" },
		{ PORT_COM1, SERIAL_PORTS, &serial_bus_ops, d->serial, "COM1" },
		{ PORT_FW_DEBUG, 1, &fw_debug_bus_ops, &d->debug_port, "firmware debug port" },
		{ PORT_ACPI_SLEEP, ACPI_SLEEP_PORTS, &acpi_sleep_bus_ops, &d->sink, "ACPI sleep register" },
		{ PORT_ACPI_PM_TIMER, ACPI_PM_TIMER_PORTS, &acpi_pm_timer_bus_ops, &d->pm_timer, "ACPI timer" },
		{ PORT_PCI_MECH1, PCI_MECH1_PORTS, &pci_mech1_bus_ops, &d->pci, "PCI configuration ports" },
	};
	const struct placement mmio[] = {
		{ d->windows.low.base, d->windows.low.size, &pci_window_bus_ops, &d->windows.low,
		  "PCI memory, 32-bit" },
		{ d->windows.high.base, d->windows.high.size, &pci_window_bus_ops, &d->windows.high,
		  "PCI memory, 64-bit" },
		{ LAYOUT_ECAM, PCI_ECAM_BYTES, &pci_ecam_bus_ops, &d->pci, "PCI ECAM" },
		{ LAYOUT_IOAPIC, IOAPIC_MMIO_BYTES, &ioapic_bus_ops, d->ioapic, "IOAPIC" },
		{ m->cfg.map->ged, GED_MMIO_BYTES, &ged_bus_ops, &d->ged, "GED" },
	};

	r = place(&d->pio, pio, nitems(pio), e);
	if (r == 0)
		r = place(&d->mmio, mmio, nitems(mmio), e);
	return r == 0 ? make_virtio(m, e) : r;
}

void devices_disconnect(struct machine *m)
{
	for (unsigned i = 0; i < m->dev.n_virtio; i++)
		virtio_dev_disconnect(m->dev.virtio[i]);
}

void devices_fini(struct machine *m)
{
	struct devices *d = &m->dev;

	for (unsigned i = 0; i < d->n_virtio; i++) {
		*d->out[i] = NULL;
		virtio_dev_free(d->virtio[i]);
	}
	if (d->windows_made)
		pci_windows_fini(&d->windows);
	if (d->made) {
		pci_segment_fini(&d->pci);
		cmos_fini(&d->cmos);
	}
	if (d->serial != NULL)
		serial_free(d->serial);
	if (d->ioapic != NULL)
		ioapic_free(d->ioapic);
	irqs_fini(&d->irqs);
	memset(d, 0, sizeof(*d));
}
