/* SPDX-License-Identifier: ISC */
/* The engine of plain system calls: each operation is finished when it was begun. */
#include "devices/blk/blk_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

static int64_t result(int64_t r)
{
	return r < 0 ? -errno : r;
}

/* #syscalls blk blk_alone: preadv(fd=IMAGE) pwritev(fd=IMAGE) fdatasync(fd=IMAGE) fallocate(fd=IMAGE) */
static int64_t run(int fd, const struct blk_io *io)
{
	switch (io->op) {
	case BLK_IO_READ:
		return result(preadv(fd, io->iov, (int)io->n_iov, (off_t)io->off));
	case BLK_IO_WRITE:
		return result(pwritev(fd, io->iov, (int)io->n_iov, (off_t)io->off));
	case BLK_IO_SYNC:
		return result(fdatasync(fd));
	case BLK_IO_PUNCH:
	case BLK_IO_ZERO:
		return result(fallocate(fd, blk_io_fallocate_mode(io->op), (off_t)io->off, (off_t)io->len));
	case BLK_IO_DISCARD:
		return blk_discard_device(fd, io->off, io->len);
	}
	return -EINVAL;
}

static bool sync_begin(struct blk_engine *g, struct blk_io *io)
{
	io->res = run(g->fd, io);
	return true;
}

static bool sync_submit(struct blk_engine *g)
{
	(void)g;
	return true;
}

static struct blk_io *sync_reap(struct blk_engine *g)
{
	(void)g;
	return NULL;
}

static bool sync_has_finished(struct blk_engine *g)
{
	(void)g;
	return false;
}

static void sync_wait(struct blk_engine *g)
{
	(void)g;
}

static void sync_fini(struct blk_engine *g)
{
	g->ops = NULL;
}

static const struct blk_engine_ops sync_ops = {
	.name = "sync",
	.begin = sync_begin,
	.submit = sync_submit,
	.reap = sync_reap,
	.has_finished = sync_has_finished,
	.wait = sync_wait,
	.fini = sync_fini,
};

void blk_sync_init(struct blk_engine *g, int fd)
{
	*g = (struct blk_engine){ .ops = &sync_ops, .fd = fd };
}
