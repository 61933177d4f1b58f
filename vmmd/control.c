/* SPDX-License-Identifier: ISC */
#include "vmmd/control.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/ev.h"
#include "common/fd.h"
#include "common/log.h"
#include "vmmd/control_internal.h"

enum {
	MONITOR_QUEUE_MAX = 64 * 1024,
	/* The monitor flushes logs and consoles under deadlines of its own before it lets us go; a stopped one must not
	 * keep the process for ever. */
	END_TIMEOUT_S = 15,
};

/* --- telling others -------------------------------------------------------------------------------------------------- */

void control_send_monitor(struct control *ctl, enum msg_type type, const void *body)
{
	int r = peer_send(&ctl->monitor, type, 0, body);

	/* Its end is noticed by reading; a full queue means that it does not read at all. */
	if (r < 0 && r != -EPIPE)
		log_error("cannot tell the monitor %s: %s", msg_type_name(type), strerrordesc_np(-r));
}

static void tell_event(struct control *ctl, const char *source, const char *name, const char *id)
{
	const struct event_rec *rec = events_add(&ctl->events, source, name, id);

	if (!peer_is_open(&ctl->apid))
		return;
	if (events_send(rec, ctl->apid.chan) < 0)
		log_debug("event %llu: apid does not take it", (unsigned long long)rec->seq);
	peer_update(&ctl->apid);
}

void control_event(struct control *ctl, const char *source, const char *name)
{
	tell_event(ctl, source, name, NULL);
}

void control_device_event(struct control *ctl, const char *name, const char *id)
{
	tell_event(ctl, "device", name, id);
}

/* --- stopping -------------------------------------------------------------------------------------------------------- */

static void on_release(evutil_socket_t fd, short what, void *arg)
{
	struct control *ctl = arg;

	(void)fd;
	(void)what;
	if (!ctl->release_pending)
		return;
	ctl->release_pending = false;
	vm_release(&ctl->vm);
}

/* Unmapping gigabytes takes its time: first the answers, then this. */
static void release_later(struct control *ctl)
{
	ctl->release_pending = true;
	event_active(ctl->on_release, EV_TIMEOUT, 0);
}

void control_stop_vm(struct control *ctl)
{
	if (ctl->vm.state != VM_STATE_RUNNING)
		return;
	ctl->resetting = false;
	vm_halt(&ctl->vm);
	control_send_monitor(ctl, MSG_VMM_STOPPED, NULL);
	control_event(ctl, "vm", "shutdown");
	release_later(ctl);
}

void control_delete_vm(struct control *ctl)
{
	if (ctl->vm.state == VM_STATE_NONE)
		return;
	control_stop_vm(ctl);
	release_later(ctl); /* also what was handed over for a boot that never came */
	vm_delete(&ctl->vm);
	control_event(ctl, "vm", "deleted");
}

void control_quit(struct control *ctl, int status)
{
	ctl->status = status;
	(void)event_base_loopbreak(ctl->base);
}

static void on_end_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct control *ctl = arg;

	(void)fd;
	(void)what;
	control_drain_monitor(ctl); /* one more look before believing the clock */
	log_warn("the monitor does not confirm the end");
	control_quit(ctl, ctl->status);
}

void control_end(struct control *ctl, int status)
{
	static const struct timeval timeout = { .tv_sec = END_TIMEOUT_S };
	struct msg_vmm_end m = { .status = (uint8_t)status };

	if (ctl->ending)
		return;
	control_delete_vm(ctl);
	control_event(ctl, "vmm", "shutdown");
	ctl->ending = true;
	ctl->status = status;
	control_send_monitor(ctl, MSG_VMM_END, &m);
	(void)event_add(ctl->on_end_timeout, &timeout);
}

/* --- what the guest asks for ------------------------------------------------------------------------------------------ */

static void request_lifelines(struct control *ctl)
{
	unsigned n = vm_lifelines_missing(&ctl->vm);

	while (n > 0) {
		struct msg_vmm_lifelines m = { .n = n < FD_PASS_MAX ? n : FD_PASS_MAX };

		control_send_monitor(ctl, MSG_VMM_LIFELINES, &m);
		n -= m.n;
	}
}

static void reset_failed(struct control *ctl, const struct err *e)
{
	char text[1024];

	(void)err_join(e, text, sizeof(text));
	log_error("the guest's reset failed: %s", text);
	control_end(ctl, 1);
}

/* vCPU threads end and new ones start, so the monitor has to know, and to give new lifelines. apid is not involved. */
static void begin_reset(struct control *ctl)
{
	control_event(ctl, "vm", "rebooting");
	ctl->resetting = true;
	vm_reset_stop(&ctl->vm);
	request_lifelines(ctl);
}

void control_continue_reset(struct control *ctl)
{
	struct err e = { 0 };

	if (!ctl->resetting || !vm_can_restart(&ctl->vm))
		return;
	ctl->resetting = false;
	if (vm_reset_start(&ctl->vm, &e) < 0)
		reset_failed(ctl, &e);
	else
		control_event(ctl, "vm", "rebooted");
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct control *ctl = arg;

	(void)fd;
	(void)what;
	switch (vm_service(&ctl->vm)) {
	case VCPU_REQ_NONE:
		break;
	case VCPU_REQ_RESET:
		begin_reset(ctl);
		break;
	case VCPU_REQ_POWER_OFF:
		if (ctl->no_shutdown)
			control_stop_vm(ctl);
		else
			control_end(ctl, 0);
		break;
	case VCPU_REQ_FAILED:
		log_error("the VM ends because a vCPU failed");
		control_end(ctl, 0);
		break;
	}
}

