/* SPDX-License-Identifier: ISC */
#include "common/gmem.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Two regions side by side, a hole of 0x1000, a third one, and one that ends with the address space. */
enum { LOW = 0x1000, MID = 0x2000, HIGH = 0x4000, SIZE = 0x1000 };
#define TOP (UINT64_MAX - SIZE) /* its last byte is UINT64_MAX - 1: an end that still is a number */

static uint8_t low[SIZE], mid[SIZE], high[SIZE], top[SIZE];

static struct gmem memory(void)
{
	struct gmem gm = { .n = 0 };

	memset(low, 0x11, SIZE);
	memset(mid, 0x22, SIZE);
	memset(high, 0x33, SIZE);
	memset(top, 0x44, SIZE);
	assert_int_equal(gmem_add(&gm, HIGH, SIZE, high), 0); /* in any order */
	assert_int_equal(gmem_add(&gm, LOW, SIZE, low), 0);
	assert_int_equal(gmem_add(&gm, TOP, SIZE, top), 0);
	assert_int_equal(gmem_add(&gm, MID, SIZE, mid), 0);
	return gm;
}

static void add_refuses_empty_wrapping_and_overlapping(void **state)
{
	struct gmem gm = memory();

	(void)state;
	assert_int_equal(gmem_add(&gm, 0x8000, 0, low), -EINVAL);
	assert_int_equal(gmem_add(&gm, 0x8000, SIZE, NULL), -EINVAL);
	assert_int_equal(gmem_add(&gm, UINT64_MAX, 2, low), -EINVAL);
	assert_int_equal(gmem_add(&gm, 0x8000, UINT64_MAX, low), -EINVAL);
	assert_int_equal(gmem_add(&gm, LOW, SIZE, low), -EINVAL);
	assert_int_equal(gmem_add(&gm, HIGH - 1, 2, low), -EINVAL);
	assert_int_equal(gmem_add(&gm, HIGH + SIZE - 1, 2, low), -EINVAL);
	assert_int_equal(gmem_add(&gm, 0, 0x10000, low), -EINVAL);
	assert_int_equal(gm.n, 4);
	assert_int_equal(gmem_add(&gm, 0x3000, 0x1000, low), 0); /* exactly the hole */
}

static void add_refuses_one_region_too_many(void **state)
{
	struct gmem gm = { .n = 0 };

	(void)state;
	for (uint64_t i = 0; i < GMEM_REGIONS_MAX; i++)
		assert_int_equal(gmem_add(&gm, i * 2 * SIZE, SIZE, low), 0);
	assert_int_equal(gmem_add(&gm, UINT64_C(1) << 40, SIZE, low), -ENOSPC);
}

static void totals_count_ram_only(void **state)
{
	struct gmem gm = memory(), none = { .n = 0 };

	(void)state;
	assert_int_equal(gmem_total(&gm), 4 * SIZE);
	assert_true(gmem_end(&gm) == UINT64_MAX);
	assert_int_equal(gmem_total(&none), 0);
	assert_int_equal(gmem_end(&none), 0);
}

static void read_crosses_adjacent_regions(void **state)
{
	struct gmem gm = memory();
	uint8_t out[4] = { 0 };

	(void)state;
	assert_int_equal(gmem_read(&gm, MID - 2, out, 4), 0);
	assert_memory_equal(out, "\x11\x11\x22\x22", 4);
	assert_int_equal(gmem_read(&gm, MID + SIZE - 1, out, 1), 0);
	assert_int_equal(out[0], 0x22);
}

static void read_into_a_hole_copies_nothing(void **state)
{
	struct gmem gm = memory();
	uint8_t out[4] = { 9, 9, 9, 9 };

	(void)state;
	assert_int_equal(gmem_read(&gm, MID + SIZE - 2, out, 4), -EFAULT);
	assert_int_equal(gmem_read(&gm, HIGH - 2, out, 4), -EFAULT);
	assert_int_equal(gmem_read(&gm, 0, out, 1), -EFAULT);
	assert_int_equal(gmem_read(&gm, HIGH + SIZE, out, 1), -EFAULT);
	assert_memory_equal(out, "\x9\x9\x9\x9", 4);
}

