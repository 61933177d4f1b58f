/* SPDX-License-Identifier: ISC */
/*
 * Consoles. What must outlive a cloister-console process is kept here: the ring with the guest's output, the end of the
 * stream to vmmd, the target's descriptors. A helper that dies is followed by one that gets the same.
 *
 * The serial port's helper runs from here on, as its other end is a stream. The virtio console's is a device, made for a
 * boot (monitor_dev.c): here is what it works on, opened earlier because clients want to know a pty's name.
 */
#include "jail/monitor_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "devices/console/console_ring.h"
#include "jail/monitor_dev.h"
#include "jail/monitor_ops.h"
#include "jail/policy/roles.h"

enum { READY_TIMEOUT_MS = 5000 };

static int open_now(struct con *con, enum console_mode mode, const char *path, struct err *e);

bool con_is_open(const struct con *con)
{
	return con->state == CON_OPEN;
}

bool con_is_up(const struct con *con)
{
	return con->mode == CONSOLE_MODE_NULL || con->helper.state == HELPER_UP;
}

/* --- the target ------------------------------------------------------------------------------------------------- */

/* Two consoles on one terminal: its settings are given back once, when the last of them closes. */
static struct con *on_same_terminal(const struct con *con)
{
	for (size_t i = 0; con->host.is_tty && i < MON_CONSOLES; i++) {
		struct con *other = &con->mon->consoles[i];

		if (other != con && other->host.is_tty)
			return other;
	}
	return NULL;
}

static void close_host(struct con *con)
{
	struct con *other = on_same_terminal(con);

	if (other != NULL) {
		other->host.raw |= con->host.raw;
		con->host.raw = false;
	}
	con_close(&con->host);
}

static int open_host(struct con *con, enum console_mode mode, const char *path, struct err *e)
{
	int r = con_open(&con->host, mode, path, e);
	const struct con *other = r < 0 ? NULL : on_same_terminal(con);

	/* The other has made it raw: how it was before is what counts. */
	if (other != NULL)
		con->host.saved = other->host.saved;
	return r;
}

void con_lose(struct con *con)
{
	/* Nothing will be shown any more: give the terminal back now, not when the VM ends. */
	close_host(con);
	con->lost = true;
}

void con_serve(struct con *con)
{
	if (con_make_raw(&con->host) < 0)
		log_warn("the terminal's settings cannot be changed");
}

void con_describe(const struct con *con, struct msg_con_config *cfg)
{
	*cfg = (struct msg_con_config){ .target = con->host.kind, .has_input = con->host.has_input,
					.restore_tty = con->host.is_tty };
	if (!con->host.is_tty)
		return;
	cfg->n_termios = sizeof(con->host.saved);
	cfg->termios = (uint8_t *)(uintptr_t)&con->host.saved;
}

/* --- the serial port's helper ----------------------------------------------------------------------------------- */

static const struct helper_kind console_kind = { .role = JAIL_CONSOLE, .program = "cloister-console",
						 .ready_ms = READY_TIMEOUT_MS };

static int con_configure(struct helper *h, struct err *e)
{
	struct con *con = h->owner;
	struct msg_con_config cfg;
	int fds[2 + CON_OPEN_FDS_MAX] = { con->stream_helper, con->ring_fd };

	con_describe(con, &cfg);
	memcpy(fds + 2, con->host.fds, con->host.n_fds * sizeof(int));
	int r = link_send(&h->link, MSG_CON_CONFIG, 0, &desc_msg_con_config, &cfg, fds, 2 + con->host.n_fds);
	return r < 0 ? err_sys(e, r, "console") : 0;
}

