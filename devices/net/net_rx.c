/* SPDX-License-Identifier: ISC */
/*
 * Tap to guest. The tap tells a frame's length only with the frame, and what a read finds no room for is lost. So each
 * readv() is given
 *
 *	our header (12 bytes) | the guest's buffers, as much as lately was needed | a buffer of our own for the longest frame
 *
 * and nothing is read while the ring is empty. What ended up in our own buffer is copied once there are guest buffers for
 * it; until then (or until a limit allows) the frame waits and its taps are not watched: the kernel's queue fills and drops
 * as a wire would.
 */
#include <errno.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "devices/net/net.h"

enum rx_end {
	RX_DONE,    /* a frame is on its way, or was dropped */
	RX_EMPTY,   /* the tap has none */
	RX_STARVED, /* the guest must give buffers: the library asks for a kick, because the ring was found empty */
	RX_LATER,   /* a timer is set */
	RX_BROKEN,
};

enum {
	SMALL = 2048,     /* room for a frame on a network without offloads */
	SMALL_AFTER = 64, /* that many small ones in a row, and no more is offered than that */
};

struct rx_sums {
	uint64_t frames, bytes, dropped;
};

/* --- chains ahead ------------------------------------------------------------------------------------------------- */

void net_rx_reset(struct net_rx *rx)
{
	rx->first = rx->n = rx->pool_used = 0;
	rx->held_bytes = 0;
	rx->has_frame = rx->paid = false;
	rx->blocked = rx->broken = false;
	rx->expect = SMALL;
	rx->small = 0;
}

/* Bring the held chains and their iovecs to the front. */
static void compact(struct net_rx *rx)
{
	unsigned used = 0;

	for (unsigned i = 0; i < rx->n; i++) {
		struct vq_chain *c = &rx->held[i];
		unsigned n;

		*c = rx->held[rx->first + i];
		n = c->n_out + c->n_in;
		memmove(rx->pool + used, c->iov, n * sizeof(*c->iov));
		c->iov = rx->pool + used;
		used += n;
	}
	rx->first = 0;
	rx->pool_used = used;
}

/* One more. 1, 0 the ring is empty, -ENOSPC as many as can be are held, -EBADMSG. */
static int hold_one(struct net *net, struct net_rx *rx, struct vq *vq)
{
	if (rx->n == 0)
		rx->first = rx->pool_used = 0;
	if (rx->first + rx->n == rx->held_max || rx->pool_max - rx->pool_used < rx->chain_max)
		compact(rx);
	if (rx->n == rx->held_max || rx->pool_max - rx->pool_used < rx->chain_max)
		return -ENOSPC;
	struct vq_chain *c = &rx->held[rx->first + rx->n];
	int r = vq_pop(vq, c, rx->pool + rx->pool_used, rx->chain_max);
	if (r == 0)
		return 0;
	/* virtio v1.2 5.1.6.3.1: each buffer has room for a header at least. */
	const char *why = NULL;
	if (r < 0)
		why = vq_fault(vq);
	else if (c->in_bytes < net->hdr_bytes)
		why = "a receive buffer too small for a header";
	if (why != NULL) {
		rx->broken = true;
		vdevice_guest_error(net->vd, vq_index(vq), why);
		return -EBADMSG;
	}
	rx->pool_used += c->n_out + c->n_in;
	rx->held_bytes += c->in_bytes;
	rx->n++;
	return 1;
}

/* Hold @bytes, if there are so many. At least one chain, or RX_STARVED. */
static enum rx_end hold(struct net *net, struct net_rx *rx, struct vq *vq, uint32_t bytes)
{
	int r = 1;

	/* Without mergeable buffers a frame has one chain. */
	while (r == 1 && (net->mergeable ? rx->held_bytes < bytes : rx->n == 0))
		r = hold_one(net, rx, vq);
	if (r == -EBADMSG)
		return RX_BROKEN;
	return rx->n > 0 ? RX_DONE : RX_STARVED;
}

