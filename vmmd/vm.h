/* SPDX-License-Identifier: ISC */
/*
 * The virtual machine as clients see it: configuration, state, and what it is made of while it runs.
 *
 *	None --create--> Created --boot--> Running --halt--> Created --delete--> None
 *	                                   Running --reset_stop--> (Running, no machine) --reset_start--> Running
 *
 * A boot needs parts (descriptors) that the monitor has handed over before; a failed one drops them and leaves Created.
 * Stopping has two halves, because clients shouldn't wait for the second: vm_halt() ends the guest, vm_release() gives
 * memory and descriptors back.
 *
 * Control thread only.
 */
#ifndef VMMD_VM_H
#define VMMD_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "proto/msg.h"
#include "vmmd/kvm_caps.h"
#include "vmmd/machine.h"
#include "vmmd/memory.h"
#include "vmmd/serial_link.h"
#include "vmmd/vhost/devices.h"
#include "vmmd/wake.h"

struct event_base;

enum { VM_LIFELINES_MAX = 8192 };

/* What the monitor hands over for a boot. */
struct vm_parts {
	int memory;
	uint64_t memory_size;
	struct machine_file kernel, initramfs;
	int serial; /* until the link takes it */
	bool has_serial;
	unsigned n_lifelines;
	int *lifelines;
};

/* What the VM's owner is told. */
struct vm_ops {
	void (*stopping)(void *arg); /* lifelines are about to end in order */
	void (*progress)(void *arg); /* in the middle of a boot or reset that may take long; must not change the VM */
	/* A device's back end has to die; MON_DEVICE_GONE will say that it has. */
	void (*device_kill)(void *arg, const struct vhost_device *d);
	void (*device_event)(void *arg, const struct vhost_device *d, const char *name); /* static text */
	void (*devices_idle)(void *arg); /* no device has anything in flight; must not change the VM */
	void *arg;
};

struct vm {
	struct event_base *base; /* [const] borrowed */
	enum vm_state state;
	struct cfg_vm cfg;       /* unless state is None */
	int kvm;                 /* /dev/kvm, from the first boot on for life */
	struct vm_parts parts;   /* -1s: none */
	struct memmap map;
	struct memory memory;
	struct serial_link link;
	struct vhost_devices devices; /* from the monitor, beside the parts */
	struct wake wake;        /* vCPU threads wake us */
	int vm_number;           /* of the last KVM VM's descriptor */
	struct machine *machine; /* NULL: not running, or between two runs of a reset */
	bool lifelines_watched;  /* the monitor sees ours end */
	struct vm_ops ops;       /* [const] */
};

int vm_init(struct vm *vm, struct event_base *base, const struct vm_ops *ops, struct err *e) __must_check;
void vm_fini(struct vm *vm);

/* None -> Created. Keeps a copy. */
int vm_create(struct vm *vm, const struct cfg_vm *cfg, struct err *e) __must_check;
/* Created -> None. */
void vm_delete(struct vm *vm);

/* A new set of parts; what was there is dropped. Takes descriptors from @fds as far as it uses them. */
int vm_take_parts(struct vm *vm, const struct msg_mon_boot_fds *m, int *fds, unsigned nfds, struct err *e) __must_check;
/* More lifelines, for a boot of many vCPUs or a reset. Takes the descriptors, in either case. */
int vm_take_lifelines(struct vm *vm, int *fds, unsigned n, struct err *e) __must_check;
/* How many are still needed for vm_reset_start(). */
unsigned vm_lifelines_missing(const struct vm *vm);
/* Everything is there for vm_reset_start(), and no device writes to guest memory. */
bool vm_can_restart(const struct vm *vm);

/* Created -> Running. @cfg takes the place of the stored configuration, of which it is a copy with what was chosen
 * for this boot. */
int vm_boot(struct vm *vm, const struct cfg_vm *cfg, struct err *e) __must_check;
/* Running -> Created: no guest instruction is executed any more, its output is on its way, devices are at rest or
 * their back ends about to die, the machine is gone. */
void vm_halt(struct vm *vm);
/* The second half: RAM, files, console. Any state but Running; nothing to do is fine. */
void vm_release(struct vm *vm);

/* The guest wants a reset. First half: as vm_halt(), but parts and devices stay. */
void vm_reset_stop(struct vm *vm);
/* When vm_can_restart(): RAM is cleared, then it runs again. */
int vm_reset_start(struct vm *vm, struct err *e) __must_check;

/* After a wake-up: errands, logs, serial; returns what the guest asked for. */
enum vcpu_request vm_service(struct vm *vm);

/* Fill a zeroed @out; obj_fini() frees. */
int vm_info(const struct vm *vm, struct msg_cmd_vm_info_result *out) __must_check;

#endif
