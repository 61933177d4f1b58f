/* SPDX-License-Identifier: ISC */
/*
 * Registers of hardware-reduced ACPI: the sleep/reset byte, the power-management timer and the
 * status byte of the generic event device.
 */
#ifndef VMMD_LEGACY_ACPI_PM_H
#define VMMD_LEGACY_ACPI_PM_H

#include <stdatomic.h>
#include <stdint.h>

#include "vmmd/bus.h"
#include "vmmd/legacy/event.h"

enum { ACPI_SLEEP_PORTS = 4, ACPI_PM_TIMER_PORTS = 4, GED_MMIO_BYTES = 1 };

/* dev is a struct platform_sink, borrowed. */
extern const struct bus_ops acpi_sleep_bus_ops;

struct acpi_pm_timer {
	uint64_t start_ns;        /* [const] */
	uint64_t (*now_ns)(void); /* [const] */
};
/* @now_ns NULL: CLOCK_MONOTONIC. The counter starts at 0 now. */
void acpi_pm_timer_init(struct acpi_pm_timer *t, uint64_t (*now_ns)(void));
extern const struct bus_ops acpi_pm_timer_bus_ops; /* dev is the struct acpi_pm_timer */

enum ged_bit { GED_CPU = 1 << 0, GED_MEMORY = 1 << 1, GED_PCI = 1 << 2, GED_POWER_BUTTON = 1 << 3 };

struct ged {
	_Atomic uint8_t status;
	void (*raise_irq)(void *arg); /* [const] edge on the GED's line */
	void *arg;                    /* [const] */
};
void ged_init(struct ged *g, void (*raise_irq)(void *arg), void *arg);
/* Set @bit and raise the line. Any thread. */
void ged_notify(struct ged *g, enum ged_bit bit);
extern const struct bus_ops ged_bus_ops; /* dev is the struct ged */

#endif
