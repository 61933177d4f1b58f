/* SPDX-License-Identifier: ISC */
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>

/* #syscalls dup3 fcntl(F_SETFD) close */
int fd_move(int *fd, int want, bool cloexec)
{
	if (*fd == want) { /* dup3() refuses this case */
		if (fcntl(want, F_SETFD, cloexec ? FD_CLOEXEC : 0) < 0)
			return -errno;
		*fd = -1;
		return 0;
	}
	if (dup3(*fd, want, cloexec ? O_CLOEXEC : 0) < 0)
		return -errno;
	fd_closep(fd);
	return 0;
}
