/* SPDX-License-Identifier: ISC */
/*
 * Network devices: taps from cloister-tap, which makes or attaches them, or checks those that came with the command line.
 * Beside somebody else's back end a cloister-net of ours, for the control queue: a device of its own to the monitor.
 */
#include "jail/monitor_dev.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "jail/policy/roles.h"
#include "jail/uids.h"

enum { STDIO = 3 };

static const struct cfg_net *cfg_of(const struct dev *d)
{
	return d->cfg;
}

static const char *net_id(const struct dev *d)
{
	return cfg_of(d)->id;
}

/* "aa:bb:cc:dd:ee:ff", as apid has checked. */
static int parse_mac(const char *text, uint8_t mac[DEV_MAC_BYTES])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < DEV_MAC_BYTES; i++, text += 3) {
		const char *high = text[0] == '\0' ? NULL : strchr(digits, tolower((unsigned char)text[0]));
		const char *low = high == NULL || text[1] == '\0' ? NULL : strchr(digits, tolower((unsigned char)text[1]));

		if (low == NULL || text[2] != (i + 1 < DEV_MAC_BYTES ? ':' : '\0'))
			return -EINVAL;
		mac[i] = (uint8_t)((high - digits) << 4 | (low - digits));
	}
	return 0;
}

/* Two queues for each pair; ours have one more, for the driver's commands. */
static int net_check(struct dev *d, struct err *e)
{
	const struct cfg_net *cfg = cfg_of(d);

	d->net = (struct dev_net){ .n_pairs = (uint32_t)(cfg->num_queues / 2) };
	d->ours = !cfg->vhost_user;
	if (cfg->num_queues < 2 || cfg->num_queues % 2 != 0 || cfg->num_queues / 2 > DEV_TAPS_MAX)
		return err_set(e, -ERR_INVALID, "%llu queues", (unsigned long long)cfg->num_queues);
	if (cfg->queue_size == 0 || cfg->queue_size > 32768)
		return err_set(e, -ERR_INVALID, "queues of %u descriptors", cfg->queue_size);
	d->n_queues = (uint32_t)cfg->num_queues + (d->ours ? 1 : 0);
	d->queue_size = cfg->queue_size;
	if (d->ours && (cfg->mac == NULL || parse_mac(cfg->mac, d->net.mac) < 0))
		return err_set(e, -EINVAL, "it has no MAC address");
	return 0;
}

/* What was inherited survives an exec; nothing that the monitor opened itself does. A copy, so that the next boot finds
 * it too.
 * #syscalls monitor: fcntl(F_GETFD, F_DUPFD_CLOEXEC)
 */
static int inherited(int number, struct err *e)
{
	int flags = number < STDIO ? -1 : fcntl(number, F_GETFD);

	if (flags < 0 || (flags & FD_CLOEXEC) != 0)
		return err_set(e, -EBADF, "descriptor %d was not given to the program when it was started", number);
	int fd = fcntl(number, F_DUPFD_CLOEXEC, STDIO);
	return fd < 0 ? err_sys(e, -errno, "descriptor %d", number) : fd;
}

static int with_given(struct dev *d, struct msg_tap_config *ask, struct err *e)
{
	const struct cfg_net *cfg = cfg_of(d);
	int fds[DEV_TAPS_MAX], r = 0;
	unsigned n = 0;

	if (cfg->n_fds != d->net.n_pairs)
		return err_set(e, -ERR_INVALID, "%zu descriptors for %u pairs of queues", cfg->n_fds,
			       d->net.n_pairs);
	while (r >= 0 && n < cfg->n_fds) {
		r = inherited(cfg->fds[n], e);
		if (r >= 0)
			fds[n++] = r;
	}
	ask->n_fds = n;
	if (r >= 0)
		r = tap_begin(d, ask, fds, e);
	fd_close_all(fds, n);
	return r;
}

