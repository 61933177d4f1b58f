/* SPDX-License-Identifier: ISC */
/*
 * Messages of a vhost-user back end, as they arrive at the front end: put together from a stream, then held against
 * what was asked. Pure; everything in them is hostile until it has passed here.
 */
#ifndef VMMD_VHOST_MSG_H
#define VMMD_VHOST_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "proto/vhost_user.h"

struct vhost_msg {
	struct vhost_user_header h;
	uint8_t payload[VHOST_USER_PAYLOAD_MAX];
};

/* A message in the making. */
struct vhost_in {
	size_t have; /* bytes of @m */
	struct vhost_msg m;
};

/* Where the next bytes go, and how many belong to this message (never 0). */
void *vhost_in_space(struct vhost_in *in, size_t *want);
/* @n more bytes (at most what was wanted) are there. 1: @m is whole, 0: not yet, -EBADMSG: no message of this
 * protocol. */
int vhost_in_got(struct vhost_in *in, size_t n) __must_check;
/* The message was handled, the next one begins. */
void vhost_in_next(struct vhost_in *in);

/* What a request is answered with. */
enum vhost_answer {
	VHOST_ANSWER_NONE,
	VHOST_ANSWER_ACK, /* a number, not 0: refused */
	VHOST_ANSWER_U64,
	VHOST_ANSWER_STATE,    /* struct vhost_user_vring_state of the queue that was named */
	VHOST_ANSWER_CONFIG,   /* struct vhost_user_config up to its data, and as much data as was asked for */
	VHOST_ANSWER_INFLIGHT, /* struct vhost_user_inflight */
};

/* A request that waits for its answer. */
struct vhost_expect {
	uint32_t request;
	enum vhost_answer answer;
	uint32_t index; /* STATE: the queue */
	uint32_t len;   /* CONFIG: bytes of data */
	bool fd;        /* one descriptor comes with it; else none may */
	bool may_fail;  /* CONFIG: an empty payload is an answer too */
};

/* An answer that was found to be right. */
struct vhost_reply {
	uint32_t request;
	bool failed;     /* ACK: refused; CONFIG, INFLIGHT: it has none */
	uint64_t number; /* ACK, U64 */
	uint32_t index, len;
	const uint8_t *config; /* borrowed from the message */
	struct vhost_user_inflight inflight;
};

/* 0 with @out filled, or -EBADMSG: the answer to something else, of a wrong size, with flags or descriptors it can't
 * have. */
int vhost_reply_check(const struct vhost_expect *x, const struct vhost_msg *m, unsigned n_fds,
		      struct vhost_reply *out) __must_check;

/* A request on the back end's own channel: 0 or -EBADMSG. Its type may still be one that we don't serve. */
int vhost_backend_request_check(const struct vhost_msg *m) __must_check;

#endif
