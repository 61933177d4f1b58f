/* SPDX-License-Identifier: ISC */
/* Seccomp: the filters are constant arrays, made at build time from the notes in the sources (jail/policy/). */
#include "jail/jail_internal.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "policy_apid.h"
#include "policy_blk.h"
#include "policy_blk_alone.h"
#include "policy_blk_uring.h"
#include "policy_console.h"
#include "policy_monitor.h"
#include "policy_net.h"
#include "policy_net_alone.h"
#include "policy_rng.h"
#include "policy_rng_alone.h"
#include "policy_tap.h"
#include "policy_vconsole.h"
#include "policy_vconsole_alone.h"
#include "policy_vcpu.h"
#include "policy_vmmd.h"

#define FILTER(array) { array, sizeof(array) / sizeof((array)[0]) }
static const struct {
	const struct sock_filter *code;
	size_t len;
} filters[JAIL_ROLES] = {
	[JAIL_MONITOR] = FILTER(policy_monitor), [JAIL_APID] = FILTER(policy_apid),
	[JAIL_VMMD] = FILTER(policy_vmmd),	 [JAIL_VCPU] = FILTER(policy_vcpu),
	[JAIL_CONSOLE] = FILTER(policy_console),
	[JAIL_BLK] = FILTER(policy_blk),
	[JAIL_BLK_URING] = FILTER(policy_blk_uring),
	[JAIL_BLK_ALONE] = FILTER(policy_blk_alone),
	[JAIL_NET] = FILTER(policy_net),
	[JAIL_NET_ALONE] = FILTER(policy_net_alone),
	[JAIL_RNG] = FILTER(policy_rng),
	[JAIL_RNG_ALONE] = FILTER(policy_rng_alone),
	[JAIL_VCONSOLE] = FILTER(policy_vconsole),
	[JAIL_VCONSOLE_ALONE] = FILTER(policy_vconsole_alone),
	[JAIL_TAP] = FILTER(policy_tap),
};

/* #syscalls monitor: seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_GET_ACTION_AVAIL) */
int jail_seccomp_install(enum jail_role role, bool all_threads, struct jail_missing *m, struct err *e)
{
	struct sock_fprog prog = { .len = (unsigned short)filters[role].len };
	unsigned int flags = all_threads ? SECCOMP_FILTER_FLAG_TSYNC : 0;

	if (JAIL_SANITIZER)
		return 0;
	prog.filter = (struct sock_filter *)(uintptr_t)filters[role].code; /* the kernel only reads it */
	long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
	if (r == 0)
		return 0;
	if (r > 0)
		return err_set(e, -EBUSY, "thread %ld cannot take the system call filter", r);
	/* EINVAL stands for a kernel without filters and for a filter that it does not accept; only the first may pass. */
	uint32_t action = SECCOMP_RET_ALLOW;
	if (errno == EINVAL && syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0)
		return err_sys(e, -EINVAL, "the system call filter is not accepted");
	jail_note(m, JAIL_LAYER_SECCOMP, errno);
	return 0;
}
