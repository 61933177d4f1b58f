/* SPDX-License-Identifier: ISC */
#include "vmmd/arch/x86_64/memmap.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/units.h"

enum { BITS = 46 };
#define TOP ((UINT64_C(1) << BITS) - 0x10000)

static void check_map(uint64_t ram, const struct memmap_e820 *want, unsigned n)
{
	struct memmap_e820 got[MEMMAP_E820_MAX];
	struct memmap m;

	assert_int_equal(memmap_init(&m, ram, BITS, NULL), 0);
	assert_int_equal(memmap_e820(&m, got), n);
	for (unsigned i = 0; i < n; i++) {
		assert_true(got[i].addr == want[i].addr);
		assert_true(got[i].size == want[i].size);
		assert_int_equal(got[i].type, want[i].type);
	}
}

static void map_of_512_mib(void **state)
{
	const struct memmap_e820 want[] = {
		{ 0, 0xA0000, 1 },
		{ 0x100000, 0x1FF00000, 1 },
		{ 0xE8000000, 0x10000000, 2 },
	};

	(void)state;
	check_map(512 * MIB, want, 3);
}

static void map_of_3_gib_has_nothing_above_4_gib(void **state)
{
	const struct memmap_e820 want[] = {
		{ 0, 0xA0000, 1 },
		{ 0x100000, 0xBFF00000, 1 },
		{ 0xE8000000, 0x10000000, 2 },
	};

	(void)state;
	check_map(3 * GIB, want, 3);
}

static void map_of_3_gib_and_1_mib_goes_on_at_4_gib(void **state)
{
	const struct memmap_e820 want[] = {
		{ 0, 0xA0000, 1 },
		{ 0x100000, 0xBFF00000, 1 },
		{ 0x100000000, 0x100000, 1 },
		{ 0xE8000000, 0x10000000, 2 },
	};

	(void)state;
	check_map(3 * GIB + MIB, want, 4);
}

static void map_of_5_gib(void **state)
{
	const struct memmap_e820 want[] = {
		{ 0, 0xA0000, 1 },
		{ 0x100000, 0xBFF00000, 1 },
		{ 0x100000000, 0x80000000, 1 },
		{ 0xE8000000, 0x10000000, 2 },
	};

	(void)state;
	check_map(5 * GIB, want, 4);
}

static void ram_above_the_hole_follows_in_the_file(void **state)
{
	struct memmap m;

	(void)state;
	assert_int_equal(memmap_init(&m, 5 * GIB, BITS, NULL), 0);
	assert_int_equal(m.n_ram, 2);
	assert_true(m.ram[0].gpa == 0 && m.ram[0].size == 3 * GIB && m.ram[0].file_off == 0);
	assert_true(m.ram[1].gpa == 4 * GIB && m.ram[1].size == 2 * GIB &&
		    m.ram[1].file_off == 3 * GIB);
}

static void windows_lie_between_ram_and_the_top(void **state)
{
	struct memmap m;

	(void)state;
	assert_int_equal(memmap_init(&m, 512 * MIB, BITS, NULL), 0);
	assert_true(m.device64 == 4 * GIB);
	assert_true(m.device64_end == TOP - MIB);
	assert_true(m.platform == TOP - MIB && m.platform_end == TOP);
	assert_true(m.pci_hotplug == TOP - 0x1000);
	assert_true(m.cpu_hotplug == TOP - 0x2000);
	assert_true(m.ged == TOP - 0x3000);
	assert_int_equal(memmap_init(&m, 3 * GIB, BITS, NULL), 0);
	assert_true(m.device64 == 4 * GIB);
	assert_int_equal(memmap_init(&m, 3 * GIB + MIB, BITS, NULL), 0);
	assert_true(m.device64 == 4 * GIB + MIB);
	assert_int_equal(memmap_init(&m, 5 * GIB, BITS, NULL), 0);
	assert_true(m.device64 == 6 * GIB);
}

static int refused(uint64_t ram, unsigned bits, const char *text)
{
	struct memmap m;
	struct err e = { 0 };
	int r = memmap_init(&m, ram, bits, &e);

	assert_non_null(strstr(err_text(&e, 0), text));
	return r;
}

static void sizes_without_room_are_refused_with_the_reason(void **state)
{
	(void)state;
	assert_int_equal(refused(0, BITS, "too small"), -EINVAL);
	assert_int_equal(refused(MIB, BITS, "too small"), -EINVAL);
	assert_int_equal(refused(512 * MIB + 1, BITS, "not a multiple"), -EINVAL);
	assert_int_equal(refused(UINT64_MAX - 4095, BITS, "does not fit"), -EINVAL);
	assert_int_equal(refused(UINT64_C(1) << BITS, BITS, "does not fit"), -EINVAL);
	assert_int_equal(refused(512 * MIB, 32, "physical address bits"), -EINVAL);
	assert_int_equal(refused(512 * MIB, 64, "physical address bits"), -EINVAL);
	assert_int_equal(refused(512 * MIB, 0, "physical address bits"), -EINVAL);
}

static void the_largest_size_leaves_one_page_of_aperture(void **state)
{
	struct memmap m;
	uint64_t largest = TOP - MIB - 4096 - GIB; /* the hole is a GiB */

	(void)state;
	assert_int_equal(memmap_init(&m, largest, BITS, NULL), 0);
	assert_true(m.device64_end - m.device64 == 4096);
	assert_int_equal(memmap_init(&m, largest + 4096, BITS, NULL), -EINVAL);
	assert_int_equal(memmap_init(&m, MIB + 4096, BITS, NULL), 0);
}

static void phys_bits_take_the_smaller(void **state)
{
	(void)state;
	assert_int_equal(memmap_phys_bits(39, 46), 39);
	assert_int_equal(memmap_phys_bits(52, 46), 46);
	assert_int_equal(memmap_phys_bits(46, 46), 46);
}

static void is_ram_knows_the_hole_and_both_ends(void **state)
{
	struct memmap m;

	(void)state;
	assert_int_equal(memmap_init(&m, 5 * GIB, BITS, NULL), 0);
	assert_true(memmap_is_ram(&m, 0, 3 * GIB));
	assert_false(memmap_is_ram(&m, 0, 3 * GIB + 1));
	assert_false(memmap_is_ram(&m, 3 * GIB, 1));
	assert_false(memmap_is_ram(&m, 4 * GIB - 1, 1));
	assert_true(memmap_is_ram(&m, 4 * GIB, 2 * GIB));
	assert_true(memmap_is_ram(&m, 6 * GIB - 1, 1));
	assert_false(memmap_is_ram(&m, 6 * GIB - 1, 2));
	assert_false(memmap_is_ram(&m, 6 * GIB, 1));
	assert_false(memmap_is_ram(&m, 4 * GIB, UINT64_MAX));
	assert_false(memmap_is_ram(&m, UINT64_MAX, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(map_of_512_mib),
		cmocka_unit_test(map_of_3_gib_has_nothing_above_4_gib),
		cmocka_unit_test(map_of_3_gib_and_1_mib_goes_on_at_4_gib),
		cmocka_unit_test(map_of_5_gib),
		cmocka_unit_test(ram_above_the_hole_follows_in_the_file),
		cmocka_unit_test(windows_lie_between_ram_and_the_top),
		cmocka_unit_test(sizes_without_room_are_refused_with_the_reason),
		cmocka_unit_test(the_largest_size_leaves_one_page_of_aperture),
		cmocka_unit_test(phys_bits_take_the_smaller),
		cmocka_unit_test(is_ram_knows_the_hole_and_both_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
