/* SPDX-License-Identifier: ISC */
/*
 * The socket to a vhost-user back end, seen from the front end: requests go out in order, answers come back in the
 * same order. Nothing here waits. A request that is not answered in time, an answer that is not one, and the end of
 * the socket are the same thing: the link is over, and its owner hears why.
 *
 * A deadline is believed only when one more look, a little later, still finds nothing: this process, or both, may
 * have been stopped for longer than the deadline.
 *
 * Callbacks come from the loop and from vhost_link_pump(), never from within vhost_link_send().
 */
#ifndef VMMD_VHOST_LINK_H
#define VMMD_VHOST_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/cleanup.h"
#include "vmmd/vhost/msg.h"

struct event;
struct event_base;

enum {
	VHOST_LINK_FDS_MAX = VHOST_USER_MEM_REGIONS_MAX,
	VHOST_LINK_QUEUED_MAX = 8192, /* requests unsent or unanswered: more than a start of 256 queues takes */
};

/* The reason when nothing is wrong with a back end but that it is gone. */
extern const char vhost_link_closed[];

struct vhost_link_ops {
	/* @fd: what came with the answer, -1: nothing. Take it, or it is closed. */
	void (*reply)(void *arg, const struct vhost_reply *r, int *fd);
	/* The link is closed already. @why is for the log. */
	void (*broken)(void *arg, const char *why);
};

struct vhost_request {
	uint32_t type;
	const void *payload;
	uint32_t len;
	const int *fds; /* borrowed until they are sent, or the link is closed */
	unsigned n_fds;
	struct vhost_expect expect; /* .request is filled in here */
	uint32_t timeout_ms;        /* for sending it and its answer */
};

struct vhost_queued;
TAILQ_HEAD(vhost_queue, vhost_queued);

struct vhost_link {
	int fd; /* -1: closed */
	bool takes_fds;
	bool doubt;       /* a deadline is over, one more look is due */
	const char *over; /* found broken while sending: told from the loop */
	struct event_base *base;
	const struct vhost_link_ops *ops;
	void *arg;
	struct vhost_in in;
	int in_fd;
	unsigned n_in_fds;
	struct vhost_queue unsent, unanswered;
	unsigned n_queued;
	uint64_t alarm_ns; /* when on_time is due, 0: not armed */
	struct event *on_read, *on_write, *on_time;
};

void vhost_link_init(struct vhost_link *l, struct event_base *base, const struct vhost_link_ops *ops, void *arg);
/* Takes *@fd, a stream socket. @takes_fds: descriptors come with answers. 0 or -ENOMEM. */
int vhost_link_open(struct vhost_link *l, int *fd, bool takes_fds) __must_check;
void vhost_link_close(struct vhost_link *l); /* also from its callbacks; accepts a closed one */
static inline bool vhost_link_is_open(const struct vhost_link *l)
{
	return l->fd >= 0;
}

/* On a closed link nothing happens. */
void vhost_link_send(struct vhost_link *l, const struct vhost_request *rq);
/* Nothing is unsent and nothing unanswered. */
bool vhost_link_is_idle(const struct vhost_link *l);
/* A request of this type has not been sent yet. */
bool vhost_link_is_unsent(const struct vhost_link *l, uint32_t type, uint32_t index);
/* All that the loop would do now: for whoever can't return to it. */
void vhost_link_pump(struct vhost_link *l);

#endif
