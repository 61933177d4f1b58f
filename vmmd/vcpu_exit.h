/* SPDX-License-Identifier: ISC */
/*
 * What a vCPU thread does about one exit of KVM_RUN. No system call here but those of the device that is reached, so that
 * every kind of exit can be tried without KVM.
 *
 * Only the reasons listed in vcpu_exit.c are handled; any other is a defined stop with its number in the log. A guest can
 * provoke some of those (an instruction that KVM cannot emulate), so stopping is the guest's own loss and never an abort.
 */
#ifndef VMMD_VCPU_EXIT_H
#define VMMD_VCPU_EXIT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "vmmd/bus.h"

struct kvm_run;

enum { VCPU_WHY_MAX = 160 };

enum vcpu_next {
	VCPU_AGAIN,     /* enter the guest again (if it may) */
	VCPU_RESET,     /* the machine wants a reset */
	VCPU_POWER_OFF, /* the machine wants to go off */
	VCPU_FAILED,    /* this vCPU cannot go on */
};

struct vcpu_env {
	const struct bus *pio, *mmio;
	void (*eoi)(void *arg, uint8_t vector);
	void *arg;
	/* Not 0 once a device has asked for a reset or to go off: the rest of a string instruction is not carried out. */
	const _Atomic int *over;
};

/* @why gets the reason of VCPU_FAILED, as text for people. @run_bytes is the size of the mapping behind @run. */
enum vcpu_next vcpu_exit_handle(struct kvm_run *run, size_t run_bytes, const struct vcpu_env *env,
				char why[VCPU_WHY_MAX]);

#endif
