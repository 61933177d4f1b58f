/* SPDX-License-Identifier: ISC */
/* Linux bzImage by the 32-bit boot protocol. */
#ifndef VMMD_BOOT_BZIMAGE_H
#define VMMD_BOOT_BZIMAGE_H

#include "vmmd/boot/loader.h"

/* As loader_load_kernel(), for any file. */
int bzimage_load(const struct boot_image *img, const struct memmap *map, struct boot_kernel *out,
		 struct err *e) __must_check;

/* The zero page, which replaces a PVH start info. */
int bzimage_write_params(const struct gmem *gm, const struct boot_params *p,
			 struct err *e) __must_check;

#endif
