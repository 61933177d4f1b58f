/* SPDX-License-Identifier: ISC */
/*
 * The started process. Clients look for vCPU threads, signals, cgroup and exit status at the PID that they
 * exec'ed, so this process becomes vmmd, and its child becomes the monitor:
 *
 *	cloister ──fork──► cloister-monitor      keeps the privilege, the inherited descriptors, the cwd
 *	    │
 *	    └─ jails itself ── execveat ──► cloister-vmmd     argv kept, environment empty
 *
 * Both halves run at the same time: the monitor starts apid while the network namespace and the jail are made here.
 * Nothing but the few options that are needed before jails exist is looked at; apid parses argv, jailed.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"
#include "common/fd.h"
#include "jail/jail.h"
#include "jail/jail_internal.h"
#include "jail/monitor_adopt.h"
#include "jail/programs.h"
#include "jail/spread.h"
#include "jail/uids.h"
#include "proto/chan.h"
#include "proto/msg.h"
#include "proto/opts.h"

enum {
	FD_CHANNEL = 3,  /* vmmd's, after exec */
	FD_LOG = 4,
	FD_EXE = 5,      /* these two end with exec */
	FD_STDERR = 6,
	TURN_TIMEOUT_MS = 2000,
};

struct start {
	struct start_opts opts;
	uint64_t start_mono_ns;
	int parent_death_signal;
	int uid_base; /* -1: keep the uid */
	struct jail_missing missing;
	int uid_lock, programs, vmmd_exe;
	int vmmd_end, monitor_end;   /* channel */
	int log_write, log_read;
	pid_t monitor_pid;
	int ns_tx, ns_rx; /* the VM's namespaces on their way from this process to apid */
	int null_fd;
};

static void __attribute__((noreturn)) fail(int fd, const struct err *e)
{
	char block[ERR_TEXT_MAX + 512];
	size_t n = err_exit_block(e, block, sizeof(block));

	(void)fd_write_all(fd, block, n, 1000);
	_exit(1);
}

/* A descriptor of ours at 0, 1 or 2 would be taken for the client's standard streams. */
static void fill_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	fd_closep(&fd);
}

/* vmmd reads SIGTERM and SIGINT from a signalfd: blocked from here on, none is lost on the way there. */
static void block_signals(void)
{
	sigset_t blocked;

	jail_pre_default_signals();
	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGTERM);
	(void)sigaddset(&blocked, SIGINT);
	(void)sigprocmask(SIG_SETMASK, &blocked, NULL);
}

static void claim_uids(struct start *s)
{
	struct err e;

	s->uid_base = -1;
	if (geteuid() != 0) {
		jail_note(&s->missing, JAIL_LAYER_UID, EPERM);
		return;
	}
	s->uid_base = uids_claim("/run/cloister", &s->uid_lock, &e);
	if (s->uid_base < 0) {
		s->uid_base = -1;
		jail_note(&s->missing, JAIL_LAYER_UID, EPERM);
	}
}

static int prepare(struct start *s, struct err *e)
{
	int pair[2], r;

	s->programs = programs_dir("../libexec/cloister", e);
	if (s->programs < 0)
		return s->programs;
	s->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (s->null_fd < 0)
		return err_sys(e, -errno, "cannot open \"/dev/null\"");
	r = fd_socketpair(SOCK_SEQPACKET, pair);
	if (r < 0)
		return err_sys(e, r, "socketpair");
	s->vmmd_end = pair[0];
	s->monitor_end = pair[1];
	r = fd_socketpair(SOCK_SEQPACKET, pair);
	if (r < 0)
		return err_sys(e, r, "socketpair");
	s->log_write = pair[0];
	s->log_read = pair[1];
	r = fd_socketpair(SOCK_SEQPACKET, pair);
	if (r < 0)
		return err_sys(e, r, "socketpair");
	s->ns_tx = pair[0];
	s->ns_rx = pair[1];
	claim_uids(s);
	return 0;
}

/* --- the child -------------------------------------------------------------------------------------------------- */

/* Clients wait for apid, and its loader takes as long as the monitor's own exec: so it is started before that. What
 * fails here is tried again, and reported, by the monitor. */
static void start_apid(struct start *s, struct monitor_adopt *apid, char *const *argv)
{
	struct err e;
	int pair[2];

	*apid = (struct monitor_adopt){ .channel = -1, .exe = -1, .child = SPAWN_CHILD_NONE };
	apid->exe = programs_open(s->programs, "cloister-apid", &e);
	if (apid->exe < 0 || fd_socketpair(SOCK_SEQPACKET, pair) < 0)
		return;
	struct spawn_req req = {
		.role = JAIL_APID,
		.self_jailing = true,
		.exe_fd = apid->exe,
		.argv = argv,
		.id = s->uid_base >= 0 ? (uid_t)(s->uid_base + UIDS_SLOT_APID) : JAIL_UID_KEEP,
		.ns = { .net = -1, .mnt = -1 },
		.ns_rx = s->ns_rx,
		.null_fd = s->null_fd,
		.fds = { pair[0] },
		.n_fds = 1,
		.peer_fd = pair[1],
	};
	if (spawn_start(&req, &apid->child, &e) == 0)
		apid->channel = fd_take(&pair[1]);
	fd_closep(&pair[0]);
	fd_closep(&pair[1]);
}

