/* SPDX-License-Identifier: ISC */
/* Inside of acpi/: what the DSDT is made of. Pure. */
#ifndef VMMD_ACPI_DSDT_H
#define VMMD_ACPI_DSDT_H

#include <stdint.h>

#include "common/buf.h"
#include "vmmd/acpi/tables.h"

/* Appends the body of the DSDT, without its header. wbuf's error. */
int acpi_put_dsdt_objects(const struct acpi_cfg *cfg, struct wbuf *out) __must_check;

/* Appends a local x2APIC entry, as in MADT and _MAT. */
void acpi_put_x2apic(struct wbuf *b, uint32_t apic_id, uint32_t flags, uint32_t uid);

#endif
