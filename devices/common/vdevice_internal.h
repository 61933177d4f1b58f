/* SPDX-License-Identifier: ISC */
/* Inside of a virtio device's process: its queues and threads, its two lives. */
#ifndef DEVICES_COMMON_VDEVICE_INTERNAL_H
#define DEVICES_COMMON_VDEVICE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "devices/common/vdevice.h"
#include "devices/common/vq_internal.h"
#include "devices/common/vu_server.h"

enum {
	VDEVICE_ALONE_QUEUE_SIZE = 1024, /* what front ends can set (QEMU's own limit) */
	VDEVICE_STACK = 256 * 1024,
};

/* What the main thread asks of a queue's thread: bits of dqueue.asked. */
enum { ASK_STOP = 1 << 0, ASK_START = 1 << 1, ASK_KICK = 1 << 2, ASK_RESET = 1 << 3 };

enum dqueue_state { DQ_IDLE, DQ_RUNNING, DQ_STOPPING };

struct worker;

struct dqueue {
	/* const after the descriptor phase */
	struct vdevice *vd;
	struct worker *worker;
	struct event *ev_kick, *ev_again;
	uint32_t poll_ns; /* 0: sleep at once */

	struct vq vq;          /* queue thread */
	struct vq_setup setup; /* main thread while idle, then the queue thread's */
	int kick_fd;           /* as setup; -1: none */
	int call_number, err_number; /* main thread: the numbers under which they are known; -1 */
	uint16_t base;               /* queue thread until idle */

	_Atomic unsigned asked;
	_Atomic int state; /* enum dqueue_state */
	_Atomic int err_fd;
	/* queue thread */
	bool again, told_fault;
	uint64_t fault_logged_s;
	unsigned faults_unsaid;
	uint64_t idle_since_ns;
	uint32_t wait_ns; /* how long lately until something came, on average */
};

/* A thread that serves queues. The first one is the main thread. */
struct worker {
	struct vdevice *vd;
	unsigned index;
	bool threaded;
	struct event_base *base;
	pthread_t thread;
	int wake; /* alone and threaded: what ends its sleep; else -1: it wakes by a queue's kick */
	struct event *ev_wake;
};

struct vdevice {
	const struct vdevice_ops *ops;
	void *dev;
	bool alone;
	unsigned n_queues;
	uint16_t queue_size;
	struct dqueue *queues;
	struct worker *workers; /* [0]: the main thread */
	unsigned n_workers;

	struct event_base *base; /* of the main thread */
	struct vu_server server;
	struct event *ev_vhost, *ev_vhost_write, *ev_tell, *ev_settle, *ev_main_wake;
	int main_wake;           /* eventfd: a queue in a thread came to rest; -1 without threads */
	unsigned own_top;        /* one more than the highest number of the device's own */
	void (*gone)(struct vdevice *vd); /* the connection is over and everything idle */
	bool disconnecting;
	int status;              /* exit status, -1: go on */

	struct stats_page *stats;
	struct stats_page own_stats; /* when none is shared */

	/* threads are made one after the other, and wait until all descriptors are in place */
	pthread_mutex_t mtx; /* guards the next two */
	pthread_cond_t cond;
	unsigned inits_done;
	bool go;
	int init_result;
	struct err init_err;
};

/* --- vdevice_queue.c -------------------------------------------------------------------------------------------- */

/* Storage for queues, events, threads: n_queues and queue_size are set. Makes the loops of all threads. */
int vdevice_queues_init(struct vdevice *vd, struct err *e) __must_check;
/* Make the threads, each with its devices' descriptors. They wait then. */
int vdevice_threads_start(struct vdevice *vd, struct err *e) __must_check;
/* All descriptors are in place (kick_fd, call_fd, err_fd of each queue, or -1): serve. */
int vdevice_threads_go(struct vdevice *vd, struct err *e) __must_check;
extern const struct vu_ops vdevice_vu_ops;
/* Wake the main thread to look at what came to rest. Any thread. */
void vdevice_notify_main(struct vdevice *vd);

/* --- vdevice_conn.c: the connection to the front end ------------------------------------------------------------ */

/* Events for the socket and for what comes to rest. Main thread, before the lock-down. */
int vdevice_conn_init(struct vdevice *vd, struct err *e) __must_check;
/* A front end on @fd: alone, the server's from now on. */
int vdevice_conn_open(struct vdevice *vd, int fd) __must_check;
void vdevice_conn_close(struct vdevice *vd);

/* --- the two lives ---------------------------------------------------------------------------------------------- */

int vdevice_jailed_main(struct vdevice *vd, int argc, char **argv);
int vdevice_alone_main(struct vdevice *vd, int argc, char **argv);
void vdevice_finish(struct vdevice *vd, int status);

#endif
