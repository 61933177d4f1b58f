/* SPDX-License-Identifier: ISC */
#include "vmmd/peer.h"

#include <errno.h>
#include <stdlib.h>

#include "common/ev.h"

static void on_write_ready(evutil_socket_t fd, short what, void *arg)
{
	struct peer *p = arg;

	(void)fd;
	(void)what;
	if (p->chan == NULL)
		return;
	/* A peer that is gone is noticed by reading. */
	if (chan_flush(p->chan) < 0)
		(void)event_del(p->on_write);
	else
		peer_update(p);
}

struct read_cb {
	void (*fn)(void *arg);
	void *arg;
};

static void on_read_ready(evutil_socket_t fd, short what, void *arg)
{
	struct read_cb cb = *(struct read_cb *)arg;

	(void)fd;
	(void)what;
	cb.fn(cb.arg);
}

int peer_open(struct peer *p, struct event_base *base, int fd, size_t max_msg, size_t max_queued,
	      void (*on_readable)(void *arg), void *arg)
{
	struct read_cb *cb = malloc(sizeof(*cb));

	*p = (struct peer){ .chan = chan_new(fd, max_msg, max_queued) };
	if (p->chan != NULL && cb != NULL) {
		*cb = (struct read_cb){ on_readable, arg };
		p->on_read = event_new(base, chan_fd(p->chan), EV_READ | EV_PERSIST, on_read_ready, cb);
		p->on_write = event_new(base, chan_fd(p->chan), EV_WRITE | EV_PERSIST, on_write_ready, p);
	}
	if (p->on_read == NULL)
		free(cb);
	if (p->on_read == NULL || p->on_write == NULL || event_add(p->on_read, NULL) < 0) {
		peer_close(p);
		return -ENOMEM;
	}
	return 0;
}

void peer_close(struct peer *p)
{
	if (p->on_read != NULL) {
		void *cb = event_get_callback_arg(p->on_read);

		event_free(p->on_read);
		free(cb);
	}
	if (p->on_write != NULL)
		event_free(p->on_write);
	if (p->chan != NULL)
		chan_free(p->chan);
	*p = (struct peer){ 0 };
}

bool peer_is_open(const struct peer *p)
{
	return p->chan != NULL;
}

void peer_update(struct peer *p)
{
	if (p->chan == NULL)
		return;
	if (chan_wants_write(p->chan))
		(void)event_add(p->on_write, NULL);
	else
		(void)event_del(p->on_write);
}

int peer_send(struct peer *p, enum msg_type type, uint32_t id, const void *body)
{
	if (p->chan == NULL)
		return -ENOTCONN;
	int r = chan_send(p->chan, type, id, body != NULL ? msg_type_desc(type) : NULL, body, NULL, 0);

	peer_update(p);
	return r;
}
