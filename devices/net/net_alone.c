/* SPDX-License-Identifier: ISC */
/* cloister-net by hand: options, and the tap that they name. */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/random.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/str.h"
#include "devices/net/net.h"
#include "devices/net/tapif.h"

enum { MTU_MIN = 68 };

/* What the options say until something is opened. */
static struct {
	char tap[TAP_NAME_BYTES];
	int fds[TAP_PAIRS_MAX];
	unsigned n_fds;
	unsigned n_queues;
	bool has_mac;
} args = { .n_queues = 2 };

/* --- options ------------------------------------------------------------------------------------------------------ */

static int take_number(const char *value, uint64_t min, uint64_t max, uint64_t *out, struct err *e)
{
	if (str_to_u64(value, min, max, out) < 0)
		return err_set(e, -EINVAL, "\"%s\" is no number from %llu to %llu", value, (unsigned long long)min,
			       (unsigned long long)max);
	return 0;
}

static int take_switch(const char *value, bool *out, struct err *e)
{
	*out = strcmp(value, "on") == 0;
	return *out || strcmp(value, "off") == 0 ? 0 : err_set(e, -EINVAL, "\"%s\" is neither on nor off", value);
}

static int take_tap(void *dev, const char *value, struct err *e)
{
	int r = tapdev_check_name(value, e);

	(void)dev;
	if (r == 0)
		memcpy(args.tap, value, strlen(value) + 1);
	return r;
}

/* Numbers, with commas or by giving the option again. */
static int take_tap_fd(void *dev, const char *value, struct err *e)
{
	char number[16];
	const char *p = value;

	(void)dev;
	for (;;) {
		size_t n = strcspn(p, ",");
		uint64_t fd;

		if (n >= sizeof(number))
			return err_set(e, -EINVAL, "\"%s\" is no list of descriptors", value);
		memcpy(number, p, n);
		number[n] = '\0';
		int r = take_number(number, 3, INT32_MAX, &fd, e);
		if (r < 0)
			return r;
		if (args.n_fds == TAP_PAIRS_MAX)
			return err_set(e, -E2BIG, "more than %d taps", TAP_PAIRS_MAX);
		args.fds[args.n_fds++] = (int)fd;
		if (p[n] == '\0')
			return 0;
		p += n + 1;
	}
}

static int take_mac(void *dev, const char *value, struct err *e)
{
	struct net *net = dev;

	args.has_mac = true;
	return tapif_parse_mac(value, net->mac, e);
}

static int take_mtu(void *dev, const char *value, struct err *e)
{
	struct net *net = dev;
	uint64_t v = 0;
	int r = take_number(value, MTU_MIN, UINT16_MAX, &v, e);

	net->mtu = (uint16_t)v;
	return r;
}

static int take_num_queues(void *dev, const char *value, struct err *e)
{
	uint64_t v = 0;
	int r = take_number(value, 2, 2 * TAP_PAIRS_MAX, &v, e);

	(void)dev;
	if (r == 0 && v % 2 != 0)
		return err_set(e, -EINVAL, "an odd number of queues");
	args.n_queues = (unsigned)v;
	return r;
}

static int take_tso(void *dev, const char *value, struct err *e)
{
	return take_switch(value, &((struct net *)dev)->offload_tso, e);
}

static int take_ufo(void *dev, const char *value, struct err *e)
{
	return take_switch(value, &((struct net *)dev)->offload_ufo, e);
}

static int take_csum(void *dev, const char *value, struct err *e)
{
	return take_switch(value, &((struct net *)dev)->offload_csum, e);
}

/* One function for each key of the two buckets. */
#define TAKE_LIMIT(bucket, member, key, help) \
	static int take_##bucket##_##member(void *dev, const char *value, struct err *e) \
	{ \
		struct net *net = dev; \
		uint64_t v = 0; \
		int r = take_number(value, 0, UINT64_MAX, &v, e); \
\
		net->limits.has_##bucket = true; \
		SET_##member(net->limits.bucket, v); \
		return r; \
	}
#define SET_size(b, v) (b).size = (v)
#define SET_refill_time(b, v) (b).refill_time = (v)
#define SET_one_time_burst(b, v) ((b).has_one_time_burst = true, (b).one_time_burst = (v))
LIMITER_KEYS(TAKE_LIMIT)
#undef TAKE_LIMIT

