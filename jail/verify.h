/* SPDX-License-Identifier: ISC */
/*
 * A helper that says READY is not believed: what the kernel tells about it in /proc decides. The parsers take text, so
 * that tests reach them.
 */
#ifndef JAIL_VERIFY_H
#define JAIL_VERIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "jail/jail.h"

struct verify_want {
	uid_t uid;                   /* all four, and the gid likewise */
	gid_t gid;
	bool own_uid;                /* then no supplementary group either */
	struct jail_missing missing; /* layers that are known to be out of reach here: not demanded */
	uint64_t fds;                /* bit n: descriptor n may be open ... */
	unsigned fds_below;          /* ... and every one below this */
	unsigned threads;            /* at most */
	unsigned nofile;             /* RLIMIT_NOFILE at most */
};

/* 0, -EPERM with what is wrong, -ESRCH when its filter is ending it already; another error when /proc can't be read. */
int verify_process(pid_t pid, const struct verify_want *w, struct err *e) __must_check;

/* The texts of /proc/PID/status and /proc/PID/limits. */
int verify_status(const char *text, const struct verify_want *w, struct err *e) __must_check;
int verify_limits(const char *text, const struct verify_want *w, struct err *e) __must_check;
bool verify_fd_is_planned(const struct verify_want *w, uint64_t n);

#endif
