/* SPDX-License-Identifier: ISC */
/*
 * cloister-net: a network card over taps (virtio v1.2 5.1).
 *
 *	queue 2i	receive ring of pair i  <── taps i, i + active, ...
 *	queue 2i + 1	transmit ring of pair i ──> tap i
 *	the last	control queue
 *
 * One thread. Descriptors held: jail/policy/roles.def; taps first, one for each pair. It has no capability; its one ioctl is
 * TUNSETOFFLOAD, for what the driver accepted.
 *
 * Believed: the parent's configuration, the kernel. Not believed: anything in guest memory, the words that a predecessor
 * left.
 */
#include "devices/net/net.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "common/clock.h"
#include "common/le.h"
#include "common/log.h"
#include "devices/common/vq_internal.h"
#include "devices/net/net_ctrl.h"
#include "jail/policy/roles.h"

#define FEATURE(n) (UINT64_C(1) << (n))

enum {
	CONFIG_BYTES = 17, /* up to duplex */
	PAIRS_BYTES = 2,   /* of a control queue alone: then how many pairs the driver has set, for the front end */
};
_Static_assert((int)FD_net_EVENTS == (int)VDEVICE_FD_FIRST_OWN, "taps stand first");

/* --- descriptor phase ------------------------------------------------------------------------------------------------- */

/* Before the lock-down, and touched only as far as used.
 * #syscalls monitor: mmap
 */
static void *reserve(size_t bytes, struct jail_limits *lim)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (lim->as_bytes != JAIL_KEEP)
		lim->as_bytes += bytes;
	return p == MAP_FAILED ? NULL : p;
}

static int alloc_rx(struct net_rx *rx, unsigned queue_size, struct jail_limits *lim)
{
	rx->held_max = queue_size < NET_HELD_MAX ? queue_size : NET_HELD_MAX;
	rx->chain_max = queue_size + NET_IOV_SLACK;
	rx->pool_max = rx->chain_max + 2 * rx->held_max;
	rx->held = reserve(rx->held_max * sizeof(*rx->held), lim);
	rx->pool = reserve(rx->pool_max * sizeof(*rx->pool), lim);
	rx->bounce = reserve(NET_FRAME_MAX, lim);
	return rx->held == NULL || rx->pool == NULL || rx->bounce == NULL ? -ENOMEM : 0;
}

int net_alloc(struct net *net, struct jail_limits *lim, struct err *e)
{
	unsigned queue_size = vdevice_queue_size(net->vd);
	int r = 0;

	net->popped_max = queue_size + NET_IOV_SLACK;
	net->popped = reserve(net->popped_max * sizeof(*net->popped), lim);
	net->frame = reserve(NET_FRAME_MAX, lim);
	for (unsigned i = 0; i < net->n_pairs && r == 0; i++)
		r = alloc_rx(&net->rx[i], queue_size, lim);
	return r < 0 || net->popped == NULL || net->frame == NULL ? err_set(e, -ENOMEM, "buffers") : 0;
}

static int net_configure(void *dev, const void *config, struct chan_msg *m, struct jail_limits *lim, struct err *e)
{
	struct net *net = dev;
	const struct msg_net_config *cfg = config;

	if (m->nfds != cfg->n_pairs)
		return err_set(e, -EBADMSG, "%u taps for %u queue pairs", m->nfds, cfg->n_pairs);
	if (cfg->n_pairs > 0 && vdevice_n_queues(net->vd) != 2 * cfg->n_pairs + 1)
		return err_set(e, -EBADMSG, "%u queues for %u queue pairs", vdevice_n_queues(net->vd), cfg->n_pairs);
	net->n_pairs = cfg->n_pairs;
	net->ctrl_pairs = cfg->ctrl_pairs;
	memcpy(net->mac, cfg->mac, sizeof(net->mac));
	net->mtu = cfg->mtu;
	net->offload_tso = cfg->offload_tso;
	net->offload_ufo = cfg->offload_ufo;
	net->offload_csum = cfg->offload_csum;
	net->limits = cfg->limits;
	for (unsigned i = 0; i < net->n_pairs; i++) {
		net->tap[i].fd = (int)(VDEVICE_FD_FIRST_OWN + i);
		int r = vdevice_take_fd(net->vd, m, i, VDEVICE_FD_FIRST_OWN + i, e);

		if (r < 0)
			return r;
	}
	return net_alloc(net, lim, e);
}

/* --- features and configuration space ----------------------------------------------------------------------------- */

