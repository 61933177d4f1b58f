/* SPDX-License-Identifier: ISC */
/*
 * cloister-tap, once for each network device with taps: it has the right over the host's network that nobody else who
 * parses a name has, does its work before a guest is there, and ends.
 */
#include "jail/monitor_dev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "jail/jail_internal.h"
#include "jail/monitor_ops.h"

enum { TAP_MS = 10000, CONFIG_FDS_MAX = DEV_TAPS_MAX };
#define TUN_CONTROL "/dev/net/tun"

struct tap_job {
	struct dev *dev; /* ends after this */
	struct monitor *mon;
	struct spawn_child child;
	struct link link;
	struct event *on_child, *on_timer;
	uint32_t fork_no;
	bool said_hello, answered, ok;
	struct err why;
};

/* --- end -------------------------------------------------------------------------------------------------------- */

static void job_free(struct tap_job *j)
{
	link_close(&j->link);
	if (j->on_child != NULL)
		event_free(j->on_child);
	if (j->on_timer != NULL)
		event_free(j->on_timer);
	free(j);
}

static void say_how_it_ended(struct tap_job *j, struct spawn_exit x)
{
	if (j->answered)
		return;
	if (x.code == SPAWN_EXIT_FAILED && j->child.failure[0] != '\0')
		(void)err_set(&j->why, -ECHILD, "cloister-tap did not start (%s)", j->child.failure);
	else if (x.signal != 0)
		(void)err_set(&j->why, -ECHILD, "cloister-tap was killed by signal %d (%s)", x.signal, strsignal(x.signal));
	else
		(void)err_set(&j->why, -ECHILD, "cloister-tap exited with status %d and no answer", x.code);
	log_error("%s", err_text(&j->why, 0));
}

static void on_child_dead(evutil_socket_t fd, short what, void *arg)
{
	struct tap_job *j = arg;
	struct dev *d = j->dev;

	(void)fd;
	(void)what;
	if (link_is_open(&j->link))
		link_drain(&j->link);
	say_how_it_ended(j, spawn_reap(&j->child));
	d->net.job = NULL;
	if (d->closing)
		dev_ended(d);
	else if (j->ok)
		dev_opened(d);
	else
		dev_fail(d, &j->why);
	struct monitor *mon = j->mon;
	job_free(j);
	monitor_sweep(mon);
}

uint32_t tap_fork_no(const struct tap_job *j)
{
	return j == NULL || j->said_hello ? UINT32_MAX : j->fork_no;
}

static void end_process(struct tap_job *j)
{
	link_close(&j->link);
	spawn_kill(&j->child);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct tap_job *j = arg;

	(void)fd;
	(void)what;
	/* Believed after one more look. */
	if (link_is_open(&j->link))
		link_drain(&j->link);
	if (!j->answered) {
		(void)err_set(&j->why, -ETIMEDOUT, "cloister-tap has not answered for %d s", TAP_MS / 1000);
		j->answered = true;
	}
	end_process(j);
}

void tap_cancel(struct dev *d)
{
	if (d->net.job != NULL)
		end_process(d->net.job);
}

/* --- what it says ----------------------------------------------------------------------------------------------- */

int op_tap_hello(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct tap_job *j = ctx;

	(void)msg;
	(void)m;
	(void)e;
	spawn_read_report(&j->child);
	j->said_hello = true;
	monitor_sweep(j->mon);
	/* It shares the host's network by design, and lives for a moment: what else it lacks is no news. */
	return 0;
}

int op_tap_result(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_tap_result *res = msg;
	struct tap_job *j = ctx;
	struct dev_net *net = &j->dev->net;

	if (j->answered || m->nfds != j->dev->net.n_pairs)
		return err_set(e, -EPROTO, "an answer with %u taps", m->nfds);
	for (unsigned i = 0; i < m->nfds; i++)
		net->taps[net->n_taps++] = fd_take(&m->fds[i]);
	net->mtu = res->mtu;
	j->answered = j->ok = true;
	log_info("net \"%s\": tap \"%s\"%s", dev_label(j->dev), res->name, res->made ? ", made for it" : "");
	spawn_kill(&j->child);
	return 0;
}

