/* SPDX-License-Identifier: ISC */
/*
 * What a helper asks of us, on the channel of its own that SET_BACKEND_REQ_FD names: that its configuration space be
 * read again. Everything else is refused. Never blocks; a helper that says too much is taken for broken.
 */
#ifndef VMMD_VHOST_BACKEND_H
#define VMMD_VHOST_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "vmmd/vhost/msg.h"

struct event;
struct event_base;

struct vhost_backend_ops {
	void (*config_changed)(void *arg);
	void (*broken)(void *arg, const char *why); /* closed already */
};

struct vhost_backend {
	int fd; /* -1: closed */
	struct event *on_read;
	struct vhost_in in;
	const struct vhost_backend_ops *ops;
	void *arg;
	uint64_t second; /* of the clock, and the messages in it */
	uint32_t in_second;
};

void vhost_backend_init(struct vhost_backend *b, const struct vhost_backend_ops *ops, void *arg);
/* Takes *@fd, a stream socket. */
int vhost_backend_open(struct vhost_backend *b, struct event_base *base, int *fd) __must_check;
void vhost_backend_close(struct vhost_backend *b); /* also from its callbacks; accepts a closed one */
/* All that the loop would do now. */
void vhost_backend_pump(struct vhost_backend *b);

#endif
