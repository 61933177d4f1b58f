/* SPDX-License-Identifier: ISC */
/*
 * A file whose storage fails on demand: a file server over /dev/fuse, without libfuse, with one file, "img". What is
 * read and written goes past the page cache, so that each of a helper's operations meets the server. Needs root.
 */
#ifndef TESTS_BACKEND_VU_FUSE_H
#define TESTS_BACKEND_VU_FUSE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"

enum vu_fuse_op { VU_FUSE_READ, VU_FUSE_WRITE, VU_FUSE_FSYNC, VU_FUSE_ALLOCATE, VU_FUSE_OPS };

/* Shared with the server. */
struct vu_fuse_faults {
	/* Answer @error (an errno) from the @after'th operation on, @times times (UINT32_MAX: for ever). Set error last. */
	struct {
		_Atomic uint32_t error, after, times;
		_Atomic uint32_t delay_us; /* before each */
		_Atomic uint32_t count;    /* how many there were */
	} op[VU_FUSE_OPS];
	_Atomic uint32_t short_by; /* reads and writes of more than this many bytes do that many less */
	_Atomic uint64_t written;  /* bytes */
};

struct vu_fuse {
	char dir[64], path[80];
	pid_t server;
	struct vu_fuse_faults *faults;
};

/* In a mount namespace of the caller's own, which it makes. -EPERM, -ENOENT: cannot be had here. */
int vu_fuse_start(struct vu_fuse *f, uint64_t bytes) __must_check;
void vu_fuse_stop(struct vu_fuse *f);
void vu_fuse_fail(struct vu_fuse *f, enum vu_fuse_op op, int error, uint32_t after, uint32_t times);

#endif
