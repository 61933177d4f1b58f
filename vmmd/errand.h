/* SPDX-License-Identifier: ISC */
/*
 * What a vCPU thread cannot do itself, because its descriptor table has four entries: it hands the control thread an
 * errand and waits for it. Interrupt descriptors, ioeventfds and back ends are the control thread's. Errands are short, and
 * no other process is waited for, with one exception that is bounded: the reset of a device, whose errand stays with the
 * control thread until the back end has confirmed or is dead.
 *
 * The control thread serves errands in its loop and also while it waits for vCPUs to be held, so neither waits for the
 * other. When the machine goes away it closes them first: whoever waits returns.
 *
 * A vCPU thread must not allocate (its filter has no mmap), so the caller brings the storage. Whoever posts an errand
 * knows nothing of its end; whoever calls one has it on its stack until it is done.
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
	/* Control thread, no lock held. Returns true when done; false: it stays, errand_done() will be called for @arg. */
	bool (*run)(void *arg);
	void *arg;
	bool posted; /* [mtx] nobody waits: forgotten before it runs */
	bool queued; /* [mtx] */
	bool done;   /* [mtx] */
};

TAILQ_HEAD(errand_list, errand);

struct errands {
	pthread_mutex_t mtx;      /* guards the lists and the errands in them */
	pthread_cond_t finished;  /* some errand is done */
	struct errand_list queue; /* to be run, in order */
	struct errand_list staying;
	unsigned n_queued;
	bool closed;              /* nobody serves them any more */
	struct wake *wake;        /* [const] borrowed */
	pthread_t control;        /* [const] */
	void (*nudge)(void *arg); /* [const] after errands_set_nudge() */
	void *nudge_arg;
};

/* In the control thread, which serves them. */
int errands_init(struct errands *es, struct wake *wake) __must_check;
void errands_fini(struct errands *es); /* nobody waits any more */
/* Called after each hand-over, from the thread that made it, for a control thread that waits elsewhere than in its loop.
 * Before other threads run. */
void errands_set_nudge(struct errands *es, void (*nudge)(void *arg), void *arg);

/* Any thread; no lock of a device may be held. Returns when it is done, or when errands are closed: then maybe without
 * having been run. In the control thread it runs at once, and one that stays is not waited for. */
void errand_call(struct errands *es, bool (*run)(void *arg), void *arg);
/* The same, but nobody waits, and the result of @run means nothing. @er (zeroed before its first use) must outlive it;
 * while it is queued this does nothing. Any thread, also with locks of a device held. */
void errand_post(struct errands *es, struct errand *er, bool (*run)(void *arg), void *arg);

/* Control thread. Runs what is queued now; what comes meanwhile has its own wake-up. */
void errands_serve(struct errands *es);
/* Those that stay for @arg are done. None is fine. */
void errand_done(struct errands *es, const void *arg);
/* Everything that waits returns; later calls and posts do nothing. For good. */
void errands_close(struct errands *es);

#endif
