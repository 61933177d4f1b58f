/* SPDX-License-Identifier: ISC */
#include "tests/backend/vu/nic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/fd.h"
#include "tests/backend/vu/tests.h"

enum { HDR = sizeof(struct virtio_net_hdr_v1), LINK_MS = 3000 };

/* --- the wire ----------------------------------------------------------------------------------------------------- */

bool vu_nic_ip(const char *command)
{
	char line[256];

	(void)snprintf(line, sizeof(line), "ip %s", command);
	if (system(line) == 0) /* NOLINT: the tests' own words */
		return true;
	vu_diag("%s: failed", line);
	return false;
}

static bool make_namespace(void)
{
	static bool made;

	if (made)
		return true;
	if (unshare(CLONE_NEWNET) < 0) {
		vu_diag("network namespace: %s", strerror(errno));
		return false;
	}
	made = true;
	int fd = open("/proc/sys/net/ipv6/conf/all/disable_ipv6", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		(void)!write(fd, "1", 1); /* nobody else speaks */
		(void)close(fd);
	}
	return true;
}

static int open_tap(bool multi_queue)
{
	struct ifreq ifr = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multi_queue ? IFF_MULTI_QUEUE : 0)) };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), bytes = HDR, little = 1;

	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", VU_NIC_NAME);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &bytes) < 0 ||
	    ioctl(fd, TUNSETVNETLE, &little) < 0)
		vu_diag("tap: %s", strerror(errno));
	return fd;
}

static int open_peer(void)
{
	struct sockaddr_ll addr = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, big = 64 << 20;

	addr.sll_ifindex = (int)if_nametoindex(VU_NIC_NAME);
	/* Its header has the 10 bytes of old. */
	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof(big)) < 0 ||
	    bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		vu_diag("packet socket: %s", strerror(errno));
	return fd;
}

/* Until frames pass: who attaches to a tap gives it its carrier. */
static bool wait_for_link(int fd)
{
	struct ifreq ifr = { 0 };

	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", VU_NIC_NAME);
	for (int ms = 0; ms < LINK_MS; ms += 5) {
		if (ioctl(fd, SIOCGIFFLAGS, &ifr) == 0 && (ifr.ifr_flags & IFF_RUNNING) != 0)
			return true;
		(void)poll(NULL, 0, 5);
	}
	vu_diag("the tap has no carrier");
	return false;
}

int vu_nic_peer_send(struct vu_nic *n, const struct virtio_net_hdr_v1 *hdr, const uint8_t *frame, uint32_t len)
{
	struct virtio_net_hdr_v1 none = { 0 };
	struct iovec iov[] = { { (void *)(uintptr_t)(hdr != NULL ? hdr : &none), sizeof(struct virtio_net_hdr) },
			       { (void *)(uintptr_t)frame, len } };

	return writev(n->peer, iov, 2) < 0 ? -errno : 0;
}

int vu_nic_peer_recv(struct vu_nic *n, struct virtio_net_hdr_v1 *hdr, uint8_t *frame, int timeout_ms)
{
	struct iovec iov[] = { { hdr, sizeof(struct virtio_net_hdr) }, { frame, VU_NIC_FRAME_MAX } };
	struct sockaddr_ll from;
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };

	memset(hdr, 0, sizeof(*hdr));
	for (;;) {
		m.msg_name = &from;
		m.msg_namelen = sizeof(from);
		ssize_t r = recvmsg(n->peer, &m, MSG_DONTWAIT);
		if (r > 0 && from.sll_pkttype != PACKET_OUTGOING)
			return (int)((size_t)r - sizeof(struct virtio_net_hdr));
		if (r < 0 && errno == EAGAIN && fd_wait(n->peer, POLLIN, timeout_ms) != 1)
			return 0;
		if (r < 0 && errno != EAGAIN && errno != EINTR && errno != ENETDOWN)
			return -errno;
	}
}

/* --- the device --------------------------------------------------------------------------------------------------- */

static void add_arg(struct vu_nic *n, unsigned *at, const char *name, const char *value)
{
	(void)snprintf(n->text[*at], sizeof(n->text[0]), "--%s=%s", name, value);
	n->args[*at] = n->text[*at];
	(*at)++;
}

static void add_number(struct vu_nic *n, unsigned *at, const char *name, uint64_t value)
{
	char number[24];

	(void)snprintf(number, sizeof(number), "%llu", (unsigned long long)value);
	if (value != 0)
		add_arg(n, at, name, number);
}

