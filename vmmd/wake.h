/* SPDX-License-Identifier: ISC */
/*
 * How vCPU threads wake the control thread: one eventfd, written only when no wake-up is already under way. A guest that
 * prints writes the transmitter register once per byte; without the flag each byte would be a system call.
 *
 * The descriptor has another number in a vCPU thread's own table, which wake_enter_thread() tells.
 */
#ifndef VMMD_WAKE_H
#define VMMD_WAKE_H

#include <stdatomic.h>
#include <stdbool.h>

struct wake {
	int fd;               /* [const] control thread's number; eventfd, non-blocking */
	_Atomic bool pending; /* a write was made and not yet taken */
};

int wake_init(struct wake *w);
void wake_fini(struct wake *w);
/* In a vCPU thread: @fd is the number of the (one) wake descriptor here. */
void wake_enter_thread(int fd);
/* Any thread, after it has made visible what there is to do. */
void wake_signal(struct wake *w);
/* Control thread, before it looks what there is to do. */
void wake_take(struct wake *w);

#endif
