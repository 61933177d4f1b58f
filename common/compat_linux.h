/* SPDX-License-Identifier: ISC */
/*
 * Kernel interfaces newer than Debian 12's headers (linux-libc-dev 6.1): own definitions, because a header that knows
 * only the first field of a structure silently drops the rules in the others. Values from the named kernel header.
 */
#ifndef COMMON_COMPAT_LINUX_H
#define COMMON_COMPAT_LINUX_H

#include <stdint.h>

/* include/uapi/linux/landlock.h, Linux 6.15 (ABI 7) */
struct compat_landlock_ruleset_attr {
	uint64_t handled_access_fs;
	uint64_t handled_access_net; /* ABI 4 */
	uint64_t scoped;             /* ABI 6 */
};
_Static_assert(sizeof(struct compat_landlock_ruleset_attr) == 24, "linux/landlock.h");

enum {
	COMPAT_LANDLOCK_CREATE_RULESET_VERSION = 1 << 0,
	COMPAT_LANDLOCK_FS_ABI1 = (1 << 13) - 1, /* EXECUTE .. MAKE_SYM */
	COMPAT_LANDLOCK_FS_REFER = 1 << 13,      /* ABI 2 */
	COMPAT_LANDLOCK_FS_TRUNCATE = 1 << 14,   /* ABI 3 */
	COMPAT_LANDLOCK_FS_IOCTL_DEV = 1 << 15,  /* ABI 5 */
	COMPAT_LANDLOCK_NET_BIND_TCP = 1 << 0,
	COMPAT_LANDLOCK_NET_CONNECT_TCP = 1 << 1,
	COMPAT_LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0,
	COMPAT_LANDLOCK_SCOPE_SIGNAL = 1 << 1,
};

/* include/uapi/linux/prctl.h, Linux 6.3 */
enum {
	COMPAT_PR_SET_MDWE = 65,
	COMPAT_PR_MDWE_REFUSE_EXEC_GAIN = 1 << 0,
};

/* include/uapi/linux/memfd.h, Linux 6.3; F_SEAL_EXEC: include/uapi/linux/fcntl.h, Linux 6.3 */
enum {
	COMPAT_MFD_NOEXEC_SEAL = 0x0008,
	COMPAT_F_SEAL_EXEC = 0x0020,
};

/* include/uapi/asm-generic/socket.h, Linux 6.16 */
enum {
	COMPAT_SO_PASSRIGHTS = 83,
};

/* include/uapi/linux/pidfd.h, Linux 6.13; exit_code since 6.15. The kernel writes at most the size in the number. */
struct compat_pidfd_info {
	uint64_t mask;
	uint64_t cgroupid;
	uint32_t pid, tgid, ppid;
	uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	int32_t exit_code;
};
_Static_assert(sizeof(struct compat_pidfd_info) == 64, "linux/pidfd.h");
#define COMPAT_PIDFD_INFO_EXIT (UINT64_C(1) << 3)
#define COMPAT_PIDFD_GET_INFO 0xc040ff0bu /* _IOWR(0xff, 11, 64 bytes) */

#endif