static void make_args(struct vu_nic *n)
{
	const struct vu_nic_opts *o = &n->opts;
	unsigned at = 0;

	add_arg(n, &at, "tap", VU_NIC_NAME);
	add_arg(n, &at, "mac", "2e:01:02:03:04:05");
	add_number(n, &at, "num-queues", 2 * UINT64_C(1) * o->n_pairs);
	if (o->no_csum)
		add_arg(n, &at, "offload-csum", "off");
	if (o->no_tso)
		add_arg(n, &at, "offload-tso", "off");
	if (o->no_ufo)
		add_arg(n, &at, "offload-ufo", "off");
	add_number(n, &at, "bw-size", o->bw_size);
	add_number(n, &at, "bw-refill-time", o->bw_ms);
	add_number(n, &at, "ops-size", o->ops_size);
	add_number(n, &at, "ops-refill-time", o->ops_ms);
}

static void make_config(struct vu_nic *n)
{
	const struct vu_nic_opts *o = &n->opts;

	n->config = (struct msg_net_config){
		.n_pairs = o->control_only ? 0 : o->n_pairs,
		.ctrl_pairs = o->control_only ? o->n_pairs : 0,
		.mac = n->mac,
		.n_mac = sizeof(n->mac),
		.mtu = 1500,
		.offload_tso = !o->no_tso,
		.offload_ufo = !o->no_ufo,
		.offload_csum = !o->no_csum,
	};
	n->config.limits.has_bandwidth = o->bw_size != 0;
	n->config.limits.bandwidth.size = o->bw_size;
	n->config.limits.bandwidth.refill_time = o->bw_ms;
	n->config.limits.has_ops = o->ops_size != 0;
	n->config.limits.ops.size = o->ops_size;
	n->config.limits.ops.refill_time = o->ops_ms;
}

static bool make_wire(struct vu_nic *n)
{
	const struct vu_nic_opts *o = &n->opts;
	bool multi = o->n_pairs > 1, preset = o->mode == VU_PRESET;

	if (!make_namespace())
		return false;
	if (!preset && !vu_nic_ip(multi ? "tuntap add dev " VU_NIC_NAME " mode tap multi_queue" :
					  "tuntap add dev " VU_NIC_NAME " mode tap"))
		return false;
	for (unsigned i = 0; preset && i < o->n_pairs; i++) {
		n->taps[i] = open_tap(multi);
		if (n->taps[i] < 0)
			return false;
	}
	if (!vu_nic_ip("link set " VU_NIC_NAME " txqueuelen 4000 up"))
		return false;
	n->peer = open_peer();
	return n->peer >= 0;
}

static struct vu_cfg make_cfg(struct vu_nic *n)
{
	return (struct vu_cfg){
		.mode = (enum vu_mode)n->opts.mode,
		.program = "cloister-net",
		.args = n->args,
		.n_queues = n->opts.control_only ? 1 : 2 * n->opts.n_pairs + 1,
		.queue_size = n->opts.queue_size != 0 ? n->opts.queue_size : 256,
		.features = (VU_NIC_FEATURES | VU_NIC_BIT(VIRTIO_F_VERSION_1) | VU_NIC_BIT(29)) & ~n->opts.without,
		.config_type = MSG_NET_CONFIG,
		.config_desc = &desc_msg_net_config,
		.config = &n->config,
		.fds = n->taps,
		.n_fds = n->opts.control_only ? 0 : n->opts.n_pairs,
	};
}

static void *fail(struct vu_nic *n)
{
	(void)vu_nic_free(n);
	return NULL;
}

struct vu_nic *vu_nic_new_cold(const struct vu_nic_opts *opts)
{
	static const uint8_t mac[] = { 0x2e, 1, 2, 3, 4, 5 };
	struct vu_nic *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return NULL;
	n->opts = *opts;
	n->opts.n_pairs = opts->n_pairs != 0 ? opts->n_pairs : 1;
	n->peer = -1;
	for (unsigned i = 0; i < VU_NIC_PAIRS; i++)
		n->taps[i] = -1;
	memcpy(n->mac, mac, sizeof(mac));
	make_args(n);
	make_config(n);
	n->cfg = make_cfg(n);
	return make_wire(n) ? n : fail(n);
}

bool vu_nic_adopt(struct vu_nic *n, struct vu *v)
{
	bool known = v != NULL && v == n->v && n->in_gpa != 0 && v->next_gpa > n->in_gpa;

	n->v = v;
	if (v == NULL || !wait_for_link(n->peer))
		return false;
	if (known)
		return true;
	n->hdr_bytes = (v->acked & (VU_NIC_BIT(VIRTIO_F_VERSION_1) | VU_NIC_BIT(VIRTIO_NET_F_MRG_RXBUF))) != 0 ? 12 : 10;
	n->out_gpa = vu_alloc(v, VU_NIC_FRAME_MAX + 4096, 4096);
	n->ctrl_gpa = vu_alloc(v, 4096, 4096);
	n->in_gpa = vu_alloc(v, VU_NIC_REFILL * VU_NIC_REFILL_BYTES, 4096);
	return n->in_gpa != 0;
}

