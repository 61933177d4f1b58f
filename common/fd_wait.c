/* SPDX-License-Identifier: ISC */
#include "common/fd.h"

#include <errno.h>
#include <poll.h>

#include "common/clock.h"

/*
 * A process that was frozen, stopped or suspended finds its deadline over although the peer answered long ago: time is
 * up only when one more look, made after that, still finds nothing.
 * #syscalls poll
 */
int fd_wait(int fd, short events, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	int64_t deadline = clock_mono_ms() + timeout_ms;

	for (;;) {
		int64_t left = timeout_ms < 0 ? -1 : deadline - clock_mono_ms();
		int wait = timeout_ms >= 0 && left < 0 ? 0 : (int)left;
		int r = poll(&p, 1, wait);

		if (r > 0)
			return 1;
		if (r == 0 && wait == 0)
			return 0;
		if (r < 0 && errno != EINTR)
			return -errno;
	}
}
