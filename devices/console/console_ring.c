/* SPDX-License-Identifier: ISC */
#include "devices/console/console_ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#define RING_MAGIC UINT32_C(0x52434c43) /* "CLCR" */
#define RING_VERSION UINT32_C(2)
/* No honest ring gets here (a century at 1 GB/s); beyond it sums could wrap. */
#define RING_POSITION_MAX (UINT64_C(1) << 62)

struct console_ring_header {
	_Atomic uint32_t magic, version;
	_Atomic uint64_t cap, head, tail, dropped, note;
};
_Static_assert(sizeof(struct console_ring_header) <= CONSOLE_RING_HEADER, "header fits its page");

/*
 * The order of stores is what a successor relies on. The process may end between any two of them; nobody else reads
 * the header before it is dead, so release order is only about the compiler and the one writer's own order.
 */
static void publish(_Atomic uint64_t *where, uint64_t v)
{
	atomic_store_explicit(where, v, memory_order_release);
}

static bool header_is_sane(const struct console_ring *r)
{
	const struct console_ring_header *h = r->h;

	return atomic_load(&h->magic) == RING_MAGIC && atomic_load(&h->version) == RING_VERSION &&
	       atomic_load(&h->cap) == r->cap && r->head <= RING_POSITION_MAX && r->tail <= r->head &&
	       r->head - r->tail <= r->cap && r->dropped <= r->tail;
}

static void start_empty(struct console_ring *r)
{
	r->head = 0;
	r->tail = 0;
	r->dropped = 0;
	atomic_store(&r->h->magic, 0);
	publish(&r->h->head, 0);
	publish(&r->h->tail, 0);
	publish(&r->h->dropped, 0);
	publish(&r->h->note, 0);
	publish(&r->h->cap, r->cap);
	atomic_store(&r->h->version, RING_VERSION);
	atomic_store(&r->h->magic, RING_MAGIC); /* last: half a header is none */
}

int console_ring_attach(struct console_ring *r, void *mem, size_t size)
{
	if (size < CONSOLE_RING_HEADER + 2 * CONSOLE_CHUNK || size > CONSOLE_RING_SIZE_MAX)
		return -EINVAL;
	*r = (struct console_ring){
		.h = mem,
		.data = (uint8_t *)mem + CONSOLE_RING_HEADER,
		.cap = size - CONSOLE_RING_HEADER,
	};
	r->head = atomic_load(&r->h->head);
	r->tail = atomic_load(&r->h->tail);
	r->dropped = atomic_load(&r->h->dropped);
	if (header_is_sane(r))
		return 1;
	start_empty(r);
	return 0;
}

size_t console_ring_used(const struct console_ring *r)
{
	return (size_t)(r->head - r->tail);
}

void console_ring_drop(struct console_ring *r, size_t n)
{
	if (n > console_ring_used(r))
		n = console_ring_used(r);
	r->dropped += n;
	r->tail += n;
	publish(&r->h->tail, r->tail); /* first: dropped <= tail must hold for a successor */
	publish(&r->h->dropped, r->dropped);
}

size_t console_ring_put(struct console_ring *r, const void *p, size_t n)
{
	size_t room = (size_t)r->cap - console_ring_used(r), dropped = 0;
	size_t at = (size_t)(r->head % r->cap);
	const uint8_t *src = p;

	if (n > CONSOLE_CHUNK)
		n = CONSOLE_CHUNK;
	if (n > room) {
		dropped = n - room;
		console_ring_drop(r, dropped); /* published before their place is written over */
	}
	size_t first = n < r->cap - at ? n : (size_t)r->cap - at;
	memcpy(r->data + at, src, first);
	memcpy(r->data, src + first, n - first);
	r->head += n;
	publish(&r->h->head, r->head); /* last: bytes before the position that covers them */
	return dropped;
}

size_t console_ring_peek(const struct console_ring *r, const uint8_t **p)
{
	size_t at = (size_t)(r->tail % r->cap), n = console_ring_used(r);

	*p = r->data + at;
	if (n > r->cap - at)
		n = (size_t)r->cap - at;
	return n < CONSOLE_CHUNK ? n : CONSOLE_CHUNK;
}

void console_ring_take(struct console_ring *r, size_t n)
{
	r->tail += n;
	publish(&r->h->tail, r->tail);
}

void console_ring_put_back(struct console_ring *r, size_t n)
{
	r->tail -= n;
	publish(&r->h->tail, r->tail);
}

void console_ring_note(struct console_ring *r, uint64_t note)
{
	publish(&r->h->note, note);
}

uint64_t console_ring_noted(const struct console_ring *r)
{
	return atomic_load(&r->h->note);
}
