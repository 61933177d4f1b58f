/* SPDX-License-Identifier: ISC */
#include "jail/monitor_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/str.h"
#include "jail/jail_internal.h"
#include "jail/monitor_internal.h"
#include "jail/monitor_ops.h"

enum {
	HELPER_VERSION = 1,
	DRAIN_GRACE_MS = 200, /* beyond what the helper was given */
	PEER_LOOK_MS = 4,     /* between two looks whether a dead one's I/O has ended */
};

static void begin(struct helper *h);

void helper_init(struct helper *h, struct monitor *mon, const struct helper_kind *kind, const struct helper_ops *ops,
		 void *owner)
{
	*h = (struct helper){ .mon = mon, .kind = kind, .ops = ops, .owner = owner, .exe_fd = -1, .peer = -1,
			      .state = HELPER_NONE, .child = SPAWN_CHILD_NONE };
	helper_name(h, "");
}

void helper_name(struct helper *h, const char *device)
{
	if (*device == '\0' || !str_fmt(h->name, sizeof(h->name), "%s of \"%s\"", h->kind->program, device))
		(void)str_fmt(h->name, sizeof(h->name), "%s", h->kind->program);
}

bool helper_is_serving(const struct helper *h)
{
	return (h->state & (HELPER_BLANK | HELPER_LOCKING | HELPER_UP | HELPER_WAITING)) != 0;
}

/* --- its end -------------------------------------------------------------------------------------------------- */

static void let_go(struct helper *h)
{
	link_close(&h->link);
	if (h->on_child != NULL)
		event_free(h->on_child);
	h->on_child = NULL;
	fd_closep(&h->peer);
}

/* Its pidfd tells when it is over. */
static void end_process(struct helper *h)
{
	link_close(&h->link);
	spawn_kill(&h->child);
}

static void fail(struct helper *h, const struct err *e)
{
	h->state = HELPER_FAILED;
	h->ops->failed(h, e);
}

static void crashed(struct helper *h, struct spawn_exit x, const char *failure)
{
	char why[600];
	struct err e;

	if (x.code == SPAWN_EXIT_FAILED && failure[0] != '\0')
		(void)snprintf(why, sizeof(why), "did not start (%s)", failure);
	else if (x.signal != 0)
		(void)snprintf(why, sizeof(why), "was killed by signal %d (%s)", x.signal, strsignal(x.signal));
	else
		(void)snprintf(why, sizeof(why), "exited with status %d", x.code);
	int delay = breaker_crash(&h->breaker, clock_mono_ms(), x.signal);
	if (delay < 0) {
		log_error("%s %s and is not started again", h->name, why);
		(void)err_set(&e, -EIO, "%s %s and is not started again", h->kind->program, why);
		fail(h, &e);
		return;
	}
	log_warn("%s %s, the next one starts in %d ms", h->name, why, delay);
	h->state = HELPER_WAITING;
	if (h->ops->died != NULL)
		h->ops->died(h, why);
	/* The owner may have ended it. */
	if (h->state != HELPER_WAITING)
		return;
	if (delay == 0)
		begin(h);
	else
		monitor_after(h->on_timer, (uint32_t)delay);
}

static void refused(struct helper *h)
{
	struct err *why = h->refusal;
	char text[LOG_MSG_MAX];

	h->refusal = NULL;
	(void)err_join(why, text, sizeof(text));
	log_info("%s cannot serve: %s", h->name, text);
	fail(h, why);
	free(why);
}

static void stopped(struct helper *h)
{
	h->state = HELPER_NONE;
	h->renewing = false;
	freep(&h->refusal);
	(void)event_del(h->on_timer);
	h->ops->stopped(h);
}

/* What a disk's helper gave a device to do (io_uring with direct I/O) goes on when the process is gone: 60 ms were
 * seen, on slow storage it is more. It holds the helper's end of the control socket for that reason, so the socket
 * hangs up behind the last of it. Before that nobody may work on the image, nor believe that guest memory is at
 * rest.
 * #syscalls monitor: poll
 */
static bool is_over(const struct helper *h)
{
	struct pollfd p = { .fd = h->peer };

	return h->peer < 0 || poll(&p, 1, 0) != 0;
}

