/* SPDX-License-Identifier: ISC */
/*
 * All virtio devices of a VM: handed over by the monitor before a boot, made visible to the guest by the machine, there
 * until the parts of that boot are given back.
 *
 * Control thread only.
 */
#ifndef VMMD_VHOST_DEVICES_H
#define VMMD_VHOST_DEVICES_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "vmmd/machine.h"
#include "vmmd/vhost/device.h"

enum { VHOST_DEVICES_MAX = 256 };

struct vhost_devices {
	struct event_base *base;
	const struct vhost_device_ops *ops;
	void *arg;
	unsigned n;
	struct vhost_device **v; /* in the order in which they get their slots */
	struct machine_device *list;
	struct vhost_ram ram;
	uint32_t boot_ms; /* how long a boot waits for back ends in all */
};

void vhost_devices_init(struct vhost_devices *ds, struct event_base *base, const struct vhost_device_ops *ops,
			void *arg);
/* Accepts a zeroed one. */
void vhost_devices_clear(struct vhost_devices *ds);

/* What the monitor says. Takes from @fds as far as it goes. A device that isn't there (any more) is no error. */
int vhost_devices_add(struct vhost_devices *ds, const struct msg_mon_device *m, int *fds, unsigned n_fds,
		      struct err *e) __must_check;
int vhost_devices_add_events(struct vhost_devices *ds, const struct msg_mon_device_events *m, int *fds, unsigned n_fds,
			     struct err *e) __must_check;
void vhost_devices_gone(struct vhost_devices *ds, const struct msg_mon_device_gone *m);
int vhost_devices_up(struct vhost_devices *ds, const struct msg_mon_device_up *m, int *fds, unsigned n_fds,
		     struct err *e) __must_check;

/* At a boot: wait until all handshakes are over, calling @progress(@arg) now and then (which brings news of the
 * monitor's: a back end that has died is waited for), and describe the devices for the machine. Everything is
 * borrowed until vhost_devices_clear(), @ram_fd as well. */
int vhost_devices_prepare(struct vhost_devices *ds, const struct cfg_vm *cfg, const struct gmem *gmem,
			  const struct memmap *map, int ram_fd, void (*progress)(void *arg), void *arg,
			  struct err *e) __must_check;
/* For the machine: so many of them. Good until the next change. NULL when there are none. */
const struct machine_device *vhost_devices_list(struct vhost_devices *ds);
unsigned vhost_devices_visible(const struct vhost_devices *ds);

/* Wait until every stop that is under way is over, or given up: by its deadline at the latest. */
void vhost_devices_wait_stopped(struct vhost_devices *ds);
bool vhost_devices_are_idle(const struct vhost_devices *ds);

/* Add to what is in @out. 0 or -ENOMEM. */
int vhost_devices_info(const struct vhost_devices *ds, struct msg_cmd_vm_info_result *out) __must_check;
int vhost_devices_counters(const struct vhost_devices *ds, struct msg_cmd_vm_counters_result *out) __must_check;

#endif
