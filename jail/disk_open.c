/* SPDX-License-Identifier: ISC */
#include "jail/disk_open.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/str.h"
#include "jail/open_policy.h"

static void note_file(struct disk_image *img, const struct stat *st)
{
	img->is_device = S_ISBLK(st->st_mode);
	img->dev = img->is_device ? (uint64_t)st->st_rdev : (uint64_t)st->st_dev;
	img->ino = img->is_device ? 0 : (uint64_t)st->st_ino;
	(void)str_fmt(img->serial, sizeof(img->serial), "%llu%llu%llu", (unsigned long long)st->st_dev,
		      (unsigned long long)st->st_rdev, (unsigned long long)st->st_ino);
	img->serial[20] = '\0'; /* virtio v1.2 5.2.6.1: at most 20 bytes */
}

static int check_size(struct disk_image *img, const char *path, struct err *e)
{
	if (img->size > INT64_MAX)
		return err_set(e, -EFBIG, "\"%s\" is too large", path);
	if (img->size < DISK_SECTOR)
		return err_set(e, -EINVAL, "\"%s\" has %llu bytes, less than one sector", path,
			       (unsigned long long)img->size);
	img->odd = (uint32_t)(img->size % DISK_SECTOR);
	img->size -= img->odd;
	return 0;
}

static int open_image(struct disk_image *img, int look, const struct cfg_disk *cfg, struct err *e)
{
	int flags = cfg->readonly ? O_RDONLY : O_RDWR;

	img->lock = open_policy_again(look, flags | O_NONBLOCK);
	if (img->lock < 0)
		return err_sys(e, img->lock, "cannot open \"%s\"%s", cfg->path, cfg->readonly ? "" : " for writing");
	img->image = open_policy_again(look, flags | (cfg->direct ? O_DIRECT : 0) | O_NONBLOCK);
	if (img->image == -EINVAL && cfg->direct)
		return err_set(e, img->image, "\"%s\" lies on a file system without direct I/O", cfg->path);
	if (img->image < 0)
		return err_sys(e, img->image, "cannot open \"%s\"", cfg->path);
	return fd_set_nonblock(img->image, false);
}

/* #syscalls monitor: newfstatat close */
int disk_open(struct disk_image *out, const struct cfg_disk *cfg, struct err *e)
{
	_cleanup_(fd_closep) int look = -1;
	struct stat st;
	int r;

	*out = DISK_IMAGE_NONE;
	if (cfg->path == NULL || *cfg->path == '\0')
		return err_set(e, -ERR_INVALID, "neither a path nor a socket of a back end is given");
	look = open_policy_look(cfg->path, &st, e);
	if (look < 0)
		return look;
	note_file(out, &st);
	r = open_image(out, look, cfg, e);
	if (r == 0) {
		r = open_policy_size(out->lock, &st, &out->size);
		if (r < 0)
			(void)err_sys(e, r, "cannot tell the size of \"%s\"", cfg->path);
	}
	if (r == 0)
		r = check_size(out, cfg->path, e);
	if (r < 0)
		disk_close(out);
	return r;
}

/* Byte range: what is there now. A file that grows has no lock on what is new, as with other users of these locks.
 * #syscalls monitor: fcntl(F_OFD_SETLK)
 */
int disk_lock(const struct disk_image *img, const struct cfg_disk *cfg, struct err *e)
{
	struct flock l = { .l_type = cfg->readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };

	if (cfg->lock_granularity == LOCK_GRANULARITY_BYTE_RANGE)
		l.l_len = (off_t)(img->size + img->odd);
	if (fcntl(img->lock, F_OFD_SETLK, &l) == 0)
		return 0;
	int r = -errno;
	if (r == -EAGAIN || r == -EACCES)
		return err_set(e, r, "\"%s\" is in use: somebody else has %s lock on it", cfg->path,
			       cfg->readonly ? "a write" : "a");
	return err_sys(e, r, "cannot lock \"%s\"", cfg->path);
}

/* #syscalls monitor: fallocate */
int disk_preallocate(const struct disk_image *img)
{
	return fallocate(img->lock, 0, 0, (off_t)(img->size + img->odd)) < 0 ? -errno : 0;
}

void disk_close(struct disk_image *img)
{
	fd_closep(&img->image);
	fd_closep(&img->lock);
	*img = DISK_IMAGE_NONE;
}
