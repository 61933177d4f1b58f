/* SPDX-License-Identifier: ISC */
#include "vmmd/pci/window.h"

#include <errno.h>
#include <string.h>

#include "common/ovf.h"

int pci_windows_init(struct pci_windows *w)
{
	memset(w, 0, sizeof(*w));
	w->low.all = w;
	w->high.all = w;
	return -pthread_mutex_init(&w->mtx, NULL);
}

void pci_windows_fini(struct pci_windows *w)
{
	(void)pthread_mutex_destroy(&w->mtx);
}

void pci_windows_set(struct pci_window *window, uint64_t base, uint64_t size)
{
	window->base = base;
	window->size = size;
}

/* [mtx] */
static void insert(struct pci_windows *w, struct pci_region *r)
{
	unsigned at = 0;

	while (at < w->n && w->region[at]->base < r->base)
		at++;
	memmove(&w->region[at + 1], &w->region[at], (w->n - at) * sizeof(w->region[0]));
	w->region[at] = r;
	w->n++;
}

/* [mtx] */
static void take_out(struct pci_windows *w, const struct pci_region *r)
{
	for (unsigned i = 0; i < w->n; i++) {
		if (w->region[i] != r)
			continue;
		w->n--;
		memmove(&w->region[i], &w->region[i + 1], (w->n - i) * sizeof(w->region[0]));
		return;
	}
}

static bool fits(const struct pci_window *win, uint64_t base, uint64_t size)
{
	return base >= win->base && base - win->base <= win->size && size <= win->size - (base - win->base);
}

/* A region other than @self that has a byte of [@base, @base + @size), which doesn't wrap. [mtx] */
static const struct pci_region *overlapping(const struct pci_windows *w, uint64_t base, uint64_t size,
					    const struct pci_region *self)
{
	for (unsigned i = 0; i < w->n; i++) {
		const struct pci_region *r = w->region[i];

		if (r != self && r->base < base + size && base < r->base + r->size)
			return r;
	}
	return NULL;
}

/* The highest aligned free place: from the end down, and below whatever is in the way. [mtx] */
static int find_place(const struct pci_window *win, uint64_t size, uint64_t align, uint64_t *base)
{
	uint64_t end = win->base + win->size;

	while (end >= size) {
		uint64_t at = (end - size) & ~(align - 1);

		if (!fits(win, at, size))
			break;
		const struct pci_region *r = overlapping(win->all, at, size, NULL);

		if (r == NULL) {
			*base = at;
			return 0;
		}
		end = r->base;
	}
	return -ENOSPC;
}

int pci_region_place(struct pci_region *r, struct pci_window *window, uint64_t align)
{
	struct pci_windows *w = window->all;

	if (!is_pow2_u64(r->size) || !is_pow2_u64(align))
		return -EINVAL;
	if (align < r->size)
		align = r->size;
	(void)pthread_mutex_lock(&w->mtx);
	int res = w->n == PCI_REGIONS_MAX ? -ENOSPC : find_place(window, r->size, align, &r->base);

	if (res == 0) {
		r->window = window;
		insert(w, r);
	}
	(void)pthread_mutex_unlock(&w->mtx);
	return res;
}

int pci_region_move(struct pci_region *r, uint64_t base)
{
	struct pci_windows *w = r->window->all;
	int res = 0;

	if ((base & (r->size - 1)) != 0)
		return -EINVAL;
	if (!fits(r->window, base, r->size))
		return -ERANGE;
	(void)pthread_mutex_lock(&w->mtx);
	if (overlapping(w, base, r->size, r) != NULL) {
		res = -EBUSY;
	} else {
		take_out(w, r);
		r->base = base;
		insert(w, r);
	}
	(void)pthread_mutex_unlock(&w->mtx);
	return res;
}

uint64_t pci_region_base(const struct pci_region *r)
{
	struct pci_windows *w = r->window->all;

	(void)pthread_mutex_lock(&w->mtx);
	uint64_t base = r->base;
	(void)pthread_mutex_unlock(&w->mtx);
	return base;
}

void pci_region_remove(struct pci_region *r)
{
	if (r->window == NULL)
		return;
	struct pci_windows *w = r->window->all;

	(void)pthread_mutex_lock(&w->mtx);
	take_out(w, r);
	(void)pthread_mutex_unlock(&w->mtx);
	r->window = NULL;
}

/* --- the bus's side ------------------------------------------------------------------------------------------------- */

/* The region that covers the whole access, and where in it. Regions stay as long as the windows: no lock is needed to
 * use one, and an access that races with its move may reach it at either address. */
static const struct pci_region *find(const struct pci_window *win, uint64_t *off, unsigned len)
{
	struct pci_windows *w = win->all;
	uint64_t addr = win->base + *off;
	const struct pci_region *found = NULL;
	unsigned lo = 0;

	(void)pthread_mutex_lock(&w->mtx);
	unsigned hi = w->n; /* the last region with base <= addr is in [lo - 1, hi) */

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (w->region[mid]->base <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo > 0) {
		const struct pci_region *r = w->region[lo - 1];

		*off = addr - r->base;
		if (*off < r->size && len <= r->size - *off)
			found = r;
	}
	(void)pthread_mutex_unlock(&w->mtx);
	return found;
}

static void window_read(void *dev, uint64_t off, void *data, unsigned len)
{
	const struct pci_region *r = find(dev, &off, len);

	if (r == NULL)
		memset(data, 0xFF, len);
	else if (r->ops->read != NULL)
		r->ops->read(r->dev, off, data, len);
}

static void window_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	const struct pci_region *r = find(dev, &off, len);

	if (r != NULL && r->ops->write != NULL)
		r->ops->write(r->dev, off, data, len);
}

const struct bus_ops pci_window_bus_ops = { .read = window_read, .write = window_write };
