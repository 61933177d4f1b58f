/* SPDX-License-Identifier: ISC */
/* Birth and end of a device, and of the processes behind it. What a driver does: device_run.c. */
#include "vmmd/vhost/device.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <event2/event.h>

#include "common/fd.h"
#include "common/log.h"
#include "vmmd/vhost/device_internal.h"

/* virtio v1.2 5.1.3, 5.1.4 */
#define CTRL_VQ (UINT64_C(1) << VIRTIO_NET_F_CTRL_VQ)
enum { STATUS_AT = offsetof(struct virtio_net_config, status), STATUS_BYTES = 2 };

/* Before the boot tells its name. */
static const char *name_of(const struct vhost_device *d)
{
	return d->name != NULL ? d->name : enum_dev_kind.names[d->kind].json;
}

/* --- its back end ----------------------------------------------------------------------------------------------------- */

static void leave(struct vhost_device *d)
{
	vhost_front_close(&d->front);
	vhost_backend_close(&d->backend);
	vhost_device_watch_err(d, false);
}

/* Broken, hung or dead: all the same, somebody makes sure that it is dead. */
void vhost_device_give_up(struct vhost_device *d, const char *why)
{
	leave(d);
	if (d->doomed || d->gone)
		return;
	(void)snprintf(d->why, sizeof(d->why), "%s", why);
	log_warn_rl("%s: its back end is given up: %s", name_of(d), why);
	d->doomed = true;
	d->ops->kill(d->arg, d);
	if (d->stopping)
		vhost_device_await_death(d);
}

static void on_broken(void *arg, const char *why)
{
	struct vhost_device *d = arg;

	d->misfit = why != vhost_link_closed;
	vhost_device_give_up(d, why);
}

static void on_backend_config(void *arg)
{
	struct vhost_device *d = arg;

	vhost_front_refresh_config(&d->front);
}

void vhost_device_gone(struct vhost_device *d, const struct msg_mon_device_gone *m)
{
	/* Of one that is gone already comes its end for good, when there is no successor: under that one's number. */
	bool last = m->final && !d->final && m->generation >= d->generation;

	if (!last && (m->generation != d->generation || d->gone))
		return;
	leave(d);
	d->doomed = false;
	d->gone = true;
	d->final = m->final;
	(void)snprintf(d->why, sizeof(d->why), "%s", m->reason);
	log_warn("%s: its back end is gone: %s", name_of(d), m->reason);
	vhost_device_stopped(d);
	if (!m->final)
		return;
	if (d->ram == NULL)
		return; /* the boot that it was for will fail */
	log_error("%s: failed, the VM goes on without it", name_of(d));
	d->ops->event(d->arg, d, "failed");
	vhost_device_fail(d);
}

int vhost_device_up(struct vhost_device *d, uint32_t generation, int *fds, unsigned n_fds, struct err *e)
{
	if (n_fds != (d->ours ? 2u : 1u))
		return err_set(e, -EBADMSG, "%u descriptors for a back end", n_fds);
	if (generation <= d->generation)
		return err_set(e, -EBADMSG, "generation %u of a back end after %u", generation, d->generation);
	leave(d);
	vhost_device_stopped(d); /* there is another only when the one before is dead */
	d->generation = generation;
	d->doomed = false;
	d->gone = false;
	d->final = false;
	d->misfit = false;
	int r = vhost_front_open(&d->front, &fds[0]);

	if (r == 0 && d->ours)
		r = vhost_backend_open(&d->backend, d->base, &fds[1]);
	if (r < 0) {
		vhost_device_give_up(d, "no memory for its socket");
		return err_sys(e, r, "the socket of a back end");
	}
	return 0;
}

/* --- birth ------------------------------------------------------------------------------------------------------------ */

/*
 * #syscalls vmmd: mmap
 */
