/* SPDX-License-Identifier: ISC */
/*
 * The steps of each command:
 *
 *	create	      state (none) - serial port - console - CREATE
 *	boot	      state (created), rules, names - serial port - console - kernel - initramfs - memory -
 *		      limit groups - virtio console - each disk - each network - entropy - handover - BOOT
 *	shutdown      SHUTDOWN
 *	delete	      DELETE - close serial port and console
 *	vmm.shutdown  VMM_SHUTDOWN
 *
 * Capitals go to vmmd, the rest to the monitor. vmmd alone knows the state: the guest changes it too. What is undone
 * after a failure:
 *
 *	create	      DELETE if its outcome is unknown - close the consoles
 *	boot	      SHUTDOWN if its outcome is unknown - release files, memory and devices - close ptys that were opened
 *		      here
 */
#include "apid/actions/commands_internal.h"

int command_ask_change(struct run *r, enum msg_type type, const void *obj, struct err *e)
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

int step_ask_create(struct run *r, struct err *e)
{
	struct msg_cmd_vm_create c = { .config = r->req.config };

	return command_ask_change(r, MSG_CMD_VM_CREATE, &c, e);
}

/* vmmd works in order: this follows whatever it may still do. */
static int undo_create(struct run *r, struct err *e)
{
	return r->unknown ? command_ask_vmmd(r, MSG_CMD_VM_DELETE, NULL, COMMAND_LONG_TIMEOUT_MS, NULL, e)
			  : STEP_SKIPPED;
}

const struct step create_steps[] = {
	{ .name = "state", .answer = MSG_CMD_VM_INFO_RESULT, .ask = step_ask_info, .got = step_got_info_for_create },
	{ .name = "check consoles", .ask = step_check_consoles },
	{ .name = "serial port", .answer = MSG_MON_OPEN_CONSOLE_RESULT, .ask = step_ask_console, .got = step_got_console,
	  .which = CONSOLE_ID_SERIAL },
	{ .name = "console", .answer = MSG_MON_OPEN_CONSOLE_RESULT, .ask = step_ask_console, .got = step_got_console,
	  .which = CONSOLE_ID_VIRTIO },
	{ .name = "create", .answer = MSG_RESULT, .ask = step_ask_create },
	{ 0 },
};
const struct step create_undo[] = {
	{ .name = "delete", .answer = MSG_RESULT, .ask = undo_create },
	{ .name = "close serial port", .answer = MSG_RESULT, .ask = step_undo_console, .which = CONSOLE_ID_SERIAL },
	{ .name = "close console", .answer = MSG_RESULT, .ask = step_undo_console, .which = CONSOLE_ID_VIRTIO },
	{ 0 },
};

/* --- the short ones ------------------------------------------------------------------------------------------- */

static int ask_shutdown(struct run *r, struct err *e)
{
	return command_ask_change(r, MSG_CMD_VM_SHUTDOWN, NULL, e);
}

static int ask_delete(struct run *r, struct err *e)
{
	return command_ask_change(r, MSG_CMD_VM_DELETE, NULL, e);
}

static int ask_vmm_shutdown(struct run *r, struct err *e)
{
	struct msg_cmd_vmm_shutdown s = { .status = r->req.status };

	return command_ask_change(r, MSG_CMD_VMM_SHUTDOWN, &s, e);
}

static const struct step no_steps[] = { { 0 } };
static const struct step shutdown_steps[] = {
	{ .name = "shutdown", .answer = MSG_RESULT, .ask = ask_shutdown },
	{ 0 },
};
static const struct step delete_steps[] = {
	{ .name = "delete", .answer = MSG_RESULT, .ask = ask_delete },
	{ .name = "close serial port", .answer = MSG_RESULT, .ask = step_close_console, .which = CONSOLE_ID_SERIAL,
	  .may_fail = true },
	{ .name = "close console", .answer = MSG_RESULT, .ask = step_close_console, .which = CONSOLE_ID_VIRTIO,
	  .may_fail = true },
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
