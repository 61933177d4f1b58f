/* SPDX-License-Identifier: ISC */
/*
 * The steps of each command:
 *
 *	create	    state (none) - console - CREATE		undo: close the console
 *	boot	    state (created), rules - console - kernel - initramfs - memory - handover - BOOT
 *						undo: release the files and the memory; close a console opened here
 *	shutdown    SHUTDOWN
 *	delete	    DELETE - close the console
 *	vmm.shutdown VMM_SHUTDOWN
 *
 * Capitals go to vmmd, the rest to the monitor. vmmd alone knows the state: the guest changes it too.
 */
#include "apid/actions/commands.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/log.h"
#include "proto/rules.h"

enum {
	MONITOR_TIMEOUT_MS = 20000,
	/* The monitor refuses more than 100 costly requests in a second. Half of it in a second of ours is never more,
	 * wherever its seconds begin: clients that create and delete in a loop are slowed down, not refused. */
	MONITOR_PER_SECOND = 50,
};

/* What a step's sending says. */
enum { STEP_SENT = 0, STEP_SKIPPED = 1, STEP_POSTPONED = 2 };

struct run;

struct step {
	const char *name;
	enum msg_type answer; /* the typed one, or MSG_RESULT */
	/* STEP_SENT, STEP_SKIPPED, STEP_POSTPONED (will be called again), or -errno with @e filled */
	int (*ask)(struct run *r, struct err *e);
	/* The answer is there; @m is NULL when it was RESULT. NULL: nothing to do. */
	int (*got)(struct run *r, struct chan_msg *m, struct err *e);
};

struct flow {
	const char *name;
	const struct step *steps, *undo; /* ended by a step without ask() */
};

struct run {
	TAILQ_ENTRY(run) link;
	struct commands *cs;
	struct command_request req;
	const struct flow *flow;
	const struct step *step;
	bool undoing;
	bool console_fresh; /* opened by this command */
	bool holds;         /* the monitor may hold files and memory for it */
	bool fresh_pty;
	bool unknown; /* the command timed out: vmmd may still carry it out */
	struct err e; /* why it failed, while undoing */
};

struct commands {
	struct event_base *base;
	struct rpc *mon, *vmm;
	struct event *ev_next, *ev_pace;
	TAILQ_HEAD(, run) queue; /* the first one runs */
	bool running;
	uint64_t second; /* the one in which this many requests went to the monitor */
	unsigned in_second;
	bool console_open; /* as far as we know; a stopped VM's is closed without us */
};

int commands_no_vm(struct err *e)
{
	return err_set(e, -ERR_NOT_FOUND, "VM is not created");
}

/* --- sending -------------------------------------------------------------------------------------------------- */

static void on_answer(void *arg, struct chan_msg *m, const struct err *e);

static bool pace(struct commands *cs)
{
	uint64_t now_ms = ev_now_ns() / 1000000, left = 1000 - now_ms % 1000;
	struct timeval tv = { .tv_usec = (suseconds_t)(left * 1000 - 1) };

	if (cs->second != now_ms / 1000)
		cs->in_second = 0;
	cs->second = now_ms / 1000;
	if (cs->in_second < MONITOR_PER_SECOND) {
		cs->in_second++;
		return true;
	}
	(void)event_add(cs->ev_pace, &tv);
	return false;
}

static int ask_monitor(struct run *r, enum msg_type type, const void *obj, struct err *e)
{
	if (!pace(r->cs))
		return STEP_POSTPONED;
	return rpc_call(r->cs->mon, type, obj, MONITOR_TIMEOUT_MS, on_answer, r, NULL, e);
}

/* The command itself: its id lets a successor find the result. */
static int ask_vmmd(struct run *r, enum msg_type type, const void *obj, struct err *e)
{
	uint32_t id;
	int res = rpc_call(r->cs->vmm, type, obj, COMMAND_LONG_TIMEOUT_MS, on_answer, r, &id, e);

	if (res == 0 && r->req.sent != NULL)
		r->req.sent(r->req.arg, id);
	return res;
}

static int ask_info(struct run *r, struct err *e)
{
	return rpc_call(r->cs->vmm, MSG_CMD_VM_INFO, NULL, COMMAND_INFO_TIMEOUT_MS, on_answer, r, NULL, e);
}

