/* SPDX-License-Identifier: ISC */
/* Making and unmaking virtio devices: the machine's side. Control thread only. */
#ifndef VMMD_VIRTIO_VIRTIO_DEV_H
#define VMMD_VIRTIO_VIRTIO_DEV_H

#include "common/cleanup.h"
#include "common/err.h"
#include "vmmd/virtio/virtio.h"

struct errands;
struct irqs;
struct pci_segment;
struct pci_windows;

/* Borrowed for the device's life. */
struct virtio_env {
	int vm; /* the VM in the control thread's table */
	struct errands *errands;
	struct irqs *irqs;
	struct pci_segment *segment;
	struct pci_windows *windows;
};

/* Into its slot, with its BAR placed and its doorbells registered. While no vCPU runs, after all vCPUs exist. */
int virtio_dev_new(const struct virtio_env *env, const struct virtio_dev_cfg *cfg, struct virtio_dev **out,
		   struct err *e) __must_check;
/* Ask the back end to stop as a reset does, but for no driver: registers stay. While no vCPU runs. */
void virtio_dev_stop(struct virtio_dev *d);
/* The back end has nothing to do with the device (any more). */
bool virtio_dev_is_idle(struct virtio_dev *d);
/* Doorbells and interrupts are unregistered from KVM. While the VM is open and no vCPU runs. */
void virtio_dev_disconnect(struct virtio_dev *d);
/* After disconnect. Accepts NULL. The slot keeps a dangling entry: the segment goes too. */
void virtio_dev_free(struct virtio_dev *d);

#endif
