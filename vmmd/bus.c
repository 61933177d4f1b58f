/* SPDX-License-Identifier: ISC */
#include "vmmd/bus.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "common/ovf.h"

void bus_init(struct bus *b)
{
	b->sealed = false;
	b->n = 0;
}

int bus_add(struct bus *b, uint64_t base, uint64_t len, const struct bus_ops *ops, void *dev,
	    const char *name)
{
	uint64_t end;
	unsigned at = 0;

	if (b->sealed || len == 0 || ovf_add_u64(base, len, &end) < 0)
		return -EINVAL;
	if (b->n == BUS_REGIONS_MAX)
		return -ENOSPC;
	while (at < b->n && b->r[at].base < base)
		at++;
	if (at > 0 && b->r[at - 1].base + b->r[at - 1].len > base)
		return -EINVAL;
	if (at < b->n && b->r[at].base < end)
		return -EINVAL;
	memmove(&b->r[at + 1], &b->r[at], (b->n - at) * sizeof(b->r[0]));
	b->r[at] = (struct bus_region){
		.base = base, .len = len, .ops = ops, .dev = dev, .name = name
	};
	b->n++;
	return 0;
}

void bus_seal(struct bus *b)
{
	b->sealed = true;
}

/* The region that covers the whole access, or NULL. */
static const struct bus_region *bus_find(const struct bus *b, uint64_t addr, unsigned len)
{
	unsigned lo = 0, hi = b->n; /* the last region with base <= addr is in [lo - 1, hi) */

	assert(b->sealed);
	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (b->r[mid].base <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == 0 || len == 0)
		return NULL;
	const struct bus_region *r = &b->r[lo - 1];
	uint64_t off = addr - r->base;
	return off < r->len && len <= r->len - off ? r : NULL;
}

bool bus_read(const struct bus *b, uint64_t addr, void *data, unsigned len)
{
	const struct bus_region *r = bus_find(b, addr, len);

	if (r == NULL) {
		memset(data, 0xff, len);
		return false;
	}
	memset(data, 0, len);
	if (r->ops->read != NULL)
		r->ops->read(r->dev, addr - r->base, data, len);
	return true;
}

bool bus_write(const struct bus *b, uint64_t addr, const void *data, unsigned len)
{
	const struct bus_region *r = bus_find(b, addr, len);

	if (r == NULL)
		return false;
	if (r->ops->write != NULL)
		r->ops->write(r->dev, addr - r->base, data, len);
	return true;
}
