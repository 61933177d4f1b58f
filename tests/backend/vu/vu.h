/* SPDX-License-Identifier: ISC */
/*
 * A vhost-user front end and a virtio driver in one program, over a memfd, without a guest: what the backend tier and
 * the benchmarks drive helpers with.
 *
 *	mem	guest memory, where a gpa lies in it, what is handed out of it
 *	proc	the back end's process: started, watched, killed
 *	front	messages and the handshake (Vhost-user Protocol)
 *	ring	a driver's side of one split virtqueue (virtio v1.2 2.7)
 *	tests	TAP, each test in a process group of its own
 *
 * Three ways to have a back end:
 *	VU_ALONE	one of our helpers with --socket-path and its options; descriptors go by SCM_RIGHTS
 *	VU_PRESET	the same helper as a jailed parent starts it: descriptors ahead over the control socket, lock-down, exact limits
 *			and filter (the namespaces, the uid and the empty root are the parent's part, and left out here)
 *	VU_FOREIGN	anyone's: a command line, or a socket that is there
 *
 * Whatever waits has a deadline. Functions return 0 or a positive result, failure is a negative errno; the text behind it is
 * printed as a TAP diagnostic where it is known.
 */
#ifndef TESTS_BACKEND_VU_VU_H
#define TESTS_BACKEND_VU_VU_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "proto/chan.h"
#include "proto/desc.h"
#include "proto/msg.h"
#include "proto/stats_page.h"
#include "proto/vhost_user.h"

enum {
	VU_QUEUES = 64,
	VU_TIMEOUT_MS = 5000,
	VU_FDS_MAX = 253,
};
#define VU_RAM_DEFAULT (UINT64_C(64) << 20)
#define VU_HIGH_GPA (UINT64_C(4) << 30)

enum vu_mode { VU_ALONE, VU_PRESET, VU_FOREIGN };

struct vu_cfg {
	enum vu_mode mode;
	const char *program; /* "cloister-rng", of the build under test; foreign: as execvp() finds it; NULL: nobody is started */
	/* Beside the socket: alone its options, foreign all (with "%s" where the socket's path goes). NULL ends. */
	const char *const *args;
	const char *word;    /* preset: its only argument, NULL: none */
	const char *socket;  /* NULL: one in a folder of its own; foreign: where it listens */
	unsigned n_queues;   /* 0: 1 */
	uint16_t queue_size; /* 0: 128 */
	uint64_t ram_bytes;  /* 0: VU_RAM_DEFAULT */
	bool hole;	     /* the second half of memory lies at VU_HIGH_GPA */
	uint64_t features;   /* accept these of what is offered; 0: all that the harness knows */
	uint64_t protocol;   /* the same for protocol features; 0: all that the harness knows */
	int cpu;	     /* back end's, as cpu + 1; 0: any */
	int (*thread_main)(int argc, char **argv); /* preset: a thread with a descriptor table of its own, not a process */

	/* preset: the device's own configuration */
	enum msg_type config_type;
	const struct desc *config_desc;
	const void *config;
	const int *fds;
	unsigned n_fds;
};

struct vu_region {
	uint64_t gpa, size, off;
};

struct vu_ring;

/* Open, so that hostile tests can break any of it. */
struct vu {
	struct vu_cfg cfg;
	unsigned id; /* no other has it */

	/* memory */
	int ram_fd;
	uint8_t *ram;
	uint64_t ram_bytes;
	struct vu_region region[2];
	unsigned n_regions;
	uint64_t next_gpa; /* of vu_alloc() */

	/* what outlives a back end */
	int err_fd, inflight_fd, log_fd, stats_fd;
	uint64_t inflight_bytes, inflight_off, log_bytes;
	uint8_t *inflight, *log;
	struct stats_page *stats;
	int kick[VU_QUEUES], call[VU_QUEUES];

	/* its process */
	pid_t pid;     /* 0: none of ours */
	pid_t tid;     /* cfg.thread_main: the thread's */
	pthread_t thread;
	char dir[64], socket[108];
	int text_fd;   /* what it wrote: stderr in a memfd, or its log socket */
	struct chan *control;
	uint32_t ready_detail;

	/* the connection */
	int sock;
	int backend; /* our end of the back end's requests */
	int their_sock, their_backend; /* preset: until they are sent */
	uint64_t offered, acked, protocol_offered, protocol;
	uint64_t queues_max;
	struct vu_ring *ring[VU_QUEUES];
	unsigned n_queues;
	uint16_t queue_size;
	bool running;
};

