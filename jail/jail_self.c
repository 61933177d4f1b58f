/* SPDX-License-Identifier: ISC */
/*
 * Second recipe: a dynamic program, already exec'ed inside its namespaces, jails itself. Its loader needed the libraries
 * that are gone afterwards. The monitor's setup record is the first thing on the channel.
 */
#include "jail/jail_internal.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>

#include "common/fd.h"

enum { SETUP_TIMEOUT_MS = 10000 };

static int read_setup(int chan_fd, struct jail_setup *s, int *netns_fd, struct err *e)
{
	unsigned nfds = 0;
	ssize_t n;
	int r = fd_wait(chan_fd, POLLIN, SETUP_TIMEOUT_MS);

	if (r <= 0)
		return err_sys(e, r < 0 ? r : -ETIMEDOUT, "waiting for the monitor");
	n = fd_recvmsg(chan_fd, s, sizeof(*s), netns_fd, 1, &nfds);
	if (n < 0)
		return err_sys(e, (int)n, "reading from the monitor");
	if (n != (ssize_t)sizeof(*s) || s->magic != JAIL_SETUP_MAGIC)
		return err_set(e, -EPROTO, "not started by the monitor");
	return 0;
}

int jail_self(int chan_fd, const char *name, struct jail_missing *m, struct err *e)
{
	_cleanup_(fd_closep) int netns_fd = -1;
	struct jail_setup s;
	int r;

	jail_post_exec(name);
	r = read_setup(chan_fd, &s, &netns_fd, e);
	if (r < 0)
		return r;
	*m = (struct jail_missing){ .perm = s.missing_perm, .old = s.missing_old };
	if (netns_fd >= 0)
		jail_ns_join_net(netns_fd, m);
	fd_closep(&netns_fd);
	struct jail_pre p = {
		.role = JAIL_APID,
		.id = s.id,
		.ns = s.ns,
		.parent_death_signal = SIGKILL,
		.alive_fd = chan_fd,
	};
	r = jail_pre_drop(&p, m, e);
	/* The change of uid made the process's memory private; say so again for the kernels that did not. */
	jail_post_exec(name);
	return r;
}
