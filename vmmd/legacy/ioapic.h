/* SPDX-License-Identifier: ISC */
/*
 * User space I/O APIC (82093AA register file, version 0x11) for KVM's split irqchip: the local
 * APICs are in the kernel, and each unmasked pin is an MSI as far as KVM is concerned.
 */
#ifndef VMMD_LEGACY_IOAPIC_H
#define VMMD_LEGACY_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "vmmd/bus.h"

enum { IOAPIC_PINS = 24, IOAPIC_MMIO_BYTES = 0x20 };

/* Called without a lock held, any vCPU thread or the thread that pulses; never twice at once for
 * set_route. */
struct ioapic_ops {
	/* Pin @pin now delivers the MSI @addr/@data, or nothing when @masked. @addr is 0xFEExxxxx
	 * in the form a guest would program it: destination bits 7:0 in 19:12, bits 14:8 (extended
	 * destination) in 11:5. The last call for a pin always carries its last state. */
	void (*set_route)(void *arg, unsigned pin, bool masked, uint64_t addr, uint32_t data);
	/* Deliver what set_route said last for this (unmasked) pin. */
	void (*inject)(void *arg, unsigned pin);
	void *arg;
};

struct ioapic;

/* All pins masked; set_route isn't called for that. NULL when out of memory. @ops is copied. */
struct ioapic *ioapic_new(const struct ioapic_ops *ops);
void ioapic_free(struct ioapic *io);

extern const struct bus_ops ioapic_bus_ops; /* IOAPIC_MMIO_BYTES; dev is the struct ioapic */

/* A rising edge on a pin; a masked pin remembers one and delivers it when unmasked. Ignores pins
 * out of range. Any thread. */
void ioapic_pulse(struct ioapic *io, unsigned pin);

/* KVM_EXIT_IOAPIC_EOI: clears Remote IRR of each level-triggered pin with this vector. Any
 * thread. */
void ioapic_eoi(struct ioapic *io, uint8_t vector);

#endif
