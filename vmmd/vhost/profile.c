/* SPDX-License-Identifier: ISC */
#include "vmmd/vhost/profile.h"

#include <endian.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <string.h>

#define BIT(n) (UINT64_C(1) << (n))

#define BLK_FEATURES \
	(BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_RO) | BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH) | \
	 BIT(VIRTIO_BLK_F_TOPOLOGY) | BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_MQ) | \
	 BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES))
#define NET_OFFLOADS \
	(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) | \
	 BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN) | BIT(VIRTIO_NET_F_GUEST_UFO) | \
	 BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN) | \
	 BIT(VIRTIO_NET_F_HOST_UFO))
#define NET_CONTROL \
	(BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | BIT(VIRTIO_NET_F_STATUS) | \
	 BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) | BIT(VIRTIO_NET_F_MQ))
#define RINGS (BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX))
/* Of somebody else's back end. A kick carries no data here, so NOTIFICATION_DATA isn't among them. */
#define FOREIGN_RINGS (RINGS | BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_IN_ORDER) | BIT(VIRTIO_F_ORDER_PLATFORM))

/* Lengths as the devices have them: later members, of features that nobody offers, are left out. */
enum {
	BLK_CONFIG = 60,
	NET_CONFIG = 17,
	NET_CONFIG_ASKED = 12, /* speed and duplex nobody tells */
	CONSOLE_CONFIG = 12,
	CTL_CONFIG = VHOST_CTL_PAIRS_AT + 2,
};
_Static_assert(BLK_CONFIG <= sizeof(struct virtio_blk_config), "virtio v1.2 5.2.4");
_Static_assert(offsetof(struct virtio_blk_config, wce) == 32, "virtio v1.2 5.2.4");
_Static_assert(offsetof(struct virtio_net_config, mtu) == 10, "virtio v1.2 5.1.4");
_Static_assert(CONSOLE_CONFIG == sizeof(struct virtio_console_config), "virtio v1.2 5.3.4");

static const struct vhost_profile ours_of[] = {
	[DEV_CONSOLE] = {
		.type = VIRTIO_ID_CONSOLE,
		.features = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_CONSOLE_F_SIZE),
		.asked_len = CONSOLE_CONFIG,
		.asked_needed = true,
		.config_len = CONSOLE_CONFIG,
	},
	[DEV_DISK] = {
		.type = VIRTIO_ID_BLOCK,
		.features = BIT(VIRTIO_F_VERSION_1) | RINGS | BLK_FEATURES,
		.asked_len = BLK_CONFIG,
		.asked_needed = true,
		.config_len = BLK_CONFIG,
		.config_len_hidden = true,
		.writable_off = offsetof(struct virtio_blk_config, wce),
		.writable_len = 1,
	},
	[DEV_NET] = {
		.type = VIRTIO_ID_NET,
		.features = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_NET_F_MAC) |
			    BIT(VIRTIO_NET_F_MTU) | BIT(VIRTIO_NET_F_MRG_RXBUF) | NET_OFFLOADS | NET_CONTROL,
		.asked_len = NET_CONFIG,
		.asked_needed = true,
		.config_len = NET_CONFIG,
		.config_len_hidden = true,
	},
	[DEV_RNG] = {
		.type = VIRTIO_ID_RNG,
		.features = BIT(VIRTIO_F_VERSION_1),
	},
	/* Part of another device. */
	[DEV_NET_CTL] = {
		.type = VIRTIO_ID_NET,
		.asked_len = CTL_CONFIG,
		.asked_needed = true,
	},
};

static const struct vhost_profile foreign_disk = {
	.type = VIRTIO_ID_BLOCK,
	.features = FOREIGN_RINGS | BLK_FEATURES | BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_GEOMETRY),
	.asked_len = BLK_CONFIG,
	.asked_needed = true,
	.config_len = BLK_CONFIG,
	.config_len_hidden = true,
	.writable_off = offsetof(struct virtio_blk_config, wce),
	.writable_len = 1,
};

/* What it does with offloads that a driver changes while it runs nobody could tell it. */
#define FOREIGN_CONTROL (NET_CONTROL & ~BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS))
static const struct vhost_profile foreign_net = {
	.type = VIRTIO_ID_NET,
	.features = FOREIGN_RINGS | BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_MTU) | BIT(VIRTIO_NET_F_MRG_RXBUF) |
		    NET_OFFLOADS | FOREIGN_CONTROL,
	.added = BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_MTU) | BIT(VIRTIO_NET_F_STATUS) |
		 BIT(VIRTIO_NET_F_GUEST_ANNOUNCE),
	.asked_len = NET_CONFIG_ASKED,
	.config_len = NET_CONFIG,
	.config_len_hidden = true,
};

