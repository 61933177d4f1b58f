/* SPDX-License-Identifier: ISC */
/*
 * Records to messages. The peer is believed in nothing: a header that is not exactly what it must be ends the channel,
 * and with it all that had arrived. A message's memory is taken once, when its first record tells a length within our
 * bound; records of full size keep the count of records per message small.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "proto/chan_internal.h"

struct header {
	uint32_t magic;
	uint16_t type, flags;
	uint32_t id, total, offset, chunk;
};

static void header_read(struct header *h, const uint8_t *rec)
{
	struct rbuf r;

	rbuf_init(&r, rec, CHAN_HEADER);
	h->magic = rbuf_le32(&r);
	h->type = rbuf_le16(&r);
	h->flags = rbuf_le16(&r);
	h->id = rbuf_le32(&r);
	h->total = rbuf_le32(&r);
	h->offset = rbuf_le32(&r);
	h->chunk = rbuf_le32(&r);
}

/* What every record must satisfy by itself. */
static bool header_is_sound(const struct chan *c, const struct header *h, size_t len)
{
	uint32_t room = CHAN_RECORD_MAX - CHAN_HEADER;

	if (h->magic != CHAN_MAGIC || h->flags != 0 || h->type == 0 || h->total > c->max_msg || h->offset > h->total)
		return false;
	uint32_t left = h->total - h->offset;
	uint32_t want = left < room ? left : room;
	return h->chunk == want && len == (size_t)CHAN_HEADER + h->chunk;
}

/* And what it must satisfy after the records before it. */
static bool header_follows(const struct chan *c, const struct header *h, unsigned nfds)
{
	if (!c->partial)
		return h->offset == 0;
	return h->type == (uint16_t)c->in.type && h->id == c->in.id && h->total == c->in.len && h->offset == c->have &&
	       nfds == 0;
}

int chan_in_broken(struct chan *c)
{
	chan_msg_fini(&c->in);
	c->partial = false;
	c->recv_error = -EBADMSG;
	if (c->send_error == 0)
		c->send_error = -EBADMSG; /* unusable in both directions */
	return c->recv_error;
}

int chan_in_eof(struct chan *c)
{
	if (c->partial)
		return chan_in_broken(c);
	c->recv_error = -EPIPE;
	return c->recv_error;
}

static int begin(struct chan *c, const struct header *h)
{
	c->in.type = (enum msg_type)h->type;
	c->in.id = h->id;
	c->in.len = h->total;
	c->have = 0;
	if (h->total > 0) {
		c->in.data = malloc(h->total);
		if (c->in.data == NULL)
			return -ENOMEM;
	}
	c->partial = true;
	return 0;
}

int chan_in_record(struct chan *c, size_t len, const int *fds, unsigned nfds, struct chan_msg *m)
{
	struct header h;
	bool ok = false;

	if (len >= CHAN_HEADER) {
		header_read(&h, c->rec);
		ok = header_is_sound(c, &h, len) && header_follows(c, &h, nfds);
	}
	if (ok && !c->partial)
		ok = begin(c, &h) == 0; /* out of memory: the message is lost, so the channel is */
	if (!ok) {
		for (unsigned i = 0; i < nfds; i++)
			(void)close(fds[i]);
		return chan_in_broken(c);
	}
	for (unsigned i = 0; i < nfds; i++)
		c->in.fds[i] = fds[i];
	if (nfds > 0)
		c->in.nfds = nfds;
	if (h.chunk > 0)
		memcpy(c->in.data + c->have, c->rec + CHAN_HEADER, h.chunk);
	c->have += h.chunk;
	if (c->have < c->in.len)
		return 0;
	*m = c->in;
	memset(&c->in, 0, sizeof(c->in));
	c->partial = false;
	return 1;
}
