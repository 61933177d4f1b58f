/* SPDX-License-Identifier: ISC */
#include "vmmd/vhost/devices.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "common/ev.h"
#include "common/fd.h"
#include "common/log.h"

enum {
	TURN_MS = 10,    /* between two looks at the clock, while nobody answers */
	BOOT_MS = 10000, /* twice the deadline of one answer */
};

void vhost_devices_init(struct vhost_devices *ds, struct event_base *base, const struct vhost_device_ops *ops,
			void *arg)
{
	*ds = (struct vhost_devices){ .base = base, .ops = ops, .arg = arg, .ram.fd = -1, .boot_ms = BOOT_MS };
}

void vhost_devices_clear(struct vhost_devices *ds)
{
	for (unsigned i = 0; i < ds->n; i++)
		vhost_device_free(ds->v[i]);
	free(ds->v);
	free(ds->list);
	ds->v = NULL;
	ds->list = NULL;
	ds->n = 0;
	ds->ram = (struct vhost_ram){ .fd = -1 };
}

/* --- what the monitor says -------------------------------------------------------------------------------------------- */

static struct vhost_device *find(const struct vhost_devices *ds, enum dev_kind kind, uint32_t index)
{
	for (unsigned i = 0; i < ds->n; i++)
		if (ds->v[i]->kind == kind && ds->v[i]->index == index)
			return ds->v[i];
	return NULL;
}

static bool is_before(const struct vhost_device *a, const struct vhost_device *b)
{
	return a->kind != b->kind ? a->kind < b->kind : a->index < b->index;
}

static int make_room(struct vhost_devices *ds)
{
	struct vhost_device **v = realloc(ds->v, (ds->n + 1) * sizeof(struct vhost_device *));

	if (v == NULL)
		return -ENOMEM;
	ds->v = v;
	struct machine_device *list = realloc(ds->list, (ds->n + 1) * sizeof(*list));

	if (list == NULL)
		return -ENOMEM;
	ds->list = list;
	return 0;
}

int vhost_devices_add(struct vhost_devices *ds, const struct msg_mon_device *m, int *fds, unsigned n_fds, struct err *e)
{
	if (ds->n >= VHOST_DEVICES_MAX || find(ds, m->kind, m->index) != NULL)
		return err_set(e, -EINVAL, "a device too many: %s %u", enum_dev_kind.names[m->kind].json, m->index);
	if (make_room(ds) < 0)
		return err_set(e, -ENOMEM, "out of memory for a device");
	struct vhost_device *d = vhost_device_new(ds->base, m, fds, n_fds, ds->ops, ds->arg, e);

	if (d == NULL)
		return err_code(e, 0) < 0 ? err_code(e, 0) : -EIO;
	unsigned at = ds->n++;

	for (; at > 0 && is_before(d, ds->v[at - 1]); at--)
		ds->v[at] = ds->v[at - 1];
	ds->v[at] = d;
	return 0;
}

int vhost_devices_add_events(struct vhost_devices *ds, const struct msg_mon_device_events *m, int *fds, unsigned n_fds,
			     struct err *e)
{
	struct vhost_device *d = find(ds, m->kind, m->index);

	if (d == NULL)
		return 0;
	if (m->n != n_fds)
		return err_set(e, -EBADMSG, "%u events announced, %u came", m->n, n_fds);
	return vhost_device_add_events(d, fds, n_fds, e);
}

void vhost_devices_gone(struct vhost_devices *ds, const struct msg_mon_device_gone *m)
{
	struct vhost_device *d = find(ds, m->kind, m->index);

	if (d != NULL)
		vhost_device_gone(d, m);
}

int vhost_devices_up(struct vhost_devices *ds, const struct msg_mon_device_up *m, int *fds, unsigned n_fds,
		     struct err *e)
{
	struct vhost_device *d = find(ds, m->kind, m->index);

