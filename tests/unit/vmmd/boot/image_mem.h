/* SPDX-License-Identifier: ISC */
/*
 * A boot image in memory for tests and fuzzers. It holds the loaders to their promises: reads and
 * loads stay in the file, loads go to RAM only, and all of them together are no more than the file
 * and its headers a few times.
 */
#ifndef TESTS_UNIT_VMMD_BOOT_IMAGE_MEM_H
#define TESTS_UNIT_VMMD_BOOT_IMAGE_MEM_H

#include <stdlib.h>
#include <string.h>

#include "vmmd/arch/x86_64/memmap.h"
#include "vmmd/boot/image.h"

enum { IMAGE_LOADS = 64 };

struct image_mem {
	struct boot_image img;
	const uint8_t *p;
	const struct memmap *map;
	int fail_read, fail_load; /* answer instead of doing it */
	unsigned n_loads;
	struct {
		uint64_t off, gpa, len;
	} load[IMAGE_LOADS];
	uint64_t bytes_read, bytes_loaded;
};

/* A broken promise is a bug of the loader, never of the file. */
static inline void image_promise(int kept)
{
	if (!kept)
		abort();
}

static inline int image_mem_read(void *ctx, uint64_t off, void *dst, size_t len)
{
	struct image_mem *m = ctx;

	image_promise(off <= m->img.size && len <= m->img.size - off && len <= 1 << 20);
	if (m->fail_read < 0)
		return m->fail_read;
	m->bytes_read += len;
	if (len > 0)
		memcpy(dst, m->p + off, len);
	return 0;
}

static inline int image_mem_load(void *ctx, uint64_t off, uint64_t gpa, uint64_t len)
{
	struct image_mem *m = ctx;

	image_promise(len > 0 && off <= m->img.size && len <= m->img.size - off);
	image_promise(gpa >= 0x100000 && memmap_is_ram(m->map, gpa, len));
	image_promise(m->n_loads < IMAGE_LOADS);
	if (m->fail_load < 0)
		return m->fail_load;
	m->load[m->n_loads].off = off;
	m->load[m->n_loads].gpa = gpa;
	m->load[m->n_loads++].len = len;
	m->bytes_loaded += len;
	image_promise(m->bytes_loaded <= m->img.size);
	return 0;
}

static inline void image_mem_init(struct image_mem *m, const struct memmap *map, const void *p,
				  uint64_t size)
{
	memset(m, 0, sizeof(*m));
	m->img = (struct boot_image){
		.size = size, .read_at = image_mem_read, .load = image_mem_load, .ctx = m
	};
	m->p = p;
	m->map = map;
}

#endif
