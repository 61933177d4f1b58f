/* SPDX-License-Identifier: ISC */
#include "devices/blk/blk_image.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/ovf.h"

static bool is_block_size(uint64_t v)
{
	return is_pow2_u64(v) && v >= BLK_SECTOR && v <= BLK_ALIGN_MAX;
}

/* --- block devices -------------------------------------------------------------------------------------------- */

/* Whether the kernel would discard: asked for a range behind the end, so that nothing happens. Which of the two
 * errors comes back tells it; the device's own answer is looked at before the range. */
static bool device_can_discard(int fd, uint64_t bytes)
{
	uint64_t range[2] = { bytes, BLK_ALIGN_MAX };

	return ioctl(fd, BLKDISCARD, range) == 0 || errno == EINVAL;
}

/* #syscalls monitor: ioctl(ANY: BLKGETSIZE64, BLKSSZGET, BLKPBSZGET, BLKIOMIN, BLKIOOPT, BLKDISCARD)
 * (of a child before its own filter)
 */
static int examine_device(struct blk_image *img, struct err *e)
{
	struct blk_shape *s = &img->shape;
	unsigned physical = 0, min_io = 0, opt_io = 0;
	int logical = 0;

	if (ioctl(img->fd, BLKGETSIZE64, &s->bytes) < 0 || ioctl(img->fd, BLKSSZGET, &logical) < 0)
		return err_sys(e, -errno, "size of the block device");
	if (logical < 0 || !is_block_size((uint64_t)logical))
		return err_set(e, -EINVAL, "block device has sectors of %d bytes", logical);
	s->logical = (uint32_t)logical;
	(void)ioctl(img->fd, BLKPBSZGET, &physical);
	(void)ioctl(img->fd, BLKIOMIN, &min_io);
	(void)ioctl(img->fd, BLKIOOPT, &opt_io);
	s->physical = is_pow2_u64(physical) && physical >= s->logical ? physical : s->logical;
	s->min_io = min_io;
	s->opt_io = opt_io;
	if (img->direct)
		img->mem_align = img->off_align = s->logical;
	/* Zeros the kernel writes itself where the device has no command for them. */
	s->can_zero = !s->readonly;
	s->can_discard = !s->readonly && device_can_discard(img->fd, s->bytes);
	return 0;
}

/* --- files ---------------------------------------------------------------------------------------------------- */

/* Kernels (6.1 on) and file systems that say how.
 * #syscalls monitor: statx -- of a child before its own filter
 */
static bool ask_alignment(struct blk_image *img)
{
	struct statx stx;

	if (statx(img->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) < 0 || (stx.stx_mask & STATX_DIOALIGN) == 0 ||
	    stx.stx_dio_offset_align == 0 || stx.stx_dio_mem_align == 0)
		return false;
	img->mem_align = stx.stx_dio_mem_align;
	img->off_align = stx.stx_dio_offset_align;
	return true;
}

/* The others: what read takes. The bytes are not looked at.
 * #syscalls monitor: pread64 -- of a child before its own filter
 */
static bool try_alignment(struct blk_image *img)
{
	void *buf = NULL;
	bool found = false;

	if (posix_memalign(&buf, BLK_ALIGN_MAX, BLK_ALIGN_MAX) != 0)
		return false;
	for (uint32_t a = BLK_SECTOR; a <= BLK_ALIGN_MAX && !found; a <<= 1) {
		found = pread(img->fd, buf, a, 0) >= 0;
		if (found)
			img->mem_align = img->off_align = a;
	}
	free(buf);
	return found;
}

/* #syscalls monitor: fallocate -- of a child before its own filter */
static int examine_file(struct blk_image *img, const struct stat *st, struct err *e)
{
	struct blk_shape *s = &img->shape;

	s->bytes = (uint64_t)st->st_size;
	s->logical = BLK_SECTOR;
	if (img->direct && !ask_alignment(img) && !try_alignment(img))
		return err_set(e, -ENOTSUP, "direct I/O is not possible with this file");
	if (img->direct && (!is_pow2_u64(img->off_align) || img->off_align > BLK_ALIGN_MAX || !is_pow2_u64(img->mem_align) ||
			    img->mem_align > BLK_ALIGN_MAX))
		return err_set(e, -ENOTSUP, "direct I/O with this file needs units of %u bytes", img->off_align);
	if (img->off_align > s->logical)
		s->logical = img->off_align;
	s->physical = s->min_io = s->logical;
	/* A hole behind the end changes nothing. Zeroing needs no trial: where the file system has no call for it,
	 * zeros are written. */
	off_t behind = (off_t)(s->bytes / BLK_ALIGN_MAX * BLK_ALIGN_MAX + BLK_ALIGN_MAX);
	s->can_discard = !s->readonly && behind > 0 &&
			 fallocate(img->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, behind, BLK_ALIGN_MAX) == 0;
	s->can_zero = s->can_discard;
	return 0;
}

static void set_id(struct blk_image *img, const char *serial, const struct stat *st)
{
	char text[64];

	if (serial == NULL) {
		(void)snprintf(text, sizeof(text), "%llu%llu%llu", (unsigned long long)st->st_dev,
			       (unsigned long long)st->st_rdev, (unsigned long long)st->st_ino);
		serial = text;
	}
	memset(img->id, 0, sizeof(img->id));
	memcpy(img->id, serial, strnlen(serial, sizeof(img->id)));
}

int blk_image_examine(struct blk_image *img, const char *serial, struct err *e)
{
	struct stat st;
	int r;

	if (fstat(img->fd, &st) < 0)
		return err_sys(e, -errno, "image");
	img->is_device = S_ISBLK(st.st_mode);
	img->mem_align = img->off_align = 1;
	if (!img->is_device && !S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "image is neither a file nor a block device");
	r = img->is_device ? examine_device(img, e) : examine_file(img, &st, e);
	if (r < 0)
		return r;
	if (img->shape.bytes < BLK_SECTOR)
		return err_set(e, -EINVAL, "image is shorter than a sector");
	if (img->shape.bytes % BLK_SECTOR != 0)
		log_warn("image of %llu bytes: the last %u are no sector and are not used",
			 (unsigned long long)img->shape.bytes, (unsigned)(img->shape.bytes % BLK_SECTOR));
	set_id(img, serial, &st);
	return 0;
}
