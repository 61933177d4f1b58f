/* SPDX-License-Identifier: ISC */
#include "vmmd/vm.h"

#include <stdlib.h>
#include <string.h>

#include "common/fd.h"
#include "common/log.h"
#include "vmmd/arch/x86_64/cpuid.h"

/* How long a console may take nothing before the last output of a stopped guest is given up. */
enum { DRAIN_MS = 500 };

static const struct vm_parts no_parts = {
	.memory = -1,
	.kernel = { .fd = -1 },
	.initramfs = { .fd = -1 },
	.serial = -1,
};

static void on_device_kill(void *arg, const struct vhost_device *d)
{
	struct vm *vm = arg;

	vm->ops.device_kill(vm->ops.arg, d);
}

static void on_device_event(void *arg, const struct vhost_device *d, const char *name)
{
	struct vm *vm = arg;

	vm->ops.device_event(vm->ops.arg, d, name);
}

static void on_device_stopped(void *arg, struct vhost_device *d)
{
	struct vm *vm = arg;

	(void)d;
	if (vhost_devices_are_idle(&vm->devices))
		vm->ops.devices_idle(vm->ops.arg);
}

int vm_init(struct vm *vm, struct event_base *base, const struct vm_ops *ops, struct err *e)
{
	static const struct vhost_device_ops device_ops = {
		.kill = on_device_kill,
		.event = on_device_event,
		.stopped = on_device_stopped,
	};

	memset(vm, 0, sizeof(*vm));
	vm->base = base;
	vm->ops = *ops;
	vm->kvm = -1;
	vm->vm_number = -1;
	vm->parts = no_parts;
	vm->link.fd = -1;
	vhost_devices_init(&vm->devices, base, &device_ops, vm);
	int r = wake_init(&vm->wake);

	return r < 0 ? err_sys(e, r, "eventfd") : 0;
}

void vm_fini(struct vm *vm)
{
	vm_halt(vm);
	vm_release(vm);
	vm_delete(vm);
	fd_closep(&vm->kvm);
	wake_fini(&vm->wake);
}

int vm_create(struct vm *vm, const struct cfg_vm *cfg, struct err *e)
{
	if (obj_copy(&desc_cfg_vm, &vm->cfg, cfg) < 0)
		return err_set(e, -ENOMEM, "out of memory for the configuration");
	vm->state = VM_STATE_CREATED;
	return 0;
}

void vm_delete(struct vm *vm)
{
	if (vm->state == VM_STATE_NONE)
		return;
	vhost_devices_clear(&vm->devices); /* they have a look at it */
	obj_fini(&desc_cfg_vm, &vm->cfg);
	vm->state = VM_STATE_NONE;
}

/* --- parts ---------------------------------------------------------------------------------------------------------- */

/* The monitor takes the end of a lifeline for our death, unless it was told before. */
static void tell_stopping(struct vm *vm)
{
	if (vm->lifelines_watched)
		vm->ops.stopping(vm->ops.arg);
	vm->lifelines_watched = false;
}

static void drop_lifelines(struct vm *vm)
{
	struct vm_parts *p = &vm->parts;

	tell_stopping(vm);
	if (p->lifelines != NULL)
		fd_close_all(p->lifelines, p->n_lifelines);
	free(p->lifelines);
	p->lifelines = NULL;
	p->n_lifelines = 0;
}

static void drop_parts(struct vm *vm)
{
	struct vm_parts *p = &vm->parts;

	vhost_devices_clear(&vm->devices);
	fd_closep(&p->memory);
	fd_closep(&p->kernel.fd);
	fd_closep(&p->initramfs.fd);
	fd_closep(&p->serial);
	drop_lifelines(vm);
	*p = no_parts;
}

int vm_take_lifelines(struct vm *vm, int *fds, unsigned n, struct err *e)
{
	struct vm_parts *p = &vm->parts;
	int r = 0;

	if (n > VM_LIFELINES_MAX - p->n_lifelines) {
		r = err_set(e, -EINVAL, "too many lifelines");
	} else if (n > 0) {
		int *more = realloc(p->lifelines, (p->n_lifelines + n) * sizeof(*more));

		if (more == NULL) {
			r = err_set(e, -ENOMEM, "out of memory for lifelines");
		} else {
			p->lifelines = more;
			vm->lifelines_watched = true;
			for (unsigned i = 0; i < n; i++)
				more[p->n_lifelines++] = fd_take(&fds[i]);
		}
	}
	fd_close_all(fds, n);
	return r;
}

