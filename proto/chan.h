/* SPDX-License-Identifier: ISC */
/*
 * A channel: framed messages with descriptors over one end of a SOCK_SEQPACKET socketpair. Nothing here waits, but
 * for chan_recv_timeout().
 *
 *	record	u32 magic and version, u16 type, u16 flags (0), u32 id, u32 total_len, u32 offset, u32 chunk_len, then
 *		chunk_len bytes; at most 32 KiB in all, little endian
 *
 * A message larger than one record goes in several, in order, without another message between them and all but the last
 * of full size. Descriptors travel with the first. A peer that breaks any rule makes the channel unusable: -EBADMSG from
 * then on, whatever had arrived is freed and closed.
 */
#ifndef PROTO_CHAN_H
#define PROTO_CHAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/fd.h"
#include "proto/desc.h"
#include "proto/msg.h"

enum {
	CHAN_RECORD_MAX = 32 * 1024,
	CHAN_HEADER = 24,
	CHAN_MAGIC = 0x434c5301, /* "CLS", version 1 */
	CHAN_MONITOR_MAX = 8 * 1024,             /* largest message to the monitor */
	CHAN_COMMAND_MAX = 4 * 1024 * 1024 + 65536, /* largest between apid and vmmd */
};

struct chan;

struct chan_msg {
	enum msg_type type;
	uint32_t id;
	uint8_t *data;
	size_t len;
	int fds[FD_PASS_MAX]; /* take one with fd_take() */
	unsigned nfds;
};

/* Takes @fd (closed on failure too); its flags stay. @max_msg bounds a message in either direction, @max_queued what
 * waits to be sent, headers included (one message always finds room in an empty queue). NULL: out of memory. */
struct chan *chan_new(int fd, size_t max_msg, size_t max_queued);
void chan_free(struct chan *c);
int chan_fd(const struct chan *c);

/* Never blocks: sends at once, or queues (then with duplicates of @fds; the caller keeps his). @d NULL: no body.
 * 0; nothing was sent after: -EMSGSIZE, -ENOBUFS the queue is full, -EINVAL or -ERANGE @obj cannot be encoded, -ENOMEM,
 * -EMFILE, -ETOOMANYREFS; the channel is over after: -EPIPE the peer is gone, -EBADMSG, or what cut a message short. */
int chan_send(struct chan *c, enum msg_type type, uint32_t id, const struct desc *d, const void *obj, const int *fds,
	      unsigned nfds) __must_check;
bool chan_wants_write(const struct chan *c);
int chan_flush(struct chan *c); /* 0 (chan_wants_write() tells whether all went), -EPIPE, -errno */

/* 1: one whole message in @m, 0: nothing now, -EPIPE: end of file between messages, -EBADMSG: broken peer. */
int chan_recv(struct chan *c, struct chan_msg *m) __must_check;
/* The same without descriptors and without recvmsg, for a helper after its lock-down. */
int chan_recv_plain(struct chan *c, struct chan_msg *m) __must_check;
/* chan_recv(), waiting up to @timeout_ms (believed after one more look): -ETIMEDOUT. What is queued
 * goes out meanwhile. Start-up and end only. */
int chan_recv_timeout(struct chan *c, struct chan_msg *m, int timeout_ms) __must_check;
/* Frees the data and closes the descriptors that were not taken. */
void chan_msg_fini(struct chan_msg *m);

/* The body into @obj (no init needed). 0 or -EBADMSG. */
int chan_decode(const struct chan_msg *m, const struct desc *d, void *obj, struct err *e) __must_check;

#endif
