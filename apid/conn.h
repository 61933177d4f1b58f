/* SPDX-License-Identifier: ISC */
/*
 * The API's connections: a listening socket, at most CONN_MAX clients, one request at a time on each.
 *
 * A client has no idle limit. From a request's first byte it has 10 s for the head and 30 s for all of it; a reply
 * that makes no progress for 1 s ends the connection. Connections end by shutdown(), as the monitor holds a duplicate
 * of each. Descriptors that come with a request belong to it and are closed when it is answered.
 */
#ifndef APID_CONN_H
#define APID_CONN_H

#include "apid/connpage.h"
#include "apid/http.h"
#include "common/buf.h"
#include "common/ev.h"

struct server;
struct conn;

/* A complete request on its way to its answer. From @target on valid only until the request callback returns. */
struct exchange {
	struct conn *conn; /* NULL: the client is gone, the answer goes nowhere */
	struct server *server;
	uint32_t sent_id; /* command whose result is the answer, 0: none */
	enum http_verb verb;
	const char *target;
	const uint8_t *body;
	size_t body_len;
	int *fds; /* take one with fd_take() */
	unsigned nfds;
};

struct server_ops {
	/* Answer with exchange_reply(), now or later. */
	void (*request)(void *arg, struct exchange *x);
	/* A client is there to stay / is gone: for the monitor's duplicates. */
	void (*opened)(void *arg, unsigned slot, int fd);
	void (*closed)(void *arg, unsigned slot);
	/* The client has the answer to command @id, or will never have it. */
	void (*delivered)(void *arg, uint32_t id);
};

struct server *server_new(struct event_base *base, struct connpage *page, const struct server_ops *ops, void *arg);
void server_free(struct server *s);
/* Start accepting from @fd (taken). */
int server_listen(struct server *s, int fd) __must_check;
/* Take over a predecessor's connection (@fd taken). With SLOT_SENT in the page the exchange that waits for that command
 * is returned; otherwise NULL, also when the connection could not be kept. */
struct exchange *server_adopt(struct server *s, unsigned slot, int fd);
/* Bytes of replies that no client has taken yet. */
bool server_has_output(const struct server *s);

/* Answer and free @x. @body may be NULL (none). */
void exchange_reply(struct exchange *x, unsigned status, const struct wbuf *body);
/* The answer will be the result of command @id; @route is for a successor. */
void exchange_sent(struct exchange *x, uint32_t id, unsigned route);

#endif
