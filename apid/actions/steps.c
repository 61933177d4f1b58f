/* SPDX-License-Identifier: ISC */
/*
 * The steps of each command:
 *
 *	create	      state (none) - console - CREATE
 *	boot	      state (created), rules - console - kernel - initramfs - memory - handover - BOOT
 *	shutdown      SHUTDOWN
 *	delete	      DELETE - close the console
 *	vmm.shutdown  VMM_SHUTDOWN
 *
 * Capitals go to vmmd, the rest to the monitor. vmmd alone knows the state: the guest changes it too. What is undone
 * after a failure:
 *
 *	create	      DELETE if its outcome is unknown - close the console
 *	boot	      SHUTDOWN if its outcome is unknown - release files and memory - close a pty that was opened here
 */
#include "apid/actions/commands_internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "proto/rules.h"

/* The command itself: its id lets a successor find the result. */
static int ask_vmmd(struct run *r, enum msg_type type, const void *obj, struct err *e)
{
	uint32_t id;
	int res = command_ask_vmmd(r, type, obj, COMMAND_LONG_TIMEOUT_MS, &id, e);

	if (res == 0 && r->req.sent != NULL)
		r->req.sent(r->req.arg, id);
	return res;
}

int step_ask_info(struct run *r, struct err *e)
{
	return command_ask_vmmd(r, MSG_CMD_VM_INFO, NULL, COMMAND_INFO_TIMEOUT_MS, NULL, e);
}

/* --- create --------------------------------------------------------------------------------------------------- */

int step_got_info_for_create(struct run *r, struct chan_msg *m, struct err *e)
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
	res = command_ask_monitor(r, MSG_MON_OPEN_CONSOLE, &open, e);
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
	int res = command_ask_monitor(r, MSG_MON_CLOSE_CONSOLE, &c, e);
	if (res == STEP_SENT)
		r->cs->console_open = false;
	return res;
}

/* vmmd works in order: this follows whatever it may still do. */
static int undo_create(struct run *r, struct err *e)
{
	return r->unknown ? command_ask_vmmd(r, MSG_CMD_VM_DELETE, NULL, COMMAND_LONG_TIMEOUT_MS, NULL, e)
			  : STEP_SKIPPED;
}

static int undo_console(struct run *r, struct err *e)
{
	return r->console_fresh ? ask_close_console(r, e) : STEP_SKIPPED;
}

static const struct step create_steps[] = {
	{ .name = "state", .answer = MSG_CMD_VM_INFO_RESULT, .ask = step_ask_info, .got = step_got_info_for_create },
	{ .name = "console", .answer = MSG_MON_OPEN_CONSOLE_RESULT, .ask = ask_console, .got = got_console },
	{ .name = "create", .answer = MSG_RESULT, .ask = ask_create },
	{ 0 },
};
static const struct step create_undo[] = {
	{ .name = "delete", .answer = MSG_RESULT, .ask = undo_create },
	{ .name = "close console", .answer = MSG_RESULT, .ask = undo_console },
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
	return command_ask_monitor(r, MSG_MON_OPEN_FILE, &open, e);
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

	return command_ask_monitor(r, MSG_MON_MAKE_MEMORY, &make, e);
}

static int ask_handover(struct run *r, struct err *e)
{
	struct msg_mon_handover h = { .vcpus = r->req.config.cpus.boot_vcpus };

	return command_ask_monitor(r, MSG_MON_HANDOVER, &h, e);
}

static int ask_boot(struct run *r, struct err *e)
{
	struct msg_cmd_vm_boot boot = { .config = r->req.config };

	return ask_vmmd(r, MSG_CMD_VM_BOOT, &boot, e);
}

static int undo_running(struct run *r, struct err *e)
{
	return r->unknown ? command_ask_vmmd(r, MSG_CMD_VM_SHUTDOWN, NULL, COMMAND_LONG_TIMEOUT_MS, NULL, e)
			  : STEP_SKIPPED;
}

static int undo_boot(struct run *r, struct err *e)
{
	return r->holds ? command_ask_monitor(r, MSG_MON_RELEASE, NULL, e) : STEP_SKIPPED;
}

/* vm.info still names the pty from before: the next boot opens another one again. */
static int undo_fresh_pty(struct run *r, struct err *e)
{
	return r->fresh_pty ? ask_close_console(r, e) : STEP_SKIPPED;
}

static const struct step boot_steps[] = {
	{ .name = "state", .answer = MSG_CMD_VM_INFO_RESULT, .ask = step_ask_info, .got = got_info_for_boot },
	{ .name = "console", .answer = MSG_MON_OPEN_CONSOLE_RESULT, .ask = ask_console, .got = got_console },
	{ .name = "kernel", .answer = MSG_MON_OPEN_FILE_RESULT, .ask = ask_kernel },
	{ .name = "initramfs", .answer = MSG_MON_OPEN_FILE_RESULT, .ask = ask_initramfs },
	{ .name = "memory", .answer = MSG_RESULT, .ask = ask_memory },
	{ .name = "handover", .answer = MSG_MON_HANDOVER_RESULT, .ask = ask_handover },
	{ .name = "boot", .answer = MSG_RESULT, .ask = ask_boot },
	{ 0 },
};
static const struct step boot_undo[] = {
	{ .name = "shut down", .answer = MSG_RESULT, .ask = undo_running },
	{ .name = "release", .answer = MSG_RESULT, .ask = undo_boot },
	{ .name = "close console", .answer = MSG_RESULT, .ask = undo_fresh_pty },
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
	{ .name = "shutdown", .answer = MSG_RESULT, .ask = ask_shutdown },
	{ 0 },
};
static const struct step delete_steps[] = {
	{ .name = "delete", .answer = MSG_RESULT, .ask = ask_delete },
	{ .name = "close console", .answer = MSG_RESULT, .ask = ask_close_console, .may_fail = true },
	{ 0 },
};
static const struct step vmm_shutdown_steps[] = {
	{ .name = "end", .answer = MSG_RESULT, .ask = ask_vmm_shutdown },
	{ 0 },
};

const struct flow command_flows[] = {
	[COMMAND_CREATE] = { "create", create_steps, create_undo },
	[COMMAND_BOOT] = { "boot", boot_steps, boot_undo },
	[COMMAND_SHUTDOWN] = { "shutdown", shutdown_steps, no_steps },
	[COMMAND_DELETE] = { "delete", delete_steps, no_steps },
	[COMMAND_VMM_SHUTDOWN] = { "vmm.shutdown", vmm_shutdown_steps, no_steps },
};

bool step_changes_vm(const struct step *s)
{
	return s->ask == ask_create || s->ask == ask_boot;
}
