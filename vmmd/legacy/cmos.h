/* SPDX-License-Identifier: ISC */
/* CMOS RAM and real-time clock, ports 0x70 (index) and 0x71 (data). No interrupt, no alarm. */
#ifndef VMMD_LEGACY_CMOS_H
#define VMMD_LEGACY_CMOS_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "vmmd/bus.h"
#include "vmmd/legacy/event.h"

enum { CMOS_PORTS = 2, CMOS_RAM = 128 };

struct cmos {
	struct platform_sink sink;        /* [const] */
	void (*now)(struct timespec *ts); /* [const] wall clock, UTC */
	pthread_mutex_t mtx;              /* guards the rest */
	uint8_t index;                    /* the whole latch, NMI bit included */
	uint8_t ram[CMOS_RAM];
};

/* @ram_below_4g, @ram_above_4g: bytes of boot RAM on each side. @now NULL: CLOCK_REALTIME. */
void cmos_init(struct cmos *c, uint64_t ram_below_4g, uint64_t ram_above_4g,
	       const struct platform_sink *sink, void (*now)(struct timespec *ts));
void cmos_fini(struct cmos *c);

extern const struct bus_ops cmos_bus_ops; /* dev is the struct cmos */

#endif
