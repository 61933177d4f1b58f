/* SPDX-License-Identifier: ISC */
/*
 * The back end's side of the vhost-user protocol, on a stream socket that never blocks.
 *
 *	socket --> vu_wire.c: headers, payloads, descriptors --> vu_server.c: one table, a handler for each message
 *	                                                              │ vu_rings.c: which ring should run
 *	                                                              ▼
 *	                                              struct vu_ops: queues start, stop, are idle
 *
 * A message that needs queues to be at rest (GET_VRING_BASE, a new memory table, a reset) is held: what runs is told to
 * stop, and when all of it is idle the message is acted on and answered. Nothing is read meanwhile. Rings that should
 * still run are then started again.
 *
 * Preset mode (proto/vhost_user.h): no descriptor ever comes, and recvmsg is not called. Otherwise the standard; a
 * message with other descriptors than it should have, an impossible length or index, or an unknown number ends the
 * connection. A message that is well made and refused is answered so, if the front end wants answers; else that ends
 * the connection too.
 *
 * Main thread only, but for vu_server_needs_reset().
 */
#ifndef DEVICES_COMMON_VU_SERVER_H
#define DEVICES_COMMON_VU_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/common/dirty_log.h"
#include "devices/common/vq_internal.h"
#include "devices/common/vu_mem.h"
#include "proto/vhost_user.h"

enum { VU_FDS_MAX = VHOST_USER_MEM_REGIONS_MAX };

struct vu_ops {
	/* Serve the queue; @s is copied. Stop it: soon .queue_is_idle, and then somebody calls vu_server_settle(). */
	void (*queue_start)(void *arg, unsigned q, const struct vq_setup *s);
	void (*queue_stop)(void *arg, unsigned q);
	bool (*queue_is_idle)(void *arg, unsigned q);
	uint16_t (*queue_base)(void *arg, unsigned q); /* of an idle one that has run */
	void (*queue_kick)(void *arg, unsigned q);
	void (*queue_log)(void *arg, unsigned q, bool on); /* log the used ring of a queue that may be running */
	/* Not preset. The descriptor becomes the callee's; -1: none. The kick's is set while the queue is idle, the
	 * others at any time. */
	void (*set_kick)(void *arg, unsigned q, int fd);
	void (*set_call)(void *arg, unsigned q, int fd);
	void (*set_err)(void *arg, unsigned q, int fd);
	void (*set_features)(void *arg, uint64_t acked);
	void (*config_written)(void *arg, uint32_t off, uint32_t len);
	/* A reset of the device: the queues are idle, the guest's faults are forgotten. */
	void (*reset)(void *arg);
};

struct vu_ring {
	bool started;  /* by the front end: between SET_VRING_KICK and GET_VRING_BASE */
	bool enabled;
	enum { VU_IDLE, VU_RUNNING, VU_STOPPING } state;
	bool has_addr, has_run;
	uint16_t num, base;
	struct vhost_user_vring_addr addr;
};

/* A region of shared memory; preset ones are never unmapped. */
struct vu_shared {
	void *map;
	uint64_t map_bytes;
	uint8_t *at;
	uint64_t bytes;
};

struct vu_server {
	/* const after vu_server_init() */
	const struct vu_ops *ops;
	void *arg;
	bool preset, with_inflight;
	unsigned n_queues;
	uint16_t queue_size; /* largest */
	struct vu_ring *rings;

	uint64_t features; /* of the device and of virtio; vhost's own are added */
	int fd, backend_fd; /* -1: not connected; not owned in preset mode */
	uint64_t acked, protocol;
	bool has_features;
	uint8_t status;
	_Atomic bool needs_reset;

	struct vu_mem mem;
	struct dirty_log log;
	struct vu_shared log_map, inflight;
	int inflight_fd; /* of the one made here, while the front end may still have to get it */
	bool has_inflight;
	uint16_t inflight_queue_size;

	uint8_t config[VHOST_USER_CONFIG_MAX];
	uint32_t config_len, w_off, w_len;
	bool config_changed; /* the front end has not been told yet */

	/* one message in, one out */
	struct vhost_user_header head;
	uint8_t payload[VHOST_USER_PAYLOAD_MAX];
	size_t have; /* bytes of head and payload */
	int fds[VU_FDS_MAX];
	unsigned n_fds;
	bool held, closing;
	uint8_t out[sizeof(struct vhost_user_header) + VHOST_USER_PAYLOAD_MAX];
	size_t out_len, out_at;
	int out_fd; /* goes with the first byte; not owned */
	bool out_with_fd;
};

/* @n_queues rings of up to @queue_size. Preset memory, log and in-flight region are put into the structure afterwards. */
int vu_server_init(struct vu_server *s, const struct vu_ops *ops, void *arg, bool preset, unsigned n_queues,
		   uint16_t queue_size) __must_check;
void vu_server_fini(struct vu_server *s);

/* A front end has come; takes @fd (preset: borrows). */
void vu_server_connect(struct vu_server *s, int fd);
/* Read and act. 0, or -EPIPE or another error: the connection is over: see vu_server_disconnect(). */
int vu_server_readable(struct vu_server *s, struct err *e) __must_check;
/* Send what waits. */
int vu_server_writable(struct vu_server *s) __must_check;
/* Something came to rest. As vu_server_readable(). */
int vu_server_settle(struct vu_server *s, struct err *e) __must_check;
bool vu_server_wants_read(const struct vu_server *s);
bool vu_server_wants_write(const struct vu_server *s);
/* Stop everything; true when all is idle, all of the connection's is closed and unmapped, and another front end may
 * come. Else ask again when something came to rest. */
bool vu_server_disconnect(struct vu_server *s) __must_check;

/* Tell the front end that the configuration space differs. Later when it can't be told now: vu_server_wants_tell(). */
void vu_server_config_changed(struct vu_server *s);
bool vu_server_wants_tell(const struct vu_server *s);
int vu_server_tell(struct vu_server *s);
/* The guest broke its rings. Any thread. */
void vu_server_needs_reset(struct vu_server *s);

#endif
