/* SPDX-License-Identifier: ISC */
/*
 * One mechanism per file (jail_ns.c, jail_fs.c, ...), each of them called by jail_pre.c, jail_self.c or jail.c only. A
 * mechanism that is not there is noted in @m and left out; a negative result means that the process must not go on.
 */
#ifndef JAIL_JAIL_INTERNAL_H
#define JAIL_JAIL_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "jail/jail.h"

#ifdef CLOISTER_SANITIZER
enum { JAIL_SANITIZER = 1 };
#else
enum { JAIL_SANITIZER = 0 };
#endif

/* --- jail_ns.c ---------------------------------------------------------------------------------------------------- */

enum jail_ns_mode {
	JAIL_NS_PRIVILEGED, /* CAP_SYS_ADMIN: namespaces without a user namespace */
	JAIL_NS_USER,       /* ordinary user: inside a user namespace */
	JAIL_NS_NONE,       /* root without CAP_SYS_ADMIN: a user namespace would leave it kernel uid 0 */
};
enum jail_ns_mode jail_ns_mode(void);
/* The CLONE_NEW* flags of a jail in @mode, the network and pid namespaces left out. */
uint64_t jail_ns_flags(enum jail_ns_mode mode);
/* unshare(@flags); what is refused as a whole is tried one by one and noted. With CLONE_NEWUSER the maps are written,
 * and if it is refused nothing else is tried. Returns the flags that are now in force. */
uint64_t jail_ns_unshare(uint64_t flags, struct jail_missing *m);
/* Note every layer of @flags as missing because of @err. */
void jail_ns_note(uint64_t flags, int err, struct jail_missing *m);
/* In a user namespace just made by or for this process, which is dumpable: map the own uid and gid to themselves. */
int jail_ns_map_self(uid_t uid, gid_t gid);
/* Join the shared namespace @fd of kind @flag (CLONE_NEWNET, CLONE_NEWNS). False when it is refused (not noted). */
bool jail_ns_join(int fd, uint64_t flag) __must_check;

/* --- jail_fs.c ---------------------------------------------------------------------------------------------------- */

/* Replace the root by an empty read-only file system. Needs a mount namespace of its own. */
void jail_fs_empty_root(struct jail_missing *m);

/* --- jail_caps.c -------------------------------------------------------------------------------------------------- */

#define JAIL_UID_KEEP ((uid_t)-1)

bool jail_caps_have(int cap);
/* Cut the bounding set to @keep (1 << CAP_*). */
void jail_caps_cut_bounding(uint64_t keep, struct jail_missing *m);
/* Permitted and effective = what is held of @keep; inheritable and ambient empty. */
int jail_caps_reduce(uint64_t keep);
/* All five sets empty, securebits locked, no groups, uid and gid @id (JAIL_UID_KEEP: the present ones), and all of it
 * read back. */
int jail_caps_drop_all(uid_t id, struct jail_missing *m, struct err *e);
/* What is held of @set, also after exec, and nothing else. Ids stay. */
int jail_caps_keep_only(uint64_t set, struct jail_missing *m);
/* What a program needs to jail itself (second recipe) survives exec of an ordinary uid inside its user namespace. */
int jail_caps_pass_on(uint64_t set);

/* --- jail_limits.c ------------------------------------------------------------------------------------------------ */

/* Limits that no program of ours needs above these, set before exec. */
void jail_limits_base(enum jail_role role, struct jail_missing *m);
void jail_limits_exact(const struct jail_limits *lim, struct jail_missing *m);

/* --- jail_landlock.c, jail_seccomp.c, jail_misc.c --------------------------------------------------------------- */

void jail_landlock_deny_all(struct jail_missing *m);
int jail_seccomp_install(enum jail_role role, bool all_threads, struct jail_missing *m, struct err *e);
/* no_new_privs, memory-deny-write-execute, speculation controls. */
int jail_misc_harden(struct jail_missing *m, struct err *e);

/* --- jail_pre.c --------------------------------------------------------------------------------------------------- */

/* The starter, once for all: what a client left in the dispositions ends here. The mask is not touched. */
void jail_pre_default_signals(void);
/* All but vmmd: the signals of an orderly stop are vmmd's, nothing is blocked. Inherited by children. */
void jail_pre_ignore_signals(void);
/* A child of the monitor: signals, a session of its own, umask 077. */
void jail_pre_process(void);

struct jail_pre {
	enum jail_role role;
	uid_t id; /* uid and gid, or JAIL_UID_KEEP */
	uint64_t keep_caps; /* 0: none, and then the ids change */
	int parent_death_signal;
	int alive_fd;        /* peer's end closed = the parent died before the signal was set; -1: don't look */
};
/* Join the shared namespaces @net_fd and @mnt_fd (-1: there is none, or it can't be joined: make an own one unless it is
 * in *@ns, those in force, already), and have an empty root. */
void jail_pre_enter(int net_fd, int mnt_fd, uint64_t *ns, bool may_make, struct jail_missing *m);
/* Empty root, given the namespaces @ns in force. */
void jail_pre_root(uint64_t ns, struct jail_missing *m);
/* Capabilities, ids, parent-death signal, limits, hardening. */
int jail_pre_drop(const struct jail_pre *p, struct jail_missing *m, struct err *e);

/* --- second recipe ---------------------------------------------------------------------------------------------- */

/* First record on the channel: what was done for the program and what is left to do. */
enum { JAIL_SETUP_MAGIC = 0x6a61696c };
struct jail_setup {
	uint32_t magic;
	uint32_t id;          /* uid and gid, or JAIL_UID_KEEP */
	uint64_t ns;          /* namespaces in force (CLONE_NEW*) */
	uint64_t unshare;     /* namespaces to make */
	uint32_t may_make;    /* namespaces of its own can be made */
	uint32_t zero;
};
_Static_assert(sizeof(struct jail_setup) == 32, "no padding");

/* The record on the descriptor after the channel: the VM's namespaces, with their descriptors in this order. */
enum { JAIL_SHARED_MAGIC = 0x6e657473 };
struct jail_shared {
	uint32_t magic;
	uint8_t has_net, has_mnt, zero[2];
};
_Static_assert(sizeof(struct jail_shared) == 8, "no padding");

#endif