struct vu_nic *vu_nic_new(const struct vu_nic_opts *opts)
{
	struct vu_nic *n = vu_nic_new_cold(opts);

	if (n == NULL)
		return NULL;
	return vu_nic_adopt(n, vu_new(&n->cfg)) ? n : fail(n);
}

bool vu_nic_free(struct vu_nic *n)
{
	bool good = n->v == NULL || vu_free(n->v);

	for (unsigned i = 0; i < VU_NIC_PAIRS; i++)
		fd_closep(&n->taps[i]);
	fd_closep(&n->peer);
	if (n->opts.mode != VU_PRESET)
		good = vu_nic_ip("link delete " VU_NIC_NAME) && good;
	free(n);
	return good;
}

/* --- the driver --------------------------------------------------------------------------------------------------- */

enum { PIECES_MAX = 1024 };

/* A receive buffer's token: where it is, and how long. */
static uint64_t token_of(uint64_t gpa, uint32_t bytes)
{
	return gpa << 20 | bytes;
}

bool vu_nic_fill(struct vu_nic *n, unsigned pair, unsigned count, uint32_t bytes, unsigned pieces)
{
	struct vu_ring *r = n->v->ring[2 * pair];
	uint64_t gpa = vu_alloc(n->v, UINT64_C(1) * count * bytes, 4);
	static struct vu_buf in[PIECES_MAX];

	WANT(gpa != 0 && pieces >= 1 && pieces <= PIECES_MAX, "no memory for buffers");
	for (unsigned i = 0; i < count; i++, gpa += bytes) {
		uint32_t at = 0;

		for (unsigned k = 0; k < pieces; k++) {
			uint32_t len = k + 1 == pieces ? bytes - at : bytes / pieces;

			in[k] = (struct vu_buf){ gpa + at, len };
			at += len;
		}
		WANT(vu_ring_add(r, NULL, 0, in, pieces, token_of(gpa, bytes)) >= 0, "buffer %u finds no room", i);
	}
	vu_ring_kick(r);
	return true;
}

bool vu_nic_refill(struct vu_nic *n)
{
	struct vu_ring *r = n->v->ring[0];

	if (vu_ring_in_flight(r) > 0)
		return true;
	for (unsigned i = 0; i < VU_NIC_REFILL; i++) {
		struct vu_buf in = { n->in_gpa + UINT64_C(1) * i * VU_NIC_REFILL_BYTES, VU_NIC_REFILL_BYTES };

		WANT(vu_ring_add(r, NULL, 0, &in, 1, token_of(in.gpa, in.len)) >= 0, "buffer %u finds no room", i);
	}
	vu_ring_kick(r);
	return true;
}

/* One used buffer's bytes behind what is there. */
static int take_buffer(struct vu_nic *n, struct vu_ring *r, uint8_t *to, size_t room, int timeout_ms)
{
	uint64_t token;
	uint32_t len;

	if (vu_ring_wait(r, timeout_ms) != 1)
		return 0;
	if (vu_ring_pop(r, &token, &len) != 1 || len > (token & 0xfffff) || len > room)
		return -EBADMSG;
	memcpy(to, vu_ptr(n->v, token >> 20, len), len);
	return (int)len;
}

int vu_nic_recv(struct vu_nic *n, unsigned pair, struct virtio_net_hdr_v1 *hdr, uint8_t *frame, unsigned *buffers,
		int timeout_ms)
{
	static uint8_t all[VU_NIC_FRAME_MAX + HDR];
	struct vu_ring *r = n->v->ring[2 * pair];
	struct virtio_net_hdr_v1 h = { 0 };
	int at = take_buffer(n, r, all, sizeof(all), timeout_ms);

	if (at <= 0)
		return at;
	if (at < (int)n->hdr_bytes)
		return -EBADMSG;
	memcpy(&h, all, n->hdr_bytes);
	unsigned count = n->hdr_bytes == HDR ? h.num_buffers : 1;
	for (unsigned i = 1; i < count; i++) {
		int got = take_buffer(n, r, all + at, sizeof(all) - (size_t)at, 0); /* all at once, or none */

		if (got <= 0)
			return -EBADMSG;
		at += got;
	}
	if (count == 0)
		return -EBADMSG;
	if (hdr != NULL)
		*hdr = h;
	if (buffers != NULL)
		*buffers = count;
	memcpy(frame, all + n->hdr_bytes, (size_t)at - n->hdr_bytes);
	return at - (int)n->hdr_bytes;
}

