/* SPDX-License-Identifier: ISC */
/*
 * A virtio device as a vhost-user back end: everything but the device itself. A device is a struct vdevice_ops, a
 * main() that calls vdevice_main(), and files around them.
 *
 * Two lives, the same code:
 *   jailed	the parent's control socket is descriptor 3; HLP_VHOST, HLP_EVENTS and the device's own configuration message
 *		bring every descriptor there will ever be; then HLP_LOCKDOWN, filter @role, HLP_READY; rings only afterwards
 *   alone	--socket-path=S and the device's own options, opened here; descriptors come by the standard protocol; filter
 *		@role_alone
 *
 * Threads: the main thread has the vhost-user socket and the control socket. Queues are served in the main thread, or
 * (VDEVICE_THREADS) each in a thread of its own. Each thread has one event_base with the poll back end.
 */
#ifndef DEVICES_COMMON_VDEVICE_H
#define DEVICES_COMMON_VDEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/event.h>

#include "common/err.h"
#include "devices/common/vq.h"
#include "jail/jail.h"
#include "proto/chan.h"
#include "proto/desc.h"
#include "proto/msg.h"
#include "proto/stats_page.h"

enum { VDEVICE_QUEUES_MAX = 256, VDEVICE_CONFIG_MAX = 256 };

/* Descriptor numbers of every jailed device (jail/policy/roles.def): 3 control, 4 log, 5 vhost-user socket, 6 back end
 * requests, 7 err; from 8 the device's own; then, without a gap up to the limit on descriptors, call and kick of each
 * queue. */
enum { VDEVICE_FD_FIRST_OWN = 8 };

struct vdevice;

/* An option of the stand-alone life, for parsing, --help and the manual page. Value NULL: a flag. */
struct vdevice_option {
	const char *name;  /* without the dashes */
	const char *value; /* "PATH", "N", "on|off"; NULL: none */
	const char *help;
	/* Take it: range checks here, opening in .open_alone. */
	int (*take)(void *dev, const char *value, struct err *e);
};

enum vdevice_flags {
	VDEVICE_THREADS = 1 << 0,  /* a thread for each queue, when there is more than one */
	VDEVICE_INFLIGHT = 1 << 1, /* requests may complete out of order: track them, resubmit after a restart */
};

struct vdevice_ops {
	const char *name; /* "blk": of log lines, of the stand-alone program's messages */
	enum jail_role role, role_alone;
	uint32_t flags;
	unsigned fd_events;  /* FD_<role>_EVENTS: no call or kick has a lower number */
	unsigned queues_max; /* alone: as many as the front end may use; vdevice_set_queues() for fewer */

	/* Jailed: the device's own configuration. Take what @m carries with vdevice_take_fd(), fill @lim, make what
	 * must exist before the lock-down. On failure the process ends; the parent gets the chain. @lim starts as
	 * what the library knows: no file may grow, no more tasks than its threads, guest memory and a bit of address
	 * space. Of descriptors it counts itself: lim->nofile is how many numbers behind the last one are still to be
	 * used (0). */
	enum msg_type config_type;
	const struct desc *config_desc;
	int (*configure)(void *dev, const void *config, struct chan_msg *m, struct jail_limits *lim, struct err *e);

	/* Alone: options (ends with an empty one), then open what they name and fill @lim. */
	const struct vdevice_option *options;
	int (*open_alone)(void *dev, struct jail_limits *lim, struct err *e);

	/* Which of the threads serves queue @q, from 0; -1: the main thread. Absent: one for each queue.
	 * (VDEVICE_THREADS) */
	int (*thread_of)(const void *dev, unsigned q);
	/* Still before the lock-down, in the thread that will serve the queue: rings and descriptors of its own
	 * (vdevice_own_fd()), its place on the processors. One after the other. */
	int (*queue_init)(void *dev, unsigned q, struct err *e);

	/* Locked. Look at untrusted contents of images and the like now; set features and configuration space
	 * (vdevice_set_features(), vdevice_set_config()). *@detail goes out with READY. A failure is told to the
	 * parent with its chain, and is final. */
	int (*start)(void *dev, uint32_t *detail, struct err *e);

	/* The driver's choice of features: before the first queue starts, not again before all have stopped. */
	void (*set_features)(void *dev, uint64_t acked);
	/* The device is reset, by a driver that gives up or by a new one: the queues are idle. Not called at the
	 * start of the process. */
	void (*reset)(void *dev);
	/* The driver wrote to the configuration space: @len bytes at @off, inside the writable part that
	 * vdevice_set_config() declared. The image is changed already. */
	void (*config_written)(void *dev, uint32_t off, uint32_t len);

