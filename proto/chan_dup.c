/* SPDX-License-Identifier: ISC */
/*
 * Descriptors of a message that has to wait: duplicates, because the caller keeps (and may close) his. A file of its
 * own: a role that never sends descriptors leaves it out of its policy.
 *
 * #syscalls fcntl(F_DUPFD_CLOEXEC) close
 */
#include <fcntl.h>
#include <stdlib.h>

#include "proto/chan_internal.h"

int chan_out_own_fds(struct chan_out *o)
{
	if (o->nfds == 0 || o->own_fds != NULL)
		return 0;
	o->own_fds = calloc(o->nfds, sizeof(int));
	if (o->own_fds == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < o->nfds; i++) {
		o->own_fds[i] = fcntl(o->fds[i], F_DUPFD_CLOEXEC, 3);
		if (o->own_fds[i] < 0) {
			int r = -errno;

			fd_close_all(o->own_fds, i);
			free(o->own_fds);
			o->own_fds = NULL;
			return r;
		}
	}
	o->fds = o->own_fds;
	return 0;
}
