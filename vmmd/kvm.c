/* SPDX-License-Identifier: ISC */
/*
 * KVM's ioctls, one function each. The commands that a role may send are declared here, beside the call.
 */
#include "vmmd/kvm.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/kvm.h>

/* KVM_IRQ_LINE and friends are for lines; all our interrupts are messages. The kernel's signal mask for
 * KVM_SET_SIGNAL_MASK is 64 bits wide, glibc's sigset_t is longer. */
enum { KERNEL_SIGSET_BYTES = 8 };

static int result(int r)
{
	return r < 0 ? -errno : r;
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_GET_API_VERSION)
 */
int kvm_api_version(int kvm)
{
	return result(ioctl(kvm, KVM_GET_API_VERSION, 0));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_CHECK_EXTENSION)
 */
int kvm_check_extension(int kvm, int cap)
{
	return result(ioctl(kvm, KVM_CHECK_EXTENSION, cap));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_GET_VCPU_MMAP_SIZE)
 */
int kvm_vcpu_mmap_size(int kvm)
{
	return result(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_CREATE_VM)
 */
int kvm_create_vm(int kvm)
{
	int r;

	do
		r = result(ioctl(kvm, KVM_CREATE_VM, 0));
	while (r == -EINTR);
	return r;
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_GET_SUPPORTED_CPUID)
 */
int kvm_supported_cpuid(int kvm, struct kvm_cpuid2 *cpuid)
{
	return result(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_SET_IDENTITY_MAP_ADDR)
 */
int kvm_set_identity_map(int vm, uint64_t gpa)
{
	return result(ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &gpa));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_SET_TSS_ADDR)
 */
int kvm_set_tss(int vm, uint32_t gpa)
{
	return result(ioctl(vm, KVM_SET_TSS_ADDR, (unsigned long)gpa));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_SET_USER_MEMORY_REGION)
 */
int kvm_set_memory(int vm, uint32_t slot, uint64_t gpa, uint64_t size, void *hva)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)hva,
	};

	return result(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_ENABLE_CAP)
 */
static int enable_cap(int vm, uint32_t cap, uint64_t arg)
{
	struct kvm_enable_cap c = { .cap = cap, .args = { arg } };

	return result(ioctl(vm, KVM_ENABLE_CAP, &c));
}

int kvm_enable_split_irqchip(int vm, unsigned pins)
{
	return enable_cap(vm, KVM_CAP_SPLIT_IRQCHIP, pins);
}

int kvm_enable_x2apic_ids(int vm)
{
	return enable_cap(vm, KVM_CAP_X2APIC_API,
			  KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_CREATE_VCPU)
 */
int kvm_create_vcpu(int vm, uint32_t id)
{
	return result(ioctl(vm, KVM_CREATE_VCPU, (unsigned long)id));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_SET_GSI_ROUTING)
 * #syscalls vcpu: ioctl(VM: KVM_SET_GSI_ROUTING)
 */
int kvm_set_routes(int vm, const struct kvm_irq_routing *routes)
{
	return result(ioctl(vm, KVM_SET_GSI_ROUTING, routes));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_SIGNAL_MSI)
 * #syscalls vcpu: ioctl(VM: KVM_SIGNAL_MSI)
 */
int kvm_signal_msi(int vm, const struct kvm_msi *msi)
{
	return result(ioctl(vm, KVM_SIGNAL_MSI, msi));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_IRQFD)
 */
int kvm_irqfd(int vm, int fd, uint32_t gsi, bool assign)
{
	struct kvm_irqfd f = { .fd = (uint32_t)fd, .gsi = gsi, .flags = assign ? 0 : KVM_IRQFD_FLAG_DEASSIGN };

	return result(ioctl(vm, KVM_IRQFD, &f));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_IOEVENTFD)
 */
int kvm_ioeventfd(int vm, int fd, uint64_t gpa, bool assign)
{
	struct kvm_ioeventfd f = { .addr = gpa, .fd = fd, .flags = assign ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN };

	return result(ioctl(vm, KVM_IOEVENTFD, &f));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_SET_CPUID2)
 */
int kvm_set_cpuid(int vcpu, const struct kvm_cpuid2 *cpuid)
{
	return result(ioctl(vcpu, KVM_SET_CPUID2, cpuid));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_SET_MSRS)
 */
int kvm_set_msrs(int vcpu, const struct kvm_msrs *msrs)
{
	return result(ioctl(vcpu, KVM_SET_MSRS, msrs));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_SET_REGS)
 */
int kvm_set_regs(int vcpu, const struct kvm_regs *regs)
{
	return result(ioctl(vcpu, KVM_SET_REGS, regs));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_GET_SREGS)
 */
int kvm_get_sregs(int vcpu, struct kvm_sregs *sregs)
{
	return result(ioctl(vcpu, KVM_GET_SREGS, sregs));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_SET_SREGS)
 */
int kvm_set_sregs(int vcpu, const struct kvm_sregs *sregs)
{
	return result(ioctl(vcpu, KVM_SET_SREGS, sregs));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_SET_FPU)
 */
int kvm_set_fpu(int vcpu, const struct kvm_fpu *fpu)
{
	return result(ioctl(vcpu, KVM_SET_FPU, fpu));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_GET_LAPIC)
 */
int kvm_get_lapic(int vcpu, struct kvm_lapic_state *lapic)
{
	return result(ioctl(vcpu, KVM_GET_LAPIC, lapic));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_SET_LAPIC)
 */
int kvm_set_lapic(int vcpu, const struct kvm_lapic_state *lapic)
{
	return result(ioctl(vcpu, KVM_SET_LAPIC, lapic));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_GET_TSC_KHZ)
 */
int kvm_tsc_khz(int vcpu)
{
	return result(ioctl(vcpu, KVM_GET_TSC_KHZ, 0));
}

/*
 * #syscalls vmmd: ioctl(ANY: KVM_SET_SIGNAL_MASK)
 */
int kvm_set_signal_mask(int vcpu, int unblocked)
{
	/* struct kvm_signal_mask ends in the set itself. */
	union {
		struct kvm_signal_mask mask;
		uint8_t room[sizeof(struct kvm_signal_mask) + KERNEL_SIGSET_BYTES];
	} u = { .mask.len = KERNEL_SIGSET_BYTES };
	uint64_t set = ~(UINT64_C(1) << (unblocked - 1));

	memcpy(u.room + offsetof(struct kvm_signal_mask, sigset), &set, sizeof(set));
	return result(ioctl(vcpu, KVM_SET_SIGNAL_MASK, &u.mask));
}

/*
 * #syscalls vcpu: ioctl(VCPU: KVM_RUN)
 * #syscalls vmmd: ioctl(ANY: KVM_RUN)
 *
 * Both, because a vCPU thread's filter stands on top of the control thread's: its calls have to pass the two.
 */
int kvm_run(int vcpu)
{
	return result(ioctl(vcpu, KVM_RUN, 0));
}
