/* SPDX-License-Identifier: ISC */
#include "common/fd.h"

/* Every owner of a descriptor links this; fd_closep() of cleanup.h counts as used here.
 * #syscalls close
 */
void fd_close_all(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		fd_closep(&fds[i]);
}
