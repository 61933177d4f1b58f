/* SPDX-License-Identifier: ISC */
/*
 * Where vCPU threads are held while the guest must not run. The control thread opens and closes the gate; any thread may
 * close it (a vCPU whose guest asked for a reset closes it for all, itself included).
 *
 *	vCPU thread:    while (gate_pass(g)) { while (gate_is_open(g)) enter the guest; }
 *	control thread: gate_open(g); ... gate_close(g); kick the threads; gate_wait_held(g, n, ms); ... gate_end(g);
 *
 * A thread on its way to the gate may need something of the control thread first: it nudges the one that waits.
 */
#ifndef VMMD_GATE_H
#define VMMD_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/cleanup.h"

enum gate_phase { GATE_CLOSED, GATE_OPEN, GATE_END };

struct gate {
	pthread_mutex_t mtx;     /* guards phase, held and nudged */
	pthread_cond_t changed;  /* phase changed */
	pthread_cond_t held_all; /* held or nudged changed */
	enum gate_phase phase;
	unsigned held;     /* threads waiting in gate_pass() */
	bool nudged;       /* the waiting control thread should look elsewhere for a moment */
	_Atomic bool open; /* phase == GATE_OPEN, for a look without the lock before each entry of the guest */
};

int gate_init(struct gate *g) __must_check; /* closed */
void gate_fini(struct gate *g);

/* vCPU thread: wait until the gate is open (true) or ends (false). */
bool gate_pass(struct gate *g);
/* Any thread. */
bool gate_is_open(struct gate *g);
/* Any thread. Nobody waits here. Closing after the end has no effect. */
void gate_close(struct gate *g);
void gate_open(struct gate *g);
/* All threads leave: control thread. */
void gate_end(struct gate *g);
/* gate_wait_held() returns, the current or the next one. Any thread. */
void gate_nudge(struct gate *g);
/* Until @n threads are held, at most @timeout_ms. False: not yet, or nudged. */
bool gate_wait_held(struct gate *g, unsigned n, int timeout_ms);

#endif
