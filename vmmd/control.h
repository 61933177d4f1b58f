/* SPDX-License-Identifier: ISC */
/*
 * vmmd's control loop: one thread, which owns the VM and talks to the monitor and to apid.
 *
 * The monitor's channel is drained before every message of apid's, because what apid asked of the monitor (descriptors
 * for a boot) is announced on one channel and handed over on the other.
 */
#ifndef VMMD_CONTROL_H
#define VMMD_CONTROL_H

#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"

struct control;
struct event_base;

/* Takes @monitor and @signals (a signalfd of SIGTERM, SIGINT and SIGWINCH). Before the filter: makes what it will
 * ever make by itself. */
struct control *control_new(struct event_base *base, int monitor, int signals, struct err *e);
void control_free(struct control *ctl);

/* Say hello to the monitor with what the jail lacks, then serve until the end. Returns the exit status. */
int control_run(struct control *ctl, uint32_t missing_perm, uint32_t missing_old);

#endif
