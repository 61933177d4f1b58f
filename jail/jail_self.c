/* SPDX-License-Identifier: ISC */
/*
 * Second recipe: a dynamic program, already exec'ed inside its namespaces, jails itself. Its loader needed the libraries
 * that are gone afterwards. The monitor's setup record is the first thing on the channel; the VM's namespaces come by a
 * socket of their own, from whoever makes them: the starter, the first time.
 */
#include "jail/jail_internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "common/fd.h"

enum {
	SETUP_TIMEOUT_MS = 10000,
	SHARED_MAX = 2,
};

static int read_record(int fd, void *rec, size_t len, uint32_t magic, int *fds, unsigned max, unsigned *n, struct err *e)
{
	uint32_t got;
	ssize_t done;
	int r = fd_wait(fd, POLLIN, SETUP_TIMEOUT_MS);

	if (r <= 0)
		return err_sys(e, r < 0 ? r : -ETIMEDOUT, "waiting for the monitor");
	done = fd_recvmsg(fd, rec, len, fds, max, n);
	if (done < 0)
		return err_sys(e, (int)done, "reading from the monitor");
	memcpy(&got, rec, sizeof(got));
	if ((size_t)done != len || got != magic) {
		fd_close_all(fds, *n);
		return err_set(e, -EPROTO, "not started by the monitor");
	}
	return 0;
}

/* The namespaces of the VM, and the empty root. */
static int enter(int fd, struct jail_setup *s, struct jail_missing *m, struct err *e)
{
	struct jail_shared rec = { 0 };
	int fds[SHARED_MAX] = { -1, -1 };
	unsigned n = 0;
	int r = read_record(fd, &rec, sizeof(rec), JAIL_SHARED_MAGIC, fds, SHARED_MAX, &n, e);

	if (r == 0 && n != (unsigned)rec.has_net + rec.has_mnt)
		r = err_set(e, -EPROTO, "namespaces with %u descriptors", n);
	if (r == 0)
		jail_pre_enter(rec.has_net ? fds[0] : -1, rec.has_mnt ? fds[rec.has_net] : -1, &s->ns, s->may_make != 0, m);
	fd_close_all(fds, SHARED_MAX);
	return r;
}

int jail_self(int chan_fd, const char *name, struct jail_missing *m, struct err *e)
{
	_cleanup_(fd_closep) int ns_rx = chan_fd + 1;
	struct jail_setup s = { 0 };
	unsigned n = 0;
	int r;

	jail_post_exec(name);
	r = read_record(chan_fd, &s, sizeof(s), JAIL_SETUP_MAGIC, NULL, 0, &n, e);
	if (r < 0)
		return r;
	*m = (struct jail_missing){ 0 };
	if (s.unshare != 0)
		s.ns |= jail_ns_unshare(s.unshare, m);
	r = enter(ns_rx, &s, m, e);
	if (r < 0)
		return r;
	struct jail_pre p = {
		.role = JAIL_APID,
		.id = s.id,
		.parent_death_signal = SIGKILL,
		.alive_fd = chan_fd,
	};
	return jail_pre_drop(&p, m, e);
}
