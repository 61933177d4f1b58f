/* SPDX-License-Identifier: ISC */
/* Disks: image, lock, group of limits. What is in the image is looked at by cloister-blk, after its lock-down. */
#include "jail/monitor_dev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "devices/common/ratelimit.h"
#include "jail/monitor_ops.h"
#include "jail/policy/roles.h"
#include "jail/uids.h"
#include "proto/stats_page.h"

enum { QUEUES_MAX = 256 };

static const struct cfg_disk *cfg_of(const struct dev *d)
{
	return d->cfg;
}

static const char *disk_id(const struct dev *d)
{
	return cfg_of(d)->id;
}

/* --- groups of limits ------------------------------------------------------------------------------------------- */

static struct limit_group *group_of(struct monitor *mon, const char *id)
{
	for (size_t i = 0; i < MON_GROUPS && mon->groups[i].id != NULL; i++)
		if (strcmp(mon->groups[i].id, id) == 0)
			return &mon->groups[i];
	return NULL;
}

/* Helpers share the page and its lock; here it is only made.
 * #syscalls monitor: mmap munmap close
 */
static int make_limits(const struct cfg_rate_limiter *cfg, struct err *e)
{
	_cleanup_(fd_closep) int fd = dev_make_page("limits", STATS_PAGE_BYTES, e);
	int r;

	_Static_assert(sizeof(struct ratelimit_shared) <= STATS_PAGE_BYTES, "one page");
	if (fd < 0)
		return fd;
	void *page = mmap(NULL, STATS_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return err_sys(e, -errno, "mapping a page");
	r = ratelimit_shared_init(page, cfg, clock_mono_ns());
	(void)munmap(page, STATS_PAGE_BYTES);
	return r < 0 ? err_sys(e, r, "making the limits") : fd_take(&fd);
}

int op_limit_group(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_limit_group *g = msg;
	struct monitor *mon = ctx;
	size_t i = 0;

	(void)m;
	if (g->config.id == NULL)
		return err_set(e, -EINVAL, "a rate limit group without a name");
	if (group_of(mon, g->config.id) != NULL)
		return err_set(e, -EEXIST, "rate limit group \"%s\" is there already", g->config.id);
	while (i < MON_GROUPS && mon->groups[i].id != NULL)
		i++;
	if (i == MON_GROUPS)
		return err_set(e, -ENOSPC, "more than %d rate limit groups", MON_GROUPS);
	int fd = make_limits(&g->config.rate_limiter_config, e);
	if (fd < 0)
		return err_wrap(e, fd, "rate limit group \"%s\"", g->config.id);
	mon->groups[i] = (struct limit_group){ .id = strdup(g->config.id), .page = fd };
	if (mon->groups[i].id != NULL)
		return 0;
	fd_closep(&mon->groups[i].page);
	return err_sys(e, -ENOMEM, "rate limit group");
}

/* --- image ------------------------------------------------------------------------------------------------------ */

static int disk_check(struct dev *d, struct err *e)
{
	const struct cfg_disk *cfg = cfg_of(d);

	d->disk = DISK_IMAGE_NONE;
	d->ours = !cfg->vhost_user;
	if (cfg->num_queues == 0 || cfg->num_queues > QUEUES_MAX)
		return err_set(e, -ERR_INVALID, "%llu queues", (unsigned long long)cfg->num_queues);
	if (cfg->queue_size == 0 || cfg->queue_size > 32768)
		return err_set(e, -ERR_INVALID, "queues of %u descriptors", cfg->queue_size);
	d->n_queues = (uint32_t)cfg->num_queues;
	d->queue_size = cfg->queue_size;
	if (cfg->rate_limit_group != NULL && group_of(d->mon, cfg->rate_limit_group) == NULL)
		return err_set(e, -ERR_INVALID, "there is no rate limit group \"%s\"", cfg->rate_limit_group);
	return 0;
}

/* Our own locks do not exclude each other's readers, and block devices have several names. */
static int check_unused(const struct dev *d, struct err *e)
{
	const struct dev *o;

	for (size_t i = 0; (o = dev_next(d->mon, &i)) != NULL;) {
		if (o == d || o->kind != DEV_DISK || o->disk.lock < 0 || o->disk.dev != d->disk.dev ||
		    o->disk.ino != d->disk.ino || o->disk.is_device != d->disk.is_device)
			continue;
		if (!cfg_of(d)->readonly || !cfg_of(o)->readonly)
			return err_set(e, -EBUSY, "\"%s\" is already in use in this VM, by disk \"%s\"", cfg_of(d)->path,
				       dev_label(o));
	}
	return 0;
}

static void preallocate(const struct dev *d)
{
	const struct cfg_disk *cfg = cfg_of(d);

	if (cfg->sparse || cfg->readonly || d->disk.is_device)
		return;
	int r = disk_preallocate(&d->disk);
	if (r < 0)
		log_warn("disk \"%s\": the image's blocks cannot be allocated ahead: %s", dev_label(d), strerror(-r));
}

static int disk_open_now(struct dev *d, struct err *e)
{
	const struct cfg_disk *cfg = cfg_of(d);

	if (!d->ours)
		return dev_foreign_open(d, cfg->vhost_socket, false, e);
	int r = disk_open(&d->disk, cfg, e);
	if (r == 0)
		r = check_unused(d, e);
	if (r == 0)
		r = disk_lock(&d->disk, cfg, e);
	if (r == 0)
		preallocate(d);
	return r;
}

static int disk_configure(struct dev *d, struct err *e)
{
	const struct cfg_disk *cfg = cfg_of(d);
	const struct limit_group *group = cfg->rate_limit_group == NULL ? NULL : group_of(d->mon, cfg->rate_limit_group);
	struct msg_blk_config m = {
		.is_device = d->disk.is_device,
		.readonly = cfg->readonly,
		.direct = cfg->direct,
		.sparse = cfg->sparse,
		.use_io_uring = !cfg->disable_io_uring,
		.has_group = group != NULL,
		.image_type = cfg->image_type,
		.serial = cfg->serial != NULL ? cfg->serial : d->disk.serial,
		.n_affinity = cfg->n_queue_affinity,
		.affinity = cfg->queue_affinity,
	};
	const int fds[] = { d->disk.image, group != NULL ? group->page : -1 };

	if (cfg->has_rate_limiter_config)
		m.limits = cfg->rate_limiter_config;
	int r = link_send(&d->helper.link, MSG_BLK_CONFIG, 0, &desc_msg_blk_config, &m, fds, group != NULL ? 2 : 1);
	return r < 0 ? err_sys(e, r, "its configuration") : 0;
}

/* Per queue: call and kick; a ring, a wake-up of its thread, what they say to each other. */
static void disk_expect(const struct dev *d, struct verify_want *want)
{
	want->fds_below = want->nofile = FD_blk_EVENTS + 6 * d->n_queues + 4;
	want->threads = 1 + 3 * d->n_queues; /* two workers of the kernel's for a ring */
}

static void disk_shut(struct dev *d)
{
	disk_close(&d->disk);
}

static const struct helper_kind blk_kind = { .role = JAIL_BLK, .program = "cloister-blk", .ready_ms = DEV_READY_DISK_MS };

const struct dev_ops dev_disk_ops = {
	.name = "disk",
	.cfg_desc = &desc_cfg_disk,
	.exe = MON_EXE_BLK,
	.helper = &blk_kind,
	.uid_slot = UIDS_SLOT_DISKS,
	.uid_slots = UIDS_SLOTS_PER_KIND,
	.id = disk_id,
	.check = disk_check,
	.open = disk_open_now,
	.configure = disk_configure,
	.expect = disk_expect,
	.close = disk_shut,
};
