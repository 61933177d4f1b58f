/* SPDX-License-Identifier: ISC */
/*
 * What a boot vCPU's registers hold at its first instruction: 32-bit protected mode without paging,
 * flat segments. Every boot vCPU gets the same; application processors wait for INIT/SIPI because
 * KVM made them so. Pure.
 */
#ifndef VMMD_ARCH_X86_64_REGS_H
#define VMMD_ARCH_X86_64_REGS_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/kvm.h>

#include "common/cleanup.h"
#include "common/gmem.h"

enum boot_protocol { BOOT_PVH, BOOT_BZIMAGE };

enum { REGS_MSRS = 11 };

/* Laid out as struct kvm_msrs with its entries. KVM_SET_MSRS must take all of them. */
struct regs_msrs {
	uint32_t nmsrs, pad;
	struct kvm_msr_entry entries[REGS_MSRS];
};

void regs_general(struct kvm_regs *r, enum boot_protocol proto, uint64_t entry);
/* Edits what KVM_GET_SREGS returned. @x2apic: the highest APIC id is above LAYOUT_XAPIC_ID_MAX. */
void regs_special(struct kvm_sregs *s, bool x2apic);
void regs_fpu(struct kvm_fpu *f);
void regs_msrs(struct regs_msrs *m);
/* Edits what KVM_GET_LAPIC returned: LINT0 takes ExtINT, LINT1 NMI. */
void regs_lapic(struct kvm_lapic_state *l);

/* Write the GDT and IDT that regs_special() points at. -EFAULT: no RAM there. */
int regs_write_tables(const struct gmem *gm) __must_check;

#endif