	/* Queue thread from here on. Something may be there: a kick, the start, vdevice_again(). Pop, serve, push
	 * until empty or a budget (64 or so) is spent - then vdevice_again(vd, q, 0) - and vq_flush() at the end. */
	void (*on_queue)(void *dev, struct vq *vq);
	/* While the thread polls instead of sleeping (vdevice_set_polling()): look at what else could have work,
	 * without waiting. True when there was something. */
	bool (*poll)(void *dev, struct vq *vq);
	/* The queue is about to be served / is to stop: nothing is popped any more; when nothing of it is in flight call
	 * vdevice_queue_idle() (at once when nothing is; an absent op means that). What was popped and not begun may
	 * be dropped: it comes again with the next start. */
	void (*queue_start)(void *dev, struct vq *vq);
	void (*queue_stop)(void *dev, struct vq *vq);

	/* Main thread. Other messages on the control socket (VCON_WINSIZE), drain before the end: as in struct
	 * device_ops. */
	int (*control)(void *dev, struct chan_msg *m, struct err *e);
	void (*drain)(void *dev, uint32_t timeout_ms, void (*done)(void *arg, bool complete), void *arg);
	/* The parent is gone (alone: the end has come): leave nothing behind on what others share. */
	void (*stop)(void *dev);
};

/* The whole life. @dev is the device's state, zeroed or initialised by main(). Returns the exit status. */
int vdevice_main(const struct vdevice_ops *ops, void *dev, struct vdevice **self, int argc, char **argv);

/* --- for devices ------------------------------------------------------------------------------------------------ */

/* Descriptor phase: descriptor @i of @m becomes number @number. */
int vdevice_take_fd(struct vdevice *vd, struct chan_msg *m, unsigned i, unsigned number, struct err *e) __must_check;
/* The same for a descriptor that was made here: *@fd becomes number @number, and -1. Numbers from VDEVICE_FD_FIRST_OWN on;
 * events follow the highest. Also alone, where numbers matter only when the role pins them. Any thread of the
 * descriptor phase. */
int vdevice_own_fd(struct vdevice *vd, int *fd, unsigned number, struct err *e) __must_check;
/* Alone, in .open_alone: serve @n queues, not queues_max. */
void vdevice_set_queues(struct vdevice *vd, unsigned n);
unsigned vdevice_n_queues(const struct vdevice *vd);
uint16_t vdevice_queue_size(const struct vdevice *vd);
bool vdevice_is_alone(const struct vdevice *vd);

/* Features beyond what the library offers by itself (VERSION_1, INDIRECT_DESC, EVENT_IDX, vhost's own bits); @without
 * names those of the library's that this device must not offer. */
void vdevice_set_features(struct vdevice *vd, uint64_t features, uint64_t without);
/* The whole configuration space, little endian; [@w_off, @w_off + @w_len) may be written by drivers. Later calls tell the
 * front end (CONFIG_CHANGE_MSG) when something differs. Main thread. */
void vdevice_set_config(struct vdevice *vd, const void *image, uint32_t len, uint32_t w_off, uint32_t w_len);
/* The configuration space as it is. */
const void *vdevice_config(const struct vdevice *vd);

/* Loop of the thread that serves queue @q; for events of the device's own. Before lock-down or in that thread. */
struct event_base *vdevice_base(struct vdevice *vd, unsigned q);
struct vq *vdevice_queue(struct vdevice *vd, unsigned q);
/* Call on_queue for @q again: soon (0) or in @ms. One pending call a queue, the earlier one counts. Queue thread. */
void vdevice_again(struct vdevice *vd, unsigned q, unsigned ms);
/* Call on_queue for @q now, from an event of the device's own (a completion, a packet, a timer). Chains are popped
 * nowhere else than in on_queue: the library sees there whether the device met the end of the ring, and asks for
 * kicks then, and only then. Queue thread. Does nothing while the queue does not run. */
void vdevice_serve(struct vdevice *vd, unsigned q);
/* Look at the queue for up to @us microseconds before sleeping, if lately something came that soon; 0: never. Before
 * it starts. */
void vdevice_set_polling(struct vdevice *vd, unsigned q, uint32_t us);
/* See queue_stop. Queue thread. */
void vdevice_queue_idle(struct vdevice *vd, unsigned q);
/* The guest broke the rules: count, log (limited), tell the front end by the err eventfd; the queue is not popped from until
 * it is started again. Queue thread. */
void vdevice_guest_error(struct vdevice *vd, unsigned q, const char *why);

/* Add to (or set) a counter of the statistics page; without a page it is private. Any thread. */
void vdevice_count(struct vdevice *vd, unsigned counter, uint64_t n);
struct stats_page *vdevice_stats(struct vdevice *vd);

#endif
