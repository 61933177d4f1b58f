/* SPDX-License-Identifier: ISC */
/* All connections: accepting, slots, the budget for bodies, the end of a connection. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "apid/conn_internal.h"
#include "apid/reply.h"
#include "common/fd.h"
#include "common/log.h"

enum { ACCEPTS_PER_WAKE = 16, ACCEPT_PAUSE_MS = 100 };

/* --- budget --------------------------------------------------------------------------------------------------- */

static bool is_waiting(const struct server *s, const struct conn *c)
{
	const struct conn *w;

	TAILQ_FOREACH(w, &s->waiters, waiters)
	{
		if (w == c)
			return true;
	}
	return false;
}

static void wake_first(struct server *s)
{
	static const struct timeval at_once;
	struct conn *c = TAILQ_FIRST(&s->waiters);

	if (c != NULL)
		(void)event_add(c->ev_resume, &at_once);
}

bool server_reserve(struct server *s, struct conn *c, size_t bytes)
{
	bool queued = is_waiting(s, c);
	bool first = TAILQ_EMPTY(&s->waiters) || TAILQ_FIRST(&s->waiters) == c;

	if (!first || bytes > CONN_BODY_BUDGET - s->reserved) {
		if (!queued)
			TAILQ_INSERT_TAIL(&s->waiters, c, waiters);
		return false;
	}
	if (queued)
		TAILQ_REMOVE(&s->waiters, c, waiters);
	s->reserved += bytes;
	c->reserved = bytes;
	wake_first(s); /* there may be room for another */
	return true;
}

void server_unreserve(struct server *s, struct conn *c)
{
	bool waits = is_waiting(s, c);

	if (waits)
		TAILQ_REMOVE(&s->waiters, c, waiters);
	s->reserved -= c->reserved;
	if (c->reserved > 0 || waits)
		wake_first(s);
	c->reserved = 0;
}

/* --- end of a connection -------------------------------------------------------------------------------------- */

static void on_bury(evutil_socket_t fd, short what, void *arg)
{
	struct server *s = arg;
	struct conn *c;

	(void)fd;
	(void)what;
	while ((c = TAILQ_FIRST(&s->dead)) != NULL) {
		TAILQ_REMOVE(&s->dead, c, waiters);
		conn_free(c);
	}
}

void server_drop(struct server *s, struct conn *c)
{
	if (c->phase == CONN_DEAD)
		return;
	server_unreserve(s, c);
	conn_close_fds(c);
	c->phase = CONN_DEAD;
	(void)event_del(c->ev_read);
	(void)event_del(c->ev_write);
	(void)event_del(c->ev_timer);
	(void)event_del(c->ev_resume);
	if (c->x != NULL)
		c->x->conn = NULL; /* whoever serves it finds out when it answers */
	if (c->sent_id != 0)
		s->ops->delivered(s->arg, c->sent_id);
	(void)shutdown(c->fd, SHUT_RDWR);
	fd_closep(&c->fd);
	connpage_set(s->page, c->slot, SLOT_FREE);
	s->slots[c->slot] = NULL;
	s->n--;
	s->ops->closed(s->arg, c->slot);
	TAILQ_INSERT_TAIL(&s->dead, c, waiters);
	event_active(s->ev_bury, EV_TIMEOUT, 0);
}

/* --- accepting ------------------------------------------------------------------------------------------------ */

static int free_slot(const struct server *s)
{
	for (int i = 0; i < CONN_MAX; i++) {
		if (s->slots[i] == NULL)
			return i;
	}
	return -1;
}

static struct conn *add_conn(struct server *s, unsigned slot, int fd)
{
	struct conn *c = conn_new(s, slot, fd);

	if (c == NULL)
		return NULL;
	s->slots[slot] = c;
	s->n++;
	connpage_set(s->page, slot, SLOT_IDLE);
	return c;
}

static void refuse(int fd)
{
	log_info_rl("more than %d API connections", CONN_MAX);
	(void)fd_sendmsg(fd, reply_busy, reply_busy_len, NULL, 0);
	(void)shutdown(fd, SHUT_RDWR);
	fd_closep(&fd);
}

/* Clients that only look whether somebody is there come a hundred times a second: they are gone before the monitor
 * hears of them. */
