/* SPDX-License-Identifier: ISC */
/*
 * Making a jailed process. Spawning makes it and nothing else: it has a channel
 * to the monitor and no power. What it is to work on is handed over later, so that a pool of blank processes, parked
 * ahead of need, can stand between the two operations.
 */
#ifndef JAIL_SPAWN_H
#define JAIL_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "jail/jail.h"

enum {
	SPAWN_FDS_MAX = 4,
	SPAWN_EXIT_FAILED = 120, /* exit code of a child that never became its program */
	SPAWN_FAILURE_MAX = 500,
};

/* Namespaces that the VM's processes share: they have nothing in them, so there is nothing to meet in. What is -1 each
 * process makes for itself. */
struct spawn_ns {
	int net;
	int mnt; /* its root is empty and read-only */
};

struct spawn_req {
	enum jail_role role;
	bool self_jailing; /* second recipe: the program calls jail_self() */
	int exe_fd;        /* from programs_open(); borrowed */
	char *const *argv;
	uid_t id;          /* uid and gid, or (uid_t)-1: the monitor's own */
	struct spawn_ns ns; /* borrowed */
	bool host_net;      /* stays in the host's network namespace, keeps CAP_NET_ADMIN and the monitor's ids */
	int ns_rx;          /* second recipe: where they come from, later; -1: take @ns. Borrowed */
	int null_fd;                          /* becomes 0, 1 and 2; borrowed */
	int fds[SPAWN_FDS_MAX];               /* become 3, 4, ... (second recipe: 3, 5, ...); the first is the channel;
					       * borrowed */
	unsigned n_fds;
	int peer_fd;                          /* the channel's other end, the monitor's; borrowed */
};

struct spawn_child {
	pid_t pid;     /* 0: none */
	int pidfd;     /* readable once it is dead */
	int report_fd; /* what the child met until its exec; nothing comes when all is well */
	struct jail_missing missing; /* read from it: layers that its jail lacks, ... */
	char failure[SPAWN_FAILURE_MAX]; /* ... why it did not become its program, or "" */
};
#define SPAWN_CHILD_NONE ((struct spawn_child){ .pid = 0, .pidfd = -1, .report_fd = -1 })

/* Start a process. 0 or -errno; the child's own failures before exec show as its death with SPAWN_EXIT_FAILED. */
int spawn_start(const struct spawn_req *req, struct spawn_child *out, struct err *e) __must_check;

/* What a process made with @ns_rx waits for, at the other end of it. */
int spawn_send_namespaces(int fd, const struct spawn_ns *ns) __must_check;

/* Read what the child had to report into @c->missing and @c->failure. After its first message, and at its death. */
void spawn_read_report(struct spawn_child *c);

void spawn_kill(const struct spawn_child *c);

/* How it ended: one of the two is set. */
struct spawn_exit {
	int code;   /* exit code, -1: a signal */
	int signal; /* 0: it exited */
};
/* Collect the dead child (waits; its pidfd is readable) and forget it, except for c->failure. */
struct spawn_exit spawn_reap(struct spawn_child *c);

#endif
