/* SPDX-License-Identifier: ISC */
/*
 * One connection:
 *
 *	READING -- request complete --> SERVING -- exchange_reply() --> REPLYING -- all sent --> READING ...
 *	   |  \-- large body, no budget --> WAITING --/                    |
 *	   \-- not HTTP, too slow --> REPLYING --> LINGER --> gone         \-- stalls --> gone
 *
 * The socket is read in READING and LINGER only: what a client sends ahead waits in the kernel, except for the rest of
 * the last receive, which waits in "ahead". A connection that ends in its own callback is marked and buried later.
 */
#include "apid/conn_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "apid/reply.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"

enum { REQUESTS_PER_WAKE = 64 };

static void flush_out(struct conn *c);

static uint64_t now_ms(void)
{
	return ev_now_ns() / 1000000;
}

static void set_timer(struct conn *c, uint64_t at_ms)
{
	uint64_t now = now_ms(), left = at_ms > now ? at_ms - now : 0;
	struct timeval tv = { .tv_sec = (time_t)(left / 1000), .tv_usec = (suseconds_t)(left % 1000 * 1000) };

	(void)event_add(c->ev_timer, &tv);
}

/* What the handler has not taken. */
void conn_close_fds(struct conn *c)
{
	if (c->nfds > 0)
		fd_close_all(c->fds, c->nfds);
	free(c->fds);
	c->server->n_fds -= c->nfds;
	c->fds = NULL;
	c->nfds = 0;
}

static void request_end(struct conn *c)
{
	http_in_free(c->in);
	c->in = NULL;
	c->began_ms = 0;
	conn_close_fds(c);
	(void)event_del(c->ev_timer);
	server_unreserve(c->server, c);
}

/* --- replies -------------------------------------------------------------------------------------------------- */

static void start_linger(struct conn *c)
{
	/* #syscalls shutdown */
	(void)shutdown(c->fd, SHUT_WR);
	c->phase = CONN_LINGER;
	wbuf_reset(&c->ahead);
	c->ahead_off = 0;
	set_timer(c, now_ms() + CONN_LINGER_MS);
	(void)event_add(c->ev_read, NULL);
}

static void reply_done(struct conn *c)
{
	(void)event_del(c->ev_timer);
	wbuf_fini(&c->out);
	wbuf_init(&c->out, REPLY_MAX);
	c->out_off = 0;
	if (c->sent_id != 0)
		c->server->ops->delivered(c->server->arg, c->sent_id);
	c->sent_id = 0;
	if (c->close && !c->eof) {
		start_linger(c);
		return;
	}
	if (c->close) {
		server_drop(c->server, c);
		return;
	}
	c->phase = CONN_READING;
	connpage_set(c->server->page, c->slot, SLOT_IDLE);
	conn_process(c);
}

static void flush_out(struct conn *c)
{
	while (c->out_off < c->out.len) {
		ssize_t n = fd_sendmsg(c->fd, c->out.p + c->out_off, c->out.len - c->out_off, NULL, 0);

		if (n == -EAGAIN) {
			if (c->phase == CONN_REPLYING) {
				connpage_set(c->server->page, c->slot, SLOT_REPLYING);
				set_timer(c, now_ms() + CONN_REPLY_STALL_MS);
			}
			(void)event_add(c->ev_write, NULL);
			return;
		}
		if (n <= 0) {
			server_drop(c->server, c);
			return;
		}
		c->out_off += (size_t)n;
	}
	if (c->phase == CONN_REPLYING)
		reply_done(c);
}

static void start_reply(struct conn *c)
{
	if (c->out.error != 0) {
		log_warn("API connection %u: reply lost: %s", c->slot, strerror(-c->out.error));
		server_drop(c->server, c);
		return;
	}
	(void)event_del(c->ev_read);
	c->phase = CONN_REPLYING;
	/* A reply nearly always goes out whole, and wakes a client that may run before we do: were the page told only
	 * afterwards, a death right here would cost a connection that has all it asked for. */
	connpage_set(c->server->page, c->slot, c->close ? SLOT_REPLYING : SLOT_IDLE);
	flush_out(c);
}

static void reply_parse_error(struct conn *c, const char *why, bool close)
{
	log_info_rl("API connection %u: bad request: %s", c->slot, why);
	c->close |= close;
	(void)reply_put_parse_error(&c->out, why, c->close);
	request_end(c);
	start_reply(c);
}

void exchange_reply(struct exchange *x, unsigned status, const struct wbuf *body)
{
	struct conn *c = x->conn;

	if (c == NULL) {
		if (x->sent_id != 0)
			x->server->ops->delivered(x->server->arg, x->sent_id);
		free(x);
		return;
	}
	c->x = NULL;
	c->sent_id = x->sent_id;
	free(x);
	(void)reply_put(&c->out, status, body != NULL ? body->p : NULL, body != NULL ? body->len : 0, c->close);
	request_end(c);
	start_reply(c);
}