	return d != NULL ? vhost_device_up(d, m->generation, fds, n_fds, e) : 0;
}

/* --- waiting outside the loop ----------------------------------------------------------------------------------------- */

static bool is_busy(const struct vhost_device *d, bool stops)
{
	return stops ? d->stopping && !d->doomed : vhost_device_is_busy(d);
}

/* One turn over the devices that are busy with a handshake, or with a @stops. False: none is. */
static bool turn(struct vhost_devices *ds, bool stops)
{
	struct pollfd p[VHOST_DEVICES_MAX];
	nfds_t n = 0;

	for (unsigned i = 0; i < ds->n; i++)
		if (is_busy(ds->v[i], stops))
			p[n++] = (struct pollfd){ .fd = ds->v[i]->front.link.fd, .events = POLLIN };
	if (n == 0)
		return false;
	(void)poll(p, n, TURN_MS);
	for (unsigned i = 0; i < ds->n; i++)
		if (is_busy(ds->v[i], stops))
			vhost_device_pump(ds->v[i]);
	return true;
}

/*
 * #syscalls vmmd: poll
 */
void vhost_devices_wait_stopped(struct vhost_devices *ds)
{
	while (turn(ds, true))
		;
}

bool vhost_devices_are_idle(const struct vhost_devices *ds)
{
	for (unsigned i = 0; i < ds->n; i++)
		if (!vhost_device_is_idle(ds->v[i]))
			return false;
	return true;
}

/* --- boot ------------------------------------------------------------------------------------------------------------- */

/* Until none is busy, or for so long; the clock is believed after one more turn. */
static void wait_ready(struct vhost_devices *ds, void (*progress)(void *arg), void *arg)
{
	uint64_t until = ev_now_ns() + ds->boot_ms * UINT64_C(1000000);
	bool late = false;

	while (turn(ds, false) && !late) {
		late = ev_now_ns() >= until;
		progress(arg);
	}
}

/* Control queues and the devices that they belong to. */
static int join(struct vhost_devices *ds, struct err *e)
{
	for (unsigned i = 0; i < ds->n; i++) {
		struct vhost_device *c = ds->v[i];
		struct vhost_device *d = c->kind == DEV_NET_CTL ? find(ds, DEV_NET, c->index) : NULL;

		if (c->kind != DEV_NET_CTL)
			continue;
		if (d == NULL || d->ours || !c->ours || c->n_queues != 1)
			return err_set(e, -EINVAL, "a control queue of no device: net %u", c->index);
		vhost_device_join(d, c);
	}
	return 0;
}

int vhost_devices_prepare(struct vhost_devices *ds, const struct cfg_vm *cfg, const struct gmem *gmem,
			  const struct memmap *map, int ram_fd, void (*progress)(void *arg), void *arg, struct err *e)
{
	int r = 0;

	ds->ram = (struct vhost_ram){ .fd = ram_fd, .n = map->n_ram };
	memcpy(ds->ram.run, map->ram, map->n_ram * sizeof(map->ram[0]));
	for (unsigned i = 0; r == 0 && i < ds->n; i++)
		r = vhost_device_identify(ds->v[i], cfg, e);
	if (r == 0)
		r = join(ds, e);
	if (r == 0)
		wait_ready(ds, progress, arg);
	for (unsigned i = 0; r == 0 && i < ds->n; i++)
		r = vhost_device_prepare(ds->v[i], gmem, &ds->ram, e);
	return r;
}

const struct machine_device *vhost_devices_list(struct vhost_devices *ds)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ds->n; i++)
		if (vhost_device_is_visible(ds->v[i]))
			ds->list[n++] = (struct machine_device){ .cfg = &ds->v[i]->cfg, .out = &ds->v[i]->dev };
	return ds->list;
}

unsigned vhost_devices_visible(const struct vhost_devices *ds)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ds->n; i++)
		n += vhost_device_is_visible(ds->v[i]);
	return n;
}
