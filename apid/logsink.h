/* SPDX-License-Identifier: ISC */
/*
 * The log's last station: records of all jailed processes come out of one socket, are checked again, rendered and
 * written. Writing never blocks and never fails upwards: what the output does not take waits in a bounded buffer, and
 * what does not fit there is dropped and counted.
 */
#ifndef APID_LOGSINK_H
#define APID_LOGSINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ev.h"
#include "common/log.h"

struct logsink;

/* Takes @sock (read end) and @out. Nothing is read or written before logsink_start(). NULL: out of memory. */
struct logsink *logsink_new(struct event_base *base, int sock, int out, uint64_t start_mono_ns, enum log_level max);
void logsink_free(struct logsink *l);
void logsink_start(struct logsink *l);
/* A record of this process: rendered like the others, kept until started. */
void logsink_put(void *logsink, const struct log_rec *rec);
/* Read and write all there is now. True: nothing is left to write. Without logsink_start() nothing happens. */
bool logsink_flush(struct logsink *l);

/* "cloud-hypervisor:   0.012345s: <vmm> INFO:file.c:12 -- text\r\n" into @buf. Returns the length. */
size_t logsink_render(const struct log_rec *rec, uint64_t start_mono_ns, char *buf, size_t cap);
enum { LOGSINK_LINE_MAX = 1400 };

#endif