/* --- everything at once ------------------------------------------------------------------------------------------------- */

/* Memory, back end, handshake, all rings started. NULL: failed, and said why. */
struct vu *vu_new(const struct vu_cfg *cfg);
/* The same without starting rings (vu_start()), or without the handshake (vu_hello()). */
struct vu *vu_new_idle(const struct vu_cfg *cfg);
struct vu *vu_new_mute(const struct vu_cfg *cfg);
/* Memory and rings and nobody to serve them: @cfg->features are in force. For floors. */
struct vu *vu_new_bare(const struct vu_cfg *cfg);
/* Ends the back end and frees all. False: it did not end as it should (a signal, an odd status). Accepts NULL. */
bool vu_free(struct vu *v);

/* Kill it, start a successor over what outlives it, shake hands, take up the rings where they stand. */
int vu_restart(struct vu *v) __must_check;
/* The second half, for a back end that is dead already. */
int vu_succeed(struct vu *v) __must_check;

/* --- mem ------------------------------------------------------------------------------------------------------------------ */

int vu_mem_init(struct vu *v) __must_check;
void vu_mem_fini(struct vu *v);
/* A piece of guest memory, zeroed, never given back (vu_alloc_reset() forgets all of it). 0 when there is none left. */
uint64_t vu_alloc(struct vu *v, uint64_t bytes, uint64_t align);
void vu_alloc_reset(struct vu *v);
/* NULL unless [@gpa, @gpa + @len) lies in one region. */
void *vu_ptr(struct vu *v, uint64_t gpa, uint64_t len);
/* A memfd of @bytes, sealed against changes of size. */
int vu_memfd(const char *name, uint64_t bytes) __must_check;

/* --- proc ----------------------------------------------------------------------------------------------------------------- */

const char *vu_build(void);
int vu_proc_start(struct vu *v) __must_check;
/* preset: the descriptor phase up to READY. @lock false: all but LOCKDOWN. */
int vu_proc_configure(struct vu *v, bool lock) __must_check;
bool vu_proc_alive(struct vu *v);
/* Wait for its end: exit status, or 128 + signal; -ETIMEDOUT. */
int vu_proc_wait(struct vu *v, int timeout_ms);
void vu_proc_kill(struct vu *v);
/* Of any child of ours, without a deadline: as vu_proc_wait(). */
int vu_wait_for(pid_t pid);
/* Print what it wrote. */
void vu_proc_text(struct vu *v);
/* Anonymous memory in KiB, open descriptors, processor time in us; 0 when there is no process. */
uint64_t vu_proc_rss_kib(const struct vu *v);
unsigned vu_proc_fds(const struct vu *v);
uint64_t vu_proc_cpu_us(const struct vu *v);

/* --- front: messages ------------------------------------------------------------------------------------------------------- */

/* One message as it is. 0, -EPIPE. */
int vu_send(struct vu *v, uint32_t request, uint32_t flags, const void *payload, uint32_t size, const int *fds,
	    unsigned n_fds) __must_check;
/* Any bytes at all. */
int vu_send_raw(struct vu *v, const void *p, size_t len, const int *fds, unsigned n_fds) __must_check;
/* A reply to @request of exactly @size bytes. 0, -ETIMEDOUT, -EPIPE (it hung up), -EBADMSG. @fd: NULL, or gets -1 or a descriptor. */
int vu_reply(struct vu *v, uint32_t request, void *payload, uint32_t size, int *fd) __must_check;
/* Send, and with REPLY_ACK wait for the verdict: 0 accepted, > 0 refused, -errno. Without REPLY_ACK: a message that has a reply
 * (GET_FEATURES) is awaited behind it, so that the back end has acted on it. */
int vu_tell(struct vu *v, uint32_t request, const void *payload, uint32_t size, const int *fds, unsigned n_fds) __must_check;
int vu_tell_u64(struct vu *v, uint32_t request, uint64_t value) __must_check;
int vu_ask_u64(struct vu *v, uint32_t request, uint64_t *value) __must_check;
bool vu_has(const struct vu *v, unsigned protocol_feature);
/* Has it hung up (within @timeout_ms)? */
bool vu_hung_up(struct vu *v, int timeout_ms);

/* --- front: the handshake ---------------------------------------------------------------------------------------------------- */

