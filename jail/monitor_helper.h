/* SPDX-License-Identifier: ISC */
/*
 * A jailed process that serves one thing, and its successors: what consoles and devices have in common. The owner keeps
 * what must outlive a process, and gives it to each of them.
 *
 *	NONE ── start ──► BLANK ── hello, configured ──► LOCKING ── ready, verified ──► UP
 *	                    ▲                               │ "cannot serve"              │
 *	                    │                               ▼                             │ death (also of BLANK, LOCKING)
 *	                    └─────── delay ─────── WAITING ◄┼─────────────────────────────┤
 *	                                           FAILED ◄─┴─────────────────────────────┘ breaker
 *	any ── stop ──► DRAINING ──► DYING ──► NONE
 *
 * A successor is started when its predecessor's pidfd is readable, not before: nothing of that one is in flight any more.
 */
#ifndef JAIL_MONITOR_HELPER_H
#define JAIL_MONITOR_HELPER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "jail/breaker.h"
#include "jail/jail.h"
#include "jail/link.h"
#include "jail/spawn.h"
#include "jail/verify.h"
#include "proto/msg.h"

/* Bits: dispatch() takes them as states. */
enum helper_state {
	HELPER_NONE = 1 << 0,
	HELPER_BLANK = 1 << 1,    /* started, has not said hello */
	HELPER_LOCKING = 1 << 2,  /* has its configuration */
	HELPER_UP = 1 << 3,       /* verified */
	HELPER_WAITING = 1 << 4,  /* no process: the next one comes when its delay is over */
	HELPER_FAILED = 1 << 5,   /* no process, and none will come */
	HELPER_DRAINING = 1 << 6, /* stopping: what is in flight goes out */
	HELPER_DYING = 1 << 7,    /* stopping: killed, its end is awaited */
};

struct monitor;
struct helper;

struct helper_ops {
	/* Send it all that it works on (link_send() on &h->link). What fails is a crash of this process. */
	int (*configure)(struct helper *h, struct err *e);
	/* Fill in which descriptors and how many threads it may have. */
	void (*expect)(struct helper *h, struct verify_want *want);
	/* Locked, as seen from outside. */
	void (*up)(struct helper *h, uint32_t detail);
	/* Dead and reaped, and a successor will follow. Absent: nothing to do. */
	void (*died)(struct helper *h, const char *why);
	/* Dead, and none will follow. */
	void (*failed)(struct helper *h, const struct err *why);
	/* What helper_stop() began is over. */
	void (*stopped)(struct helper *h);
};

/* What kind of process it is. */
struct helper_kind {
	enum jail_role role;
	const char *program;
	const char *word;  /* its only argument: which of its lives the program is to live; NULL: it has one */
	uint32_t ready_ms; /* from the start of the process; believed after one more look */
};

struct helper {
	struct monitor *mon;
	const struct helper_ops *ops;
	const struct helper_kind *kind;
	void *owner;
	int exe_fd;   /* borrowed */
	int uid_slot;
	char name[64]; /* of log lines */
	enum helper_state state;
	struct spawn_child child;
	struct link link;
	int peer;            /* our end of the control socket once more: hangs up when nothing of the process is left */
	struct event *on_child, *on_timer, *on_peer;
	uint32_t fork_no;    /* see monitor_sweep() */
	bool said_hello;
	struct breaker breaker;
	bool renewing;       /* killed by us, for a successor at once */
	struct err *refusal; /* it has said why it cannot serve */
};

extern const struct link_ops monitor_helper_ops; /* monitor_ops.c */

/* Storage of the owner's. @device: what log lines name beside the program, "" or "_disk0". */
void helper_init(struct helper *h, struct monitor *mon, const struct helper_kind *kind, const struct helper_ops *ops,
		 void *owner);
void helper_name(struct helper *h, const char *device);

/* Start the first process, with a fresh breaker. What goes wrong with the process is told later, by .died and .failed;
 * only a lack of memory at once. */
int helper_start(struct helper *h, struct err *e) __must_check;
/* The process there is ends, and a successor gets what the owner has by then; no crash is counted. */
void helper_renew(struct helper *h);
/* End, after a drain of at most @drain_ms (0: at once). .stopped is called, maybe from here. */
void helper_stop(struct helper *h, uint32_t drain_ms);
/* It does not do what it should: what follows is as after a crash. */
void helper_kill(struct helper *h);
/* Nobody will look at its end any more. */
void helper_forget(struct helper *h);
bool helper_is_serving(const struct helper *h); /* or will be, if all goes well */

/* Its uid and gid, and whether they are its own. */
uid_t helper_uid(const struct helper *h, bool *own);

#endif
