/* SPDX-License-Identifier: ISC */
/*
 * How a queue gets its bytes from and to the image: io_uring, or plain system calls. One engine for each queue,
 * used by the queue's thread only. All an engine needs exists before the lock-down.
 */
#ifndef DEVICES_BLK_BLK_ENGINE_H
#define DEVICES_BLK_BLK_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/err.h"

enum {
	BLK_IOV_MAX = 1024,                   /* of one system call; what is beyond comes with the next one */
	BLK_RANGE_STEP = 1 << 30,             /* of a discard or of zeroes: then others have their turn */
};

enum blk_io_op {
	BLK_IO_READ,
	BLK_IO_WRITE,
	BLK_IO_SYNC,    /* fdatasync */
	BLK_IO_PUNCH,   /* a hole; of a device: zeros, blocks given back, only if it can */
	BLK_IO_ZERO,    /* zeros; blocks stay */
	BLK_IO_DISCARD, /* of a device: contents are gone */
};

/* One operation. Belongs to the caller, stays where it is until it is finished. */
struct blk_io {
	enum blk_io_op op;
	uint64_t off, len;
	struct iovec *iov; /* of reads and writes, at most BLK_IOV_MAX */
	unsigned n_iov;
	bool may_block; /* tried before, and the kernel would not without waiting */
	int64_t res;    /* finished: bytes (0 of the others), or a negative errno */
};

struct blk_engine;
struct blk_engine_ops {
	const char *name;
	/* Begin @io. True: it is finished. False: it is under way, and comes out of reap(). */
	bool (*begin)(struct blk_engine *g, struct blk_io *io);
	/* Hand over what was begun, once per batch. False: the kernel did not take all of it, ask again in a while. */
	bool (*submit)(struct blk_engine *g);
	/* The next operation that is finished, NULL when there is none. */
	struct blk_io *(*reap)(struct blk_engine *g);
	bool (*has_finished)(struct blk_engine *g);
	/* Sleep until something is finished. */
	void (*wait)(struct blk_engine *g);
	void (*fini)(struct blk_engine *g);
};

struct io_uring;
struct blk_engine {
	const struct blk_engine_ops *ops;
	int fd;                /* the image, not owned */
	struct io_uring *ring; /* io_uring only */
	unsigned begun;        /* and not handed over yet */
	struct blk_io *held;   /* a read that may be done without the ring */
	struct blk_io *inlined; /* and was */
	bool no_inline;        /* direct I/O, or the file system cannot say whether it would have to wait */
};

/* For at most @depth operations at a time. Descriptor phase. */
void blk_sync_init(struct blk_engine *g, int fd);
/* -ENOSYS, -EPERM, ...: this host has no io_uring for us. */
/* @control_fd: a file that is to stay open until the ring is over, or -1. */
int blk_uring_init(struct blk_engine *g, int fd, bool direct, int control_fd, unsigned depth, struct err *e) __must_check;
/* Its descriptor, readable when something is finished; and its new number, after it was moved. */
int blk_uring_fd(const struct blk_engine *g);
void blk_uring_set_fd(struct blk_engine *g, int fd);

/* fallocate's mode of an operation, for both engines. */
int blk_io_fallocate_mode(enum blk_io_op op);
/* Of a device's blocks; in this thread: bytes or -errno. */
int64_t blk_discard_device(int fd, uint64_t off, uint64_t len);

#endif
