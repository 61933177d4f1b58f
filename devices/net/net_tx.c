/* SPDX-License-Identifier: ISC */
/*
 * Guest to tap. A frame goes from guest memory to the kernel in one writev(); the header in front of it is ours, made from a
 * checked copy of the guest's. Where the kernel is to take the frame apart, the headers that were checked are written from
 * the copy too, so that the guest can't change them in between.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "devices/net/net.h"

enum tx_end { TX_SENT, TX_DROPPED, TX_EMPTY, TX_LATER, TX_BROKEN };

struct tx_sums {
	uint64_t frames, bytes, dropped, bad;
};

/* What is written behind net->out, which has the header and @head_len bytes of the frame: the rest of the chain. Returns how
 * many iovecs there are with net->out, or -EBADMSG. */
static int frame_iov(struct net *net, const struct vq_chain *c, uint32_t frame_len, uint32_t head_len)
{
	uint32_t off = net->hdr_bytes + head_len, rest = frame_len - head_len;

	net->iov[0] = (struct iovec){ net->out, NET_HDR_BYTES + head_len };
	if (rest == 0)
		return 1;
	int r = vq_chain_iov(c, false, off, rest, net->iov + 1, NET_IOV_MAX - 1);
	if (r >= 0)
		return r + 1;
	if (r != -E2BIG || vq_chain_read(c, off, net->frame, rest) < 0)
		return -EBADMSG;
	net->iov[1] = (struct iovec){ net->frame, rest };
	return 2;
}

/* A frame that is all in net->out goes by write(): the kernel need not fetch iovecs.
 * #syscalls net: write(fd>=EVENTS) writev(fd>=EVENTS)
 * #syscalls net_alone: write writev
 */
static enum tx_end write_frame(struct net *net, struct net_tap *tap, unsigned n_iov)
{
	ssize_t w;

	do
		w = n_iov == 1 ? write(tap->fd, net->out, net->iov[0].iov_len) : writev(tap->fd, net->iov, (int)n_iov);
	while (w < 0 && errno == EINTR);
	if (w >= 0)
		return TX_SENT;
	if (errno == EAGAIN && event_add(tap->on_writable, NULL) == 0)
		return TX_LATER;
	/* The link is down (EIO), the kernel is short of memory (ENOBUFS, ENOMEM), or does not like the frame: what a wire
	 * would lose. */
	if (errno != EIO && errno != ENOBUFS && errno != ENOMEM)
		log_warn_rl("frame from the guest refused by the tap: %s", strerror(errno));
	return TX_DROPPED;
}

/* The chain's header and first bytes are copied once, in one go: all of a small frame, which costs less than another iovec,
 * and of a long one what the check must see. Then net->out has what the kernel gets: a header of our own in front of
 * @head_len bytes. */
static int check_chain(struct net *net, const struct vq_chain *c, uint32_t *head_len)
{
	/* A shorter header ends where the frame begins, too. */
	uint8_t *raw = net->out + NET_HDR_BYTES - net->hdr_bytes;
	uint32_t n = c->out_bytes < net->hdr_bytes + NET_HEAD_MAX ? c->out_bytes : net->hdr_bytes + NET_HEAD_MAX;
	const char *why = "no room for a header";
	struct net_hdr h, out;

	if (n >= net->hdr_bytes && vq_chain_read(c, 0, raw, n) == 0) {
		*head_len = n - net->hdr_bytes;
		net_hdr_load(&h, raw);
		if (net_hdr_check(&h, c->out_bytes - net->hdr_bytes, net->out + NET_HDR_BYTES, *head_len, net->features,
				  &out, &why) == 0) {
			net_hdr_store(&out, net->out);
			return 0;
		}
	}
	log_warn_rl("frame from the guest dropped: %s", why);
	return -EBADMSG;
}

/* How long the limits hold a frame back: ms, 0 not at all. */
static unsigned held_back(struct net *net, struct net_tx *tx, uint32_t len)
{
	if (!ratelimit_is_on(&tx->limit))
		return 0;
	uint64_t ns = ratelimit_take(&tx->limit, len, clock_mono_ns());
	if (ns == 0)
		return 0;
	vdevice_count(net->vd, STATS_LIMITED, 1);
	uint64_t ms = (ns + 999999) / 1000000;
	return ms > 3600000 ? 3600000 : (unsigned)ms;
}

static enum tx_end send_chain(struct net *net, unsigned pair, struct vq *vq, const struct vq_chain *c,
			      struct tx_sums *sums)
{
	uint32_t head_len = 0;
	int n = check_chain(net, c, &head_len);
	uint32_t len = c->out_bytes - net->hdr_bytes;

	if (n == 0)
		n = frame_iov(net, c, len, head_len);
	if (n < 0) {
		sums->bad++;
		return TX_DROPPED;
	}
	unsigned ms = held_back(net, &net->tx[pair], len);
	if (ms > 0) {
		vdevice_again(net->vd, vq_index(vq), ms);
		return TX_LATER;
	}
	enum tx_end end = net->tap[pair].dead ? TX_DROPPED : write_frame(net, &net->tap[pair], (unsigned)n);
	if (end == TX_SENT) {
		sums->frames++;
		sums->bytes += len;
	} else if (end == TX_DROPPED) {
		sums->dropped++;
	}
	return end;
}

static enum tx_end serve_one(struct net *net, unsigned pair, struct vq *vq, struct tx_sums *sums)
{
	struct vq_chain c;
	int r = vq_pop(vq, &c, net->popped, net->popped_max);

	if (r < 0) {
		net->tx[pair].broken = true;
		vdevice_guest_error(net->vd, vq_index(vq), vq_fault(vq));
		return TX_BROKEN;
	}
	if (r == 0)
		return TX_EMPTY;
	enum tx_end end = send_chain(net, pair, vq, &c, sums);
	if (end == TX_LATER)
		vq_unpop(vq, &c);
	else
		vq_push(vq, c.head, 0);
	return end;
}

/* In front of the flush: whoever gets a chain back finds it counted. */
static void count(struct net *net, const struct tx_sums *sums)
{
	if (sums->frames > 0) {
		vdevice_count(net->vd, STATS_NET_TX_FRAMES, sums->frames);
		vdevice_count(net->vd, STATS_NET_TX_BYTES, sums->bytes);
	}
	if (sums->bad > 0)
		vdevice_count(net->vd, STATS_GUEST_ERRORS, sums->bad);
	if (sums->dropped > 0)
		vdevice_count(net->vd, STATS_DROPPED, sums->dropped);
}

/* Frames up to a flush. True: there may be more. */
static bool serve_batch(struct net *net, unsigned pair, struct vq *vq)
{
	struct tx_sums sums = { 0 };
	enum tx_end end = TX_SENT;

	for (int i = 0; i < NET_BATCH && (end == TX_SENT || end == TX_DROPPED) && sums.bytes < NET_BATCH_BYTES; i++)
		end = serve_one(net, pair, vq, &sums);
	count(net, &sums);
	vq_flush(vq);
	return end == TX_SENT || end == TX_DROPPED;
}

void net_tx_serve(struct net *net, unsigned pair, struct vq *vq)
{
	bool more = true;

	if (!net->tx[pair].running || net->tx[pair].broken)
		return;
	for (int i = 0; i < NET_BATCHES && more; i++)
		more = serve_batch(net, pair, vq);
	if (more)
		vdevice_again(net->vd, vq_index(vq), 0);
}
