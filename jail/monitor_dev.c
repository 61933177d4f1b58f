/* SPDX-License-Identifier: ISC */
#include "jail/monitor_dev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/str.h"
#include "jail/monitor_ops.h"

static const struct helper_ops dev_helper_ops;

/* Where the devices of a kind are in mon->devs. */
static const struct {
	size_t first, n;
} places[] = {
	[DEV_CONSOLE] = { 0, 1 },
	[DEV_DISK] = { 1, MON_DISKS },
	[DEV_NET] = { 1 + MON_DISKS, MON_NETS },
	[DEV_RNG] = { 1 + MON_DISKS + MON_NETS, 1 },
	[DEV_NET_CTL] = { 1 + MON_DISKS + MON_NETS + 1, MON_NETS },
};

static struct dev **place_of(struct monitor *mon, enum dev_kind kind, uint32_t index)
{
	if ((size_t)kind >= nitems(places) || index >= places[kind].n)
		return NULL;
	return &mon->devs[places[kind].first + index];
}

struct dev *dev_next(const struct monitor *mon, size_t *i)
{
	while (*i < MON_DEVS)
		if (mon->devs[(*i)++] != NULL)
			return mon->devs[*i - 1];
	return NULL;
}

const char *dev_label(const struct dev *d)
{
	const char *id = d->ops->id(d);

	return id != NULL ? id : d->ops->name;
}

int dev_err(const struct dev *d, int r, struct err *e)
{
	const char *id = d->ops->id(d);

	return id != NULL ? err_wrap(e, r, "%s \"%s\"", d->ops->name, id) : err_wrap(e, r, "%s", d->ops->name);
}

/* --- what vmmd hears -------------------------------------------------------------------------------------------- */

static void send_gone(struct dev *d, bool final, const char *why)
{
	char reason[1024];
	struct msg_mon_device_gone m = { .kind = d->kind, .index = d->index, .generation = d->generation, .final = final };

	(void)str_fmt(reason, sizeof(reason), "%s", why);
	reason[str_utf8_cut(reason, strlen(reason))] = '\0';
	m.reason = reason;
	if (link_send(&d->mon->vmmd, MSG_MON_DEVICE_GONE, 0, &desc_msg_mon_device_gone, &m, NULL, 0) < 0)
		log_warn("%s \"%s\": its end cannot be told to vmmd", d->ops->name, dev_label(d));
	d->live = false;
}

static void send_up(struct dev *d)
{
	const struct msg_mon_device_up m = { .kind = d->kind, .index = d->index, .generation = d->generation };
	const int ours[] = { d->wire.vhost[1], d->wire.backend[1] };
	int r;

	if (d->ours)
		r = link_send(&d->mon->vmmd, MSG_MON_DEVICE_UP, 0, &desc_msg_mon_device_up, &m, ours, 2);
	else
		r = link_send(&d->mon->vmmd, MSG_MON_DEVICE_UP, 0, &desc_msg_mon_device_up, &m, &d->foreign.socket, 1);
	if (r < 0)
		log_warn("%s \"%s\": its return cannot be told to vmmd", d->ops->name, dev_label(d));
	d->live = r == 0;
	dev_wire_close(&d->wire);
	fd_closep(&d->foreign.socket);
}

void dev_up(struct dev *d)
{
	d->state = DEV_UP;
	if (d->handed)
		send_up(d);
	else
		vm_helper_changed(d->mon);
}

void dev_down(struct dev *d, const char *why)
{
	d->state = d->handed ? DEV_DOWN : DEV_STARTING;
	if (d->live)
		send_gone(d, false, why);
	dev_wire_close(&d->wire);
	d->generation++;
}

void dev_fail(struct dev *d, const struct err *why)
{
	char text[LOG_MSG_MAX];

	if (d->closing)
		return;
	d->state = DEV_FAILED;
	d->why = malloc(sizeof(*d->why));
	if (d->why != NULL)
		*d->why = *why;
	dev_wire_close(&d->wire);
	(void)err_join(why, text, sizeof(text));
	if (d->handed)
		send_gone(d, true, text);
	else
		vm_helper_changed(d->mon);
}

/* --- its helper ------------------------------------------------------------------------------------------------- */

static int on_configure(struct helper *h, struct err *e)
{
	struct dev *d = h->owner;
	int r = dev_send_vhost(d, e);

	return r == 0 ? d->ops->configure(d, e) : r;
}

static void on_expect(struct helper *h, struct verify_want *want)
{
	const struct dev *d = h->owner;

	d->ops->expect(d, want);
}

static void on_up(struct helper *h, uint32_t detail)
{
	struct dev *d = h->owner;

	d->detail = detail;
	if (d->kind == DEV_CONSOLE)
		con_serve(&d->mon->consoles[CONSOLE_ID_VIRTIO]);
	dev_up(d);
}

