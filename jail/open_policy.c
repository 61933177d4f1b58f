/* SPDX-License-Identifier: ISC */
#include "jail/open_policy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/str.h"

/* #syscalls monitor: openat */
int open_policy_again(int fd, int flags)
{
	char link[40];

	(void)str_fmt(link, sizeof(link), "/proc/self/fd/%d", fd);
	int r = open(link, flags | O_NOCTTY | O_CLOEXEC);
	return r < 0 ? -errno : r;
}

/* #syscalls monitor: ioctl(ANY: BLKGETSIZE64) */
int open_policy_size(int fd, const struct stat *st, uint64_t *size)
{
	if (S_ISREG(st->st_mode)) {
		*size = (uint64_t)st->st_size;
		return 0;
	}
	return ioctl(fd, BLKGETSIZE64, size) < 0 ? -errno : 0;
}

static const char *type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "directory";
	case S_IFIFO:
		return "FIFO";
	case S_IFSOCK:
		return "socket";
	case S_IFCHR:
		return "character device";
	default:
		return "file of another kind";
	}
}

/* #syscalls monitor: openat newfstatat close */
int open_policy_look(const char *path, struct stat *st, struct err *e)
{
	_cleanup_(fd_closep) int look = open(path, O_PATH | O_CLOEXEC);
	int r;

	if (look < 0 || fstat(look, st) < 0)
		return err_sys(e, -errno, "cannot open \"%s\"", path);
	if (S_ISDIR(st->st_mode))
		return err_set(e, -EISDIR, "\"%s\" is a directory", path);
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
		return err_set(e, -EINVAL, "\"%s\" is a %s, neither a regular file nor a block device", path,
			       type_name(st->st_mode));
	r = look;
	look = -1;
	return r;
}

/* #syscalls monitor: close */
int open_policy_image(const char *path, uint64_t *size, struct err *e)
{
	_cleanup_(fd_closep) int look = -1, fd = -1;
	struct stat st;
	int r;

	look = open_policy_look(path, &st, e);
	if (look < 0)
		return look;
	fd = open_policy_again(look, O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		return err_sys(e, fd, "cannot open \"%s\"", path);
	r = open_policy_size(fd, &st, size);
	if (r < 0)
		return err_sys(e, r, "cannot tell the size of \"%s\"", path);
	r = fd;
	fd = -1;
	return r;
}

/* Whatever gives bytes; a FIFO without a writer does not hold us up.
 * #syscalls monitor: openat newfstatat close
 */
int open_policy_source(const char *path, bool *is_stream, struct err *e)
{
	_cleanup_(fd_closep) int look = open(path, O_PATH | O_CLOEXEC);
	struct stat st;

	if (look < 0 || fstat(look, &st) < 0)
		return err_sys(e, -errno, "cannot open \"%s\"", path);
	if (S_ISDIR(st.st_mode))
		return err_set(e, -EISDIR, "\"%s\" is a directory", path);
	if (S_ISSOCK(st.st_mode))
		return err_set(e, -EINVAL, "\"%s\" is a socket", path);
	int fd = open_policy_again(look, O_RDONLY | O_NONBLOCK);
	*is_stream = !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode);
	return fd < 0 ? err_sys(e, fd, "cannot open \"%s\"", path) : fd;
}

/* #syscalls monitor: openat newfstatat close */
int open_policy_console(const char *path, mode_t *mode, struct err *e)
{
	/* O_TRUNC means nothing to a FIFO or a device; a FIFO without a reader gives ENXIO at once. */
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0)
		return err_sys(e, -errno, "cannot open \"%s\"", path);
	if (fstat(fd, &st) < 0) {
		int r = err_sys(e, -errno, "cannot open \"%s\"", path);

		(void)close(fd);
		return r;
	}
	*mode = st.st_mode;
	return fd;
}

int open_policy_log(const char *path, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOCTTY | O_CLOEXEC, 0600);

	return fd < 0 ? err_sys(e, -errno, "cannot open the log file \"%s\"", path) : fd;
}
