/* SPDX-License-Identifier: ISC */
#include "vmmd/wake.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/cleanup.h"

static _Thread_local int thread_fd = -1;

void wake_enter_thread(int fd)
{
	thread_fd = fd;
}

/*
 * Made at start-up, before the filter.
 */
int wake_init(struct wake *w)
{
	atomic_init(&w->pending, false);
	w->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return w->fd < 0 ? -errno : 0;
}

void wake_fini(struct wake *w)
{
	fd_closep(&w->fd);
}

/*
 * #syscalls vcpu: write(fd=WAKE)
 * #syscalls vmmd: write
 */
void wake_signal(struct wake *w)
{
	static const uint64_t one = 1;
	int fd = thread_fd >= 0 ? thread_fd : w->fd;

	/* Sequentially consistent on both sides: either the other thread's wake_take() comes later and then sees what
	 * we published before, or we see its false and write. */
	if (!atomic_exchange(&w->pending, true) && write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		atomic_store(&w->pending, false); /* not delivered: let the next one try */
}

/*
 * #syscalls vmmd: read
 */
void wake_take(struct wake *w)
{
	uint64_t n;

	if (read(w->fd, &n, sizeof(n)) < 0) {
		/* Nothing there: someone set the flag and has yet to write. Looking once more does no harm. */
	}
	atomic_store(&w->pending, false);
}
