/* SPDX-License-Identifier: ISC */
#include "jail/programs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/str.h"

enum { OVERFLOW_UID = 65534 };

/* Folder of the running executable into @dir, "." at worst. */
static void own_dir(char *dir, size_t cap)
{
	ssize_t n = readlink("/proc/self/exe", dir, cap - 1);
	char *slash;

	if (n > 0) {
		dir[n] = '\0';
	} else {
		/* No /proc: what exec was given. */
		const char *fn = (const char *)getauxval(AT_EXECFN);

		(void)str_fmt(dir, cap, "%s", fn != NULL ? fn : "");
	}
	slash = strrchr(dir, '/');
	if (slash != NULL)
		*slash = '\0';
	else
		(void)str_fmt(dir, cap, ".");
}

/* In a user namespace the files of an outer root belong to nobody that has a number here. */
static bool is_unmapped(uid_t uid)
{
	_cleanup_(fd_closep) int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
	unsigned inside, outside, count;
	char map[64] = "";

	if (uid != OVERFLOW_UID || fd < 0 || read(fd, map, sizeof(map) - 1) <= 0)
		return false;
	return sscanf(map, "%u %u %u", &inside, &outside, &count) == 3 && !(inside == 0 && count == UINT32_MAX);
}

/* Who could replace what we are about to run with our rights? */
static int check_owner(const struct stat *st, const char *what, struct err *e)
{
	if (st->st_uid != 0 && st->st_uid != geteuid() && !is_unmapped(st->st_uid))
		return err_set(e, -EPERM, "\"%s\" belongs to another user", what);
	if ((st->st_mode & 022) != 0)
		return err_set(e, -EPERM, "\"%s\" can be written by others than its owner", what);
	return 0;
}

int programs_dir(const char *rel, struct err *e)
{
	_cleanup_(fd_closep) int fd = -1;
	char own[PATH_MAX], dir[PATH_MAX];
	struct stat st;
	int r;

	own_dir(own, sizeof(own));
	if (!str_fmt(dir, sizeof(dir), "%s/%s", own, rel))
		return err_set(e, -ENAMETOOLONG, "the path of the executable is too long");
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, -errno, "cannot find the folder \"%s\"", dir);
	r = check_owner(&st, dir, e);
	return r < 0 ? r : fd_take(&fd);
}

int programs_open(int dir_fd, const char *name, struct err *e)
{
	_cleanup_(fd_closep) int fd = openat(dir_fd, name, O_PATH | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, -errno, "cannot find \"%s\"", name);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EACCES, "\"%s\" is not a program", name);
	r = check_owner(&st, name, e);
	if (r < 0)
		return r;
	/* Started as root, it runs under an uid that owns nothing. */
	if (geteuid() == 0 && (st.st_mode & 0001) == 0)
		return err_set(e, -EACCES, "\"%s\" cannot be executed by others than its owner", name);
	return fd_take(&fd);
}
