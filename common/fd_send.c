/* SPDX-License-Identifier: ISC */
#include "common/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* #syscalls sendmsg */
ssize_t fd_sendmsg(int sock, const void *p, size_t len, const int *fds, unsigned nfds)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (nfds > FD_PASS_MAX)
		return -EINVAL;
	memcpy(&iov.iov_base, &p, sizeof(p)); /* sendmsg only reads; iovec has no const */
	if (nfds > 0) {
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		memset(control.buf, 0, msg.msg_controllen);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
	}
	do {
		n = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == ECONNRESET) /* the peer went with something of ours unread: gone all the same */
		return -EPIPE;
	return n < 0 ? -errno : n;
}
