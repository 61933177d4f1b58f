/* SPDX-License-Identifier: ISC */
/*
 * What a vCPU thread cannot do itself, because its descriptor table has four entries: it hands the control thread an
 * errand and waits for it. Interrupt descriptors, ioeventfds and back ends are the control thread's. Errands are short, and no other
 * process is waited for, with one exception that is bounded: the reset of a device, whose errand the control thread keeps
 * until the back end has confirmed or is dead.
 *
 * The control thread serves errands in its loop and also while it waits for vCPUs to be held, so neither waits for the other.
 */
#ifndef VMMD_ERRAND_H
#define VMMD_ERRAND_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "common/cleanup.h"
#include "vmmd/wake.h"

struct errand {
	TAILQ_ENTRY(errand) link;
	/* Control thread. Returns true when done; false: errand_done() will be called later. */
	bool (*run)(struct errand *er, void *arg);
	void *arg;
	bool done; /* [mtx] */
};

struct errands {
	pthread_mutex_t mtx; /* guards the lists and done */
	pthread_cond_t finished;
	TAILQ_HEAD(, errand) queue;
	struct wake *wake; /* borrowed */
	pthread_t control;
	bool closed;       /* nobody serves them any more: they return at once */
};

/* In the control thread, which serves them. */
int errands_init(struct errands *es, struct wake *wake) __must_check;
void errands_fini(struct errands *es);

/* Any thread; in the control thread it runs at once (and must not be one that stays). Returns when done. No lock of a device may be held. */
void errand_call(struct errands *es, bool (*run)(struct errand *er, void *arg), void *arg);
/* The same, but nobody waits. @run's @arg must outlive it. 0 or -ENOMEM. */
int errand_post(struct errands *es, void (*run)(void *arg), void *arg) __must_check;

/* Control thread. */
void errands_serve(struct errands *es);
void errand_done(struct errands *es, struct errand *er);
/* Everything that waits returns; later calls return at once without having been run, until reopened. */
void errands_close(struct errands *es);
void errands_reopen(struct errands *es);

#endif