static int map_stats(struct vhost_device *d, int fd, struct err *e)
{
	void *p = mmap(NULL, STATS_PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return err_sys(e, -errno, "mapping the statistics of a device");
	d->stats = p;
	return 0;
}

int vhost_device_add_events(struct vhost_device *d, int *fds, unsigned n, struct err *e)
{
	if (n % 2 != 0 || n > 2 * d->n_queues - d->n_events)
		return err_set(e, -EBADMSG, "%u events for %u queues that have %u", n, d->n_queues, d->n_events);
	for (unsigned i = 0; i < n; i++, d->n_events++) {
		int *of = d->n_events % 2 == 0 ? d->call : d->kick;

		of[d->n_events / 2] = fd_take(&fds[i]);
	}
	return 0;
}

/* Descriptors in the order of the message. */
static int take_fds(struct vhost_device *d, const struct msg_mon_device *m, int *fds, unsigned n_fds, struct err *e)
{
	unsigned own = m->ours ? 4 : 2;

	if (n_fds < own || n_fds - own != m->n_events)
		return err_set(e, -EBADMSG, "%u descriptors for a device", n_fds);
	int r = vhost_device_add_events(d, fds + own, m->n_events, e);

	d->err = fd_take(&fds[m->ours ? 2 : 1]);
	d->front.cfg.err = d->err;
	if (r == 0)
		r = vhost_device_make_events(d, e);
	if (r == 0 && m->ours)
		r = map_stats(d, fds[3], e);
	if (r == 0 && m->ours && vhost_backend_open(&d->backend, d->base, &fds[1]) < 0)
		r = err_set(e, -ENOMEM, "out of memory for a device");
	if (r == 0 && vhost_front_open(&d->front, &fds[0]) < 0)
		r = err_set(e, -ENOMEM, "out of memory for a device");
	return r;
}

static int *no_fds(unsigned n)
{
	int *fds = malloc(n * sizeof(*fds));

	for (unsigned i = 0; fds != NULL && i < n; i++)
		fds[i] = -1;
	return fds;
}

static int make_front(struct vhost_device *d)
{
	static const struct vhost_front_ops front_ops = {
		.ready = vhost_device_on_ready,
		.config = vhost_device_on_config,
		.stopped = vhost_device_on_stopped,
		.refused = vhost_device_on_refused,
		.broken = on_broken,
	};
	const struct vhost_front_cfg cfg = {
		.base = d->base,
		.ours = d->ours,
		.n_queues = d->n_queues,
		.queue_size = d->queue_size,
		.config_len = d->profile->asked_len,
		.config_needed = d->profile->asked_needed,
		.kick = d->kick,
		.call = d->call,
		.err = -1,
		.timeouts = vhost_timeouts,
		.ops = &front_ops,
		.arg = d,
	};
	int r = vhost_front_init(&d->front, &cfg);

	if (r == 0)
		vhost_front_writable(&d->front, d->profile->writable_off, d->profile->writable_len);
	return r;
}

struct vhost_device *vhost_device_new(struct event_base *base, const struct msg_mon_device *m, int *fds, unsigned n_fds,
				      const struct vhost_device_ops *ops, void *arg, struct err *e)
{
	static const struct vhost_backend_ops backend_ops = { .config_changed = on_backend_config,
							      .broken = on_broken };
	struct vhost_device *d = calloc(1, sizeof(*d));

	if (d == NULL)
		goto no_memory;
	d->kind = m->kind;
	d->index = m->index;
	d->ours = m->ours;
	d->generation = m->generation;
	d->n_queues = m->n_queues;
	d->queue_size = (uint16_t)m->queue_size;
	d->profile = vhost_profile(m->kind, m->ours);
	d->base = base;
	d->ops = ops;
	d->arg = arg;
	d->err = -1;
	vhost_backend_init(&d->backend, &backend_ops, d);
	d->call = no_fds(d->n_queues + 1);
	d->kick = no_fds(d->n_queues + 1);
	if (d->call == NULL || d->kick == NULL || make_front(d) < 0)
		goto no_memory;
	if (take_fds(d, m, fds, n_fds, e) == 0)
		return d;
	vhost_device_free(d);
	return NULL;
no_memory:
	vhost_device_free(d);
	(void)err_set(e, -ENOMEM, "out of memory for a device");
	return NULL;
}

void vhost_device_free(struct vhost_device *d)
{
	if (d == NULL)
		return;
	vhost_front_fini(&d->front);
	vhost_backend_close(&d->backend);
	if (d->on_err != NULL)
		event_free(d->on_err);
	if (d->on_late != NULL)
		event_free(d->on_late);
	if (d->call != NULL)
		fd_close_all(d->call, d->n_queues);
	if (d->kick != NULL)
		fd_close_all(d->kick, d->n_queues);
	fd_closep(&d->err);
	if (d->stats != NULL) {
		void *p;

		memcpy(&p, &d->stats, sizeof(p)); /* munmap has no const */
		(void)munmap(p, STATS_PAGE_BYTES);
	}
	free(d->call);
	free(d->kick);
	free(d->id);
	free(d->name);
	free(d);
}

/* --- boot ------------------------------------------------------------------------------------------------------------- */

bool vhost_device_is_busy(const struct vhost_device *d)
{
	return d->front.state == VHOST_HANDSHAKE || ((d->doomed || d->gone) && !d->final && !d->misfit);
}

int vhost_device_check(const struct vhost_device *d, struct err *e)
{
	int r = 0;

	if (d->n_events != 2 * d->n_queues)
		r = err_set(e, -EINVAL, "%u of %u events were handed over", d->n_events, 2 * d->n_queues);
	else if (d->front.state != VHOST_READY)
		r = err_set(e, -EIO, "its back end does not serve: %s", d->why[0] != '\0' ? d->why : "it is not there");
	return r < 0 ? err_wrap(e, r, "%s", name_of(d)) : 0;
}

static int name_it(struct vhost_device *d, const struct vhost_identity *who)
{
	free(d->id);
	free(d->name);
	d->name = NULL;
	d->id = strdup(who->id);
	if (d->id == NULL || asprintf(&d->name, "%s \"%s\"", who->kind, who->id) < 0) {
		d->name = NULL;
		return -ENOMEM;
	}
	return 0;
}

uint64_t vhost_device_fill_config(struct vhost_device *d)
{
	memset(d->config, 0, sizeof(d->config));
	if (d->front.has_config)
		memcpy(d->config, d->front.config, d->profile->asked_len);
	uint64_t control = d->control != NULL ? d->control->front.features : 0;
	uint64_t f = vhost_profile_fill(d->profile, d->vm_cfg, d->kind, d->index, d->ours, d->n_queues,
					d->front.features, control, d->config);

	/* It knows what the driver has been told and has acknowledged; while it is dead that stays. */
	if (d->control != NULL && d->control->front.has_config)
		memcpy(d->config + STATUS_AT, d->control->front.config + STATUS_AT, STATUS_BYTES);
	return f;
}

static void describe(struct vhost_device *d, const struct vhost_identity *who)
{
	const struct vhost_profile *p = d->profile;

	d->offered = vhost_device_fill_config(d);
	d->cfg = (struct virtio_dev_cfg){
		.id = d->id,
		.type = p->type,
		.n_queues = d->n_queues + ((d->offered & CTRL_VQ) != 0 && d->control != NULL ? 1 : 0),
		.queue_size = d->queue_size,
		.features = d->offered,
		.config = d->config,
		.config_len = p->config_len,
		.config_len_hidden = p->config_len_hidden,
		.writable_off = p->writable_off,
		.writable_len = p->writable_len,
		.bar32 = d->kind == DEV_DISK && who->segment == 0,
		.slot = who->slot,
		.kick = d->kick,
		.call = d->call,
		.ops = &vhost_device_backend_ops,
		.be = d,
	};
}

int vhost_device_identify(struct vhost_device *d, const struct cfg_vm *cfg, struct err *e)
{
	struct vhost_identity who;

	if (!vhost_profile_identity(cfg, d->kind, d->index, &who))
		return err_set(e, -EINVAL, "the configuration has no %s %u", name_of(d), d->index);
	if (name_it(d, &who) < 0)
		return err_set(e, -ENOMEM, "out of memory for a device");
	d->vm_cfg = cfg;
	return 0;
}

void vhost_device_join(struct vhost_device *data, struct vhost_device *control)
{
	data->control = control;
	control->data = data;
	data->call[data->n_queues] = control->call[0];
	data->kick[data->n_queues] = control->kick[0];
}

bool vhost_device_is_visible(const struct vhost_device *d)
{
	return d->kind != DEV_NET_CTL;
}

int vhost_device_prepare(struct vhost_device *d, const struct gmem *gmem, const struct vhost_ram *ram, struct err *e)
{
	struct vhost_identity who;
	int r = vhost_device_check(d, e);

	if (r < 0)
		return r;
	(void)vhost_profile_identity(d->vm_cfg, d->kind, d->index, &who);
	d->gmem = gmem;
	d->ram = ram;
	describe(d, &who);
	return 0;
}

void vhost_device_pump(struct vhost_device *d)
{
	vhost_front_pump(&d->front);
	vhost_backend_pump(&d->backend);
}