static uint64_t net_features(const struct net *net)
{
	uint64_t f = FEATURE(VIRTIO_NET_F_MAC) | FEATURE(VIRTIO_NET_F_STATUS) | FEATURE(VIRTIO_NET_F_CTRL_VQ) |
		     FEATURE(VIRTIO_NET_F_GUEST_ANNOUNCE) | FEATURE(VIRTIO_NET_F_MQ) | FEATURE(VIRTIO_NET_F_MRG_RXBUF);

	if (net->mtu != 0)
		f |= FEATURE(VIRTIO_NET_F_MTU);
	/* Each rests on the one before (virtio v1.2 5.1.3.1). */
	if (!net->offload_csum)
		return f;
	f |= FEATURE(VIRTIO_NET_F_CSUM) | FEATURE(VIRTIO_NET_F_GUEST_CSUM) | FEATURE(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	if (net->offload_tso)
		f |= FEATURE(VIRTIO_NET_F_HOST_TSO4) | FEATURE(VIRTIO_NET_F_HOST_TSO6) | FEATURE(VIRTIO_NET_F_HOST_ECN) |
		     FEATURE(VIRTIO_NET_F_GUEST_TSO4) | FEATURE(VIRTIO_NET_F_GUEST_TSO6) | FEATURE(VIRTIO_NET_F_GUEST_ECN);
	if (net->offload_ufo)
		f |= FEATURE(VIRTIO_NET_F_HOST_UFO) | FEATURE(VIRTIO_NET_F_GUEST_UFO);
	return f;
}

/* How many pairs a driver may ask for; 0: nobody has told. */
unsigned net_pairs_max(const struct net *net)
{
	if (net->n_pairs > 0)
		return net->n_pairs;
	/* Of a foreign back end: the control queue alone is ours, the last one. */
	return net->ctrl_pairs > 0 ? net->ctrl_pairs : vdevice_n_queues(net->vd) / 2;
}

/* struct virtio_net_config, virtio v1.2 5.1.4. Speed and duplex stay 0: the driver goes by neither. */
void net_update_config(struct net *net)
{
	uint8_t c[CONFIG_BYTES + PAIRS_BYTES] = { 0 };
	unsigned pairs = net_pairs_max(net);

	memcpy(c, net->mac, sizeof(net->mac));
	le16_put(c + 6, (uint16_t)(VIRTIO_NET_S_LINK_UP | (net->announce ? VIRTIO_NET_S_ANNOUNCE : 0)));
	le16_put(c + 8, (uint16_t)(pairs > 0 ? pairs : 1));
	le16_put(c + 10, net->mtu);
	le16_put(c + CONFIG_BYTES, (uint16_t)net->pairs_set);
	vdevice_set_config(net->vd, c, net->n_pairs > 0 ? CONFIG_BYTES : sizeof(c), 0, 0);
}

/* #syscalls net: ioctl(fd>=EVENTS: TUNSETOFFLOAD)
 * #syscalls net_alone: ioctl(ANY: TUNSETOFFLOAD)
 */
int net_set_offloads(struct net *net, uint64_t offloads)
{
	unsigned long flags = net_ctrl_tap_offloads(offloads);

	for (unsigned i = 0; i < net->n_pairs; i++)
		if (ioctl(net->tap[i].fd, TUNSETOFFLOAD, flags) < 0) {
			int r = -errno;

			log_warn("offloads 0x%lx refused by the tap: %s", flags, strerror(-r));
			return r;
		}
	return 0;
}

static void net_set_features(void *dev, uint64_t acked)
{
	struct net *net = dev;

	net->features = acked;
	net->hdr_bytes = net_hdr_bytes(acked);
	net->mergeable = (acked & FEATURE(VIRTIO_NET_F_MRG_RXBUF)) != 0;
	net->pairs_set = 0;
	net_update_config(net);
	(void)net_set_offloads(net, acked & NET_CTRL_OFFLOADS);
}

/* --- queues ------------------------------------------------------------------------------------------------------- */

int net_ctrl_queue(const struct net *net)
{
	if (net->n_pairs == 0)
		return (int)vdevice_n_queues(net->vd) - 1;
	if ((net->features & FEATURE(VIRTIO_NET_F_CTRL_VQ)) == 0)
		return -1;
	/* virtio v1.2 5.1.2: without MQ there is one pair in front of it. */
	return (net->features & FEATURE(VIRTIO_NET_F_MQ)) != 0 ? 2 * (int)net->n_pairs : 2;
}

unsigned net_active_pairs(const struct net *net)
{
	unsigned n = 0;

	if (net->pairs_set > 0)
		return net->pairs_set < net->n_pairs ? net->pairs_set : net->n_pairs;
	/* virtio v1.2 5.1.6.5.5: one until the driver says more; a front end that keeps the control queue for itself says it
	 * by starting rings. */
	if (net_ctrl_queue(net) >= 0)
		return 1;
	while (n < net->n_pairs && net->rx[n].running)
		n++;
	return n > 0 ? n : 1;
}

/* What queue @q is. Pair number in *@pair; nothing for a ring that no pair has. */
enum role { ROLE_NONE, ROLE_RX, ROLE_TX, ROLE_CTRL };
static enum role role_of(const struct net *net, unsigned q, unsigned *pair)
{
	*pair = q / 2;
	if ((int)q == net_ctrl_queue(net))
		return ROLE_CTRL;
	if (*pair >= net->n_pairs)
		return ROLE_NONE;
	return q % 2 == 0 ? ROLE_RX : ROLE_TX;
}

static void net_on_queue(void *dev, struct vq *vq)
{
	struct net *net = dev;
	unsigned pair;

	switch (role_of(net, vq_index(vq), &pair)) {
	case ROLE_NONE:
		break;
	case ROLE_RX:
		net_rx_serve(net, pair, vq);
		break;
	case ROLE_TX:
		net_tx_serve(net, pair, vq);
		break;
	case ROLE_CTRL:
		net_cmd_serve(net, vq);
		break;
	}
}

static void net_queue_start(void *dev, struct vq *vq)
{
	struct net *net = dev;
	unsigned pair;

	switch (role_of(net, vq_index(vq), &pair)) {
	case ROLE_NONE:
		return;
	case ROLE_CTRL:
		net_cmd_resume(net, vq);
		break;
	case ROLE_TX:
		net->tx[pair].running = true;
		net->tx[pair].broken = false;
		return;
	case ROLE_RX:
		net_rx_reset(&net->rx[pair]);
		net->rx[pair].running = true;
		break;
	}
	net_rx_watch(net);
}

/* What a ring held without a frame comes again; a frame that waited is lost, as packets may be. */
static void net_queue_stop(void *dev, struct vq *vq)
{
	struct net *net = dev;
	unsigned pair;
	enum role role = role_of(net, vq_index(vq), &pair);

	if (role == ROLE_TX) {
		net->tx[pair].running = false;
		if (net->tap[pair].on_writable != NULL)
			(void)event_del(net->tap[pair].on_writable);
	} else if (role == ROLE_RX) {
		net_rx_reset(&net->rx[pair]);
		net->rx[pair].running = false;
		net_rx_watch(net);
	}
	vdevice_queue_idle(net->vd, vq_index(vq));
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct net_tap *tap = arg;

	(void)fd;
	(void)what;
	vdevice_serve(tap->net->vd, 2 * (unsigned)(tap - tap->net->tap) + 1);
}

static int net_start(void *dev, uint32_t *detail, struct err *e)
{
	struct net *net = dev;
	uint64_t now = clock_mono_ns();

	*detail = 0;
	for (unsigned i = 0; i < net->n_pairs; i++) {
		struct net_tap *tap = &net->tap[i];
		struct event_base *base = vdevice_base(net->vd, 0);

		tap->net = net;
		tap->on_readable = event_new(base, tap->fd, EV_READ | EV_PERSIST, net_rx_on_readable, tap);
		tap->on_writable = event_new(base, tap->fd, EV_WRITE, on_writable, tap);
		if (tap->on_readable == NULL || tap->on_writable == NULL)
			return err_set(e, -ENOMEM, "events");
		/* Each pair and direction has the full limits. */
		ratelimit_init(&net->rx[i].limit, &net->limits, now);
		ratelimit_init(&net->tx[i].limit, &net->limits, now);
	}
	/* A foreign back end may have offered indirect descriptors, which go for all queues of the device. */
	vdevice_set_features(net->vd, net_features(net), net->n_pairs > 0 ? FEATURE(VIRTIO_RING_F_INDIRECT_DESC) : 0);
	net_update_config(net);
	return 0;
}

static const struct vdevice_ops net_ops = {
	.name = "net",
	.role = JAIL_NET,
	.role_alone = JAIL_NET_ALONE,
	.fd_events = FD_net_EVENTS,
	.queues_max = 2 * TAP_PAIRS_MAX + 1,
	.config_type = MSG_NET_CONFIG,
	.config_desc = &desc_msg_net_config,
	.configure = net_configure,
	.options = net_options,
	.open_alone = net_open_alone,
	.start = net_start,
	.set_features = net_set_features,
	.on_queue = net_on_queue,
	.queue_start = net_queue_start,
	.queue_stop = net_queue_stop,
};

int main(int argc, char **argv)
{
	static struct net net = { .offload_tso = true, .offload_ufo = true, .offload_csum = true };

	return vdevice_main(&net_ops, &net, &net.vd, argc, argv);
}