static void on_child_dead(evutil_socket_t fd, short what, void *arg)
{
	struct helper *h = arg;
	struct monitor *mon = h->mon; /* outlives it */

	(void)fd;
	(void)what;
	if (!is_over(h)) {
		monitor_after(h->on_peer, PEER_LOOK_MS);
		return;
	}
	/* READY, DRAINED or a refusal may still be on the way; handling them can change the state, not bring it back. */
	if (link_is_open(&h->link))
		link_drain(&h->link);
	let_go(h);
	(void)event_del(h->on_timer);
	struct spawn_exit x = spawn_reap(&h->child);
	if ((h->state & (HELPER_DRAINING | HELPER_DYING)) != 0) {
		stopped(h);
	} else if (h->refusal != NULL) {
		refused(h);
	} else if (h->renewing) {
		h->renewing = false;
		begin(h);
	} else {
		crashed(h, x, h->child.failure);
	}
	monitor_sweep(mon);
}

/* --- its start ------------------------------------------------------------------------------------------------ */

/* A blank process with a channel and the log. */
static int spawn_blank(struct helper *h, struct err *e)
{
	struct monitor *mon = h->mon;
	char name[32], word[16];
	char *argv[] = { name, h->kind->word != NULL ? word : NULL, NULL };
	int pair[2];
	int r = fd_socketpair(SOCK_SEQPACKET, pair);

	if (r < 0)
		return err_sys(e, r, "control channel");
	fd_closep(&h->peer);
	h->peer = fcntl(pair[1], F_DUPFD_CLOEXEC, 0);
	(void)str_fmt(name, sizeof(name), "%s", h->kind->program);
	(void)str_fmt(word, sizeof(word), "%s", h->kind->word != NULL ? h->kind->word : "");
	struct spawn_req req = {
		.role = h->kind->role,
		.exe_fd = h->exe_fd,
		.argv = argv,
		.id = monitor_uid(mon, h->uid_slot),
		.ns = mon->ns,
		.ns_rx = -1,
		.null_fd = mon->null_fd,
		.fds = { pair[0], mon->log_write },
		.n_fds = 2,
		.peer_fd = pair[1],
	};
	r = spawn_start(&req, &h->child, e);
	fd_closep(&pair[0]);
	if (r < 0) {
		fd_closep(&pair[1]);
		return r;
	}
	r = link_open(&h->link, mon->base, pair[1], &monitor_helper_ops, h);
	h->fork_no = ++mon->forks;
	h->said_hello = false;
	return r < 0 ? err_sys(e, r, "control channel") : 0;
}

static void begin_failed(struct helper *h, const struct err *e)
{
	char text[512];

	(void)err_join(e, text, sizeof(text));
	let_go(h);
	if (h->child.pid > 0) {
		spawn_kill(&h->child);
		(void)spawn_reap(&h->child);
	}
	crashed(h, (struct spawn_exit){ .code = SPAWN_EXIT_FAILED }, text);
}

static void begin(struct helper *h)
{
	struct err e;
	int r = spawn_blank(h, &e);

	if (r == 0) {
		link_limit(&h->link, MON_HELPER_PER_SECOND);
		h->on_child = event_new(h->mon->base, h->child.pidfd, EV_READ, on_child_dead, h);
		if (h->on_child == NULL || event_add(h->on_child, NULL) < 0)
			r = err_sys(&e, -ENOMEM, "watching the process");
	}
	if (r < 0) {
		begin_failed(h, &e);
		return;
	}
	h->state = HELPER_BLANK;
	monitor_after(h->on_timer, h->kind->ready_ms);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct helper *h = arg;
	enum helper_state before = h->state;

	(void)fd;
	(void)what;
	if (h->state == HELPER_WAITING) {
		begin(h);
		return;
	}
	/* A deadline is believed after one more look: the host may have been suspended. */
	if (link_is_open(&h->link))
		link_drain(&h->link);
	if (h->state != before || h->refusal != NULL)
		return;
	if (h->state == HELPER_DRAINING)
		h->state = HELPER_DYING;
	else
		log_warn("%s is not ready after %u ms", h->name, h->kind->ready_ms);
	end_process(h);
}

int helper_start(struct helper *h, struct err *e)
{
	if (h->on_timer == NULL)
		h->on_timer = event_new(h->mon->base, -1, 0, on_timer, h);
	if (h->on_peer == NULL)
		h->on_peer = event_new(h->mon->base, -1, 0, on_child_dead, h);
	if (h->on_timer == NULL || h->on_peer == NULL)
		return err_sys(e, -ENOMEM, "starting %s", h->kind->program);
	h->breaker = (struct breaker){ 0 };
	h->renewing = false;
	begin(h);
	return 0;
}

void helper_renew(struct helper *h)
{
	if (h->child.pid <= 0)
		return; /* a successor gets the new things anyway */
	h->renewing = true;
	h->state = HELPER_WAITING;
	(void)event_del(h->on_timer);
	end_process(h);
}

