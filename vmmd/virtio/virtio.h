/* SPDX-License-Identifier: ISC */
/*
 * A virtio device as its driver sees it through virtio-pci (virtio v1.2 4.1), and the seam to whoever serves its
 * queues. This side has registers, configuration space, interrupts and doorbells; the other side (vmmd/vhost/)
 * has a back end process. Nothing here reads a virtqueue.
 *
 * Threads: registers are read and written by vCPU threads, under the device's lock. Whatever needs a descriptor or
 * the back end is an errand (vmmd/errand.h) of the control thread: all of struct virtio_backend_ops, and all
 * functions below, unless they say otherwise. They may be called from within an operation.
 */
#ifndef VMMD_VIRTIO_VIRTIO_H
#define VMMD_VIRTIO_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"

enum { VIRTIO_QUEUES_MAX = 256, VIRTIO_DEV_CONFIG_MAX = 256 };

struct virtio_dev;

/* What a driver set up for one queue; copied when it was enabled, constant until the reset. */
struct virtio_queue {
	bool enabled;
	uint16_t size;
	uint64_t desc, driver, device; /* guest physical addresses, as written: not checked */
};

struct virtio_backend_ops {
	/* DRIVER_OK: @acked and the queues are constant from now to the reset. Must not wait. When it cannot be
	 * served it says so with virtio_dev_needs_reset(). */
	void (*start)(void *be, uint64_t acked);
	/* Reset, or the end of the machine: stop everything, then call virtio_dev_stopped() (maybe at once). The vCPU
	 * that wrote 0 waits for that; within 50 ms plus the death of the back end. Called only after start. */
	void (*stop)(void *be);
	/* A doorbell that KVM didn't take: rung through the configuration access window, or there was no room in KVM.
	 * Only while running. */
	void (*kick)(void *be, unsigned q);
	/* The driver wrote to the device's configuration space, the cached copy is changed already. Also before
	 * start. */
	void (*write_config)(void *be, uint32_t off, const void *p, uint32_t len);
};

struct virtio_dev_cfg {
	const char *id;          /* "_disk0"; copied */
	uint32_t type;           /* VIRTIO_ID_x */
	unsigned n_queues;
	uint16_t queue_size;     /* largest, and what a driver finds */
	uint64_t features;       /* offered */
	const void *config;      /* @config_len bytes; copied */
	uint32_t config_len;     /* 0: the device has no configuration space, and no capability for it */
	bool config_len_hidden;  /* the capability says 4096 (net, blk) */
	uint32_t writable_off, writable_len; /* of the configuration space */
	bool bar32;              /* 32-bit BAR: a boot disk on segment 0 */
	int slot;                /* -1: the lowest free one */
	const int *kick, *call;  /* eventfds of each queue, borrowed for the device's life or until replaced */
	const struct virtio_backend_ops *ops;
	void *be;
};

/* Configuration space from the back end: replaces the cached copy, and when it differs raises the configuration
 * interrupt. */
void virtio_dev_set_config(struct virtio_dev *d, const void *config, uint32_t len);
/* Sets NEEDS_RESET (when the driver is running) with a configuration interrupt. */
void virtio_dev_needs_reset(struct virtio_dev *d);
/* The answer to ops->stop. */
void virtio_dev_stopped(struct virtio_dev *d);
/* Registers of a queue, after DRIVER_OK. */
const struct virtio_queue *virtio_dev_queue(const struct virtio_dev *d, unsigned q);
/* DRIVER_OK is set and no reset is under way. */
bool virtio_dev_is_running(struct virtio_dev *d);
/* Another eventfd, from now on; the old one is forgotten when this returns. For a back end that isn't ours and
 * kept it. */
void virtio_dev_set_kick(struct virtio_dev *d, unsigned q, int fd);
void virtio_dev_set_call(struct virtio_dev *d, unsigned q, int fd);
/* For vm.info. */
const char *virtio_dev_id(const struct virtio_dev *d);
int virtio_dev_slot(const struct virtio_dev *d);
void virtio_dev_bar(const struct virtio_dev *d, uint64_t *base, uint64_t *size, bool *is_64);

#endif
