/* SPDX-License-Identifier: ISC */
/*
 * The monitor's state, and who of its files does what:
 *
 *	monitor.c        start-up, locking itself, the loop
 *	monitor_ops.c    the table of operations and how each is called and answered
 *	monitor_apid.c   apid: start, death, successor; API socket and connections kept for it
 *	monitor_helper.c a helper: start, verification, death, successors, end
 *	monitor_con.c    consoles: what is kept for each
 *	monitor_dev*.c   devices: what is kept for each, hand-over (monitor_dev.h)
 *	monitor_vm.c     files, memory, hand-over to vmmd, lifelines
 *	monitor_end.c    orderly end, failed start, death of vmmd
 *
 * One thread, one loop. Every handler decides, queues and returns.
 */
#ifndef JAIL_MONITOR_INTERNAL_H
#define JAIL_MONITOR_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/ev.h"
#include "jail/api_socket.h"
#include "jail/breaker.h"
#include "jail/con_open.h"
#include "jail/jail.h"
#include "jail/link.h"
#include "jail/monitor_helper.h"
#include "jail/spawn.h"
#include "proto/msg.h"

enum {
	MON_CONNS_MAX = 248,     /* descriptors beside APID_START's own */
	MON_CONSOLES = 2,        /* enum console_id */
	MON_DISKS = 256,
	MON_NETS = 256,
	MON_DEVS = 1 + MON_DISKS + MON_NETS + 1 + MON_NETS,
	MON_GROUPS = 256,        /* of rate limits */
	MON_LIFELINES_MAX = 8192,
	MON_APID_PER_SECOND = 20000,  /* two messages for each connection of a client */
	MON_COSTLY_PER_SECOND = 100,  /* opening, making, spawning */
	MON_HELPER_PER_SECOND = 100,
};

/* Bits: dispatch() takes them as states. */
enum mon_phase {
	MON_INIT = 1 << 0,    /* until the starter's options are here */
	MON_STARTING = 1 << 1, /* until apid has found the command line good */
	MON_SERVING = 1 << 2,
	MON_ENDING = 1 << 3,
};

enum con_state {
	CON_CLOSED,
	CON_OPEN,
	CON_CLOSING, /* its helper drains and ends */
};

struct monitor;
struct dev;

struct con {
	struct monitor *mon;
	enum console_id which;
	enum con_state state;
	enum console_mode mode;
	char *path;               /* as asked for, NULL: none */
	struct con_host host;     /* kept for successors */
	bool lost;                /* closed again: its helper failed for good */
	int ring_fd;
	/* the serial port's */
	int stream_helper;        /* the helper's end of the stream */
	int stream_vmmd;          /* vmmd's end until the hand-over */
	struct helper helper;
	/* asked for while the predecessor is still closing */
	bool reopen;
	uint32_t reopen_id;
	enum console_mode reopen_mode;
	char *reopen_path;
};

/* Programs of helpers, opened once. */
enum mon_exe { MON_EXE_CONSOLE, MON_EXE_BLK, MON_EXE_NET, MON_EXE_RNG, MON_EXE_TAP, MON_EXES };

/* A limit that several disks share: a page that all of them map. */
struct limit_group {
	char *id; /* NULL: free */
	int page;
};

struct lifeline {
	struct monitor *mon;
	int fd; /* -1: free */
	struct event *on_end;
};

struct monitor {
	struct event_base *base;
	enum mon_phase phase;
	struct msg_mon_start start; /* owned */
	int argc;
	char **argv;                /* argv[0] on, as given to the started process */

	/* what children need; opened once */
	int null_fd, programs, exe_apid, exes[MON_EXES];
	int log_write, log_read, log_out, uid_lock;
	struct jail_missing missing, logged;

	bool ns_known;
	struct spawn_ns ns;         /* the VM's namespaces */

	/* vmmd, our parent */
	struct link vmmd;
	bool is_starter;            /* the channel's other end has not become vmmd yet */
	int vmmd_pidfd;
	struct event *on_vmmd;

	uint32_t forks;             /* processes started so far, see monitor_sweep() */

	/* apid */
	struct spawn_child apid;
	uint32_t apid_fork_no;
	bool apid_said_hello;
	struct link apid_link;
	struct event *on_apid, *on_apid_timer;
	struct breaker apid_breaker;
	bool apid_started;          /* it has its APID_START */
	int command_fd;             /* its end, until then */
	int state_page;             /* never read here */
	int conns[MON_CONNS_MAX];
	struct api_socket api;
	int log_error;              /* opening the log file failed with this; told when the command line is good */
	struct err log_err;