static void let_go(struct net_rx *rx, struct vq *vq, uint32_t written)
{
	struct vq_chain *c = &rx->held[rx->first];

	vq_push(vq, c->head, written);
	rx->held_bytes -= c->in_bytes;
	rx->first++;
	rx->n--;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* The guest's part of the iovecs: the held chains, without the header's place, up to @want bytes. Returns how many,
 * *@bytes what they hold. */
static unsigned guest_iov(struct net *net, const struct net_rx *rx, uint32_t want, struct iovec *iov, uint32_t *bytes)
{
	unsigned n = 0, chains = net->mergeable ? rx->n : 1;

	*bytes = 0;
	for (unsigned i = 0; i < chains && *bytes < want; i++) {
		const struct vq_chain *c = &rx->held[rx->first + i];
		uint32_t off = i == 0 ? net->hdr_bytes : 0;
		int r = c->in_bytes == off ? 0 :
					     vq_chain_iov(c, true, off, c->in_bytes - off, iov + n, NET_IOV_MAX - 2 - n);

		if (r < 0)
			break;
		n += (unsigned)r;
		*bytes += c->in_bytes - off;
	}
	return n;
}

/* Offer much as long as long frames come, little otherwise: each iovec costs the kernel something. */
static void learn(struct net_rx *rx)
{
	if (rx->frame_len > SMALL) {
		rx->small = 0;
		rx->expect = NET_FRAME_MAX;
	} else if (rx->expect > SMALL && ++rx->small >= SMALL_AFTER) {
		rx->expect = SMALL;
	}
}

static void watch(struct net_tap *tap, bool on)
{
	if (tap->watched == on || tap->on_readable == NULL)
		return;
	if ((on ? event_add(tap->on_readable, NULL) : event_del(tap->on_readable)) == 0)
		tap->watched = on;
	tap->may_have = true;
}

static enum rx_end read_failed(struct net *net, struct net_tap *tap, struct vq *vq, int error)
{
	if (error == EAGAIN || error == EWOULDBLOCK) {
		tap->may_have = false;
		return RX_EMPTY;
	}
	if (error == EBADFD || error == ENXIO || error == ENODEV) {
		log_error("the tap's interface was deleted");
		tap->dead = true;
		watch(tap, false); /* readable for ever otherwise */
		tap->may_have = false;
		return RX_EMPTY;
	}
	log_warn_rl("reading the tap: %s", strerror(error));
	vdevice_again(net->vd, vq_index(vq), NET_RETRY_MS);
	return RX_LATER;
}

/* The next frame of @tap becomes the one that waits for delivery.
 * #syscalls net: readv(fd>=EVENTS)
 * #syscalls net_alone: readv
 */
static enum rx_end read_frame(struct net *net, struct net_rx *rx, struct net_tap *tap, struct vq *vq,
			      struct rx_sums *sums)
{
	uint8_t raw[NET_HDR_BYTES];
	uint32_t room;
	ssize_t got;

	net->iov[0] = (struct iovec){ raw, sizeof(raw) };
	unsigned n = 1 + guest_iov(net, rx, rx->expect, net->iov + 1, &room);
	net->iov[n++] = (struct iovec){ rx->bounce, NET_FRAME_MAX };
	do
		got = readv(tap->fd, net->iov, (int)n);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return read_failed(net, tap, vq, errno);
	if (got < (ssize_t)sizeof(raw)) {
		sums->dropped++;
		return RX_DONE;
	}
	net_hdr_load(&rx->hdr, raw);
	if (!net_hdr_is_acceptable(&rx->hdr, net->features)) {
		sums->dropped++; /* queued for another driver's choice of features */
		return RX_DONE;
	}
	rx->frame_len = (uint32_t)got - NET_HDR_BYTES;
	rx->in_place = rx->frame_len < room ? rx->frame_len : room;
	rx->has_frame = true;
	rx->paid = false;
	learn(rx);
	return RX_DONE;
}

/* --- delivering --------------------------------------------------------------------------------------------------- */

static bool is_paid(struct net *net, struct net_rx *rx, struct vq *vq)
{
	if (rx->paid || !ratelimit_is_on(&rx->limit))
		return true;
	uint64_t ns = ratelimit_take(&rx->limit, rx->frame_len, clock_mono_ns());
	rx->paid = ns == 0;
	if (rx->paid)
		return true;
	uint64_t ms = (ns + 999999) / 1000000;
	vdevice_count(net->vd, STATS_LIMITED, 1);
	vdevice_again(net->vd, vq_index(vq), ms > 3600000 ? 3600000 : (unsigned)ms);
	return false;
}

/* Chains that the frame takes: > 0; 0: the ring is empty first; -ENOSPC: it never fits; -EBADMSG. */
static int count_chains(struct net *net, struct net_rx *rx, struct vq *vq)
{
	uint32_t need = net->hdr_bytes + rx->frame_len, sum = 0;
	unsigned n = 0;

	while (sum < need) {
		if (n == rx->n) {
			int r = n == vq_size(vq) ? -ENOSPC : hold_one(net, rx, vq);

			if (r <= 0)
				return r;
		}
		sum += rx->held[rx->first + n++].in_bytes;
		if (!net->mergeable && sum < need)
			return -ENOSPC;
	}
	return (int)n;
}

/* The frame into @n held chains: what is in place already is marked as written, the rest copied; then the header. */
static void fill_chains(struct net *net, struct net_rx *rx, struct vq *vq, unsigned n)
{
	uint8_t raw[NET_HDR_BYTES];
	uint32_t at = 0; /* bytes of the frame */

	for (unsigned i = 0; i < n; i++) {
		const struct vq_chain *c = &rx->held[rx->first + i];
		uint32_t off = i == 0 ? net->hdr_bytes : 0;
		uint32_t len = c->in_bytes - off < rx->frame_len - at ? c->in_bytes - off : rx->frame_len - at;
		uint32_t placed = rx->in_place <= at ? 0 : rx->in_place - at < len ? rx->in_place - at : len;

		if (placed > 0)
			vq_chain_dirty(vq, c, off, placed);
		if (placed < len)
			(void)!vq_chain_write(vq, c, off + placed, rx->bounce + (at + placed - rx->in_place), len - placed);
		at += len;
	}
	/* virtio v1.2 5.1.6.4: 1 without mergeable buffers. */
	rx->hdr.num_buffers = (uint16_t)n;
	net_hdr_store(&rx->hdr, raw);
	(void)!vq_chain_write(vq, &rx->held[rx->first], 0, raw, net->hdr_bytes);
}

static void push_chains(struct net *net, struct net_rx *rx, struct vq *vq, unsigned n)
{
	uint32_t left = net->hdr_bytes + rx->frame_len;

	for (unsigned i = 0; i < n; i++) {
		uint32_t bytes = rx->held[rx->first].in_bytes;
		uint32_t written = bytes < left ? bytes : left;

		let_go(rx, vq, written);
		left -= written;
	}
}

static enum rx_end deliver(struct net *net, struct net_rx *rx, struct vq *vq, struct rx_sums *sums)
{
	if (!rx->has_frame)
		return RX_DONE;
	if (!is_paid(net, rx, vq))
		return RX_LATER;
	int n = count_chains(net, rx, vq);
	if (n == 0)
		return RX_STARVED;
	if (n == -EBADMSG)
		return RX_BROKEN;
	rx->has_frame = rx->paid = false;
	if (n < 0) {
		/* Longer than all that the guest has to offer: it would wait for ever. */
		sums->dropped++;
		return RX_DONE;
	}
	fill_chains(net, rx, vq, (unsigned)n);
	push_chains(net, rx, vq, (unsigned)n);
	sums->frames++;
	sums->bytes += rx->frame_len;
	return RX_DONE;
}

/* --- who reads when ----------------------------------------------------------------------------------------------- */

void net_rx_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct net_tap *tap = arg;
	struct net *net = tap->net;
	unsigned i = (unsigned)(tap - net->tap);

	(void)fd;
	(void)what;
	tap->may_have = true;
	vdevice_serve(net->vd, 2 * (i % net_active_pairs(net)));
}