int vm_take_parts(struct vm *vm, const struct msg_mon_boot_fds *m, int *fds, unsigned nfds, struct err *e)
{
	unsigned want = 2u + m->has_kvm + m->has_initramfs + m->has_serial + m->n_lifelines;

	if (vm->state == VM_STATE_RUNNING)
		return err_set(e, -EBUSY, "parts for a boot while the VM is running");
	if (nfds != want)
		return err_set(e, -EBADMSG, "%u descriptors for a boot instead of %u", nfds, want);
	vm->lifelines_watched = false; /* those of an earlier set: the monitor has given them up */
	vm_release(vm);

	struct vm_parts *p = &vm->parts;
	unsigned i = 0;

	if (m->has_kvm) {
		fd_closep(&vm->kvm);
		vm->kvm = fd_take(&fds[i++]);
	}
	p->memory = fd_take(&fds[i++]);
	p->memory_size = m->memory_size;
	p->kernel = (struct machine_file){ .fd = fd_take(&fds[i++]), .size = m->kernel_size };
	if (m->has_initramfs)
		p->initramfs = (struct machine_file){ .fd = fd_take(&fds[i++]), .size = m->initramfs_size };
	p->has_serial = m->has_serial;
	if (m->has_serial)
		p->serial = fd_take(&fds[i++]);
	return vm_take_lifelines(vm, fds + i, m->n_lifelines, e);
}

unsigned vm_lifelines_missing(const struct vm *vm)
{
	uint32_t want = vm->cfg.cpus.boot_vcpus;

	return want > vm->parts.n_lifelines ? want - vm->parts.n_lifelines : 0;
}

bool vm_can_restart(const struct vm *vm)
{
	return vm_lifelines_missing(vm) == 0 && vhost_devices_are_idle(&vm->devices);
}

/* --- boot ----------------------------------------------------------------------------------------------------------- */

static int lay_out_memory(struct vm *vm, struct err *e)
{
	struct cpuid_host host;

	cpuid_host_read(&host);
	unsigned bits = memmap_phys_bits(host.phys_bits, vm->cfg.cpus.max_phys_bits);
	int r = memmap_init(&vm->map, vm->cfg.memory.size, bits, e);

	if (r < 0)
		return r;
	if (vm->parts.memory_size < vm->cfg.memory.size)
		return err_set(e, -EINVAL, "the memory handed over is smaller than the VM's");
	return memory_map(&vm->memory, vm->parts.memory, &vm->map, e);
}

/* From mapped memory and open files to threads that wait for the start. */
static int build(struct vm *vm, struct err *e)
{
	const struct cfg_vm *cfg = &vm->cfg;
	struct vm_parts *p = &vm->parts;
	struct kvm_caps caps;
	int r = kvm_caps_check(vm->kvm, &caps, e);

	if (r < 0)
		return r;
	const struct machine_cfg mc = {
		.kvm = vm->kvm,
		.caps = &caps,
		.boot_vcpus = cfg->cpus.boot_vcpus,
		.max_vcpus = cfg->cpus.max_vcpus,
		.nested = cfg->cpus.nested,
		.map = &vm->map,
		.memory = &vm->memory,
		.kernel = p->kernel,
		.initramfs = p->initramfs,
		.cmdline = cfg->payload.cmdline,
		.serial = cfg->serial.mode != CONSOLE_MODE_OFF,
		.serial_stream = p->has_serial,
		.wake = &vm->wake,
		.devices = vhost_devices_list(&vm->devices),
		.n_devices = vhost_devices_visible(&vm->devices),
		.vm_number = &vm->vm_number,
		.progress = vm->ops.progress,
		.arg = vm->ops.arg,
	};

	r = machine_new(&mc, &vm->machine, e);
	if (r == 0)
		r = machine_start(vm->machine, p->lifelines, p->n_lifelines, e);
	if (r < 0)
		return r;
	free(p->lifelines); /* the threads have what was in it */
	p->lifelines = NULL;
	p->n_lifelines = 0;
	serial_link_attach(&vm->link, machine_serial(vm->machine));
	return 0;
}

static int set_config(struct vm *vm, const struct cfg_vm *cfg, struct err *e)
{
	struct cfg_vm copy;

	if (obj_copy(&desc_cfg_vm, &copy, cfg) < 0)
		return err_set(e, -ENOMEM, "out of memory for the configuration");
	obj_fini(&desc_cfg_vm, &vm->cfg);
	vm->cfg = copy;
	return 0;
}

