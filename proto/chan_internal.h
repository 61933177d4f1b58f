/* SPDX-License-Identifier: ISC */
/* Inside of a channel, for its files: sending, receiving with and without descriptors, waiting. */
#ifndef PROTO_CHAN_INTERNAL_H
#define PROTO_CHAN_INTERNAL_H

#include <sys/queue.h>

#include "proto/chan.h"

/* One record that waits to be sent. */
struct chan_out {
	TAILQ_ENTRY(chan_out) next;
	const int *fds; /* of the first record; borrowed while chan_send() runs, afterwards own_fds */
	int *own_fds;   /* duplicates, NULL or nfds of them */
	unsigned nfds;
	size_t len;
	uint8_t data[];
};

TAILQ_HEAD(chan_queue, chan_out);

struct chan {
	int fd;
	size_t max_msg, max_queued;

	/* sending */
	int send_error; /* 0 or the -errno of every further send */
	struct chan_queue out;
	size_t queued; /* bytes in @out */

	/* receiving */
	int recv_error; /* 0, -EPIPE or -EBADMSG, for ever */
	bool partial;   /* @in has begun and is not whole */
	struct chan_msg in;
	size_t have; /* bytes of @in that came */
	uint8_t rec[CHAN_RECORD_MAX];
};

/* Feed one record of @len bytes in c->rec. Takes the descriptors. 1: @m is whole, 0: more to come, -EBADMSG. */
int chan_in_record(struct chan *c, size_t len, const int *fds, unsigned nfds, struct chan_msg *m);
/* The peer ended its side. */
int chan_in_eof(struct chan *c);
int chan_in_broken(struct chan *c);

/* Replace the borrowed descriptors of a record by duplicates. 0 or -errno. */
int chan_out_own_fds(struct chan_out *o);

#endif
