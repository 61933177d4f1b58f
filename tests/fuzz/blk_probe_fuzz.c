/* SPDX-License-Identifier: ISC */
/* Formats of images: any head and tail, each in a block of exactly its size, give one of the known ones. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "devices/blk/blk_probe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *copy(const uint8_t *p, size_t n)
{
	uint8_t *c = malloc(n > 0 ? n : 1);

	if (c != NULL && n > 0)
		memcpy(c, p, n);
	return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t n = size < BLK_PROBE_HEAD ? size : BLK_PROBE_HEAD;
	uint8_t *head = copy(data, n), *tail = size >= BLK_PROBE_TAIL ? copy(data + size - BLK_PROBE_TAIL, BLK_PROBE_TAIL) : NULL;
	struct err e = { 0 };

	if (head != NULL) {
		enum image_type type = blk_probe(head, n, tail);

		if (type < 0 || type >= IMAGE_TYPE_UNKNOWN)
			abort();
		if ((blk_probe_check(IMAGE_TYPE_UNKNOWN, type, &e) == 0) != (type == IMAGE_TYPE_RAW))
			abort();
	}
	free(head);
	free(tail);
	return 0;
}
