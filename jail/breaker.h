/* SPDX-License-Identifier: ISC */
/* When a process that died may be started again. Pure: the caller brings the time. */
#ifndef JAIL_BREAKER_H
#define JAIL_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"

enum {
	BREAKER_CRASHES = 5,       /* this many ... */
	BREAKER_WINDOW_MS = 60000, /* ... in this time open it */
	BREAKER_DELAY_MIN_MS = 10,
	BREAKER_DELAY_MAX_MS = 5000,
};

struct breaker {
	int64_t at_ms[BREAKER_CRASHES]; /* of the last crashes, oldest first */
	unsigned n;
	uint32_t delay_ms; /* before the next start */
	bool open;         /* for good */
};

/* Note a death. @signal is what killed it, 0: it exited. Returns the delay before the next start in ms, 0 for the first
 * crash in a while; -ECANCELED when it must not be started again: too many, or killed by its own filter. */
int breaker_crash(struct breaker *b, int64_t now_ms, int signal) __must_check;

#endif
