/* SPDX-License-Identifier: ISC */
/*
 * Namespaces. Root with CAP_SYS_ADMIN makes them directly; an ordinary user makes a user namespace first, which gives
 * the capabilities that the others need. Root without CAP_SYS_ADMIN gets none: in a user namespace of its own it would
 * stay uid 0 for the rest of the kernel, which opens every file of root.
 */
#include "jail/jail_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

static const struct {
	uint64_t flag;
	enum jail_layer layer;
} namespaces[] = {
	{ CLONE_NEWUSER, JAIL_LAYER_USERNS }, { CLONE_NEWNS, JAIL_LAYER_MNTNS },
	{ CLONE_NEWPID, JAIL_LAYER_PIDNS },   { CLONE_NEWNET, JAIL_LAYER_NETNS },
	{ CLONE_NEWIPC, JAIL_LAYER_IPCNS },   { CLONE_NEWUTS, JAIL_LAYER_UTSNS },
	{ CLONE_NEWCGROUP, JAIL_LAYER_CGROUPNS },
};

enum jail_ns_mode jail_ns_mode(void)
{
	if (jail_caps_have(CAP_SYS_ADMIN))
		return JAIL_NS_PRIVILEGED;
	return geteuid() != 0 ? JAIL_NS_USER : JAIL_NS_NONE;
}

uint64_t jail_ns_flags(enum jail_ns_mode mode)
{
	uint64_t flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

	return mode == JAIL_NS_USER ? flags | CLONE_NEWUSER : flags;
}

void jail_ns_note(uint64_t flags, int err, struct jail_missing *m)
{
	for (size_t i = 0; i < nitems(namespaces); i++)
		if ((flags & namespaces[i].flag) != 0)
			jail_note(m, namespaces[i].layer, err);
}

/* #syscalls monitor: openat write close */
static int write_file(const char *path, const char *text)
{
	_cleanup_(fd_closep) int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

int jail_ns_map_self(uid_t uid, gid_t gid)
{
	char map[64];
	int r;

	(void)snprintf(map, sizeof(map), "%u %u 1\n", uid, uid);
	r = write_file("/proc/self/uid_map", map);
	/* user_namespaces(7): an unprivileged gid_map needs setgroups denied first. */
	if (r == 0)
		r = write_file("/proc/self/setgroups", "deny");
	(void)snprintf(map, sizeof(map), "%u %u 1\n", gid, gid);
	if (r == 0)
		r = write_file("/proc/self/gid_map", map);
	return r;
}

/* #syscalls monitor: unshare geteuid getegid */
static uint64_t unshare_user(struct jail_missing *m)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (unshare(CLONE_NEWUSER) < 0) {
		jail_note(m, JAIL_LAYER_USERNS, errno);
		return 0;
	}
	/* Unmapped, the process still has all capabilities in there; only its ids read as the overflow ids. */
	int r = jail_ns_map_self(uid, gid);
	if (r < 0)
		jail_note(m, JAIL_LAYER_USERNS, r);
	return CLONE_NEWUSER;
}

uint64_t jail_ns_unshare(uint64_t flags, struct jail_missing *m)
{
	uint64_t done = 0;

	if ((flags & CLONE_NEWUSER) != 0) {
		done = unshare_user(m);
		flags &= ~(uint64_t)CLONE_NEWUSER;
		if (done == 0) {
			jail_ns_note(flags, EPERM, m);
			return 0;
		}
	}
	if (flags == 0 || unshare((int)flags) == 0)
		return done | flags;
	for (size_t i = 0; i < nitems(namespaces); i++) {
		if ((flags & namespaces[i].flag) == 0)
			continue;
		if (unshare((int)namespaces[i].flag) == 0)
			done |= namespaces[i].flag;
		else
			jail_note(m, namespaces[i].layer, errno);
	}
	return done;
}

/* #syscalls monitor: setns */
bool jail_ns_join(int fd, uint64_t flag)
{
	return setns(fd, (int)flag) == 0;
}
