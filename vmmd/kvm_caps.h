/* SPDX-License-Identifier: ISC */
/* What this build needs of the host's KVM, checked before anything is built on it. */
#ifndef VMMD_KVM_CAPS_H
#define VMMD_KVM_CAPS_H

#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"

struct kvm_caps {
	uint32_t vcpus_max;   /* vCPUs in one VM */
	uint32_t vcpu_id_max; /* ids are below this */
	size_t run_bytes;     /* of a vCPU's run area */
};

/* The API version and each required capability, by name in the error. */
int kvm_caps_check(int kvm, struct kvm_caps *out, struct err *e) __must_check;

#endif
