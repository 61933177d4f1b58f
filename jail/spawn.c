/* SPDX-License-Identifier: ISC */
/*
 * Everything here runs in the monitor (the first time in the starter's child, which is about to become the monitor), or
 * in the new process before exec. That one is under the monitor's filter until it has its own, so the monitor's filter
 * holds what a jail is made of and what a program does before its own filter.
 */
#include "jail/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "jail/jail_internal.h"

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* A record in the pipe from the child; at most two are written. */
struct spawn_report {
	struct jail_missing missing;
	char failure[SPAWN_FAILURE_MAX];
};

/* What the parent knows of the new process's namespaces. */
struct plan {
	uint64_t ns;      /* made by clone() */
	uint64_t unshare; /* still to be made */
	bool may_make;
	int ns_rx;        /* second recipe: where it reads the VM's namespaces */
	uid_t uid;        /* the parent's: in a new user namespace without maps one's own can't be told */
	gid_t gid;
};

/* --- in the child ----------------------------------------------------------------------------------------------- */

/* Descriptors 0 .. 2+n become the given ones, report and program follow close-on-exec, everything else is closed. The
 * sources are first moved out of the way, so that none is overwritten before its turn.
 * #syscalls monitor: fcntl(F_DUPFD) dup3 close_range
 */
static int place_fds(const struct spawn_req *req, int ns_rx, int *report_fd, int *exe_fd)
{
	int from[3 + SPAWN_FDS_MAX + 3];
	int n = 0;

	for (int i = 0; i < 3; i++)
		from[n++] = req->null_fd;
	for (unsigned i = 0; i < req->n_fds; i++) {
		from[n++] = req->fds[i];
		if (i == 0 && ns_rx >= 0)
			from[n++] = ns_rx;
	}
	from[n++] = *report_fd;
	from[n++] = req->exe_fd;
	for (int i = 0; i < n; i++) {
		from[i] = fcntl(from[i], F_DUPFD, 64);
		if (from[i] < 0)
			return -errno;
	}
	for (int i = 0; i < n; i++)
		if (dup3(from[i], i, i >= n - 2 ? O_CLOEXEC : 0) < 0)
			return -errno;
	*report_fd = n - 2;
	*exe_fd = n - 1;
	return close_range((unsigned)n, ~0U, 0) < 0 ? -errno : 0;
}

/* Out of memory kills a helper before it kills vmmd, and apid before a helper.
 * #syscalls monitor: openat write close
 */
static void prefer_oom_kill(enum jail_role role)
{
	const char *score = role == JAIL_APID ? "500" : "300";
	_cleanup_(fd_closep) int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, score, 3) < 0)
		return; /* best effort: it is a preference, not a wall */
}

/* In a user namespace exec takes the capabilities that the program needs to jail itself. */
static int keep_caps_over_exec(uint64_t ns, struct err *e)
{
	int r = 0;

	if ((ns & CLONE_NEWUSER) != 0)
		r = jail_caps_pass_on(UINT64_C(1) << CAP_SYS_ADMIN | UINT64_C(1) << CAP_SETPCAP);
	return r < 0 ? err_sys(e, r, "handing on capabilities") : 0;
}

/* Only what is out of the ordinary is worth a record. The pipe is empty and does not block.
 * #syscalls monitor: write
 */
static void report(int fd, const struct spawn_report *r)
{
	if ((r->missing.perm | r->missing.old) != 0 || r->failure[0] != '\0')
		if (write(fd, r, sizeof(*r)) < 0)
			return; /* the parent learns less, no more */
}

/* One that works on the host's network keeps that; where a user namespace would have to come first, it keeps everything. */
static void enter(const struct spawn_req *req, struct plan *p, struct jail_missing *m)
{
	uint64_t ns = p->ns | CLONE_NEWNET;

	if (!req->host_net)
		jail_pre_enter(req->ns.net, req->ns.mnt, &p->ns, p->may_make, m);
	else if (p->may_make)
		jail_pre_enter(-1, req->ns.mnt, &ns, true, m);
}

