/* SPDX-License-Identifier: ISC */
/*
 * One wrapper per KVM ioctl, nothing else: who calls what when stands in vm_build.c (order of building) and vcpu.c (run
 * loop). All return 0 or a non-negative result, or a negative errno at once.
 */
#ifndef VMMD_KVM_H
#define VMMD_KVM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"

struct kvm_cpuid2;
struct kvm_fpu;
struct kvm_irq_routing;
struct kvm_lapic_state;
struct kvm_msi;
struct kvm_msrs;
struct kvm_regs;
struct kvm_sregs;

/* The system descriptor (/dev/kvm). */
int kvm_api_version(int kvm) __must_check;
int kvm_check_extension(int kvm, int cap) __must_check;
int kvm_vcpu_mmap_size(int kvm) __must_check;
int kvm_create_vm(int kvm) __must_check; /* a descriptor, close-on-exec; retries EINTR */
/* Fills at most @cpuid->nent entries and sets the count; -E2BIG when there are more. */
int kvm_supported_cpuid(int kvm, struct kvm_cpuid2 *cpuid) __must_check;

/* A VM. */
int kvm_set_identity_map(int vm, uint64_t gpa) __must_check;
int kvm_set_tss(int vm, uint32_t gpa) __must_check;
int kvm_set_memory(int vm, uint32_t slot, uint64_t gpa, uint64_t size, void *hva) __must_check;
int kvm_enable_split_irqchip(int vm, unsigned pins) __must_check;
int kvm_enable_x2apic_ids(int vm) __must_check;
int kvm_create_vcpu(int vm, uint32_t id) __must_check; /* a descriptor, close-on-exec */
int kvm_set_routes(int vm, const struct kvm_irq_routing *routes) __must_check;
/* 1 delivered, 0 blocked by the guest (no such destination, APIC off). */
int kvm_signal_msi(int vm, const struct kvm_msi *msi) __must_check;
/* Whether eventfd @fd raises @gsi. Assigning delivers what it has counted so far; -EBUSY when it raises one already. */
int kvm_irqfd(int vm, int fd, uint32_t gsi, bool assign) __must_check;
/* Whether a write of any width and value to exactly @gpa signals eventfd @fd instead of ending KVM_RUN. */
int kvm_ioeventfd(int vm, int fd, uint64_t gpa, bool assign) __must_check;

/* A vCPU. */
int kvm_set_cpuid(int vcpu, const struct kvm_cpuid2 *cpuid) __must_check;
int kvm_set_msrs(int vcpu, const struct kvm_msrs *msrs) __must_check; /* how many were accepted, from the first */
int kvm_set_regs(int vcpu, const struct kvm_regs *regs) __must_check;
int kvm_get_sregs(int vcpu, struct kvm_sregs *sregs) __must_check;
int kvm_set_sregs(int vcpu, const struct kvm_sregs *sregs) __must_check;
int kvm_set_fpu(int vcpu, const struct kvm_fpu *fpu) __must_check;
int kvm_get_lapic(int vcpu, struct kvm_lapic_state *lapic) __must_check;
int kvm_set_lapic(int vcpu, const struct kvm_lapic_state *lapic) __must_check;
int kvm_tsc_khz(int vcpu) __must_check;
/* The signal mask while the guest runs: everything blocked but @unblocked. */
int kvm_set_signal_mask(int vcpu, int unblocked) __must_check;
int kvm_run(int vcpu) __must_check;

#endif
