/* SPDX-License-Identifier: ISC */
/* A vCPU thread's own filter. In a file of its own: vmmd's filter must still allow this call. */
#include "jail/jail_internal.h"

/* #syscalls vmmd: seccomp(SECCOMP_SET_MODE_FILTER) -- each new vCPU thread takes its smaller filter */
int jail_lock_thread(enum jail_role role, struct err *e)
{
	struct jail_missing m = { 0 };

	/* Where filters are missing, jail_lock() has said so. */
	return jail_seccomp_install(role, false, &m, e);
}
