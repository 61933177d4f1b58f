/* SPDX-License-Identifier: ISC */
/*
 * Consoles. What must outlive a cloister-console process is kept here: the ring with the guest's output, the end of the
 * stream to vmmd, the target's descriptors. A helper that dies is followed by one that gets the same, as soon as its
 * predecessor's pidfd is readable: then no read or write of it can be in flight.
 *
 *	CLOSED ── open ──► BLANK ── hello ──► LOCKING ── ready, verified ──► UP
 *	                     ▲                                              │ death (also of BLANK, LOCKING)
 *	                     └───────── delay ──────── WAITING ◄────────────┤
 *	                                               FAILED  ◄────────────┘ breaker
 *	any ── shut ──► DRAINING ──► DYING ──► CLOSED
 */
#include "jail/monitor_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "devices/console/console_ring.h"
#include "jail/jail_internal.h"
#include "jail/monitor_ops.h"
#include "jail/policy/roles.h"
#include "jail/verify.h"

enum {
	HELPER_VERSION = 1,
	READY_TIMEOUT_MS = 5000,
	DRAIN_GRACE_MS = 200, /* beyond what the helper was given */
};

static void start_helper(struct con *con);
static int open_now(struct con *con, enum console_mode mode, const char *path, struct err *e);

bool con_is_open(const struct con *con)
{
	return (con->state & (CON_CLOSED | CON_DRAINING | CON_DYING)) == 0;
}

/* --- end of a helper ------------------------------------------------------------------------------------------------- */

