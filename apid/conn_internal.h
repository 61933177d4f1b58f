/* SPDX-License-Identifier: ISC */
/* What conn.c (one connection) and server.c (all of them) share. */
#ifndef APID_CONN_INTERNAL_H
#define APID_CONN_INTERNAL_H

#include <sys/queue.h>

#include "apid/conn.h"

enum {
	CONN_READ_MAX = 16384,           /* bytes of one receive */
	CONN_HEAD_TIMEOUT_MS = 10000,    /* from a request's first byte */
	CONN_REQUEST_TIMEOUT_MS = 30000, /* the same, body included */
	CONN_REPLY_STALL_MS = 1000,
	CONN_LINGER_MS = 2000,               /* after the last reply, for a client that still sends */
	CONN_FDS_MAX = 100,                 /* descriptors of all requests in progress: leaves room for all clients */
	CONN_SMALL_BODY = 64 * 1024,         /* always has room */
	CONN_BODY_BUDGET = 16 * 1024 * 1024, /* larger bodies in progress, in sum */
};

enum conn_phase {
	CONN_READING, /* waits for a request, or is in one */
	CONN_WAITING, /* a large body waits for others to finish */
	CONN_SERVING, /* the request is being served */
	CONN_REPLYING,
	CONN_LINGER, /* was told to go away: what it still sends is dropped */
	CONN_DEAD,
};

struct conn {
	struct server *server;
	unsigned slot;
	int fd;
	enum conn_phase phase;
	struct event *ev_read, *ev_write, *ev_timer, *ev_resume;
	TAILQ_ENTRY(conn) waiters;

	struct http_in *in; /* NULL between requests */
	uint64_t began_ms;  /* first byte of the request */
	struct wbuf ahead;  /* read but not looked at, from @ahead_off on */
	size_t ahead_off;
	int *fds; /* came with the current request */
	unsigned nfds;
	size_t reserved; /* of the body budget */

	struct exchange *x; /* being served */
	uint32_t sent_id;   /* command whose result is in @out, 0: none */
	struct wbuf out;
	size_t out_off;
	bool close;   /* after this reply */
	bool eof;     /* the client will send no more */
	bool looping; /* conn_process() is on the stack */
	bool told;    /* the peer's identity was logged */
};

struct server {
	struct event_base *base;
	struct connpage *page;
	const struct server_ops *ops;
	void *arg;
	int listen_fd;
	struct event *ev_accept, *ev_accept_again, *ev_bury;
	struct conn *slots[CONN_MAX];
	unsigned n;
	size_t reserved;
	unsigned n_fds; /* that came with requests in progress */
	TAILQ_HEAD(, conn) waiters; /* for body budget, oldest first */
	TAILQ_HEAD(, conn) dead;    /* freed from the loop */
};

/* Take @fd. NULL: out of memory, @fd closed. */
struct conn *conn_new(struct server *s, unsigned slot, int fd);
void conn_free(struct conn *c);
void conn_close_fds(struct conn *c);
/* Take in what one receive returned: bytes, 0 at the end of file, or -errno; and the descriptors. False: the connection
 * is on its way out. */
bool conn_take(struct conn *c, const uint8_t *p, ssize_t n, int *fds, unsigned nfds);
/* Serve what was taken in, then read on. */
void conn_process(struct conn *c);
/* A successor's connection that waits for a result. */
struct exchange *conn_adopt_sent(struct conn *c, const struct slot_info *i);

/* End a connection, from anywhere. */
void server_drop(struct server *s, struct conn *c);
bool server_reserve(struct server *s, struct conn *c, size_t bytes);
void server_unreserve(struct server *s, struct conn *c);

#endif