int vu_connect(struct vu *v) __must_check;
void vu_disconnect(struct vu *v);
/* Features, protocol features, owner, queue count, back end channel. */
int vu_hello(struct vu *v) __must_check;
/* SET_FEATURES, memory, in-flight region, dirty log, rings. @fresh: rings begin at 0 and in-flight is empty; else both go on. */
int vu_start(struct vu *v, bool fresh) __must_check;
/* Parts of it. */
int vu_set_memory(struct vu *v) __must_check;
int vu_set_inflight(struct vu *v, bool fresh) __must_check;
int vu_set_log(struct vu *v) __must_check; /* when LOG_SHMFD and F_LOG_ALL are on */
int vu_start_ring(struct vu *v, unsigned i, uint16_t base) __must_check;
/* GET_VRING_BASE: the ring is at rest afterwards. Returns the base (avail index), -errno. */
int vu_stop_ring(struct vu *v, unsigned i) __must_check;
int vu_stop(struct vu *v) __must_check;
/* What a driver's reset does: stop the rings, RESET_DEVICE or status 0; rings are made anew and start again. */
int vu_reset(struct vu *v) __must_check;

int vu_get_config(struct vu *v, void *dst, uint32_t len) __must_check;
int vu_set_config(struct vu *v, uint32_t off, const void *src, uint32_t len) __must_check;
/* The back end's own request within @timeout_ms: its number, 0 none. */
int vu_backend_request(struct vu *v, int timeout_ms);
/* Has it asked for a reset since the last time (err eventfd)? */
bool vu_needs_reset(struct vu *v, int timeout_ms);
uint64_t vu_stat(const struct vu *v, unsigned counter);

/* --- ring ------------------------------------------------------------------------------------------------------------------ */

struct vu_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
enum { VU_NEXT = 1, VU_WRITE = 2, VU_INDIRECT = 4 };

struct vu_buf {
	uint64_t gpa;
	uint32_t len;
};

/* Open for the hostile: d, avail and used are guest memory. */
struct vu_ring {
	struct vu *v;
	unsigned index;
	uint16_t size;
	uint64_t desc_gpa, avail_gpa, used_gpa;
	struct vu_desc *d;
	uint16_t *avail; /* flags, idx, ring[size], used_event */
	uint16_t *used;  /* flags, idx, { u32 id, len }[size], avail_event */
	bool event_idx, use_indirect; /* the latter when accepted; may be turned off */
	bool no_interrupts;           /* poll */
	int kick, call;

	uint64_t indirect_gpa; /* VU_INDIRECT_MAX descriptors for each head */
	uint16_t avail_idx, used_idx, kicked_idx, n_free, free_head;
	uint16_t *next;   /* free list, and chains */
	uint16_t *n_desc; /* of each head's chain; 0: not in flight */
	uint64_t *token;
	uint64_t kicks, calls;
};
enum { VU_INDIRECT_MAX = 64 };

int vu_ring_init(struct vu_ring *r, struct vu *v, unsigned index, uint16_t size) __must_check;
void vu_ring_fini(struct vu_ring *r);
/* As after a reset: empty. */
void vu_ring_clear(struct vu_ring *r);
/* Add a chain; the back end does not see it before vu_ring_kick(). Head, or -ENOSPC. */
int vu_ring_add(struct vu_ring *r, const struct vu_buf *out, unsigned n_out, const struct vu_buf *in, unsigned n_in,
		uint64_t token);
/* Publish what was added; kick if the device wants that. */
void vu_ring_kick(struct vu_ring *r);
/* Take one used chain: 1 (*token, *len set), 0 none, -EBADMSG: one that was not in flight. */
int vu_ring_pop(struct vu_ring *r, uint64_t *token, uint32_t *len);
/* Until something is used: 1, or 0 after @timeout_ms. Sleeps on the call eventfd, or polls when no_interrupts. */
int vu_ring_wait(struct vu_ring *r, int timeout_ms);
/* One chain, from add to pop: bytes written, or -errno. */
int vu_ring_do(struct vu_ring *r, const struct vu_buf *out, unsigned n_out, const struct vu_buf *in, unsigned n_in);
uint16_t vu_ring_in_flight(const struct vu_ring *r);
/* The device's used index as it stands in the ring. */
uint16_t vu_ring_device_idx(const struct vu_ring *r);
/* Chains of whatever shape: @n descriptors are written from table index 0 on and @head goes into the available ring @times
 * times; nothing is remembered. */
void vu_ring_raw(struct vu_ring *r, const struct vu_desc *d, unsigned n, uint16_t head, unsigned times);

#endif
