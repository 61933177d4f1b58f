/* SPDX-License-Identifier: ISC */
/*
 * cloister-monitor: the only process with privilege. It opens, makes, spawns, supervises, reaps; it maps no guest memory
 * and parses no text. Child of the started process (jail/start.c), which has become vmmd.
 *
 * Order: apid was started just before this program was exec'ed, because clients wait for it; start options from the
 * starter; then this process gives up what it does not need itself: capabilities, and every system call that its list
 * of operations (monitor_ops.h) and the making of children do not use. Only then does it read a message from apid.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/str.h"
#include "jail/jail_internal.h"
#include "jail/monitor_adopt.h"
#include "jail/monitor_internal.h"
#include "jail/monitor_ops.h"
#include "jail/open_policy.h"
#include "jail/programs.h"
#include "jail/uids.h"

enum { START_TIMEOUT_MS = 10000 };

#define CAP_BIT(name) (UINT64_C(1) << CAP_##name)
/* Mounts, namespaces and cgroups of jails; their uids; taps and their programs; other users' children; files of other
 * users, as the operator could open them. */
#define CAPS_KEPT \
	(CAP_BIT(SYS_ADMIN) | CAP_BIT(SETUID) | CAP_BIT(SETGID) | CAP_BIT(SETPCAP) | CAP_BIT(NET_ADMIN) | \
	 CAP_BIT(SYS_CHROOT) | CAP_BIT(KILL) | CAP_BIT(CHOWN) | CAP_BIT(BPF) | CAP_BIT(DAC_OVERRIDE))

void monitor_after(struct event *timer, uint32_t ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	(void)event_add(timer, &tv);
}

void monitor_leave(struct monitor *mon)
{
	(void)event_base_loopbreak(mon->base);
}

uid_t monitor_uid(const struct monitor *mon, int slot)
{
	return mon->start.uid_base < 0 ? JAIL_UID_KEEP : (uid_t)(mon->start.uid_base + slot);
}

void monitor_note_missing(struct monitor *mon, const char *who, struct jail_missing m)
{
	for (int i = 0; i < JAIL_LAYER_COUNT; i++) {
		uint32_t bit = UINT32_C(1) << i;

		if (((m.perm | m.old) & bit) == 0 || ((mon->logged.perm | mon->logged.old) & bit) != 0)
			continue;
		if ((m.perm & bit) != 0) {
			mon->logged.perm |= bit;
			log_warn("%s goes without %s: not permitted here", who, jail_layer_name((enum jail_layer)i));
		} else {
			mon->logged.old |= bit;
			log_info("%s goes without %s: this kernel has none", who, jail_layer_name((enum jail_layer)i));
		}
	}
}

/* --- the starter's messages -------------------------------------------------------------------------------------- */

static enum log_level level_of(unsigned verbosity)
{
	return verbosity >= LOG_TRACE - LOG_WARN ? LOG_TRACE : (enum log_level)(LOG_WARN + verbosity);
}

int op_start(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_start *start = msg;
	struct monitor *mon = ctx;

	if (m->nfds != (start->uid_base >= 0 ? 3u : 2u))
		return err_set(e, -EINVAL, "start with %u descriptors", m->nfds);
	int r = obj_copy(&desc_msg_mon_start, &mon->start, start);
	if (r < 0)
		return err_sys(e, r, "start options");
	mon->log_write = fd_take(&m->fds[0]);
	mon->log_read = fd_take(&m->fds[1]);
	if (start->uid_base >= 0)
		mon->uid_lock = fd_take(&m->fds[2]);
	log_open(mon->log_write, "monitor", level_of(start->verbosity));
	mon->missing = (struct jail_missing){ .perm = start->missing_perm, .old = start->missing_old };
	monitor_note_missing(mon, "cloister-vmmd", mon->missing);
	mon->phase = MON_STARTING;
	return 0;
}

