/* SPDX-License-Identifier: ISC */
#include "vmmd/arch/x86_64/regs.h"

#include <stddef.h>
#include <string.h>

#include "vmmd/arch/x86_64/layout.h"

_Static_assert(offsetof(struct regs_msrs, entries) == offsetof(struct kvm_msrs, entries),
	       "KVM_SET_MSRS");

/* Model-specific registers, by the names of the Intel SDM and the AMD APM. */
enum {
	IA32_TIME_STAMP_COUNTER = 0x10,
	IA32_SYSENTER_CS = 0x174,
	IA32_SYSENTER_ESP = 0x175,
	IA32_SYSENTER_EIP = 0x176,
	IA32_MISC_ENABLE = 0x1A0,
	IA32_MTRR_DEF_TYPE = 0x2FF,
};
#define IA32_STAR           UINT32_C(0xC0000081)
#define IA32_LSTAR          UINT32_C(0xC0000082)
#define IA32_CSTAR          UINT32_C(0xC0000083)
#define IA32_FMASK          UINT32_C(0xC0000084)
#define IA32_KERNEL_GS_BASE UINT32_C(0xC0000102)

enum {
	MISC_ENABLE_FAST_STRING = 1,
	/* Enabled, default type write-back. Without it memory is uncached to the guest. */
	MTRR_ENABLED_WRITE_BACK = 0x806,
	RFLAGS_FIXED = 2,
	CR0_PE = 1,
	APIC_BASE_X2APIC = 1 << 10,
	SELECTOR_CODE = 0x08,
	SELECTOR_DATA = 0x10,
	SELECTOR_TSS = 0x18,
	FPU_CONTROL_RESET = 0x37F,
	MXCSR_RESET = 0x1F80,
	LAPIC_LVT_LINT0 = 0x350,
	LAPIC_LVT_LINT1 = 0x360,
	LAPIC_DELIVERY_SHIFT = 8,
	LAPIC_DELIVERY_MASK = 7 << LAPIC_DELIVERY_SHIFT,
	LAPIC_DELIVERY_NMI = 4 << LAPIC_DELIVERY_SHIFT,
	LAPIC_DELIVERY_EXTINT = 7 << LAPIC_DELIVERY_SHIFT,
	TSS_LIMIT = 0x67,
};

static const uint64_t gdt[] = {
	UINT64_C(0),
	UINT64_C(0x00CF9B000000FFFF), /* 4 GiB code, 32 bits */
	UINT64_C(0x00CF93000000FFFF), /* 4 GiB data */
	UINT64_C(0x00008B0000000067), /* busy TSS at 0 */
};
static const uint64_t idt[1]; /* nothing is served: an exception is a triple fault */

void regs_general(struct kvm_regs *r, enum boot_protocol proto, uint64_t entry)
{
	memset(r, 0, sizeof(*r));
	r->rip = entry;
	r->rflags = RFLAGS_FIXED;
	switch (proto) {
	case BOOT_PVH:
		r->rbx = LAYOUT_PVH_START_INFO;
		break;
	case BOOT_BZIMAGE:
		r->rsi = LAYOUT_ZERO_PAGE;
		r->rsp = LAYOUT_BOOT_STACK;
		break;
	}
}

/* KVM wants the limit in bytes, after the granularity bit: not the 20 bits of the descriptor. */
static const struct kvm_segment code_segment = {
	.base = 0,
	.limit = UINT32_MAX,
	.selector = SELECTOR_CODE,
	.type = 0xB,
	.present = 1,
	.db = 1,
	.s = 1,
	.g = 1,
};
static const struct kvm_segment data_segment = {
	.base = 0,
	.limit = UINT32_MAX,
	.selector = SELECTOR_DATA,
	.type = 0x3,
	.present = 1,
	.db = 1,
	.s = 1,
	.g = 1,
};
static const struct kvm_segment task_segment = {
	.base = 0,
	.limit = TSS_LIMIT,
	.selector = SELECTOR_TSS,
	.type = 0xB,
	.present = 1,
};

void regs_special(struct kvm_sregs *s, bool x2apic)
{
	s->cr0 = CR0_PE;
	s->cr4 = 0;
	s->cs = code_segment;
	s->ds = s->es = s->fs = s->gs = s->ss = data_segment;
	s->tr = task_segment;
	s->gdt.base = LAYOUT_GDT;
	s->gdt.limit = sizeof(gdt) - 1;
	s->idt.base = LAYOUT_IDT;
	s->idt.limit = sizeof(idt) - 1;
	if (x2apic)
		s->apic_base |= APIC_BASE_X2APIC;
}

void regs_fpu(struct kvm_fpu *f)
{
	memset(f, 0, sizeof(*f));
	f->fcw = FPU_CONTROL_RESET;
	f->mxcsr = MXCSR_RESET;
}

void regs_msrs(struct regs_msrs *m)
{
	static const struct {
		uint32_t index;
		uint64_t data;
	} list[] = {
		{ IA32_SYSENTER_CS, 0 },
		{ IA32_SYSENTER_ESP, 0 },
		{ IA32_SYSENTER_EIP, 0 },
		{ IA32_STAR, 0 },
		{ IA32_LSTAR, 0 },
		{ IA32_CSTAR, 0 },
		{ IA32_FMASK, 0 },
		{ IA32_KERNEL_GS_BASE, 0 },
		{ IA32_TIME_STAMP_COUNTER, 0 },
		{ IA32_MISC_ENABLE, MISC_ENABLE_FAST_STRING },
		{ IA32_MTRR_DEF_TYPE, MTRR_ENABLED_WRITE_BACK },
	};
	_Static_assert(nitems(list) == REGS_MSRS, "regs.h");

	memset(m, 0, sizeof(*m));
	m->nmsrs = REGS_MSRS;
	for (unsigned i = 0; i < REGS_MSRS; i++) {
		m->entries[i].index = list[i].index;
		m->entries[i].data = list[i].data;
	}
}

static void set_delivery(struct kvm_lapic_state *l, unsigned reg, uint32_t mode)
{
	uint32_t v;

	memcpy(&v, &l->regs[reg], sizeof(v));
	v = (v & ~(uint32_t)LAPIC_DELIVERY_MASK) | mode;
	memcpy(&l->regs[reg], &v, sizeof(v));
}

void regs_lapic(struct kvm_lapic_state *l)
{
	set_delivery(l, LAPIC_LVT_LINT0, LAPIC_DELIVERY_EXTINT);
	set_delivery(l, LAPIC_LVT_LINT1, LAPIC_DELIVERY_NMI);
}

int regs_write_tables(const struct gmem *gm)
{
	int r = gmem_write(gm, LAYOUT_GDT, gdt, sizeof(gdt));

	return r < 0 ? r : gmem_write(gm, LAYOUT_IDT, idt, sizeof(idt));
}