static void welcome(struct server *s, int fd)
{
	uint8_t buf[CONN_READ_MAX];
	int fds[FD_PASS_MAX];
	unsigned nfds = 0;
	int slot = free_slot(s);

	if (slot < 0) {
		refuse(fd);
		return;
	}
	ssize_t n = fd_recvmsg(fd, buf, sizeof(buf), fds, FD_PASS_MAX, &nfds);
	if (n <= 0 && n != -EAGAIN && n != -EBADMSG) {
		fd_closep(&fd);
		return;
	}
	struct conn *c = add_conn(s, (unsigned)slot, fd);
	if (c == NULL) {
		fd_close_all(fds, nfds);
		return;
	}
	s->ops->opened(s->arg, c->slot, c->fd);
	if (conn_take(c, buf, n, fds, nfds))
		conn_process(c);
}

static void pause_accept(struct server *s, int error)
{
	static const struct timeval tv = { .tv_usec = ACCEPT_PAUSE_MS * 1000 };

	log_warn_rl("accepting an API connection: %s", strerror(error));
	(void)event_del(s->ev_accept);
	(void)event_add(s->ev_accept_again, &tv);
}

/* An inherited listening socket may block, and its flags are not ours to change: look before each accept.
 * #syscalls accept4 */
static void on_accept(evutil_socket_t listen_fd, short what, void *arg)
{
	struct server *s = arg;

	(void)what;
	for (unsigned i = 0; i < ACCEPTS_PER_WAKE && fd_wait(listen_fd, POLLIN, 0) == 1; i++) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			welcome(s, fd);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno != EAGAIN)
			pause_accept(s, errno);
		return;
	}
}

static void on_accept_again(evutil_socket_t fd, short what, void *arg)
{
	struct server *s = arg;

	(void)fd;
	(void)what;
	(void)event_add(s->ev_accept, NULL);
}

/* --- life ----------------------------------------------------------------------------------------------------- */

struct server *server_new(struct event_base *base, struct connpage *page, const struct server_ops *ops, void *arg)
{
	struct server *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	*s = (struct server){ .base = base, .page = page, .ops = ops, .arg = arg, .listen_fd = -1 };
	TAILQ_INIT(&s->waiters);
	TAILQ_INIT(&s->dead);
	s->ev_bury = event_new(base, -1, 0, on_bury, s);
	s->ev_accept_again = evtimer_new(base, on_accept_again, s);
	if (s->ev_bury == NULL || s->ev_accept_again == NULL) {
		server_free(s);
		return NULL;
	}
	return s;
}

void server_free(struct server *s)
{
	if (s == NULL)
		return;
	for (unsigned i = 0; i < CONN_MAX; i++) {
		if (s->slots[i] != NULL)
			server_drop(s, s->slots[i]);
	}
	on_bury(-1, 0, s);
	if (s->ev_accept != NULL)
		event_free(s->ev_accept);
	if (s->ev_accept_again != NULL)
		event_free(s->ev_accept_again);
	if (s->ev_bury != NULL)
		event_free(s->ev_bury);
	fd_closep(&s->listen_fd);
	free(s);
}

int server_listen(struct server *s, int fd)
{
	s->listen_fd = fd;
	s->ev_accept = event_new(s->base, fd, EV_READ | EV_PERSIST, on_accept, s);
	if (s->ev_accept == NULL || event_add(s->ev_accept, NULL) < 0)
		return -ENOMEM;
	return 0;
}

struct exchange *server_adopt(struct server *s, unsigned slot, int fd)
{
	if (slot >= CONN_MAX || s->slots[slot] != NULL) {
		(void)shutdown(fd, SHUT_RDWR);
		fd_closep(&fd);
		return NULL;
	}
	struct slot_info i = connpage_get(s->page, slot);
	struct conn *c = add_conn(s, slot, fd);
	if (c == NULL)
		return NULL;
	if (i.state == SLOT_IDLE) {
		conn_process(c);
		return NULL;
	}
	struct exchange *x = i.state == SLOT_SENT ? conn_adopt_sent(c, &i) : NULL;
	if (x == NULL)
		server_drop(s, c);
	else
		connpage_set_sent(s->page, slot, &i);
	return x;
}

bool server_has_output(const struct server *s)
{
	for (unsigned i = 0; i < CONN_MAX; i++) {
		if (s->slots[i] != NULL && s->slots[i]->out_off < s->slots[i]->out.len)
			return true;
	}
	return false;
}