const struct vdevice_option net_options[] = {
	{ "tap", "NAME", "interface to use, made when it does not exist", take_tap },
	{ "tap-fd", "N[,N...]", "open taps to use, one for each queue pair", take_tap_fd },
	{ "mac", "MAC", "the guest's address; random when not given", take_mac },
	{ "mtu", "N", "told to the guest; a tap that is made gets it; else the tap's own", take_mtu },
	{ "num-queues", "N", "receive and transmit queues together (2)", take_num_queues },
	{ "offload-tso", "on|off", "TCP segmentation offload (on)", take_tso },
	{ "offload-ufo", "on|off", "UDP fragmentation offload (on)", take_ufo },
	{ "offload-csum", "on|off", "checksum offload (on)", take_csum },
	{ "bw-size", "N", "bytes that may pass in bw-refill-time", take_bandwidth_size },
	{ "bw-one-time-burst", "N", "bytes that may pass once, before those", take_bandwidth_one_time_burst },
	{ "bw-refill-time", "N", "milliseconds", take_bandwidth_refill_time },
	{ "ops-size", "N", "frames that may pass in ops-refill-time", take_ops_size },
	{ "ops-one-time-burst", "N", "frames that may pass once, before those", take_ops_one_time_burst },
	{ "ops-refill-time", "N", "milliseconds", take_ops_refill_time },
	{ 0 },
};

/* --- opening ------------------------------------------------------------------------------------------------------ */

static int open_by_name(struct net *net, int route, int *fds, struct err *e)
{
	const struct tap_settings settings = { .mtu = net->mtu };
	struct tap_found found;
	bool made = false;
	int r = tapif_find(route, args.tap, &found, e);

	if (r == 0)
		r = tapdev_open_control(fds, net->n_pairs, e);
	if (r < 0)
		return r;
	r = tapdev_attach(fds, net->n_pairs, args.tap, &found, &made, e);
	if (r == 0 && made)
		r = tapif_set_up(route, args.tap, &settings, e);
	if (r == 0)
		r = tapif_find(route, args.tap, &found, e);
	if (r == 0 && net->mtu == 0 && found.mtu <= UINT16_MAX)
		net->mtu = (uint16_t)found.mtu;
	if (r < 0)
		fd_close_all(fds, net->n_pairs);
	return r;
}

static int take_given(const struct net *net, int *fds, struct err *e)
{
	for (unsigned i = 0; i < net->n_pairs; i++) {
		uint8_t mac[TAP_MAC_BYTES];
		char name[TAP_NAME_BYTES];
		int r = fcntl(args.fds[i], F_SETFD, FD_CLOEXEC) < 0 ? err_sys(e, -errno, "not open") : 0;

		if (r == 0)
			r = tapdev_check_given(args.fds[i], net->n_pairs, name, mac, e);
		if (r < 0)
			return err_wrap(e, r, "descriptor %d", args.fds[i]);
		fds[i] = fd_take(&args.fds[i]);
	}
	return 0;
}

static int open_taps(struct net *net, int *fds, struct err *e)
{
	if ((args.tap[0] != '\0') == (args.n_fds > 0))
		return err_set(e, -EINVAL, "either --tap or --tap-fd is needed");
	if (args.n_fds > 0 && args.n_fds != net->n_pairs)
		return err_set(e, -EINVAL, "%u taps for %u queues", args.n_fds, args.n_queues);
	if (args.n_fds > 0)
		return take_given(net, fds, e);
	_cleanup_(fd_closep) int route = tapif_open(e);
	int r = route < 0 ? route : open_by_name(net, route, fds, e);
	return r < 0 ? err_wrap(e, r, "tap \"%s\"", args.tap) : 0;
}

static int choose_mac(struct net *net, struct err *e)
{
	if (args.has_mac)
		return 0;
	net->mac[0] = 0x2e;
	ssize_t n = getrandom(net->mac + 1, TAP_MAC_BYTES - 1, 0);
	return n == TAP_MAC_BYTES - 1 ? 0 : err_sys(e, n < 0 ? -errno : -EIO, "choosing an address");
}

int net_open_alone(void *dev, struct jail_limits *lim, struct err *e)
{
	struct net *net = dev;
	int fds[TAP_PAIRS_MAX];

	net->n_pairs = args.n_queues / 2;
	for (unsigned i = 0; i < TAP_PAIRS_MAX; i++)
		fds[i] = -1;
	if ((net->offload_tso || net->offload_ufo) && !net->offload_csum)
		return err_set(e, -EINVAL, "segmentation offload needs --offload-csum=on");
	int r = choose_mac(net, e);
	if (r == 0)
		r = open_taps(net, fds, e);
	vdevice_set_queues(net->vd, 2 * net->n_pairs + 1);
	if (r < 0) {
		fd_close_all(fds, TAP_PAIRS_MAX);
		return r;
	}
	/* The second policy pins nothing to numbers. */
	for (unsigned i = 0; i < net->n_pairs; i++)
		net->tap[i].fd = fds[i];
	return net_alloc(net, lim, e);
}
