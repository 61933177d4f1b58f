/* SPDX-License-Identifier: ISC */
/*
 * Virtio devices: what they work on is opened here, and all that outlives a helper is kept here.
 *
 *	monitor_dev.c		the table; open, up, gone, successor, hand-over, release
 *	monitor_dev_shared.c	what every device has: eventfds, shared pages, sockets
 *	monitor_dev_disk.c monitor_dev_net.c monitor_dev_misc.c	kinds of devices (misc: entropy, virtio console)
 *	monitor_tap.c		cloister-tap, asked for a network device's taps
 *	monitor_dev_foreign.c	somebody else's back end: its socket
 *
 *	WAITING ── has what it works on ──► STARTING ── verified, or connected ──► UP ◄──► DOWN (a successor is on its way)
 *	   └──────── can't be had ──────────────┴──► FAILED ◄───────────────────────────────┘
 *	any ── release ──► (mon->dying) until no process of it is left; only then locks and taps are given back
 *
 * vmmd knows a device from the hand-over on, and an incarnation of it by its generation.
 */
#ifndef JAIL_MONITOR_DEV_H
#define JAIL_MONITOR_DEV_H

#include "jail/disk_open.h"
#include "jail/monitor_internal.h"

enum dev_state { DEV_WAITING, DEV_STARTING, DEV_UP, DEV_DOWN, DEV_FAILED };

enum {
	DEV_TAPS_MAX = 127,
	DEV_MAC_BYTES = 6,
	DEV_READY_MS = 5000,
	DEV_READY_DISK_MS = 30000, /* it looks at the image, and storage may be slow */
	DEV_PREDECESSOR_MS = 5000, /* a killed process that does not end hangs in the kernel */
};

/* Made once for a device; sealed, so nobody who gets one can change its size. */
struct dev_shared {
	int *events;  /* call and kick of each queue */
	unsigned n_events;
	int err_fd, inflight_fd, log_fd, stats_fd;
	uint64_t inflight_bytes, log_bytes;
};

/* Of one incarnation: the helper's end, vmmd's end. */
struct dev_wire {
	int vhost[2], backend[2];
};

struct tap_job;
struct dev_net {
	int taps[DEV_TAPS_MAX];
	unsigned n_taps;
	uint32_t n_pairs;
	uint8_t mac[DEV_MAC_BYTES];
	uint16_t mtu;
	struct tap_job *job; /* under way */
};

struct dev_rng {
	int source;
	bool is_stream;
};

struct dev_foreign {
	int socket, listen;
	struct event *on_timer, *on_listen;
	int64_t give_up_ms;
	char path[108]; /* to unlink, or "" */
	int error;      /* of the last try */
};

struct dev {
	struct monitor *mon;
	struct dev *next; /* in mon->dying */
	const struct dev_ops *ops;
	enum dev_kind kind;
	uint32_t index;
	bool ours;   /* else somebody else's back end */
	void *cfg;   /* as asked for; ops->cfg_desc */
	enum dev_state state;
	struct err *why; /* FAILED */
	bool closing;
	bool closed;       /* all that it had, on our side; ... */
	uint32_t after;    /* ... processes up to this one may have a copy */
	struct event *on_deadline; /* WAITING for a predecessor */
	uint32_t n_queues, queue_size, detail;
	struct dev_shared shared;
	struct dev_wire wire;
	struct helper helper;
	uint32_t generation;  /* of the present incarnation */
	bool handed;          /* vmmd has the device, ... */
	bool live;            /* ... and this incarnation of it */
	union {
		struct disk_image disk;
		struct dev_net net;
		struct dev_rng rng;
	};
	struct dev_foreign foreign;
};

/* A kind of device. */
struct dev_ops {
	const char *name; /* in error chains */
	const struct desc *cfg_desc;
	enum mon_exe exe;
	const struct helper_kind *helper;
	int uid_slot, uid_slots;
	const char *(*id)(const struct dev *d);
	/* Take queues and the like from the configuration; nothing is open yet. */
	int (*check)(struct dev *d, struct err *e);
	/* 0: open; 1: later (dev_opened(), dev_fail()); -errno. */
	int (*open)(struct dev *d, struct err *e);
	/* Send the helper its own configuration. */
	int (*configure)(struct dev *d, struct err *e);
	void (*expect)(const struct dev *d, struct verify_want *want);
	/* No process works on it any more. */
	void (*close)(struct dev *d);
};
extern const struct dev_ops dev_disk_ops, dev_net_ops, dev_net_ctl_ops, dev_rng_ops, dev_vcon_ops;

