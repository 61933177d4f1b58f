/* SPDX-License-Identifier: ISC */
#include "vmmd/vcpu_exit.h"

#include <linux/kvm.h>

#include "common/str.h"

static enum vcpu_next failed(char why[VCPU_WHY_MAX], const char *what, unsigned long long number)
{
	(void)str_fmt(why, VCPU_WHY_MAX, "%s %llu", what, number);
	return VCPU_FAILED;
}

/* String instructions arrive as @count elements of @size bytes behind struct kvm_run. */
static enum vcpu_next handle_pio(struct kvm_run *run, size_t run_bytes, const struct vcpu_env *env,
				 char why[VCPU_WHY_MAX])
{
	const uint64_t off = run->io.data_offset;
	const unsigned size = run->io.size;
	const uint32_t count = run->io.count;

	if (off > run_bytes || (uint64_t)count * size > run_bytes - off)
		return failed(why, "port access outside its page, port", run->io.port);
	uint8_t *data = (uint8_t *)run + off;

	for (uint32_t i = 0; i < count && atomic_load(env->over) == 0; i++, data += size) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			(void)bus_read(env->pio, run->io.port, data, size);
		else
			(void)bus_write(env->pio, run->io.port, data, size);
	}
	return VCPU_AGAIN;
}

static enum vcpu_next handle_mmio(struct kvm_run *run, const struct vcpu_env *env, char why[VCPU_WHY_MAX])
{
	if (run->mmio.len > sizeof(run->mmio.data))
		return failed(why, "memory-mapped access too long, bytes", run->mmio.len);
	if (run->mmio.is_write)
		(void)bus_write(env->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		(void)bus_read(env->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	return VCPU_AGAIN;
}

static enum vcpu_next handle_system_event(const struct kvm_run *run, char why[VCPU_WHY_MAX])
{
	switch (run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		return VCPU_POWER_OFF;
	case KVM_SYSTEM_EVENT_RESET:
		return VCPU_RESET;
	}
	return failed(why, "unknown system event", run->system_event.type);
}

enum vcpu_next vcpu_exit_handle(struct kvm_run *run, size_t run_bytes, const struct vcpu_env *env,
				char why[VCPU_WHY_MAX])
{
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		return handle_pio(run, run_bytes, env, why);
	case KVM_EXIT_MMIO:
		return handle_mmio(run, env, why);
	case KVM_EXIT_IOAPIC_EOI:
		env->eoi(env->arg, run->eoi.vector);
		return VCPU_AGAIN;
	case KVM_EXIT_INTR:
		return VCPU_AGAIN;
	case KVM_EXIT_SHUTDOWN: /* triple fault */
	case KVM_EXIT_HLT:      /* the kernel has the local APIC and halts by itself: cannot happen */
		return VCPU_RESET;
	case KVM_EXIT_SYSTEM_EVENT:
		return handle_system_event(run, why);
	case KVM_EXIT_FAIL_ENTRY:
		return failed(why, "the processor refused to enter the guest, reason",
			      run->fail_entry.hardware_entry_failure_reason);
	case KVM_EXIT_INTERNAL_ERROR:
		return failed(why, "KVM internal error, sub-error", run->internal.suberror);
	}
	return failed(why, "unexpected KVM exit reason", run->exit_reason);
}
