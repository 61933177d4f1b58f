/* SPDX-License-Identifier: ISC */
/*
 * Sending. A message is first laid out as records at the end of the queue, then the queue is sent as far as it goes: so
 * nothing can fail between two records of a message for want of memory, and order needs no thought.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/buf.h"
#include "common/le.h"
#include "proto/chan_internal.h"
#include "proto/codec_bin.h"

enum { CHUNK_MAX = CHAN_RECORD_MAX - CHAN_HEADER };

static struct chan_out *record_new(enum msg_type type, uint32_t id, const struct wbuf *body, size_t offset)
{
	size_t chunk = body->len - offset < CHUNK_MAX ? body->len - offset : CHUNK_MAX;
	struct chan_out *o = calloc(1, sizeof(*o) + CHAN_HEADER + chunk);

	if (o == NULL)
		return NULL;
	o->len = CHAN_HEADER + chunk;
	le32_put(o->data, CHAN_MAGIC);
	le16_put(o->data + 4, (uint16_t)type);
	le16_put(o->data + 6, 0);
	le32_put(o->data + 8, id);
	le32_put(o->data + 12, (uint32_t)body->len); /* at most max_msg, which fits */
	le32_put(o->data + 16, (uint32_t)offset);
	le32_put(o->data + 20, (uint32_t)chunk);
	if (chunk > 0)
		memcpy(o->data + CHAN_HEADER, body->p + offset, chunk);
	return o;
}

static void record_free(struct chan_out *o)
{
	if (o->own_fds != NULL)
		fd_close_all(o->own_fds, o->nfds);
	free(o->own_fds);
	free(o);
}

static void queue_free(struct chan_queue *q)
{
	struct chan_out *o;

	while ((o = TAILQ_FIRST(q)) != NULL) {
		TAILQ_REMOVE(q, o, next);
		record_free(o);
	}
}

/* The message as records in @q; *@bytes is their sum. */
static int lay_out(struct chan_queue *q, enum msg_type type, uint32_t id, const struct wbuf *body, size_t *bytes)
{
	size_t offset = 0;

	*bytes = 0;
	do {
		struct chan_out *o = record_new(type, id, body, offset);

		if (o == NULL)
			return -ENOMEM;
		TAILQ_INSERT_TAIL(q, o, next);
		*bytes += o->len;
		offset += o->len - CHAN_HEADER;
	} while (offset < body->len);
	return 0;
}

/* No more can be sent, ever. */
static int send_over(struct chan *c, int r)
{
	c->send_error = r;
	queue_free(&c->out);
	c->queued = 0;
	return r;
}

/* A helper that has nothing to pass has no sendmsg in its filter.
 * #syscalls sendto
 */
static ssize_t send_plain(int fd, const void *p, size_t len)
{
	ssize_t n;

	do {
		n = send(fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* 1: sent and gone from the queue, 0: not now, -errno. */
static int send_head(struct chan *c)
{
	struct chan_out *o = TAILQ_FIRST(&c->out);
	ssize_t n = o->nfds > 0 ? fd_sendmsg(c->fd, o->data, o->len, o->fds, o->nfds) :
				  send_plain(c->fd, o->data, o->len);

	if (n == -EAGAIN)
		return 0;
	if (n == -EPIPE || n == -ECONNRESET || n == -ENOTCONN)
		return -EPIPE;
	if (n < 0)
		return (int)n;
	TAILQ_REMOVE(&c->out, o, next);
	c->queued -= o->len;
	record_free(o);
	return 1;
}

bool chan_wants_write(const struct chan *c)
{
	return !TAILQ_EMPTY(&c->out);
}

int chan_flush(struct chan *c)
{
	int r = 1;

	if (c->send_error < 0)
		return c->send_error;
	while (r == 1 && chan_wants_write(c))
		r = send_head(c);
	return r < 0 ? send_over(c, r) : 0;
}

/* Take the message of @head (the newest) back out: nothing of it has gone. */
static void unqueue(struct chan *c, struct chan_out *head)
{
	struct chan_out *o;

	do {
		o = TAILQ_LAST(&c->out, chan_queue);
		TAILQ_REMOVE(&c->out, o, next);
		c->queued -= o->len;
		bool done = o == head;
		record_free(o);
		if (done)
			return;
	} while (chan_wants_write(c));
}

/* Send what goes. Earlier messages first; @head is where the newest begins. */
static int push(struct chan *c, struct chan_out *head)
{
	bool head_waits = true;
	int r = 1;

	while (r == 1 && chan_wants_write(c)) {
		bool is_head = TAILQ_FIRST(&c->out) == head;

		r = send_head(c);
		if (is_head && r == 1)
			head_waits = false;
	}
	if (r == -EPIPE || (r < 0 && !(head_waits && TAILQ_FIRST(&c->out) == head)))
		return send_over(c, r);
	if (r == 0 && head_waits)
		r = chan_out_own_fds(head);
	if (r < 0)
		unqueue(c, head);
	return r < 0 ? r : 0;
}

static int send_body(struct chan *c, enum msg_type type, uint32_t id, const struct wbuf *body, const int *fds,
		     unsigned nfds)
{
	struct chan_queue q = TAILQ_HEAD_INITIALIZER(q);
	struct chan_out *head;
	size_t bytes;
	int r = lay_out(&q, type, id, body, &bytes);

	if (r == 0 && c->queued > 0 && (c->queued > c->max_queued || bytes > c->max_queued - c->queued))
		r = -ENOBUFS;
	if (r < 0) {
		queue_free(&q);
		return r;
	}
	head = TAILQ_FIRST(&q);
	head->fds = fds;
	head->nfds = nfds;
	TAILQ_CONCAT(&c->out, &q, next);
	c->queued += bytes;
	return push(c, head);
}

int chan_send(struct chan *c, enum msg_type type, uint32_t id, const struct desc *d, const void *obj, const int *fds,
	      unsigned nfds)
{
	struct wbuf body;
	int r = 0;

	if (c->send_error < 0)
		return c->send_error;
	if (nfds > FD_PASS_MAX)
		return -EMSGSIZE;
	wbuf_init(&body, c->max_msg);
	if (d != NULL)
		r = bin_encode(d, obj, &body);
	if (r == 0)
		r = send_body(c, type, id, &body, fds, nfds);
	wbuf_fini(&body);
	return r;
}
