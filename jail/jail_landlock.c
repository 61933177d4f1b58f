/* SPDX-License-Identifier: ISC */
/* Landlock: nothing may be opened, bound, connected to or signalled any more, in the words of the running kernel. */
#include "jail/jail_internal.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/compat_linux.h"

static uint64_t fs_rights(int abi)
{
	uint64_t fs = COMPAT_LANDLOCK_FS_ABI1;

	if (abi >= 2)
		fs |= COMPAT_LANDLOCK_FS_REFER;
	if (abi >= 3)
		fs |= COMPAT_LANDLOCK_FS_TRUNCATE;
	if (abi >= 5)
		fs |= COMPAT_LANDLOCK_FS_IOCTL_DEV;
	return fs;
}

/* #syscalls monitor: landlock_create_ruleset landlock_restrict_self close */
void jail_landlock_deny_all(struct jail_missing *m)
{
	struct compat_landlock_ruleset_attr attr = { 0 };
	size_t size = sizeof(attr.handled_access_fs);
	int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, COMPAT_LANDLOCK_CREATE_RULESET_VERSION);

	if (abi < 1) {
		/* Not built in, or not among the modules chosen at boot. */
		jail_note(m, JAIL_LAYER_LANDLOCK, ENOSYS);
		return;
	}
	attr.handled_access_fs = fs_rights(abi);
	if (abi >= 4) {
		attr.handled_access_net = COMPAT_LANDLOCK_NET_BIND_TCP | COMPAT_LANDLOCK_NET_CONNECT_TCP;
		size = offsetof(struct compat_landlock_ruleset_attr, scoped);
	} else {
		jail_note(m, JAIL_LAYER_LANDLOCK_NET, ENOSYS);
	}
	if (abi >= 6) {
		attr.scoped = COMPAT_LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | COMPAT_LANDLOCK_SCOPE_SIGNAL;
		size = sizeof(attr);
	} else {
		jail_note(m, JAIL_LAYER_LANDLOCK_SCOPE, ENOSYS);
	}
	_cleanup_(fd_closep) int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
	if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		jail_note(m, JAIL_LAYER_LANDLOCK, errno);
}
