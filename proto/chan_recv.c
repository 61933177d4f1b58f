/* SPDX-License-Identifier: ISC */
/* Receiving with descriptors (recvmsg, in common/fd_recv.c): a role that must not have it leaves this file out. */
#include "proto/chan_internal.h"

int chan_recv(struct chan *c, struct chan_msg *m)
{
	int fds[FD_PASS_MAX];
	unsigned nfds;
	int r = 0;

	if (c->recv_error < 0)
		return c->recv_error;
	/* Ends: each record adds CHAN_RECORD_MAX to a message of at most max_msg, or is the last. */
	while (r == 0) {
		ssize_t len = fd_recvmsg(c->fd, c->rec, sizeof(c->rec), fds, FD_PASS_MAX, &nfds);

		if (len == -EAGAIN)
			return 0;
		if (len == 0 || len == -ECONNRESET)
			return chan_in_eof(c);
		if (len < 0)
			return chan_in_broken(c);
		r = chan_in_record(c, (size_t)len, fds, nfds, m);
	}
	return r;
}