void helper_stop(struct helper *h, uint32_t drain_ms)
{
	struct msg_hlp_drain d = { .timeout_ms = drain_ms };

	if ((h->state & (HELPER_DRAINING | HELPER_DYING)) != 0)
		return;
	if (h->child.pid <= 0) {
		if (h->on_timer != NULL)
			stopped(h);
		else
			h->ops->stopped(h);
		return;
	}
	if (h->state == HELPER_UP && drain_ms > 0 &&
	    link_send(&h->link, MSG_HLP_DRAIN, 0, &desc_msg_hlp_drain, &d, NULL, 0) == 0) {
		h->state = HELPER_DRAINING;
		monitor_after(h->on_timer, drain_ms + DRAIN_GRACE_MS);
		return;
	}
	h->state = HELPER_DYING;
	end_process(h);
}

void helper_kill(struct helper *h)
{
	end_process(h);
}

void helper_forget(struct helper *h)
{
	let_go(h);
	if (h->on_timer != NULL)
		event_free(h->on_timer);
	if (h->on_peer != NULL)
		event_free(h->on_peer);
	h->on_timer = h->on_peer = NULL;
	freep(&h->refusal);
}

/* --- what it says --------------------------------------------------------------------------------------------- */

/* #syscalls monitor: getuid */
uid_t helper_uid(const struct helper *h, bool *own)
{
	uid_t uid = monitor_uid(h->mon, h->uid_slot);
	const struct jail_missing *m = &h->child.missing;

	*own = uid != JAIL_UID_KEEP && ((m->perm | m->old) >> JAIL_LAYER_UID & 1) == 0;
	return *own ? uid : getuid();
}

/* Hand-over: what the process works on, all of it; then it may lock itself. */
int op_hlp_hello(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_hlp_hello *hello = msg;
	struct helper *h = ctx;
	struct jail_missing missing = { .perm = hello->missing_perm, .old = hello->missing_old };

	(void)m;
	if (hello->version != HELPER_VERSION)
		return err_set(e, -EPROTO, "version %u instead of %d", hello->version, HELPER_VERSION);
	spawn_read_report(&h->child);
	h->said_hello = true;
	monitor_sweep(h->mon);
	missing.perm |= h->child.missing.perm;
	missing.old |= h->child.missing.old;
	monitor_note_missing(h->mon, h->kind->program, missing);
	int r = h->ops->configure(h, e);
	if (r == 0 && (r = link_send(&h->link, MSG_HLP_LOCKDOWN, 0, NULL, NULL, NULL, 0)) < 0)
		(void)err_sys(e, r, "lock-down");
	if (r < 0)
		return err_wrap(e, r, "configuring it");
	h->state = HELPER_LOCKING;
	return 0;
}

/* #syscalls monitor: getgid */
int op_hlp_ready(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_hlp_ready *ready = msg;
	struct helper *h = ctx;
	const struct jail_missing *met = &h->child.missing, *ours = &h->mon->missing;
	/* What the helper says about itself does not count, what its forked beginning and this process met does. */
	struct verify_want want = { .missing = { met->perm | ours->perm, met->old | ours->old }, .threads = 1 };

	(void)m;
	want.uid = helper_uid(h, &want.own_uid);
	want.gid = want.own_uid ? (gid_t)want.uid : getgid();
	h->ops->expect(h, &want);
	if (JAIL_SANITIZER)
		want.missing.old |= 1u << JAIL_LAYER_SECCOMP;
	int r = verify_process(h->child.pid, &want, e);
	if (r == -ESRCH)
		return 0; /* what it dies of counts, so it must not be killed of something else */
	if (r < 0)
		return err_wrap(e, r, "not locked as it says");
	(void)event_del(h->on_timer);
	h->state = HELPER_UP;
	h->ops->up(h, ready->detail);
	return 0;
}

/* It cannot serve, and no successor could. Its end is awaited before anyone hears of it. */
int op_hlp_result(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_result *res = msg;
	struct helper *h = ctx;

	(void)m;
	if (h->refusal != NULL || res->code >= 0)
		return err_set(e, -EPROTO, "a result that is no refusal");
	h->refusal = malloc(sizeof(*h->refusal));
	if (h->refusal == NULL)
		return err_sys(e, -ENOMEM, "a refusal");
	msg_result_err(res, h->refusal);
	spawn_kill(&h->child);
	return 0;
}

int op_hlp_drained(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_hlp_drained *d = msg;
	struct helper *h = ctx;

	(void)m;
	(void)e;
	if (!d->complete)
		log_info("%s: its target did not take all of the output", h->name);
	h->state = HELPER_DYING;
	end_process(h);
	return 0;
}