static void on_died(struct helper *h, const char *why)
{
	dev_down(h->owner, why);
}

static void on_failed(struct helper *h, const struct err *why)
{
	struct dev *d = h->owner;

	if (d->kind == DEV_CONSOLE)
		con_lose(&d->mon->consoles[CONSOLE_ID_VIRTIO]);
	dev_fail(d, why);
}

/* --- end -------------------------------------------------------------------------------------------------------- */

/* What it had, as far as it is ours. */
static void dev_close(struct dev *d)
{
	dev_foreign_close(d);
	d->ops->close(d);
	dev_shared_close(&d->shared);
	dev_wire_close(&d->wire);
	d->closed = true;
	d->after = d->mon->forks;
}

static void dev_free(struct dev *d)
{
	helper_forget(&d->helper);
	if (d->on_deadline != NULL)
		event_free(d->on_deadline);
	obj_fini(d->ops->cfg_desc, d->cfg);
	free(d->cfg);
	free(d->why);
	free(d);
}

static void open_waiting(struct monitor *mon);

static void take_off_dying(struct monitor *mon, const struct dev *d)
{
	for (struct dev **p = &mon->dying; *p != NULL; p = &(*p)->next) {
		if (*p != d)
			continue;
		*p = d->next;
		return;
	}
}

static uint32_t helper_fork_no(const struct helper *h)
{
	return h->child.pid <= 0 || h->said_hello ? UINT32_MAX : h->fork_no;
}

