/* SPDX-License-Identifier: ISC */
/* The part of a jail that stands before exec; what exec'ed roles link for themselves is in jail.c and jail_self.c. */
#include "jail/jail_internal.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

void jail_pre_default_signals(void)
{
	for (int sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_DFL);
}

/* A stop of the unit signals all its processes at once (and Ctrl-C a whole group): everyone but vmmd ignores that and
 * follows vmmd's orderly end. SIGPIPE and terminal stops are nobody's business. */
void jail_pre_ignore_signals(void)
{
	static const int ignored[] = { SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGTTOU, SIGTTIN, SIGTSTP };
	sigset_t none;

	for (size_t i = 0; i < nitems(ignored); i++)
		(void)signal(ignored[i], SIG_IGN);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Signals are as the monitor has them: all default, those above ignored; it ignores one more.
 * #syscalls monitor: rt_sigaction setsid umask
 */
void jail_pre_process(void)
{
	(void)signal(SIGXFSZ, SIG_DFL);
	(void)setsid();
	(void)umask(077);
}

/* The signal was set when the parent could be dead already; then the other end of @fd is closed.
 * #syscalls monitor: poll
 */
static bool parent_is_gone(int fd)
{
	struct pollfd p = { .fd = fd, .events = 0 };

	return fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

void jail_pre_root(uint64_t ns, struct jail_missing *m)
{
	if ((ns & CLONE_NEWNS) != 0)
		jail_fs_empty_root(m);
	else
		jail_note(m, JAIL_LAYER_ROOT, EPERM);
}

void jail_pre_enter(int net_fd, int mnt_fd, uint64_t *ns, bool may_make, struct jail_missing *m)
{
	uint64_t own = 0;
	bool shared_root;

	if ((*ns & CLONE_NEWNET) == 0 && (net_fd < 0 || !jail_ns_join(net_fd, CLONE_NEWNET)))
		own |= CLONE_NEWNET;
	shared_root = (*ns & CLONE_NEWNS) == 0 && mnt_fd >= 0 && jail_ns_join(mnt_fd, CLONE_NEWNS);
	if ((*ns & CLONE_NEWNS) == 0 && !shared_root)
		own |= CLONE_NEWNS;
	if (own != 0 && may_make)
		*ns |= jail_ns_unshare(own, m);
	if (!shared_root)
		jail_pre_root(*ns, m);
}

/* #syscalls monitor: prctl(PR_SET_PDEATHSIG) */
int jail_pre_drop(const struct jail_pre *p, struct jail_missing *m, struct err *e)
{
	int r;

	if (p->keep_caps != 0) {
		r = jail_caps_keep_only(p->keep_caps, m);
		if (r < 0)
			return err_sys(e, r, "giving up capabilities");
	} else {
		r = jail_caps_drop_all(p->id, m, e);
	}
	if (r < 0)
		return r;
	/* A change of credentials clears the signal, so it comes after. */
	if (prctl(PR_SET_PDEATHSIG, p->parent_death_signal, 0, 0, 0) < 0)
		return err_sys(e, -errno, "parent-death signal");
	if (parent_is_gone(p->alive_fd))
		return err_set(e, -ECHILD, "the parent is gone");
	jail_limits_base(p->role, m);
	return jail_misc_harden(m, e);
}
