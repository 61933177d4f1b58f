/* SPDX-License-Identifier: ISC */
#include "vmmd/acpi/tables.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { BASE = 0xA0000 };

static struct wbuf b;

static int setup(void **state)
{
	(void)state;
	wbuf_init(&b, 1 << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	wbuf_fini(&b);
	return 0;
}

static struct acpi_cfg cfg_of(uint32_t boot, uint32_t max)
{
	return (struct acpi_cfg){
		.topo = cpuid_topology_default(boot),
		.boot_vcpus = boot,
		.max_vcpus = max,
		.serial = true,
		.mmio32 = 0xC0000000,
		.mmio32_size = 0x28000000,
		.mmio64 = 0x100000000,
		.mmio64_size = 0x3FFEFFEF0000,
		.ged = 0x3FFFFFFED000,
	};
}

static void build(const struct acpi_cfg *cfg)
{
	assert_int_equal(acpi_build(BASE, cfg, &b, NULL), 0);
}

static uint64_t le(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	for (size_t i = 0; i < n; i++)
		s = (uint8_t)(s + p[i]);
	return s;
}

/* The table at a guest address, after the checks that hold for every table. */
static const uint8_t *table_at(uint64_t gpa, const char *signature, unsigned revision,
			       const char *id)
{
	assert_in_range(gpa, BASE, BASE + b.len - 36);
	const uint8_t *t = b.p + (gpa - BASE);
	assert_memory_equal(t, signature, 4);
	assert_in_range(le(t + 4, 4), 36, b.len - (gpa - BASE));
	assert_int_equal(t[8], revision);
	assert_int_equal(sum(t, le(t + 4, 4)), 0);
	assert_memory_equal(t + 10, "CLOUDH", 6);
	assert_memory_equal(t + 16, id, 8);
	assert_memory_equal(t + 24, "\x01\0\0\0RVAT\0\0\0\x01", 12);
	return t;
}

static const uint8_t *xsdt(void)
{
	return table_at(le(b.p + 24, 8), "XSDT", 1, "CHXSDT  ");
}

static const uint8_t *fadt(void)
{
	return table_at(le(xsdt() + 36, 8), "FACP", 6, "CHFACP  ");
}

static const uint8_t *madt(void)
{
	return table_at(le(xsdt() + 44, 8), "APIC", 5, "CHMADT  ");
}

static void rsdp_leads_to_the_xsdt(void **state)
{
	const struct acpi_cfg cfg = cfg_of(2, 2);

	(void)state;
	build(&cfg);
	assert_memory_equal(b.p, "RSD PTR ", 8);
	assert_int_equal(sum(b.p, 20), 0);
	assert_int_equal(sum(b.p, 36), 0);
	assert_memory_equal(b.p + 9, "CLOUDH", 6);
	assert_int_equal(b.p[15], 2);
	assert_int_equal(le(b.p + 16, 4), 0);
	assert_int_equal(le(b.p + 20, 4), 36);
	assert_int_equal(le(xsdt() + 4, 4), 36 + 3 * 8);
}

static void tables_lie_back_to_back_in_order(void **state)
{
	const struct acpi_cfg cfg = cfg_of(2, 2);
	static const char *const order[] = { "DSDT", "FACP", "APIC", "MCFG", "XSDT" };
	size_t at = 36;

	(void)state;
	build(&cfg);
	for (unsigned i = 0; i < nitems(order); i++) {
		assert_memory_equal(b.p + at, order[i], 4);
		at += le(b.p + at + 4, 4);
	}
	assert_int_equal(at, b.len);
}

static void fadt_is_hardware_reduced(void **state)
{
	static const struct {
		unsigned off, bytes;
		uint64_t value;
	} want[] = {
		{ 112, 4, 0x00100500 },
		{ 116, 4, 0x01000801 },
		{ 120, 8, 0x600 }, /* reset register */
		{ 128, 1, 1 },
		{ 131, 1, 3 },
		{ 208, 4, 0x04002001 },
		{ 212, 8, 0x608 }, /* PM timer */
		{ 244, 4, 0x01000801 },
		{ 248, 8, 0x600 }, /* sleep control */
		{ 256, 4, 0x01000801 },
		{ 260, 8, 0x600 }, /* sleep status */
		{ 268, 8, UINT64_C(0x50594844554F4C43) },
		{ 36, 4, 0 },
		{ 40, 4, 0 }, /* FACS, 32-bit DSDT */
		{ 46, 2, 0 },
		{ 48, 4, 0 }, /* SCI, SMI */
		{ 56, 4, 0 },
		{ 64, 4, 0 },  /* PM1a */
		{ 109, 2, 0 }, /* IAPC_BOOT_ARCH */
	};
	const struct acpi_cfg cfg = cfg_of(1, 1);

	(void)state;
	build(&cfg);
	const uint8_t *t = fadt();
	assert_int_equal(le(t + 4, 4), 276);
	for (unsigned i = 0; i < nitems(want); i++)
		assert_true(le(t + want[i].off, want[i].bytes) == want[i].value);
	(void)table_at(le(t + 140, 8), "DSDT", 6, "CHDSDT  ");
	assert_true(le(t + 140, 8) == BASE + 36);
}

static void madt_lists_every_possible_processor(void **state)
{
	const struct acpi_cfg cfg = cfg_of(3, 5);

	(void)state;
	build(&cfg);
	const uint8_t *t = madt();
	assert_int_equal(le(t + 4, 4), 44 + 5 * 16 + 12 + 10);
	assert_true(le(t + 36, 4) == 0xFEE00000);
	assert_int_equal(le(t + 40, 4), 0);
	const uint8_t *p = t + 44;
	for (unsigned i = 0; i < 5; i++, p += 16) {
		assert_int_equal(p[0], 9);
		assert_int_equal(p[1], 16);
		assert_int_equal(le(p + 4, 4), i);
		assert_int_equal(le(p + 8, 4), i < 3 ? 3 : 2);
		assert_int_equal(le(p + 12, 4), i);
	}
	assert_memory_equal(p, "\x01\x0C\0\0\0\0\xC0\xFE\0\0\0\0", 12);
	assert_memory_equal(p + 12, "\x02\x0A\0\x04\x04\0\0\0\0\0", 10);
}

static void mcfg_claims_bus_0_only(void **state)
{
	const struct acpi_cfg cfg = cfg_of(1, 1);

	(void)state;
	build(&cfg);
	const uint8_t *t = table_at(le(xsdt() + 52, 8), "MCFG", 1, "CHMCFG  ");
	assert_int_equal(le(t + 4, 4), 60);
	assert_true(le(t + 36, 8) == 0);
	assert_true(le(t + 44, 8) == 0xE8000000);
	assert_true(le(t + 52, 8) == 0);
}

static bool dsdt_has(const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i + len <= b.len; i++) {
		if (memcmp(b.p + i, text, len) == 0)
			return true;
	}
	return false;
}

