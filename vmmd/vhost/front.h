/* SPDX-License-Identifier: ISC */
/*
 * The front end of one vhost-user device, for our helpers and for anyone's back end ("Vhost-user Protocol").
 *
 *	DOWN --open--> HANDSHAKE --> READY --start--> RUNNING --stop--> STOPPING --> READY
 *	  ^ any state: broken, or vhost_front_close()
 *
 * HANDSHAKE asks for features, queues and configuration space. start goes through one order for everybody:
 *
 *	SET_FEATURES, memory, SET_VRING_NUM of all rings, GET_INFLIGHT_FD (after a stop; its answer is waited for),
 *	SET_INFLIGHT_FD, for each ring ADDR, BASE, CALL, KICK, ERR, then SET_BACKEND_REQ_FD, SET_STATUS, ENABLE of
 *	all rings
 *
 * and stop disables all rings, then asks each for its base, which is answered only when nothing of the ring is in
 * flight.
 *
 * Requests are queued without waiting for each other's answers, so nothing here blocks and a start is one burst. Our
 * helpers have every descriptor already and get none here; others get guest memory and events with the messages. What
 * the protocol calls user addresses are guest physical ones.
 *
 * Control thread only. Callbacks come from the loop and from vhost_front_pump().
 */
#ifndef VMMD_VHOST_FRONT_H
#define VMMD_VHOST_FRONT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "vmmd/arch/x86_64/memmap.h"
#include "vmmd/vhost/link.h"

enum vhost_state { VHOST_DOWN, VHOST_HANDSHAKE, VHOST_READY, VHOST_RUNNING, VHOST_STOPPING };

/* Guest memory as back ends see it: one file, runs of guest addresses. */
struct vhost_ram {
	int fd;
	unsigned n;
	struct memmap_ram run[MEMMAP_RAM_MAX];
};
_Static_assert((int)MEMMAP_RAM_MAX <= (int)VHOST_USER_MEM_REGIONS_MAX, "one SET_MEM_TABLE describes all of RAM");

struct vhost_ring {
	bool enabled; /* to be served */
	uint16_t size;
	uint16_t base; /* next available entry to take: 0, or after a restart what was used last */
	uint64_t desc, avail, used;
};

struct vhost_timeouts {
	uint32_t answer_ms; /* of everything but a stop */
	uint32_t stop_ms;
	uint32_t death_ms; /* of a back end that was killed */
};
extern const struct vhost_timeouts vhost_timeouts;

struct vhost_front_ops {
	/* The handshake is over: features and config hold what the back end has. */
	void (*ready)(void *arg);
	/* The configuration space was read again. */
	void (*config)(void *arg);
	/* Nothing is in flight any more. */
	void (*stopped)(void *arg);
	/* A request of the start was refused: the rings are in no known state, until a stop. */
	void (*refused)(void *arg, const char *what);
	/* It broke the protocol, does not answer or is gone. DOWN already. */
	void (*broken)(void *arg, const char *why);
};

/* What stays for the device's life. @kick, @call are borrowed. */
struct vhost_front_cfg {
	struct event_base *base;
	bool ours;
	unsigned n_queues;
	uint16_t queue_size;
	uint32_t config_len; /* asked for; 0: none */
	bool config_needed;  /* else it may have none */
	const int *kick, *call;
	int err;
	struct vhost_timeouts timeouts;
	const struct vhost_front_ops *ops;
	void *arg;
};

struct vhost_front {
	struct vhost_front_cfg cfg;
	enum vhost_state state;
	struct vhost_link link;
	/* What it told in the last handshake. */
	uint64_t features, proto;
	uint64_t max_queues, max_slots;
	bool has_config;
	uint8_t config[VHOST_USER_CONFIG_MAX]; /* as the guest sees it: writes of the driver included */

	/* Configuration space on its way. */
	bool getting, get_again, setting, set_again;
	bool written;              /* by the driver, since the last stop: outlives back ends */
	uint32_t set_off, set_len; /* what a driver may write */

	/* The run. */
	uint64_t acked;
	const struct vhost_ram *ram;
	struct vhost_ring *rings; /* n_queues of them */
	unsigned active;          /* so many, from the first on, are enabled when they run; outlives back ends */
	bool *kicked;             /* [n_queues] they were handed to this back end */
	bool mem_set;             /* it knows guest memory */
	bool has_inflight;        /* inflight is of this run, to be set again at a restart */
	bool waits_inflight;
	struct vhost_user_inflight inflight;
	int inflight_fd;
	unsigned bases_due; /* answers that a stop waits for */
};

int vhost_front_init(struct vhost_front *f, const struct vhost_front_cfg *cfg) __must_check;
void vhost_front_fini(struct vhost_front *f);

/* DOWN -> HANDSHAKE. Takes *@fd. */
int vhost_front_open(struct vhost_front *f, int *fd) __must_check;
void vhost_front_close(struct vhost_front *f);

/* READY -> RUNNING. f->rings is filled in; @ram is borrowed until the stop. @resume: goes on where a back end before
 * stopped (the same in-flight region); else nothing is in flight. */
void vhost_front_start(struct vhost_front *f, uint64_t acked, const struct vhost_ram *ram, bool resume);
/* Any state; calls stopped, maybe at once. */
void vhost_front_stop(struct vhost_front *f);
/* What was in flight will not be wanted: before a start that isn't a resume. */
void vhost_front_forget(struct vhost_front *f);

/* So many rings are to be enabled, in any state: the others run, but are not to be served. */
void vhost_front_set_active(struct vhost_front *f, unsigned n);

/* RUNNING, our helpers: a doorbell in the band. */
void vhost_front_kick(struct vhost_front *f, unsigned q);
/* RUNNING, others: hand over f's kick descriptor @fd for ring @q instead of the one they have. */
void vhost_front_set_kick(struct vhost_front *f, unsigned q, const int *fd);
/* The driver wrote; @off and @len inside what vhost_front_writable() allows. Kept for later when there is no back
 * end. */
void vhost_front_write_config(struct vhost_front *f, uint32_t off, const void *p, uint32_t len);
void vhost_front_writable(struct vhost_front *f, uint32_t off, uint32_t len);
/* The back end says that its configuration space has changed. */
void vhost_front_refresh_config(struct vhost_front *f);

void vhost_front_pump(struct vhost_front *f);

#endif
