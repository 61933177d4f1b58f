/* SPDX-License-Identifier: ISC */
#include "vmmd/log_ring.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/log.h"

/* About 18 KiB a vCPU. Places that a guest can reach are rate-limited to 10 records a second each. */
enum { SLOTS = 16 };

struct log_ring {
	_Atomic uint32_t head; /* [producer] next slot to fill, counts on for ever */
	_Atomic uint32_t tail; /* [consumer] next slot to read */
	uint64_t lost;         /* [producer] since the last record that fitted */
	struct log_rec slot[SLOTS];
};

struct log_ring *log_ring_new(void)
{
	return calloc(1, sizeof(struct log_ring));
}

void log_ring_free(struct log_ring *r)
{
	free(r);
}

bool log_ring_push(struct log_ring *r, const struct log_rec *rec)
{
	uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);

	/* Acquire pairs with the consumer's release: it has copied the slot that we are about to reuse. */
	if (head - atomic_load_explicit(&r->tail, memory_order_acquire) >= SLOTS) {
		r->lost++;
		return false;
	}
	struct log_rec *slot = &r->slot[head % SLOTS];

	*slot = *rec;
	slot->dropped += r->lost;
	r->lost = 0;
	atomic_store_explicit(&r->head, head + 1, memory_order_release);
	return true;
}

bool log_ring_pop(struct log_ring *r, struct log_rec *out)
{
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

	/* Acquire pairs with the producer's release: the slot is complete. */
	if (tail == atomic_load_explicit(&r->head, memory_order_acquire))
		return false;
	*out = r->slot[tail % SLOTS];
	atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
	return true;
}
