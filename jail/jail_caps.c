/* SPDX-License-Identifier: ISC */
/* Capabilities, securebits, uid and gid. */
#include "jail/jail_internal.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer kernels have more than this build knows; the end of the set shows itself by EINVAL. */
enum { CAP_NUMBERS = 64 };

/* Root's rights come with no uid any more, nothing is given back by a change of uid, nothing becomes ambient. */
enum {
	SECUREBITS_ALL = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
			 SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
};

struct caps {
	uint64_t effective, permitted, inheritable;
};

/* #syscalls monitor: capget */
static int caps_get(struct caps *c)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2];

	memset(d, 0, sizeof(d));
	if (syscall(SYS_capget, &h, d) < 0)
		return -errno;
	c->effective = d[0].effective | (uint64_t)d[1].effective << 32;
	c->permitted = d[0].permitted | (uint64_t)d[1].permitted << 32;
	c->inheritable = d[0].inheritable | (uint64_t)d[1].inheritable << 32;
	return 0;
}

/* #syscalls monitor: capset */
static int caps_set(const struct caps *c)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = {
		{ (uint32_t)c->effective, (uint32_t)c->permitted, (uint32_t)c->inheritable },
		{ (uint32_t)(c->effective >> 32), (uint32_t)(c->permitted >> 32), (uint32_t)(c->inheritable >> 32) },
	};

	return syscall(SYS_capset, &h, d) < 0 ? -errno : 0;
}

bool jail_caps_have(int cap)
{
	struct caps c;

	return caps_get(&c) == 0 && (c.effective >> cap & 1) != 0;
}

/* #syscalls monitor: prctl(PR_CAPBSET_DROP) */
void jail_caps_cut_bounding(uint64_t keep, struct jail_missing *m)
{
	for (int cap = 0; cap < CAP_NUMBERS; cap++) {
		if ((keep >> cap & 1) != 0)
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0)
			continue;
		if (errno != EINVAL)
			jail_note(m, JAIL_LAYER_CAPS, errno);
		return;
	}
}

/* #syscalls monitor: prctl(PR_CAP_AMBIENT) */
int jail_caps_reduce(uint64_t keep)
{
	struct caps c;
	int r = caps_get(&c);

	if (r < 0)
		return r;
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	c.permitted &= keep;
	c.effective = c.permitted;
	c.inheritable = 0;
	return caps_set(&c);
}

int jail_caps_pass_on(uint64_t set)
{
	struct caps c;
	int r = caps_get(&c);

	if (r < 0)
		return r;
	c.inheritable = c.permitted & set;
	r = caps_set(&c);
	for (int cap = 0; r == 0 && cap < CAP_NUMBERS; cap++)
		if ((c.inheritable >> cap & 1) != 0 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			r = -errno;
	return r;
}

/* setgroups, then gid, then uid: each needs a capability that the next does not take away. Raw calls: in a single
 * thread the library's way of telling all threads is not needed, and a forked child must not use it.
 * #syscalls monitor: setgroups setresgid setresuid
 */
static void take_ids(uid_t id, struct jail_missing *m)
{
	if (id == JAIL_UID_KEEP) {
		/* Without CAP_SETGID (or in a user namespace that forbids it) the groups stay. */
		(void)syscall(SYS_setgroups, 0, NULL);
		return;
	}
	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, id, id, id) < 0 ||
	    syscall(SYS_setresuid, id, id, id) < 0)
		jail_note(m, JAIL_LAYER_UID, errno);
}

static bool missing(const struct jail_missing *m, enum jail_layer layer)
{
	return ((m->perm | m->old) >> layer & 1) != 0;
}

/* A call that reported success and had no effect would leave a jail that only looks like one.
 * #syscalls monitor: prctl(PR_CAPBSET_READ) getresuid getresgid getgroups
 */
static int check(uid_t id, const struct jail_missing *m, struct err *e)
{
	uid_t u[3];
	gid_t g[3];
	struct caps c;
	int r = caps_get(&c);

	if (r < 0)
		return err_sys(e, r, "capget");
	if ((c.effective | c.permitted | c.inheritable) != 0)
		return err_set(e, -EPERM, "capabilities are still held after dropping them");
	for (int cap = 0; !missing(m, JAIL_LAYER_CAPS) && cap < CAP_NUMBERS; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) > 0)
			return err_set(e, -EPERM, "capability %d is still in the bounding set", cap);
	if (id == JAIL_UID_KEEP || missing(m, JAIL_LAYER_UID))
		return 0;
	if (getresuid(&u[0], &u[1], &u[2]) < 0 || getresgid(&g[0], &g[1], &g[2]) < 0)
		return err_sys(e, -errno, "getresuid");
	for (int i = 0; i < 3; i++)
		if (u[i] != id || g[i] != id)
			return err_set(e, -EPERM, "uid is %u after changing it to %u", u[i], id);
	return getgroups(0, NULL) == 0 ? 0 : err_set(e, -EPERM, "supplementary groups are left");
}

/* #syscalls monitor: prctl(PR_CAP_AMBIENT, PR_SET_SECUREBITS) */
int jail_caps_drop_all(uid_t id, struct jail_missing *m, struct err *e)
{
	static const struct caps none;
	int r;

	jail_caps_cut_bounding(0, m);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (prctl(PR_SET_SECUREBITS, SECUREBITS_ALL, 0, 0, 0) < 0)
		jail_note(m, JAIL_LAYER_CAPS, errno);
	take_ids(id, m);
	r = caps_set(&none);
	if (r < 0)
		return err_sys(e, r, "capset");
	return check(id, m, e);
}

/* With no_new_privs the ambient set is the only way to take a capability through exec; an uid of 0 gives none any more. */
int jail_caps_keep_only(uint64_t set, struct jail_missing *m)
{
	struct caps c;
	int r;

	jail_caps_cut_bounding(set, m);
	r = jail_caps_pass_on(set);
	/* Without CAP_SETPCAP there is nothing that exec could give back. */
	if (r == 0 && jail_caps_have(CAP_SETPCAP) && prctl(PR_SET_SECUREBITS, SECUREBITS_ALL, 0, 0, 0) < 0)
		r = -errno;
	if (r == 0)
		r = caps_get(&c);
	if (r < 0)
		return r;
	c.permitted &= set;
	c.effective = c.permitted;
	return caps_set(&c);
}
