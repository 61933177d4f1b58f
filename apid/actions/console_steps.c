/* SPDX-License-Identifier: ISC */
/* Opening and closing the host side of the serial port and of the virtio console. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "apid/actions/commands_internal.h"

int step_check_path(const char *what, const char *path, struct err *e)
{
	size_t len = strlen(path);

	if (len == 0)
		return err_set(e, -EINVAL, "%s: the path is empty", what);
	if (len >= PATH_MAX)
		return err_set(e, -ENAMETOOLONG, "%s: the path has %zu bytes, more than %d", what, len, PATH_MAX - 1);
	return 0;
}

/* The part of the configuration that both have. */
struct console {
	const char *name;
	enum console_mode mode;
	char **file;
	const char *socket;
	bool has_far_end; /* there is something for the monitor to open */
};

static struct console console_of(struct cfg_vm *cfg, enum console_id which)
{
	struct console c = { .name = "serial", .mode = cfg->serial.mode, .file = &cfg->serial.file,
			     .socket = cfg->serial.socket };

	/* vmmd drops a Null serial port's output; a Null virtio console has a process that serves its queues. */
	c.has_far_end = c.mode != CONSOLE_MODE_OFF && c.mode != CONSOLE_MODE_NULL;
	if (which == CONSOLE_ID_VIRTIO) {
		c = (struct console){ .name = "console", .mode = cfg->console.mode, .file = &cfg->console.file,
				      .socket = cfg->console.socket };
		c.has_far_end = c.mode != CONSOLE_MODE_OFF;
	}
	return c;
}

/* The path that the console's mode needs. */
static int console_path(const struct console *c, const char **path, struct err *e)
{
	*path = NULL;
	if (c->mode == CONSOLE_MODE_FILE)
		*path = *c->file;
	else if (c->mode == CONSOLE_MODE_SOCKET)
		*path = c->socket;
	else
		return 0;
	if (*path == NULL)
		return err_set(e, -EINVAL, "%s: mode %s needs a path", c->name, enum_console_mode.names[c->mode].json);
	return step_check_path(c->name, *path, e);
}

int step_check_consoles(struct run *r, struct err *e)
{
	for (unsigned i = 0; i < CONSOLES; i++) {
		struct console c = console_of(&r->req.config, (enum console_id)i);
		const char *path;

		if (i == CONSOLE_ID_VIRTIO && c.mode == CONSOLE_MODE_SOCKET)
			return err_set(e, -EINVAL, "console: mode Socket is possible for the serial port only");
		int res = console_path(&c, &path, e);
		if (res < 0)
			return res;
	}
	return STEP_SKIPPED;
}

int step_ask_console(struct run *r, struct err *e)
{
	enum console_id which = r->step->which;
	struct console c = console_of(&r->req.config, which);
	struct msg_mon_open_console open = { .which = which, .mode = c.mode };
	const char *path;
	int res = console_path(&c, &path, e);

	if (res < 0)
		return res;
	if (!c.has_far_end)
		return STEP_SKIPPED;
	r->console_fresh[which] = true;
	r->cs->console_open[which] = true;
	open.path = path != NULL ? strdup(path) : NULL;
	if (path != NULL && open.path == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	res = command_ask_monitor(r, MSG_MON_OPEN_CONSOLE, &open, e);
	free(open.path);
	return res;
}

/* A pty's name is part of the configuration. Where it is another one than there was, the console was opened now. */
int step_got_console(struct run *r, struct chan_msg *m, struct err *e)
{
	enum console_id which = r->step->which;
	struct console c = console_of(&r->req.config, which);
	struct msg_mon_open_console_result res;
	int bad = chan_decode(m, &desc_msg_mon_open_console_result, &res, e);

	if (bad < 0)
		return bad;
	if (c.mode == CONSOLE_MODE_PTY && res.pty != NULL) {
		r->fresh_pty[which] = *c.file == NULL || strcmp(*c.file, res.pty) != 0;
		free(*c.file);
		*c.file = res.pty;
		res.pty = NULL;
	}
	obj_fini(&desc_msg_mon_open_console_result, &res);
	return 0;
}

int step_close_console(struct run *r, struct err *e)
{
	enum console_id which = r->step->which;
	struct msg_mon_close_console c = { .which = which };

	if (!r->cs->console_open[which])
		return STEP_SKIPPED;
	int res = command_ask_monitor(r, MSG_MON_CLOSE_CONSOLE, &c, e);
	if (res == STEP_SENT)
		r->cs->console_open[which] = false;
	return res;
}

int step_undo_console(struct run *r, struct err *e)
{
	return r->console_fresh[r->step->which] ? step_close_console(r, e) : STEP_SKIPPED;
}

/* vm.info still names the pty from before: the next boot opens another one again. */
int step_undo_fresh_pty(struct run *r, struct err *e)
{
	return r->fresh_pty[r->step->which] ? step_close_console(r, e) : STEP_SKIPPED;
}
