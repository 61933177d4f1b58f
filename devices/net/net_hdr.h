/* SPDX-License-Identifier: ISC */
/*
 * The header in front of each frame (virtio v1.2 5.1.6, struct virtio_net_hdr_v1). Pure.
 *
 * What a guest writes there steers the kernel's segmentation and checksum code, so nothing of it goes to the tap as it is: a
 * header is checked against the frame's length and against its own copy of the frame's first bytes (which is what the
 * kernel then gets, too), and a new one is made of what was understood.
 */
#ifndef DEVICES_NET_NET_HDR_H
#define DEVICES_NET_NET_HDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

enum {
	NET_HDR_BYTES = 12,       /* with VERSION_1 or MRG_RXBUF */
	NET_HDR_LEGACY_BYTES = 10, /* num_buffers is missing */
	NET_HEAD_MAX = 256,       /* first bytes of a frame that are looked at: Ethernet, two tags, IPv6 with options, TCP */
	NET_FRAME_MIN = 14,
	/* The longest: what a 16-bit length in an IP header can say, an Ethernet header, two tags, and IPv6's own header
	 * that its length leaves out. */
	NET_FRAME_MAX = 65535 + 14 + 8 + 40,
	NET_GSO_SIZE_MIN = 8,     /* smaller segments are no TCP's: nothing but a way to make many packets of one */
};

/* Host byte order. */
struct net_hdr {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

/* (Of a legacy header num_buffers is something else: nobody looks at it in outgoing ones.) */
void net_hdr_load(struct net_hdr *h, const uint8_t p[NET_HDR_BYTES]);
void net_hdr_store(const struct net_hdr *h, uint8_t p[NET_HDR_BYTES]);

/* Bytes of the header on the ring, by the features that the driver accepted. */
unsigned net_hdr_bytes(uint64_t features);

/* A frame of @len bytes that starts with @head (@head_len bytes: all of it, or NET_HEAD_MAX) goes out with @h, under the
 * @features that the driver accepted. 0 and *@out is fit for the kernel, or -EBADMSG and *@why (a constant text). */
int net_hdr_check(const struct net_hdr *h, uint32_t len, const uint8_t *head, size_t head_len, uint64_t features,
		  struct net_hdr *out, const char **why) __must_check;
/* May a driver that accepted @features be given a frame with @h? (Frames that were queued before it made its choice.) */
bool net_hdr_is_acceptable(const struct net_hdr *h, uint64_t features);

#endif