/* #syscalls monitor: execveat(arg4=AT_EMPTY_PATH) -- a descriptor, never a name */
static int child_run(const struct spawn_req *req, struct plan *p, struct spawn_report *rep, int *report_fd, struct err *e)
{
	struct jail_pre drop = {
		.role = req->role,
		.id = req->id,
		.keep_caps = req->host_net ? UINT64_C(1) << CAP_NET_ADMIN : 0,
		.parent_death_signal = SIGKILL,
		.alive_fd = 3, /* the channel, once descriptors are placed */
	};
	int exe_fd = -1, r = 0;

	jail_pre_process();
	if (req->self_jailing)
		r = keep_caps_over_exec(p->ns, e);
	else
		enter(req, p, &rep->missing);
	if (r < 0)
		return r;
	r = place_fds(req, p->ns_rx, report_fd, &exe_fd);
	if (r < 0)
		return err_sys(e, r, "placing descriptors");
	if (req->self_jailing)
		jail_limits_base(req->role, &rep->missing);
	else
		r = jail_pre_drop(&drop, &rep->missing, e);
	if (r < 0)
		return r;
	report(*report_fd, rep);
	char *const no_env[] = { NULL };
	(void)syscall(SYS_execveat, exe_fd, "", req->argv, no_env, AT_EMPTY_PATH);
	return err_sys(e, -errno, "cannot run \"%s\"", req->argv[0]);
}

/* #syscalls monitor: prctl(PR_SET_DUMPABLE) */
static void __attribute__((noreturn)) child_main(const struct spawn_req *req, struct plan *p, struct jail_missing missing,
						 int report_fd)
{
	struct spawn_report rep = { .missing = missing };
	struct err e;

	err_clear(&e);
	/* Its files in /proc belong to root while it is not dumpable; exec'ed, it says so again. */
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	prefer_oom_kill(req->role);
	if ((p->ns & CLONE_NEWUSER) != 0) {
		int r = jail_ns_map_self(p->uid, p->gid);

		if (r < 0)
			jail_note(&rep.missing, JAIL_LAYER_USERNS, r);
	}
	if (p->unshare != 0 && !req->self_jailing)
		p->ns |= jail_ns_unshare(p->unshare, &rep.missing);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	(void)child_run(req, p, &rep, &report_fd, &e);
	(void)err_join(&e, rep.failure, sizeof(rep.failure));
	report(report_fd, &rep);
	_exit(SPAWN_EXIT_FAILED);
}

/* --- in the parent ---------------------------------------------------------------------------------------------- */

/* #syscalls monitor: clone */
static pid_t clone_child(uint64_t flags, int *pidfd)
{
	/* As fork(): the same memory, copied; one thread here, so nobody holds a lock. */
	return (pid_t)syscall(SYS_clone, flags | CLONE_PIDFD | SIGCHLD, NULL, pidfd, NULL, NULL);
}

/* As a whole, or without the namespaces, which the child then makes for itself one by one; all but the one for process
 * ids, which only a parent can give. */
static pid_t clone_with_fallback(struct spawn_child *out, struct plan *p)
{
	pid_t pid = clone_child(p->ns, &out->pidfd);

	if (pid >= 0 || p->ns == 0 || errno == EAGAIN || errno == ENOMEM)
		return pid;
	jail_note(&out->missing, JAIL_LAYER_PIDNS, errno);
	p->unshare = p->ns & ~(uint64_t)CLONE_NEWPID;
	p->ns = 0;
	return clone_child(0, &out->pidfd);
}

/* Namespaces that are shared, or may turn out to be, are not made by clone().
 * #syscalls monitor: geteuid getegid
 */
static struct plan make_plan(enum jail_ns_mode mode)
{
	struct plan p = { .may_make = mode != JAIL_NS_NONE, .ns_rx = -1, .uid = geteuid(), .gid = getegid() };

	if (p.may_make)
		p.ns = jail_ns_flags(mode) | CLONE_NEWPID;
	if (mode == JAIL_NS_PRIVILEGED)
		p.ns &= ~(uint64_t)CLONE_NEWNS;
	return p;
}

static int send_setup(const struct spawn_req *req, const struct plan *p)
{
	struct jail_setup s = {
		.magic = JAIL_SETUP_MAGIC,
		.id = req->id,
		.ns = p->ns,
		.unshare = p->unshare,
		.may_make = p->may_make,
	};
	ssize_t n = fd_sendmsg(req->peer_fd, &s, sizeof(s), NULL, 0);

	return n < 0 ? (int)n : 0;
}