static void forget_helper(struct con *con)
{
	link_close(&con->link);
	if (con->on_child != NULL)
		event_free(con->on_child);
	con->on_child = NULL;
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
	con_close(&con->host);
	fd_closep(&con->ring_fd);
	fd_closep(&con->stream_helper);
	fd_closep(&con->stream_vmmd);
	freep(&con->path);
	con->state = CON_CLOSED;
	con->renewing = false;
	end_console_closed(con->mon);
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

static void helper_failed(struct con *con, const char *why)
{
	log_error("cloister-console %s and is not started again", why);
	con->state = CON_FAILED;
	/* Nothing will be shown any more: give the terminal back now, not when the VM ends. */
	con_close(&con->host);
	vm_console_changed(con->mon);
}

static void helper_crashed(struct con *con, struct spawn_exit x, const char *failure)
{
	char why[600];

	if (x.code == SPAWN_EXIT_FAILED && failure[0] != '\0')
		(void)snprintf(why, sizeof(why), "did not start (%s)", failure);
	else if (x.signal != 0)
		(void)snprintf(why, sizeof(why), "was killed by signal %d (%s)", x.signal, strsignal(x.signal));
	else
		(void)snprintf(why, sizeof(why), "exited with status %d", x.code);
	int delay = breaker_crash(&con->breaker, clock_mono_ms(), x.signal);
	if (delay < 0) {
		helper_failed(con, why);
		return;
	}
	log_warn("cloister-console %s, the next one starts in %d ms", why, delay);
	con->state = CON_WAITING;
	if (delay == 0)
		start_helper(con);
	else
		monitor_after(con->on_timer, (uint32_t)delay);
}

static void on_child_dead(evutil_socket_t fd, short what, void *arg)
{
	struct con *con = arg;

	(void)fd;
	(void)what;
	/* READY or DRAINED may still be on the way; handling them can change the state, not bring it back. */
	if (link_is_open(&con->link))
		link_drain(&con->link);
	forget_helper(con);
	(void)event_del(con->on_timer);
	struct spawn_exit x = spawn_reap(&con->child);
	if ((con->state & (CON_DRAINING | CON_DYING)) != 0) {
		finish_close(con);
	} else if (con->renewing) {
		con->renewing = false;
		start_helper(con);
	} else {
		helper_crashed(con, x, con->child.failure);
	}
}

/* Its pidfd tells when it is over. */
static void kill_helper(struct con *con)
{
	link_close(&con->link);
	spawn_kill(&con->child);
}

void con_link_gone(struct con *con)
{
	kill_helper(con);
}

/* --- start of a helper ----------------------------------------------------------------------------------------------- */

static void start_failed(struct con *con, const struct err *e)
{
	char text[512];

	(void)err_join(e, text, sizeof(text));
	forget_helper(con);
	if (con->child.pid > 0) {
		spawn_kill(&con->child);
		(void)spawn_reap(&con->child);
	}
	helper_crashed(con, (struct spawn_exit){ .code = SPAWN_EXIT_FAILED }, text);
}

/* Spawn: a blank process with a channel and the log. */
static int spawn_blank(struct con *con, struct err *e)
{
	struct monitor *mon = con->mon;
	char name[] = "cloister-console";
	char *argv[] = { name, NULL };
	int pair[2];
	int r = fd_socketpair(SOCK_SEQPACKET, pair);

	if (r < 0)
		return err_sys(e, r, "control channel");
	struct spawn_req req = {
		.role = JAIL_CONSOLE,
		.exe_fd = mon->exe_console,
		.argv = argv,
		.id = monitor_uid(mon, ROLE_console_UID_SLOT + (int)con->which),
		.ns = mon->ns,
		.ns_rx = -1,
		.null_fd = mon->null_fd,
		.fds = { pair[0], mon->log_write },
		.n_fds = 2,
		.peer_fd = pair[1],
	};
	r = spawn_start(&req, &con->child, e);
	fd_closep(&pair[0]);
	if (r < 0) {
		fd_closep(&pair[1]);
		return r;
	}
	r = link_open(&con->link, mon->base, pair[1], &monitor_helper_ops, con);
	return r < 0 ? err_sys(e, r, "control channel") : 0;
}

static void start_helper(struct con *con)
{
	struct err e;
	int r = spawn_blank(con, &e);

	if (r == 0) {
		link_limit(&con->link, MON_HELPER_PER_SECOND);
		con->on_child = event_new(con->mon->base, con->child.pidfd, EV_READ, on_child_dead, con);
		if (con->on_child == NULL || event_add(con->on_child, NULL) < 0)
			r = err_sys(&e, -ENOMEM, "watching the helper");
	}
	if (r < 0) {
		start_failed(con, &e);
		return;
	}
	con->state = CON_BLANK;
	monitor_after(con->on_timer, READY_TIMEOUT_MS);
}

/* Hand-over: what the process works on, all of it; then it may lock itself. */
int op_hlp_hello(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_hlp_hello *hello = msg;
	struct con *con = ctx;
	struct jail_missing missing = { .perm = hello->missing_perm, .old = hello->missing_old };
	struct msg_con_config cfg = { .target = con->host.kind, .has_input = con->host.has_input,
				      .restore_tty = con->host.is_tty };
	int fds[2 + CON_OPEN_FDS_MAX] = { con->stream_helper, con->ring_fd };

	(void)m;
	if (hello->version != HELPER_VERSION)
		return err_set(e, -EPROTO, "version %u instead of %d", hello->version, HELPER_VERSION);
	spawn_read_report(&con->child);
	missing.perm |= con->child.missing.perm;
	missing.old |= con->child.missing.old;
	monitor_note_missing(con->mon, "cloister-console", missing);
	if (con->host.is_tty) {
		cfg.n_termios = sizeof(con->host.saved);
		cfg.termios = (uint8_t *)&con->host.saved;
	}
	memcpy(fds + 2, con->host.fds, con->host.n_fds * sizeof(int));
	int r = link_send(&con->link, MSG_CON_CONFIG, 0, &desc_msg_con_config, &cfg, fds, 2 + con->host.n_fds);
	if (r == 0)
		r = link_send(&con->link, MSG_HLP_LOCKDOWN, 0, NULL, NULL, NULL, 0);
	if (r < 0)
		return err_sys(e, r, "configuring the console");
	con->state = CON_LOCKING;
	return 0;
}

/* Numbers that the kind of target leaves open (jail/policy/roles.def). */
static uint64_t expected_fds(const struct con_host *host)
{
	uint64_t fds = (1 << (FD_console_STREAM + 1)) - 1;

	switch (host->kind) {
	case CON_TARGET_NULL:
		break;
	case CON_TARGET_FILE:
		fds |= 1 << FD_console_TARGET_OUT;
		break;
	case CON_TARGET_STREAM:
		fds |= 1 << FD_console_TARGET_OUT | (host->has_input ? 1 << FD_console_TARGET_IN : 0);
		break;
	case CON_TARGET_PTY:
		fds |= 1 << FD_console_TARGET_OUT | 1 << FD_console_TARGET_IN | 1 << FD_console_LISTEN;
		break;
	case CON_TARGET_LISTEN:
		fds |= 1 << FD_console_TARGET_OUT | 1 << FD_console_TARGET_IN | 1 << FD_console_LISTEN |
		       1 << FD_console_CLIENT;
		break;
	}
	return fds;
}

/* #syscalls monitor: getuid getgid */
int op_hlp_ready(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct con *con = ctx;
	struct monitor *mon = con->mon;
	struct jail_missing missing = con->child.missing;
	uid_t uid = monitor_uid(mon, ROLE_console_UID_SLOT + (int)con->which);
	bool own = uid != JAIL_UID_KEEP && ((missing.perm | missing.old) >> JAIL_LAYER_UID & 1) == 0;
	/* What the helper says about itself does not count, what its forked beginning and this process met does. */
	struct verify_want want = {
		.uid = own ? uid : getuid(),
		.gid = own ? uid : getgid(),
		.own_uid = own,
		.missing = { missing.perm | mon->missing.perm, missing.old | mon->missing.old },
		.fds = expected_fds(&con->host),
		.nofile = FD_console_CLIENT + 1,
	};

	(void)msg;
	(void)m;
	if (JAIL_SANITIZER)
		want.missing.old |= 1u << JAIL_LAYER_SECCOMP;
	int r = verify_process(con->child.pid, &want, e);
	if (r < 0)
		return err_wrap(e, r, "not locked as it says");
	(void)event_del(con->on_timer);
	if (con_make_raw(&con->host) < 0)
		log_warn("the terminal's settings cannot be changed");
	con->state = CON_UP;
	vm_console_changed(mon);
	return 0;
}

int op_hlp_drained(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_hlp_drained *d = msg;
	struct con *con = ctx;

	(void)m;
	(void)e;
	if (!d->complete)
		log_info("the console's target did not take all of the output");
	con->state = CON_DYING;
	kill_helper(con);
	return 0;
}

static void on_con_timer(evutil_socket_t fd, short what, void *arg)
{
	struct con *con = arg;
	enum con_state before = con->state;

	(void)fd;
	(void)what;
	if (con->state == CON_WAITING) {
		start_helper(con);
		return;
	}
	/* A deadline is believed after one more look: the host may have been suspended. */
	if (link_is_open(&con->link))
		link_drain(&con->link);
	if (con->state != before)
		return;
	if (con->state == CON_DRAINING)
		con->state = CON_DYING;
	else
		log_warn("cloister-console is not ready after %d ms", READY_TIMEOUT_MS);
	kill_helper(con);
}

/* --- open and shut --------------------------------------------------------------------------------------------------- */

void con_init(struct con *con, struct monitor *mon, enum console_id which)
{
	*con = (struct con){ .mon = mon, .which = which, .state = CON_CLOSED, .host = CON_HOST_NONE, .ring_fd = -1,
			     .stream_helper = -1, .stream_vmmd = -1, .child = SPAWN_CHILD_NONE };
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

static int open_now(struct con *con, enum console_mode mode, const char *path, struct err *e)
{
	int r = con_open(&con->host, mode, path, e);

	if (r < 0)
		return r;
	con->mode = mode;
	con->breaker = (struct breaker){ 0 };
	if (names_a_path(mode)) {
		con->path = strdup(path);
		if (con->path == NULL)
			r = err_sys(e, -ENOMEM, "console");
	}
	/* With the null device there is nothing to do for a process: vmmd drops the output. */
	if (r == 0 && mode == CONSOLE_MODE_NULL) {
		con->state = CON_UP;
		return 0;
	}
	if (con->on_timer == NULL)
		con->on_timer = event_new(con->mon->base, -1, 0, on_con_timer, con);
	if (r == 0 && con->on_timer == NULL)
		r = err_sys(e, -ENOMEM, "console");
	if (r == 0)
		r = make_ring(con, e);
	if (r == 0)
		r = make_stream(con, e);
	if (r < 0) {
		finish_close(con);
		return r;
	}
	start_helper(con);
	return 0;
}

void con_shut(struct con *con, uint32_t drain_ms)
{
	struct msg_hlp_drain d = { .timeout_ms = drain_ms };

	if (!con_is_open(con))
		return;
	if (con->child.pid <= 0) {
		finish_close(con);
		return;
	}
	if (con->state == CON_UP && drain_ms > 0 &&
	    link_send(&con->link, MSG_HLP_DRAIN, 0, &desc_msg_hlp_drain, &d, NULL, 0) == 0) {
		con->state = CON_DRAINING;
		monitor_after(con->on_timer, drain_ms + DRAIN_GRACE_MS);
		return;
	}
	con->state = CON_DYING;
	kill_helper(con);
}

void con_kill(struct con *con)
{
	spawn_kill(&con->child);
	con_close(&con->host);
}

void con_renew_stream(struct con *con)
{
	struct err e;

	if (!con_is_open(con) || con->stream_helper < 0 || con->stream_vmmd >= 0)
		return;
	if (make_stream(con, &e) < 0 || con->child.pid <= 0)
		return; /* a successor gets the new one anyway */
	con->renewing = true;
	con->state = CON_WAITING;
	(void)event_del(con->on_timer);
	kill_helper(con);
}

static bool is_same(const struct con *con, enum console_mode mode, const char *path)
{
	if (!con_is_open(con) || con->state == CON_FAILED || con->mode != mode)
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