int vu_nic_send(struct vu_nic *n, unsigned pair, const struct virtio_net_hdr_v1 *hdr, const uint8_t *frame, uint32_t len,
		const uint32_t *piece)
{
	static const uint32_t whole[] = { 0 };
	static const struct virtio_net_hdr_v1 none;
	static struct vu_buf out[PIECES_MAX];
	uint8_t *p = vu_ptr(n->v, n->out_gpa, VU_NIC_FRAME_MAX + HDR);
	uint32_t total = n->hdr_bytes + len, at = 0;
	unsigned k = 0;

	memcpy(p, hdr != NULL ? hdr : &none, n->hdr_bytes);
	memcpy(p + n->hdr_bytes, frame, len);
	for (const uint32_t *w = piece != NULL ? piece : whole; at < total && k < PIECES_MAX; k++) {
		uint32_t bytes = *w == 0 || *w > total - at ? total - at : *w;

		out[k] = (struct vu_buf){ n->out_gpa + at, bytes };
		at += bytes;
		if (*w != 0)
			w++;
	}
	int r = vu_ring_do(n->v->ring[2 * pair + 1], out, k, NULL, 0);
	return r < 0 ? r : 0;
}

int vu_nic_ctrl(struct vu_nic *n, const void *command, uint32_t len)
{
	bool last = n->opts.control_only || (n->v->acked & VU_NIC_BIT(VIRTIO_NET_F_MQ)) != 0;
	unsigned q = last ? n->v->n_queues - 1 : 2;
	uint8_t *p = vu_ptr(n->v, n->ctrl_gpa, 4096);
	struct vu_buf out = { n->ctrl_gpa, len }, in = { n->ctrl_gpa + 4000, 1 };

	memcpy(p, command, len);
	p[4000] = 0xaa;
	int r = vu_ring_do(n->v->ring[q], &out, len > 0 ? 1 : 0, &in, 1);
	return r == 1 && p[4000] != 0xaa ? p[4000] : -1;
}

/* --- frames ------------------------------------------------------------------------------------------------------- */

void vu_nic_stamp(uint8_t *frame, uint32_t len, uint32_t number)
{
	static const uint8_t head[14] = { 0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, VU_ETHERTYPE >> 8, VU_ETHERTYPE & 0xff };

	memcpy(frame, head, sizeof(head));
	for (uint32_t i = sizeof(head); i < len; i++)
		frame[i] = (uint8_t)(number * 31 + i * 7 + (i >> 8));
	if (len >= sizeof(head) + sizeof(number))
		memcpy(frame + sizeof(head), &number, sizeof(number));
}

bool vu_nic_is_stamped(const uint8_t *frame, uint32_t len, uint32_t number)
{
	static uint8_t want[VU_NIC_FRAME_MAX];

	vu_nic_stamp(want, len, number);
	return memcmp(frame, want, len) == 0;
}

void vu_nic_tcp(uint8_t *frame, uint32_t len, int version, uint16_t port, struct virtio_net_hdr_v1 *hdr)
{
	uint32_t l3 = 14, l4 = l3 + (version == 4 ? 20 : 40);
	uint8_t *ip = frame + l3, *tcp = frame + l4;
	uint16_t n = htons((uint16_t)(len - l3));

	vu_nic_stamp(frame, len, port);
	memcpy(frame + 12, version == 4 ? "\x08\x00" : "\x86\xdd", 2);
	memset(ip, 0, l4 - l3 + 20);
	if (version == 4) {
		memcpy(ip, "\x45\x00\x00\x00\x00\x01\x40\x00\x40\x06\x00\x00\x0a\x09\x08\x01\x0a\x09\x08\x02", 20);
		memcpy(ip + 2, &n, 2);
		uint32_t sum = 0;
		for (unsigned i = 0; i < 20; i += 2)
			sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
		sum = (sum & 0xffff) + (sum >> 16);
		ip[10] = (uint8_t)(~sum >> 8);
		ip[11] = (uint8_t)~sum;
	} else {
		n = htons((uint16_t)(len - l4));
		memcpy(ip, "\x60\x00\x00\x00\x00\x00\x06\x40", 8);
		memcpy(ip + 4, &n, 2);
		ip[8] = ip[24] = 0xfd;
		ip[23] = 1;
		ip[39] = 2;
	}
	port = htons(port);
	memcpy(tcp, &port, 2);
	tcp[3] = 80;
	tcp[12] = 0x50;
	tcp[13] = 0x10;
	*hdr = (struct virtio_net_hdr_v1){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6,
		.hdr_len = (uint16_t)(l4 + 20),
		.gso_size = 1448,
		.csum_start = (uint16_t)l4,
		.csum_offset = 16,
	};
}
