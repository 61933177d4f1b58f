/* SPDX-License-Identifier: ISC */
/*
 * Log records from one vCPU thread to the control thread. A vCPU thread has no socket to log to and must not wait, so it
 * leaves records in this ring; the control thread sends them on. Full means lost and counted: the next record that fits
 * carries the number.
 *
 * One producer, one consumer, no lock.
 */
#ifndef VMMD_LOG_RING_H
#define VMMD_LOG_RING_H

#include <stdbool.h>

struct log_rec;
struct log_ring;

struct log_ring *log_ring_new(void); /* NULL when out of memory */
void log_ring_free(struct log_ring *r);

/* Producer only. False: full, counted. */
bool log_ring_push(struct log_ring *r, const struct log_rec *rec);
/* Consumer only. False: empty. */
bool log_ring_pop(struct log_ring *r, struct log_rec *out);

#endif
