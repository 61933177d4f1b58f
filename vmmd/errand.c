/* SPDX-License-Identifier: ISC */
#include "vmmd/errand.h"

#include <string.h>

int errands_init(struct errands *es, struct wake *wake)
{
	memset(es, 0, sizeof(*es));
	TAILQ_INIT(&es->queue);
	TAILQ_INIT(&es->staying);
	es->wake = wake;
	es->control = pthread_self();
	int r = pthread_mutex_init(&es->mtx, NULL);

	if (r != 0)
		return -r;
	r = pthread_cond_init(&es->finished, NULL);
	if (r != 0)
		(void)pthread_mutex_destroy(&es->mtx);
	return -r;
}

void errands_fini(struct errands *es)
{
	(void)pthread_cond_destroy(&es->finished);
	(void)pthread_mutex_destroy(&es->mtx);
}

void errands_set_nudge(struct errands *es, void (*nudge)(void *arg), void *arg)
{
	es->nudge = nudge;
	es->nudge_arg = arg;
}

/* [mtx] */
static void enqueue(struct errands *es, struct errand *er)
{
	er->queued = true;
	TAILQ_INSERT_TAIL(&es->queue, er, link);
	es->n_queued++;
}

static struct errand *dequeue(struct errands *es)
{
	struct errand *er = TAILQ_FIRST(&es->queue);

	if (er == NULL)
		return NULL;
	TAILQ_REMOVE(&es->queue, er, link);
	es->n_queued--;
	er->queued = false;
	return er;
}

static void tell_control(struct errands *es)
{
	wake_signal(es->wake);
	if (es->nudge != NULL)
		es->nudge(es->nudge_arg);
}

void errand_call(struct errands *es, bool (*run)(void *arg), void *arg)
{
	struct errand er = { .run = run, .arg = arg };

	if (pthread_equal(pthread_self(), es->control)) {
		(void)run(arg);
		return;
	}
	(void)pthread_mutex_lock(&es->mtx);
	if (es->closed) {
		(void)pthread_mutex_unlock(&es->mtx);
		return;
	}
	enqueue(es, &er);
	(void)pthread_mutex_unlock(&es->mtx);
	tell_control(es);
	(void)pthread_mutex_lock(&es->mtx);
	while (!er.done)
		(void)pthread_cond_wait(&es->finished, &es->mtx);
	(void)pthread_mutex_unlock(&es->mtx);
}

void errand_post(struct errands *es, struct errand *er, bool (*run)(void *arg), void *arg)
{
	(void)pthread_mutex_lock(&es->mtx);
	bool fresh = !es->closed && !er->queued;

	if (fresh) {
		er->run = run;
		er->arg = arg;
		er->posted = true;
		enqueue(es, er);
	}
	(void)pthread_mutex_unlock(&es->mtx);
	if (fresh)
		tell_control(es);
}

/* A called errand is on a stack that may be gone as soon as it is done and the lock is free; a posted one may be posted
 * again as soon as it left the queue. */
static void finish(struct errands *es, struct errand *er, bool done)
{
	(void)pthread_mutex_lock(&es->mtx);
	if (!done && !es->closed) {
		TAILQ_INSERT_TAIL(&es->staying, er, link);
	} else {
		er->done = true;
		(void)pthread_cond_broadcast(&es->finished);
	}
	(void)pthread_mutex_unlock(&es->mtx);
}

static bool serve_one(struct errands *es)
{
	(void)pthread_mutex_lock(&es->mtx);
	struct errand *er = dequeue(es);
	bool posted = er != NULL && er->posted;
	bool (*run)(void *arg) = er != NULL ? er->run : NULL;
	void *arg = er != NULL ? er->arg : NULL;

	(void)pthread_mutex_unlock(&es->mtx);
	if (er == NULL)
		return false;
	bool done = run(arg);

	if (!posted)
		finish(es, er, done);
	return true;
}

void errands_serve(struct errands *es)
{
	(void)pthread_mutex_lock(&es->mtx);
	unsigned n = es->n_queued;

	(void)pthread_mutex_unlock(&es->mtx);
	while (n-- > 0 && serve_one(es))
		continue;
}

void errand_done(struct errands *es, const void *arg)
{
	struct errand *er, *next;

	(void)pthread_mutex_lock(&es->mtx);
	for (er = TAILQ_FIRST(&es->staying); er != NULL; er = next) {
		next = TAILQ_NEXT(er, link);
		if (er->arg != arg)
			continue;
		TAILQ_REMOVE(&es->staying, er, link);
		er->done = true;
	}
	(void)pthread_cond_broadcast(&es->finished);
	(void)pthread_mutex_unlock(&es->mtx);
}

void errands_close(struct errands *es)
{
	struct errand *er;

	(void)pthread_mutex_lock(&es->mtx);
	es->closed = true;
	while ((er = dequeue(es)) != NULL)
		er->done = true;
	while ((er = TAILQ_FIRST(&es->staying)) != NULL) {
		TAILQ_REMOVE(&es->staying, er, link);
		er->done = true;
	}
	(void)pthread_cond_broadcast(&es->finished);
	(void)pthread_mutex_unlock(&es->mtx);
}