/* "cloister-monitor", what it takes over, the original argv. The descriptors among it survive its exec. */
static void __attribute__((noreturn)) become_monitor(struct start *s, int argc, char *const *argv)
{
	const char **args = calloc((size_t)argc + 3, sizeof(*args));
	char *const no_env[] = { NULL };
	struct monitor_adopt apid;
	char words[MONITOR_ADOPT_MAX];
	struct err e;

	err_clear(&e);
	jail_pre_ignore_signals();
	(void)setsid();
	(void)umask(077);
	if (args == NULL) {
		(void)err_sys(&e, -ENOMEM, "cannot start the monitor");
		fail(STDERR_FILENO, &e);
	}
	memcpy(args + 2, argv, (size_t)argc * sizeof(*args));
	args[1] = "cloister-apid";
	start_apid(s, &apid, (char *const *)(uintptr_t)(args + 1));
	/* With a processor to spare this exec runs beside apid's; else apid comes first, as it takes longer. */
	if (spread_width() <= 2)
		(void)fd_wait(s->monitor_end, POLLIN, TURN_TIMEOUT_MS);
	args[0] = "cloister-monitor";
	args[1] = words;
	monitor_adopt_write(&apid, s->monitor_end, words, sizeof(words));
	int exe = programs_open(s->programs, "cloister-monitor", &e);
	if (exe >= 0) {
		(void)syscall(SYS_execveat, exe, "", (char *const *)(uintptr_t)args, no_env, AT_EMPTY_PATH);
		(void)err_sys(&e, -errno, "cannot run \"cloister-monitor\"");
	}
	fail(STDERR_FILENO, &e);
}

/* --- the parent ------------------------------------------------------------------------------------------------- */

