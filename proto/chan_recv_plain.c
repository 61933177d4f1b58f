/* SPDX-License-Identifier: ISC */
/*
 * Receiving without descriptors. What a peer sends along is dropped by the kernel. MSG_TRUNC gives the record's true
 * length, so that one that is too long cannot pass for a whole one.
 *
 * #syscalls recvfrom
 */
#include <sys/socket.h>

#include "proto/chan_internal.h"

static ssize_t recv_record(struct chan *c)
{
	unsigned reset = 0;
	ssize_t len;

	do {
		len = recv(c->fd, c->rec, sizeof(c->rec), MSG_DONTWAIT | MSG_TRUNC);
		/* ECONNRESET stands once in front of a peer's last records, as in fd_recvmsg() */
	} while (len < 0 && (errno == EINTR || (errno == ECONNRESET && !reset++)));
	if (len > (ssize_t)sizeof(c->rec))
		return -EBADMSG;
	return len < 0 ? -errno : len;
}

int chan_recv_plain(struct chan *c, struct chan_msg *m)
{
	int r = 0;

	if (c->recv_error < 0)
		return c->recv_error;
	while (r == 0) {
		ssize_t len = recv_record(c);

		if (len == -EAGAIN)
			return 0;
		if (len == 0 || len == -ECONNRESET)
			return chan_in_eof(c);
		if (len < 0)
			return chan_in_broken(c);
		r = chan_in_record(c, (size_t)len, NULL, 0, m);
	}
	return r;
}
