/* SPDX-License-Identifier: ISC */
#include "vmmd/vhost/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/ev.h"
#include "common/fd.h"

enum {
	READ_BUDGET = 64, /* answers in one turn of the loop */
	DOUBT_MS = 10,    /* between a deadline and the look that decides */
};
#define NS_PER_MS UINT64_C(1000000)

const char vhost_link_closed[] = "it has closed its socket";

struct vhost_queued {
	TAILQ_ENTRY(vhost_queued) next;
	struct vhost_expect expect;
	uint64_t deadline_ns;
	int fds[VHOST_LINK_FDS_MAX];
	unsigned n_fds;
	uint32_t index; /* first word of the payload */
	size_t off, len;
	uint8_t bytes[];
};

static void break_off(struct vhost_link *l, const char *why)
{
	vhost_link_close(l);
	l->ops->broken(l->arg, why);
}

/* --- deadlines -------------------------------------------------------------------------------------------------------- */

static void arm(struct vhost_link *l, uint64_t at_ns)
{
	uint64_t now = ev_now_ns();
	uint64_t us = at_ns > now ? (at_ns - now + 999) / 1000 : 0;
	struct timeval tv = { .tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000) };

	l->alarm_ns = at_ns;
	(void)event_add(l->on_time, &tv);
}

static uint64_t earliest(const struct vhost_link *l)
{
	const struct vhost_queued *q;
	uint64_t at = UINT64_MAX;

	TAILQ_FOREACH(q, &l->unsent, next)
	at = q->deadline_ns < at ? q->deadline_ns : at;
	TAILQ_FOREACH(q, &l->unanswered, next)
	at = q->deadline_ns < at ? q->deadline_ns : at;
	return at;
}

/* After everything that had come was read. */
static void look_at_clock(struct vhost_link *l)
{
	uint64_t now = ev_now_ns();

	if (l->alarm_ns == 0)
		return;
	if (now < l->alarm_ns) {
		/* the loop's clock is a coarse one and may be ahead */
		if (!event_pending(l->on_time, EV_TIMEOUT, NULL))
			arm(l, l->alarm_ns);
		return;
	}
	uint64_t at = earliest(l);

	if (at == UINT64_MAX) {
		l->alarm_ns = 0;
		l->doubt = false;
	} else if (at > now) {
		l->doubt = false;
		arm(l, at);
	} else if (!l->doubt) {
		l->doubt = true;
		arm(l, now + DOUBT_MS * NS_PER_MS);
	} else {
		break_off(l, "it does not answer");
	}
}

/* --- sending ---------------------------------------------------------------------------------------------------------- */

static void drop_queued(struct vhost_link *l, struct vhost_queue *from, struct vhost_queued *q)
{
	TAILQ_REMOVE(from, q, next);
	l->n_queued--;
	free(q);
}

/* As much of one as the socket takes. 1: all of it, 0: not now, or -errno. */
static int send_one(struct vhost_link *l, struct vhost_queued *q)
{
	while (q->off < q->len) {
		ssize_t n = fd_sendmsg(l->fd, q->bytes + q->off, q->len - q->off, q->fds, q->n_fds);

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		q->n_fds = 0; /* they went with the first byte */
		q->off += (size_t)n;
	}
	return 1;
}

static void flush(struct vhost_link *l)
{
	struct vhost_queued *q;
	int r = 1;

	while (l->over == NULL && (q = TAILQ_FIRST(&l->unsent)) != NULL && (r = send_one(l, q)) > 0) {
		if (q->expect.answer == VHOST_ANSWER_NONE) {
			drop_queued(l, &l->unsent, q);
			continue;
		}
		TAILQ_REMOVE(&l->unsent, q, next);
		TAILQ_INSERT_TAIL(&l->unanswered, q, next);
	}
	if (r < 0)
		l->over = r == -EPIPE ? vhost_link_closed : "sending failed";
	if (l->over != NULL)
		event_active(l->on_time, EV_TIMEOUT, 0);
	if (r == 0)
		(void)event_add(l->on_write, NULL);
	else
		(void)event_del(l->on_write);
}

static struct vhost_queued *make(const struct vhost_request *rq)
{
	struct vhost_user_header h = { rq->type, VHOST_USER_VERSION, rq->len };
	struct vhost_queued *q = malloc(sizeof(*q) + sizeof(h) + rq->len);

	if (q == NULL)
		return NULL;
	if (rq->expect.answer == VHOST_ANSWER_ACK)
		h.flags |= VHOST_USER_NEED_REPLY;
	*q = (struct vhost_queued){
		.expect = rq->expect,
		.deadline_ns = ev_now_ns() + rq->timeout_ms * NS_PER_MS,
		.n_fds = rq->n_fds,
		.len = sizeof(h) + rq->len,
	};
	q->expect.request = rq->type;
	if (rq->n_fds > 0)
		memcpy(q->fds, rq->fds, rq->n_fds * sizeof(q->fds[0]));
	if (rq->len >= sizeof(q->index))
		memcpy(&q->index, rq->payload, sizeof(q->index));
	memcpy(q->bytes, &h, sizeof(h));
	if (rq->len > 0)
		memcpy(q->bytes + sizeof(h), rq->payload, rq->len);
	return q;
}