static int try_boot(struct vm *vm, const struct cfg_vm *cfg, struct err *e)
{
	struct vm_parts *p = &vm->parts;

	if (vm->kvm < 0 || p->memory < 0 || p->kernel.fd < 0)
		return err_set(e, -EINVAL, "nothing to boot from was handed over");
	if (p->n_lifelines != vm->cfg.cpus.boot_vcpus)
		return err_set(e, -EINVAL, "%u lifelines for %u vCPUs", p->n_lifelines, vm->cfg.cpus.boot_vcpus);
	int r = set_config(vm, cfg, e);

	if (r == 0)
		r = lay_out_memory(vm, e);
	if (r == 0)
		r = vhost_devices_prepare(&vm->devices, &vm->cfg, &vm->memory.gmem, &vm->map, p->memory,
					  vm->ops.progress, vm->ops.arg, e);
	if (r == 0) {
		r = serial_link_open(&vm->link, vm->base, &p->serial);
		if (r < 0)
			r = err_sys(e, r, "cannot serve the serial port");
	}
	return r == 0 ? build(vm, e) : r;
}

static void end_machine(struct vm *vm)
{
	if (vm->machine == NULL)
		return;
	machine_halt(vm->machine);
	tell_stopping(vm);
	machine_serve(vm->machine);
	machine_stop_devices(vm->machine);
	vhost_devices_wait_stopped(&vm->devices);
	serial_link_drain(&vm->link, DRAIN_MS);
	serial_link_attach(&vm->link, NULL);
	machine_free(vm->machine);
	vm->machine = NULL;
}

int vm_boot(struct vm *vm, const struct cfg_vm *cfg, struct err *e)
{
	int r = try_boot(vm, cfg, e);

	if (r < 0) {
		end_machine(vm);
		vm_release(vm);
		return r;
	}
	vm->state = VM_STATE_RUNNING;
	machine_run(vm->machine);
	return 0;
}

/* --- end ------------------------------------------------------------------------------------------------------------ */

void vm_halt(struct vm *vm)
{
	end_machine(vm);
	drop_lifelines(vm); /* those of a reset that doesn't happen any more */
	if (vm->state == VM_STATE_RUNNING)
		vm->state = VM_STATE_CREATED;
}

void vm_release(struct vm *vm)
{
	serial_link_close(&vm->link);
	memory_unmap(&vm->memory);
	drop_parts(vm);
}

void vm_reset_stop(struct vm *vm)
{
	end_machine(vm);
}

int vm_reset_start(struct vm *vm, struct err *e)
{
	int r = memory_clear(&vm->memory, vm->ops.progress, vm->ops.arg, e);

	if (r == 0)
		r = build(vm, e);
	if (r < 0)
		end_machine(vm);
	else
		machine_run(vm->machine);
	return r;
}

/* --- while it runs -------------------------------------------------------------------------------------------------- */

enum vcpu_request vm_service(struct vm *vm)
{
	wake_take(&vm->wake);
	if (vm->machine == NULL)
		return VCPU_REQ_NONE;
	machine_serve(vm->machine);
	serial_link_pump(&vm->link);
	return machine_request(vm->machine);
}

static int add_node(struct msg_cmd_vm_info_result *out, const char *id)
{
	struct msg_dev_node *more = realloc(out->nodes, (out->n_nodes + 1) * sizeof(*more));

	if (more == NULL)
		return -ENOMEM;
	out->nodes = more;
	struct msg_dev_node *node = &more[out->n_nodes];

	memset(node, 0, sizeof(*node));
	node->id = strdup(id);
	if (node->id == NULL)
		return -ENOMEM;
	out->n_nodes++;
	return 0;
}

int vm_info(const struct vm *vm, struct msg_cmd_vm_info_result *out)
{
	int r = obj_copy(&desc_cfg_vm, &out->config, &vm->cfg);

	if (r < 0)
		return r;
	out->state = vm->state;
	out->memory_actual_size = vm->cfg.memory.size;
	if (vm->state == VM_STATE_RUNNING)
		r = add_node(out, "__ioapic");
	if (r == 0 && vm->state == VM_STATE_RUNNING && vm->cfg.serial.mode != CONSOLE_MODE_OFF)
		r = add_node(out, "__serial");
	if (r == 0)
		r = vhost_devices_info(&vm->devices, out);
	if (r < 0)
		obj_fini(&desc_msg_cmd_vm_info_result, out);
	return r;
}
