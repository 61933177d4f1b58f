/* SPDX-License-Identifier: ISC */
#include "devices/net/net_hdr.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <string.h>

#include "common/le.h"

_Static_assert(sizeof(struct virtio_net_hdr_v1) == NET_HDR_BYTES, "virtio v1.2 5.1.6");
_Static_assert(sizeof(struct virtio_net_hdr) == NET_HDR_LEGACY_BYTES, "virtio v1.2 5.1.6.1");

#define FEATURE(n) (UINT64_C(1) << (n))

enum {
	VLAN_BYTES = 4,
	VLAN_TAGS_MAX = 2,
	IPV4_MIN = 20,
	IPV6_BYTES = 40,
	IPV6_OPTIONS_MAX = 8, /* headers between IPv6 and TCP */
	TCP_MIN = 20,
	TCP_CHECKSUM_AT = 16,
	UDP_BYTES = 8,
	UDP_CHECKSUM_AT = 6,
};

void net_hdr_load(struct net_hdr *h, const uint8_t p[NET_HDR_BYTES])
{
	*h = (struct net_hdr){
		.flags = p[0],
		.gso_type = p[1],
		.hdr_len = le16_get(p + 2),
		.gso_size = le16_get(p + 4),
		.csum_start = le16_get(p + 6),
		.csum_offset = le16_get(p + 8),
		.num_buffers = le16_get(p + 10),
	};
}

void net_hdr_store(const struct net_hdr *h, uint8_t p[NET_HDR_BYTES])
{
	p[0] = h->flags;
	p[1] = h->gso_type;
	le16_put(p + 2, h->hdr_len);
	le16_put(p + 4, h->gso_size);
	le16_put(p + 6, h->csum_start);
	le16_put(p + 8, h->csum_offset);
	le16_put(p + 10, h->num_buffers);
}

unsigned net_hdr_bytes(uint64_t features)
{
	return features & (FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_NET_F_MRG_RXBUF)) ? NET_HDR_BYTES :
											    NET_HDR_LEGACY_BYTES;
}

/* --- the frame's own headers ------------------------------------------------------------------------------------------ */

/* The copied first bytes, read in order. */
struct head {
	const uint8_t *p;
	size_t len, at;
};

/* The next @n bytes, which stay in front; NULL: there are not that many. */
static const uint8_t *peek(const struct head *f, size_t n)
{
	return n <= f->len - f->at ? f->p + f->at : NULL;
}