int op_namespaces(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_namespaces *n = msg;
	struct monitor *mon = ctx;
	unsigned i = 0;

	if (mon->ns_known || m->nfds != (unsigned)n->has_net + n->has_mnt)
		return err_set(e, -EINVAL, "namespaces with %u descriptors", m->nfds);
	if (n->has_net)
		mon->ns.net = fd_take(&m->fds[i++]);
	if (n->has_mnt)
		mon->ns.mnt = fd_take(&m->fds[i++]);
	mon->ns_known = true;
	/* The starter's child has failed to start apid. */
	if (mon->apid.pid <= 0 && monitor_apid_spawn(mon, e) < 0)
		end_quit(mon, 1, e);
	return 0;
}

int op_jailed(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_jailed *j = msg;
	struct monitor *mon = ctx;

	(void)m;
	(void)e;
	mon->is_starter = false;
	monitor_note_missing(mon, "cloister-vmmd", (struct jail_missing){ .perm = j->missing_perm, .old = j->missing_old });
	return 0;
}

int op_vmm_hello(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_vmm_hello *h = msg;

	(void)m;
	(void)e;
	monitor_note_missing(ctx, "cloister-vmmd", (struct jail_missing){ .perm = h->missing_perm, .old = h->missing_old });
	return 0;
}

/* --- start ------------------------------------------------------------------------------------------------------- */

static void init(struct monitor *mon)
{
	*mon = (struct monitor){
		.phase = MON_INIT, .is_starter = true, .null_fd = -1, .programs = -1, .exe_apid = -1,
		.log_write = -1, .log_read = -1, .log_out = -1, .uid_lock = -1, .ns = { .net = -1, .mnt = -1 },
		.vmmd_pidfd = -1, .apid = SPAWN_CHILD_NONE, .command_fd = -1, .state_page = -1, .api = API_SOCKET_NONE,
		.kernel_fd = -1, .initramfs_fd = -1, .memory_fd = -1,
	};
	mon->start.uid_base = -1;
	memset(mon->conns, -1, sizeof(mon->conns));
	memset(mon->exes, -1, sizeof(mon->exes));
	for (int i = 0; i < MON_CONSOLES; i++)
		con_init(&mon->consoles[i], mon, (enum console_id)i);
}

static int take_start(struct monitor *mon, int fd, struct err *e)
{
	struct chan_msg m;
	int r;

	mon->base = ev_new(EV_BACKEND_EPOLL);
	if (mon->base == NULL)
		return err_sys(e, -ENOMEM, "event loop");
	r = link_open(&mon->vmmd, mon->base, fd, &monitor_vmmd_ops, mon);
	if (r == 0)
		r = chan_recv_timeout(mon->vmmd.chan, &m, START_TIMEOUT_MS);
	if (r <= 0)
		return err_sys(e, r < 0 ? r : -EPIPE, "waiting for the start options");
	r = monitor_take_start(mon, &m, e);
	return r;
}

/* The log is the client's stderr, or the file; when that can't be had the start fails, but a usage error goes first. */
static int open_log(struct monitor *mon, struct err *e)
{
	if (mon->start.log_file != NULL && !mon->start.help_or_version) {
		mon->log_out = open_policy_log(mon->start.log_file, &mon->log_err);
		if (mon->log_out >= 0)
			return 0;
		mon->log_error = mon->log_out;
	}
	mon->log_out = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	return mon->log_out < 0 ? err_sys(e, -errno, "standard error") : 0;
}

static void on_vmmd_dead(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	end_vmmd_gone(arg);
}

/* It is our parent, so its pid is not used again while this says so. */
static int watch_vmmd(struct monitor *mon, struct err *e)
{
	mon->vmmd_pidfd = (int)syscall(SYS_pidfd_open, mon->start.vmmd_pid, 0);
	if (mon->vmmd_pidfd < 0 || getppid() != mon->start.vmmd_pid)
		return err_sys(e, mon->vmmd_pidfd < 0 ? -errno : -ESRCH, "the started process");
	mon->on_vmmd = event_new(mon->base, mon->vmmd_pidfd, EV_READ, on_vmmd_dead, mon);
	if (mon->on_vmmd == NULL || event_add(mon->on_vmmd, NULL) < 0)
		return err_sys(e, -ENOMEM, "watching the started process");
	return 0;
}

