/* SPDX-License-Identifier: ISC */
/*
 * Interrupts on their way to KVM: the IOAPIC's pins and the MSI-X vectors as messages, and the table of routes.
 *
 * The IOAPIC is ours (split irqchip). Its unmasked pins stand in the route table as messages at GSI = pin, because KVM
 * scans the reserved GSIs for level-triggered vectors to know which end-of-interrupt writes to report to us; a route
 * elsewhere would never give one. Interrupts of MSI-X vectors get GSIs from GSI_MSI_FIRST up: the two never meet.
 * Delivery itself needs no route: a pin's message is injected as such (KVM_SIGNAL_MSI), from any thread. Routes of vectors
 * are for the eventfds of back ends (irqfds), which reach the guest without a process of ours.
 *
 * What a guest writes into one message must not spoil the table for the others: an address that KVM would refuse, or
 * that isn't the local APICs', has no route.
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

/* The message of one GSI from GSI_MSI_FIRST. */
struct irq_msi {
	uint64_t addr; /* as KVM wants it */
	uint32_t data;
	bool live; /* stands in the table */
};

struct irqs {
	int vm;        /* [const] the VM in the control thread's table, borrowed */
	bool wide_ids; /* [const] X2APIC_API is on: destinations may have more than 8 bits */
	/* Address (low half) << 32 | data of each pin; 0 while masked. One word, so that an interrupt never waits for
	 * another thread's change of routes. */
	_Atomic uint64_t pin[IOAPIC_PINS];
	/* Guards the rest; held across KVM_SET_GSI_ROUTING, or an older table could be the last. */
	pthread_mutex_t lock;
	unsigned n_msi, cap_msi;
	struct irq_msi *msi;
	bool changed;                  /* some msi, since the table was last set */
	struct kvm_irq_routing *table; /* room for IOAPIC_PINS + cap_msi entries */
};

int irqs_init(struct irqs *irqs, int vm, bool wide_ids) __must_check;
void irqs_fini(struct irqs *irqs); /* accepts a zeroed one */

/* In a vCPU thread, whose own descriptor table knows the VM by the number @vm. */
void irqs_enter_thread(int vm);

/* The pin now delivers this message, or none when @masked. Any thread. */
int irqs_set_pin(struct irqs *irqs, unsigned pin, bool masked, uint64_t addr, uint32_t data);
/* Deliver it once. Any thread. 1 delivered, 0 masked or nobody there, or a negative errno. */
int irqs_inject_pin(struct irqs *irqs, unsigned pin);

/* Can a message to @addr reach a local APIC? */
bool irqs_can_deliver(const struct irqs *irqs, uint64_t addr);
/* Deliver a message once. Any thread. As irqs_inject_pin(). */
int irqs_inject_msi(const struct irqs *irqs, uint64_t addr, uint32_t data);

/* The rest is for the control thread. In this order (the kernel has panicked over others): unbind what is masked, set
 * messages, commit, bind. */
/* A GSI of its own for a vector, without a message; kept for the VM's life. -ENOSPC, -ENOMEM. */
int irqs_alloc_msi(struct irqs *irqs) __must_check;
/* The message of @gsi, or none. An @addr that cannot be delivered counts as none. */
void irqs_set_msi(struct irqs *irqs, int gsi, bool live, uint64_t addr, uint32_t data);
/* Hand changed messages to KVM. */
int irqs_commit(struct irqs *irqs) __must_check;
/* From now on @fd, an eventfd, raises @gsi; also what it has counted so far. It stays the caller's. */
int irqs_bind(struct irqs *irqs, int gsi, int fd) __must_check;
int irqs_unbind(struct irqs *irqs, int gsi, int fd);

/* A guest that was offered MSI_EXT_DEST_ID writes destination bits 14:8 in bits 11:5 of the low half; KVM wants them in
 * bits 14:8 of the high half. */
uint64_t irq_msi_addr_to_kvm(uint64_t addr);

#endif
