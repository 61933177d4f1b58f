/* SPDX-License-Identifier: ISC */
/*
 * Interrupts on their way to KVM: the IOAPIC's pins as messages, and the table of routes.
 *
 * The IOAPIC is ours (split irqchip). Its unmasked pins stand in the route table as messages at GSI = pin, because KVM
 * scans the reserved GSIs for level-triggered vectors to know which end-of-interrupt writes to report to us; a route
 * elsewhere would never give one. Interrupts of MSI-X vectors will get GSIs from GSI_MSI_FIRST up: the two never meet.
 * Delivery itself needs no route: a pin's message is injected as such (KVM_SIGNAL_MSI), from any thread.
 */
#ifndef VMMD_IRQ_H
#define VMMD_IRQ_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "vmmd/legacy/ioapic.h"

struct kvm_irq_routing;

struct irqs {
	int vm;        /* [const] the VM in the control thread's table, borrowed */
	bool wide_ids; /* [const] X2APIC_API is on: destinations may have more than 8 bits */
	/* Address (low half) << 32 | data of each pin; 0 while masked. One word, so that an interrupt never waits for
	 * another thread's change of routes. */
	_Atomic uint64_t pin[IOAPIC_PINS];
	pthread_mutex_t lock; /* guards table; held across KVM_SET_GSI_ROUTING, or an older table could be the last */
	struct kvm_irq_routing *table; /* room for IOAPIC_PINS entries */
};

int irqs_init(struct irqs *irqs, int vm, bool wide_ids) __must_check;
void irqs_fini(struct irqs *irqs); /* accepts a zeroed one */

/* In a vCPU thread, whose own descriptor table knows the VM by the number @vm. */
void irqs_enter_thread(int vm);

/* The pin now delivers this message, or none when @masked. Any thread. */
int irqs_set_pin(struct irqs *irqs, unsigned pin, bool masked, uint64_t addr, uint32_t data);
/* Deliver it once. Any thread. 1 delivered, 0 masked or nobody there, or a negative errno. */
int irqs_inject_pin(struct irqs *irqs, unsigned pin);

/* A guest that was offered MSI_EXT_DEST_ID writes destination bits 14:8 in bits 11:5 of the low half; KVM wants them in
 * bits 14:8 of the high half. */
uint64_t irq_msi_addr_to_kvm(uint64_t addr);

#endif