/* Numbers that the kind of target leaves open (jail/policy/roles.def). */
static void con_expect(struct helper *h, struct verify_want *want)
{
	const struct con *con = h->owner;
	uint64_t fds = (1 << (FD_console_STREAM + 1)) - 1;

	switch (con->host.kind) {
	case CON_TARGET_NULL:
		break;
	case CON_TARGET_FILE:
		fds |= 1 << FD_console_TARGET_OUT;
		break;
	case CON_TARGET_STREAM:
		fds |= 1 << FD_console_TARGET_OUT | (con->host.has_input ? 1 << FD_console_TARGET_IN : 0);
		break;
	case CON_TARGET_PTY:
		fds |= 1 << FD_console_TARGET_OUT | 1 << FD_console_TARGET_IN | 1 << FD_console_LISTEN;
		break;
	case CON_TARGET_LISTEN:
		fds |= 1 << FD_console_TARGET_OUT | 1 << FD_console_TARGET_IN | 1 << FD_console_LISTEN |
		       1 << FD_console_CLIENT;
		break;
	}
	want->fds = fds;
	want->nofile = FD_console_CLIENT + 1;
}

static void con_up(struct helper *h, uint32_t detail)
{
	struct con *con = h->owner;

	(void)detail;
	con_serve(con);
	vm_helper_changed(con->mon);
}

static void con_failed(struct helper *h, const struct err *why)
{
	struct con *con = h->owner;

	(void)why;
	con_lose(con);
	vm_helper_changed(con->mon);
}

static void answer_open(struct con *con, uint32_t id)
{
	struct msg_mon_open_console_result res = { 0 };

	if (con->host.kind == CON_TARGET_PTY)
		res.pty = con->host.path;
	(void)link_send(&con->mon->apid_link, MSG_MON_OPEN_CONSOLE_RESULT, id, &desc_msg_mon_open_console_result, &res,
			NULL, 0);
}

static void finish_close(struct con *con)
{
	close_host(con);
	fd_closep(&con->ring_fd);
	fd_closep(&con->stream_helper);
	fd_closep(&con->stream_vmmd);
	freep(&con->path);
	con->state = CON_CLOSED;
	end_part_closed(con->mon);
	if (!con->reopen)
		return;
	con->reopen = false;
	struct err e;
	int r = open_now(con, con->reopen_mode, con->reopen_path, &e);
	freep(&con->reopen_path);
	if (r < 0)
		monitor_answer(con->mon, con->reopen_id, r, &e);
	else
		answer_open(con, con->reopen_id);
}

static void con_stopped(struct helper *h)
{
	struct con *con = h->owner;

	if (con->state == CON_CLOSING)
		finish_close(con);
}

static const struct helper_ops console_helper_ops = { .configure = con_configure, .expect = con_expect, .up = con_up,
						      .failed = con_failed, .stopped = con_stopped };

/* --- open and shut ---------------------------------------------------------------------------------------------- */

void con_init(struct con *con, struct monitor *mon, enum console_id which)
{
	*con = (struct con){ .mon = mon, .which = which, .state = CON_CLOSED, .host = CON_HOST_NONE, .ring_fd = -1,
			     .stream_helper = -1, .stream_vmmd = -1 };
	helper_init(&con->helper, mon, &console_kind, &console_helper_ops, con);
}

static int make_stream(struct con *con, struct err *e)
{
	int pair[2];
	int r = fd_socketpair(SOCK_STREAM, pair);

	if (r < 0)
		return err_sys(e, r, "console stream");
	fd_closep(&con->stream_helper);
	fd_closep(&con->stream_vmmd);
	con->stream_helper = pair[0];
	con->stream_vmmd = pair[1];
	return 0;
}

