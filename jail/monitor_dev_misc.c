/* SPDX-License-Identifier: ISC */
/* The entropy device and the virtio console. */
#include "jail/monitor_dev.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "devices/console/console_virtio.h"
#include "jail/open_policy.h"
#include "jail/policy/roles.h"
#include "jail/uids.h"

enum { QUEUE_SIZE = 256, VCON_QUEUES = 2, RNG_QUEUES = 1 };

/* --- entropy ---------------------------------------------------------------------------------------------------- */

static const char *rng_id(const struct dev *d)
{
	const struct cfg_rng *cfg = d->cfg;

	return cfg->id;
}

static int rng_check(struct dev *d, struct err *e)
{
	(void)e;
	d->rng = (struct dev_rng){ .source = -1 };
	d->n_queues = RNG_QUEUES;
	d->queue_size = QUEUE_SIZE;
	return 0;
}

static int rng_open(struct dev *d, struct err *e)
{
	const struct cfg_rng *cfg = d->cfg;

	d->rng.source = open_policy_source(cfg->src != NULL ? cfg->src : "/dev/urandom", &d->rng.is_stream, e);
	return d->rng.source < 0 ? d->rng.source : 0;
}

static int rng_configure(struct dev *d, struct err *e)
{
	const struct msg_rng_config m = { .is_stream = d->rng.is_stream };
	int r = link_send(&d->helper.link, MSG_RNG_CONFIG, 0, &desc_msg_rng_config, &m, &d->rng.source, 1);

	return r < 0 ? err_sys(e, r, "its configuration") : 0;
}

static void rng_expect(const struct dev *d, struct verify_want *want)
{
	want->fds_below = want->nofile = FD_rng_EVENTS + 2 * d->n_queues;
}

static void rng_close(struct dev *d)
{
	fd_closep(&d->rng.source);
}

static const struct helper_kind rng_kind = { .role = JAIL_RNG, .program = "cloister-rng", .ready_ms = DEV_READY_MS };

const struct dev_ops dev_rng_ops = {
	.name = "rng",
	.cfg_desc = &desc_cfg_rng,
	.exe = MON_EXE_RNG,
	.helper = &rng_kind,
	.uid_slot = UIDS_SLOT_RNG,
	.uid_slots = 1,
	.id = rng_id,
	.check = rng_check,
	.open = rng_open,
	.configure = rng_configure,
	.expect = rng_expect,
	.close = rng_close,
};

/* --- virtio console --------------------------------------------------------------------------------------------- */

static struct con *target_of(const struct dev *d)
{
	return &d->mon->consoles[CONSOLE_ID_VIRTIO];
}

static const char *vcon_id(const struct dev *d)
{
	const struct cfg_console *cfg = d->cfg;

	return cfg->id;
}

static int vcon_check(struct dev *d, struct err *e)
{
	const struct con *con = target_of(d);

	d->n_queues = VCON_QUEUES;
	d->queue_size = QUEUE_SIZE;
	if (!con_is_open(con) || con->lost)
		return err_set(e, -EINVAL, "its target is not open");
	return 0;
}

static int vcon_open(struct dev *d, struct err *e)
{
	(void)d;
	(void)e;
	return 0;
}

static int vcon_configure(struct dev *d, struct err *e)
{
	const struct con *con = target_of(d);
	struct msg_con_config c;
	int fds[1 + CON_OPEN_FDS_MAX] = { con->ring_fd };

	con_describe(con, &c);
	memcpy(fds + 1, con->host.fds, con->host.n_fds * sizeof(int));
	const struct msg_vcon_config m = { .target = c.target, .has_input = c.has_input, .restore_tty = c.restore_tty,
					   .n_termios = c.n_termios, .termios = c.termios };
	int r = link_send(&d->helper.link, MSG_VCON_CONFIG, 0, &desc_msg_vcon_config, &m, fds, 1 + con->host.n_fds);
	return r < 0 ? err_sys(e, r, "its configuration") : 0;
}

static void vcon_expect(const struct dev *d, struct verify_want *want)
{
	(void)d;
	want->fds_below = want->nofile = FD_vconsole_CLIENT + 1;
}

static void vcon_close(struct dev *d)
{
	(void)d; /* the target is the console's */
}

static const struct helper_kind vcon_kind = { .role = JAIL_VCONSOLE, .program = "cloister-console",
					      .word = CONSOLE_VIRTIO_WORD, .ready_ms = DEV_READY_MS };

const struct dev_ops dev_vcon_ops = {
	.name = "console",
	.cfg_desc = &desc_cfg_console,
	.exe = MON_EXE_CONSOLE,
	.helper = &vcon_kind,
	.uid_slot = UIDS_SLOT_CONSOLE + 1,
	.uid_slots = 1,
	.id = vcon_id,
	.check = vcon_check,
	.open = vcon_open,
	.configure = vcon_configure,
	.expect = vcon_expect,
	.close = vcon_close,
};