/* --- loop ------------------------------------------------------------------------------------------------------------- */

/*
 * SIGTERM and SIGINT ask for an orderly end, without the guest's cooperation. SIGWINCH is the terminal's, which we don't
 * have: the monitor finds whose it is.
 *
 * #syscalls vmmd: read
 */
static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	struct control *ctl = arg;
	struct signalfd_siginfo si;

	(void)what;
	if (read(fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
		return;
	if (si.ssi_signo == SIGWINCH) {
		control_send_monitor(ctl, MSG_VMM_WINSIZE, NULL);
		return;
	}
	log_info("a signal asks for the end");
	control_end(ctl, 0);
}

static void on_stopping(void *arg)
{
	control_send_monitor(arg, MSG_VMM_STOPPING, NULL);
}

static void on_device_kill(void *arg, const struct vhost_device *d)
{
	struct msg_vmm_device_kill m = { .kind = d->kind, .index = d->index, .generation = d->generation };

	control_send_monitor(arg, MSG_VMM_DEVICE_KILL, &m);
}

static void on_device_event(void *arg, const struct vhost_device *d, const char *name)
{
	control_device_event(arg, name, d->id);
}

/* Maybe the last that a reset has waited for, which begins from the loop. */
static void on_devices_idle(void *arg)
{
	struct control *ctl = arg;

	if (ctl->resetting)
		event_active(ctl->on_idle, EV_TIMEOUT, 0);
}

static void on_idle(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	control_continue_reset(arg);
}

static void on_progress(void *arg)
{
	control_hear_of_devices(arg);
	control_answer_queries(arg);
}

static void on_monitor(void *arg)
{
	control_drain_monitor(arg);
}

static int make_events(struct control *ctl)
{
	ctl->on_signal = event_new(ctl->base, ctl->signals, EV_READ | EV_PERSIST, on_signal, ctl);
	ctl->on_wake = event_new(ctl->base, ctl->vm.wake.fd, EV_READ | EV_PERSIST, on_wake, ctl);
	ctl->on_release = event_new(ctl->base, -1, 0, on_release, ctl);
	ctl->on_end_timeout = event_new(ctl->base, -1, 0, on_end_timeout, ctl);
	ctl->on_idle = event_new(ctl->base, -1, 0, on_idle, ctl);
	if (ctl->on_signal == NULL || ctl->on_wake == NULL || ctl->on_release == NULL || ctl->on_end_timeout == NULL ||
	    ctl->on_idle == NULL)
		return -ENOMEM;
	return event_add(ctl->on_signal, NULL) < 0 || event_add(ctl->on_wake, NULL) < 0 ? -ENOMEM : 0;
}

struct control *control_new(struct event_base *base, int monitor, int signals, struct err *e)
{
	struct control *ctl = calloc(1, sizeof(*ctl));
	int r;

	if (ctl == NULL) {
		(void)err_set(e, -ENOMEM, "out of memory");
		fd_closep(&monitor);
		fd_closep(&signals);
		return NULL;
	}
	const struct vm_ops ops = {
		.stopping = on_stopping,
		.progress = on_progress,
		.device_kill = on_device_kill,
		.device_event = on_device_event,
		.devices_idle = on_devices_idle,
		.arg = ctl,
	};

	ctl->base = base;
	ctl->signals = signals;
	results_init(&ctl->results);
	events_init(&ctl->events);
	r = vm_init(&ctl->vm, base, &ops, e);
	if (r == 0) {
		r = peer_open(&ctl->monitor, base, monitor, CHAN_MONITOR_MAX, MONITOR_QUEUE_MAX, on_monitor, ctl);
		monitor = -1;
		if (r == 0)
			r = make_events(ctl);
		if (r < 0)
			(void)err_sys(e, r, "control loop");
	}
	fd_closep(&monitor);
	if (r == 0)
		return ctl;
	control_free(ctl);
	return NULL;
}

static void event_freep(struct event **ev)
{
	if (*ev != NULL)
		event_free(*ev);
	*ev = NULL;
}

void control_free(struct control *ctl)
{
	if (ctl == NULL)
		return;
	ctl->release_pending = false;
	event_freep(&ctl->on_signal);
	event_freep(&ctl->on_wake);
	event_freep(&ctl->on_release);
	event_freep(&ctl->on_end_timeout);
	event_freep(&ctl->on_idle);
	if (ctl->stashed)
		chan_msg_fini(&ctl->stash);
	if (ctl->mon_stashed)
		chan_msg_fini(&ctl->mon_stash);
	peer_close(&ctl->apid);
	peer_close(&ctl->monitor);
	ctl->resetting = false;
	vm_fini(&ctl->vm);
	results_fini(&ctl->results);
	events_fini(&ctl->events);
	fd_closep(&ctl->signals);
	free(ctl);
}

int control_run(struct control *ctl, uint32_t missing_perm, uint32_t missing_old)
{
	struct msg_vmm_hello hello = { .missing_perm = missing_perm, .missing_old = missing_old };

	control_send_monitor(ctl, MSG_VMM_HELLO, &hello);
	control_event(ctl, "vmm", "starting");
	if (event_base_dispatch(ctl->base) < 0) {
		log_error("the control loop failed");
		ctl->status = 1;
	}
	return ctl->status;
}