/* #syscalls monitor: memfd_create ftruncate fcntl(F_ADD_SEALS) */
static int make_ring(struct con *con, struct err *e)
{
	con->ring_fd = memfd_create("console", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (con->ring_fd < 0 || ftruncate(con->ring_fd, CONSOLE_RING_SIZE) < 0 ||
	    fcntl(con->ring_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return err_sys(e, -errno, "console ring");
	return 0;
}

static bool names_a_path(enum console_mode mode)
{
	return mode == CONSOLE_MODE_FILE || mode == CONSOLE_MODE_SOCKET;
}

/* With the null device there is nothing to do for a process: vmmd drops the output. The virtio console's comes at boot. */
static bool needs_helper(const struct con *con)
{
	return con->which == CONSOLE_ID_SERIAL && con->mode != CONSOLE_MODE_NULL;
}

static int prepare(struct con *con, const char *path, struct err *e)
{
	int r = 0;

	if (names_a_path(con->mode)) {
		con->path = strdup(path);
		if (con->path == NULL)
			return err_sys(e, -ENOMEM, "console");
	}
	if (con->which == CONSOLE_ID_VIRTIO || needs_helper(con))
		r = make_ring(con, e);
	if (r == 0 && needs_helper(con))
		r = make_stream(con, e);
	return r;
}

static int open_now(struct con *con, enum console_mode mode, const char *path, struct err *e)
{
	int r = open_host(con, mode, path, e);

	if (r < 0)
		return r;
	con->mode = mode;
	con->state = CON_OPEN;
	con->lost = false;
	con->helper.exe_fd = con->mon->exes[MON_EXE_CONSOLE];
	con->helper.uid_slot = ROLE_console_UID_SLOT;
	r = prepare(con, path, e);
	if (r == 0 && needs_helper(con))
		r = helper_start(&con->helper, e);
	if (r < 0)
		finish_close(con);
	return r;
}

void con_shut(struct con *con, uint32_t drain_ms)
{
	if (!con_is_open(con))
		return;
	con->state = CON_CLOSING;
	/* A device that works on it goes first, and says so. */
	if (con->which == CONSOLE_ID_VIRTIO && dev_console_in_use(con->mon))
		return;
	helper_stop(&con->helper, drain_ms);
}

void con_dev_gone(struct con *con)
{
	if (con->state == CON_CLOSING)
		finish_close(con);
}

void con_kill(struct con *con)
{
	spawn_kill(&con->helper.child);
	close_host(con);
}

void con_renew_stream(struct con *con)
{
	struct err e;

	if (!con_is_open(con) || con->stream_helper < 0 || con->stream_vmmd >= 0)
		return;
	if (make_stream(con, &e) == 0)
		helper_renew(&con->helper);
}

static bool is_same(const struct con *con, enum console_mode mode, const char *path)
{
	if (!con_is_open(con) || con->lost || con->mode != mode)
		return false;
	return !names_a_path(mode) || (path != NULL && strcmp(con->path, path) == 0);
}

static struct con *con_of(struct monitor *mon, enum console_id which, struct err *e)
{
	if ((unsigned)which < MON_CONSOLES)
		return &mon->consoles[which];
	(void)err_set(e, -EINVAL, "no such console");
	return NULL;
}

int op_open_console(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_open_console *o = msg;
	struct monitor *mon = ctx;
	struct con *con = con_of(mon, o->which, e);

	if (con == NULL)
		return -EINVAL;
	if (con->reopen)
		return err_set(e, -EBUSY, "the console is being opened");
	if (is_same(con, o->mode, o->path)) {
		answer_open(con, m->id);
		return 0;
	}
	if (con->state == CON_CLOSED) {
		int r = open_now(con, o->mode, o->path, e);

		if (r == 0)
			answer_open(con, m->id);
		return r;
	}
	if (o->path != NULL && (con->reopen_path = strdup(o->path)) == NULL)
		return err_sys(e, -ENOMEM, "console");
	con->reopen = true;
	con->reopen_id = m->id;
	con->reopen_mode = o->mode;
	con_shut(con, 0);
	return -EINPROGRESS;
}

int op_close_console(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_close_console *c = msg;
	struct con *con = con_of(ctx, c->which, e);

	(void)m;
	if (con == NULL)
		return -EINVAL;
	con_shut(con, 0);
	return 0;
}