/* --- create --------------------------------------------------------------------------------------------------- */

static int got_info_for_create(struct run *r, struct chan_msg *m, struct err *e)
{
	(void)r;
	(void)m;
	return err_set(e, -EEXIST, "VM is already created");
}

/* What the monitor's messages can carry. */
static int check_path(const char *what, const char *path, struct err *e)
{
	size_t len = strlen(path);

	if (len == 0)
		return err_set(e, -EINVAL, "%s: the path is empty", what);
	if (len >= PATH_MAX)
		return err_set(e, -ENAMETOOLONG, "%s: the path has %zu bytes, more than %d", what, len, PATH_MAX - 1);
	return 0;
}

/* The path that the console's mode needs. */
static int console_path(const struct cfg_serial *s, const char **path, struct err *e)
{
	*path = NULL;
	if (s->mode == CONSOLE_MODE_FILE)
		*path = s->file;
	else if (s->mode == CONSOLE_MODE_SOCKET)
		*path = s->socket;
	else
		return 0;
	if (*path == NULL)
		return err_set(e, -EINVAL, "serial: mode %s needs a path", enum_console_mode.names[s->mode].json);
	return check_path("serial", *path, e);
}

static int ask_console(struct run *r, struct err *e)
{
	const struct cfg_serial *s = &r->req.config.serial;
	struct msg_mon_open_console open = { .which = CONSOLE_ID_SERIAL, .mode = s->mode };
	const char *path;
	int res = console_path(s, &path, e);

	if (res < 0)
		return res;
	if (s->mode == CONSOLE_MODE_OFF || s->mode == CONSOLE_MODE_NULL)
		return STEP_SKIPPED; /* there is no other end */
	r->console_fresh = true;
	r->cs->console_open = true;
	open.path = path != NULL ? strdup(path) : NULL;
	if (path != NULL && open.path == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	res = ask_monitor(r, MSG_MON_OPEN_CONSOLE, &open, e);
	free(open.path);
	return res;
}

/* A pty's name is part of the configuration. Where it is another one than there was, the console was opened now. */
static int got_console(struct run *r, struct chan_msg *m, struct err *e)
{
	struct cfg_serial *s = &r->req.config.serial;
	struct msg_mon_open_console_result res;
	int bad = chan_decode(m, &desc_msg_mon_open_console_result, &res, e);

	if (bad < 0 || s->mode != CONSOLE_MODE_PTY) {
		if (bad == 0)
			obj_fini(&desc_msg_mon_open_console_result, &res);
		return bad;
	}
	r->fresh_pty = res.pty != NULL && (s->file == NULL || strcmp(s->file, res.pty) != 0);
	if (res.pty != NULL) {
		free(s->file);
		s->file = res.pty;
		res.pty = NULL;
	}
	obj_fini(&desc_msg_mon_open_console_result, &res);
	return 0;
}

static int ask_create(struct run *r, struct err *e)
{
	struct msg_cmd_vm_create c = { .config = r->req.config };

	return ask_vmmd(r, MSG_CMD_VM_CREATE, &c, e);
}

static int ask_close_console(struct run *r, struct err *e)
{
	struct msg_mon_close_console c = { .which = CONSOLE_ID_SERIAL };

	if (!r->cs->console_open)
		return STEP_SKIPPED;
	int res = ask_monitor(r, MSG_MON_CLOSE_CONSOLE, &c, e);
	if (res == STEP_SENT)
		r->cs->console_open = false;
	return res;
}

/* vmmd works in order: this follows whatever it may still do. */
static int undo_create(struct run *r, struct err *e)
{
	return r->unknown
		       ? rpc_call(r->cs->vmm, MSG_CMD_VM_DELETE, NULL, COMMAND_LONG_TIMEOUT_MS, on_answer, r, NULL, e)
		       : STEP_SKIPPED;
}

static int undo_console(struct run *r, struct err *e)
{
	return r->console_fresh ? ask_close_console(r, e) : STEP_SKIPPED;
}

static const struct step create_steps[] = {
	{ "state", MSG_CMD_VM_INFO_RESULT, ask_info, got_info_for_create },
	{ "console", MSG_MON_OPEN_CONSOLE_RESULT, ask_console, got_console },
	{ "create", MSG_RESULT, ask_create, NULL },
	{ 0 },
};
static const struct step create_undo[] = {
	{ "delete", MSG_RESULT, undo_create, NULL },
	{ "close console", MSG_RESULT, undo_console, NULL },
	{ 0 },
};

/* --- boot ----------------------------------------------------------------------------------------------------- */

static int got_info_for_boot(struct run *r, struct chan_msg *m, struct err *e)
{
	struct msg_cmd_vm_info_result info;
	int res = chan_decode(m, &desc_msg_cmd_vm_info_result, &info, e);

	if (res < 0)
		return res;
	r->req.config = info.config; /* moved */
	memset(&info.config, 0, sizeof(info.config));
	enum vm_state state = info.state;
	obj_fini(&desc_msg_cmd_vm_info_result, &info);
	if (state != VM_STATE_CREATED)
		return err_set(e, -EBUSY, "VM is already running");
	res = rules_check_boot(&r->req.config, e);
	return res < 0 ? res : rules_check_runtime(&r->req.config, e);
}

static int ask_file(struct run *r, enum mon_file kind, char *path, struct err *e)
{
	struct msg_mon_open_file open = { .kind = kind, .path = path };
	int res = check_path(enum_mon_file.names[kind].json, path, e);

	if (res < 0)
		return res;
	r->holds = true;
	return ask_monitor(r, MSG_MON_OPEN_FILE, &open, e);
}

static int ask_kernel(struct run *r, struct err *e)
{
	if (!r->req.config.has_payload || r->req.config.payload.kernel == NULL)
		return err_set(e, -ERR_INVALID, "no kernel given");
	return ask_file(r, MON_FILE_KERNEL, r->req.config.payload.kernel, e);
}

static int ask_initramfs(struct run *r, struct err *e)
{
	char *path = r->req.config.payload.initramfs;

	return path == NULL ? STEP_SKIPPED : ask_file(r, MON_FILE_INITRAMFS, path, e);
}

static int ask_memory(struct run *r, struct err *e)
{
	const struct cfg_memory *c = &r->req.config.memory;
	struct msg_mon_make_memory make = { .size = c->size, .shared = c->shared };

	return ask_monitor(r, MSG_MON_MAKE_MEMORY, &make, e);
}

static int ask_handover(struct run *r, struct err *e)
{
	struct msg_mon_handover h = { .vcpus = r->req.config.cpus.boot_vcpus };

	return ask_monitor(r, MSG_MON_HANDOVER, &h, e);
}

static int ask_boot(struct run *r, struct err *e)
{
	struct msg_cmd_vm_boot boot = { .serial_file = r->fresh_pty ? r->req.config.serial.file : NULL };

	return ask_vmmd(r, MSG_CMD_VM_BOOT, &boot, e);
}

static int undo_running(struct run *r, struct err *e)
{
	return r->unknown
		       ? rpc_call(r->cs->vmm, MSG_CMD_VM_SHUTDOWN, NULL, COMMAND_LONG_TIMEOUT_MS, on_answer, r, NULL, e)
		       : STEP_SKIPPED;
}

static int undo_boot(struct run *r, struct err *e)
{
	return r->holds ? ask_monitor(r, MSG_MON_RELEASE, NULL, e) : STEP_SKIPPED;
}

/* vm.info still names the pty from before: the next boot opens another one again. */
static int undo_fresh_pty(struct run *r, struct err *e)
{
	return r->fresh_pty ? ask_close_console(r, e) : STEP_SKIPPED;
}

static const struct step boot_steps[] = {
	{ "state", MSG_CMD_VM_INFO_RESULT, ask_info, got_info_for_boot },
	{ "console", MSG_MON_OPEN_CONSOLE_RESULT, ask_console, got_console },
	{ "kernel", MSG_MON_OPEN_FILE_RESULT, ask_kernel, NULL },
	{ "initramfs", MSG_MON_OPEN_FILE_RESULT, ask_initramfs, NULL },
	{ "memory", MSG_RESULT, ask_memory, NULL },
	{ "handover", MSG_RESULT, ask_handover, NULL },
	{ "boot", MSG_RESULT, ask_boot, NULL },
	{ 0 },
};
static const struct step boot_undo[] = {
	{ "shut down", MSG_RESULT, undo_running, NULL },
	{ "release", MSG_RESULT, undo_boot, NULL },
	{ "close console", MSG_RESULT, undo_fresh_pty, NULL },
	{ 0 },
};

/* --- the short ones ------------------------------------------------------------------------------------------- */

static int ask_shutdown(struct run *r, struct err *e)
{
	return ask_vmmd(r, MSG_CMD_VM_SHUTDOWN, NULL, e);
}

static int ask_delete(struct run *r, struct err *e)
{
	return ask_vmmd(r, MSG_CMD_VM_DELETE, NULL, e);
}

static int ask_vmm_shutdown(struct run *r, struct err *e)
{
	struct msg_cmd_vmm_shutdown s = { .status = r->req.status };

	return ask_vmmd(r, MSG_CMD_VMM_SHUTDOWN, &s, e);
}

static const struct step no_steps[] = { { 0 } };
static const struct step shutdown_steps[] = {
	{ "shutdown", MSG_RESULT, ask_shutdown, NULL },
	{ 0 },
};
static const struct step delete_steps[] = {
	{ "delete", MSG_RESULT, ask_delete, NULL },
	{ "close console", MSG_RESULT, ask_close_console, NULL },
	{ 0 },
};
static const struct step vmm_shutdown_steps[] = {
	{ "end", MSG_RESULT, ask_vmm_shutdown, NULL },
	{ 0 },
};

static const struct flow flows[] = {
	[COMMAND_CREATE] = { "create", create_steps, create_undo },
	[COMMAND_BOOT] = { "boot", boot_steps, boot_undo },
	[COMMAND_SHUTDOWN] = { "shutdown", shutdown_steps, no_steps },
	[COMMAND_DELETE] = { "delete", delete_steps, no_steps },
	[COMMAND_VMM_SHUTDOWN] = { "vmm.shutdown", vmm_shutdown_steps, no_steps },
};

/* --- running -------------------------------------------------------------------------------------------------- */

static void start_next(struct commands *cs)
{
	if (!cs->running && !TAILQ_EMPTY(&cs->queue))
		event_active(cs->ev_next, EV_TIMEOUT, 0);
}

static void run_free(struct run *r)
{
	obj_fini(&desc_cfg_vm, &r->req.config);
	free(r);
}

static void run_end(struct run *r)
{
	struct commands *cs = r->cs;

	TAILQ_REMOVE(&cs->queue, r, link);
	cs->running = false;
	r->req.done(r->req.arg, r->undoing ? &r->e : NULL);
	run_free(r);
	start_next(cs);
}

/* Ask the current step, or the next that has something to ask. */
static void run_go(struct run *r)
{
	for (;;) {
		struct err e;
		int res;

		if (r->step->ask == NULL) {
			run_end(r);
			return;
		}
		res = r->step->ask(r, &e);
		if (res == STEP_SENT || res == STEP_POSTPONED)
			return;
		if (res < 0 && r->undoing) {
			log_error("undoing a failed %s: %s: %s", r->flow->name, r->step->name, err_text(&e, 0));
		} else if (res < 0) {
			r->e = e;
			r->undoing = true;
			r->step = r->flow->undo;
			continue;
		}
		r->step++;
	}
}

static bool no_vm_is_fine(const struct run *r, const struct err *e)
{
	return r->step->got == got_info_for_create && err_code(e, 0) == -ERR_NOT_FOUND;
}

/* Whether the answer lets the run go on. Else r->e says why not. */
static bool accept_answer(struct run *r, struct chan_msg *m, const struct err *e)
{
	if (e != NULL && no_vm_is_fine(r, e))
		return true;
	if (e != NULL && r->step->ask == ask_info && err_code(e, 0) == -ERR_NOT_FOUND) {
		(void)commands_no_vm(&r->e);
		return false;
	}
	if (e != NULL) {
		r->e = *e;
		r->unknown =
			r->step->ask == ask_create || r->step->ask == ask_boot ? err_code(e, 0) == -ETIMEDOUT : false;
		return false;
	}
	if ((m != NULL ? m->type : MSG_RESULT) != r->step->answer) {
		(void)err_set(&r->e, -EPROTO, "unexpected answer to \"%s\"", r->step->name);
		return false;
	}
	return r->step->got == NULL || r->step->got(r, m, &r->e) >= 0;
}

static void on_answer(void *arg, struct chan_msg *m, const struct err *e)
{
	struct run *r = arg;

	if (r->undoing) {
		if (e != NULL)
			log_error("undoing a failed %s: %s: %s", r->flow->name, r->step->name, err_text(e, 0));
		r->step++;
	} else if (accept_answer(r, m, e)) {
		r->step++;
	} else {
		log_debug("%s failed at \"%s\"", r->flow->name, r->step->name);
		r->undoing = true;
		r->step = r->flow->undo;
	}
	run_go(r);
}

static void on_pace(evutil_socket_t fd, short what, void *arg)
{
	struct commands *cs = arg;

	(void)fd;
	(void)what;
	if (cs->running)
		run_go(TAILQ_FIRST(&cs->queue));
}

static void on_next(evutil_socket_t fd, short what, void *arg)
{
	struct commands *cs = arg;
	struct run *r = TAILQ_FIRST(&cs->queue);

	(void)fd;
	(void)what;
	if (cs->running || r == NULL)
		return;
	cs->running = true;
	log_debug("command %s", r->flow->name);
	run_go(r);
}

int commands_queue(struct commands *cs, const struct command_request *req)
{
	struct run *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	r->cs = cs;
	r->req = *req;
	r->flow = &flows[req->what];
	r->step = r->flow->steps;
	TAILQ_INSERT_TAIL(&cs->queue, r, link);
	start_next(cs);
	return 0;
}

/* --- after a predecessor -------------------------------------------------------------------------------------- */

static void on_tidied(void *arg, struct chan_msg *m, const struct err *e)
{
	(void)arg;
	(void)m;
	if (e != NULL)
		log_error("tidying up after the last apid: %s", err_text(e, 0));
}

static void tidy(struct commands *cs, enum msg_type type, const void *obj)
{
	struct err e;

	if (rpc_call(cs->mon, type, obj, MONITOR_TIMEOUT_MS, on_tidied, cs, NULL, &e) < 0)
		on_tidied(cs, NULL, &e);
}

void commands_undo_boot(struct commands *cs)
{
	tidy(cs, MSG_MON_RELEASE, NULL);
}

void commands_clean_up(struct commands *cs, enum vm_state state)
{
	struct msg_mon_close_console serial = { .which = CONSOLE_ID_SERIAL };

	if (state == VM_STATE_NONE || state == VM_STATE_CREATED)
		tidy(cs, MSG_MON_RELEASE, NULL);
	if (state == VM_STATE_NONE)
		tidy(cs, MSG_MON_CLOSE_CONSOLE, &serial);
	else
		cs->console_open = true;
}

/* --- life ----------------------------------------------------------------------------------------------------- */

struct commands *commands_new(struct event_base *base, struct rpc *mon, struct rpc *vmm)
{
	struct commands *cs = calloc(1, sizeof(*cs));

	if (cs == NULL)
		return NULL;
	*cs = (struct commands){ .base = base, .mon = mon, .vmm = vmm };
	TAILQ_INIT(&cs->queue);
	cs->ev_next = event_new(base, -1, 0, on_next, cs);
	cs->ev_pace = evtimer_new(base, on_pace, cs);
	if (cs->ev_next != NULL && cs->ev_pace != NULL)
		return cs;
	commands_free(cs);
	return NULL;
}

void commands_free(struct commands *cs)
{
	struct run *r;

	if (cs == NULL)
		return;
	while ((r = TAILQ_FIRST(&cs->queue)) != NULL) {
		TAILQ_REMOVE(&cs->queue, r, link);
		run_free(r);
	}
	if (cs->ev_next != NULL)
		event_free(cs->ev_next);
	if (cs->ev_pace != NULL)
		event_free(cs->ev_pace);
	free(cs);
}
