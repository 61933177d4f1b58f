/* SPDX-License-Identifier: ISC */
/* SMBIOS 3.2: entry point and the structures 0, 1 and 127. Pure. */
#ifndef VMMD_BOOT_SMBIOS_H
#define VMMD_BOOT_SMBIOS_H

#include <stdint.h>

#include "common/buf.h"

/* Appends entry point and structures as they lie at @gpa. wbuf's error. */
int smbios_build(uint64_t gpa, struct wbuf *out) __must_check;

#endif
