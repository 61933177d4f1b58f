/* SPDX-License-Identifier: ISC */
/*
 * cloister-net over a tap in a network namespace of the test's own: the driver's side, and the wire's other end (a packet
 * socket with virtio headers, so that checksum and segmentation requests can be seen and made there).
 */
#ifndef TESTS_BACKEND_VU_NIC_H
#define TESTS_BACKEND_VU_NIC_H

#include <linux/virtio_net.h>

#include "tests/backend/vu/vu.h"

enum { VU_NIC_FRAME_MAX = 70000, VU_NIC_PAIRS = 8, VU_ETHERTYPE = 0x88b5 /* local experiments */ };
#define VU_NIC_NAME "vunic0"
#define VU_NIC_BIT(n) (UINT64_C(1) << (n))
/* All that the device may offer. */
#define VU_NIC_FEATURES \
	(VU_NIC_BIT(VIRTIO_NET_F_CSUM) | VU_NIC_BIT(VIRTIO_NET_F_GUEST_CSUM) | VU_NIC_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | \
	 VU_NIC_BIT(VIRTIO_NET_F_MTU) | VU_NIC_BIT(VIRTIO_NET_F_MAC) | VU_NIC_BIT(VIRTIO_NET_F_GUEST_TSO4) | \
	 VU_NIC_BIT(VIRTIO_NET_F_GUEST_TSO6) | VU_NIC_BIT(VIRTIO_NET_F_GUEST_ECN) | VU_NIC_BIT(VIRTIO_NET_F_GUEST_UFO) | \
	 VU_NIC_BIT(VIRTIO_NET_F_HOST_TSO4) | VU_NIC_BIT(VIRTIO_NET_F_HOST_TSO6) | VU_NIC_BIT(VIRTIO_NET_F_HOST_ECN) | \
	 VU_NIC_BIT(VIRTIO_NET_F_HOST_UFO) | VU_NIC_BIT(VIRTIO_NET_F_MRG_RXBUF) | VU_NIC_BIT(VIRTIO_NET_F_STATUS) | \
	 VU_NIC_BIT(VIRTIO_NET_F_CTRL_VQ) | VU_NIC_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) | VU_NIC_BIT(VIRTIO_NET_F_MQ))

struct vu_nic_opts {
	int mode;         /* enum vu_mode */
	unsigned n_pairs; /* 0: 1 */
	unsigned n_taps;  /* opened here; 0: n_pairs */
	uint16_t queue_size;
	uint64_t without; /* features to leave out */
	bool no_tso, no_ufo, no_csum;
	uint64_t bw_size, bw_ms, ops_size, ops_ms;
	bool control_only;
};

struct vu_nic {
	struct vu_nic_opts opts;
	struct vu *v;
	struct vu_cfg cfg;
	struct msg_net_config config;
	uint8_t mac[6];
	int taps[VU_NIC_PAIRS];
	int peer; /* packet socket */
	unsigned hdr_bytes;
	char text[12][64];
	const char *args[13];
	uint64_t out_gpa;  /* a frame to be sent */
	uint64_t ctrl_gpa;
	uint64_t in_gpa;   /* vu_nic_refill()'s buffers, of the last allocation */
};

/* NULL: failed, and said why. Makes the namespace once in a process. */
struct vu_nic *vu_nic_new(const struct vu_nic_opts *opts);
/* The same up to the wire and n->cfg; no helper yet. vu_nic_adopt() when there is one; again it does something only when the
 * memory is new. */
struct vu_nic *vu_nic_new_cold(const struct vu_nic_opts *opts);
bool vu_nic_adopt(struct vu_nic *n, struct vu *v);
bool vu_nic_free(struct vu_nic *n);
/* Run "ip ..." in it. */
bool vu_nic_ip(const char *command);

/* Give ring of @pair @count receive buffers of @bytes, each in @pieces descriptors. */
bool vu_nic_fill(struct vu_nic *n, unsigned pair, unsigned count, uint32_t bytes, unsigned pieces);
/* Give the first receive ring, when it is empty, VU_NIC_REFILL buffers of VU_NIC_REFILL_BYTES: the same ones every time. */
enum { VU_NIC_REFILL = 64, VU_NIC_REFILL_BYTES = 2048 };
bool vu_nic_refill(struct vu_nic *n);
/* The next frame for the guest: its length, 0 none came in time, < 0 nonsense. @hdr and @buffers may be NULL. */
int vu_nic_recv(struct vu_nic *n, unsigned pair, struct virtio_net_hdr_v1 *hdr, uint8_t *frame, unsigned *buffers,
		int timeout_ms);
/* A frame from the guest, its header and its bytes in pieces of the sizes @piece (0 ends: the rest). Waits until
 * the device is done with it: 0, -errno. */
int vu_nic_send(struct vu_nic *n, unsigned pair, const struct virtio_net_hdr_v1 *hdr, const uint8_t *frame, uint32_t len,
		const uint32_t *piece);
/* A command on the control queue: its answer, or -1 (none). */
int vu_nic_ctrl(struct vu_nic *n, const void *command, uint32_t len);

/* The wire's other end. */
int vu_nic_peer_send(struct vu_nic *n, const struct virtio_net_hdr_v1 *hdr, const uint8_t *frame, uint32_t len);
int vu_nic_peer_recv(struct vu_nic *n, struct virtio_net_hdr_v1 *hdr, uint8_t *frame, int timeout_ms);

/* A frame of @len bytes that tells its number (of the experimental type); is it that one? Frames of fewer than 60 bytes too. */
void vu_nic_stamp(uint8_t *frame, uint32_t len, uint32_t number);
bool vu_nic_is_stamped(const uint8_t *frame, uint32_t len, uint32_t number);
/* TCP over IP @version with @len bytes in all, from port @port; and the header that asks for its segmentation. */
void vu_nic_tcp(uint8_t *frame, uint32_t len, int version, uint16_t port, struct virtio_net_hdr_v1 *hdr);

#endif
