/* SPDX-License-Identifier: ISC */
/*
 * The empty root: a tmpfs of one inode, read-only, made detached (so that no directory is needed to put it on), laid
 * over the root and swapped with it; the old tree is then let go as a whole.
 */
#include "jail/jail_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"

/* include/uapi/linux/mount.h; <linux/mount.h> and <sys/mount.h> of glibc 2.36 can't be included together */
enum {
	FS_OPEN_CLOEXEC = 0x1,    /* FSOPEN_CLOEXEC */
	FS_CONFIG_SET_STRING = 1, /* FSCONFIG_SET_STRING */
	FS_CONFIG_CREATE = 6,     /* FSCONFIG_CMD_CREATE */
	FS_MOUNT_CLOEXEC = 0x1,   /* FSMOUNT_CLOEXEC */
	MNT_ATTR_LOCKED_DOWN = 0x1 | 0x2 | 0x4 | 0x8, /* MOUNT_ATTR_RDONLY, NOSUID, NODEV, NOEXEC */
	MNT_MOVE_F_EMPTY_PATH = 0x4, /* MOVE_MOUNT_F_EMPTY_PATH */
};

/* #syscalls monitor: fsconfig */
static int fs_option(int fs, const char *key, const char *value)
{
	return syscall(SYS_fsconfig, fs, FS_CONFIG_SET_STRING, key, value, 0) < 0 ? -errno : 0;
}

/* A detached, empty, read-only mount, or -errno.
 * #syscalls monitor: fsopen fsconfig fsmount close
 */
static int fs_make_empty(void)
{
	_cleanup_(fd_closep) int fs = (int)syscall(SYS_fsopen, "tmpfs", FS_OPEN_CLOEXEC);
	int r;

	if (fs < 0)
		return -errno;
	r = fs_option(fs, "size", "4k");
	if (r == 0)
		r = fs_option(fs, "nr_inodes", "2");
	if (r == 0)
		r = fs_option(fs, "mode", "555");
	if (r < 0)
		return r;
	if (syscall(SYS_fsconfig, fs, FS_CONFIG_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	int mnt = (int)syscall(SYS_fsmount, fs, FS_MOUNT_CLOEXEC, MNT_ATTR_LOCKED_DOWN);
	return mnt < 0 ? -errno : mnt;
}

/* pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one and is unmounted there.
 * #syscalls monitor: move_mount fchdir pivot_root umount2 chdir
 */
static int fs_pivot_to(int mnt)
{
	if (syscall(SYS_move_mount, mnt, "", AT_FDCWD, "/", MNT_MOVE_F_EMPTY_PATH) < 0 || fchdir(mnt) < 0 ||
	    syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	return 0;
}

/* #syscalls monitor: mount close */
void jail_fs_empty_root(struct jail_missing *m)
{
	_cleanup_(fd_closep) int mnt = -1;
	int r;

	if (JAIL_SANITIZER)
		return;
	/* Otherwise the swap would show in the host's tree where that is shared. */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		jail_note(m, JAIL_LAYER_ROOT, errno);
		return;
	}
	mnt = fs_make_empty();
	r = mnt < 0 ? mnt : fs_pivot_to(mnt);
	if (r < 0)
		jail_note(m, JAIL_LAYER_ROOT, r);
}
