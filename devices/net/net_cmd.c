/* SPDX-License-Identifier: ISC */
/*
 * The control queue. What a driver set outlives this process: two words of the statistics page remember it, because a
 * successor takes the rings over without the driver noticing. They are believed as little as the command was.
 */
#include <linux/virtio_net.h>

#include "common/log.h"
#include "devices/common/vq_internal.h"
#include "devices/net/net.h"
#include "devices/net/net_ctrl.h"

enum { PAIRS_UNKNOWN_MAX = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MAX, OFFLOADS_SET = 1 /* a bit that is no offload */ };
_Static_assert((NET_CTRL_OFFLOADS & OFFLOADS_SET) == 0, "the page's word");

static unsigned pairs_max(const struct net *net)
{
	unsigned n = net_pairs_max(net);

	return n > 0 ? n : PAIRS_UNKNOWN_MAX;
}

static void remember(struct net *net, unsigned slot, uint64_t value)
{
	atomic_store_explicit(&vdevice_stats(net->vd)->v[slot], value, memory_order_relaxed);
}

static uint64_t remembered(const struct net *net, unsigned slot)
{
	return atomic_load_explicit(&vdevice_stats(net->vd)->v[slot], memory_order_relaxed);
}

static void set_pairs(struct net *net, unsigned pairs)
{
	net->pairs_set = pairs;
	remember(net, STATS_NET_PAIRS, pairs);
	if (net->n_pairs > 0)
		net_rx_watch(net);
	else
		net_update_config(net);
}

static bool run(struct net *net, const struct net_ctrl *c)
{
	switch (c->act) {
	case NET_CTRL_REFUSE:
		return false;
	case NET_CTRL_IGNORE:
		return true;
	case NET_CTRL_SET_PAIRS:
		set_pairs(net, c->pairs);
		return true;
	case NET_CTRL_SET_OFFLOADS:
		/* A foreign back end's taps are not here. */
		if (net->n_pairs == 0 || net_set_offloads(net, c->offloads) < 0)
			return false;
		remember(net, STATS_NET_OFFLOADS, c->offloads | OFFLOADS_SET);
		return true;
	case NET_CTRL_ANNOUNCED:
		net->announce = false;
		net_update_config(net);
		return true;
	}
	return false;
}

static void serve_command(struct net *net, struct vq *vq, const struct vq_chain *chain)
{
	uint8_t bytes[NET_CTRL_BYTES_MAX] = { 0 };
	uint32_t n = chain->out_bytes < sizeof(bytes) ? chain->out_bytes : (uint32_t)sizeof(bytes);

	if (chain->in_bytes == 0 || vq_chain_read(chain, 0, bytes, n) < 0) {
		vdevice_count(net->vd, STATS_GUEST_ERRORS, 1); /* nowhere to put the answer */
		vq_push(vq, chain->head, 0);
		return;
	}
	struct net_ctrl c = net_ctrl_parse(bytes, chain->out_bytes, net->features, pairs_max(net));
	uint8_t ack = run(net, &c) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
	/* virtio v1.2 5.1.6.5: the answer is the writable byte, behind the whole command. */
	vq_push(vq, chain->head, vq_chain_write(vq, chain, 0, &ack, 1) == 0 ? 1 : 0);
}

void net_cmd_serve(struct net *net, struct vq *vq)
{
	struct vq_chain chain;
	int r = 1;

	for (int i = 0; i < NET_BATCH && r == 1; i++) {
		r = vq_pop(vq, &chain, net->popped, net->popped_max);
		if (r == 1)
			serve_command(net, vq, &chain);
	}
	vq_flush(vq);
	if (r == 1)
		vdevice_again(net->vd, vq_index(vq), 0);
	if (r < 0)
		vdevice_guest_error(net->vd, vq_index(vq), vq_fault(vq));
}

void net_cmd_resume(struct net *net, const struct vq *vq)
{
	uint64_t pairs = remembered(net, STATS_NET_PAIRS), offloads = remembered(net, STATS_NET_OFFLOADS);

	if (vq->told_used == 0) {
		/* No command was ever answered on this ring: whatever is remembered was another driver's. */
		remember(net, STATS_NET_PAIRS, 0);
		remember(net, STATS_NET_OFFLOADS, 0);
		net->pairs_set = 0;
		net_update_config(net);
		return;
	}
	if ((net->features & (UINT64_C(1) << VIRTIO_NET_F_MQ)) != 0 && pairs <= pairs_max(net))
		net->pairs_set = (unsigned)pairs;
	net_update_config(net);
	if (net->n_pairs > 0 && (offloads & OFFLOADS_SET) != 0 &&
	    (offloads & ~(net->features & NET_CTRL_OFFLOADS) & ~(uint64_t)OFFLOADS_SET) == 0 &&
	    net_set_offloads(net, offloads & NET_CTRL_OFFLOADS) < 0)
		log_warn("offloads of before can't be set");
}
