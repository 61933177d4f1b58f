/* SPDX-License-Identifier: ISC */
/* Between device.c and device_run.c. */
#ifndef VMMD_VHOST_DEVICE_INTERNAL_H
#define VMMD_VHOST_DEVICE_INTERNAL_H

#include "vmmd/vhost/device.h"

extern const struct virtio_backend_ops vhost_device_backend_ops;

/* Callbacks of the front end. */
void vhost_device_on_ready(void *arg);
void vhost_device_on_config(void *arg);
void vhost_device_on_stopped(void *arg);
void vhost_device_on_refused(void *arg, const char *what);

/* A stop that was waited for is over. Nothing when none is under way. */
void vhost_device_stopped(struct vhost_device *d);
/* It was given up while a stop is under way: then its death is waited for, or nothing. */
void vhost_device_await_death(struct vhost_device *d);
/* It cannot be served: the driver that is there learns it. */
void vhost_device_fail(struct vhost_device *d);

/* d->config out of what the back end told. Returns the features to offer. */
uint64_t vhost_device_fill_config(struct vhost_device *d);

int vhost_device_make_events(struct vhost_device *d, struct err *e) __must_check;
void vhost_device_watch_err(struct vhost_device *d, bool on);

#endif
