/* SPDX-License-Identifier: ISC */
#include "jail/breaker.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static void forget_before(struct breaker *b, int64_t from_ms)
{
	unsigned old = 0;

	while (old < b->n && b->at_ms[old] <= from_ms)
		old++;
	b->n -= old;
	memmove(b->at_ms, b->at_ms + old, b->n * sizeof(b->at_ms[0]));
}

int breaker_crash(struct breaker *b, int64_t now_ms, int signal)
{
	uint32_t delay;

	/* A filter kill is an attack or a bug; a new process would give it another try. */
	if (b->open || signal == SIGSYS) {
		b->open = true;
		return -ECANCELED;
	}
	forget_before(b, now_ms - BREAKER_WINDOW_MS);
	/* The first successor comes at once: within its time limit nobody notices more than a pause. */
	if (b->n == 0)
		b->delay_ms = 0;
	b->at_ms[b->n++] = now_ms;
	if (b->n == BREAKER_CRASHES) {
		b->open = true;
		return -ECANCELED;
	}
	delay = b->delay_ms;
	b->delay_ms = delay == 0 ? BREAKER_DELAY_MIN_MS : delay * 2;
	if (b->delay_ms > BREAKER_DELAY_MAX_MS)
		b->delay_ms = BREAKER_DELAY_MAX_MS;
	return (int)delay;
}