void net_rx_watch(struct net *net)
{
	unsigned active = net_active_pairs(net);

	for (unsigned i = 0; i < net->n_pairs; i++) {
		const struct net_rx *rx = &net->rx[i % active];

		watch(&net->tap[i], rx->running && !rx->blocked && !rx->broken && !net->tap[i].dead);
	}
}

/* Frames of one tap, within the budget. */
static enum rx_end serve_tap(struct net *net, struct net_rx *rx, struct net_tap *tap, struct vq *vq, unsigned budget,
			     struct rx_sums *sums)
{
	enum rx_end end = RX_DONE;

	for (unsigned i = 0; end == RX_DONE && tap->may_have && i < budget; i++) {
		end = hold(net, rx, vq, net->hdr_bytes + rx->expect);
		if (end == RX_DONE)
			end = read_frame(net, rx, tap, vq, sums);
		if (end == RX_DONE)
			end = deliver(net, rx, vq, sums);
	}
	return end == RX_EMPTY ? RX_DONE : end;
}

/* In front of the flush: whoever got a frame finds it counted. */
static void count(struct net *net, const struct rx_sums *sums)
{
	if (sums->frames > 0) {
		vdevice_count(net->vd, STATS_NET_RX_FRAMES, sums->frames);
		vdevice_count(net->vd, STATS_NET_RX_BYTES, sums->bytes);
	}
	if (sums->dropped > 0)
		vdevice_count(net->vd, STATS_DROPPED, sums->dropped);
}

void net_rx_serve(struct net *net, unsigned pair, struct vq *vq)
{
	struct net_rx *rx = &net->rx[pair];
	struct rx_sums sums = { 0 };
	unsigned active = net_active_pairs(net);
	/* A tap under load takes nothing from the others of this ring. */
	unsigned budget = NET_BATCH * active / net->n_pairs;

	if (!rx->running || rx->broken)
		return;
	enum rx_end end = deliver(net, rx, vq, &sums);
	for (unsigned i = pair; pair < active && end == RX_DONE && i < net->n_pairs; i += active)
		end = serve_tap(net, rx, &net->tap[i], vq, budget > 8 ? budget : 8, &sums);
	count(net, &sums);
	vq_flush(vq);
	/* Over budget: what is left makes its tap readable. */
	bool blocked = end != RX_DONE;
	if (blocked != rx->blocked || rx->broken) {
		rx->blocked = blocked;
		net_rx_watch(net);
	}
}
