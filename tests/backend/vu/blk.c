/* SPDX-License-Identifier: ISC */
#include "tests/backend/vu/blk.h"

#include <errno.h>
#include <string.h>

#include "common/le.h"
#include "tests/backend/vu/tests.h"

enum { HEAD = 16 };

int vu_blk_init(struct vu_blk *b, struct vu *v, unsigned queue, unsigned n_slots, uint32_t bytes)
{
	*b = (struct vu_blk){ .v = v, .r = v->ring[queue], .n_slots = n_slots, .bytes = bytes };
	b->head = vu_alloc(v, (uint64_t)HEAD * n_slots, HEAD);
	b->status = vu_alloc(v, n_slots, 64);
	b->data = vu_alloc(v, UINT64_C(1) * bytes * n_slots, 4096);
	if (b->head == 0 || b->status == 0 || b->data == 0)
		return -ENOMEM;
	b->head_p = vu_ptr(v, b->head, (uint64_t)HEAD * n_slots);
	b->status_p = vu_ptr(v, b->status, n_slots);
	b->data_p = vu_ptr(v, b->data, UINT64_C(1) * bytes * n_slots);
	return 0;
}

static bool device_writes(uint32_t type)
{
	return type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
}

int vu_blk_add(struct vu_blk *b, unsigned slot, uint32_t type, uint64_t sector, uint32_t len)
{
	uint8_t *h = b->head_p + (size_t)HEAD * slot;
	struct vu_buf out[2] = { { b->head + (uint64_t)HEAD * slot, HEAD }, { b->data + UINT64_C(1) * b->bytes * slot, len } };
	struct vu_buf in[2] = { out[1], { b->status + slot, 1 } };
	bool reads = device_writes(type), has_data = len > 0;

	le32_put(h, type);
	le32_put(h + 4, 0);
	le64_put(h + 8, sector);
	b->status_p[slot] = VU_BLK_NO_STATUS;
	int r = vu_ring_add(b->r, out, has_data && !reads ? 2 : 1, has_data && reads ? in : &in[1], has_data && reads ? 2 : 1,
			    slot);

	return r < 0 ? r : 0;
}

int vu_blk_take(struct vu_blk *b, uint32_t *written)
{
	uint64_t token;
	uint32_t len;
	int r = vu_ring_pop(b->r, &token, &len);

	if (r <= 0)
		return r < 0 ? r : -EAGAIN;
	if (written != NULL)
		*written = len;
	return (int)token;
}

uint8_t vu_blk_status(const struct vu_blk *b, unsigned slot)
{
	return __atomic_load_n(&b->status_p[slot], __ATOMIC_ACQUIRE);
}

int vu_blk_do(struct vu_blk *b, uint32_t type, uint64_t sector, uint32_t len)
{
	int r = vu_blk_add(b, 0, type, sector, len);

	if (r < 0)
		return r;
	vu_ring_kick(b->r);
	if (vu_ring_wait(b->r, VU_TIMEOUT_MS) == 0) {
		vu_diag("request of type %u at %llu: nothing comes back", type, (unsigned long long)sector);
		return -ETIMEDOUT;
	}
	r = vu_blk_take(b, NULL);
	return r < 0 ? r : vu_blk_status(b, 0);
}

int vu_blk_range(struct vu_blk *b, uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	uint8_t *p = vu_blk_data(b, 0);

	le64_put(p, sector);
	le32_put(p + 8, sectors);
	le32_put(p + 12, flags);
	return vu_blk_do(b, type, 0, 16);
}

/* --- stamps ------------------------------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= UINT64_C(0x9e3779b97f4a7c15);
	return x ^ x >> 29;
}

/* lba, sequence, check; then words that follow from all three. */
void vu_blk_stamp(void *block, uint32_t bytes, uint64_t lba, uint64_t sequence)
{
	uint8_t *p = block;
	uint64_t x = mix(lba + 1) ^ mix(sequence * 3 + 7);

	le64_put(p, lba);
	le64_put(p + 8, sequence);
	for (uint32_t at = 16; at < bytes; at += 8) {
		x = mix(x + at);
		le64_put(p + at, x);
	}
}

uint64_t vu_blk_read_stamp(const void *block, uint32_t bytes, uint64_t lba)
{
	const uint8_t *p = block;
	uint64_t sequence = le64_get(p + 8), x = mix(lba + 1) ^ mix(sequence * 3 + 7);
	bool zeroes = true;

	for (uint32_t at = 0; at < bytes && zeroes; at += 8)
		zeroes = le64_get(p + at) == 0;
	if (zeroes)
		return 0;
	if (le64_get(p) != lba)
		return UINT64_MAX;
	for (uint32_t at = 16; at < bytes; at += 8) {
		x = mix(x + at);
		if (le64_get(p + at) != x)
			return UINT64_MAX;
	}
	return sequence;
}