/* Everything moves to its place in vmmd; what the client left open stays with the monitor. */
static int place_fds(struct start *s)
{
	int from[] = { s->null_fd, s->null_fd, s->null_fd, s->vmmd_end, s->log_write, s->vmmd_exe, STDERR_FILENO };
	/* Sent away before exec. */
	int *later[] = { &s->log_read, &s->uid_lock, &s->ns_tx };

	for (size_t i = 0; i < nitems(from); i++) {
		from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 64);
		if (from[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < nitems(later); i++) {
		if (*later[i] < 0)
			continue;
		*later[i] = fcntl(*later[i], F_DUPFD_CLOEXEC, 64);
		if (*later[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < nitems(from); i++)
		if (dup3(from[i], (int)i, i > FD_LOG ? O_CLOEXEC : 0) < 0)
			return -errno;
	return 0;
}

static int send_start(struct start *s, struct chan *c)
{
	struct msg_mon_start m = {
		.vmmd_pid = getpid(),
		.uid_base = s->uid_base,
		.parent_death_signal = s->parent_death_signal,
		.start_mono_ns = s->start_mono_ns,
		.verbosity = (uint8_t)(s->opts.verbosity > 255 ? 255 : s->opts.verbosity),
		.help_or_version = s->opts.help_or_version,
		.missing_perm = s->missing.perm,
		.missing_old = s->missing.old,
	};
	int fds[] = { FD_LOG, s->log_read, s->uid_lock };

	m.api_socket = (char *)(uintptr_t)s->opts.api_socket; /* only read */
	m.log_file = (char *)(uintptr_t)s->opts.log_file;
	int r = chan_send(c, MSG_MON_START, 0, &desc_msg_mon_start, &m, fds, s->uid_lock >= 0 ? 3 : 2);
	fd_closep(&s->log_read);
	return r;
}

/* The VM's processes share the network namespace and the mount namespace with the empty root that are made here: each
 * has nothing in it. apid, which waits for them, gets them directly. */
static int send_namespaces(struct start *s, struct chan *c, const struct spawn_ns *ns)
{
	struct msg_mon_namespaces m = { .has_net = ns->net >= 0, .has_mnt = ns->mnt >= 0 };
	int fds[2];
	unsigned n = 0;

	if (ns->net >= 0)
		fds[n++] = ns->net;
	if (ns->mnt >= 0)
		fds[n++] = ns->mnt;
	/* An apid that is gone is the monitor's business. */
	(void)!spawn_send_namespaces(s->ns_tx, ns);
	int r = send_start(s, c);
	if (r < 0)
		return r;
	return chan_send(c, MSG_MON_NAMESPACES, 0, &desc_msg_mon_namespaces, &m, fds, n);
}

static bool is_missing(const struct start *s, enum jail_layer layer)
{
	return ((s->missing.perm | s->missing.old) >> layer & 1) != 0;
}

static int enter_namespaces(struct start *s, struct chan *c)
{
	struct spawn_ns shared = { .net = -1, .mnt = -1 };
	enum jail_ns_mode mode = jail_ns_mode();
	uint64_t flags = jail_ns_flags(mode) | CLONE_NEWNET, ns = 0;

	if (mode == JAIL_NS_NONE)
		jail_ns_note(flags, EPERM, &s->missing);
	else
		ns = jail_ns_unshare(flags, &s->missing);
	/* Those of an ordinary user hang on its user namespace, which is this process's alone. */
	if (mode == JAIL_NS_PRIVILEGED && (ns & CLONE_NEWNET) != 0)
		shared.net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (mode == JAIL_NS_PRIVILEGED && (ns & CLONE_NEWNS) != 0 && !JAIL_SANITIZER)
		shared.mnt = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	jail_pre_root(ns, &s->missing);
	if (is_missing(s, JAIL_LAYER_ROOT))
		fd_closep(&shared.mnt);
	/* apid is on its way on another processor; this one is the monitor's now, vmmd has time. */
	spread_pull(s->monitor_pid);
	int r = send_namespaces(s, c, &shared);
	spread_release(s->monitor_pid);
	fd_closep(&shared.net);
	fd_closep(&shared.mnt);
	(void)sched_yield();
	return r;
}

static int jail_as_vmmd(struct start *s, struct chan *c, struct err *e)
{
	struct jail_pre drop = {
		.role = JAIL_VMMD,
		.id = s->uid_base >= 0 ? (uid_t)s->uid_base + UIDS_SLOT_VMMD : JAIL_UID_KEEP,
		.parent_death_signal = s->parent_death_signal,
		.alive_fd = -1,
	};
	int r = enter_namespaces(s, c);

	if (r < 0)
		return err_sys(e, r, "the monitor is gone");
	return jail_pre_drop(&drop, &s->missing, e);
}

static void __attribute__((noreturn)) become_vmmd(struct start *s, char *const *argv)
{
	char *const no_env[] = { NULL };
	struct msg_mon_jailed jailed;
	struct chan *c = NULL;
	struct err e;
	int r;

	err_clear(&e);
	(void)umask(077);
	(void)signal(SIGPIPE, SIG_IGN);
	/* Children that are left to it need no waiting: it may be process 1 of a container. */
	(void)signal(SIGCHLD, SIG_IGN);
	s->vmmd_exe = programs_open(s->programs, "cloister-vmmd", &e);
	if (s->vmmd_exe < 0)
		fail(STDERR_FILENO, &e);
	r = place_fds(s);
	if (r < 0) {
		(void)err_sys(&e, r, "placing descriptors");
		fail(STDERR_FILENO, &e);
	}
	c = chan_new(FD_CHANNEL, CHAN_MONITOR_MAX, CHAN_MONITOR_MAX);
	r = c == NULL ? err_sys(&e, -ENOMEM, "channel to the monitor") : jail_as_vmmd(s, c, &e);
	jailed = (struct msg_mon_jailed){ .missing_perm = s->missing.perm, .missing_old = s->missing.old };
	if (r == 0)
		r = chan_send(c, MSG_MON_JAILED, 0, &desc_msg_mon_jailed, &jailed, NULL, 0);
	if (r == -EPIPE)
		_exit(1); /* the other half is gone and has said why */
	if (r == 0) {
		(void)close_range(FD_STDERR + 1, ~0U, 0);
		(void)syscall(SYS_execveat, FD_EXE, "", argv, no_env, AT_EMPTY_PATH);
		(void)err_sys(&e, -errno, "cannot run \"cloister-vmmd\"");
	}
	fail(FD_STDERR, &e);
}

int main(int argc, char **argv)
{
	struct start s = {
		.start_mono_ns = clock_mono_ns(),
		.uid_lock = -1,
		.vmmd_exe = -1,
		.vmmd_end = -1,
		.monitor_end = -1,
		.log_write = -1,
		.log_read = -1,
		.ns_tx = -1,
		.ns_rx = -1,
		.null_fd = -1,
	};
	struct err e;

	(void)prctl(PR_GET_PDEATHSIG, &s.parent_death_signal);
	block_signals();
	fill_standard_fds();
	(void)opts_scan_start(argc, argv, &s.opts);
	if (prepare(&s, &e) < 0)
		fail(STDERR_FILENO, &e);
	pid_t pid = fork();
	if (pid < 0) {
		(void)err_sys(&e, -errno, "cannot start the monitor");
		fail(STDERR_FILENO, &e);
	}
	s.monitor_pid = pid;
	if (pid > 0)
		spread_away(pid);
	if (pid == 0)
		become_monitor(&s, argc, argv);
	become_vmmd(&s, argv);
}
