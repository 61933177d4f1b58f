/* SPDX-License-Identifier: ISC */
#include "vmmd/irq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/kvm.h>

#include "vmmd/arch/x86_64/layout.h"
#include "vmmd/kvm.h"

enum { MSI_GROW = 64, MSI_MAX = GSI_MSI_END - GSI_MSI_FIRST };

static _Thread_local int thread_vm = -1;

void irqs_enter_thread(int vm)
{
	thread_vm = vm;
}

static int vm_here(const struct irqs *irqs)
{
	return thread_vm >= 0 ? thread_vm : irqs->vm;
}

static size_t table_bytes(unsigned cap_msi)
{
	return sizeof(struct kvm_irq_routing) + (IOAPIC_PINS + cap_msi) * sizeof(struct kvm_irq_routing_entry);
}

int irqs_init(struct irqs *irqs, int vm, bool wide_ids)
{
	memset(irqs, 0, sizeof(*irqs));
	irqs->vm = vm;
	irqs->wide_ids = wide_ids;
	irqs->table = calloc(1, table_bytes(0));
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
	free(irqs->msi);
	irqs->msi = NULL;
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
static uint64_t kvm_addr(const struct irqs *irqs, uint64_t addr)
{
	return irqs->wide_ids ? irq_msi_addr_to_kvm(addr) : addr;
}

static void add_route(struct kvm_irq_routing *t, uint32_t gsi, uint64_t addr, uint32_t data)
{
	t->entries[t->nr++] = (struct kvm_irq_routing_entry) {
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = {
			.address_lo = (uint32_t)addr,
			.address_hi = (uint32_t)(addr >> 32),
			.data = data,
		},
	};
}

/* The complete table of unmasked pins and live vectors, in order. [lock] */
static void fill_table(struct irqs *irqs)
{
	struct kvm_irq_routing *t = irqs->table;

	t->nr = 0;
	for (uint32_t pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t word = atomic_load(&irqs->pin[pin]);

		if (word != 0)
			add_route(t, pin, kvm_addr(irqs, word >> 32), (uint32_t)word);
	}
	for (uint32_t i = 0; i < irqs->n_msi; i++)
		if (irqs->msi[i].live)
			add_route(t, GSI_MSI_FIRST + i, irqs->msi[i].addr, irqs->msi[i].data);
	irqs->changed = false;
}

/* [lock] */
static int set_table(struct irqs *irqs)
{
	fill_table(irqs);
	return kvm_set_routes(vm_here(irqs), irqs->table);
}

int irqs_set_pin(struct irqs *irqs, unsigned pin, bool masked, uint64_t addr, uint32_t data)
{
	if (pin >= IOAPIC_PINS)
		return -EINVAL;
	uint64_t word = masked ? 0 : addr << 32 | data;

	if (atomic_exchange(&irqs->pin[pin], word) == word)
		return 0;
	(void)pthread_mutex_lock(&irqs->lock);
	int r = set_table(irqs);

	(void)pthread_mutex_unlock(&irqs->lock);
	return r;
}

static int signal_msi(const struct irqs *irqs, uint64_t addr, uint32_t data)
{
	struct kvm_msi msi = {
		.address_lo = (uint32_t)addr,
		.address_hi = (uint32_t)(addr >> 32),
		.data = data,
	};

	return kvm_signal_msi(vm_here(irqs), &msi);
}

int irqs_inject_pin(struct irqs *irqs, unsigned pin)
{
	uint64_t word = pin < IOAPIC_PINS ? atomic_load(&irqs->pin[pin]) : 0;

	if (word == 0)
		return 0;
	return signal_msi(irqs, kvm_addr(irqs, word >> 32), (uint32_t)word);
}

/* --- vectors -------------------------------------------------------------------------------------------------------- */

/* With 32-bit destination ids KVM refuses bits 7:0 of the high half, and with one such entry the whole table. */
bool irqs_can_deliver(const struct irqs *irqs, uint64_t addr)
{
	return (addr & 0xfff00000) == LAYOUT_LAPIC && (!irqs->wide_ids || (addr >> 32 & 0xff) == 0);
}

int irqs_inject_msi(const struct irqs *irqs, uint64_t addr, uint32_t data)
{
	return irqs_can_deliver(irqs, addr) ? signal_msi(irqs, kvm_addr(irqs, addr), data) : 0;
}

/* [lock] */
static int grow(struct irqs *irqs)
{
	unsigned cap = irqs->cap_msi + MSI_GROW < MSI_MAX ? irqs->cap_msi + MSI_GROW : MSI_MAX;

	if (irqs->n_msi == MSI_MAX)
		return -ENOSPC;
	struct irq_msi *msi = realloc(irqs->msi, cap * sizeof(*msi));

	if (msi == NULL)
		return -ENOMEM;
	irqs->msi = msi;
	struct kvm_irq_routing *table = realloc(irqs->table, table_bytes(cap));

	if (table == NULL)
		return -ENOMEM;
	irqs->table = table;
	irqs->cap_msi = cap;
	return 0;
}

int irqs_alloc_msi(struct irqs *irqs)
{
	(void)pthread_mutex_lock(&irqs->lock);
	int r = irqs->n_msi == irqs->cap_msi ? grow(irqs) : 0;

	if (r == 0) {
		irqs->msi[irqs->n_msi] = (struct irq_msi){ 0 };
		r = GSI_MSI_FIRST + (int)irqs->n_msi++;
	}
	(void)pthread_mutex_unlock(&irqs->lock);
	return r;
}

void irqs_set_msi(struct irqs *irqs, int gsi, bool live, uint64_t addr, uint32_t data)
{
	struct irq_msi want = { 0 };

	if (live && irqs_can_deliver(irqs, addr))
		want = (struct irq_msi){ .addr = kvm_addr(irqs, addr), .data = data, .live = true };
	(void)pthread_mutex_lock(&irqs->lock);
	struct irq_msi *msi = &irqs->msi[gsi - GSI_MSI_FIRST];

	if (msi->live != want.live || msi->addr != want.addr || msi->data != want.data) {
		*msi = want;
		irqs->changed = true;
	}
	(void)pthread_mutex_unlock(&irqs->lock);
}

int irqs_commit(struct irqs *irqs)
{
	(void)pthread_mutex_lock(&irqs->lock);
	int r = irqs->changed ? set_table(irqs) : 0;

	(void)pthread_mutex_unlock(&irqs->lock);
	return r;
}

int irqs_bind(struct irqs *irqs, int gsi, int fd)
{
	return kvm_irqfd(irqs->vm, fd, (uint32_t)gsi, true);
}

int irqs_unbind(struct irqs *irqs, int gsi, int fd)
{
	return kvm_irqfd(irqs->vm, fd, (uint32_t)gsi, false);
}
