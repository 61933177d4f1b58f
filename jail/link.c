/* SPDX-License-Identifier: ISC */
#include "jail/link.h"

#include <errno.h>

#include "common/clock.h"

enum {
	BUDGET = 64, /* messages per wake-up, then the others have their turn */
	DRAIN_MAX = 4096,
	QUEUED_MAX = 256 * 1024,
	BURST_SECONDS = 1,
};

static void arm_write(struct link *l)
{
	if (chan_wants_write(l->chan))
		(void)event_add(l->on_write, NULL);
	else
		(void)event_del(l->on_write);
}

static void gone(struct link *l, int why)
{
	link_close(l);
	l->ops->on_gone(l->arg, why);
}

static void refill(struct link *l)
{
	int64_t now = clock_mono_ms();
	uint64_t more = (uint64_t)(now - l->refilled_ms) * l->per_second / 1000;
	uint64_t cap = (uint64_t)l->per_second * BURST_SECONDS;

	if (more == 0)
		return;
	l->tokens = l->tokens + more > cap ? (uint32_t)cap : (uint32_t)(l->tokens + more);
	l->refilled_ms = now;
}

/* May one more message be taken? Otherwise reading stops until there are tokens again. */
static bool take_token(struct link *l)
{
	static const struct timeval pause = { .tv_usec = 20000 };

	if (l->per_second == 0)
		return true;
	if (l->tokens == 0)
		refill(l);
	if (l->tokens == 0) {
		(void)event_del(l->on_read);
		(void)event_add(l->on_refill, &pause);
		return false;
	}
	l->tokens--;
	return true;
}

static void run(struct link *l, unsigned budget)
{
	while (budget-- > 0 && l->chan != NULL && take_token(l)) {
		struct chan_msg m;
		int r = chan_recv(l->chan, &m);

		if (r == 1) {
			l->ops->on_msg(l->arg, &m);
			continue;
		}
		if (l->per_second != 0)
			l->tokens++;
		if (r < 0)
			gone(l, r);
		return;
	}
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	run(arg, BUDGET);
}

static void on_refill(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;

	(void)fd;
	(void)what;
	(void)event_add(l->on_read, NULL);
	run(l, BUDGET);
}

static void on_write(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;
	int r = chan_flush(l->chan);

	(void)fd;
	(void)what;
	/* A peer that is gone is noticed when its last words have been read. */
	if (r < 0 && r != -EPIPE)
		gone(l, r);
	else if (r < 0)
		(void)event_del(l->on_write);
	else
		arm_write(l);
}

int link_open(struct link *l, struct event_base *base, int fd, const struct link_ops *ops, void *arg)
{
	*l = (struct link){ .base = base, .ops = ops, .arg = arg };
	l->chan = chan_new(fd, CHAN_MONITOR_MAX, QUEUED_MAX);
	if (l->chan == NULL)
		return -ENOMEM;
	fd = chan_fd(l->chan);
	l->on_read = event_new(base, fd, EV_READ | EV_PERSIST, on_read, l);
	l->on_write = event_new(base, fd, EV_WRITE | EV_PERSIST, on_write, l);
	l->on_refill = event_new(base, -1, 0, on_refill, l);
	if (l->on_read == NULL || l->on_write == NULL || l->on_refill == NULL || event_add(l->on_read, NULL) < 0) {
		link_close(l);
		return -ENOMEM;
	}
	return 0;
}

void link_limit(struct link *l, uint32_t per_second)
{
	l->per_second = per_second;
	l->tokens = per_second * BURST_SECONDS;
	l->refilled_ms = clock_mono_ms();
}

void link_close(struct link *l)
{
	struct event **events[] = { &l->on_read, &l->on_write, &l->on_refill };

	for (size_t i = 0; i < nitems(events); i++) {
		if (*events[i] != NULL)
			event_free(*events[i]);
		*events[i] = NULL;
	}
	if (l->chan != NULL)
		chan_free(l->chan);
	l->chan = NULL;
}

bool link_is_open(const struct link *l)
{
	return l->chan != NULL;
}

int link_send(struct link *l, enum msg_type type, uint32_t id, const struct desc *d, const void *obj, const int *fds,
	      unsigned nfds)
{
	if (l->chan == NULL)
		return -EPIPE;
	int r = chan_send(l->chan, type, id, d, obj, fds, nfds);
	if (r == 0)
		arm_write(l);
	return r;
}

void link_drain(struct link *l)
{
	/* More than a socket's buffer holds is no backlog but a peer that keeps sending. */
	run(l, DRAIN_MAX);
}
