/* SPDX-License-Identifier: ISC */
/*
 * Receiving descriptors. A file of its own, because a helper must not have recvmsg after its lock-down.
 *
 * The control buffer always has room for all that the kernel lets one record carry, so that a peer that sends too many
 * is noticed and its descriptors are closed, instead of being cut by the kernel at a place of its choosing.
 */
#include "common/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* Collect what came into @all (room for FD_PASS_MAX). Returns the count. */
static unsigned collect_fds(struct msghdr *msg, int *all)
{
	unsigned n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t off = 0; off + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); off += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + off, sizeof(fd));
			if (n < FD_PASS_MAX)
				all[n++] = fd;
			else
				fd_closep(&fd);
		}
	}
	return n;
}

/* #syscalls recvmsg close */
ssize_t fd_recvmsg(int sock, void *p, size_t cap, int *fds, unsigned maxfds, unsigned *nfds)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)];
		struct cmsghdr align;
	} control;
	int all[FD_PASS_MAX];
	struct iovec iov = { .iov_base = p, .iov_len = cap };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	unsigned reset = 0;
	ssize_t len;

	*nfds = 0;
	do {
		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof(control.buf);
		len = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		/* A peer that went without reading all it was sent leaves ECONNRESET, reported once and in front of the
		 * records that it sent before: its last words would be lost. */
	} while (len < 0 && (errno == EINTR || (errno == ECONNRESET && !reset++)));
	if (len < 0)
		return -errno;
	unsigned n = collect_fds(&msg, all);
	if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || n > maxfds) {
		fd_close_all(all, n);
		return -EBADMSG;
	}
	if (len == 0) { /* end of file; an empty record is no message of ours and reads the same */
		fd_close_all(all, n);
		return 0;
	}
	if (n > 0)
		memcpy(fds, all, n * sizeof(int));
	*nfds = n;
	return len;
}
