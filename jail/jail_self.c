/* SPDX-License-Identifier: ISC */
/*
 * Second recipe: a dynamic program, already exec'ed inside its namespaces, jails itself. Its loader needed the libraries
 * that are gone afterwards. The monitor's setup record is the first thing on the channel.
 */
#include "jail/jail_internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "common/fd.h"

enum { SETUP_TIMEOUT_MS = 10000 };

static int read_record(int chan_fd, void *rec, size_t len, uint32_t magic, int *fd, struct err *e)
{
	uint32_t got;
	unsigned nfds = 0;
	ssize_t n;
	int r = fd_wait(chan_fd, POLLIN, SETUP_TIMEOUT_MS);

	if (r <= 0)
		return err_sys(e, r < 0 ? r : -ETIMEDOUT, "waiting for the monitor");
	n = fd_recvmsg(chan_fd, rec, len, fd, fd != NULL ? 1 : 0, &nfds);
	if (n < 0)
		return err_sys(e, (int)n, "reading from the monitor");
	memcpy(&got, rec, sizeof(got));
	if ((size_t)n != len || got != magic)
		return err_set(e, -EPROTO, "not started by the monitor");
	return 0;
}

static int enter_net(int chan_fd, struct jail_missing *m, struct err *e)
{
	_cleanup_(fd_closep) int netns_fd = -1;
	struct jail_netns rec = { 0 };
	int r = read_record(chan_fd, &rec, sizeof(rec), JAIL_NETNS_MAGIC, &netns_fd, e);

	if (r == 0)
		jail_ns_enter_net(netns_fd, m);
	return r;
}

int jail_self(int chan_fd, const char *name, struct jail_missing *m, struct err *e)
{
	struct jail_setup s = { 0 };
	int r;

	jail_post_exec(name);
	r = read_record(chan_fd, &s, sizeof(s), JAIL_SETUP_MAGIC, NULL, e);
	if (r < 0)
		return r;
	*m = (struct jail_missing){ 0 };
	if (s.unshare != 0)
		s.ns |= jail_ns_unshare(s.unshare, m);
	jail_pre_root(s.ns, m);
	if (s.netns_later != 0) {
		r = enter_net(chan_fd, m, e);
		if (r < 0)
			return r;
	}
	struct jail_pre p = {
		.role = JAIL_APID,
		.id = s.id,
		.parent_death_signal = SIGKILL,
		.alive_fd = chan_fd,
	};
	return jail_pre_drop(&p, m, e);
}