int op_tap_refusal(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_result *res = msg;
	struct tap_job *j = ctx;

	(void)m;
	if (j->answered || res->code >= 0)
		return err_set(e, -EPROTO, "a result that is no refusal");
	msg_result_err(res, &j->why);
	j->answered = true;
	spawn_kill(&j->child);
	return 0;
}

void tap_broken(struct tap_job *j)
{
	end_process(j);
}

/* --- start ------------------------------------------------------------------------------------------------------ */

/* It opens nothing by name: in its root there is nothing.
 * #syscalls monitor: openat
 */
static int open_control(int *fds, unsigned n, struct err *e)
{
	for (unsigned i = 0; i < n; i++) {
		fds[i] = open(TUN_CONTROL, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (fds[i] >= 0)
			continue;
		int r = -errno;
		fd_close_all(fds, i);
		if (r == -ENOENT || r == -ENXIO || r == -ENODEV)
			return err_set(e, r, "this host has no taps: cannot open \"" TUN_CONTROL "\": %s", strerror(-r));
		return err_sys(e, r, "cannot open \"" TUN_CONTROL "\"");
	}
	return 0;
}

static int send_config(struct tap_job *j, const struct msg_tap_config *ask, const int *given, struct err *e)
{
	int fds[CONFIG_FDS_MAX], r = 0;

	if (ask->n_fds == 0)
		r = open_control(fds, ask->n_pairs, e);
	if (r < 0)
		return r;
	r = link_send(&j->link, MSG_TAP_CONFIG, 1, &desc_msg_tap_config, ask, ask->n_fds == 0 ? fds : given, ask->n_pairs);
	if (ask->n_fds == 0)
		fd_close_all(fds, ask->n_pairs);
	return r < 0 ? err_sys(e, r, "asking cloister-tap") : 0;
}

static int spawn(struct tap_job *j, struct err *e)
{
	struct monitor *mon = j->mon;
	char name[] = "cloister-tap";
	char *argv[] = { name, NULL };
	int pair[2];
	int r = fd_socketpair(SOCK_SEQPACKET, pair);

	if (r < 0)
		return err_sys(e, r, "control channel");
	struct spawn_req req = {
		.role = JAIL_TAP,
		.exe_fd = mon->exes[MON_EXE_TAP],
		.argv = argv,
		.id = JAIL_UID_KEEP,
		.ns = mon->ns,
		.host_net = true,
		.ns_rx = -1,
		.null_fd = mon->null_fd,
		.fds = { pair[0], mon->log_write },
		.n_fds = 2,
		.peer_fd = pair[1],
	};
	r = spawn_start(&req, &j->child, e);
	fd_closep(&pair[0]);
	if (r < 0) {
		fd_closep(&pair[1]);
		return r;
	}
	j->fork_no = ++mon->forks;
	r = link_open(&j->link, mon->base, pair[1], &monitor_tap_ops, j);
	return r < 0 ? err_sys(e, r, "control channel") : 0;
}

static int watch(struct tap_job *j, struct err *e)
{
	j->on_child = event_new(j->mon->base, j->child.pidfd, EV_READ, on_child_dead, j);
	j->on_timer = event_new(j->mon->base, -1, 0, on_timer, j);
	if (j->on_child == NULL || j->on_timer == NULL || event_add(j->on_child, NULL) < 0)
		return err_sys(e, -ENOMEM, "watching cloister-tap");
	link_limit(&j->link, MON_HELPER_PER_SECOND);
	monitor_after(j->on_timer, TAP_MS);
	return 0;
}

int tap_begin(struct dev *d, const struct msg_tap_config *ask, const int *given, struct err *e)
{
	struct tap_job *j = calloc(1, sizeof(*j));
	int r;

	if (j == NULL)
		return err_sys(e, -ENOMEM, "asking cloister-tap");
	*j = (struct tap_job){ .dev = d, .mon = d->mon, .child = SPAWN_CHILD_NONE };
	r = spawn(j, e);
	if (r == 0)
		r = watch(j, e);
	if (r == 0)
		r = send_config(j, ask, given, e);
	if (r == 0) {
		d->net.job = j;
		return 0;
	}
	if (j->child.pid > 0) {
		spawn_kill(&j->child);
		(void)spawn_reap(&j->child);
	}
	job_free(j);
	return r;
}
