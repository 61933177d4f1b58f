/* SPDX-License-Identifier: ISC */
/*
 * The ring between a guest's output and its target: bytes in shared memory that survives the process. Pure: no system
 * calls, so that tests and fuzzers reach all of it.
 *
 * The memory is one header page, then the data. Positions count bytes since the ring was made and never wrap in
 * practice; a position's place is its remainder by the capacity. The process that holds the ring works on private
 * copies and publishes them; it reads the header once, when it attaches, and believes nothing in it.
 */
#ifndef DEVICES_CONSOLE_CONSOLE_RING_H
#define DEVICES_CONSOLE_CONSOLE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

enum {
	CONSOLE_RING_HEADER = 4096,
	CONSOLE_RING_DATA = 1 << 20,
	CONSOLE_RING_SIZE = CONSOLE_RING_HEADER + CONSOLE_RING_DATA, /* what the monitor makes */
	CONSOLE_RING_SIZE_MAX = 64 << 20,
	/* The most that is between two published positions, hence the most that a kill at any point can lose. */
	CONSOLE_CHUNK = 4096,
};

struct console_ring_header;

struct console_ring {
	struct console_ring_header *h;
	uint8_t *data;
	uint64_t cap;
	uint64_t head;    /* bytes ever put */
	uint64_t tail;    /* bytes ever taken or dropped */
	uint64_t dropped; /* of which dropped */
};

/* Take over @size bytes of shared memory at @mem (page-aligned, borrowed). Returns 1: goes on where a predecessor
 * stopped; 0: starts empty (fresh memory, or a header that makes no sense); -EINVAL: unusable size. */
int console_ring_attach(struct console_ring *r, void *mem, size_t size) __must_check;

/* Append @n <= CONSOLE_CHUNK bytes; what does not fit costs the oldest. Returns how many were dropped for it. */
size_t console_ring_put(struct console_ring *r, const void *p, size_t n);

/* A note of the one who puts, about bytes that are put next: what a successor finds is from before or after that put,
 * and what it then does is never a repetition. 0 in a fresh ring. */
void console_ring_note(struct console_ring *r, uint64_t note);
uint64_t console_ring_noted(const struct console_ring *r);

/* The oldest bytes, at most CONSOLE_CHUNK in one piece, 0 when empty. Borrowed until the next put or take. */
size_t console_ring_peek(const struct console_ring *r, const uint8_t **p);

/* Take @n bytes that peek showed. Done *before* they are written out: a successor must not write them twice. What the
 * target then did not want goes back. */
void console_ring_take(struct console_ring *r, size_t n);
void console_ring_put_back(struct console_ring *r, size_t n);

/* The oldest @n bytes have no reader any more. */
void console_ring_drop(struct console_ring *r, size_t n);

size_t console_ring_used(const struct console_ring *r);

#endif
