/* SPDX-License-Identifier: ISC */
#include "vmmd/pci/window.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HIGH_BASE UINT64_C(0x100000000)
#define HIGH_END  UINT64_C(0x3FFFFFEF0000) /* of a guest with 46 address bits */
#define MIB       UINT64_C(0x100000)

struct mem {
	uint64_t off;
	unsigned len, reads, writes;
	uint8_t first;
};

static void mem_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct mem *m = dev;

	m->off = off;
	m->len = len;
	m->reads++;
	memset(data, 0x5A, len);
}

static void mem_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct mem *m = dev;

	m->off = off;
	m->len = len;
	m->writes++;
	m->first = *(const uint8_t *)data;
}

static const struct bus_ops mem_ops = { .read = mem_read, .write = mem_write };

static int setup(void **state)
{
	struct pci_windows *w = malloc(sizeof(*w));

	if (w == NULL || pci_windows_init(w) < 0)
		return -1;
	pci_windows_set(&w->low, 0xC0000000, 0x28000000);
	pci_windows_set(&w->high, HIGH_BASE, HIGH_END - HIGH_BASE);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	pci_windows_fini(*state);
	free(*state);
	return 0;
}

static struct pci_region region(uint64_t size, void *dev)
{
	return (struct pci_region){ .size = size, .ops = &mem_ops, .dev = dev };
}

/* The addresses that the interface's documentation shows. */
static void places_go_down_from_the_end_aligned(void **state)
{
	struct pci_windows *w = *state;
	struct pci_region a = region(0x80000, NULL), b = a, c = a, d = a, e = a;

	assert_int_equal(pci_region_place(&a, &w->high, 8 * MIB), 0);
	assert_int_equal(pci_region_place(&b, &w->high, 8 * MIB), 0);
	assert_int_equal(pci_region_place(&c, &w->high, 8 * MIB), 0);
	assert_int_equal(a.base, UINT64_C(70368735789056));
	assert_int_equal(b.base, UINT64_C(70368727400448));
	assert_int_equal(c.base, UINT64_C(70368719011840));
	assert_int_equal(pci_region_place(&d, &w->low, 0x80000), 0);
	assert_int_equal(pci_region_place(&e, &w->low, 0x80000), 0);
	assert_int_equal(d.base, 3891789824);
	assert_int_equal(e.base, 3891789824 - 0x80000);
}

static void free_gap_nearest_the_end_is_used_again(void **state)
{
	struct pci_windows *w = *state;
	struct pci_region a = region(MIB, NULL), b = a, c = a, d = a;

	assert_int_equal(pci_region_place(&a, &w->low, 1), 0);
	assert_int_equal(pci_region_place(&b, &w->low, 1), 0);
	assert_int_equal(pci_region_place(&c, &w->low, 1), 0);
	uint64_t gap = b.base;

	pci_region_remove(&b);
	assert_int_equal(pci_region_place(&d, &w->low, 1), 0);
	assert_int_equal(d.base, gap);
	pci_region_remove(&b); /* not placed: nothing happens */
	assert_int_equal(w->n, 3);
}

static void full_window_and_odd_sizes_are_refused(void **state)
{
	struct pci_windows *w = *state;
	struct pci_region big = region(512 * MIB, NULL), other = big, odd = region(3, NULL), none = region(0, NULL);

	assert_int_equal(pci_region_place(&big, &w->low, 1), 0);
	assert_int_equal(big.base, 0xC0000000);
	assert_int_equal(pci_region_place(&other, &w->low, 1), -ENOSPC);
	assert_int_equal(pci_region_place(&odd, &w->low, 1), -EINVAL);
	assert_int_equal(pci_region_place(&none, &w->low, 1), -EINVAL);
	assert_int_equal(pci_region_place(&other, &w->low, 3), -EINVAL);
}

static void table_has_an_end(void **state)
{
	struct pci_windows *w = *state;
	static struct pci_region r[PCI_REGIONS_MAX + 1];

	for (unsigned i = 0; i < PCI_REGIONS_MAX; i++) {
		r[i] = region(4096, NULL);
		assert_int_equal(pci_region_place(&r[i], i % 2 != 0 ? &w->low : &w->high, 1), 0);
	}
	r[PCI_REGIONS_MAX] = region(4096, NULL);
	assert_int_equal(pci_region_place(&r[PCI_REGIONS_MAX], &w->low, 1), -ENOSPC);
}

