/* SPDX-License-Identifier: ISC */
/*
 * The order in which a helper gives up its rights. Kept after lock-down, for every helper: the control socket (to hear
 * when to end), the log socket; then what the device's own table in jail/policy/roles.def lists.
 */
#include "devices/common/device.h"

#include <errno.h>
#include <stddef.h>

#include "common/ev.h"
#include "common/log.h"
#include "devices/common/control.h"
#include "devices/common/helper.h"
#include "jail/policy/roles.h"

enum { FD_CONTROL = HELPER_FD_CONTROL, FD_LOG = HELPER_FD_LOG };
_Static_assert((int)FD_console_CONTROL == FD_CONTROL && (int)FD_console_LOG == FD_LOG, "the same in every helper");

struct helper {
	struct control control;
	struct event_base *base;
	struct event *ev_control;
	struct jail_missing missing;
	int status;
};

static void finish(struct helper *h, int status)
{
	h->status = status;
	(void)event_base_loopbreak(h->base);
}

static int lock(struct control *c, struct err *e)
{
	struct helper *h = (struct helper *)((char *)c - offsetof(struct helper, control));

	return jail_lock_rest(c->ops->role, &c->lim, &h->missing, e);
}

/* One message. What is refused changes nothing; what cannot be undone ends the process, and the parent sees that. */
static void take_message(struct helper *h, struct chan_msg *m)
{
	struct err e = { 0 };
	char text[LOG_MSG_MAX];
	int r = control_handle(&h->control, m, &e);

	if (r == 0)
		return;
	(void)err_join(&e, text, sizeof(text));
	log_at_rl(r == -ECONNABORTED ? LOG_ERROR : LOG_WARN, "%s: %s", h->control.ops->name, text);
	if (r == -ECONNABORTED)
		finish(h, 1);
}

/* The poll back end of libevent needs poll, and gettimeofday where the clock source is one that user space cannot read
 * (as in the lab); a channel without descriptors the other two.
 * #syscalls console: poll gettimeofday recvfrom(fd=CONTROL) sendto(fd=CONTROL|LOG)
 */
static void on_control(evutil_socket_t fd, short what, void *arg)
{
	enum { BUDGET = 16 };
	struct helper *h = arg;
	struct chan_msg m;

	(void)fd;
	(void)what;
	for (int i = 0; i < BUDGET && h->status < 0; i++) {
		int r = h->control.state == CONTROL_LOCKED ? chan_recv_plain(h->control.chan, &m) :
							     chan_recv(h->control.chan, &m);

		if (r == 0)
			break;
		if (r < 0) {
			/* -EPIPE: the parent ended, and so do we, in order. */
			finish(h, r == -EPIPE ? 0 : 1);
			break;
		}
		take_message(h, &m);
	}
	if (chan_flush(h->control.chan) < 0 && h->status < 0)
		finish(h, 0);
}

static int setup(struct helper *h, const struct device_ops *ops, void *dev)
{
	struct chan *chan = chan_new(FD_CONTROL, HELPER_MSG_MAX, HELPER_QUEUED_MAX);

	h->base = ev_new(EV_BACKEND_POLL);
	if (h->base == NULL || chan == NULL)
		return -ENOMEM;
	control_init(&h->control, ops, dev, h->base, chan);
	h->control.lock = lock;
	h->ev_control = event_new(h->base, FD_CONTROL, EV_READ | EV_PERSIST, on_control, h);
	if (h->ev_control == NULL || event_add(h->ev_control, NULL) < 0)
		return -ENOMEM;
	return helper_say_hello(chan, &h->missing);
}

int device_main(const struct device_ops *ops, void *dev, int argc, char **argv)
{
	struct helper h = { .status = -1 };

	jail_post_exec(argc > 0 ? argv[0] : ops->name);
	helper_ignore_signals();
	log_open(FD_LOG, ops->name, LOG_DEBUG);
	/* Nothing is opened by name from the first instruction on, so the rule need not wait for the lock-down. */
	jail_lock_landlock(&h.missing);
	if (helper_keep_heap() < 0 || setup(&h, ops, dev) < 0)
		return 1;
	(void)event_base_loop(h.base, EVLOOP_NO_EXIT_ON_EMPTY);
	ops->stop(dev);
	return h.status < 0 ? 1 : h.status;
}
