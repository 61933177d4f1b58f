/* SPDX-License-Identifier: ISC */
/* Owning, passing and closing descriptors. A descriptor has one owner and starts at -1. */
#ifndef COMMON_FD_H
#define COMMON_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"

enum { FD_PASS_MAX = 253 }; /* SCM_MAX_FD */

/* Hand over: returns *@fd and leaves -1 behind. */
static inline int fd_take(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

void fd_close_all(int *fds, unsigned n);

/* SOCK_SEQPACKET or SOCK_STREAM pair, close-on-exec, non-blocking unless said. 0 or -errno. */
int fd_socketpair(int type, int out[2]);

/* Send @len bytes as one record with @nfds descriptors (which stay the caller's). MSG_DONTWAIT|MSG_NOSIGNAL.
 * Returns the bytes sent or -errno (-EAGAIN when the peer is behind, -EPIPE when it is gone). */
ssize_t fd_sendmsg(int sock, const void *p, size_t len, const int *fds, unsigned nfds);

/* Receive one record and up to @maxfds descriptors (close-on-exec; *@nfds set). MSG_DONTWAIT. 0 = end of file, after
 * everything that the peer sent was read (plain recv() may say ECONNRESET before that).
 * A truncated record or lost descriptors (MSG_TRUNC, MSG_CTRUNC) give -EBADMSG, everything received is closed. */
ssize_t fd_recvmsg(int sock, void *p, size_t cap, int *fds, unsigned maxfds, unsigned *nfds);

/* Move *@fd to exactly @want (closing what was there) with or without close-on-exec; *@fd becomes -1. */
int fd_move(int *fd, int want, bool cloexec);

int fd_set_nonblock(int fd, bool on);

/* As many descriptors as the operator allows: the soft limit becomes the hard one. Before the filter. */
void fd_raise_limit(void);

/* Wait until @events, for at most @timeout_ms of monotonic time (-1: for ever). 1 ready, 0 timed out (believed
 * only after one more poll), -errno. */
int fd_wait(int fd, short events, int timeout_ms);

/* Write all, retrying EINTR and EAGAIN; waits at most @timeout_ms in all (-1: for ever). 0, -ETIMEDOUT, -errno. For
 * texts of the monitor only. */
int fd_write_all(int fd, const void *p, size_t n, int timeout_ms);

#endif
