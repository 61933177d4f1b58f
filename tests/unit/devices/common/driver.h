/* SPDX-License-Identifier: ISC */
/* A driver's side of a split ring in plain memory: two regions of guest memory with a hole between them. */
#ifndef TESTS_UNIT_DEVICES_COMMON_DRIVER_H
#define TESTS_UNIT_DEVICES_COMMON_DRIVER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "devices/common/vq_internal.h"

enum {
	NUM = 8,
	LOW = 0x10000, LOW_BYTES = 0x10000,   /* rings and buffers */
	HIGH = 0x40000, HIGH_BYTES = 0x4000,  /* behind a hole */
	DESC = LOW, AVAIL = LOW + 0x1000, USED = LOW + 0x2000, TABLE = LOW + 0x3000, BUF = LOW + 0x8000,
	BUF_STEP = 0x400,
	REGION_BYTES = 4096,
};
#define F_INDIRECT (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)
#define F_EVENT (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)

struct driver {
	_Alignas(4096) uint8_t low[LOW_BYTES];
	_Alignas(4096) uint8_t high[HIGH_BYTES];
	_Alignas(64) uint8_t region[REGION_BYTES]; /* in-flight */
	uint8_t log_map[64];
	struct gmem gm;
	struct dirty_log log;
	struct vq_setup setup;
	uint16_t avail_idx;
};

static inline void driver_init(struct driver *d, uint16_t num, uint64_t features)
{
	memset(d, 0, sizeof(*d));
	if (gmem_add(&d->gm, LOW, LOW_BYTES, d->low) < 0 || gmem_add(&d->gm, HIGH, HIGH_BYTES, d->high) < 0)
		__builtin_trap();
	d->log = (struct dirty_log){ .map = d->log_map, .bytes = sizeof(d->log_map) };
	d->setup = (struct vq_setup){ .gm = &d->gm, .log = &d->log, .num = num, .desc = DESC, .avail = AVAIL, .used = USED,
				      .features = features };
}

static inline uint8_t *driver_at(struct driver *d, uint64_t gpa)
{
	return gpa >= HIGH ? d->high + (gpa - HIGH) : d->low + (gpa - LOW);
}

static inline void driver_desc_at(struct driver *d, uint64_t table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
				  uint16_t next)
{
	struct vring_desc v = { .addr = addr, .len = len, .flags = flags, .next = next };

	memcpy(driver_at(d, table) + 16 * i, &v, sizeof(v));
}

static inline void driver_desc(struct driver *d, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	driver_desc_at(d, DESC, i, addr, len, flags, next);
}

static inline uint16_t *driver_avail(struct driver *d)
{
	return (uint16_t *)(void *)driver_at(d, AVAIL); /* flags, idx, ring */
}

static inline uint16_t *driver_used(struct driver *d)
{
	return (uint16_t *)(void *)driver_at(d, USED);
}

static inline uint16_t driver_used_idx(struct driver *d)
{
	return __atomic_load_n(&driver_used(d)[1], __ATOMIC_ACQUIRE);
}

static inline uint32_t driver_used_id(struct driver *d, unsigned i)
{
	uint32_t v;

	memcpy(&v, driver_at(d, USED) + 4 + 8 * (i % d->setup.num), sizeof(v));
	return v;
}

static inline uint32_t driver_used_len(struct driver *d, unsigned i)
{
	uint32_t v;

	memcpy(&v, driver_at(d, USED) + 8 + 8 * (i % d->setup.num), sizeof(v));
	return v;
}

static inline void driver_offer(struct driver *d, uint16_t head)
{
	driver_avail(d)[2 + d->avail_idx % d->setup.num] = head;
	d->avail_idx++;
	__atomic_store_n(&driver_avail(d)[1], d->avail_idx, __ATOMIC_RELEASE);
}

/* Descriptor @i alone as a chain of one writable buffer of its own. */
static inline void driver_simple(struct driver *d, uint16_t i)
{
	driver_desc(d, i, (uint64_t)BUF + (uint64_t)i * BUF_STEP, BUF_STEP, VRING_DESC_F_WRITE, 0);
	driver_offer(d, i);
}

#endif
