/* SPDX-License-Identifier: ISC */
/* The device's parts: blk.c its two lives, blk_alone.c the options of the second one. */
#ifndef DEVICES_BLK_BLK_H
#define DEVICES_BLK_BLK_H

#include <sched.h>

#include "devices/blk/blk_queue.h"
#include "proto/config.h"

enum { BLK_POLL_US = 32 /* longest adaptive poll, unless told otherwise */ };

/* What it is told, by the parent's message or by options. */
struct blk_setup {
	bool use_io_uring;
	bool must_io_uring; /* asked for by name: no fallback */
	enum image_type image_type;
	const char *serial; /* NULL: one is made up */
	struct cfg_rate_limiter limits;
};

struct blk {
	struct vdevice *vd;
	struct vdevice_ops ops; /* with what depends on the configuration */
	struct blk_setup setup;
	struct blk_disk disk;
	struct ratelimit_shared own_limits;
	uint8_t *probe;         /* room for what is read of the image before the first request, freed by start */

	unsigned n_queues;
	uint32_t poll_us;       /* longest adaptive poll */
	struct blk_queue *queue;
	uint64_t acked;         /* main thread */
	bool started;           /* main thread */
	uint16_t queue_size;    /* that the driver is told of */
	cpu_set_t **cpus;       /* where each queue's thread may run; NULL: anywhere */
	size_t cpus_bytes;

	/* alone */
	char *path, *serial;
	uint64_t n_queues_wanted;
};

/* Descriptor phase, image and setup are there: examine the image, make engines and memory, lower @lim. */
int blk_prepare(struct blk *b, struct jail_limits *lim, struct err *e) __must_check;

/* None where none are given. */
int blk_own_limits(struct blk *b, const struct cfg_rate_limiter *cfg, struct err *e) __must_check;

extern const struct vdevice_option blk_options[];
void blk_alone_init(struct blk *b);
int blk_open_alone(void *dev, struct jail_limits *lim, struct err *e) __must_check;

#endif
