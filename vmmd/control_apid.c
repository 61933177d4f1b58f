/* SPDX-License-Identifier: ISC */
/*
 * apid's commands. Each is answered exactly once, by its typed result or by RESULT; the answer is kept until it is
 * acknowledged. A broken apid costs its channel and nothing else: the monitor starts another, which attaches.
 */
#include "vmmd/control_internal.h"

#include <string.h>

#include "common/ev.h"
#include "common/log.h"
#include "proto/dispatch.h"
#include "proto/version.h"

enum {
	ST_NONE = 1u << VM_STATE_NONE,
	ST_CREATED = 1u << VM_STATE_CREATED,
	ST_RUNNING = 1u << VM_STATE_RUNNING,
	APID_BUDGET = 64, /* messages per turn of the loop */
};

void control_drop_apid(struct control *ctl)
{
	if (ctl->stashed)
		chan_msg_fini(&ctl->stash);
	ctl->stashed = false;
	peer_close(&ctl->apid);
}

static void apid_broken(struct control *ctl, const char *why)
{
	log_error("apid's channel is dropped: %s", why);
	control_drop_apid(ctl);
}

/* --- answers ---------------------------------------------------------------------------------------------------------- */

static void answer(struct control *ctl, uint32_t id, enum msg_type type, const void *body)
{
	int r = results_add(&ctl->results, id, type, body);

	if (r == 0 && peer_is_open(&ctl->apid)) {
		r = peer_send(&ctl->apid, type, id, body);
		if (r == -EPIPE)
			return; /* gone: a successor asks for it */
	}
	if (r < 0)
		apid_broken(ctl, strerrordesc_np(-r));
}

static void answer_result(struct control *ctl, uint32_t id, int code, const struct err *e)
{
	struct msg_result res = { 0 };

	if (msg_result_set(&res, code, code < 0 ? e : NULL) < 0)
		log_error("out of memory for an error's text");
	answer(ctl, id, MSG_RESULT, &res);
	obj_fini(&desc_msg_result, &res);
}

/* A command that was understood and failed. What a handler returns is about the message only: 0. */
static int answer_failure(struct control *ctl, uint32_t id, int code, const struct err *e)
{
	answer_result(ctl, id, code, e);
	return 0;
}

/* --- commands --------------------------------------------------------------------------------------------------------- */

static int handle_create(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;
	const struct msg_cmd_vm_create *c = msg;
	int r = vm_create(&ctl->vm, &c->config, e);

	if (r < 0)
		return answer_failure(ctl, m->id, r, e);
	answer_result(ctl, m->id, 0, NULL);
	return 0;
}

static int handle_boot(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;
	const struct msg_cmd_vm_boot *c = msg;
	int r = ctl->boot_err_code;

	control_event(ctl, "vm", "booting");
	if (r < 0) {
		ctl->boot_err_code = 0;
		vm_release(&ctl->vm);
		return answer_failure(ctl, m->id, r, &ctl->boot_err);
	}
	r = vm_boot(&ctl->vm, &c->config, e);
	if (r < 0)
		return answer_failure(ctl, m->id, r, e);
	control_event(ctl, "vm", "booted");
	answer_result(ctl, m->id, 0, NULL);
	return 0;
}

static int handle_shutdown(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;

	(void)msg;
	(void)e;
	control_stop_vm(ctl);
	answer_result(ctl, m->id, 0, NULL);
	return 0;
}

static int handle_delete(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;

	(void)msg;
	(void)e;
	control_delete_vm(ctl);
	answer_result(ctl, m->id, 0, NULL);
	return 0;
}

static int handle_info(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;
	struct msg_cmd_vm_info_result info = { 0 };

	(void)msg;
	if (vm_info(&ctl->vm, &info) < 0)
		return answer_failure(ctl, m->id, err_set(e, -ENOMEM, "out of memory for the VM's description"), e);
	answer(ctl, m->id, MSG_CMD_VM_INFO_RESULT, &info);
	obj_fini(&desc_msg_cmd_vm_info_result, &info);
	return 0;
}

