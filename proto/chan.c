/* SPDX-License-Identifier: ISC */
#include "proto/chan.h"

#include <stdlib.h>
#include <string.h>

#include "proto/chan_internal.h"
#include "proto/codec_bin.h"

struct chan *chan_new(int fd, size_t max_msg, size_t max_queued)
{
	struct chan *c = malloc(sizeof(*c)); /* not calloc: the record buffer stays untouched until it is used */

	if (c == NULL) {
		fd_closep(&fd);
		return NULL;
	}
	c->fd = fd;
	c->max_msg = max_msg;
	c->max_queued = max_queued;
	c->send_error = 0;
	TAILQ_INIT(&c->out);
	c->queued = 0;
	c->recv_error = 0;
	c->partial = false;
	c->have = 0;
	memset(&c->in, 0, sizeof(c->in));
	return c;
}

void chan_free(struct chan *c)
{
	struct chan_out *o;

	if (c == NULL)
		return;
	while ((o = TAILQ_FIRST(&c->out)) != NULL) {
		TAILQ_REMOVE(&c->out, o, next);
		if (o->own_fds != NULL)
			fd_close_all(o->own_fds, o->nfds);
		free(o->own_fds);
		free(o);
	}
	chan_msg_fini(&c->in);
	fd_closep(&c->fd);
	free(c);
}

int chan_fd(const struct chan *c)
{
	return c->fd;
}

void chan_msg_fini(struct chan_msg *m)
{
	fd_close_all(m->fds, m->nfds);
	free(m->data);
	m->data = NULL;
	m->len = 0;
	m->nfds = 0;
}

int chan_decode(const struct chan_msg *m, const struct desc *d, void *obj, struct err *e)
{
	return bin_decode(d, obj, m->data, m->len, e);
}
