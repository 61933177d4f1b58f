/* SPDX-License-Identifier: ISC */
#include "vmmd/bus.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct probe {
	unsigned reads, writes, last_len;
	uint64_t last_off;
};

static void probe_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct probe *p = dev;

	p->reads++;
	p->last_off = off;
	p->last_len = len;
	/* leaves the last byte of a wide access alone */
	memset(data, 0x5A, len > 1 ? len - 1 : len);
}

static void probe_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct probe *p = dev;

	(void)data;
	p->writes++;
	p->last_off = off;
	p->last_len = len;
}

static const struct bus_ops probe_ops = { .read = probe_read, .write = probe_write };
static const struct bus_ops silent_ops;

static void add_refuses_empty_wrapping_overlapping_and_sealed(void **state)
{
	struct probe p = { 0 };
	struct bus b;

	(void)state;
	bus_init(&b);
	assert_int_equal(bus_add(&b, 0x100, 0, &probe_ops, &p, "empty"), -EINVAL);
	assert_int_equal(bus_add(&b, UINT64_MAX, 2, &probe_ops, &p, "wraps"), -EINVAL);
	assert_int_equal(bus_add(&b, 0x100, 0x10, &probe_ops, &p, "a"), 0);
	assert_int_equal(bus_add(&b, 0x10F, 1, &probe_ops, &p, "tail"), -EINVAL);
	assert_int_equal(bus_add(&b, 0xFF, 2, &probe_ops, &p, "head"), -EINVAL);
	assert_int_equal(bus_add(&b, 0x80, 0x200, &probe_ops, &p, "around"), -EINVAL);
	assert_int_equal(bus_add(&b, 0x110, 1, &probe_ops, &p, "behind"), 0);
	assert_int_equal(bus_add(&b, 0xFF, 1, &probe_ops, &p, "before"), 0);
	bus_seal(&b);
	assert_int_equal(bus_add(&b, 0x400, 1, &probe_ops, &p, "late"), -EINVAL);
}

static void add_refuses_one_region_too_many(void **state)
{
	struct bus b;

	(void)state;
	bus_init(&b);
	for (uint64_t i = 0; i < BUS_REGIONS_MAX; i++)
		assert_int_equal(bus_add(&b, i * 2, 1, &silent_ops, NULL, "x"), 0);
	assert_int_equal(bus_add(&b, 0x10000, 1, &silent_ops, NULL, "x"), -ENOSPC);
}

static void access_finds_its_region_whatever_the_order_of_adding(void **state)
{
	struct probe p[3] = { 0 };
	struct bus b;
	uint32_t v;

	(void)state;
	bus_init(&b);
	assert_int_equal(bus_add(&b, 0x300, 0x10, &probe_ops, &p[2], "c"), 0);
	assert_int_equal(bus_add(&b, 0x100, 0x10, &probe_ops, &p[0], "a"), 0);
	assert_int_equal(bus_add(&b, 0x200, 0x10, &probe_ops, &p[1], "b"), 0);
	bus_seal(&b);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t base = 0x100 * (i + 1);

		assert_true(bus_read(&b, base + 4, &v, sizeof(v)));
		assert_int_equal(v, 0x005A5A5A); /* the byte that the device left alone reads 0 */
		assert_true(bus_write(&b, base + 0xF, &v, 1));
		assert_int_equal(p[i].reads, 1);
		assert_int_equal(p[i].writes, 1);
		assert_int_equal(p[i].last_off, 0xF);
	}
}

static void every_width_and_address_is_answered(void **state)
{
	struct probe p = { 0 };
	struct bus b;

	(void)state;
	bus_init(&b);
	assert_int_equal(bus_add(&b, 8, 8, &probe_ops, &p, "dev"), 0);
	bus_seal(&b);
	for (uint64_t addr = 0; addr < 32; addr++) {
		for (unsigned len = 1; len <= 16; len++) {
			uint8_t data[16];
			bool inside = addr >= 8 && addr + len <= 16;

			memset(data, 0x77, sizeof(data));
			assert_int_equal(bus_write(&b, addr, data, len), inside);
			assert_int_equal(bus_read(&b, addr, data, len), inside);
			for (unsigned i = 0; i < sizeof(data); i++) {
				uint8_t want = !inside ? 0xFF : i == len - 1 && len > 1 ? 0 : 0x5A;

				assert_int_equal(data[i], i < len ? want : 0x77);
			}
		}
	}
}

static void access_at_the_end_of_the_address_space_does_not_wrap(void **state)
{
	struct probe p = { 0 };
	struct bus b;
	uint64_t v = 0;

	(void)state;
	bus_init(&b);
	assert_int_equal(bus_add(&b, 0, 16, &probe_ops, &p, "low"), 0);
	assert_int_equal(bus_add(&b, UINT64_MAX - 16, 16, &probe_ops, &p, "high"), 0);
	bus_seal(&b);
	assert_false(bus_read(&b, UINT64_MAX, &v, 8));
	assert_true(v == UINT64_MAX);
	assert_false(bus_read(&b, UINT64_MAX - 4, &v, 8));
	assert_true(bus_read(&b, UINT64_MAX - 8, &v, 8));
	assert_int_equal(p.last_off, 8);
}

static void absent_handlers_read_zero_and_drop_writes(void **state)
{
	struct bus b;
	uint16_t v = 0x1234;

	(void)state;
	bus_init(&b);
	assert_int_equal(bus_add(&b, 0x10, 4, &silent_ops, NULL, "silent"), 0);
	bus_seal(&b);
	assert_true(bus_write(&b, 0x10, &v, sizeof(v)));
	assert_true(bus_read(&b, 0x10, &v, sizeof(v)));
	assert_int_equal(v, 0);
}

static void an_empty_bus_claims_nothing(void **state)
{
	struct bus b;
	uint8_t v = 0;

	(void)state;
	bus_init(&b);
	bus_seal(&b);
	assert_false(bus_read(&b, 0, &v, 1));
	assert_int_equal(v, 0xFF);
	assert_false(bus_write(&b, 0, &v, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(add_refuses_empty_wrapping_overlapping_and_sealed),
		cmocka_unit_test(add_refuses_one_region_too_many),
		cmocka_unit_test(access_finds_its_region_whatever_the_order_of_adding),
		cmocka_unit_test(every_width_and_address_is_answered),
		cmocka_unit_test(access_at_the_end_of_the_address_space_does_not_wrap),
		cmocka_unit_test(absent_handlers_read_zero_and_drop_writes),
		cmocka_unit_test(an_empty_bus_claims_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