/* Of all the VM's processes this is the last that should go. */
static void avoid_oom_kill(void)
{
	_cleanup_(fd_closep) int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "-900", 4) < 0)
		log_debug("no protection from the out-of-memory killer: %s", strerror(errno));
}

static int lock_self(struct monitor *mon, struct err *e)
{
	static const struct rlimit none;
	struct jail_missing ignored = { 0 };
	int r;

	avoid_oom_kill();
	(void)setrlimit(RLIMIT_CORE, &none);
	/* Without CAP_SETPCAP there is nothing in the set that this process, which runs no other program, could gain. */
	jail_caps_cut_bounding(CAPS_KEPT, jail_caps_have(CAP_SETPCAP) ? &mon->missing : &ignored);
	r = jail_caps_reduce(CAPS_KEPT);
	if (r < 0)
		return err_sys(e, r, "giving up capabilities");
	r = jail_misc_harden(&mon->missing, e);
	if (r == 0)
		r = jail_seccomp_install(JAIL_MONITOR, false, &mon->missing, e);
	monitor_note_missing(mon, "cloister-monitor", mon->missing);
	return r < 0 ? err_wrap(e, r, "locking the monitor") : 0;
}

static int open_programs(struct monitor *mon, struct err *e)
{
	static const char *const names[MON_EXES] = {
		[MON_EXE_CONSOLE] = "cloister-console", [MON_EXE_BLK] = "cloister-blk", [MON_EXE_NET] = "cloister-net",
		[MON_EXE_RNG] = "cloister-rng",		[MON_EXE_TAP] = "cloister-tap",
	};

	for (size_t i = 0; i < MON_EXES; i++) {
		mon->exes[i] = programs_open(mon->programs, names[i], e);
		if (mon->exes[i] < 0)
			return mon->exes[i];
	}
	return 0;
}

static int run(struct monitor *mon, int fd, const struct monitor_adopt *apid, struct err *e)
{
	int r = take_start(mon, fd, e);

	if (r < 0)
		return r;
	mon->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (mon->null_fd < 0)
		return err_sys(e, -errno, "cannot open \"/dev/null\"");
	r = mon->programs = programs_dir(".", e);
	if (r >= 0)
		r = open_log(mon, e);
	if (r == 0)
		r = watch_vmmd(mon, e);
	/* Before apid has its start: with nothing but a version to print it would end the run in success while this
	 * fails. */
	if (r == 0)
		r = open_programs(mon, e);
	if (r == 0 && apid->channel >= 0)
		r = monitor_apid_adopt(mon, apid, e);
	fd_closep(&mon->programs);
	if (r >= 0)
		r = lock_self(mon, e);
	return r < 0 ? r : 0;
}

int main(int argc, char **argv)
{
	static struct monitor mon;
	struct monitor_adopt apid;
	struct err e;
	int fd = -1;

	init(&mon);
	jail_post_exec(argc > 0 ? argv[0] : "cloister-monitor");
	(void)signal(SIGXFSZ, SIG_IGN); /* a memory size beyond the limit is an error of that request */
	fd_raise_limit(); /* for each connection, lifeline and device one or more */
	err_clear(&e);
	if (argc < 3 || monitor_adopt_read(&apid, &fd, argv[1]) < 0) {
		(void)fprintf(stderr, "cloister-monitor is started by cloister\n");
		return 2;
	}
	mon.argc = argc - 2;
	mon.argv = argv + 2;
	if (run(&mon, fd, &apid, &e) < 0) {
		/* Nobody but the starter's other half is there yet; it follows when the channel closes. */
		if (mon.phase == MON_INIT)
			return 1;
		end_quit(&mon, 1, &e);
	}
	(void)event_base_dispatch(mon.base);
	_exit(0);
}
