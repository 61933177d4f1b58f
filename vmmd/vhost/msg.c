/* SPDX-License-Identifier: ISC */
#include "vmmd/vhost/msg.h"

#include <errno.h>
#include <string.h>

/* --- from a stream ---------------------------------------------------------------------------------------------------- */

static size_t whole_len(const struct vhost_in *in)
{
	return in->have < sizeof(in->m.h) ? sizeof(in->m.h) : sizeof(in->m.h) + in->m.h.size;
}

void *vhost_in_space(struct vhost_in *in, size_t *want)
{
	*want = whole_len(in) - in->have;
	return (uint8_t *)&in->m + in->have;
}

static int check_header(const struct vhost_user_header *h)
{
	uint32_t known = VHOST_USER_VERSION_MASK | VHOST_USER_REPLY | VHOST_USER_NEED_REPLY;

	if ((h->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION || (h->flags & ~known) != 0)
		return -EBADMSG;
	return h->size <= VHOST_USER_PAYLOAD_MAX ? 0 : -EBADMSG;
}

int vhost_in_got(struct vhost_in *in, size_t n)
{
	bool had_header = in->have >= sizeof(in->m.h);

	if (n > whole_len(in) - in->have)
		return -EBADMSG;
	in->have += n;
	if (in->have < sizeof(in->m.h))
		return 0;
	if (!had_header && check_header(&in->m.h) < 0)
		return -EBADMSG;
	return in->have == whole_len(in);
}

void vhost_in_next(struct vhost_in *in)
{
	in->have = 0;
}

/* --- answers ---------------------------------------------------------------------------------------------------------- */

static int take_u64(const struct vhost_msg *m, struct vhost_reply *out)
{
	if (m->h.size != sizeof(out->number))
		return -EBADMSG;
	memcpy(&out->number, m->payload, sizeof(out->number));
	return 0;
}

/* The base itself is not believed: it is read from the ring when it is needed. */
static int take_state(const struct vhost_expect *x, const struct vhost_msg *m, struct vhost_reply *out)
{
	struct vhost_user_vring_state s;

	if (m->h.size != sizeof(s))
		return -EBADMSG;
	memcpy(&s, m->payload, sizeof(s));
	out->index = s.index;
	return s.index == x->index ? 0 : -EBADMSG;
}

static int take_config(const struct vhost_expect *x, const struct vhost_msg *m, struct vhost_reply *out)
{
	enum { HEAD = offsetof(struct vhost_user_config, data) };
	struct vhost_user_config c;

	out->failed = m->h.size == 0;
	if (out->failed)
		return x->may_fail ? 0 : -EBADMSG;
	if (x->len > VHOST_USER_CONFIG_MAX || m->h.size != HEAD + x->len)
		return -EBADMSG;
	memcpy(&c, m->payload, HEAD);
	out->config = m->payload + HEAD;
	out->len = x->len;
	return c.offset == 0 && c.size == x->len ? 0 : -EBADMSG;
}

static int take_inflight(const struct vhost_msg *m, struct vhost_reply *out)
{
	if (m->h.size != VHOST_USER_INFLIGHT_BYTES && m->h.size != sizeof(out->inflight))
		return -EBADMSG;
	memcpy(&out->inflight, m->payload, VHOST_USER_INFLIGHT_BYTES);
	return 0;
}

static int take_payload(const struct vhost_expect *x, const struct vhost_msg *m, struct vhost_reply *out)
{
	int r = -EBADMSG;

	switch (x->answer) {
	case VHOST_ANSWER_NONE:
		break;
	case VHOST_ANSWER_ACK:
		r = take_u64(m, out);
		out->failed = out->number != 0;
		break;
	case VHOST_ANSWER_U64:
		r = take_u64(m, out);
		break;
	case VHOST_ANSWER_STATE:
		r = take_state(x, m, out);
		break;
	case VHOST_ANSWER_CONFIG:
		r = take_config(x, m, out);
		break;
	case VHOST_ANSWER_INFLIGHT:
		r = take_inflight(m, out);
		break;
	}
	return r;
}

int vhost_reply_check(const struct vhost_expect *x, const struct vhost_msg *m, unsigned n_fds, struct vhost_reply *out)
{
	*out = (struct vhost_reply){ .request = x->request };
	if (m->h.request != x->request || (m->h.flags & VHOST_USER_REPLY) == 0)
		return -EBADMSG;
	int r = take_payload(x, m, out);

	if (r < 0)
		return r;
	/* A region of no bytes is how a back end says that it has none; then nothing comes with it. */
	if (x->answer == VHOST_ANSWER_INFLIGHT && x->fd)
		out->failed = n_fds == 0 || out->inflight.mmap_size == 0;
	else if (n_fds > 0)
		return -EBADMSG;
	return n_fds > 1 ? -EBADMSG : 0;
}

int vhost_backend_request_check(const struct vhost_msg *m)
{
	return (m->h.flags & VHOST_USER_REPLY) != 0 || m->h.request == 0 ? -EBADMSG : 0;
}
