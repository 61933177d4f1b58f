/* SPDX-License-Identifier: ISC */
/* A file that becomes guest memory, behind two callbacks: the loaders parse, the owner of the
 * descriptor reads. */
#ifndef VMMD_BOOT_IMAGE_H
#define VMMD_BOOT_IMAGE_H

#include <stddef.h>
#include <stdint.h>

struct boot_image {
	uint64_t size; /* bytes in the file, as when it was opened */
	/* Read exactly @len bytes (at most 1 MiB). 0, or a negative errno (-EIO: the file has
	 * become shorter). */
	int (*read_at)(void *ctx, uint64_t off, void *dst, size_t len);
	/* Put @len bytes of the file (never 0) into guest memory at @gpa. The loader has checked
	 * that they are in the file and that the place is RAM. 0, or a negative errno as above. */
	int (*load)(void *ctx, uint64_t off, uint64_t gpa, uint64_t len);
	void *ctx;
};

#endif
