/* SPDX-License-Identifier: ISC */
/* roles.def as constants: FD_<role>_<NAME> is a descriptor's number, ROLE_<role>_<LIMIT> a limit. */
#ifndef JAIL_POLICY_ROLES_H
#define JAIL_POLICY_ROLES_H

#define ROLE_EXACT (-2) /* highest descriptor number held + 1 */
#define ROLE_KEEP (-1)

#define ROLE_FD(role, number, name, type) FD_##role##_##name = (number),
enum role_fd {
#include "jail/policy/roles.def"
};

#define ROLE(role, recipe, uid_slot, nofile, nproc, fsize, as_mib) \
	ROLE_##role##_UID_SLOT = (uid_slot), \
	ROLE_##role##_NOFILE = (nofile), \
	ROLE_##role##_NPROC = (nproc), \
	ROLE_##role##_FSIZE = (fsize), \
	ROLE_##role##_AS_MIB = (as_mib),
enum role_limit {
#include "jail/policy/roles.def"
};

#endif
