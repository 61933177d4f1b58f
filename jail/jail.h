/* SPDX-License-Identifier: ISC */
/*
 * How a process of Cloister gives up its rights. The order of operations, who does which part:
 *
 *   before exec (jail_pre.c)        the starter for vmmd, spawn's child for helpers and apid: signals, session, umask,
 *                                   descriptors at fixed numbers, namespaces, empty root, capabilities, own uid,
 *                                   parent-death signal, first limits, no_new_privs
 *   after exec  jail_post_exec()    what exec resets: dumpable, comm
 *               jail_self()         second recipe (dynamic programs): the steps that the loader could not live with
 *   descriptor phase                the process takes everything that it will ever have
 *   jail_lock()                     Landlock, exact limits, seccomp filter: nothing new from here on
 *   jail_lock_thread()              a vCPU thread's second, smaller filter
 *
 * Started without the rights for a layer, or on a kernel that lacks it, the process goes on without that layer and
 * says so in struct jail_missing; it never fails for that. The monitor logs each missing layer once per VM.
 */
#ifndef JAIL_JAIL_H
#define JAIL_JAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"

enum jail_role {
	JAIL_MONITOR,
	JAIL_APID,
	JAIL_VMMD, /* its control thread, which is the process's boundary */
	JAIL_VCPU, /* on top of JAIL_VMMD, in vCPU threads */
	JAIL_CONSOLE,
	/* devices, jailed and alone (devices/common/vdevice.h) */
	JAIL_BLK,
	JAIL_BLK_URING, /* the same with io_uring */
	JAIL_BLK_ALONE,
	JAIL_NET,
	JAIL_NET_ALONE,
	JAIL_RNG,
	JAIL_RNG_ALONE,
	JAIL_VCONSOLE,
	JAIL_VCONSOLE_ALONE,
	JAIL_TAP,
	JAIL_ROLES,
};

/* Bits of struct jail_missing and the names that people read. Append only: the numbers cross processes. */
#define JAIL_LAYERS(L) \
	L(UID, "own user id") \
	L(USERNS, "user namespace") \
	L(MNTNS, "mount namespace") \
	L(ROOT, "empty root") \
	L(PIDNS, "process id namespace") \
	L(NETNS, "network namespace") \
	L(IPCNS, "IPC namespace") \
	L(UTSNS, "host name namespace") \
	L(CGROUPNS, "cgroup namespace") \
	L(CAPS, "empty capability bounding set") \
	L(LIMITS, "resource limits") \
	L(NNP, "no_new_privs") \
	L(MDWE, "memory deny write execute") \
	L(SPEC, "speculation controls") \
	L(LANDLOCK, "Landlock") \
	L(LANDLOCK_NET, "Landlock network rules") \
	L(LANDLOCK_SCOPE, "Landlock scopes") \
	L(SECCOMP, "system call filter") \
	L(CGROUP, "joining the VM's cgroup")
enum jail_layer {
#define JAIL_LAYER_ENUM(name, text) JAIL_LAYER_##name,
	JAIL_LAYERS(JAIL_LAYER_ENUM)
#undef JAIL_LAYER_ENUM
	JAIL_LAYER_COUNT,
};

/* One bit per enum jail_layer: not permitted here (a warning), kernel too old (an info line). */
struct jail_missing {
	uint32_t perm, old;
};

const char *jail_layer_name(enum jail_layer layer);
/* Note that @layer is missing because a call failed with @err (errno, either sign). */
void jail_note(struct jail_missing *m, enum jail_layer layer, int err);

/* First act after exec: not dumpable, comm = the last component of @name, cut to 15 bytes. */
void jail_post_exec(const char *name);

/* Second recipe (apid): first act after exec instead of jail_post_exec(), which it includes. Waits on @chan_fd for the
 * monitor's setup record (not a proto/ frame; make the struct chan afterwards), on the descriptor after it (closed here)
 * for the VM's namespaces, then empties its root, drops all
 * capabilities, takes its own uid, sets the parent-death signal. *@m gets what is missing: report it to the monitor in
 * the hello. Before threads, before reading one outside byte. */
int jail_self(int chan_fd, const char *name, struct jail_missing *m, struct err *e) __must_check;

/* Limits that a process lowers itself; JAIL_KEEP leaves one as it is. */
#define JAIL_KEEP UINT64_MAX
struct jail_limits {
	uint64_t nofile;   /* highest descriptor number + 1 */
	uint64_t fsize;    /* bytes */
	uint64_t as_bytes; /* address space; off in sanitizer builds */
	uint64_t nproc;    /* tasks of this uid; ignored where the uid is shared, off in sanitizer builds */
};

/* End of the descriptor phase: Landlock deny-all, @lim, then the filter of @role with TSYNC. Landlock is per thread:
 * call it before making threads; a process that must make them first takes the two steps apart. Adds to *@m.
 * Fails only for what must not happen on any kernel (an invalid filter). */
int jail_lock(enum jail_role role, const struct jail_limits *lim, struct jail_missing *m, struct err *e) __must_check;
void jail_lock_landlock(struct jail_missing *m);
int jail_lock_rest(enum jail_role role, const struct jail_limits *lim, struct jail_missing *m, struct err *e) __must_check;

/* The calling thread only, on top of the process's filter. */
int jail_lock_thread(enum jail_role role, struct err *e) __must_check;

/* Whether this process has an uid of its own (NPROC then counts only its own tasks). */
bool jail_has_own_uid(void);

#endif
