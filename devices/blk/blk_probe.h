/* SPDX-License-Identifier: ISC */
/* Which format an image has, by what stands in it. Pure; the bytes are the guest's or a stranger's. */
#ifndef DEVICES_BLK_BLK_PROBE_H
#define DEVICES_BLK_BLK_PROBE_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "proto/config.h"

enum {
	BLK_PROBE_HEAD = 4096, /* first bytes that are looked at, fewer when the image has fewer */
	BLK_PROBE_TAIL = 512,
};

/* @tail: the last BLK_PROBE_TAIL bytes, NULL when there are not as many. */
enum image_type blk_probe(const uint8_t *head, size_t n, const uint8_t *tail);

/* Whether an image that was configured as @configured (IMAGE_TYPE_UNKNOWN: no matter) and is @found can be served. */
int blk_probe_check(enum image_type configured, enum image_type found, struct err *e) __must_check;

#endif