void exchange_sent(struct exchange *x, uint32_t id, unsigned route)
{
	struct slot_info i = { .state = SLOT_SENT, .id = id, .route = route };

	x->sent_id = id;
	if (x->conn == NULL)
		return;
	i.close = x->conn->close;
	connpage_set_sent(x->server->page, x->conn->slot, &i);
}

/* --- requests ------------------------------------------------------------------------------------------------- */

/* #syscalls getsockopt(arg1=SOL_SOCKET, arg2=SO_PEERCRED) */
static void tell_peer(struct conn *c)
{
	struct ucred cred = { .pid = -1, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	socklen_t len = sizeof(cred);

	c->told = true;
	if (log_level() < LOG_INFO)
		return;
	(void)getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	log_info_rl("API connection %u: pid %d uid %u gid %u", c->slot, cred.pid, cred.uid, cred.gid);
}

static struct exchange *exchange_new(struct conn *c)
{
	struct exchange *x = calloc(1, sizeof(*x));

	if (x == NULL)
		return NULL;
	*x = (struct exchange){ .conn = c, .server = c->server };
	c->x = x;
	c->phase = CONN_SERVING;
	return x;
}

static void serve(struct conn *c)
{
	struct exchange *x;

	(void)event_del(c->ev_timer);
	(void)event_del(c->ev_read);
	if (!c->told)
		tell_peer(c);
	c->close = http_in_wants_close(c->in);
	if (http_in_error(c->in) != NULL) {
		reply_parse_error(c, http_in_error(c->in), false);
		return;
	}
	x = exchange_new(c);
	if (x == NULL) {
		server_drop(c->server, c);
		return;
	}
	x->verb = http_in_verb(c->in);
	x->target = http_in_target(c->in);
	x->body = http_in_body(c->in, &x->body_len);
	x->fds = c->fds;
	x->nfds = c->nfds;
	c->server->ops->request(c->server->arg, x);
}

/* A body of @bytes is coming. False: it has to wait until others have ended. */
static bool reserve(struct conn *c, size_t bytes)
{
	if (bytes <= CONN_SMALL_BODY || c->reserved > 0)
		return true;
	if (bytes > HTTP_BODY_MAX)
		bytes = HTTP_BODY_MAX;
	if (server_reserve(c->server, c, bytes))
		return true;
	c->phase = CONN_WAITING;
	(void)event_del(c->ev_read);
	return false;
}

static void on_head(struct conn *c)
{
	size_t bytes = http_in_announced(c->in);

	set_timer(c, c->began_ms + CONN_REQUEST_TIMEOUT_MS);
	if (http_in_wants_continue(c->in)) {
		(void)reply_put_continue(&c->out, http_in_minor(c->in));
		flush_out(c);
	}
	if (c->phase == CONN_READING && bytes != HTTP_BODY_UNKNOWN)
		(void)reserve(c, bytes);
}

static void on_more(struct conn *c)
{
	size_t have;

	if (http_in_is_empty(c->in)) {
		request_end(c);
		return;
	}
	(void)http_in_body(c->in, &have);
	if (http_in_announced(c->in) == HTTP_BODY_UNKNOWN && have > CONN_SMALL_BODY)
		(void)reserve(c, HTTP_BODY_MAX);
}

static void begin_request(struct conn *c)
{
	c->began_ms = now_ms();
	connpage_set(c->server->page, c->slot, SLOT_READING);
	set_timer(c, c->began_ms + CONN_HEAD_TIMEOUT_MS);
}

static void feed(struct conn *c)
{
	size_t used = 0;

	if (c->in == NULL)
		c->in = http_in_new();
	if (c->in == NULL) {
		server_drop(c->server, c);
		return;
	}
	if (c->began_ms == 0)
		begin_request(c);
	enum http_step step = http_in_feed(c->in, c->ahead.p + c->ahead_off, c->ahead.len - c->ahead_off, &used);
	c->ahead_off += used;
	switch (step) {
	case HTTP_IN_MORE:
		on_more(c);
		break;
	case HTTP_IN_HEAD:
		on_head(c);
		break;
	case HTTP_IN_DONE:
		serve(c);
		break;
	case HTTP_IN_BAD:
		reply_parse_error(c, http_in_error(c->in), true);
		break;
	}
}

static void at_eof(struct conn *c)
{
	if (c->in == NULL)
		server_drop(c->server, c);
	else
		reply_parse_error(c, "Connection closed in the middle of a request.", true);
}

void conn_process(struct conn *c)
{
	static const struct timeval at_once;

	if (c->looping)
		return;
	c->looping = true;
	for (unsigned i = 0; c->phase == CONN_READING && c->ahead_off < c->ahead.len; i++) {
		if (i == REQUESTS_PER_WAKE) {
			(void)event_add(c->ev_resume, &at_once); /* others want their turn too */
			break;
		}
		feed(c);
	}
	c->looping = false;
	if (c->ahead_off < c->ahead.len || c->phase == CONN_DEAD)
		return;
	wbuf_fini(&c->ahead);
	wbuf_init(&c->ahead, CONN_READ_MAX);
	c->ahead_off = 0;
	if (c->phase != CONN_READING)
		return;
	if (c->began_ms == 0)
		connpage_set(c->server->page, c->slot, SLOT_IDLE);
	if (c->eof)
		at_eof(c);
	else
		(void)event_add(c->ev_read, NULL);
}

/* --- events --------------------------------------------------------------------------------------------------- */

/* Descriptors that came belong to the request that is being read. */
static bool keep_fds(struct conn *c, const int *fds, unsigned nfds)
{
	if (nfds == 0)
		return true;
	if (c->server->n_fds + nfds > CONN_FDS_MAX)
		return false;
	int *all = reallocarray(c->fds, c->nfds + nfds, sizeof(int));
	if (all == NULL)
		return false;
	memcpy(all + c->nfds, fds, nfds * sizeof(int));
	c->fds = all;
	c->nfds += nfds;
	c->server->n_fds += nfds;
	return true;
}

bool conn_take(struct conn *c, const uint8_t *p, ssize_t n, int *fds, unsigned nfds)
{
	if (n == -EAGAIN)
		return true;
	if (!keep_fds(c, fds, nfds)) {
		fd_close_all(fds, nfds);
		n = -EBADMSG;
	}
	if (n == -EBADMSG) {
		reply_parse_error(c, "Too many descriptors.", true);
		return false;
	}
	if (n < 0) {
		server_drop(c->server, c);
		return false;
	}
	if (n == 0)
		c->eof = true;
	else if (wbuf_put(&c->ahead, p, (size_t)n) < 0)
		server_drop(c->server, c);
	return c->phase != CONN_DEAD;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	uint8_t buf[CONN_READ_MAX];
	int fds[FD_PASS_MAX];
	unsigned nfds = 0;

	(void)what;
	ssize_t n = fd_recvmsg(fd, buf, sizeof(buf), fds, FD_PASS_MAX, &nfds);
	if (c->phase == CONN_LINGER) {
		fd_close_all(fds, nfds);
		if (n <= 0 && n != -EAGAIN && n != -EBADMSG)
			server_drop(c->server, c);
		return;
	}
	(void)event_del(c->ev_read);
	if (conn_take(c, buf, n, fds, nfds))
		conn_process(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	flush_out(arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->phase == CONN_READING || c->phase == CONN_WAITING) {
		reply_parse_error(c, "Request not complete in time.", true);
		return;
	}
	if (c->phase == CONN_REPLYING)
		log_info_rl("API connection %u: does not take its reply", c->slot);
	server_drop(c->server, c);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->phase == CONN_WAITING) {
		c->phase = CONN_READING;
		size_t bytes = http_in_announced(c->in);
		if (!reserve(c, bytes))
			return;
	}
	conn_process(c);
}

/* --- life ----------------------------------------------------------------------------------------------------- */

struct conn *conn_new(struct server *s, unsigned slot, int fd)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		fd_closep(&fd);
		return NULL;
	}
	*c = (struct conn){ .server = s, .slot = slot, .fd = fd };
	wbuf_init(&c->ahead, CONN_READ_MAX);
	wbuf_init(&c->out, REPLY_MAX);
	c->ev_read = event_new(s->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	c->ev_write = event_new(s->base, fd, EV_WRITE, on_writable, c);
	c->ev_timer = evtimer_new(s->base, on_timer, c);
	c->ev_resume = evtimer_new(s->base, on_resume, c);
	if (c->ev_read == NULL || c->ev_write == NULL || c->ev_timer == NULL || c->ev_resume == NULL) {
		conn_free(c);
		return NULL;
	}
	return c;
}

/* #syscalls close */
void conn_free(struct conn *c)
{
	struct event **events[] = { &c->ev_read, &c->ev_write, &c->ev_timer, &c->ev_resume };

	for (size_t i = 0; i < nitems(events); i++) {
		if (*events[i] != NULL)
			event_free(*events[i]);
	}
	http_in_free(c->in);
	wbuf_fini(&c->ahead);
	wbuf_fini(&c->out);
	fd_closep(&c->fd);
	free(c);
}

struct exchange *conn_adopt_sent(struct conn *c, const struct slot_info *i)
{
	struct exchange *x = exchange_new(c);

	if (x == NULL)
		return NULL;
	x->sent_id = i->id;
	c->close = i->close;
	c->told = true;
	return x;
}
