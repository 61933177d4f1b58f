/* SPDX-License-Identifier: ISC */
/*
 * What a driver finds of each kind of device: which features of the back end's it is offered, how long the
 * configuration space is, what of it may be written. Pure.
 */
#ifndef VMMD_VHOST_PROFILE_H
#define VMMD_VHOST_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/msg.h"

struct vhost_profile {
	uint32_t type;      /* VIRTIO_ID_x */
	uint64_t features;  /* offered when the back end has them */
	uint64_t added;     /* may be offered without it: they describe what is in the configuration space */
	uint32_t asked_len; /* configuration space of the back end */
	bool asked_needed;
	uint32_t config_len;
	bool config_len_hidden;
	uint32_t writable_off, writable_len;
};

const struct vhost_profile *vhost_profile(enum dev_kind kind, bool ours);

/* A device in the configuration. */
struct vhost_identity {
	const char *id;   /* borrowed from the configuration */
	const char *kind; /* what people call it */
	uint16_t segment;
	int slot; /* -1: any */
};
/* False: the configuration has no such device. */
bool vhost_profile_identity(const struct cfg_vm *cfg, enum dev_kind kind, uint32_t index, struct vhost_identity *out);

/* The configuration space (@config has p->config_len bytes, and holds what the back end told, or zeros) and the
 * features to offer, out of the back end's @features. @n_queues: of the back end. @control: features of our own
 * helper that serves the control queue of somebody else's network device, 0: none. */
uint64_t vhost_profile_fill(const struct vhost_profile *p, const struct cfg_vm *cfg, enum dev_kind kind, uint32_t index,
			    bool ours, unsigned n_queues, uint64_t features, uint64_t control, uint8_t *config);

/* Where the configuration space of a control queue's helper has the number of pairs that the driver has set, two bytes
 * (0: none yet). */
enum { VHOST_CTL_PAIRS_AT = 17 };

#endif