static void access_that_wraps_is_a_fault(void **state)
{
	struct gmem gm = memory();
	uint8_t out[16] = { 0 };

	(void)state;
	assert_int_equal(gmem_read(&gm, UINT64_MAX - 1, out, 1), 0);
	assert_int_equal(out[0], 0x44);
	assert_int_equal(gmem_read(&gm, UINT64_MAX, out, 1), -EFAULT);
	assert_int_equal(gmem_read(&gm, UINT64_MAX - 1, out, 16), -EFAULT);
	assert_int_equal(gmem_check(&gm, LOW, UINT64_MAX), -EFAULT);
	assert_int_equal(gmem_zero(&gm, UINT64_MAX - 3, UINT64_MAX), -EFAULT);
	assert_int_equal(gmem_write(&gm, UINT64_MAX - 3, out, 8), -EFAULT);
	assert_int_equal(top[SIZE - 1], 0x44);
}

static void write_and_zero_cross_adjacent_regions(void **state)
{
	struct gmem gm = memory();

	(void)state;
	assert_int_equal(gmem_write(&gm, MID - 1, "xy", 2), 0);
	assert_int_equal(low[SIZE - 1], 'x');
	assert_int_equal(mid[0], 'y');
	assert_int_equal(low[SIZE - 2], 0x11);
	assert_int_equal(mid[1], 0x22);
	assert_int_equal(gmem_zero(&gm, LOW, 2 * SIZE), 0);
	assert_int_equal(low[0] + low[SIZE - 1] + mid[0] + mid[SIZE - 1], 0);
	assert_int_equal(high[0], 0x33);
}

static void write_and_zero_into_a_hole_change_nothing(void **state)
{
	struct gmem gm = memory();

	(void)state;
	assert_int_equal(gmem_write(&gm, MID + SIZE - 1, "xy", 2), -EFAULT);
	assert_int_equal(gmem_zero(&gm, LOW, 3 * SIZE), -EFAULT);
	assert_int_equal(low[0], 0x11);
	assert_int_equal(mid[SIZE - 1], 0x22);
}

static void access_of_no_bytes_succeeds_anywhere(void **state)
{
	struct gmem gm = memory();

	(void)state;
	assert_int_equal(gmem_check(&gm, 0x3000, 0), 0);
	assert_int_equal(gmem_read(&gm, UINT64_MAX, NULL, 0), 0);
	assert_int_equal(gmem_iov(&gm, 0x3000, 0, NULL, 0), 0);
}

static void iov_lists_the_runs(void **state)
{
	struct gmem gm = memory();
	struct iovec iov[2];

	(void)state;
	assert_int_equal(gmem_iov(&gm, LOW + 16, SIZE, iov, 2), 2);
	assert_ptr_equal(iov[0].iov_base, low + 16);
	assert_int_equal(iov[0].iov_len, SIZE - 16);
	assert_ptr_equal(iov[1].iov_base, mid);
	assert_int_equal(iov[1].iov_len, 16);
}

static void iov_is_bounded_and_checked(void **state)
{
	struct gmem gm = memory();
	struct iovec iov[1];

	(void)state;
	assert_int_equal(gmem_iov(&gm, LOW, SIZE + 1, iov, 1), -E2BIG);
	assert_int_equal(gmem_iov(&gm, LOW, 3 * SIZE, iov, 1), -EFAULT);
	assert_int_equal(gmem_iov(&gm, LOW, SIZE, iov, 1), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(add_refuses_empty_wrapping_and_overlapping),
		cmocka_unit_test(add_refuses_one_region_too_many),
		cmocka_unit_test(totals_count_ram_only),
		cmocka_unit_test(read_crosses_adjacent_regions),
		cmocka_unit_test(read_into_a_hole_copies_nothing),
		cmocka_unit_test(access_that_wraps_is_a_fault),
		cmocka_unit_test(write_and_zero_cross_adjacent_regions),
		cmocka_unit_test(write_and_zero_into_a_hole_change_nothing),
		cmocka_unit_test(access_of_no_bytes_succeeds_anywhere),
		cmocka_unit_test(iov_lists_the_runs),
		cmocka_unit_test(iov_is_bounded_and_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
