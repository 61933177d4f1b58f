/* SPDX-License-Identifier: ISC */
/* Waiting for one message, at start-up and end, where there is nothing else to do. */
#include <poll.h>

#include "common/clock.h"
#include "proto/chan_internal.h"

int chan_recv_timeout(struct chan *c, struct chan_msg *m, int timeout_ms)
{
	int64_t deadline = clock_mono_ms() + timeout_ms;

	for (;;) {
		int r = chan_recv(c, m);
		int64_t left = deadline - clock_mono_ms();

		if (r != 0)
			return r;
		/* a peer that is gone shows as end of file on the next look */
		if (chan_wants_write(c))
			(void)chan_flush(c);
		r = fd_wait(c->fd, (short)(chan_wants_write(c) ? POLLIN | POLLOUT : POLLIN), left > 0 ? (int)left : 0);
		if (r < 0)
			return r;
		if (r == 0)
			return -ETIMEDOUT;
	}
}
