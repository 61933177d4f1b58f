/* SPDX-License-Identifier: ISC */
/*
 * The order in which a machine is built is binding (x86):
 *
 *	VM, identity map and TSS, all memory slots, split irqchip (and 32-bit APIC ids), all vCPUs, then routes, irqfds and
 *	ioeventfds
 *
 * With a vCPU present KVM refuses a split irqchip and an identity map; a memory slot that comes after something was put
 * on KVM's own buses waits 5-7 ms for a grace period.
 */
#include "vmmd/machine.h"

#include <fcntl.h>
#include <stdlib.h>

#include "common/fd.h"
#include "vmmd/arch/x86_64/layout.h"
#include "vmmd/kvm.h"
#include "vmmd/kvm_caps.h"
#include "vmmd/legacy/ioapic.h"
#include "vmmd/machine_internal.h"

/* From a vCPU thread: the local APIC saw the end of a level-triggered interrupt. */
static void on_eoi(void *arg, uint8_t vector)
{
	struct machine *m = arg;

	ioapic_eoi(m->dev.ioapic, vector);
}

static int check_vcpus(struct machine *m, struct err *e)
{
	const struct kvm_caps *caps = m->cfg.caps;
	uint32_t n = m->cfg.boot_vcpus;

	if (n == 0)
		return err_set(e, -EINVAL, "no vCPU to boot with");
	if (n > caps->vcpus_max)
		return err_set(e, -EINVAL, "%u vCPUs are more than the %u that this host's KVM gives a VM", n,
			       caps->vcpus_max);
	uint32_t last = cpuid_x2apic_id(&m->topo, m->cfg.max_vcpus > n ? m->cfg.max_vcpus - 1 : n - 1);

	if (last >= caps->vcpu_id_max)
		return err_set(e, -EINVAL, "APIC id %u is beyond the %u that this host's KVM has", last,
			       caps->vcpu_id_max);
	m->wide_ids = last > LAYOUT_XAPIC_ID_MAX;
	return 0;
}

/*
 * A descriptor takes the lowest free number: to avoid one, occupy it meanwhile.
 *
 * #syscalls vmmd: fcntl(F_DUPFD_CLOEXEC)
 */
static int create_vm(int kvm, int *number)
{
	int placeholder = fcntl(kvm, F_DUPFD_CLOEXEC, 0);

	if (placeholder != *number)
		fd_closep(&placeholder);
	int r = kvm_create_vm(kvm);

	fd_closep(&placeholder);
	if (r >= 0)
		*number = r;
	return r;
}

static int make_vm(struct machine *m, struct err *e)
{
	int r = create_vm(m->cfg.kvm, m->cfg.vm_number);

	if (r < 0)
		return err_sys(e, r, "KVM_CREATE_VM");
	m->vm = r;
	r = kvm_set_identity_map(m->vm, LAYOUT_KVM_IDENTITY_MAP);
	if (r < 0)
		return err_sys(e, r, "KVM_SET_IDENTITY_MAP_ADDR");
	r = kvm_set_tss(m->vm, (uint32_t)LAYOUT_KVM_TSS);
	if (r < 0)
		return err_sys(e, r, "KVM_SET_TSS_ADDR");
	r = memory_set_slots(m->cfg.memory, m->vm, e);
	if (r < 0)
		return r;
	r = kvm_enable_split_irqchip(m->vm, IOAPIC_PINS);
	if (r < 0)
		return err_sys(e, r, "KVM's split irqchip");
	r = m->wide_ids ? kvm_enable_x2apic_ids(m->vm) : 0;
	return r < 0 ? err_sys(e, r, "32-bit APIC ids") : 0;
}

static int make_vcpus(struct machine *m, struct err *e)
{
	const struct vcpus_cfg cfg = {
		.n = m->cfg.boot_vcpus,
		.pio = &m->dev.pio,
		.mmio = &m->dev.mmio,
		.eoi = on_eoi,
		.arg = m,
		.wake = m->cfg.wake,
		.errands = &m->errands,
	};

	m->vcpus = vcpus_new(&cfg);
	if (m->vcpus == NULL)
		return err_set(e, -ENOMEM, "out of memory for %u vCPUs", cfg.n);
	for (uint32_t i = 0; i < cfg.n; i++) {
		int fd = kvm_create_vcpu(m->vm, cpuid_x2apic_id(&m->topo, i));

		if (fd < 0)
			return err_sys(e, fd, "vCPU %u: KVM_CREATE_VCPU", i);
		int r = vcpus_add(m->vcpus, &fd, m->cfg.caps->run_bytes, e);

		if (r < 0)
			return r;
	}
	return 0;
}

static int build(struct machine *m, struct err *e)
{
	int r = check_vcpus(m, e);

	if (r == 0)
		r = make_vm(m, e);
	if (r == 0)
		r = make_vcpus(m, e);
	if (r == 0)
		r = devices_init(m, e);
	if (r == 0)
		r = boot_load(m, e);
	if (r == 0)
		r = boot_set_vcpus(m, e);
	return r;
}

int machine_new(const struct machine_cfg *cfg, struct machine **out, struct err *e)
{
	struct machine *m = calloc(1, sizeof(*m));

	*out = NULL;
	if (m == NULL)
		return err_set(e, -ENOMEM, "out of memory for the machine");
	m->cfg = *cfg;
	m->vm = -1;
	m->topo = cpuid_topology_default(cfg->boot_vcpus);
	int r = errands_init(&m->errands, cfg->wake);

	if (r < 0) {
		free(m);
		return err_sys(e, r, "cannot make the machine");
	}
	cpuid_host_read(&m->host);
	r = build(m, e);
	if (r < 0)
		machine_free(m);
	else
		*out = m;
	return r;
}

int machine_start(struct machine *m, int *lifelines, unsigned n_lifelines, struct err *e)
{
	return vcpus_start(m->vcpus, m->vm, lifelines, n_lifelines, e);
}

void machine_free(struct machine *m)
{
	if (m == NULL)
		return;
	machine_halt(m);
	/* An eventfd that still raises an interrupt in the old VM would do so instead of in the next one. */
	devices_disconnect(m);
	/* Ours goes first, so that the last reference is a vCPU thread's. */
	fd_closep(&m->vm);
	vcpus_free(m->vcpus);
	devices_fini(m);
	errands_fini(&m->errands);
	free(m);
}

void machine_run(struct machine *m)
{
	vcpus_open(m->vcpus);
}

/* A vCPU that waits for a device's reset would wait for a loop that we are not in. */
void machine_halt(struct machine *m)
{
	errands_close(&m->errands);
	if (m->vcpus != NULL)
		vcpus_close(m->vcpus);
}

enum vcpu_request machine_request(const struct machine *m)
{
	return vcpus_request(m->vcpus);
}

void machine_serve(struct machine *m)
{
	errands_serve(&m->errands);
	vcpus_forward_logs(m->vcpus);
}

struct serial *machine_serial(struct machine *m)
{
	return m->dev.serial;
}
