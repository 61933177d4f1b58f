/* SPDX-License-Identifier: ISC */
/*
 * cloister-vmmd: the started process, after the starter has jailed it and exec'ed this program in its place.
 *
 * Order of giving up rights. Before exec (jail/): identity, namespaces, root, capabilities, no_new_privs. Here:
 *
 *	1. what exec resets: not dumpable, comm; and signals: SIGTERM, SIGINT and SIGWINCH come by descriptor, SIGPIPE and
 *	   SIGCHLD are nobody's business, all others keep their default
 *	2. everything that is needed for life and can be made without a name: loop, signalfd, eventfd; room for as many
 *	   descriptors as the operator allows. Held from the start: 3 the monitor's channel, 4 the log
 *	3. jail_lock(): Landlock, limits, the control thread's filter. It stays for life, through every boot, reset and
 *	   delete, so it allows making VMs and vCPU threads, but no file, no socket, no process
 *	4. only now the first byte from outside: hello to the monitor, then its descriptors and apid's commands
 *
 * Kept open later, received from the monitor: apid's channel, /dev/kvm (from the first boot on), and for each run of a VM
 * its RAM, kernel, initramfs, serial stream and lifelines. vCPU threads take a second filter (vcpu.c).
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/ev.h"
#include "common/fd.h"
#include "common/log.h"
#include "jail/jail.h"
#include "proto/opts.h"
#include "vmmd/control.h"

enum { FD_MONITOR = 3, FD_LOG = 4 };

/* The descriptor on which SIGTERM, SIGINT and SIGWINCH arrive, or -errno. */
static int take_signals(void)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGCHLD, SIG_IGN); /* the monitor is a child of ours, and may be reaped by nobody */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGWINCH);
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
		return -errno;
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static enum log_level wanted_level(int argc, char **argv)
{
	struct start_opts opts;

	(void)opts_scan_start(argc, argv, &opts);
	return opts.verbosity >= LOG_TRACE - LOG_WARN ? LOG_TRACE : (enum log_level)(LOG_WARN + opts.verbosity);
}

static struct control *set_up(struct event_base *base, struct jail_missing *missing, struct err *e)
{
	static const struct jail_limits limits = {
		.nofile = JAIL_KEEP,
		.fsize = 0,
		.as_bytes = JAIL_KEEP,
		.nproc = JAIL_KEEP,
	};
	int signals = take_signals();

	/* A queue of a device has two, and what finds no room when it comes is lost with the channel that it came on. */
	fd_raise_limit();
	if (signals < 0) {
		(void)err_sys(e, signals, "signals");
		return NULL;
	}
	struct control *ctl = control_new(base, FD_MONITOR, signals, e);

	if (ctl == NULL || jail_lock(JAIL_VMMD, &limits, missing, e) == 0)
		return ctl;
	control_free(ctl);
	return NULL;
}

/*
 * The C library's allocator, from here on and for life.
 *
 * #syscalls vmmd: brk mmap mremap
 */
int main(int argc, char **argv)
{
	struct jail_missing missing = { 0 };
	struct err e = { 0 };
	char text[1024];
	int status = 1;

	jail_post_exec(argc > 0 ? argv[0] : "cloister");
	log_open(FD_LOG, "vmm", wanted_level(argc, argv));
	/* One arena: vCPU threads allocate nothing, and a second would want to know how many processors there are. */
	(void)mallopt(M_ARENA_MAX, 1);

	struct event_base *base = ev_new(EV_BACKEND_EPOLL);
	struct control *ctl = base != NULL ? set_up(base, &missing, &e) : NULL;

	if (ctl != NULL) {
		status = control_run(ctl, missing.perm, missing.old);
		control_free(ctl);
	} else {
		(void)err_join(&e, text, sizeof(text));
		log_error("cannot start: %s", text);
	}
	ev_free(base);
	return status;
}
