/* SPDX-License-Identifier: ISC */
/*
 * The two ranges of guest physical addresses in which BARs of a segment lie, below 4 GiB and at the top, and what lies in
 * them now. A guest moves BARs while it runs, so the table behind a window changes under a lock of its own, whereas the
 * bus has the windows as two regions that stay.
 */
#ifndef VMMD_PCI_WINDOW_H
#define VMMD_PCI_WINDOW_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "vmmd/bus.h"

enum { PCI_REGIONS_MAX = 64 };

struct pci_windows;

struct pci_window {
	uint64_t base, size; /* [const]; size 0: there is none */
	struct pci_windows *all;
};

/* Kept by whoever has the BAR. */
struct pci_region {
	uint64_t size;                   /* [const] a power of two */
	const struct bus_ops *ops;       /* [const] called without a lock, with offsets into the region */
	void *dev;                       /* [const] borrowed, lives as long as the windows */
	uint64_t base;                   /* [mtx of the windows] */
	const struct pci_window *window; /* [const] once placed */
};

struct pci_windows {
	struct pci_window low, high; /* 32-bit and 64-bit BARs */
	pthread_mutex_t mtx;         /* guards the table and the regions' bases */
	unsigned n;
	struct pci_region *region[PCI_REGIONS_MAX]; /* sorted by base */
};

int pci_windows_init(struct pci_windows *w) __must_check;
void pci_windows_fini(struct pci_windows *w);
/* Before the first region. */
void pci_windows_set(struct pci_window *window, uint64_t base, uint64_t size);

/* Put @r (size, ops and dev set) as high as possible into @window. -ENOSPC, or -EINVAL for a @size or @align that isn't a
 * power of two. */
int pci_region_place(struct pci_region *r, struct pci_window *window, uint64_t align) __must_check;
/* To another address of the same window, all or nothing: -EINVAL not aligned to its size, -ERANGE outside of the window,
 * -EBUSY somebody is there. Any thread. */
int pci_region_move(struct pci_region *r, uint64_t base) __must_check;
uint64_t pci_region_base(const struct pci_region *r);
/* Accepts a region that was never placed. */
void pci_region_remove(struct pci_region *r);

extern const struct bus_ops pci_window_bus_ops; /* dev is a struct pci_window */

#endif