void vhost_link_send(struct vhost_link *l, const struct vhost_request *rq)
{
	if (l->fd < 0 || l->over != NULL)
		return;
	struct vhost_queued *q = l->n_queued < VHOST_LINK_QUEUED_MAX ? make(rq) : NULL;

	if (q == NULL) {
		l->over = "too much is unanswered";
		event_active(l->on_time, EV_TIMEOUT, 0);
		return;
	}
	TAILQ_INSERT_TAIL(&l->unsent, q, next);
	l->n_queued++;
	if (l->alarm_ns == 0 || q->deadline_ns < l->alarm_ns) {
		l->doubt = false;
		arm(l, q->deadline_ns);
	}
	flush(l);
}

bool vhost_link_is_idle(const struct vhost_link *l)
{
	return l->n_queued == 0;
}

bool vhost_link_is_unsent(const struct vhost_link *l, uint32_t type, uint32_t index)
{
	const struct vhost_queued *q;

	TAILQ_FOREACH(q, &l->unsent, next)
	if (q->expect.request == type && q->index == index && q->off == 0)
		return true;
	return false;
}

/* --- receiving -------------------------------------------------------------------------------------------------------- */

/*
 * Our own back ends have no descriptor to give, and what one attaches all the same is dropped by the kernel.
 *
 * #syscalls vmmd: recvfrom
 */
static ssize_t receive(struct vhost_link *l, void *p, size_t cap)
{
	int fds[VHOST_LINK_FDS_MAX];
	unsigned n = 0;
	ssize_t got;

	if (!l->takes_fds) {
		do {
			got = recv(l->fd, p, cap, MSG_DONTWAIT);
		} while (got < 0 && errno == EINTR);
		return got < 0 ? -errno : got;
	}
	got = fd_recvmsg(l->fd, p, cap, fds, VHOST_LINK_FDS_MAX, &n);
	if (n > 0 && l->in_fd < 0)
		l->in_fd = fd_take(&fds[0]);
	fd_close_all(fds, n);
	l->n_in_fds += n;
	return got;
}

/* A whole message is there. 0, or -EBADMSG: nobody asked. */
static int answer(struct vhost_link *l)
{
	struct vhost_queued *q = TAILQ_FIRST(&l->unanswered);
	struct vhost_reply reply;

	if (q == NULL || vhost_reply_check(&q->expect, &l->in.m, l->n_in_fds, &reply) < 0)
		return -EBADMSG;
	_cleanup_(fd_closep) int fd = fd_take(&l->in_fd);

	l->n_in_fds = 0;
	l->doubt = false;
	drop_queued(l, &l->unanswered, q);
	vhost_in_next(&l->in); /* keeps the bytes that @reply borrows */
	l->ops->reply(l->arg, &reply, &fd);
	return 0;
}

/* One piece. 1: go on, 0: nothing more now, or -errno. */
static int read_piece(struct vhost_link *l)
{
	size_t want;
	void *p = vhost_in_space(&l->in, &want);
	ssize_t got = receive(l, p, want);

	if (got == -EAGAIN)
		return 0;
	if (got <= 0)
		return got == 0 ? -EPIPE : (int)got;
	int r = vhost_in_got(&l->in, (size_t)got);

	if (r > 0)
		r = answer(l);
	return r < 0 ? r : 1;
}

static void read_all(struct vhost_link *l)
{
	int r = 1;

	for (int i = 0; i < 2 * READ_BUDGET && r > 0 && l->fd >= 0; i++)
		r = read_piece(l);
	if (r < 0 && l->fd >= 0)
		break_off(l, r == -EBADMSG ? "it breaks the protocol" : vhost_link_closed);
}

void vhost_link_pump(struct vhost_link *l)
{
	if (l->fd >= 0)
		read_all(l);
	if (l->fd >= 0)
		flush(l);
	if (l->fd >= 0 && l->over != NULL)
		break_off(l, l->over);
	if (l->fd >= 0)
		look_at_clock(l);
}

/* --- life ------------------------------------------------------------------------------------------------------------- */

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	vhost_link_pump(arg);
}

void vhost_link_init(struct vhost_link *l, struct event_base *base, const struct vhost_link_ops *ops, void *arg)
{
	*l = (struct vhost_link){ .fd = -1, .in_fd = -1, .base = base, .ops = ops, .arg = arg };
	TAILQ_INIT(&l->unsent);
	TAILQ_INIT(&l->unanswered);
}

int vhost_link_open(struct vhost_link *l, int *fd, bool takes_fds)
{
	vhost_link_close(l);
	l->fd = fd_take(fd);
	l->takes_fds = takes_fds;
	l->on_read = event_new(l->base, l->fd, EV_READ | EV_PERSIST, on_event, l);
	l->on_write = event_new(l->base, l->fd, EV_WRITE, on_event, l);
	l->on_time = event_new(l->base, -1, 0, on_event, l);
	if (l->on_read != NULL && l->on_write != NULL && l->on_time != NULL && event_add(l->on_read, NULL) == 0)
		return 0;
	vhost_link_close(l);
	return -ENOMEM;
}

static void free_event(struct event **ev)
{
	if (*ev != NULL)
		event_free(*ev);
	*ev = NULL;
}

void vhost_link_close(struct vhost_link *l)
{
	struct vhost_queued *q;

	free_event(&l->on_read);
	free_event(&l->on_write);
	free_event(&l->on_time);
	fd_closep(&l->fd);
	fd_closep(&l->in_fd);
	while ((q = TAILQ_FIRST(&l->unsent)) != NULL)
		drop_queued(l, &l->unsent, q);
	while ((q = TAILQ_FIRST(&l->unanswered)) != NULL)
		drop_queued(l, &l->unanswered, q);
	vhost_in_next(&l->in);
	l->n_in_fds = 0;
	l->alarm_ns = 0;
	l->doubt = false;
	l->over = NULL;
}
