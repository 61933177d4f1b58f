/* SPDX-License-Identifier: ISC */
#include "vmmd/irq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/kvm.h>

#include "vmmd/kvm.h"

static _Thread_local int thread_vm = -1;

void irqs_enter_thread(int vm)
{
	thread_vm = vm;
}

static int vm_here(const struct irqs *irqs)
{
	return thread_vm >= 0 ? thread_vm : irqs->vm;
}

int irqs_init(struct irqs *irqs, int vm, bool wide_ids)
{
	memset(irqs, 0, sizeof(*irqs));
	irqs->vm = vm;
	irqs->wide_ids = wide_ids;
	irqs->table = calloc(1, sizeof(*irqs->table) + IOAPIC_PINS * sizeof(irqs->table->entries[0]));
	if (irqs->table == NULL)
		return -ENOMEM;
	int r = pthread_mutex_init(&irqs->lock, NULL);

	if (r != 0) {
		free(irqs->table);
		irqs->table = NULL;
	}
	return -r;
}

void irqs_fini(struct irqs *irqs)
{
	if (irqs->table == NULL)
		return;
	(void)pthread_mutex_destroy(&irqs->lock);
	free(irqs->table);
	irqs->table = NULL;
}

uint64_t irq_msi_addr_to_kvm(uint64_t addr)
{
	uint32_t lo = (uint32_t)addr;
	uint32_t hi = (uint32_t)(addr >> 32);

	/* Bit 4 marks the remappable format of an interrupt-remapping unit, which has no destination there. */
	if (hi != 0 || (lo & 0x10) != 0)
		return addr;
	hi = (lo & 0xfe0) << 3;
	lo &= ~UINT32_C(0xfe0);
	return (uint64_t)hi << 32 | lo;
}

/* KVM looks at the high half only with 32-bit destination ids on. */
static uint64_t kvm_addr(const struct irqs *irqs, uint32_t addr)
{
	return irqs->wide_ids ? irq_msi_addr_to_kvm(addr) : addr;
}

/* The complete table of unmasked pins, in order. [lock] */
static void fill_table(struct irqs *irqs)
{
	struct kvm_irq_routing *t = irqs->table;

	t->nr = 0;
	for (uint32_t pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t word = atomic_load(&irqs->pin[pin]);

		if (word == 0)
			continue;
		uint64_t addr = kvm_addr(irqs, (uint32_t)(word >> 32));

		t->entries[t->nr++] = (struct kvm_irq_routing_entry) {
			.gsi = pin,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {
				.address_lo = (uint32_t)addr,
				.address_hi = (uint32_t)(addr >> 32),
				.data = (uint32_t)word,
			},
		};
	}
}

int irqs_set_pin(struct irqs *irqs, unsigned pin, bool masked, uint64_t addr, uint32_t data)
{
	if (pin >= IOAPIC_PINS)
		return -EINVAL;
	uint64_t word = masked ? 0 : addr << 32 | data;

	if (atomic_exchange(&irqs->pin[pin], word) == word)
		return 0;
	(void)pthread_mutex_lock(&irqs->lock);
	fill_table(irqs);
	int r = kvm_set_routes(vm_here(irqs), irqs->table);

	(void)pthread_mutex_unlock(&irqs->lock);
	return r;
}

int irqs_inject_pin(struct irqs *irqs, unsigned pin)
{
	uint64_t word = pin < IOAPIC_PINS ? atomic_load(&irqs->pin[pin]) : 0;

	if (word == 0)
		return 0;
	uint64_t addr = kvm_addr(irqs, (uint32_t)(word >> 32));
	struct kvm_msi msi = {
		.address_lo = (uint32_t)addr,
		.address_hi = (uint32_t)(addr >> 32),
		.data = (uint32_t)word,
	};

	return kvm_signal_msi(vm_here(irqs), &msi);
}
