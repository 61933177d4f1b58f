/* SPDX-License-Identifier: ISC */
/* Resource limits. None rises again without CAP_SYS_RESOURCE, which no process of ours keeps. */
#include "jail/jail_internal.h"

#include <errno.h>
#include <sys/resource.h>

#include "common/units.h"

/* Soft and hard to @value, or to the hard limit where that is lower already.
 * #syscalls monitor: prlimit64
 */
static void lower(int resource, uint64_t value, struct jail_missing *m)
{
	struct rlimit now, want = { value, value };

	if (value == JAIL_KEEP || getrlimit((__rlimit_resource_t)resource, &now) < 0)
		return;
	if (now.rlim_max < want.rlim_max)
		want.rlim_cur = want.rlim_max = now.rlim_max;
	if (setrlimit((__rlimit_resource_t)resource, &want) < 0)
		jail_note(m, JAIL_LAYER_LIMITS, errno);
}

/* exec counts argv against a quarter of the stack limit: a long command line of a client must still fit. */
static uint64_t stack_size(enum jail_role role)
{
	if (JAIL_SANITIZER)
		return 8 * MIB;
	return role == JAIL_APID || role == JAIL_VMMD ? 1 * MIB : 256 * KIB;
}

void jail_limits_base(enum jail_role role, struct jail_missing *m)
{
	lower(RLIMIT_CORE, 0, m);
	lower(RLIMIT_MSGQUEUE, 0, m);
	lower(RLIMIT_NICE, 0, m);
	lower(RLIMIT_RTPRIO, 0, m);
	lower(RLIMIT_STACK, stack_size(role), m);
	/* vmmd: a pending kick of each vCPU takes one; locked memory is VFIO's. */
	lower(RLIMIT_SIGPENDING, role == JAIL_VMMD ? 4096 : 64, m);
	/* Rings count as locked memory; nothing in a disk's filter locks any other. */
	if (role != JAIL_VMMD)
		lower(RLIMIT_MEMLOCK, role == JAIL_BLK ? 64 * MIB : 0, m);
}

void jail_limits_exact(const struct jail_limits *lim, struct jail_missing *m)
{
	lower(RLIMIT_NOFILE, lim->nofile, m);
	lower(RLIMIT_FSIZE, lim->fsize, m);
	if (JAIL_SANITIZER)
		return;
	lower(RLIMIT_AS, lim->as_bytes, m);
	/* The kernel counts the tasks of the uid: with a shared one, those of other people's programs too. */
	if (jail_has_own_uid())
		lower(RLIMIT_NPROC, lim->nproc, m);
}
