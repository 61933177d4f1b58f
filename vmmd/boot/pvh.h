/* SPDX-License-Identifier: ISC */
/* Start info of the PVH boot protocol. */
#ifndef VMMD_BOOT_PVH_H
#define VMMD_BOOT_PVH_H

#include "vmmd/boot/loader.h"

int pvh_write_params(const struct gmem *gm, const struct boot_params *p,
		     struct err *e) __must_check;

#endif
