/* SPDX-License-Identifier: ISC */
/*
 * What a guest writes for its network card, and what is read about interfaces. First byte modulo 3:
 *	0	a frame with its header: 8 bytes of features, 4 of length, 12 of header, then the frame's first bytes
 *	1	a command of the control queue: 8 bytes of features, 4 of length, 1 of pairs, then its bytes
 *	2	attributes of an interface
 */
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "devices/net/net_ctrl.h"
#include "devices/net/net_hdr.h"
#include "devices/net/tapif.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(x) ((x) ? (void)0 : abort())

struct input {
	const uint8_t *p;
	size_t left;
};

static void take(struct input *in, void *dst, size_t n)
{
	size_t have = n < in->left ? n : in->left;

	memset(dst, 0, n);
	memcpy(dst, in->p, have);
	in->p += have;
	in->left -= have;
}

/* A copy that ends where it is said to end. */
static uint8_t *exactly(struct input *in, size_t n)
{
	uint8_t *p = malloc(n > 0 ? n : 1);

	CHECK(p != NULL);
	take(in, p, n);
	return p;
}

/* What the kernel gets must stand by itself, whatever the guest wrote. */
static void check_out(const struct net_hdr *out, uint32_t len, uint64_t features)
{
	CHECK(len >= NET_FRAME_MIN && len <= NET_FRAME_MAX && out->num_buffers == 0);
	if (out->flags == 0) {
		CHECK(out->csum_start == 0 && out->csum_offset == 0 && out->gso_type == 0);
	} else {
		CHECK(out->flags == VIRTIO_NET_HDR_F_NEEDS_CSUM && (features >> VIRTIO_NET_F_CSUM & 1) != 0);
		CHECK(out->csum_start >= NET_FRAME_MIN && (uint32_t)out->csum_start + out->csum_offset + 2 <= len);
	}
	if (out->gso_type == 0) {
		CHECK(out->gso_size == 0 && out->hdr_len == 0);
		return;
	}
	CHECK(out->gso_size >= NET_GSO_SIZE_MIN && out->hdr_len <= len && out->hdr_len <= NET_HEAD_MAX);
	CHECK(out->csum_start < out->hdr_len);
	switch (out->gso_type & 0x7f) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		CHECK((features >> VIRTIO_NET_F_HOST_TSO4 & 1) != 0 && out->csum_offset == 16);
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		CHECK((features >> VIRTIO_NET_F_HOST_TSO6 & 1) != 0 && out->csum_offset == 16);
		break;
	case VIRTIO_NET_HDR_GSO_UDP:
		CHECK((features >> VIRTIO_NET_F_HOST_UFO & 1) != 0 && out->csum_offset == 6 && out->gso_type < 0x80);
		break;
	default:
		abort();
	}
	CHECK(out->gso_type < 0x80 || (features >> VIRTIO_NET_F_HOST_ECN & 1) != 0);
}

static void fuzz_hdr(struct input *in)
{
	uint8_t raw[NET_HDR_BYTES], back[NET_HDR_BYTES];
	struct net_hdr h, out;
	const char *why = NULL;
	uint64_t features;
	uint32_t len;

	take(in, &features, sizeof(features));
	take(in, &len, sizeof(len));
	take(in, raw, sizeof(raw));
	net_hdr_load(&h, raw);
	net_hdr_store(&h, back);
	CHECK(memcmp(raw, back, sizeof(raw)) == 0);
	(void)net_hdr_is_acceptable(&h, features);
	size_t n = len < NET_HEAD_MAX ? len : NET_HEAD_MAX;
	uint8_t *head = exactly(in, n);
	int r = net_hdr_check(&h, len, head, n, features, &out, &why);
	free(head);
	if (r == 0)
		check_out(&out, len, features);
	else
		CHECK(why != NULL && why[0] != '\0');
}

static void fuzz_ctrl(struct input *in)
{
	uint64_t features;
	uint32_t len;
	uint8_t pairs;

	take(in, &features, sizeof(features));
	take(in, &len, sizeof(len));
	take(in, &pairs, 1);
	uint8_t *p = exactly(in, len < NET_CTRL_BYTES_MAX ? len : NET_CTRL_BYTES_MAX);
	struct net_ctrl c = net_ctrl_parse(p, len, features, pairs);
	free(p);
	if (c.act == NET_CTRL_SET_PAIRS)
		CHECK(c.pairs >= 1 && c.pairs <= pairs && len == 4);
	if (c.act == NET_CTRL_SET_OFFLOADS)
		CHECK((c.offloads & ~(features & NET_CTRL_OFFLOADS)) == 0 && len == 10);
	unsigned flags = net_ctrl_tap_offloads(features);
	CHECK((flags & ~(unsigned)(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_UFO)) == 0);
	CHECK(flags == 0 || (flags & TUN_F_CSUM) != 0);
}

static void fuzz_attrs(struct input *in)
{
	struct tap_found f;
	size_t n = in->left;
	uint8_t *p = exactly(in, n);

	tapif_read_attrs(p, n, &f);
	free(p);
	CHECK(f.kind != TAP_ABSENT && memchr(f.what, 0, sizeof(f.what)) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint8_t what;

	take(&in, &what, 1);
	if (what % 3 == 0)
		fuzz_hdr(&in);
	else if (what % 3 == 1)
		fuzz_ctrl(&in);
	else
		fuzz_attrs(&in);
	return 0;
}
