/* SPDX-License-Identifier: ISC */
/* SMBIOS, MP table, and all of a firmware's tables in their places. */
#include "vmmd/boot/firmware.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/units.h"
#include "vmmd/boot/mptable.h"
#include "vmmd/boot/smbios.h"

static uint8_t ram[MIB];
static struct gmem gm;
static struct memmap map;

static int setup(void **state)
{
	(void)state;
	memset(ram, 0, sizeof(ram));
	gm.n = 0;
	if (gmem_add(&gm, 0, sizeof(ram), ram) < 0)
		return -1;
	return memmap_init(&map, 512 * MIB, 46, NULL);
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	for (size_t i = 0; i < n; i++)
		s = (uint8_t)(s + p[i]);
	return s;
}

static uint64_t le(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static int write_for(uint32_t vcpus, struct err *e)
{
	const struct firmware_cfg cfg = {
		.map = &map,
		.topo = cpuid_topology_default(vcpus),
		.boot_vcpus = vcpus,
		.max_vcpus = vcpus,
		.serial = true,
	};

	return firmware_write(&gm, &cfg, e);
}

/* The structure behind @p: its formatted part and its strings. */
static const uint8_t *next_structure(const uint8_t *p)
{
	p += p[1];
	while (p[0] != 0 || p[1] != 0)
		p++;
	return p + 2;
}

static void smbios_structures_are_as_documented(void **state)
{
	static const uint8_t zero[16];
	struct wbuf b;

	(void)state;
	wbuf_init(&b, 4096);
	assert_int_equal(smbios_build(0xF0000, &b), 0);
	assert_memory_equal(b.p, "_SM3_", 5);
	assert_int_equal(sum(b.p, 24), 0);
	assert_int_equal(b.p[6], 24);
	assert_int_equal(b.p[7], 3);
	assert_int_equal(b.p[8], 2);
	assert_int_equal(b.p[9], 0);
	assert_int_equal(b.p[10], 1);
	assert_true(le(b.p + 12, 4) == b.len - 24);
	assert_true(le(b.p + 16, 8) == 0xF0018);

	const uint8_t *bios = b.p + 24;
	assert_int_equal(bios[0], 0);
	assert_int_equal(bios[1], 20);
	assert_int_equal(le(bios + 2, 2), 1);
	assert_int_equal(bios[4], 1);
	assert_int_equal(bios[5], 2);
	assert_true(le(bios + 10, 8) == 0x80);
	assert_int_equal(bios[19], 0x10);
	assert_memory_equal(bios + 20,
			    "cloud-hypervisor\0"
			    "0\0",
			    20);

	const uint8_t *sys = next_structure(bios);
	assert_int_equal(sys[0], 1);
	assert_int_equal(sys[1], 27);
	assert_int_equal(le(sys + 2, 2), 2);
	assert_memory_equal(sys + 8, zero, 16);
	assert_int_equal(sys[24], 2);
	assert_memory_equal(sys + 27, "Cloud Hypervisor\0cloud-hypervisor\0", 35);

	const uint8_t *end = next_structure(sys);
	assert_memory_equal(end, "\x7F\x04\x03\x00\x00\x00", 6);
	assert_ptr_equal(end + 6, b.p + b.len);
	wbuf_fini(&b);
}

static void smbios_without_room_is_an_error(void **state)
{
	(void)state;
	for (size_t max = 0; max < 140; max++) {
		const size_t needed = 24 + 40 + 62 + 6;
		struct wbuf b;

		wbuf_init(&b, max);
		int r = smbios_build(0xF0000, &b);
		assert_true(r == (max < needed ? -EMSGSIZE : 0));
		wbuf_fini(&b);
	}
}

static void mptable_is_as_documented(void **state)
{
	const struct cpuid_topology topo = cpuid_topology_default(3);
	struct wbuf b;

	(void)state;
	wbuf_init(&b, 4096);
	assert_int_equal(mptable_build(0xF0100, &topo, 3, &b), 0);
	assert_memory_equal(b.p, "_MP_", 4);
	assert_true(le(b.p + 4, 4) == 0xF0110);
	assert_int_equal(b.p[8], 1);
	assert_int_equal(b.p[9], 4);
	assert_int_equal(sum(b.p, 16), 0);

	const uint8_t *t = b.p + 16;
	size_t len = 44 + 3 * 20 + 8 + 8 + 16 * 8 + 2 * 8;
	assert_int_equal(b.len, 16 + len);
	assert_memory_equal(t, "PCMP", 4);
	assert_int_equal(le(t + 4, 2), len);
	assert_int_equal(t[6], 4);
	assert_int_equal(sum(t, len), 0);
	assert_memory_equal(t + 8, "FC      000000000000", 20);
	assert_int_equal(le(t + 34, 2), 3 + 1 + 1 + 16 + 2);
	assert_true(le(t + 36, 4) == 0xFEE00000);

	const uint8_t *p = t + 44;
	for (unsigned i = 0; i < 3; i++, p += 20) {
		assert_int_equal(p[0], 0);
		assert_int_equal(p[1], i);
		assert_int_equal(p[2], 0x14);
		assert_int_equal(p[3], i == 0 ? 3 : 1);
		assert_true(le(p + 4, 4) == 0x600);
		assert_true(le(p + 8, 4) == 0x201);
	}
	assert_memory_equal(p, "\x01\x00ISA   ", 8);
	p += 8;
	assert_memory_equal(p, "\x02\xFF\x14\x01\x00\x00\xC0\xFE", 8);
	p += 8;
	for (uint8_t i = 0; i < 16; i++, p += 8) {
		const uint8_t want[8] = { 3, 0, 0, 0, 0, i, 255, i };

		assert_memory_equal(p, want, 8);
	}
	assert_memory_equal(p, "\x04\x03\0\0\0\0\0\0", 8);
	assert_memory_equal(p + 8, "\x04\x01\0\0\0\0\xFF\x01", 8);
	wbuf_fini(&b);
}

/* Where the MP table has to be, by the length of the SMBIOS table before it. */
static const uint8_t *mp_place(void)
{
	uint64_t after = 0xF0000 + 24 + le(ram + 0xF000C, 4);

	return ram + ((after + 16) & ~UINT64_C(15));
}

static void tables_are_in_their_places(void **state)
{
	(void)state;
	assert_int_equal(write_for(2, NULL), 0);
	assert_true(le(ram + 0x40E, 2) == 0xA000);
	assert_true(le(ram + 0x508, 8) == 0x00CF9B000000FFFF);
	assert_memory_equal(ram + 0xA0000, "RSD PTR ", 8);
	assert_memory_equal(ram + 0xF0000, "_SM3_", 5);
	assert_memory_equal(mp_place(), "_MP_", 4);
}

static void mp_table_is_left_out_when_ids_are_too_high(void **state)
{
	(void)state;
	assert_int_equal(write_for(254, NULL), 0); /* the highest id is 253 */
	assert_memory_equal(mp_place(), "_MP_", 4);
	memset(ram, 0, sizeof(ram));
	assert_int_equal(write_for(255, NULL), 0);
	assert_int_equal(mp_place()[0], 0);
}

static void too_many_vcpus_are_refused_with_the_reason(void **state)
{
	struct err e;

	(void)state;
	err_clear(&e);
	assert_int_equal(write_for(1024, &e), 0);
	assert_int_equal(write_for(4096, &e), -ENOSPC);
	assert_non_null(strstr(err_text(&e, 0), "4096 vCPUs do not fit"));
	err_clear(&e);
	assert_int_equal(write_for(4097, &e), -EINVAL);
	assert_true(err_count(&e) > 0);
}

static void absent_ram_is_an_error(void **state)
{
	struct err e;

	(void)state;
	/* Before the GDT, the EBDA pointer's neighbour, in the ACPI tables, before SMBIOS, before
	 * the MP table. */
	static const uint64_t sizes[] = { 0x400, 0x510, 0xA0000, 0xA0100, 0xF0000, 0xF0098 };

	for (unsigned i = 0; i < nitems(sizes); i++) {
		gm.n = 0;
		err_clear(&e);
		assert_int_equal(gmem_add(&gm, 0, sizes[i], ram), 0);
		assert_int_equal(write_for(1, &e), -EFAULT);
		assert_true(err_count(&e) > 0);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		T(smbios_structures_are_as_documented),
		T(smbios_without_room_is_an_error),
		T(mptable_is_as_documented),
		T(tables_are_in_their_places),
		T(mp_table_is_left_out_when_ids_are_too_high),
		T(too_many_vcpus_are_refused_with_the_reason),
		T(absent_ram_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
