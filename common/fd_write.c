/* SPDX-License-Identifier: ISC */
#include "common/fd.h"

#include <errno.h>
#include <poll.h>

#include "common/clock.h"

/* Waits before each write, as the descriptor may be a blocking one that is not ours to switch. A pipe or terminal that
 * is ready takes at least one page or line without blocking, hence the small pieces.
 * #syscalls write
 */
int fd_write_all(int fd, const void *p, size_t n, int timeout_ms)
{
	const char *at = p;
	int64_t deadline = clock_mono_ms() + timeout_ms;

	while (n > 0) {
		int64_t left = timeout_ms < 0 ? -1 : deadline - clock_mono_ms();
		int r = fd_wait(fd, POLLOUT, timeout_ms >= 0 && left < 0 ? 0 : (int)left);

		if (r <= 0)
			return r < 0 ? r : -ETIMEDOUT;
		ssize_t w = write(fd, at, n < 512 ? n : 512);
		if (w < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (w > 0) {
			at += w;
			n -= (size_t)w;
		}
	}
	return 0;
}