	/* the VM's resources between the request and the hand-over, or until it has stopped */
	int kernel_fd, initramfs_fd, memory_fd;
	uint64_t kernel_size, initramfs_size, memory_size;
	bool kvm_sent;
	struct lifeline *lifelines;
	size_t n_lifelines;
	bool stopping;              /* lifelines end in order */
	bool handover_waits;
	uint32_t handover_id, handover_vcpus;
	uint32_t costly_tokens;
	int64_t costly_refilled_ms;

	struct con consoles[MON_CONSOLES];
	struct dev *devs[MON_DEVS]; /* in the order of their slots */
	struct dev *dying;          /* given up, but a process of it is still there */
	struct limit_group groups[MON_GROUPS];

	/* end */
	uint8_t status;
	bool quitting;              /* vmmd is told to quit with status; else it asked to end */
	bool rest_closed;           /* consoles and API socket are; what is left is to flush and to answer */
	bool flush_asked;
	bool finished;              /* vmmd's turn */
	struct event *on_end_timer;
	char quit_text[ERR_TEXT_MAX + 512];
};

/* --- monitor.c ---------------------------------------------------------------------------------------------------- */

/* Log, once for the VM, which layers @who lacks. */
void monitor_note_missing(struct monitor *mon, const char *who, struct jail_missing m);
/* Leave the loop. */
void monitor_leave(struct monitor *mon);
/* uid for slot @slot of this instance, (uid_t)-1 without uids of its own. */
uid_t monitor_uid(const struct monitor *mon, int slot);
/* A timer event's callback after @ms. */
void monitor_after(struct event *timer, uint32_t ms);

/* --- monitor_ops.c ------------------------------------------------------------------------------------------------ */

extern const struct link_ops monitor_vmmd_ops, monitor_apid_ops, monitor_tap_ops;
/* The first message of all, before the loop. */
int monitor_take_start(struct monitor *mon, struct chan_msg *m, struct err *e) __must_check;
/* Answer apid's request @id: RESULT with @code and the chain (NULL: none). */
void monitor_answer(struct monitor *mon, uint32_t id, int code, const struct err *e);

/* --- monitor_apid.c ----------------------------------------------------------------------------------------------- */

struct monitor_adopt;
int monitor_apid_adopt(struct monitor *mon, const struct monitor_adopt *a, struct err *e) __must_check;
int monitor_apid_spawn(struct monitor *mon, struct err *e) __must_check;
void monitor_apid_gone(struct monitor *mon);  /* its channel ended; its pidfd will follow */
void monitor_apid_kill(struct monitor *mon);

/* --- monitor_con.c ------------------------------------------------------------------------------------------------ */

void con_init(struct con *con, struct monitor *mon, enum console_id which);
/* Closed, draining for at most @drain_ms first (0: not at all). */
void con_shut(struct con *con, uint32_t drain_ms);
/* Kill and forget at once; terminals are restored. */
void con_kill(struct con *con);
/* The stream's vmmd end has been used up: a fresh pair, and a helper that has the other end. */
void con_renew_stream(struct con *con);
bool con_is_open(const struct con *con);
bool con_is_up(const struct con *con); /* the serial port's helper is; or it needs none */
/* For whoever serves its target: what to tell it, that it is up, that none will be any more, that what worked on it is
 * gone. */
void con_describe(const struct con *con, struct msg_con_config *cfg);
void con_serve(struct con *con);
void con_lose(struct con *con);
void con_dev_gone(struct con *con);

/* --- monitor_dev.c ------------------------------------------------------------------------------------------------ */

/*
 * A new process has copies of all our descriptors until its exec, and with them locks and taps that were open when it was
 * started. So what a device had is free only when each process that was started before that was closed has said hello, or is
 * dead. Called when one has.
 */
void monitor_sweep(struct monitor *mon);

/* --- monitor_vm.c ------------------------------------------------------------------------------------------------- */

void vm_release(struct monitor *mon);
/* A helper is up, or has failed: a hand-over may wait for it. */
void vm_helper_changed(struct monitor *mon);

/* --- monitor_end.c ------------------------------------------------------------------------------------------------ */

/* The start failed: tell why, end with @status. */
void end_quit(struct monitor *mon, uint8_t status, const struct err *e);
/* A console or a device is closed; also in other phases than the end. */
void end_part_closed(struct monitor *mon);
void end_apid_gone(struct monitor *mon);
/* vmmd is dead: everything of the VM goes, now. */
void end_vmmd_gone(struct monitor *mon);

#endif
