/* SPDX-License-Identifier: ISC */
/*
 * A VM's processes live in whatever cgroup the started PID is in, in every hierarchy: clients move that one before boot
 * and know of no other.
 */
#ifndef JAIL_JAIL_CGROUP_H
#define JAIL_JAIL_CGROUP_H

#include <stddef.h>
#include <sys/types.h>

#include "common/err.h"

/* Move the @n processes @pids to where @leader is. 0 also when they are there already; the first error otherwise (the
 * other moves are still tried). */
int jail_cgroup_follow(pid_t leader, const pid_t *pids, size_t n, struct err *e) __must_check;

/* For tests. Where in the file system the group "/path" of the hierarchy @controllers ("" = v2; "memory",
 * "name=systemd") is, by the text of /proc/self/mountinfo. 0, -ENOENT. */
int jail_cgroup_locate(const char *mountinfo, const char *controllers, const char *path, char *out, size_t cap)
	__must_check;

#endif
