/* SPDX-License-Identifier: ISC */
/*
 * Guest memory as the front end describes it: regions of guest addresses, each with an address of the front end's own
 * (with which it names rings) and a place in a file.
 *
 * Preset: one file was mapped before the lock-down; regions are ranges of that mapping. Alone: each comes with a file,
 * which is mapped here. Only regular files (memfd, hugetlbfs, tmpfs, disk) that are long enough; one that is not
 * sealed could shrink later, and touching what is gone would end this process (SIGBUS). That harms nobody but the
 * front end that did it: in its life alone, a process serves one front end at a time and holds nothing of another.
 */
#ifndef DEVICES_COMMON_VU_MEM_H
#define DEVICES_COMMON_VU_MEM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/gmem.h"
#include "proto/vhost_user.h"

enum { VU_SLOTS_MAX = 32 };
_Static_assert((int)VU_SLOTS_MAX <= (int)GMEM_REGIONS_MAX, "each slot is a region");

struct vu_slot {
	struct vhost_user_mem_region is;
	uint8_t *at;         /* first byte of the region */
	void *map;           /* ours to unmap, or NULL */
	uint64_t map_bytes;
};

struct vu_mem {
	uint8_t *ram; /* preset mapping, or NULL */
	uint64_t ram_bytes;
	unsigned n;
	struct vu_slot slot[VU_SLOTS_MAX];
	struct gmem gm; /* of all slots; [const] while a queue runs */
};

/* Replace all regions. No queue runs. Preset: no descriptors; else one for each, which stay the caller's. On failure
 * there is no memory at all. */
int vu_mem_set(struct vu_mem *m, const struct vhost_user_mem_region *r, unsigned n, const int *fds,
	       struct err *e) __must_check;
/* One more, one less; on failure nothing has changed. */
int vu_mem_add(struct vu_mem *m, const struct vhost_user_mem_region *r, int fd, struct err *e) __must_check;
int vu_mem_remove(struct vu_mem *m, const struct vhost_user_mem_region *r, struct err *e) __must_check;
void vu_mem_clear(struct vu_mem *m);

/* The guest address that the front end means. 0 or -EFAULT. */
int vu_mem_from_user(const struct vu_mem *m, uint64_t user, uint64_t *gpa) __must_check;

/* Map [@off, @off + @bytes) of a file that a peer sent. *@map and *@map_bytes are what to unmap. NULL: refused. */
uint8_t *vu_mem_map_file(int fd, uint64_t off, uint64_t bytes, void **map, uint64_t *map_bytes, struct err *e);

#endif
