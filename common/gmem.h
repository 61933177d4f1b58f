/* SPDX-License-Identifier: ISC */
/*
 * Guest memory, reached only through these accessors. No pointer into guest memory leaves gmem.c but
 * through gmem_iov(), for a system call. Every copy ends with a compiler barrier so that nobody reads the source
 * again. Callers validate the copy.
 */
#ifndef COMMON_GMEM_H
#define COMMON_GMEM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/cleanup.h"

enum { GMEM_REGIONS_MAX = 64 };

/* One run of guest RAM. @hva is mapped for @size bytes as long as the gmem lives; owned by the caller. */
struct gmem_region {
	uint64_t gpa;
	uint64_t size;
	void *hva;
};

struct gmem {
	unsigned n;
	struct gmem_region r[GMEM_REGIONS_MAX]; /* sorted by gpa, not overlapping */
};

/* Add a region. -EINVAL: empty, wrapping or overlapping; -ENOSPC: too many. Before any other thread runs. */
int gmem_add(struct gmem *gm, uint64_t gpa, uint64_t size, void *hva);

/* Copies, also across adjacent regions. 0, or -EFAULT when any byte is not RAM (then nothing was copied). Any
 * thread. */
int gmem_read(const struct gmem *gm, uint64_t gpa, void *dst, size_t len) __must_check;
int gmem_write(const struct gmem *gm, uint64_t gpa, const void *src, size_t len) __must_check;
int gmem_zero(const struct gmem *gm, uint64_t gpa, uint64_t len) __must_check;
int gmem_check(const struct gmem *gm, uint64_t gpa, uint64_t len) __must_check;

/* Fill @iov (at most @max) for [gpa, gpa+len), for a system call that reads or writes guest memory. Returns the
 * count, -EFAULT, or -E2BIG. */
int gmem_iov(const struct gmem *gm, uint64_t gpa, uint64_t len, struct iovec *iov, unsigned max);
/* The same for callers with many small ranges. @hint is theirs and starts as 0: where the last range was. */
int gmem_iov_near(const struct gmem *gm, unsigned *hint, uint64_t gpa, uint64_t len, struct iovec *iov, unsigned max);

/* The guest address of a pointer that gmem_iov() gave. 0, or -EFAULT when it is none. */
int gmem_gpa_of(const struct gmem *gm, const void *p, uint64_t *gpa) __must_check;

/* Total RAM in bytes, and the last RAM address + 1. */
uint64_t gmem_total(const struct gmem *gm);
uint64_t gmem_end(const struct gmem *gm);

#endif
