/* SPDX-License-Identifier: ISC */
#include "devices/net/tapif.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <stdalign.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"

enum {
	REQUEST_MAX = 512,
	ANSWER_MAX = 32 * 1024,
	ANSWER_MS = 2000, /* the kernel answers while it takes the request */
};

/* --- texts -------------------------------------------------------------------------------------------------------- */

static int parse_ip(const char *text, uint8_t bytes[16], unsigned *len)
{
	*len = strchr(text, ':') != NULL ? 16 : 4;
	return inet_pton(*len == 16 ? AF_INET6 : AF_INET, text, bytes) == 1 ? 0 : -EINVAL;
}

/* Leading ones of @len bytes; -EINVAL when a one follows a zero. */
static int prefix_of(const uint8_t *mask, unsigned len)
{
	unsigned n = 0;

	while (n < 8 * len && (mask[n / 8] & (0x80 >> n % 8)) != 0)
		n++;
	for (unsigned i = n; i < 8 * len; i++)
		if (mask[i / 8] & (0x80 >> i % 8))
			return -EINVAL;
	return (int)n;
}

int tapif_parse_addr(const char *ip, const char *mask, struct tap_addr *out, struct err *e)
{
	uint8_t m[16];
	unsigned m_len;

	*out = (struct tap_addr){ 0 };
	if (ip == NULL && mask == NULL)
		return 0;
	if (ip == NULL || mask == NULL)
		return err_set(e, -EINVAL, "address and mask go together");
	if (parse_ip(ip, out->bytes, &out->len) < 0)
		return err_set(e, -EINVAL, "\"%s\" is no address", ip);
	if (parse_ip(mask, m, &m_len) < 0)
		return err_set(e, -EINVAL, "\"%s\" is no network mask", mask);
	if (m_len != out->len)
		return err_set(e, -EINVAL, "address and mask are of different families");
	int prefix = prefix_of(m, m_len);
	if (prefix < 0)
		return err_set(e, -EINVAL, "network mask \"%s\" has holes", mask);
	out->prefix = (unsigned)prefix;
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int tapif_parse_mac(const char *text, uint8_t mac[TAP_MAC_BYTES], struct err *e)
{
	const char *p = text;

	for (int i = 0; i < TAP_MAC_BYTES; i++, p += 3) {
		int high = hex_digit(p[0]), low = high < 0 ? -1 : hex_digit(p[1]);

		if (low < 0 || p[2] != (i == TAP_MAC_BYTES - 1 ? '\0' : ':'))
			return err_set(e, -EINVAL, "\"%s\" is no MAC address", text);
		mac[i] = (uint8_t)(high << 4 | low);
	}
	if ((mac[0] & 1) != 0 || memcmp(mac, "\0\0\0\0\0", TAP_MAC_BYTES) == 0)
		return err_set(e, -EINVAL, "\"%s\" can't be an interface's own address", text);
	return 0;
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

struct request {
	union {
		struct nlmsghdr h;
		alignas(NLMSG_ALIGNTO) uint8_t bytes[REQUEST_MAX];
	};
};

/* @body is the fixed part of the message. */
static void request_init(struct request *q, uint16_t type, uint16_t flags, const void *body, size_t len)
{
	*q = (struct request){ 0 };
	q->h.nlmsg_type = type;
	q->h.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	q->h.nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
	memcpy(NLMSG_DATA(&q->h), body, len);
}

/* Our own requests are small: a few attributes of at most 16 bytes. */
static void request_attr(struct request *q, uint16_t type, const void *data, size_t len)
{
	size_t at = NLMSG_ALIGN(q->h.nlmsg_len);
	struct rtattr a = { .rta_len = (uint16_t)RTA_LENGTH(len), .rta_type = type };

	memcpy(q->bytes + at, &a, sizeof(a));
	memcpy(q->bytes + at + RTA_LENGTH(0), data, len);
	q->h.nlmsg_len = (uint32_t)(at + RTA_LENGTH(len));
}

/* The first message of an answer: 0 or a positive number of bytes of @answer for a message of @want, or the error in it. */
static int answer_of(const uint8_t *answer, size_t n, uint16_t want)
{
	struct nlmsghdr h;
	struct nlmsgerr error;

	if (n < sizeof(h))
		return -EBADMSG;
	memcpy(&h, answer, sizeof(h));
	if (h.nlmsg_len < NLMSG_LENGTH(0) || h.nlmsg_len > n)
		return -EBADMSG;
	if (h.nlmsg_type != NLMSG_ERROR)
		return h.nlmsg_type == want ? (int)h.nlmsg_len : -EBADMSG;
	if (h.nlmsg_len < NLMSG_LENGTH(sizeof(error)))
		return -EBADMSG;
	memcpy(&error, answer + NLMSG_LENGTH(0), sizeof(error));
	if (error.error > 0)
		return -EBADMSG;
	return error.error != 0 || want == 0 ? error.error : -EBADMSG;
}

/* #syscalls tap: sendto recvfrom poll */
static int ask(int sock, const struct request *q, uint8_t *answer, uint16_t want)
{
	if (send(sock, q->bytes, q->h.nlmsg_len, 0) < 0)
		return -errno;
	int r = fd_wait(sock, POLLIN, ANSWER_MS);
	if (r <= 0)
		return r < 0 ? r : -ETIMEDOUT;
	ssize_t n = recv(sock, answer, ANSWER_MAX, MSG_DONTWAIT);
	return n < 0 ? -errno : answer_of(answer, (size_t)n, want);
}

/* A change: acknowledged or refused. */
static int change(int sock, const struct request *q)
{
	uint8_t answer[ANSWER_MAX];

	return ask(sock, q, answer, 0);
}

/* #syscalls monitor: socket(AF_NETLINK) */
int tapif_open(struct err *e)
{
	int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	return sock < 0 ? err_sys(e, -errno, "routing socket") : sock;
}

/* --- what is there ------------------------------------------------------------------------------------------------ */

typedef void (*attr_fn)(void *arg, unsigned type, const uint8_t *data, size_t len);

static void each_attr(const uint8_t *p, size_t len, attr_fn fn, void *arg)
{
	struct rtattr a;

	while (len >= sizeof(a)) {
		memcpy(&a, p, sizeof(a));
		if (a.rta_len < sizeof(a) || a.rta_len > len)
			return;
		fn(arg, a.rta_type & (unsigned)NLA_TYPE_MASK, p + sizeof(a), a.rta_len - sizeof(a));
		size_t step = RTA_ALIGN(a.rta_len);
		if (step > len)
			return;
		p += step;
		len -= step;
	}
}

static void on_tun_attr(void *arg, unsigned type, const uint8_t *data, size_t len)
{
	struct tap_found *f = arg;

	if (type == IFLA_TUN_TYPE && len >= 1)
		f->kind = data[0] == IFF_TAP ? TAP_TAP : TAP_TUN;
	else if (type == IFLA_TUN_MULTI_QUEUE && len >= 1)
		f->multi_queue = data[0] != 0;
	else if (type == IFLA_TUN_PI && len >= 1)
		f->packet_info = data[0] != 0;
}

/* The kind stands before its data. */
static void on_info_attr(void *arg, unsigned type, const uint8_t *data, size_t len)
{
	struct tap_found *f = arg;

	if (type == IFLA_INFO_KIND) {
		size_t n = strnlen((const char *)data, len);

		n = n < TAP_NAME_BYTES - 1 ? n : TAP_NAME_BYTES - 1;
		memcpy(f->what, data, n);
		f->what[n] = '\0';
	} else if (type == IFLA_INFO_DATA && strcmp(f->what, "tun") == 0) {
		each_attr(data, len, on_tun_attr, f);
	}
}

static void on_link_attr(void *arg, unsigned type, const uint8_t *data, size_t len)
{
	struct tap_found *f = arg;

	if (type == IFLA_MTU && len >= sizeof(f->mtu))
		memcpy(&f->mtu, data, sizeof(f->mtu));
	else if (type == IFLA_ADDRESS && len == TAP_MAC_BYTES)
		memcpy(f->mac, data, TAP_MAC_BYTES);
	else if (type == IFLA_LINKINFO)
		each_attr(data, len, on_info_attr, f);
}

void tapif_read_attrs(const uint8_t *attrs, size_t len, struct tap_found *out)
{
	*out = (struct tap_found){ .kind = TAP_OTHER };
	each_attr(attrs, len, on_link_attr, out);
}

static int find(int sock, const char *name, struct tap_found *out, struct ifinfomsg *info)
{
	const struct ifinfomsg any = { .ifi_family = AF_UNSPEC };
	uint8_t answer[ANSWER_MAX];
	struct request q;

	*out = (struct tap_found){ .kind = TAP_ABSENT };
	request_init(&q, RTM_GETLINK, 0, &any, sizeof(any));
	request_attr(&q, IFLA_IFNAME, name, strlen(name) + 1);
	int r = ask(sock, &q, answer, RTM_NEWLINK);
	if (r == -ENODEV)
		return 0;
	if (r < 0)
		return r;
	size_t fixed = NLMSG_LENGTH(sizeof(*info));
	if ((size_t)r < fixed)
		return -EBADMSG;
	memcpy(info, answer + NLMSG_LENGTH(0), sizeof(*info));
	tapif_read_attrs(answer + fixed, (size_t)r - fixed, out);
	out->is_up = (info->ifi_flags & IFF_UP) != 0;
	return 0;
}

int tapif_find(int sock, const char *name, struct tap_found *out, struct err *e)
{
	struct ifinfomsg info;
	int r = find(sock, name, out, &info);

	return r < 0 ? err_sys(e, r, "looking for it") : 0;
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

static int set_link(int sock, int index, const struct tap_settings *s, bool up)
{
	struct ifinfomsg info = { .ifi_family = AF_UNSPEC, .ifi_index = index };
	struct request q;

	if (up)
		info.ifi_flags = info.ifi_change = IFF_UP;
	request_init(&q, RTM_NEWLINK, NLM_F_ACK, &info, sizeof(info));
	if (!up && s->mac != NULL)
		request_attr(&q, IFLA_ADDRESS, s->mac, TAP_MAC_BYTES);
	if (!up && s->mtu != 0)
		request_attr(&q, IFLA_MTU, &s->mtu, sizeof(s->mtu));
	return change(sock, &q);
}

static int add_address(int sock, int index, const struct tap_addr *a)
{
	const struct ifaddrmsg msg = {
		.ifa_family = a->len == 16 ? AF_INET6 : AF_INET,
		.ifa_prefixlen = (uint8_t)a->prefix,
		/* Nobody else has this end of the wire: no waiting for duplicates. */
		.ifa_flags = a->len == 16 ? IFA_F_NODAD : 0,
		.ifa_scope = RT_SCOPE_UNIVERSE,
		.ifa_index = (uint32_t)index,
	};
	uint8_t broadcast[4];
	struct request q;

	request_init(&q, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &msg, sizeof(msg));
	request_attr(&q, IFA_LOCAL, a->bytes, a->len);
	request_attr(&q, IFA_ADDRESS, a->bytes, a->len);
	if (a->len == 4 && a->prefix < 31) {
		for (unsigned i = 0; i < 4; i++) {
			unsigned ones = a->prefix > 8 * i ? a->prefix - 8 * i : 0;

			broadcast[i] = (uint8_t)(a->bytes[i] | (ones >= 8 ? 0 : 0xff >> ones));
		}
		request_attr(&q, IFA_BROADCAST, broadcast, sizeof(broadcast));
	}
	return change(sock, &q);
}

int tapif_set_up(int sock, const char *name, const struct tap_settings *s, struct err *e)
{
	struct tap_found found;
	struct ifinfomsg info;
	int r = find(sock, name, &found, &info);

	if (r < 0 || found.kind == TAP_ABSENT)
		return err_sys(e, r < 0 ? r : -ENODEV, "looking for it");
	if (s->mac != NULL || s->mtu != 0) {
		r = set_link(sock, info.ifi_index, s, false);
		if (r == -EINVAL && s->mtu != 0)
			return err_set(e, r, "MTU %u is out of range", s->mtu);
		if (r < 0)
			return err_sys(e, r, "setting MAC address and MTU");
	}
	if (s->addr.len > 0 && (r = add_address(sock, info.ifi_index, &s->addr)) < 0)
		return err_sys(e, r, "setting its address");
	r = found.is_up ? 0 : set_link(sock, info.ifi_index, s, true);
	return r < 0 ? err_sys(e, r, "bringing it up") : 0;
}