static void moves_are_checked(void **state)
{
	struct pci_windows *w = *state;
	struct pci_region a = region(MIB, NULL), b = a;

	assert_int_equal(pci_region_place(&a, &w->low, 1), 0);
	assert_int_equal(pci_region_place(&b, &w->low, 1), 0);
	uint64_t at = a.base;

	assert_int_equal(pci_region_move(&a, b.base), -EBUSY);
	assert_int_equal(pci_region_move(&a, 0xC0000001), -EINVAL);
	assert_int_equal(pci_region_move(&a, 0xC0080000), -EINVAL);
	assert_int_equal(pci_region_move(&a, 0xBFF00000), -ERANGE);
	assert_int_equal(pci_region_move(&a, 0xE8000000), -ERANGE);
	assert_int_equal(pci_region_move(&a, HIGH_BASE), -ERANGE);
	assert_int_equal(pci_region_move(&a, ~(MIB - 1)), -ERANGE);
	assert_int_equal(pci_region_base(&a), at);
	assert_int_equal(pci_region_move(&a, at), 0);
	assert_int_equal(pci_region_move(&a, 0xC0000000), 0);
	assert_int_equal(pci_region_base(&a), 0xC0000000);
	assert_int_equal(pci_region_move(&b, at), 0);
}

static void access_reaches_the_region_that_covers_it(void **state)
{
	struct pci_windows *w = *state;
	struct mem ma = { 0 }, mb = { 0 };
	struct pci_region a = region(4096, &ma), b = region(4096, &mb);
	uint8_t data[8] = { 0 };

	assert_int_equal(pci_region_place(&a, &w->low, 1), 0);
	assert_int_equal(pci_region_place(&b, &w->low, 1), 0);
	pci_window_bus_ops.read(&w->low, a.base - 0xC0000000 + 12, data, 4);
	assert_int_equal(ma.off, 12);
	assert_int_equal(ma.len, 4);
	assert_int_equal(data[3], 0x5A);
	data[0] = 0x77;
	pci_window_bus_ops.write(&w->low, b.base - 0xC0000000 + 4088, data, 8);
	assert_int_equal(mb.off, 4088);
	assert_int_equal(mb.first, 0x77);
	/* Across the border of two, and in front of all: nobody. */
	pci_window_bus_ops.read(&w->low, b.base - 0xC0000000 + 4092, data, 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(data[i], 0xFF);
	pci_window_bus_ops.write(&w->low, b.base - 0xC0000000 + 4092, data, 8);
	pci_window_bus_ops.read(&w->low, 0, data, 1);
	assert_int_equal(data[0], 0xFF);
	assert_int_equal(ma.reads + ma.writes, 1);
	assert_int_equal(mb.reads + mb.writes, 1);
}

static void access_follows_a_move(void **state)
{
	struct pci_windows *w = *state;
	struct mem m = { 0 };
	struct pci_region a = region(4096, &m);
	uint8_t data[4];

	assert_int_equal(pci_region_place(&a, &w->high, 1), 0);
	uint64_t old = a.base;

	assert_int_equal(pci_region_move(&a, HIGH_BASE + 0x10000), 0);
	pci_window_bus_ops.read(&w->high, old - HIGH_BASE, data, 4);
	assert_int_equal(m.reads, 0);
	assert_int_equal(data[0], 0xFF);
	pci_window_bus_ops.read(&w->high, 0x10010, data, 4);
	assert_int_equal(m.reads, 1);
	assert_int_equal(m.off, 0x10);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(places_go_down_from_the_end_aligned),
		T(free_gap_nearest_the_end_is_used_again),
		T(full_window_and_odd_sizes_are_refused),
		T(table_has_an_end),
		T(moves_are_checked),
		T(access_reaches_the_region_that_covers_it),
		T(access_follows_a_move),
	};

	return cmocka_run_group_tests_name("pci/window", tests, NULL, NULL);
}
