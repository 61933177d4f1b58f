/* SPDX-License-Identifier: ISC */
#include "devices/net/net_ctrl.h"

#include <linux/if_tun.h>
#include <linux/virtio_net.h>

#include "common/cleanup.h"
#include "common/le.h"

#define FEATURE(n) (UINT64_C(1) << (n))

enum { HEAD = 2 /* class and command */ };

static struct net_ctrl set_pairs(const uint8_t *data, uint32_t len, uint64_t features, unsigned pairs_max)
{
	struct net_ctrl c = { .act = NET_CTRL_REFUSE };

	if (len != sizeof(struct virtio_net_ctrl_mq) || (features & FEATURE(VIRTIO_NET_F_MQ)) == 0)
		return c;
	c.pairs = le16_get(data);
	if (c.pairs >= VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN && c.pairs <= pairs_max)
		c.act = NET_CTRL_SET_PAIRS;
	return c;
}

/* virtio v1.2 5.1.6.5.6: only offloads that were negotiated may be turned on. */
static struct net_ctrl set_offloads(const uint8_t *data, uint32_t len, uint64_t features)
{
	struct net_ctrl c = { .act = NET_CTRL_REFUSE };

	if (len != sizeof(uint64_t) || (features & FEATURE(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)) == 0)
		return c;
	c.offloads = le64_get(data);
	if ((c.offloads & ~(features & NET_CTRL_OFFLOADS)) == 0)
		c.act = NET_CTRL_SET_OFFLOADS;
	return c;
}

struct net_ctrl net_ctrl_parse(const uint8_t *p, uint32_t len, uint64_t features, unsigned pairs_max)
{
	const struct net_ctrl refuse = { .act = NET_CTRL_REFUSE };

	if (len < HEAD)
		return refuse;
	const uint8_t *data = p + HEAD;
	uint32_t data_len = len - HEAD;
	switch (p[0]) {
	case VIRTIO_NET_CTRL_RX: /* filters that are not offered: everything passes anyway */
	case VIRTIO_NET_CTRL_VLAN:
		return (struct net_ctrl){ .act = NET_CTRL_IGNORE };
	case VIRTIO_NET_CTRL_ANNOUNCE:
		if (p[1] == VIRTIO_NET_CTRL_ANNOUNCE_ACK && data_len == 0 &&
		    (features & FEATURE(VIRTIO_NET_F_GUEST_ANNOUNCE)) != 0)
			return (struct net_ctrl){ .act = NET_CTRL_ANNOUNCED };
		return refuse;
	case VIRTIO_NET_CTRL_MQ:
		return p[1] == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET ? set_pairs(data, data_len, features, pairs_max) : refuse;
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		return p[1] == VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET ? set_offloads(data, data_len, features) : refuse;
	default: /* MAC tables among them */
		return refuse;
	}
}

unsigned net_ctrl_tap_offloads(uint64_t features)
{
	static const struct {
		unsigned feature, flag;
	} map[] = {
		{ VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4 },
		{ VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6 },
		{ VIRTIO_NET_F_GUEST_UFO, TUN_F_UFO },
	};
	unsigned flags = 0;

	/* The kernel takes none of them without the checksum, and ECN not alone (virtio v1.2 5.1.3.1 says the same). */
	if ((features & FEATURE(VIRTIO_NET_F_GUEST_CSUM)) == 0)
		return 0;
	for (unsigned i = 0; i < nitems(map); i++)
		if (features & FEATURE(map[i].feature))
			flags |= map[i].flag;
	if ((flags & (TUN_F_TSO4 | TUN_F_TSO6)) != 0 && (features & FEATURE(VIRTIO_NET_F_GUEST_ECN)) != 0)
		flags |= TUN_F_TSO_ECN;
	return flags | TUN_F_CSUM;
}