/* A pair whose one end the process reads later, with everything in it already. */
static int queue_namespaces(const struct spawn_ns *ns, int *rx)
{
	int pair[2];
	int r = fd_socketpair(SOCK_SEQPACKET, pair);

	if (r < 0)
		return r;
	r = spawn_send_namespaces(pair[1], ns);
	fd_closep(&pair[1]);
	if (r < 0)
		fd_closep(&pair[0]);
	*rx = pair[0];
	return r;
}

/* #syscalls monitor: pipe2 close */
static int start(const struct spawn_req *req, struct plan *plan, struct spawn_child *out)
{
	int pair[2], r;

	if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	pid_t pid = clone_with_fallback(out, plan);
	if (pid == 0)
		child_main(req, plan, out->missing, pair[1]);
	r = -errno;
	fd_closep(&pair[1]);
	if (pid < 0) {
		fd_closep(&pair[0]);
		return r;
	}
	out->pid = pid;
	out->report_fd = pair[0];
	return 0;
}

int spawn_start(const struct spawn_req *req, struct spawn_child *out, struct err *e)
{
	enum jail_ns_mode mode = jail_ns_mode();
	/* In a user namespace there is no right over the host's network. */
	struct plan plan = make_plan(req->host_net && mode == JAIL_NS_USER ? JAIL_NS_NONE : mode);
	_cleanup_(fd_closep) int own_rx = -1;
	int r = 0;

	*out = SPAWN_CHILD_NONE;
	if (mode == JAIL_NS_NONE)
		jail_ns_note(jail_ns_flags(mode) | CLONE_NEWPID | CLONE_NEWNET, EPERM, &out->missing);
	if (req->self_jailing && req->ns_rx < 0)
		r = queue_namespaces(&req->ns, &own_rx);
	if (req->self_jailing)
		plan.ns_rx = req->ns_rx >= 0 ? req->ns_rx : own_rx;
	if (r == 0)
		r = start(req, &plan, out);
	if (r < 0) {
		*out = SPAWN_CHILD_NONE;
		return err_sys(e, r, "cannot start \"%s\"", req->argv[0]);
	}
	/* Without its record it would wait for nothing. */
	if (req->self_jailing && send_setup(req, &plan) < 0)
		spawn_kill(out);
	return 0;
}

int spawn_send_namespaces(int fd, const struct spawn_ns *ns)
{
	struct jail_shared rec = { .magic = JAIL_SHARED_MAGIC, .has_net = ns->net >= 0, .has_mnt = ns->mnt >= 0 };
	int fds[2];
	unsigned n = 0;

	if (ns->net >= 0)
		fds[n++] = ns->net;
	if (ns->mnt >= 0)
		fds[n++] = ns->mnt;
	ssize_t r = fd_sendmsg(fd, &rec, sizeof(rec), fds, n);
	return r < 0 ? (int)r : 0;
}

/* #syscalls monitor: read */
void spawn_read_report(struct spawn_child *c)
{
	struct spawn_report r;

	while (c->report_fd >= 0 && read(c->report_fd, &r, sizeof(r)) == (ssize_t)sizeof(r)) {
		c->missing.perm |= r.missing.perm;
		c->missing.old |= r.missing.old;
		r.failure[sizeof(r.failure) - 1] = '\0';
		memcpy(c->failure, r.failure, sizeof(c->failure));
	}
}

/* #syscalls monitor: pidfd_send_signal(arg1=SIGKILL) */
void spawn_kill(const struct spawn_child *c)
{
	if (c->pid > 0)
		(void)syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
}

/* #syscalls monitor: waitid(P_PIDFD) close */
struct spawn_exit spawn_reap(struct spawn_child *c)
{
	struct spawn_exit x = { .code = -1 };
	siginfo_t si = { 0 };
	int r;

	spawn_read_report(c);
	do
		r = waitid((idtype_t)P_PIDFD, (id_t)c->pidfd, &si, WEXITED);
	while (r < 0 && errno == EINTR);
	if (r == 0 && si.si_code == CLD_EXITED)
		x.code = si.si_status;
	else if (r == 0)
		x.signal = si.si_status;
	fd_closep(&c->pidfd);
	fd_closep(&c->report_fd);
	c->pid = 0;
	c->missing = (struct jail_missing){ 0 };
	return x;
}
