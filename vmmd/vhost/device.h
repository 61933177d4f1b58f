/* SPDX-License-Identifier: ISC */
/*
 * One virtio device of a VM and the process behind it. It lives from the monitor's MON_DEVICE to the end of that
 * boot's parts: through every reset of the guest and through every successor of its back end.
 *
 * The back end is there, or GONE (its successor may follow), or doomed: we found it broken and have asked the monitor
 * for its end. A driver's DRIVER_OK is kept meanwhile and carried out when a back end is ready; its reset is answered
 * when nothing of a back end's is in flight any more: at the latest by its death. One that cannot die (its process
 * hangs in the kernel) leaves the device failed. Somebody else's back end is cut off instead: it loses its connection
 * and the events, and what it does to guest memory then it does to its own guest.
 *
 * The control queue of somebody else's network device is served by a helper of ours: a second struct vhost_device, which
 * has no registers of its own, is started and stopped with the first, and else lives and dies for itself.
 *
 * Control thread only.
 */
#ifndef VMMD_VHOST_DEVICE_H
#define VMMD_VHOST_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/gmem.h"
#include "proto/msg.h"
#include "proto/stats_page.h"
#include "vmmd/vhost/backend.h"
#include "vmmd/vhost/front.h"
#include "vmmd/vhost/profile.h"
#include "vmmd/virtio/virtio.h"

struct vhost_device;

/* Nothing in here may free the device. */
struct vhost_device_ops {
	/* Have its back end killed, and tell when it is dead. */
	void (*kill)(void *arg, const struct vhost_device *d);
	/* "restarted", "failed": static texts. */
	void (*event)(void *arg, const struct vhost_device *d, const char *name);
	/* A stop has come to its end. */
	void (*stopped)(void *arg, struct vhost_device *d);
};

struct vhost_device {
	/* [const] what the monitor said */
	enum dev_kind kind;
	uint32_t index;
	bool ours;
	unsigned n_queues;
	uint16_t queue_size;
	const struct vhost_profile *profile;
	struct event_base *base;
	const struct vhost_device_ops *ops;
	void *arg;

	/* Descriptors, owned. */
	int *call, *kick;  /* [n_queues], and one that is borrowed: the control queue's */
	unsigned n_events; /* of 2 * n_queues, how many have come */
	int err;
	const struct stats_page *stats; /* mapped, NULL: none */

	/* The back end. */
	uint32_t generation;
	struct vhost_front front;
	struct vhost_backend backend;
	struct event *on_err, *on_late;
	bool doomed, gone, final;
	bool misfit;   /* it was given up for what it is: another one would be no better */
	char why[256]; /* it was given up last */

	/* [const] from the boot on */
	char *id, *name; /* "_disk0", "disk \"_disk0\"" */
	uint64_t offered;
	uint8_t config[VIRTIO_DEV_CONFIG_MAX];
	struct virtio_dev_cfg cfg;
	const struct cfg_vm *vm_cfg; /* this and the next two: borrowed, NULL before the boot */
	const struct gmem *gmem;
	const struct vhost_ram *ram;
	struct virtio_dev *dev; /* NULL: no machine, or it is a control queue's */
	struct vhost_device *control; /* serves the last queue, NULL: none */
	struct vhost_device *data;    /* of a control queue: the device that it belongs to */

	/* The driver's wish. */
	bool wanted;   /* DRIVER_OK, to be served */
	bool ran;      /* rings were started since, a successor resumes them */
	bool stopping; /* a stop is under way */
	uint64_t acked;
	unsigned control_queue; /* which of the guest's queues @control serves, 0: none */
};

/* Takes from @fds as far as it goes: what is left is the caller's. NULL with @e filled. */
struct vhost_device *vhost_device_new(struct event_base *base, const struct msg_mon_device *m, int *fds, unsigned n_fds,
				      const struct vhost_device_ops *ops, void *arg, struct err *e);
void vhost_device_free(struct vhost_device *d);
int vhost_device_add_events(struct vhost_device *d, int *fds, unsigned n, struct err *e) __must_check;

/* Its back end is dead. */
void vhost_device_gone(struct vhost_device *d, const struct msg_mon_device_gone *m);
/* There is another. Takes from @fds. */
int vhost_device_up(struct vhost_device *d, uint32_t generation, int *fds, unsigned n_fds, struct err *e) __must_check;

/* At a boot, first: its name in the configuration, which is borrowed for the device's life. */
int vhost_device_identify(struct vhost_device *d, const struct cfg_vm *cfg, struct err *e) __must_check;
/* Then: not ready, but may become so. */
bool vhost_device_is_busy(const struct vhost_device *d);
/* Then, for the two of a network device. */
void vhost_device_join(struct vhost_device *data, struct vhost_device *control);
/* Then: what the machine makes of it. All is borrowed for the device's life. */
int vhost_device_prepare(struct vhost_device *d, const struct gmem *gmem, const struct vhost_ram *ram,
			 struct err *e) __must_check;
/* Ready for a boot, or why not. */
int vhost_device_check(const struct vhost_device *d, struct err *e) __must_check;

/* It has registers: it is no part of another one. */
bool vhost_device_is_visible(const struct vhost_device *d);

/* Nothing of a driver's is in flight, nor can be. */
bool vhost_device_is_idle(const struct vhost_device *d);
/* A stop that nobody waits for any longer: the rest is the monitor's. */
void vhost_device_give_up(struct vhost_device *d, const char *why);

void vhost_device_pump(struct vhost_device *d);

#endif
