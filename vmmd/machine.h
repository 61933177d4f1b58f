/* SPDX-License-Identifier: ISC */
/*
 * One built machine: a KVM VM with its devices and vCPU threads, from the first ioctl to the last. It lives from
 * a boot (or a reset) to the next stop; what outlives it (RAM's mapping, descriptors, configuration) is struct
 * vm's.
 *
 * Control thread only, but for the callbacks of devices.
 */
#ifndef VMMD_MACHINE_H
#define VMMD_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "vmmd/memory.h"
#include "vmmd/vcpu.h"

struct kvm_caps;
struct machine;
struct serial;
struct virtio_dev;
struct virtio_dev_cfg;

/* A file to load: descriptor (borrowed) and its size when it was opened. */
struct machine_file {
	int fd; /* -1: none */
	uint64_t size;
};

/* A virtio device to make. Creation order decides slots and addresses; slots that are asked for by number are taken
 * first. */
struct machine_device {
	/* borrowed while the machine is built, but for what it says of its own life */
	const struct virtio_dev_cfg *cfg;
	struct virtio_dev **out;          /* set when the device is made, NULL again when the machine is gone */
};

/* Everything is borrowed; @memory, @map and @wake for as long as the machine lives, the rest while it is built. */
struct machine_cfg {
	int kvm;
	const struct kvm_caps *caps;
	uint32_t boot_vcpus, max_vcpus;
	bool nested;
	const struct memmap *map;
	const struct memory *memory; /* mapped as @map says, all zeros */
	struct machine_file kernel, initramfs;
	const char *cmdline; /* NULL: none */
	bool serial;         /* COM1 exists */
	bool serial_stream;  /* and somebody takes its output */
	struct wake *wake;
	const struct machine_device *devices;
	unsigned n_devices;
	/* In: a number that the VM's descriptor should not get, -1: none. Out: the one it got. KVM names a VM in
	 * debugfs after process and descriptor, and while the VM before is still coming down its name is taken. */
	int *vm_number;
	/* Called between the pieces of a long load; never NULL. Must not touch the machine. */
	void (*progress)(void *arg);
	void *arg;
};

/* Build it and load the payload. On failure nothing is left but what was written to RAM. */
int machine_new(const struct machine_cfg *cfg, struct machine **out, struct err *e) __must_check;
/* Make the vCPU threads, which are held at their gate. Takes @lifelines as far as it gets: after a failure
 * machine_free() ends those. */
int machine_start(struct machine *m, int *lifelines, unsigned n_lifelines, struct err *e) __must_check;
/* Stops and undoes everything, in an order that leaves the end of the KVM VM (15-23 ms) to the ending vCPU threads.
 * Accepts NULL. */
void machine_free(struct machine *m);

void machine_run(struct machine *m);
/* When it returns no guest instruction is executed any more. For good: a vCPU that waits for an errand waits no
 * longer. */
void machine_halt(struct machine *m);

/* After machine_halt(): each running device's back end is asked to stop (virtio_backend_ops.stop). */
void machine_stop_devices(struct machine *m);
/* All have said virtio_dev_stopped(), or never ran. */
bool machine_devices_stopped(const struct machine *m);

/* In creation order; NULL behind the last. */
struct virtio_dev *machine_device(const struct machine *m, unsigned i);

/* What the guest or trouble asked for; VCPU_REQ_NONE while nothing. */
enum vcpu_request machine_request(const struct machine *m);
/* After each wake-up: errands and logs of vCPU threads. */
void machine_serve(struct machine *m);

/* COM1, NULL when there is none. */
struct serial *machine_serial(struct machine *m);

#endif
