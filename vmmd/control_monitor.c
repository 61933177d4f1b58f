/* SPDX-License-Identifier: ISC */
/* What the monitor sends: descriptors, and the end. */
#include "vmmd/control_internal.h"

#include <string.h>

#include "common/ev.h"
#include "common/fd.h"
#include "common/log.h"
#include "proto/dispatch.h"

/* A new apid takes the place of the one before, which is gone or about to be. */
static int handle_attach_apid(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;

	(void)msg;
	if (m->nfds != 1)
		return err_set(e, -EBADMSG, "%u descriptors for apid's channel", m->nfds);
	control_drop_apid(ctl);
	int r = peer_open(&ctl->apid, ctl->base, fd_take(&m->fds[0]), CHAN_COMMAND_MAX, 2 * CHAN_COMMAND_MAX,
			  control_on_apid, ctl);

	return r < 0 ? err_sys(e, r, "apid's channel") : 0;
}

/* Whoever asks for the boot gets to know what was wrong with its parts. */
static int handle_boot_fds(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;

	(void)e;
	ctl->release_pending = false;
	err_clear(&ctl->boot_err);
	ctl->boot_err_code = vm_take_parts(&ctl->vm, msg, m->fds, m->nfds, &ctl->boot_err);
	return 0;
}

/* The same goes for devices, which follow. */
static int handle_device(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;

	if (ctl->vm.state == VM_STATE_RUNNING)
		return err_set(e, -EBUSY, "a device while the VM is running");
	if (ctl->boot_err_code == 0)
		ctl->boot_err_code = vhost_devices_add(&ctl->vm.devices, msg, m->fds, m->nfds, &ctl->boot_err);
	return 0;
}

static int handle_device_events(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;

	if (ctl->vm.state == VM_STATE_RUNNING)
		return err_set(e, -EBUSY, "events of a device while the VM is running");
	if (ctl->boot_err_code == 0)
		ctl->boot_err_code = vhost_devices_add_events(&ctl->vm.devices, msg, m->fds, m->nfds, &ctl->boot_err);
	return 0;
}

static int handle_device_gone(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;

	(void)m;
	(void)e;
	vhost_devices_gone(&ctl->vm.devices, msg);
	return 0;
}

static int handle_device_up(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;

	return vhost_devices_up(&ctl->vm.devices, msg, m->fds, m->nfds, e);
}

static int handle_lifelines(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;
	const struct msg_mon_lifelines *l = msg;

	if (l->n != m->nfds)
		return err_set(e, -EBADMSG, "%u lifelines announced, %u came", l->n, m->nfds);
	if (ctl->vm.state == VM_STATE_RUNNING && !ctl->resetting)
		return 0; /* for a reset that a shutdown has overtaken */
	int r = vm_take_lifelines(&ctl->vm, m->fds, m->nfds, e);

	if (r == 0)
		control_continue_reset(ctl);
	return r;
}

static int handle_end_ok(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;

	(void)msg;
	(void)m;
	if (!ctl->ending)
		return err_set(e, -EPROTO, "nothing has ended");
	control_quit(ctl, ctl->status);
	return 0;
}

static int handle_quit(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;
	const struct msg_mon_quit *q = msg;

	(void)m;
	(void)e;
	control_delete_vm(ctl);
	control_quit(ctl, q->status);
	return 0;
}

static const struct dispatch_entry from_monitor[] = {
	{ MSG_MON_ATTACH_APID, DISPATCH_ANY_STATE, DISPATCH_FDS, NULL, handle_attach_apid },
	{ MSG_MON_BOOT_FDS, DISPATCH_ANY_STATE, DISPATCH_FDS, &desc_msg_mon_boot_fds, handle_boot_fds },
	{ MSG_MON_DEVICE, DISPATCH_ANY_STATE, DISPATCH_FDS, &desc_msg_mon_device, handle_device },
	{ MSG_MON_DEVICE_EVENTS, DISPATCH_ANY_STATE, DISPATCH_FDS, &desc_msg_mon_device_events, handle_device_events },
	{ MSG_MON_DEVICE_GONE, DISPATCH_ANY_STATE, 0, &desc_msg_mon_device_gone, handle_device_gone },
	{ MSG_MON_DEVICE_UP, DISPATCH_ANY_STATE, DISPATCH_FDS, &desc_msg_mon_device_up, handle_device_up },
	{ MSG_MON_LIFELINES, DISPATCH_ANY_STATE, DISPATCH_FDS, &desc_msg_mon_lifelines, handle_lifelines },
	{ MSG_MON_END_OK, DISPATCH_ANY_STATE, 0, NULL, handle_end_ok },
	{ MSG_MON_QUIT, DISPATCH_ANY_STATE, 0, &desc_msg_mon_quit, handle_quit },
};

/* Without a monitor nobody would restore terminals or end helpers with us: the VM goes down in order, and so do we. */
static void monitor_gone(struct control *ctl, const char *why)
{
	bool was_ending = ctl->ending;

	if (!was_ending)
		log_error("the monitor is gone (%s), the VM ends with it", why);
	peer_close(&ctl->monitor);
	control_delete_vm(ctl);
	control_quit(ctl, was_ending ? ctl->status : 1);
}

static void handle_message(struct control *ctl, struct chan_msg *m)
{
	struct err e = { 0 };
	char text[1024];

	if (dispatch(from_monitor, nitems(from_monitor), 1, ctl, m, &e) == 0)
		return;
	/* Its own machinery must not end the VM for one bad message. */
	(void)err_join(&e, text, sizeof(text));
	log_error("from the monitor: %s", text);
}

/* As chan_recv(), the one that had to wait first. */
static int next_message(struct control *ctl, struct chan_msg *m)
{
	if (!ctl->mon_stashed)
		return chan_recv(ctl->monitor.chan, m);
	*m = ctl->mon_stash;
	ctl->mon_stashed = false;
	return 1;
}

void control_drain_monitor(struct control *ctl)
{
	struct chan_msg m;
	int r = 0;

	while (peer_is_open(&ctl->monitor) && (r = next_message(ctl, &m)) > 0)
		handle_message(ctl, &m);
	if (r < 0 && peer_is_open(&ctl->monitor))
		monitor_gone(ctl, r == -EPIPE ? "end of file" : strerrordesc_np(-r));
}

/* The end of the channel is found again by whoever drains it. */
void control_hear_of_devices(struct control *ctl)
{
	while (!ctl->mon_stashed && peer_is_open(&ctl->monitor) && chan_recv(ctl->monitor.chan, &ctl->mon_stash) > 0) {
		struct chan_msg m = ctl->mon_stash;

		if (m.type == MSG_MON_DEVICE_GONE || m.type == MSG_MON_DEVICE_UP) {
			handle_message(ctl, &m);
			continue;
		}
		ctl->mon_stashed = true;
		event_active(ctl->monitor.on_read, EV_READ, 0); /* the socket may have nothing more to say */
	}
}