const struct vhost_profile *vhost_profile(enum dev_kind kind, bool ours)
{
	if (!ours && kind == DEV_DISK)
		return &foreign_disk;
	if (!ours && kind == DEV_NET)
		return &foreign_net;
	return &ours_of[kind];
}

static struct vhost_identity identity(const char *id, const char *fallback, const char *kind, uint16_t segment,
				      bool has_slot, uint8_t slot)
{
	return (struct vhost_identity){ id != NULL ? id : fallback, kind, segment, has_slot ? slot : -1 };
}
#define IDENTITY(c, fallback, kind) \
	identity((c)->id, fallback, kind, (c)->pci_segment, (c)->has_pci_device_id, (c)->pci_device_id)

bool vhost_profile_identity(const struct cfg_vm *cfg, enum dev_kind kind, uint32_t index, struct vhost_identity *out)
{
	bool there = false;

	switch (kind) {
	case DEV_CONSOLE:
		there = index == 0 && cfg->console.mode != CONSOLE_MODE_OFF;
		*out = IDENTITY(&cfg->console, "__console", "console");
		break;
	case DEV_DISK:
		there = cfg->has_disks && index < cfg->n_disks;
		if (there)
			*out = IDENTITY(&cfg->disks[index], "_disk", "disk");
		break;
	case DEV_NET:
	case DEV_NET_CTL:
		there = cfg->has_net && index < cfg->n_net;
		if (there)
			*out = IDENTITY(&cfg->net[index], "_net", kind == DEV_NET ? "net" : "control queue of net");
		break;
	case DEV_RNG:
		there = index == 0;
		*out = IDENTITY(&cfg->rng, "__rng", "rng");
		break;
	}
	return there;
}

/* --- somebody else's -------------------------------------------------------------------------------------------------- */

static void put_le16(uint8_t *at, uint16_t v)
{
	v = htole16(v);
	memcpy(at, &v, sizeof(v));
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef";
	const char *at = c != '\0' ? strchr(digits, c | 0x20) : NULL;

	return at != NULL ? (int)(at - digits) : -1;
}

/* "2e:51:0f:9a:3c:07", checked long before. */
static bool put_mac(uint8_t *at, const char *text)
{
	if (strlen(text) != 17)
		return false;
	for (int i = 0; i < 6; i++) {
		int hi = hex_digit(text[3 * i]), lo = hex_digit(text[3 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		at[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

/* A control queue is ours to serve, whatever its back end thinks of it: but that must know of one, because with it come
 * pairs that are turned on and off. What goes for rings goes for all of them. */
static uint64_t with_control(unsigned n_queues, uint64_t features, uint64_t control)
{
	if ((features & control & BIT(VIRTIO_NET_F_CTRL_VQ)) == 0)
		return features & ~FOREIGN_CONTROL;
	if (n_queues <= 2)
		features &= ~BIT(VIRTIO_NET_F_MQ);
	features &= control | ~RINGS;
	return features | BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_GUEST_ANNOUNCE);
}

/* The user's word counts, then the back end's. */
static uint64_t fill_net(const struct cfg_net *net, unsigned n_queues, uint64_t features, uint64_t control, uint8_t *config)
{
	features = with_control(n_queues, features, control);
	if (net->mac != NULL && put_mac(config, net->mac))
		features |= BIT(VIRTIO_NET_F_MAC);
	if (net->has_mtu) {
		put_le16(config + offsetof(struct virtio_net_config, mtu), net->mtu);
		features |= BIT(VIRTIO_NET_F_MTU);
	}
	put_le16(config + offsetof(struct virtio_net_config, status), VIRTIO_NET_S_LINK_UP);
	put_le16(config + offsetof(struct virtio_net_config, max_virtqueue_pairs), (uint16_t)(n_queues / 2));
	return features;
}

uint64_t vhost_profile_fill(const struct vhost_profile *p, const struct cfg_vm *cfg, enum dev_kind kind, uint32_t index,
			    bool ours, unsigned n_queues, uint64_t features, uint64_t control, uint8_t *config)
{
	features &= p->features;
	if (ours)
		return features;
	if (kind == DEV_NET)
		return fill_net(&cfg->net[index], n_queues, features, control, config) & p->features;
	if (kind == DEV_DISK) {
		put_le16(config + offsetof(struct virtio_blk_config, num_queues), (uint16_t)n_queues);
		if (n_queues == 1)
			features &= ~BIT(VIRTIO_BLK_F_MQ);
	}
	return features;
}
