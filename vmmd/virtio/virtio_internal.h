/* SPDX-License-Identifier: ISC */
/* The inside of a virtio device, for the files of this folder. */
#ifndef VMMD_VIRTIO_VIRTIO_INTERNAL_H
#define VMMD_VIRTIO_VIRTIO_INTERNAL_H

#include <pthread.h>

#include "vmmd/errand.h"
#include "vmmd/pci/config.h"
#include "vmmd/pci/msix.h"
#include "vmmd/pci/window.h"
#include "vmmd/virtio/virtio_dev.h"

/* BAR 0. */
enum {
	VIRTIO_BAR_BYTES = 0x80000,
	VIRTIO_BAR_COMMON = 0,
	VIRTIO_BAR_COMMON_BYTES = 56,
	VIRTIO_BAR_ISR = 0x2000,
	VIRTIO_BAR_DEVICE = 0x4000,
	VIRTIO_BAR_DEVICE_BYTES = 0x1000,
	VIRTIO_BAR_NOTIFY = 0x6000,
	VIRTIO_BAR_NOTIFY_BYTES = 0x1000,
	VIRTIO_BAR_NOTIFY_STEP = 4,
	VIRTIO_BAR_TABLE = 0x8000,
	VIRTIO_BAR_TABLE_BYTES = 0x40000,
	VIRTIO_BAR_PENDING = 0x48000,
	VIRTIO_BAR_PENDING_BYTES = 0x800,
};

/* What the back end has to do with it. Started and stopped by the control thread alone; a vCPU only asks. */
enum virtio_state {
	VIRTIO_IDLE,
	VIRTIO_STARTING, /* DRIVER_OK: the errand is on its way */
	VIRTIO_STARTED,
	VIRTIO_STOPPING, /* asked to; not confirmed */
};

struct virtio_vq {
	struct virtio_queue q; /* [mtx] constant while enabled */
	uint16_t vector;       /* [mtx] */
	bool kicked;           /* [mtx] by software, to be passed on */
	bool bell;             /* [ctl] its ioeventfd is registered */
};

struct virtio_dev {
	/* [const] */
	struct virtio_dev_cfg cfg; /* a copy, id included; without config, kick and call */
	struct virtio_env env;
	char *id;
	int slot;
	unsigned reg_window, reg_msix; /* dwords of configuration space: first of the access window's and of MSI-X's */

	struct pci_config config; /* locks for itself */
	struct pci_region bar;
	struct msix msix;  /* locks for itself */
	int *kick, *call;  /* [ctl] of each queue, borrowed descriptors */
	uint64_t bells_at; /* [ctl] BAR address for which doorbells are registered; 0: for none */

	pthread_mutex_t mtx; /* taken before those of config, msix, windows and errands; guards the rest */
	enum virtio_state state;
	bool resetting; /* a driver wrote 0 and the back end has not confirmed: registers don't change */
	uint8_t status, generation;
	bool generation_due; /* the configuration changed since a driver last looked at it */
	uint16_t config_vector, queue_select;
	uint32_t feature_select, driver_feature_select;
	uint64_t acked;
	struct virtio_vq *vq;                 /* cfg.n_queues */
	uint8_t space[VIRTIO_DEV_CONFIG_MAX]; /* configuration space, cfg.config_len bytes */
	uint32_t written_from, written_to;    /* written by the driver, to be passed on; empty: equal */
	struct errand start, kicks, config_written;
};

/* --- registers (virtio_regs.c), all under the lock -------------------------------------------------------------------- */

/* What has to follow a write once the lock is released. */
enum virtio_then {
	VIRTIO_THEN_NOTHING,
	VIRTIO_THEN_SYNC,  /* msix_sync() */
	VIRTIO_THEN_RESET, /* the reset is an errand */
};

/* As after power-on. True: msix_sync() has to follow. */
bool virtio_regs_reset(struct virtio_dev *d);
/* Common configuration, @off inside of it. */
uint64_t virtio_regs_read(const struct virtio_dev *d, unsigned off, unsigned len);
enum virtio_then virtio_regs_write(struct virtio_dev *d, unsigned off, uint64_t value, unsigned len) __must_check;
/* Configuration space; @off inside of the region, which is larger than the space. */
void virtio_space_read(struct virtio_dev *d, unsigned off, void *data, unsigned len);
/* True: something was written. */
bool virtio_space_write(struct virtio_dev *d, unsigned off, const void *data, unsigned len);

/* --- PCI (virtio_pci.c) ----------------------------------------------------------------------------------------------- */

/* Set up configuration space and BAR, enter the slot. */
int virtio_pci_init(struct virtio_dev *d, struct err *e) __must_check;
/* Doorbells are where the BAR is. Errand; control thread. */
bool virtio_pci_place_bells(void *arg);
void virtio_pci_remove_bells(struct virtio_dev *d);

/* --- life (virtio.c) -------------------------------------------------------------------------------------------------- */

/* Any thread, under the lock. */
void virtio_post_start(struct virtio_dev *d);
void virtio_post_kick(struct virtio_dev *d, unsigned q);
void virtio_post_config(struct virtio_dev *d);
/* A vCPU thread, no lock held: returns when the reset is over, or when nobody will carry it out. */
void virtio_await_reset(struct virtio_dev *d);

#endif
