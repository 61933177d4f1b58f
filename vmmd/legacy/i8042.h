/* SPDX-License-Identifier: ISC */
/* Ports 0x61-0x64: what is left of port B and the keyboard controller. No state but the way out. */
#ifndef VMMD_LEGACY_I8042_H
#define VMMD_LEGACY_I8042_H

#include "vmmd/bus.h"
#include "vmmd/legacy/event.h"

enum { I8042_PORTS = 4 };

/* dev is a struct platform_sink, borrowed. Base is port 0x61. */
extern const struct bus_ops i8042_bus_ops;

#endif
