/* SPDX-License-Identifier: ISC */
/*
 * apid may die at any time and nothing that it held is lost: the listening socket (connections wait in it), a duplicate
 * of each accepted connection, the page with each connection's state, and the log socket are all the monitor's. A
 * successor comes when the predecessor's pidfd is readable, never before.
 */
#include "jail/monitor_dev.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "jail/monitor_adopt.h"
#include "jail/monitor_ops.h"
#include "jail/policy/roles.h"
#include "jail/programs.h"

enum {
	STATE_PAGE_BYTES = 4096,
	TEXT_TIMEOUT_MS = 2000, /* stdout may be a pipe that nobody reads */
};

static void on_apid_timer(evutil_socket_t fd, short what, void *arg);

/* --- start ------------------------------------------------------------------------------------------------------- */

/* #syscalls monitor: memfd_create ftruncate fcntl(F_ADD_SEALS) */
static int make_state_page(struct monitor *mon)
{
	if (mon->state_page >= 0)
		return 0;
	mon->state_page = memfd_create("connections", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (mon->state_page < 0 || ftruncate(mon->state_page, STATE_PAGE_BYTES) < 0 ||
	    fcntl(mon->state_page, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return 0;
}

/* The command channel goes to vmmd at once and waits there; the other end to apid with its start. */
static int make_command_channel(struct monitor *mon, struct err *e)
{
	int pair[2];
	int r = fd_socketpair(SOCK_SEQPACKET, pair);

	if (r < 0)
		return err_sys(e, r, "command channel");
	r = link_send(&mon->vmmd, MSG_MON_ATTACH_APID, 0, NULL, NULL, &pair[0], 1);
	fd_closep(&pair[0]);
	if (r < 0) {
		fd_closep(&pair[1]);
		return err_sys(e, r, "command channel to vmmd");
	}
	mon->command_fd = pair[1];
	return 0;
}

static int send_start(struct monitor *mon)
{
	int fds[5 + MON_CONNS_MAX];
	uint32_t slots[MON_CONNS_MAX];
	unsigned n = 0, kept = 0;
	struct msg_apid_start m = {
		.vmmd_pid = mon->start.vmmd_pid,
		.start_mono_ns = mon->start.start_mono_ns,
		.verbosity = mon->start.verbosity,
		.successor = mon->phase != MON_STARTING,
		.has_listen = mon->api.listen_fd >= 0,
	};

	fds[n++] = mon->command_fd;
	fds[n++] = mon->log_read;
	fds[n++] = mon->log_out;
	fds[n++] = mon->state_page;
	if (m.has_listen)
		fds[n++] = mon->api.listen_fd;
	for (uint32_t i = 0; i < MON_CONNS_MAX; i++) {
		if (mon->conns[i] < 0)
			continue;
		slots[kept++] = i;
		fds[n++] = mon->conns[i];
	}
	m.n_conn_slots = kept;
	m.conn_slots = slots;
	int r = link_send(&mon->apid_link, MSG_APID_START, 0, &desc_msg_apid_start, &m, fds, n);
	fd_closep(&mon->command_fd);
	mon->apid_started = r == 0;
	return r;
}

static void on_apid_dead(evutil_socket_t fd, short what, void *arg);

static int spawn(struct monitor *mon, int apid_end, int our_end, struct err *e)
{
	struct spawn_req req = {
		.role = JAIL_APID,
		.self_jailing = true,
		.exe_fd = mon->exe_apid,
		.id = monitor_uid(mon, ROLE_apid_UID_SLOT),
		.ns = mon->ns,
		.ns_rx = -1,
		.null_fd = mon->null_fd,
		.fds = { apid_end },
		.n_fds = 1,
		.peer_fd = our_end,
	};
	char **argv = calloc((size_t)mon->argc + 2, sizeof(*argv));
	char name[] = "cloister-apid";

	if (argv == NULL)
		return err_sys(e, -ENOMEM, "starting apid");
	argv[0] = name;
	memcpy(argv + 1, mon->argv, (size_t)mon->argc * sizeof(*argv));
	req.argv = argv;
	mon->apid_fork_no = ++mon->forks;
	mon->apid_said_hello = false;
	int r = spawn_start(&req, &mon->apid, e);
	free(argv);
	return r;
}

/* Undo a half-made start; the timer tries again. */
static void drop_apid(struct monitor *mon)
{
	link_close(&mon->apid_link);
	if (mon->on_apid != NULL)
		event_free(mon->on_apid);
	mon->on_apid = NULL;
	fd_closep(&mon->command_fd);
	mon->apid_started = false;
}

/* @channel: our end of the channel to the process that has just been started; taken. */
static int attach(struct monitor *mon, int channel, struct err *e)
{
	int r = link_open(&mon->apid_link, mon->base, channel, &monitor_apid_ops, mon);

	mon->on_apid = event_new(mon->base, mon->apid.pidfd, EV_READ, on_apid_dead, mon);
	if (mon->on_apid_timer == NULL)
		mon->on_apid_timer = event_new(mon->base, -1, 0, on_apid_timer, mon);
	if (r == 0 && mon->on_apid != NULL && mon->on_apid_timer != NULL && event_add(mon->on_apid, NULL) == 0) {
		link_limit(&mon->apid_link, MON_APID_PER_SECOND);
		r = make_state_page(mon);
		r = r < 0 ? err_sys(e, r, "state page") : make_command_channel(mon, e);
	} else {
		r = err_sys(e, -ENOMEM, "channel to apid");
	}
	if (r < 0) {
		spawn_kill(&mon->apid);
		(void)spawn_reap(&mon->apid);
		drop_apid(mon);
		return r;
	}
	return send_start(mon);
}

int monitor_apid_adopt(struct monitor *mon, const struct monitor_adopt *a, struct err *e)
{
	mon->exe_apid = a->exe;
	mon->apid = a->child;
	return attach(mon, a->channel, e);
}

int monitor_apid_spawn(struct monitor *mon, struct err *e)
{
	int pair[2], r;

	if (mon->exe_apid < 0)
		mon->exe_apid = programs_open(mon->programs, "cloister-apid", e);
	if (mon->exe_apid < 0)
		return mon->exe_apid;
	r = fd_socketpair(SOCK_SEQPACKET, pair);
	if (r < 0)
		return err_sys(e, r, "channel to apid");
	r = spawn(mon, pair[0], pair[1], e);
	fd_closep(&pair[0]);
	if (r == 0)
		return attach(mon, pair[1], e);
	fd_closep(&pair[1]);
	return r;
}

/* --- death and successor ----------------------------------------------------------------------------------------- */

void monitor_apid_kill(struct monitor *mon)
{
	spawn_kill(&mon->apid);
}

/* The channel ends a moment before the process does, or it was closed on purpose: then its life ends too. */
void monitor_apid_gone(struct monitor *mon)
{
	monitor_apid_kill(mon);
}

/* The first apid never came up: nobody has an API or a VM yet, so the whole start has failed. */
static void start_failed(struct monitor *mon, const char *why)
{
	struct err e;

	(void)err_set(&e, -ECHILD, "%s", why);
	(void)err_wrap(&e, -ECHILD, "cannot start cloister-apid");
	end_quit(mon, 1, &e);
}

static void describe(struct spawn_exit x, const char *failure, char *buf, size_t cap)
{
	if (x.code == SPAWN_EXIT_FAILED && failure[0] != '\0')
		(void)snprintf(buf, cap, "%s", failure);
	else if (x.signal != 0)
		(void)snprintf(buf, cap, "killed by signal %d (%s)", x.signal, strsignal(x.signal));
	else
		(void)snprintf(buf, cap, "exited with status %d", x.code);
}

/* Clients must not wait for an answer that will never come. The lock stays: the path is still this instance's. */
static void give_up(struct monitor *mon)
{
	fd_close_all(mon->conns, MON_CONNS_MAX);
	fd_closep(&mon->api.listen_fd);
}

static void on_apid_dead(evutil_socket_t fd, short what, void *arg)
{
	struct monitor *mon = arg;
	char why[600];

	(void)fd;
	(void)what;
	/* Its last words count. */
	link_limit(&mon->apid_link, 0);
	if (link_is_open(&mon->apid_link))
		link_drain(&mon->apid_link);
	drop_apid(mon);
	struct spawn_exit x = spawn_reap(&mon->apid);
	describe(x, mon->apid.failure, why, sizeof(why));
	mon->handover_waits = false;
	dev_release_unused(mon);
	monitor_sweep(mon);
	if (mon->phase == MON_ENDING) {
		end_apid_gone(mon);
		return;
	}
	int delay = breaker_crash(&mon->apid_breaker, clock_mono_ms(), x.signal);
	if (delay < 0 && mon->phase == MON_STARTING) {
		start_failed(mon, why);
		return;
	}
	if (delay < 0 && x.signal == SIGSYS) {
		log_error("apid %s and is not started again: the API is gone, the VM goes on", why);
		give_up(mon);
		return;
	}
	if (delay < 0) {
		/* Without it nobody could even ask for an end: it gets another round, later. */
		mon->apid_breaker = (struct breaker){ 0 };
		delay = BREAKER_WINDOW_MS;
	}
	log_warn("apid %s, next start in %d ms", why, delay);
	monitor_after(mon->on_apid_timer, (uint32_t)delay);
}

static void on_apid_timer(evutil_socket_t fd, short what, void *arg)
{
	struct monitor *mon = arg;
	char text[LOG_MSG_MAX];
	struct err e;

	(void)fd;
	(void)what;
	if (mon->phase == MON_ENDING || mon->apid.pid > 0)
		return;
	if (monitor_apid_spawn(mon, &e) == 0)
		return;
	(void)err_join(&e, text, sizeof(text));
	log_error("apid cannot be started: %s", text);
	monitor_after(mon->on_apid_timer, BREAKER_DELAY_MAX_MS);
}

/* --- what it asks for -------------------------------------------------------------------------------------------- */

int op_apid_hello(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_apid_hello *hello = msg;
	struct monitor *mon = ctx;
	struct jail_missing missing = { .perm = hello->missing_perm, .old = hello->missing_old };

	(void)m;
	(void)e;
	spawn_read_report(&mon->apid);
	mon->apid_said_hello = true;
	monitor_sweep(mon);
	missing.perm |= mon->apid.missing.perm;
	missing.old |= mon->apid.missing.old;
	monitor_note_missing(mon, "cloister-apid", missing);
	return 0;
}

int op_text(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_text *t = msg;

	(void)ctx;
	(void)m;
	(void)e;
	(void)fd_write_all(t->stream == 1 ? STDOUT_FILENO : STDERR_FILENO, t->data, t->n_data, TEXT_TIMEOUT_MS);
	return 0;
}

static int answer_listen(struct monitor *mon, uint32_t id)
{
	struct msg_apid_listen m = { .has_listen = mon->api.listen_fd >= 0 };

	return link_send(&mon->apid_link, MSG_APID_LISTEN, id, &desc_msg_apid_listen, &m, &mon->api.listen_fd,
			 m.has_listen ? 1 : 0);
}

int op_args_ok(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_args_ok *a = msg;
	struct monitor *mon = ctx;
	int r = 0;

	if (mon->phase == MON_SERVING)
		return answer_listen(mon, m->id);
	if (mon->log_error < 0) {
		*e = mon->log_err;
		r = mon->log_error;
	} else if (a->serve_api && mon->start.api_socket == NULL) {
		r = err_set(e, -EINVAL, "no API socket was given");
	} else if (a->serve_api) {
		r = api_socket_open(&mon->api, mon->start.api_socket, e);
	}
	if (r < 0) {
		end_quit(mon, 1, e);
		return -EINPROGRESS; /* there will be no answer */
	}
	mon->phase = MON_SERVING;
	return answer_listen(mon, m->id);
}

int op_keep_conn(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_keep_conn *k = msg;
	struct monitor *mon = ctx;

	if (k->slot >= MON_CONNS_MAX || m->nfds != 1)
		return err_set(e, -EINVAL, "connection slot %u with %u descriptors", k->slot, m->nfds);
	fd_closep(&mon->conns[k->slot]);
	mon->conns[k->slot] = fd_take(&m->fds[0]);
	return 0;
}

int op_drop_conn(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_drop_conn *d = msg;
	struct monitor *mon = ctx;

	(void)m;
	if (d->slot >= MON_CONNS_MAX)
		return err_set(e, -EINVAL, "connection slot %u", d->slot);
	fd_closep(&mon->conns[d->slot]);
	return 0;
}
