/* SPDX-License-Identifier: ISC */
/* Port 0x80 (progress codes, logged) and port 0x402 (firmware's debug output). */
#ifndef VMMD_LEGACY_DEBUG_PORT_H
#define VMMD_LEGACY_DEBUG_PORT_H

#include <stdint.h>

#include "common/log.h"
#include "vmmd/bus.h"

struct debug_port {
	uint64_t start_ns;                         /* [const] CLOCK_MONOTONIC of the VM's start */
	void (*line)(void *arg, const char *text); /* [const] */
	void *arg;                                 /* [const] */
	struct log_rl rl;                          /* [atomic] */
};

/* @start_ns: times are told from here. @line NULL: each code becomes one line of the log at level
 * info. In either case at most 10 a second pass; the next one tells how many did not. */
void debug_port_init(struct debug_port *d, uint64_t start_ns,
		     void (*line)(void *arg, const char *text), void *arg);

extern const struct bus_ops debug_port_bus_ops; /* one port; dev is the struct debug_port */
extern const struct bus_ops fw_debug_bus_ops;   /* one port; dev unused */

#endif
