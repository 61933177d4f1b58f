/* SPDX-License-Identifier: ISC */
#include "jail/uids.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_lock_file(const char *dir, struct err *e)
{
	_cleanup_(fd_closep) int dir_fd = -1;
	struct stat st;

	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return err_sys(e, -errno, "cannot make \"%s\"", dir);
	dir_fd = open(dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir_fd < 0 || fstat(dir_fd, &st) < 0)
		return err_sys(e, -errno, "cannot open \"%s\"", dir);
	/* Someone else's directory could be swapped under us, and two instances would take the same uids. */
	if (st.st_uid != geteuid() || (st.st_mode & 022) != 0)
		return err_set(e, -EPERM, "\"%s\" can be written by others", dir);
	int fd = openat(dir_fd, "uids", O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	return fd < 0 ? err_sys(e, -errno, "cannot open \"%s/uids\"", dir) : fd;
}

int uids_claim(const char *dir, int *lock_fd, struct err *e)
{
	int fd = open_lock_file(dir, e);

	if (fd < 0)
		return fd;
	for (int block = 0; block < UIDS_BLOCKS; block++) {
		struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = block, .l_len = 1 };

		if (fcntl(fd, F_OFD_SETLK, &l) == 0) {
			*lock_fd = fd;
			return UIDS_FIRST + block * UIDS_PER_BLOCK;
		}
		if (errno != EAGAIN && errno != EACCES) {
			int r = -errno;

			(void)close(fd);
			return err_sys(e, r, "cannot lock \"%s/uids\"", dir);
		}
	}
	(void)close(fd);
	return err_set(e, -EUSERS, "all %d blocks of user ids are in use", UIDS_BLOCKS);
}
