/* SPDX-License-Identifier: ISC */
/*
 * A disk's image: opened, found fit, locked. Two descriptions of the same file: the monitor's holds the lock (open file
 * description locks, so it outlives every helper), the helper's has its own flags and the least access.
 */
#ifndef JAIL_DISK_OPEN_H
#define JAIL_DISK_OPEN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "proto/config.h"

enum { DISK_SECTOR = 512 };

struct disk_image {
	int image, lock; /* -1: none */
	uint64_t dev, ino;  /* of the file; of a block device its number and 0 */
	uint64_t size;   /* bytes; a multiple of a sector */
	uint32_t odd;    /* bytes beyond the last whole sector, left out */
	bool is_device;
	char serial[64]; /* for a disk that was given none */
};
#define DISK_IMAGE_NONE ((struct disk_image){ .image = -1, .lock = -1 })

/* Open what @cfg names. Nothing is locked yet: look first whether it is ours already. Fills *@out or leaves nothing
 * behind. */
int disk_open(struct disk_image *out, const struct cfg_disk *cfg, struct err *e) __must_check;
/* Take the lock: a shared one for a disk that is only read. */
int disk_lock(const struct disk_image *img, const struct cfg_disk *cfg, struct err *e) __must_check;
/* Give the file all its blocks. 0 or -errno: a wish, not a demand. */
int disk_preallocate(const struct disk_image *img);
void disk_close(struct disk_image *img);

#endif
