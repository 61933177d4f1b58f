/* SPDX-License-Identifier: ISC */
/*
 * The vhost-user protocol as it is on the wire ("Vhost-user Protocol", the specification kept with QEMU): shared by the
 * front end in vmmd and the back ends in devices/. Wire structs are copy targets: read into, checked, then used.
 *
 * Every message has a header of 12 bytes and a payload of header.size bytes; descriptors travel with the header. Numbers
 * are in the byte order of the host.
 *
 * Addresses. What the protocol calls a user address is in our front end the guest physical address itself: back ends
 * translate it by the memory table, and none learns where anything lies in vmmd.
 *
 * Our own back ends in their jails get every descriptor before the first message ("preset"). From then on the
 * messages that carry one in the standard (SET_MEM_TABLE, ADD_MEM_REG, SET_LOG_BASE, SET_VRING_KICK, SET_VRING_CALL,
 * SET_VRING_ERR, SET_LOG_FD, SET_BACKEND_REQ_FD, GET_INFLIGHT_FD, SET_INFLIGHT_FD) carry none and mean the preset
 * one.
 */
#ifndef PROTO_VHOST_USER_H
#define PROTO_VHOST_USER_H

#include <stdint.h>

enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_RESET_OWNER = 4,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_LOG_BASE = 6,
	VHOST_USER_SET_LOG_FD = 7,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_SEND_RARP = 19,
	VHOST_USER_NET_SET_MTU = 20,
	VHOST_USER_SET_BACKEND_REQ_FD = 21,
	VHOST_USER_IOTLB_MSG = 22,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_SET_CONFIG = 25,
	VHOST_USER_GET_INFLIGHT_FD = 31,
	VHOST_USER_SET_INFLIGHT_FD = 32,
	VHOST_USER_RESET_DEVICE = 34,
	VHOST_USER_VRING_KICK = 35,
	VHOST_USER_GET_MAX_MEM_SLOTS = 36,
	VHOST_USER_ADD_MEM_REG = 37,
	VHOST_USER_REM_MEM_REG = 38,
	VHOST_USER_SET_STATUS = 39,
	VHOST_USER_GET_STATUS = 40,
	VHOST_USER_REQUEST_END,
};

/* From the back end, on the socket that SET_BACKEND_REQ_FD gave it. */
enum vhost_user_backend_request {
	VHOST_USER_BACKEND_IOTLB_MSG = 1,
	VHOST_USER_BACKEND_CONFIG_CHANGE_MSG = 2,
	VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG = 3,
	VHOST_USER_BACKEND_VRING_CALL = 4,
	VHOST_USER_BACKEND_VRING_ERR = 5,
};

/* Bits of vhost_user_header.flags. */
enum {
	VHOST_USER_VERSION = 1,
	VHOST_USER_VERSION_MASK = 3,
	VHOST_USER_REPLY = 1 << 2,
	VHOST_USER_NEED_REPLY = 1 << 3,
};

/* Bit numbers of the protocol features. */
enum vhost_user_protocol_feature {
	VHOST_USER_PROTOCOL_F_MQ = 0,
	VHOST_USER_PROTOCOL_F_LOG_SHMFD = 1,
	VHOST_USER_PROTOCOL_F_RARP = 2,
	VHOST_USER_PROTOCOL_F_REPLY_ACK = 3,
	VHOST_USER_PROTOCOL_F_MTU = 4,
	VHOST_USER_PROTOCOL_F_BACKEND_REQ = 5,
	VHOST_USER_PROTOCOL_F_CROSS_ENDIAN = 6,
	VHOST_USER_PROTOCOL_F_CRYPTO_SESSION = 7,
	VHOST_USER_PROTOCOL_F_PAGEFAULT = 8,
	VHOST_USER_PROTOCOL_F_CONFIG = 9,
	VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD = 10,
	VHOST_USER_PROTOCOL_F_HOST_NOTIFIER = 11,
	VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD = 12,
	VHOST_USER_PROTOCOL_F_RESET_DEVICE = 13,
	VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS = 14,
	VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
	VHOST_USER_PROTOCOL_F_STATUS = 16,
};
#define VHOST_USER_BIT(n) (UINT64_C(1) << (n))

