/* SPDX-License-Identifier: ISC */
/*
 * Dispatch of port and memory-mapped accesses. A bus is a table of ranges that is filled, sealed
 * (sorted) and from then on never changes, so that vCPU threads read it without a lock; a change
 * makes a new table while no vCPU runs.
 *
 * An access of any size, at any alignment, is answered: one that no single range covers whole reads
 * as all ones and drops its write, as on hardware where nothing decodes the address.
 */
#ifndef VMMD_BUS_H
#define VMMD_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"

enum { BUS_REGIONS_MAX = 96 };

/* @off counts from the start of the region, @off + @len lies inside it, @len is 1 or more (8 at
 * most from KVM). Called from any vCPU thread, several at once: a device locks for itself. read
 * finds @data zeroed; what it leaves alone reads as 0. Either may be NULL: reads 0, drops
 * writes. */
struct bus_ops {
	void (*read)(void *dev, uint64_t off, void *data, unsigned len);
	void (*write)(void *dev, uint64_t off, const void *data, unsigned len);
};

struct bus_region {
	uint64_t base, len;
	const struct bus_ops *ops;
	void *dev;        /* borrowed, outlives the bus */
	const char *name; /* static text */
};

struct bus {
	bool sealed;
	unsigned n;
	struct bus_region r[BUS_REGIONS_MAX]; /* [const] after bus_seal(), sorted by base */
};

void bus_init(struct bus *b);
/* -EINVAL: empty, wrapping, overlapping another region, or the bus is sealed; -ENOSPC: full. Before
 * bus_seal(). */
int bus_add(struct bus *b, uint64_t base, uint64_t len, const struct bus_ops *ops, void *dev,
	    const char *name) __must_check;
void bus_seal(struct bus *b);

/* True when a region took the access. Otherwise @data (read) is all ones. Any thread, after
 * bus_seal(). */
bool bus_read(const struct bus *b, uint64_t addr, void *data, unsigned len);
bool bus_write(const struct bus *b, uint64_t addr, const void *data, unsigned len);

#endif