static int handle_counters(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;
	struct msg_cmd_vm_counters_result counters = { 0 };

	(void)msg;
	if (vhost_devices_counters(&ctl->vm.devices, &counters) < 0)
		(void)answer_failure(ctl, m->id, err_set(e, -ENOMEM, "out of memory for the counters"), e);
	else
		answer(ctl, m->id, MSG_CMD_VM_COUNTERS_RESULT, &counters);
	obj_fini(&desc_msg_cmd_vm_counters_result, &counters);
	return 0;
}

static int handle_vmm_shutdown(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;
	const struct msg_cmd_vmm_shutdown *c = msg;

	(void)e;
	control_delete_vm(ctl);
	answer_result(ctl, m->id, 0, NULL);
	control_end(ctl, c->status);
	return 0;
}

static const struct dispatch_entry commands[] = {
	{ MSG_CMD_VM_CREATE, ST_NONE, 0, &desc_msg_cmd_vm_create, handle_create },
	{ MSG_CMD_VM_BOOT, ST_CREATED, 0, &desc_msg_cmd_vm_boot, handle_boot },
	{ MSG_CMD_VM_SHUTDOWN, ST_RUNNING, 0, NULL, handle_shutdown },
	{ MSG_CMD_VM_DELETE, ST_NONE | ST_CREATED | ST_RUNNING, 0, NULL, handle_delete },
	{ MSG_CMD_VM_INFO, ST_CREATED | ST_RUNNING, 0, NULL, handle_info },
	{ MSG_CMD_VM_COUNTERS, ST_RUNNING, 0, NULL, handle_counters },
	{ MSG_CMD_VMM_SHUTDOWN, DISPATCH_ANY_STATE, 0, &desc_msg_cmd_vmm_shutdown, handle_vmm_shutdown },
};

/* What people read when a command is not for this state. */
static int refuse_state(enum msg_type type, enum vm_state state, struct err *e)
{
	err_clear(e);
	if (type == MSG_CMD_VM_CREATE)
		return err_set(e, -EEXIST, "VM is already created");
	if (type == MSG_CMD_VM_BOOT && state == VM_STATE_RUNNING)
		return err_set(e, -EBUSY, "VM is already running");
	if (state == VM_STATE_NONE && (type == MSG_CMD_VM_INFO || type == MSG_CMD_VM_BOOT))
		return err_set(e, -ERR_NOT_FOUND, "VM is not created");
	return err_set(e, -EINVAL, state == VM_STATE_NONE ? "VM is not created" : "VM is not booted");
}

/* --- the conversation's own messages ---------------------------------------------------------------------------------- */

static int handle_hello(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;
	const struct msg_cmd_hello *h = msg;
	struct msg_cmd_hello_reply reply = {
		.version = PROTO_VERSION,
		.next_id = ctl->results.next_id,
		.state = ctl->vm.state,
		.next_event = ctl->events.next,
	};

	if (h->version != PROTO_VERSION)
		return err_set(e, -EBADMSG, "apid speaks version %u of the messages, not %u", h->version,
			       PROTO_VERSION);
	ctl->no_shutdown = h->no_shutdown;
	events_ack(&ctl->events, h->acked_event);
	int r = peer_send(&ctl->apid, MSG_CMD_HELLO_REPLY, m->id, &reply);

	if (r == 0)
		r = results_resend(&ctl->results, ctl->apid.chan);
	if (r == 0)
		r = events_resend(&ctl->events, ctl->apid.chan);
	peer_update(&ctl->apid);
	return r < 0 ? err_sys(e, r, "answering apid's hello") : 0;
}

static int handle_ack_result(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;
	const struct msg_cmd_ack_result *a = msg;

	(void)m;
	(void)e;
	results_ack(&ctl->results, a->id);
	return 0;
}

static int handle_ack_event(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *ctl = ctx;
	const struct msg_cmd_ack_event *a = msg;

	(void)m;
	(void)e;
	events_ack(&ctl->events, a->seq);
	return 0;
}

