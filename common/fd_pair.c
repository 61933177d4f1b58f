/* SPDX-License-Identifier: ISC */
#include "common/fd.h"

#include <errno.h>
#include <sys/socket.h>

/* #syscalls socketpair(AF_UNIX) */
int fd_socketpair(int type, int out[2])
{
	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, out) < 0) {
		int r = -errno;

		out[0] = -1;
		out[1] = -1;
		return r;
	}
	return 0;
}
