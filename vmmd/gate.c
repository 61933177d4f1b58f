/* SPDX-License-Identifier: ISC */
#include "vmmd/gate.h"

#include <errno.h>
#include <time.h>

static int cond_init(pthread_cond_t *c)
{
	pthread_condattr_t attr;
	int r = pthread_condattr_init(&attr);

	if (r != 0)
		return r;
	r = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	if (r == 0)
		r = pthread_cond_init(c, &attr);
	(void)pthread_condattr_destroy(&attr);
	return r;
}

int gate_init(struct gate *g)
{
	int r = pthread_mutex_init(&g->mtx, NULL);

	if (r != 0)
		return -r;
	r = cond_init(&g->changed);
	if (r == 0) {
		r = cond_init(&g->held_all);
		if (r != 0)
			(void)pthread_cond_destroy(&g->changed);
	}
	if (r != 0) {
		(void)pthread_mutex_destroy(&g->mtx);
		return -r;
	}
	g->phase = GATE_CLOSED;
	g->held = 0;
	g->nudged = false;
	atomic_init(&g->open, false);
	return 0;
}

void gate_fini(struct gate *g)
{
	(void)pthread_cond_destroy(&g->held_all);
	(void)pthread_cond_destroy(&g->changed);
	(void)pthread_mutex_destroy(&g->mtx);
}

static void set_phase(struct gate *g, enum gate_phase phase)
{
	(void)pthread_mutex_lock(&g->mtx);
	if (g->phase != GATE_END) {
		g->phase = phase;
		atomic_store(&g->open, phase == GATE_OPEN);
	}
	(void)pthread_cond_broadcast(&g->changed);
	(void)pthread_mutex_unlock(&g->mtx);
}

void gate_close(struct gate *g)
{
	set_phase(g, GATE_CLOSED);
}

void gate_open(struct gate *g)
{
	set_phase(g, GATE_OPEN);
}

void gate_end(struct gate *g)
{
	set_phase(g, GATE_END);
}

bool gate_is_open(struct gate *g)
{
	return atomic_load(&g->open);
}

bool gate_pass(struct gate *g)
{
	(void)pthread_mutex_lock(&g->mtx);
	g->held++;
	(void)pthread_cond_signal(&g->held_all);
	while (g->phase == GATE_CLOSED)
		(void)pthread_cond_wait(&g->changed, &g->mtx);
	g->held--;
	bool open = g->phase == GATE_OPEN;

	(void)pthread_mutex_unlock(&g->mtx);
	return open;
}

void gate_nudge(struct gate *g)
{
	(void)pthread_mutex_lock(&g->mtx);
	g->nudged = true;
	(void)pthread_cond_signal(&g->held_all);
	(void)pthread_mutex_unlock(&g->mtx);
}

bool gate_wait_held(struct gate *g, unsigned n, int timeout_ms)
{
	struct timespec end;

	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += timeout_ms / 1000;
	end.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (end.tv_nsec >= 1000000000L) {
		end.tv_sec++;
		end.tv_nsec -= 1000000000L;
	}
	(void)pthread_mutex_lock(&g->mtx);
	while (g->held < n && !g->nudged && pthread_cond_timedwait(&g->held_all, &g->mtx, &end) != ETIMEDOUT)
		continue;
	bool all = g->held >= n;

	g->nudged = false;
	(void)pthread_mutex_unlock(&g->mtx);
	return all;
}
