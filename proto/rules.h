/* SPDX-License-Identifier: ISC */
/* Checks across fields, one named rule each. They run at boot, not at create. */
#ifndef PROTO_RULES_H
#define PROTO_RULES_H

#include "common/err.h"
#include "proto/config.h"

/* Refusals of the configuration itself: -ERR_INVALID (400) or -ERR_CONFLICT (409). First failing rule wins. */
int rules_check_boot(const struct cfg_vm *cfg, struct err *e) __must_check;

/* What follows from the rest: iommu is set when a device is behind it; never cleared. After rules_check_boot(). */
void rules_complete(struct cfg_vm *cfg);

/* Refusals that clients expect as failures of the boot: -EINVAL (500). After rules_check_boot(). */
int rules_check_runtime(const struct cfg_vm *cfg, struct err *e) __must_check;

#endif