static uint16_t be16_get(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* Past the Ethernet header and its tags. The type that follows, or -EBADMSG. */
static int skip_ethernet(struct head *f)
{
	const uint8_t *p = peek(f, ETH_HLEN);

	if (p == NULL)
		return -EBADMSG;
	int type = be16_get(p + ETH_HLEN - 2);
	f->at += ETH_HLEN;
	for (int i = 0; i < VLAN_TAGS_MAX && (type == ETH_P_8021Q || type == ETH_P_8021AD); i++) {
		p = peek(f, VLAN_BYTES);
		if (p == NULL)
			return -EBADMSG;
		type = be16_get(p + 2);
		f->at += VLAN_BYTES;
	}
	return type;
}

/* Past an IPv4 header that begins a whole packet. The protocol that follows, or -EBADMSG. */
static int skip_ipv4(struct head *f)
{
	enum { MORE_OR_OFFSET = 0x3fff };
	const uint8_t *p = peek(f, IPV4_MIN);

	if (p == NULL || p[0] >> 4 != 4 || (p[0] & 15) * 4 < IPV4_MIN || (be16_get(p + 6) & MORE_OR_OFFSET) != 0)
		return -EBADMSG;
	int protocol = p[9];
	size_t bytes = (size_t)(p[0] & 15) * 4;
	if (peek(f, bytes) == NULL)
		return -EBADMSG;
	f->at += bytes;
	return protocol;
}

/* The same for IPv6 and the option headers that a packet of a socket may carry. */
static int skip_ipv6(struct head *f)
{
	const uint8_t *p = peek(f, IPV6_BYTES);

	if (p == NULL || p[0] >> 4 != 6)
		return -EBADMSG;
	int protocol = p[6];
	f->at += IPV6_BYTES;
	for (int i = 0; i < IPV6_OPTIONS_MAX; i++) {
		if (protocol != IPPROTO_HOPOPTS && protocol != IPPROTO_ROUTING && protocol != IPPROTO_DSTOPTS)
			return protocol;
		p = peek(f, 8);
		if (p == NULL || peek(f, ((size_t)p[1] + 1) * 8) == NULL)
			return -EBADMSG;
		protocol = p[0];
		f->at += ((size_t)p[1] + 1) * 8;
	}
	return -EBADMSG;
}

/* Bytes of the TCP or UDP header that stands at f->at, or -EBADMSG. */
static int transport_bytes(const struct head *f, int protocol)
{
	const uint8_t *p = peek(f, protocol == IPPROTO_TCP ? TCP_MIN : UDP_BYTES);

	if (p == NULL)
		return -EBADMSG;
	if (protocol == IPPROTO_UDP)
		return UDP_BYTES;
	int bytes = (p[12] >> 4) * 4;
	return bytes >= TCP_MIN && peek(f, (size_t)bytes) != NULL ? bytes : -EBADMSG;
}

/* --- outgoing ---------------------------------------------------------------------------------------------------------- */

static int bad(const char **why, const char *text)
{
	*why = text;
	return -EBADMSG;
}

/* virtio v1.2 5.1.6.2: where a checksum begins and where it is stored. Beyond that the kernel treats it as numbers. */
static int check_csum(const struct net_hdr *h, uint32_t len, uint64_t features, struct net_hdr *out, const char **why)
{
	if ((features & FEATURE(VIRTIO_NET_F_CSUM)) == 0)
		return bad(why, "checksum offload was not negotiated");
	if (h->csum_start < NET_FRAME_MIN || (uint32_t)h->csum_start + h->csum_offset + 2 > len)
		return bad(why, "checksum outside the frame");
	out->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	out->csum_start = h->csum_start;
	out->csum_offset = h->csum_offset;
	return 0;
}

/* The kinds of segmentation: what each needs negotiated and what the frame then must be. */
static const struct gso_kind {
	uint8_t type;
	uint8_t feature;
	int ethertype;
	int protocol;
	uint16_t csum_offset;
} gso_kinds[] = {
	{ VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_F_HOST_TSO4, ETH_P_IP, IPPROTO_TCP, TCP_CHECKSUM_AT },
	{ VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_F_HOST_TSO6, ETH_P_IPV6, IPPROTO_TCP, TCP_CHECKSUM_AT },
	/* Fragmentation of UDP, either protocol */
	{ VIRTIO_NET_HDR_GSO_UDP, VIRTIO_NET_F_HOST_UFO, ETH_P_IP, IPPROTO_UDP, UDP_CHECKSUM_AT },
	{ VIRTIO_NET_HDR_GSO_UDP, VIRTIO_NET_F_HOST_UFO, ETH_P_IPV6, IPPROTO_UDP, UDP_CHECKSUM_AT },
};

/* Is the frame what @k says, and does the checksum that is asked for belong to that header? Returns the bytes of all
 * headers. */
static int check_frame(const struct gso_kind *k, const struct net_hdr *h, struct head f)
{
	if (skip_ethernet(&f) != k->ethertype)
		return -EBADMSG;
	int protocol = k->ethertype == ETH_P_IP ? skip_ipv4(&f) : skip_ipv6(&f);
	if (protocol != k->protocol || h->csum_start != f.at || h->csum_offset != k->csum_offset)
		return -EBADMSG;
	int transport = transport_bytes(&f, protocol);
	return transport < 0 ? transport : (int)f.at + transport;
}

static int check_gso(const struct net_hdr *h, uint32_t len, struct head f, uint64_t features, struct net_hdr *out,
		     const char **why)
{
	bool ecn = (h->gso_type & VIRTIO_NET_HDR_GSO_ECN) != 0;
	uint8_t type = h->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	bool known = false;

	if (out->flags != VIRTIO_NET_HDR_F_NEEDS_CSUM)
		return bad(why, "segmentation without checksum");
	if (h->gso_size < NET_GSO_SIZE_MIN)
		return bad(why, "segments too small");
	if (ecn && ((features & FEATURE(VIRTIO_NET_F_HOST_ECN)) == 0 || type == VIRTIO_NET_HDR_GSO_UDP))
		return bad(why, "ECN with segmentation was not negotiated");
	for (size_t i = 0; i < nitems(gso_kinds); i++) {
		const struct gso_kind *k = &gso_kinds[i];

		if (k->type != type || (features & FEATURE(k->feature)) == 0)
			continue;
		known = true;
		int headers = check_frame(k, h, f);
		if (headers < 0 || (uint32_t)headers > len)
			continue;
		out->gso_type = h->gso_type;
		out->gso_size = h->gso_size;
		out->hdr_len = (uint16_t)headers; /* the driver's is a hint, and may be wrong */
		return 0;
	}
	return bad(why, known ? "frame and kind of segmentation differ" : "kind of segmentation was not negotiated");
}

int net_hdr_check(const struct net_hdr *h, uint32_t len, const uint8_t *head, size_t head_len, uint64_t features,
		  struct net_hdr *out, const char **why)
{
	int r = 0;

	/* Flags that we do not know are to be ignored, num_buffers too (virtio v1.2 5.1.6.2.2). */
	*out = (struct net_hdr){ 0 };
	if (len < NET_FRAME_MIN || len > NET_FRAME_MAX)
		return bad(why, "length of the frame");
	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		r = check_csum(h, len, features, out, why);
	if (r == 0 && h->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		r = check_gso(h, len, (struct head){ head, head_len, 0 }, features, out, why);
	return r;
}

/* --- incoming ---------------------------------------------------------------------------------------------------------- */

bool net_hdr_is_acceptable(const struct net_hdr *h, uint64_t features)
{
	uint64_t need = 0;

	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		need |= FEATURE(VIRTIO_NET_F_GUEST_CSUM);
	if (h->gso_type & VIRTIO_NET_HDR_GSO_ECN)
		need |= FEATURE(VIRTIO_NET_F_GUEST_ECN);
	switch (h->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		break;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		need |= FEATURE(VIRTIO_NET_F_GUEST_TSO4);
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		need |= FEATURE(VIRTIO_NET_F_GUEST_TSO6);
		break;
	case VIRTIO_NET_HDR_GSO_UDP:
		need |= FEATURE(VIRTIO_NET_F_GUEST_UFO);
		break;
	default:
		return false;
	}
	return (features & need) == need;
}
