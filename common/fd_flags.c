/* SPDX-License-Identifier: ISC */
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>

/* The flag belongs to the open file description: never on one that others share (a user's terminal).
 * #syscalls fcntl(F_GETFL, F_SETFL)
 */
int fd_set_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}
