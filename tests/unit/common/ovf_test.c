/* SPDX-License-Identifier: ISC */
#include "common/ovf.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void add_and_sub_stop_at_the_edges(void **state)
{
	uint64_t v = 0;
	uint32_t w = 0;
	size_t z = 0;

	(void)state;
	assert_int_equal(ovf_add_u64(UINT64_MAX - 1, 1, &v), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(ovf_add_u64(UINT64_MAX, 1, &v), -EOVERFLOW);
	assert_int_equal(ovf_sub_u64(1, 1, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(ovf_sub_u64(1, 2, &v), -EOVERFLOW);
	assert_int_equal(ovf_add_u32(UINT32_MAX, 0, &w), 0);
	assert_int_equal(ovf_add_u32(UINT32_MAX, 1, &w), -EOVERFLOW);
	assert_int_equal(ovf_add_size(SIZE_MAX, 0, &z), 0);
	assert_int_equal(ovf_add_size(SIZE_MAX, 1, &z), -EOVERFLOW);
}

static void mul_stops_at_the_edges(void **state)
{
	uint64_t v = 0;
	uint32_t w = 0;
	size_t z = 0;

	(void)state;
	assert_int_equal(ovf_mul_u64(UINT64_C(1) << 32, UINT32_MAX, &v), 0);
	assert_int_equal(ovf_mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &v), -EOVERFLOW);
	assert_int_equal(ovf_mul_u64(0, UINT64_MAX, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(ovf_mul_u32(65535, 65537, &w), 0);
	assert_int_equal(w, UINT32_MAX);
	assert_int_equal(ovf_mul_u32(65536, 65536, &w), -EOVERFLOW);
	assert_int_equal(ovf_mul_size(SIZE_MAX / 2, 3, &z), -EOVERFLOW);
}

static void align_up_rounds_and_refuses_wrap(void **state)
{
	uint64_t v = 0;

	(void)state;
	assert_int_equal(ovf_align_up_u64(0, 4096, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(ovf_align_up_u64(1, 4096, &v), 0);
	assert_int_equal(v, 4096);
	assert_int_equal(ovf_align_up_u64(4096, 4096, &v), 0);
	assert_int_equal(v, 4096);
	assert_int_equal(ovf_align_up_u64(7, 1, &v), 0);
	assert_int_equal(v, 7);
	assert_int_equal(ovf_align_up_u64(UINT64_MAX - 4094, 4096, &v), -EOVERFLOW);
	assert_int_equal(ovf_align_up_u64(UINT64_MAX - 4095, 4096, &v), 0);
	assert_true(v == UINT64_MAX - 4095);
}

static void narrowing_refuses_what_does_not_fit(void **state)
{
	uint8_t b = 0;
	uint16_t h = 0;
	uint32_t w = 0;

	(void)state;
	assert_int_equal(u8_from_u64(255, &b), 0);
	assert_int_equal(b, 255);
	assert_int_equal(u8_from_u64(256, &b), -ERANGE);
	assert_int_equal(u16_from_u64(65535, &h), 0);
	assert_int_equal(u16_from_u64(65536, &h), -ERANGE);
	assert_int_equal(u32_from_u64(UINT32_MAX, &w), 0);
	assert_int_equal(u32_from_u64(UINT64_C(1) << 32, &w), -ERANGE);
	assert_int_equal(u32_from_u64(UINT64_MAX, &w), -ERANGE);
	assert_int_equal(w, UINT32_MAX);
}

static void powers_of_two_are_known(void **state)
{
	(void)state;
	assert_false(is_pow2_u64(0));
	assert_true(is_pow2_u64(1));
	assert_false(is_pow2_u64(3));
	assert_true(is_pow2_u64(UINT64_C(1) << 63));
	assert_false(is_pow2_u64(UINT64_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(add_and_sub_stop_at_the_edges),
		cmocka_unit_test(mul_stops_at_the_edges),
		cmocka_unit_test(align_up_rounds_and_refuses_wrap),
		cmocka_unit_test(narrowing_refuses_what_does_not_fit),
		cmocka_unit_test(powers_of_two_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
