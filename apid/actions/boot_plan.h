/* SPDX-License-Identifier: ISC */
/* What a boot adds to the stored configuration: names, addresses, what the devices turned out to be. */
#ifndef APID_ACTIONS_BOOT_PLAN_H
#define APID_ACTIONS_BOOT_PLAN_H

#include "common/err.h"
#include "proto/config.h"
#include "proto/msg.h"

/* Ids for disks and networks that have none ("_disk0", "_net1", ...: one counter from 0 on), random MAC addresses where
 * none is given. 0, -ENOMEM or what getrandom() says. */
int boot_plan_names(struct cfg_vm *cfg, struct err *e) __must_check;

/* The image types that the helpers found. One that was only found stays marked as such, as the guest may not make the
 * image look like something else: that holds for all later boots. 0, or -EINVAL: an image is not what it was. */
int boot_plan_details(struct cfg_vm *cfg, const struct msg_mon_handover_result *res, struct err *e) __must_check;

/* What the monitor is to be told of a disk's image: not what was merely found by an earlier boot. */
enum image_type boot_plan_image_type(const struct cfg_disk *d);

/* A group that no disk is in needs no limiter. */
bool boot_plan_uses_group(const struct cfg_vm *cfg, const char *id);

#endif
