/* SPDX-License-Identifier: ISC */
#include "vmmd/kvm_caps.h"

#include <linux/kvm.h>

#include "vmmd/kvm.h"

static const struct {
	int cap;
	const char *name;
} required[] = {
#define CAP(name) \
	{ \
		name, #name \
	}
	CAP(KVM_CAP_ADJUST_CLOCK),  CAP(KVM_CAP_EXT_CPUID),
	CAP(KVM_CAP_GET_TSC_KHZ),   CAP(KVM_CAP_IMMEDIATE_EXIT),
	CAP(KVM_CAP_IOEVENTFD),     CAP(KVM_CAP_IOEVENTFD_ANY_LENGTH),
	CAP(KVM_CAP_IRQCHIP),
	CAP(KVM_CAP_IRQFD),         CAP(KVM_CAP_IRQ_ROUTING),
	CAP(KVM_CAP_MP_STATE),      CAP(KVM_CAP_SET_IDENTITY_MAP_ADDR),
	CAP(KVM_CAP_SET_TSS_ADDR),  CAP(KVM_CAP_SIGNAL_MSI),
	CAP(KVM_CAP_SPLIT_IRQCHIP), CAP(KVM_CAP_TSC_DEADLINE_TIMER),
	CAP(KVM_CAP_USER_MEMORY),   CAP(KVM_CAP_USER_NMI),
	CAP(KVM_CAP_VCPU_EVENTS),   CAP(KVM_CAP_XSAVE),
#undef CAP
};

/* What KVM documents for hosts that don't answer. */
enum { VCPUS_DEFAULT = 4 };

static uint32_t number(int kvm, int cap, uint32_t otherwise)
{
	int n = kvm_check_extension(kvm, cap);

	return n > 0 ? (uint32_t)n : otherwise;
}

int kvm_caps_check(int kvm, struct kvm_caps *out, struct err *e)
{
	int version = kvm_api_version(kvm);

	if (version != KVM_API_VERSION)
		return err_set(e, version < 0 ? version : -ENOTSUP, "/dev/kvm answers API version %d instead of %d",
			       version, KVM_API_VERSION);
	for (size_t i = 0; i < nitems(required); i++)
		if (kvm_check_extension(kvm, required[i].cap) <= 0)
			return err_set(e, -ENOTSUP, "this host's KVM lacks %s", required[i].name);

	int bytes = kvm_vcpu_mmap_size(kvm);

	if (bytes < (int)sizeof(struct kvm_run))
		return err_set(e, -ENOTSUP, "this host's KVM has a run area of %d bytes", bytes);
	out->run_bytes = (size_t)bytes;
	out->vcpus_max = number(kvm, KVM_CAP_MAX_VCPUS, number(kvm, KVM_CAP_NR_VCPUS, VCPUS_DEFAULT));
	out->vcpu_id_max = number(kvm, KVM_CAP_MAX_VCPU_ID, out->vcpus_max);
	return 0;
}
