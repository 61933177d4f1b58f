/* SPDX-License-Identifier: ISC */
/*
 * The dirty log of a live migration ("Vhost-user Protocol", Migration): a bit for each page of 4 KiB of guest memory
 * that the back end has written to. Others clear bits in it at the same time.
 */
#ifndef DEVICES_COMMON_DIRTY_LOG_H
#define DEVICES_COMMON_DIRTY_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/gmem.h"

struct dirty_log {
	uint8_t *map; /* [const] while a queue runs; NULL: none. Its bytes are [atomic] */
	uint64_t bytes;
	_Atomic bool on; /* the driver's features include LOG_ALL */
};

static inline bool dirty_log_is_on(const struct dirty_log *log)
{
	return atomic_load_explicit(&log->on, memory_order_relaxed);
}

/* Guest memory [@gpa, @gpa + @len) was written. What lies behind the end of the log is not guest memory: ignored. Any
 * thread. */
void dirty_log_mark(struct dirty_log *log, uint64_t gpa, uint64_t len);
/* The same for what an iovec of guest memory covers. */
void dirty_log_mark_iov(struct dirty_log *log, const struct gmem *gm, const struct iovec *iov);

#endif