static void serial_port_is_listed_when_there_is_one(void **state)
{
	struct acpi_cfg cfg = cfg_of(1, 1);

	(void)state;
	build(&cfg);
	assert_true(dsdt_has("COM1"));
	wbuf_reset(&b);
	cfg.serial = false;
	build(&cfg);
	assert_false(dsdt_has("COM1"));
}

static void objects_without_registers_are_not_published(void **state)
{
	static const char *const absent[] = {
		"PHPR", "PRES", "MHPR", "_EJ0", "S001", "PCNT", "DVNT"
	};
	static const char *const present[] = { "PC00", "MBRD", "_S5_", "PWRB", "GEC_",
					       "GED_", "CPUS", "MHPC", "C000" };
	const struct acpi_cfg cfg = cfg_of(2, 2);

	(void)state;
	build(&cfg);
	for (unsigned i = 0; i < nitems(absent); i++)
		assert_false(dsdt_has(absent[i]));
	for (unsigned i = 0; i < nitems(present); i++)
		assert_true(dsdt_has(present[i]));
}

static void odd_processor_counts_are_refused(void **state)
{
	struct acpi_cfg cfg = cfg_of(1, 1);
	struct err e;

	(void)state;
	err_clear(&e);
	cfg.boot_vcpus = 0;
	assert_int_equal(acpi_build(BASE, &cfg, &b, &e), -EINVAL);
	cfg = cfg_of(2, 1);
	assert_int_equal(acpi_build(BASE, &cfg, &b, &e), -EINVAL);
	cfg = cfg_of(1, ACPI_VCPUS_MAX + 1);
	assert_int_equal(acpi_build(BASE, &cfg, &b, &e), -EINVAL);
	assert_true(err_count(&e) > 0);
}

static void too_little_room_is_an_error_at_every_size(void **state)
{
	const struct acpi_cfg cfg = cfg_of(1, 1);

	(void)state;
	build(&cfg);
	for (size_t max = 0; max < b.len; max++) {
		struct wbuf small;

		wbuf_init(&small, max);
		assert_int_equal(acpi_build(BASE, &cfg, &small, NULL), -EMSGSIZE);
		wbuf_fini(&small);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(rsdp_leads_to_the_xsdt),
		T(tables_lie_back_to_back_in_order),
		T(fadt_is_hardware_reduced),
		T(madt_lists_every_possible_processor),
		T(mcfg_claims_bus_0_only),
		T(serial_port_is_listed_when_there_is_one),
		T(objects_without_registers_are_not_published),
		T(odd_processor_counts_are_refused),
		T(too_little_room_is_an_error_at_every_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