/* --- monitor_dev.c ---------------------------------------------------------------------------------------------- */

/* What .open() began is done, or failed. */
void dev_opened(struct dev *d);
void dev_fail(struct dev *d, const struct err *why);
/* The present incarnation serves; it is dead (a successor follows). */
void dev_up(struct dev *d);
void dev_down(struct dev *d, const char *why);
/* A part of a device that is being given up has ended: free it when that was the last. */
void dev_ended(struct dev *d);
/* 'disk "_disk0"' as the outermost link of @e. */
int dev_err(const struct dev *d, int r, struct err *e);
/* For log lines. */
const char *dev_label(const struct dev *d);

/* 1: all are up; 0: some need time; -errno: one failed. */
int dev_all_ready(const struct monitor *mon, struct err *e) __must_check;
int dev_hand_over(struct monitor *mon, struct err *e) __must_check;
/* Those that a hand-over's answer tells about. @res borrows nothing; obj_fini() it. */
int dev_details(const struct monitor *mon, struct msg_mon_handover_result *res) __must_check;
size_t dev_pids(const struct monitor *mon, pid_t *pids, size_t max);
/* Every device and group is given up; the virtio console drains for at most @drain_ms. */
void dev_release_all(struct monitor *mon, uint32_t drain_ms);
/* Those of a boot that came to no hand-over. */
void dev_release_unused(struct monitor *mon);
bool dev_all_closed(const struct monitor *mon);
void dev_kill_all(struct monitor *mon);
bool dev_console_in_use(const struct monitor *mon);
struct dev *dev_next(const struct monitor *mon, size_t *i); /* each device, NULL at the end */

/* --- monitor_dev_shared.c --------------------------------------------------------------------------------------- */

#define DEV_SHARED_NONE ((struct dev_shared){ .err_fd = -1, .inflight_fd = -1, .log_fd = -1, .stats_fd = -1 })
#define DEV_WIRE_NONE ((struct dev_wire){ { -1, -1 }, { -1, -1 } })
/* @ours: with what only our helpers get. */
int dev_shared_make(struct dev_shared *s, uint32_t n_queues, uint32_t queue_size, uint64_t memory_size, bool ours,
		    struct err *e) __must_check;
void dev_shared_close(struct dev_shared *s);
int dev_wire_make(struct dev_wire *w, struct err *e) __must_check;
void dev_wire_close(struct dev_wire *w);
/* The messages that every jailed helper gets before its own configuration. */
int dev_send_vhost(struct dev *d, struct err *e) __must_check;
/* MON_DEVICE, MON_DEVICE_EVENTS to vmmd. */
int dev_send_device(struct dev *d, struct err *e) __must_check;
int dev_make_page(const char *name, uint64_t bytes, struct err *e) __must_check;

/* --- monitor_dev_foreign.c -------------------------------------------------------------------------------------- */

#define DEV_FOREIGN_NONE ((struct dev_foreign){ .socket = -1, .listen = -1 })
/* Connect to, or listen on, @path; dev_up() or dev_fail() follows. */
int dev_foreign_open(struct dev *d, const char *path, bool listens, struct err *e) __must_check;
/* vmmd has lost it: again. */
void dev_foreign_renew(struct dev *d);
void dev_foreign_close(struct dev *d);

/* --- monitor_tap.c ---------------------------------------------------------------------------------------------- */

/* Ask for the taps of @d; dev_opened() or dev_fail() follows. @given: descriptors to check, or none. */
int tap_begin(struct dev *d, const struct msg_tap_config *ask, const int *given, struct err *e) __must_check;
/* Whoever asked has no interest any more. Its process ends, then dev_ended(). */
void tap_cancel(struct dev *d);
void tap_broken(struct tap_job *j);
/* Its process may have copies of our descriptors (monitor_sweep()): its number, else UINT32_MAX. */
uint32_t tap_fork_no(const struct tap_job *j);

#endif