static uint32_t lower(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t dev_fork_no(const struct dev *d)
{
	return lower(helper_fork_no(&d->helper), d->kind == DEV_NET ? tap_fork_no(d->net.job) : UINT32_MAX);
}

/* The oldest process that may still have copies of our descriptors. */
static uint32_t oldest_copy(const struct monitor *mon)
{
	uint32_t no = mon->apid.pid <= 0 || mon->apid_said_hello || mon->apid_fork_no == 0 ? UINT32_MAX : mon->apid_fork_no;
	const struct dev *d;

	for (size_t i = 0; i < MON_CONSOLES; i++)
		no = lower(no, helper_fork_no(&mon->consoles[i].helper));
	for (size_t i = 0; (d = dev_next(mon, &i)) != NULL;)
		no = lower(no, dev_fork_no(d));
	for (d = mon->dying; d != NULL; d = d->next)
		no = lower(no, dev_fork_no(d));
	return no;
}

void dev_ended(struct dev *d)
{
	struct monitor *mon = d->mon;
	bool exclusive = d->ours && (d->kind == DEV_DISK || d->kind == DEV_NET);
	bool console = d->kind == DEV_CONSOLE;

	if (!d->closing || d->helper.child.pid > 0 || (d->kind == DEV_NET && d->net.job != NULL))
		return;
	if (!d->closed)
		dev_close(d);
	if (exclusive && oldest_copy(mon) <= d->after)
		return;
	take_off_dying(mon, d);
	dev_free(d);
	if (console)
		con_dev_gone(&mon->consoles[CONSOLE_ID_VIRTIO]);
	open_waiting(mon);
	end_part_closed(mon);
}

void monitor_sweep(struct monitor *mon)
{
	struct dev *d = mon->dying, *next;

	for (; d != NULL; d = next) {
		next = d->next;
		if (d->closed)
			dev_ended(d);
	}
}

static void on_stopped(struct helper *h)
{
	dev_ended(h->owner);
}

static const struct helper_ops dev_helper_ops = { .configure = on_configure, .expect = on_expect, .up = on_up,
						  .died = on_died, .failed = on_failed, .stopped = on_stopped };

static void release(struct dev *d, uint32_t drain_ms)
{
	struct monitor *mon = d->mon;
	struct dev **place = place_of(mon, d->kind, d->index);

	if (place != NULL)
		*place = NULL;
	d->closing = true;
	d->next = mon->dying;
	mon->dying = d;
	if (d->kind == DEV_NET)
		tap_cancel(d);
	/* Calls dev_ended(), maybe at once. */
	helper_stop(&d->helper, d->kind == DEV_CONSOLE ? drain_ms : 0);
}

static void drop_groups(struct monitor *mon)
{
	for (size_t i = 0; i < MON_GROUPS && mon->groups[i].id != NULL; i++) {
		freep(&mon->groups[i].id);
		fd_closep(&mon->groups[i].page);
	}
}

void dev_release_all(struct monitor *mon, uint32_t drain_ms)
{
	for (size_t i = 0; i < MON_DEVS; i++)
		if (mon->devs[i] != NULL)
			release(mon->devs[i], drain_ms);
	drop_groups(mon);
}

void dev_release_unused(struct monitor *mon)
{
	size_t i = 0;
	const struct dev *d = dev_next(mon, &i);

	if (d != NULL && !d->handed)
		dev_release_all(mon, 0);
}

bool dev_all_closed(const struct monitor *mon)
{
	size_t i = 0;

	return mon->dying == NULL && dev_next(mon, &i) == NULL;
}

void dev_kill_all(struct monitor *mon)
{
	struct dev *d;

	for (size_t i = 0; (d = dev_next(mon, &i)) != NULL;) {
		spawn_kill(&d->helper.child);
		dev_foreign_close(d);
	}
	for (d = mon->dying; d != NULL; d = d->next)
		spawn_kill(&d->helper.child);
}

bool dev_console_in_use(const struct monitor *mon)
{
	if (mon->devs[places[DEV_CONSOLE].first] != NULL)
		return true;
	for (const struct dev *d = mon->dying; d != NULL; d = d->next)
		if (d->kind == DEV_CONSOLE)
			return true;
	return false;
}

/* --- open ------------------------------------------------------------------------------------------------------- */

static int start(struct dev *d, struct err *e)
{
	d->state = DEV_STARTING;
	return helper_start(&d->helper, e);
}

void dev_opened(struct dev *d)
{
	struct err e;

	if (d->closing)
		return;
	err_clear(&e);
	if (start(d, &e) < 0)
		dev_fail(d, &e);
}

static int open_now(struct dev *d, struct err *e)
{
	int r;

	if (d->on_deadline != NULL)
		event_free(d->on_deadline);
	d->on_deadline = NULL;
	r = d->ops->open(d, e);
	return r == 0 ? start(d, e) : r < 0 ? r : 0;
}

/* For one of the same kind: a console that drains keeps no disk from the next boot. */
static bool must_wait(const struct dev *d)
{
	for (const struct dev *old = d->mon->dying; old != NULL; old = old->next)
		if (old->kind == d->kind)
			return true;
	return false;
}

static void open_waiting(struct monitor *mon)
{
	struct dev *d;
	struct err e;

	for (size_t i = 0; (d = dev_next(mon, &i)) != NULL;) {
		if (d->on_deadline == NULL || must_wait(d))
			continue;
		err_clear(&e);
		if (open_now(d, &e) < 0)
			dev_fail(d, &e);
	}
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct dev *d = arg;
	struct err e;

	(void)fd;
	(void)what;
	event_free(d->on_deadline);
	d->on_deadline = NULL;
	(void)err_set(&e, -EBUSY, "a killed process of the VM before has not ended after %d ms", DEV_PREDECESSOR_MS);
	dev_fail(d, &e);
}

/* Locks and taps of an earlier run are free when its processes have ended: in a moment, if they are not free yet. */
static int wait_for_dying(struct dev *d, struct err *e)
{
	d->on_deadline = event_new(d->mon->base, -1, 0, on_deadline, d);
	if (d->on_deadline == NULL)
		return err_sys(e, -ENOMEM, "waiting");
	monitor_after(d->on_deadline, DEV_PREDECESSOR_MS);
	return 0;
}

static struct dev *dev_new(struct monitor *mon, const struct dev_ops *ops, enum dev_kind kind, uint32_t index,
			   const void *cfg)
{
	struct dev *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	*d = (struct dev){ .mon = mon, .ops = ops, .kind = kind, .index = index, .ours = true, .state = DEV_WAITING,
			   .shared = DEV_SHARED_NONE, .wire = DEV_WIRE_NONE, .foreign = DEV_FOREIGN_NONE };
	d->cfg = calloc(1, ops->cfg_desc->size);
	if (d->cfg == NULL || obj_copy(ops->cfg_desc, d->cfg, cfg) < 0) {
		free(d->cfg);
		free(d);
		return NULL;
	}
	helper_init(&d->helper, mon, ops->helper, &dev_helper_ops, d);
	helper_name(&d->helper, ops->id(d) != NULL ? ops->id(d) : "");
	d->helper.exe_fd = mon->exes[ops->exe];
	d->helper.uid_slot = ops->uid_slot + ((int)index < ops->uid_slots ? (int)index : ops->uid_slots - 1);
	return d;
}

static int dev_begin(struct dev *d, struct err *e)
{
	int r = d->ops->check(d, e);

	if (r == 0)
		r = dev_shared_make(&d->shared, d->n_queues, d->queue_size, d->mon->memory_size, d->ours, e);
	if (r == 0)
		r = must_wait(d) ? wait_for_dying(d, e) : open_now(d, e);
	return r < 0 ? dev_err(d, r, e) : 0;
}

static int dev_open(struct monitor *mon, const struct dev_ops *ops, enum dev_kind kind, uint32_t index, const void *cfg,
		    struct err *e)
{
	struct dev **place = place_of(mon, kind, index), *d;

	if (place == NULL)
		return err_set(e, -EINVAL, "no room for %s %u", ops->name, index);
	if (mon->memory_fd < 0)
		return err_set(e, -EINVAL, "memory comes before devices");
	if (*place != NULL)
		return err_set(e, -EEXIST, "%s %u is open already", ops->name, index);
	d = dev_new(mon, ops, kind, index, cfg);
	if (d == NULL)
		return err_sys(e, -ENOMEM, "%s", ops->name);
	*place = d;
	int r = dev_begin(d, e);
	if (r < 0)
		release(d, 0);
	return r;
}

int op_open_disk(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_open_disk *o = msg;

	(void)m;
	return dev_open(ctx, &dev_disk_ops, DEV_DISK, o->index, &o->config, e);
}

int op_open_net(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_open_net *o = msg;
	int r = dev_open(ctx, &dev_net_ops, DEV_NET, o->index, &o->config, e);

	(void)m;
	if (r < 0 || !o->config.vhost_user)
		return r;
	/* Whether there will be a control queue only vmmd learns from the back end: it is served in any case. */
	r = dev_open(ctx, &dev_net_ctl_ops, DEV_NET_CTL, o->index, &o->config, e);
	struct dev **place = place_of(ctx, DEV_NET, o->index);
	if (r < 0 && place != NULL && *place != NULL)
		release(*place, 0);
	return r;
}

int op_open_rng(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_open_rng *o = msg;

	(void)m;
	return dev_open(ctx, &dev_rng_ops, DEV_RNG, 0, &o->config, e);
}

int op_open_vcon(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_open_vcon *o = msg;

	(void)m;
	return dev_open(ctx, &dev_vcon_ops, DEV_CONSOLE, 0, &o->config, e);
}

/* --- hand-over -------------------------------------------------------------------------------------------------- */

int dev_all_ready(const struct monitor *mon, struct err *e)
{
	const struct dev *d;
	int r = 1;

	for (size_t i = 0; (d = dev_next(mon, &i)) != NULL;) {
		if (d->state == DEV_FAILED) {
			int code = d->why != NULL ? err_code(d->why, 0) : -ENOMEM;

			if (d->why != NULL)
				*e = *d->why;
			return dev_err(d, code < 0 ? code : -EIO, e);
		}
		if (d->state != DEV_UP)
			r = 0;
	}
	return r;
}

int dev_hand_over(struct monitor *mon, struct err *e)
{
	struct dev *d;

	for (size_t i = 0; (d = dev_next(mon, &i)) != NULL;) {
		int r = dev_send_device(d, e);

		if (r < 0)
			return dev_err(d, r, e);
		d->handed = d->live = true;
		dev_wire_close(&d->wire);
		fd_closep(&d->foreign.socket);
	}
	return 0;
}

int dev_details(const struct monitor *mon, struct msg_mon_handover_result *res)
{
	const struct dev *d;
	size_t n = 0;

	*res = (struct msg_mon_handover_result){ 0 };
	res->details = calloc(MON_DISKS, sizeof(*res->details));
	if (res->details == NULL)
		return -ENOMEM;
	for (size_t i = 0; (d = dev_next(mon, &i)) != NULL;)
		if (d->kind == DEV_DISK && d->ours)
			res->details[n++] = (struct msg_dev_detail){ d->kind, d->index, d->detail };
	res->n_details = (uint32_t)n;
	return 0;
}

size_t dev_pids(const struct monitor *mon, pid_t *pids, size_t max)
{
	const struct dev *d;
	size_t n = 0;

	for (size_t i = 0; n < max && (d = dev_next(mon, &i)) != NULL;)
		if (d->helper.child.pid > 0)
			pids[n++] = d->helper.child.pid;
	return n;
}

/* --- vmmd's ----------------------------------------------------------------------------------------------------- */

int op_vmm_device_kill(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_vmm_device_kill *k = msg;
	struct dev **place = place_of(ctx, k->kind, k->index);

	(void)m;
	if (place == NULL || *place == NULL)
		return err_set(e, -ENODEV, "no such device");
	struct dev *d = *place;
	/* It may have died by itself meanwhile. */
	if (!d->live || d->generation != k->generation)
		return 0;
	log_info("%s \"%s\": vmmd wants another back end", d->ops->name, dev_label(d));
	if (d->ours)
		helper_kill(&d->helper);
	else
		dev_foreign_renew(d);
	return 0;
}

int op_vmm_winsize(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct monitor *mon = ctx;
	struct dev *d = mon->devs[places[DEV_CONSOLE].first];

	(void)msg;
	(void)m;
	(void)e;
	if (d != NULL && d->helper.state == HELPER_UP)
		(void)link_send(&d->helper.link, MSG_VCON_WINSIZE, 0, NULL, NULL, NULL, 0);
	return 0;
}
