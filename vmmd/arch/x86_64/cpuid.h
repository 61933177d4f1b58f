/* SPDX-License-Identifier: ISC */
/*
 * CPUID as the guest sees it. Everything but cpuid_host_read() is pure: KVM's supported list and
 * the host's leaves in, a list for KVM_SET_CPUID2 out.
 */
#ifndef VMMD_ARCH_X86_64_CPUID_H
#define VMMD_ARCH_X86_64_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/kvm.h>

#include "common/cleanup.h"
#include "common/err.h"

enum { CPUID_ENTRIES_MAX = 256 };

/* Laid out as struct kvm_cpuid2, whose flexible array can't be embedded: pass it with
 * cpuid_kvm(). */
struct cpuid_list {
	uint32_t nent, padding;
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
};
static inline struct kvm_cpuid2 *cpuid_kvm(struct cpuid_list *l)
{
	return (struct kvm_cpuid2 *)(void *)l;
}

enum cpuid_vendor { CPUID_VENDOR_OTHER, CPUID_VENDOR_INTEL, CPUID_VENDOR_AMD };

struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};

/* What is taken from the host directly. */
struct cpuid_host {
	enum cpuid_vendor vendor;
	uint32_t max_ext;           /* highest extended leaf */
	struct cpuid_regs brand[3]; /* 0x80000002..4 */
	struct cpuid_regs cache[2]; /* 0x80000005..6 */
	bool invariant_tsc;
	unsigned phys_bits; /* 36 when the host doesn't say */
};
void cpuid_host_read(struct cpuid_host *h);

/* Units at each level per unit of the next; all at least 1. */
struct cpuid_topology {
	uint32_t threads, cores, dies, packages;
	bool flat; /* nothing was configured: an id is the index, also beyond the boot vCPUs */
};

struct cpuid_cfg {
	unsigned phys_bits;
	bool amx, nested;
	uint32_t tsc_khz; /* 0: KVM_GET_TSC_KHZ failed */
	struct cpuid_topology topo;
};

/* Without a configured topology: 1 thread, @boot_vcpus cores. */
struct cpuid_topology cpuid_topology_default(uint32_t boot_vcpus);
/* Id of the vCPU number @index, which is also its number for KVM_CREATE_VCPU. */
uint32_t cpuid_x2apic_id(const struct cpuid_topology *t, uint32_t index);

/* The list all vCPUs share, from KVM_GET_SUPPORTED_CPUID. -E2BIG when a leaf no longer fits. */
int cpuid_common(const struct cpuid_list *supported, const struct cpuid_host *host,
		 const struct cpuid_cfg *cfg, struct cpuid_list *out, struct err *e) __must_check;
/* The same for one vCPU. */
int cpuid_vcpu(const struct cpuid_list *common, const struct cpuid_host *host,
	       const struct cpuid_cfg *cfg, uint32_t index, struct cpuid_list *out,
	       struct err *e) __must_check;

#endif