static const struct dispatch_entry conversation[] = {
	{ MSG_CMD_HELLO, DISPATCH_ANY_STATE, 0, &desc_msg_cmd_hello, handle_hello },
	{ MSG_CMD_ACK_RESULT, DISPATCH_ANY_STATE, 0, &desc_msg_cmd_ack_result, handle_ack_result },
	{ MSG_CMD_ACK_EVENT, DISPATCH_ANY_STATE, 0, &desc_msg_cmd_ack_event, handle_ack_event },
};

static bool is_conversation(enum msg_type type)
{
	for (size_t i = 0; i < nitems(conversation); i++)
		if (conversation[i].type == type)
			return true;
	return false;
}

/* --- receiving -------------------------------------------------------------------------------------------------------- */

static void break_off(struct control *ctl, const struct err *e)
{
	char text[512];

	(void)err_join(e, text, sizeof(text));
	apid_broken(ctl, text);
}

static void run_command(struct control *ctl, struct chan_msg *m)
{
	enum vm_state state = ctl->vm.state;
	enum msg_type type = m->type;
	uint32_t id = m->id;
	struct err e = { 0 };
	int r = results_begin(&ctl->results, id);

	if (r < 0) {
		chan_msg_fini(m);
		apid_broken(ctl, "a command with an id that was used before");
		return;
	}
	if (ctl->ending) {
		chan_msg_fini(m);
		r = err_set(&e, -ESHUTDOWN, "the VMM is shutting down");
	} else {
		r = dispatch(commands, nitems(commands), 1u << state, ctl, m, &e);
	}
	if (r == -EBADMSG || r == -ENOTSUP) {
		break_off(ctl, &e);
		return;
	}
	if (r == -EPROTO)
		r = refuse_state(type, state, &e);
	if (r < 0)
		answer_result(ctl, id, r, &e);
}

static void handle_message(struct control *ctl, struct chan_msg *m)
{
	struct err e = { 0 };

	if (!is_conversation(m->type))
		run_command(ctl, m);
	else if (dispatch(conversation, nitems(conversation), 1, ctl, m, &e) < 0)
		break_off(ctl, &e);
}

/* The next message, the one that had to wait before those behind it. True: @m has one. */
static bool next_message(struct control *ctl, struct chan_msg *m)
{
	if (!peer_is_open(&ctl->apid))
		return false;
	if (ctl->stashed) {
		*m = ctl->stash;
		ctl->stashed = false;
		return true;
	}
	int r = chan_recv(ctl->apid.chan, m);

	if (r < 0) {
		/* Its successor attaches with a channel of its own. */
		log_debug("apid's channel ended: %s", strerrordesc_np(-r));
		control_drop_apid(ctl);
	}
	return r > 0;
}

void control_on_apid(void *arg)
{
	struct control *ctl = arg;

	for (int i = 0; i < APID_BUDGET; i++) {
		struct chan_msg m;

		control_drain_monitor(ctl);
		if (!next_message(ctl, &m))
			return;
		handle_message(ctl, &m);
	}
}

static bool only_asks(enum msg_type type)
{
	return type == MSG_CMD_VM_INFO || type == MSG_CMD_VM_COUNTERS || is_conversation(type);
}

/* The command that is being carried out was received before, and its answer will follow what is answered here: ids tell
 * them apart. The end of the channel waits with the rest. */
void control_answer_queries(void *arg)
{
	struct control *ctl = arg;

	for (int i = 0; i < APID_BUDGET && !ctl->stashed && peer_is_open(&ctl->apid); i++) {
		if (chan_recv(ctl->apid.chan, &ctl->stash) <= 0)
			return;
		ctl->stashed = true;
		if (!only_asks(ctl->stash.type)) {
			event_active(ctl->apid.on_read, EV_READ, 0); /* the socket may have nothing more to say */
			return;
		}
		struct chan_msg m = ctl->stash;

		ctl->stashed = false;
		handle_message(ctl, &m);
	}
}
