/* SPDX-License-Identifier: ISC */
/*
 * Giving chains back: the used ring and interrupts, and asking for kicks. Entries are written as they come and published
 * together, with one store of the index, one look at what the driver wants, one interrupt at most.
 */
#include <endian.h>
#include <errno.h>
#include <unistd.h>

#include <linux/virtio_ring.h>

#include "devices/common/vq_internal.h"

/* [@off, @off + @len) of the used ring was written. */
static void mark_used(struct vq *vq, uint64_t off, uint64_t len)
{
	if (!dirty_log_is_on(vq->log))
		return;
	if (atomic_load_explicit(&vq->log_ring, memory_order_relaxed))
		dirty_log_mark(vq->log, vq->log_used + off, len);
	else
		dirty_log_mark(vq->log, vq->used_gpa + off, len);
}

void vq_push(struct vq *vq, uint16_t head, uint32_t written)
{
	uint32_t slot = vq->next_used & (vq->num - 1u);
	uint8_t *at = vq->used + USED_RING + 8 * slot;

	/* More than was popped cannot come back: a device that tries has lost count. */
	if (!vq->started || vq->n_flight == 0)
		return;
	ring_st32(at, htole32(head));
	ring_st32(at + 4, htole32(written));
	mark_used(vq, USED_RING + 8 * (uint64_t)slot, 8);
	inflight_completed(&vq->inflight, head);
	vq->batch[vq->n_batch++] = head;
	vq->next_used++;
	vq->n_flight--;
}

/* #syscalls blk blk_uring net rng vconsole: write(fd>=EVENTS)
 * #syscalls blk_alone net_alone rng_alone vconsole_alone: write
 */
void vq_signal(struct vq *vq)
{
	const uint64_t one = 1;
	int fd = atomic_load_explicit(&vq->call_fd, memory_order_relaxed);

	if (fd < 0)
		return;
	vq_count(vq, STATS_CALLS, 1);
	/* Full: an interrupt is pending for certain. */
	(void)!write(fd, &one, sizeof(one));
}

/* virtio v1.2 2.7.7: does the driver want to hear that the index went from @old to @now? */
static bool wants_interrupt(const struct vq *vq, uint16_t old, uint16_t now)
{
	if (vq->event_idx)
		return vring_need_event(le16toh(ring_ld16(vq->avail + AVAIL_RING + 2 * (size_t)vq->num)), now, old) != 0;
	return (le16toh(ring_ld16(vq->avail + AVAIL_FLAGS)) & VRING_AVAIL_F_NO_INTERRUPT) == 0;
}

void vq_flush(struct vq *vq)
{
	uint16_t old = vq->told_used;

	if (vq->n_batch == 0)
		return;
	/* Release: the entries (and the buffers) are there before the index that announces them. */
	ring_st16(vq->used + USED_IDX, htole16(vq->next_used));
	mark_used(vq, USED_IDX, 2);
	vq->told_used = vq->next_used;
	for (uint16_t i = 0; i < vq->n_batch; i++)
		vq->busy[vq->batch[i] / 64] &= ~(UINT64_C(1) << (vq->batch[i] % 64));
	inflight_published(&vq->inflight, vq->batch, vq->n_batch, vq->told_used);
	vq->n_batch = 0;
	/* Full fence between our store of used.idx and our load of used_event or flags: the driver stores those and then
	 * loads used.idx. Were ours reordered, both could see the old value, and an interrupt would be lost. */
	atomic_thread_fence(memory_order_seq_cst);
	if (wants_interrupt(vq, old, vq->told_used))
		vq_signal(vq);
}

static void ask_for_kicks(struct vq *vq, bool on)
{
	if (vq->event_idx) {
		/* Off is an event in the past: it comes round once in 65536 entries. */
		if (!on)
			return;
		ring_st16(vq->used + USED_RING + 8 * (size_t)vq->num, htole16(vq->next_avail));
		mark_used(vq, USED_RING + 8 * (uint64_t)vq->num, 2);
		return;
	}
	ring_st16(vq->used + USED_FLAGS, htole16(on ? 0 : VRING_USED_F_NO_NOTIFY));
	mark_used(vq, USED_FLAGS, 2);
}

int vq_want_kicks(struct vq *vq, bool on)
{
	if (!vq->started || vq->broken)
		return 0;
	ask_for_kicks(vq, on);
	if (!on)
		return 0;
	/* Full fence between our store of avail_event or flags and our load of avail.idx: the driver stores the index and
	 * then looks whether to kick. Were ours reordered, it could see "no kicks" and we an old index: both would sleep. */
	atomic_thread_fence(memory_order_seq_cst);
	return vq_pending(vq) > 0 ? 1 : 0;
}
