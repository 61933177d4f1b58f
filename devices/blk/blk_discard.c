/* SPDX-License-Identifier: ISC */
/* Giving blocks back: what both engines share. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "devices/blk/blk_engine.h"

/* The file never changes its size by that. */
int blk_io_fallocate_mode(enum blk_io_op op)
{
	return op == BLK_IO_PUNCH ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
}

/* For devices that can discard, but cannot promise zeros afterwards: there fallocate has no mode.
 * #syscalls blk blk_uring blk_alone: ioctl(IMAGE: BLKDISCARD)
 */
int64_t blk_discard_device(int fd, uint64_t off, uint64_t len)
{
	uint64_t range[2] = { off, len };

	return ioctl(fd, BLKDISCARD, range) < 0 ? -errno : (int64_t)len;
}