/* Bit numbers of the device features that belong to vhost, not to virtio. */
enum { VHOST_USER_F_LOG_ALL = 26, VHOST_USER_F_PROTOCOL_FEATURES = 30 };

/* VRING_KICK, _CALL, _ERR payload: the queue, and whether no descriptor comes along. */
enum { VHOST_USER_VRING_IDX_MASK = 0xff, VHOST_USER_VRING_NOFD = 0x100 };
/* vhost_user_vring_addr.flags */
enum { VHOST_USER_VRING_F_LOG = 1 };

enum {
	VHOST_USER_MEM_REGIONS_MAX = 8, /* of SET_MEM_TABLE, by the specification */
	VHOST_USER_CONFIG_MAX = 256,
	VHOST_USER_PAYLOAD_MAX = 512,   /* longest payload that we know, rounded up: more is no message of this protocol */
	VHOST_USER_LOG_PAGE = 4096,     /* one bit of the dirty log */
};

struct vhost_user_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size;
};
struct vhost_user_vring_state {
	uint32_t index;
	uint32_t num;
};
struct vhost_user_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t descriptor; /* user addresses, ... */
	uint64_t used;
	uint64_t available;
	uint64_t log; /* ... this one guest physical */
};
struct vhost_user_mem_region {
	uint64_t guest_addr;
	uint64_t size;
	uint64_t user_addr;
	uint64_t mmap_offset;
};
struct vhost_user_mem_table {
	uint32_t n;
	uint32_t padding;
	struct vhost_user_mem_region region[VHOST_USER_MEM_REGIONS_MAX];
};
struct vhost_user_single_region {
	uint64_t padding;
	struct vhost_user_mem_region region;
};
struct vhost_user_log {
	uint64_t size;
	uint64_t offset;
};
struct vhost_user_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[VHOST_USER_CONFIG_MAX];
};
struct vhost_user_inflight {
	uint64_t mmap_size;
	uint64_t mmap_offset;
	uint16_t num_queues;
	uint16_t queue_size;
};
enum { VHOST_USER_INFLIGHT_BYTES = 20 }; /* of the last on the wire: no padding at its end */

_Static_assert(sizeof(struct vhost_user_header) == 12, "vhost-user: message header");
_Static_assert(sizeof(struct vhost_user_vring_addr) == 40, "vhost-user: vring address description");
_Static_assert(sizeof(struct vhost_user_mem_table) == 8 + 8 * 32, "vhost-user: memory regions description");
_Static_assert(sizeof(struct vhost_user_config) == 12 + 256, "vhost-user: virtio device config space");

/*
 * Layout of the in-flight region for split rings ("Inflight I/O tracking"): one struct per queue, at a multiple of 64 bytes,
 * followed by a struct vhost_user_inflight_desc per descriptor of the queue.
 */
struct vhost_user_inflight_queue {
	uint64_t features;
	uint16_t version; /* 1 */
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
};
struct vhost_user_inflight_desc {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};
_Static_assert(sizeof(struct vhost_user_inflight_queue) == 16 && sizeof(struct vhost_user_inflight_desc) == 16,
	       "vhost-user: inflight region");

/* Bytes of the region for @n_queues of @queue_size descriptors each. */
static inline uint64_t vhost_user_inflight_queue_bytes(uint32_t queue_size)
{
	return (16 + UINT64_C(16) * queue_size + 63) / 64 * 64;
}
static inline uint64_t vhost_user_inflight_bytes(uint32_t n_queues, uint32_t queue_size)
{
	return n_queues * vhost_user_inflight_queue_bytes(queue_size);
}
/* Bytes of a dirty log for guest memory that ends at @end. */
static inline uint64_t vhost_user_log_bytes(uint64_t end)
{
	return (end / VHOST_USER_LOG_PAGE + 1 + 7) / 8;
}

#endif