static int net_open(struct dev *d, struct err *e)
{
	const struct cfg_net *cfg = cfg_of(d);
	struct msg_tap_config ask = {
		.name = cfg->tap,
		.ip = cfg->ip,
		.mask = cfg->mask,
		.host_mac = cfg->host_mac,
		.mtu = cfg->has_mtu ? cfg->mtu : 0,
		.n_pairs = d->net.n_pairs,
	};
	int r;

	if (!d->ours)
		return dev_foreign_open(d, cfg->vhost_socket, cfg->vhost_mode == VHOST_MODE_SERVER, e);
	if (cfg->has_fds && cfg->n_fds > 0)
		r = with_given(d, &ask, e);
	else
		r = tap_begin(d, &ask, NULL, e);
	return r < 0 ? r : 1;
}

static int net_configure(struct dev *d, struct err *e)
{
	const struct cfg_net *cfg = cfg_of(d);
	struct msg_net_config m = {
		.n_pairs = d->net.n_pairs,
		.n_mac = DEV_MAC_BYTES,
		.mac = d->net.mac,
		.mtu = d->net.mtu,
		.offload_tso = cfg->offload_tso,
		.offload_ufo = cfg->offload_ufo,
		.offload_csum = cfg->offload_csum,
	};

	if (cfg->has_rate_limiter_config)
		m.limits = cfg->rate_limiter_config;
	int r = link_send(&d->helper.link, MSG_NET_CONFIG, 0, &desc_msg_net_config, &m, d->net.taps, d->net.n_taps);
	return r < 0 ? err_sys(e, r, "its configuration") : 0;
}

static void net_expect(const struct dev *d, struct verify_want *want)
{
	want->fds_below = want->nofile = FD_net_EVENTS + d->net.n_taps + 2 * d->n_queues;
}

static void net_close(struct dev *d)
{
	fd_close_all(d->net.taps, d->net.n_taps);
	d->net.n_taps = 0;
}

static const struct helper_kind net_kind = { .role = JAIL_NET, .program = "cloister-net", .ready_ms = DEV_READY_MS };

const struct dev_ops dev_net_ops = {
	.name = "net",
	.cfg_desc = &desc_cfg_net,
	.exe = MON_EXE_NET,
	.helper = &net_kind,
	.uid_slot = UIDS_SLOT_NETS,
	.uid_slots = UIDS_SLOTS_PER_KIND,
	.id = net_id,
	.check = net_check,
	.open = net_open,
	.configure = net_configure,
	.expect = net_expect,
	.close = net_close,
};

/* --- the control queue of somebody else's --------------------------------------------------------------------------- */

static int ctl_check(struct dev *d, struct err *e)
{
	const struct cfg_net *cfg = cfg_of(d);

	(void)e; /* the device before it was checked */
	d->net = (struct dev_net){ 0 };
	d->n_queues = 1;
	d->queue_size = cfg->queue_size;
	if (cfg->mac != NULL)
		(void)parse_mac(cfg->mac, d->net.mac);
	return 0;
}

static int ctl_open(struct dev *d, struct err *e)
{
	(void)d;
	(void)e;
	return 0;
}

static int ctl_configure(struct dev *d, struct err *e)
{
	const struct msg_net_config m = {
		.ctrl_pairs = (uint32_t)(cfg_of(d)->num_queues / 2),
		.n_mac = DEV_MAC_BYTES,
		.mac = d->net.mac,
	};
	int r = link_send(&d->helper.link, MSG_NET_CONFIG, 0, &desc_msg_net_config, &m, NULL, 0);

	return r < 0 ? err_sys(e, r, "its configuration") : 0;
}

/* The uid is the device's: nobody else has it, as its back end is no process of ours. */
const struct dev_ops dev_net_ctl_ops = {
	.name = "control queue of net",
	.cfg_desc = &desc_cfg_net,
	.exe = MON_EXE_NET,
	.helper = &net_kind,
	.uid_slot = UIDS_SLOT_NETS,
	.uid_slots = UIDS_SLOTS_PER_KIND,
	.id = net_id,
	.check = ctl_check,
	.open = ctl_open,
	.configure = ctl_configure,
	.expect = net_expect,
	.close = net_close,
};
