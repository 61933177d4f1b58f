/* SPDX-License-Identifier: ISC */
/* The image as the host has it: what is asked of the kernel about it once, before the lock-down. Its contents are
 * not looked at. */
#ifndef DEVICES_BLK_BLK_IMAGE_H
#define DEVICES_BLK_BLK_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "devices/blk/blk_config.h"
#include "devices/blk/blk_req.h"

enum { BLK_ALIGN_MAX = 65536 /* of direct I/O, in memory and in the file */ };

struct blk_image {
	int fd;         /* not owned */
	bool is_device;
	bool direct;    /* opened with O_DIRECT */
	uint32_t mem_align, off_align; /* what direct I/O wants; 1 otherwise */
	struct blk_shape shape;
	uint8_t id[BLK_ID_BYTES];      /* serial number, padded with NULs */
};

/* Fills all but fd, direct, shape.readonly and shape.sparse, which the caller has set. @serial: NULL, or at most 20
 * bytes. -EINVAL: nothing that a disk could be. */
int blk_image_examine(struct blk_image *img, const char *serial, struct err *e) __must_check;

#endif
