/* SPDX-License-Identifier: ISC */
/*
 * The boot: everything that has a name is opened by the monitor, which starts a helper for each device on the way; the
 * handover waits for them all. Only then does vmmd hear of it, and stores the configuration with the names, addresses and
 * image types that were added on the way: a boot that fails before leaves it as it was.
 */
#include <stdlib.h>
#include <string.h>

#include "apid/actions/boot_plan.h"
#include "apid/actions/commands_internal.h"
#include "common/str.h"
#include "proto/rules.h"

/* Somebody else's back end may take a minute until it listens. */
enum { HANDOVER_TIMEOUT_MS = 100000 };

static int got_info(struct run *r, struct chan_msg *m, struct err *e)
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
	if (res == 0)
		res = rules_check_runtime(&r->req.config, e);
	if (res < 0)
		return res;
	rules_complete(&r->req.config);
	return boot_plan_names(&r->req.config, e);
}

/* --- files and memory ------------------------------------------------------------------------------------------------- */

static int ask_file(struct run *r, enum mon_file kind, char *path, struct err *e)
{
	struct msg_mon_open_file open = { .kind = kind, .path = path };
	int res = step_check_path(enum_mon_file.names[kind].json, path, e);

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

/* --- devices ---------------------------------------------------------------------------------------------------------- */

/* Messages borrow what the configuration holds. */

static size_t count_groups(const struct run *r)
{
	return r->req.config.n_rate_limit_groups;
}

static int ask_group(struct run *r, struct err *e)
{
	struct msg_mon_limit_group g = { .config = r->req.config.rate_limit_groups[r->index] };

	if (!boot_plan_uses_group(&r->req.config, g.config.id)) /* a rule: it has one */
		return STEP_SKIPPED;
	return command_ask_monitor(r, MSG_MON_LIMIT_GROUP, &g, e);
}

static const char *about_group(const struct run *r, char out[STEP_NAME])
{
	(void)str_fmt(out, STEP_NAME, "rate limit group \"%s\"", r->req.config.rate_limit_groups[r->index].id);
	return out;
}

static int ask_vcon(struct run *r, struct err *e)
{
	struct msg_mon_open_vcon v = { .config = r->req.config.console };

	return v.config.mode == CONSOLE_MODE_OFF ? STEP_SKIPPED : command_ask_monitor(r, MSG_MON_OPEN_VCON, &v, e);
}

/* There is one of it; a name it has only if a client gave it one. */
static const char *about_single(const char *kind, const char *id, char out[STEP_NAME])
{
	if (id == NULL)
		return kind;
	(void)str_fmt(out, STEP_NAME, "%s \"%s\"", kind, id);
	return out;
}

static const char *about_vcon(const struct run *r, char out[STEP_NAME])
{
	return about_single("console", r->req.config.console.id, out);
}

static size_t count_disks(const struct run *r)
{
	return r->req.config.n_disks;
}

static int ask_disk(struct run *r, struct err *e)
{
	struct msg_mon_open_disk d = { .index = (uint32_t)r->index, .config = r->req.config.disks[r->index] };

	d.config.image_type = boot_plan_image_type(&d.config);
	return command_ask_monitor(r, MSG_MON_OPEN_DISK, &d, e);
}

static const char *about_disk(const struct run *r, char out[STEP_NAME])
{
	(void)str_fmt(out, STEP_NAME, "disk \"%s\"", r->req.config.disks[r->index].id);
	return out;
}

static size_t count_nets(const struct run *r)
{
	return r->req.config.n_net;
}

static int ask_net(struct run *r, struct err *e)
{
	struct msg_mon_open_net n = { .index = (uint32_t)r->index, .config = r->req.config.net[r->index] };

	return command_ask_monitor(r, MSG_MON_OPEN_NET, &n, e);
}

static const char *about_net(const struct run *r, char out[STEP_NAME])
{
	(void)str_fmt(out, STEP_NAME, "net \"%s\"", r->req.config.net[r->index].id);
	return out;
}

static int ask_rng(struct run *r, struct err *e)
{
	struct msg_mon_open_rng g = { .config = r->req.config.rng };

	return command_ask_monitor(r, MSG_MON_OPEN_RNG, &g, e);
}

static const char *about_rng(const struct run *r, char out[STEP_NAME])
{
	return about_single("rng", r->req.config.rng.id, out);
}

/* --- the end ---------------------------------------------------------------------------------------------------------- */

static int ask_handover(struct run *r, struct err *e)
{
	struct msg_mon_handover h = { .vcpus = r->req.config.cpus.boot_vcpus };

	return command_ask_monitor(r, MSG_MON_HANDOVER, &h, e);
}

static int got_handover(struct run *r, struct chan_msg *m, struct err *e)
{
	struct msg_mon_handover_result res;
	int bad = chan_decode(m, &desc_msg_mon_handover_result, &res, e);

	if (bad < 0)
		return bad;
	bad = boot_plan_details(&r->req.config, &res, e);
	obj_fini(&desc_msg_mon_handover_result, &res);
	return bad;
}

int step_ask_boot(struct run *r, struct err *e)
{
	struct msg_cmd_vm_boot boot = { .config = r->req.config };

	return command_ask_change(r, MSG_CMD_VM_BOOT, &boot, e);
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

const struct step boot_steps[] = {
	{ .name = "state", .answer = MSG_CMD_VM_INFO_RESULT, .ask = step_ask_info, .got = got_info },
	{ .name = "check consoles", .ask = step_check_consoles },
	{ .name = "serial port", .answer = MSG_MON_OPEN_CONSOLE_RESULT, .ask = step_ask_console, .got = step_got_console,
	  .which = CONSOLE_ID_SERIAL },
	{ .name = "console", .answer = MSG_MON_OPEN_CONSOLE_RESULT, .ask = step_ask_console, .got = step_got_console,
	  .which = CONSOLE_ID_VIRTIO },
	{ .name = "kernel", .answer = MSG_MON_OPEN_FILE_RESULT, .ask = ask_kernel },
	{ .name = "initramfs", .answer = MSG_MON_OPEN_FILE_RESULT, .ask = ask_initramfs },
	{ .name = "memory", .answer = MSG_RESULT, .ask = ask_memory },
	{ .name = "limit group", .answer = MSG_RESULT, .ask = ask_group, .times = count_groups, .about = about_group },
	{ .name = "virtio console", .answer = MSG_RESULT, .ask = ask_vcon, .about = about_vcon },
	{ .name = "disk", .answer = MSG_RESULT, .ask = ask_disk, .times = count_disks, .about = about_disk },
	{ .name = "network", .answer = MSG_RESULT, .ask = ask_net, .times = count_nets, .about = about_net },
	{ .name = "entropy", .answer = MSG_RESULT, .ask = ask_rng, .about = about_rng },
	{ .name = "handover", .answer = MSG_MON_HANDOVER_RESULT, .ask = ask_handover, .got = got_handover,
	  .timeout_ms = HANDOVER_TIMEOUT_MS },
	{ .name = "boot", .answer = MSG_RESULT, .ask = step_ask_boot },
	{ 0 },
};
const struct step boot_undo[] = {
	{ .name = "shut down", .answer = MSG_RESULT, .ask = undo_running },
	{ .name = "release", .answer = MSG_RESULT, .ask = undo_boot },
	{ .name = "close serial port", .answer = MSG_RESULT, .ask = step_undo_fresh_pty, .which = CONSOLE_ID_SERIAL },
	{ .name = "close console", .answer = MSG_RESULT, .ask = step_undo_fresh_pty, .which = CONSOLE_ID_VIRTIO },
	{ 0 },
};
