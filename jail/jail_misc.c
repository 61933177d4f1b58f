/* SPDX-License-Identifier: ISC */
/* One-line hardening by prctl. */
#include "jail/jail_internal.h"

#include <errno.h>
#include <sys/prctl.h>

#include "common/compat_linux.h"

/* Where the processor or the boot line leaves no choice there is nothing to miss.
 * #syscalls monitor: prctl(PR_GET_SPECULATION_CTRL, PR_SET_SPECULATION_CTRL)
 */
static void speculation(unsigned long which, struct jail_missing *m)
{
	int now = prctl(PR_GET_SPECULATION_CTRL, which, 0, 0, 0);

	if (now < 0 || ((unsigned long)now & PR_SPEC_PRCTL) == 0 ||
	    ((unsigned long)now & PR_SPEC_FORCE_DISABLE) != 0)
		return;
	if (prctl(PR_SET_SPECULATION_CTRL, which, PR_SPEC_FORCE_DISABLE, 0, 0) < 0)
		jail_note(m, JAIL_LAYER_SPEC, errno);
}

/* #syscalls monitor: prctl(PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_SET_MDWE) */
int jail_misc_harden(struct jail_missing *m, struct err *e)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		jail_note(m, JAIL_LAYER_NNP, errno);
	else if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return err_set(e, -EPERM, "no_new_privs is not set after setting it");
	if (!JAIL_SANITIZER &&
	    prctl(COMPAT_PR_SET_MDWE, COMPAT_PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) < 0)
		jail_note(m, JAIL_LAYER_MDWE, errno);
	speculation(PR_SPEC_STORE_BYPASS, m);
	speculation(PR_SPEC_INDIRECT_BRANCH, m);
	return 0;
}
