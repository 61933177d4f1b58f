/* SPDX-License-Identifier: ISC */
#include "vmmd/pci/pci.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
	struct pci_segment *s = malloc(sizeof(*s));

	if (s == NULL)
		return -1;
	pci_segment_init(s);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	pci_segment_fini(*state);
	free(*state);
	return 0;
}

static uint64_t ecam(unsigned dev, unsigned fn, unsigned reg)
{
	return dev << 15 | fn << 12 | reg;
}

static uint32_t ecam_in(struct pci_segment *s, uint64_t off, unsigned len)
{
	uint32_t v = 0;

	pci_ecam_bus_ops.read(s, off, &v, len);
	return v;
}

static void ecam_out(struct pci_segment *s, uint64_t off, uint32_t v, unsigned len)
{
	pci_ecam_bus_ops.write(s, off, &v, len);
}

static uint32_t mech1_in(struct pci_segment *s, unsigned off, unsigned len)
{
	uint32_t v = 0;

	pci_mech1_bus_ops.read(s, off, &v, len);
	return v;
}

static void mech1_out(struct pci_segment *s, unsigned off, uint32_t v, unsigned len)
{
	pci_mech1_bus_ops.write(s, off, &v, len);
}

static uint32_t mech1_config(struct pci_segment *s, uint32_t address)
{
	mech1_out(s, 0, address, 4);
	return mech1_in(s, 4, 4);
}

static void host_bridge_header_is_as_documented(void **state)
{
	struct pci_segment *s = *state;

	assert_int_equal(ecam_in(s, 0x00, 4), 0x0D578086);
	assert_int_equal(ecam_in(s, 0x04, 4), 0);
	assert_int_equal(ecam_in(s, 0x08, 4), 0x06000000);
	assert_int_equal(ecam_in(s, 0x0C, 4), 0);
	assert_int_equal(ecam_in(s, 0x2C, 4), 0);
	assert_int_equal(ecam_in(s, 0x34, 4), 0);
	for (unsigned reg = 0x40; reg < 0x1000; reg += 4)
		assert_int_equal(ecam_in(s, reg, 4), 0);
}

static void host_bridge_has_few_writable_bits(void **state)
{
	struct pci_segment *s = *state;

	for (unsigned reg = 0; reg < 0x1000; reg += 4) {
		uint32_t before = ecam_in(s, reg, 4);
		uint32_t writable = reg == 0x04 ? 0xFFFF : reg == 0x0C || reg == 0x3C ? 0xFF : 0;

		ecam_out(s, reg, UINT32_MAX, 4);
		assert_int_equal(ecam_in(s, reg, 4), (before & ~writable) | writable);
		ecam_out(s, reg, 0, 4);
		assert_int_equal(ecam_in(s, reg, 4), before & ~writable);
	}
}

static void byte_and_word_writes_touch_their_lanes_only(void **state)
{
	struct pci_segment *s = *state;

	ecam_out(s, 0x05, 0xAB, 1);
	assert_int_equal(ecam_in(s, 0x04, 4), 0xAB00);
	ecam_out(s, 0x04, 0x12CD, 2);
	assert_int_equal(ecam_in(s, 0x04, 4), 0x12CD);
	ecam_out(s, 0x06, 0xFFFF, 2);
	assert_int_equal(ecam_in(s, 0x04, 4), 0x12CD);
	ecam_out(s, 0x05, 0x3456, 2); /* unaligned, in the dword */
	assert_int_equal(ecam_in(s, 0x04, 4), 0x56CD);
	assert_int_equal(ecam_in(s, 0x05, 1), 0x56);
	assert_int_equal(ecam_in(s, 0x02, 2), 0x0D57);
	assert_int_equal(ecam_in(s, 0x01, 2), 0x5780);
}

static void ecam_answers_every_shape_everywhere(void **state)
{
	struct pci_segment *s = *state;
	static const unsigned lens[] = { 1, 2, 3, 4, 5, 8, 16 };
	uint8_t data[16];

	for (uint64_t off = 0; off < PCI_ECAM_BYTES; off += off < 0x2000 ? 1 : 509) {
		for (unsigned i = 0; i < nitems(lens); i++) {
			bool there = off < 0x1000 && (off & 3) + lens[i] <= 4;

			memset(data, 0xEE, sizeof(data));
			pci_ecam_bus_ops.write(s, off, data, lens[i]);
			pci_ecam_bus_ops.read(s, off, data, lens[i]);
			for (unsigned j = 0; j < lens[i] && !there; j++)
				assert_int_equal(data[j], 0xFF);
			for (unsigned j = lens[i]; j < sizeof(data); j++)
				assert_int_equal(data[j], 0xEE);
		}
	}
	assert_int_equal(ecam_in(s, 0, 4), 0x0D578086);
}

static void absent_slots_and_functions_read_all_ones(void **state)
{
	struct pci_segment *s = *state;

	for (unsigned dev = 0; dev < PCI_SLOTS; dev++) {
		for (unsigned fn = 0; fn < 8; fn++) {
			uint32_t address = 0x80000000 | dev << 11 | fn << 8;
			uint32_t want = dev == 0 && fn == 0 ? 0x0D578086 : UINT32_MAX;

			assert_int_equal(ecam_in(s, ecam(dev, fn, 0), 4), want);
			assert_int_equal(mech1_config(s, address), want);
		}
	}
}

static void writes_to_other_functions_miss_function_0(void **state)
{
	struct pci_segment *s = *state;

	for (unsigned fn = 1; fn < 8; fn++) {
		ecam_out(s, ecam(0, fn, 4), 0xFFFF, 4);
		mech1_out(s, 0, 0x80000004 | fn << 8, 4);
		mech1_out(s, 4, 0xFFFF, 4);
	}
	assert_int_equal(ecam_in(s, 4, 4), 0);
}

static void mechanism_1_needs_enable_and_bus_0(void **state)
{
	struct pci_segment *s = *state;

	assert_int_equal(mech1_config(s, 0x80000000), 0x0D578086);
	assert_int_equal(mech1_config(s, 0x00000000), UINT32_MAX);
	for (uint32_t bus = 1; bus < 256; bus++)
		assert_int_equal(mech1_config(s, 0x80000000 | bus << 16), UINT32_MAX);
	/* Bits that the mechanism reserves select nothing. */
	assert_int_equal(mech1_config(s, 0xFF000003), 0x0D578086);
	mech1_out(s, 0, 4, 4);
	mech1_out(s, 4, 0xFFFF, 4);
	assert_int_equal(ecam_in(s, 4, 4), 0);
}

static void mechanism_1_reaches_64_registers_by_lanes(void **state)
{
	struct pci_segment *s = *state;

	mech1_out(s, 0, 0x80000004, 4);
	mech1_out(s, 5, 0xAB, 1);
	assert_int_equal(mech1_in(s, 4, 4), 0xAB00);
	assert_int_equal(mech1_in(s, 5, 1), 0xAB);
	mech1_out(s, 4, 0xBEEF, 2);
	assert_int_equal(ecam_in(s, 4, 4), 0xBEEF);
	mech1_out(s, 0, 0x80000000 | 0xFC, 4);
	assert_int_equal(mech1_in(s, 4, 4), 0);
}

static void address_register_merges_parts(void **state)
{
	struct pci_segment *s = *state;

	mech1_out(s, 0, 0x11223344, 4);
	mech1_out(s, 1, 0xAA, 1);
	assert_int_equal(mech1_in(s, 0, 4), 0x1122AA44);
	mech1_out(s, 2, 0x5566, 2);
	assert_int_equal(mech1_in(s, 0, 4), 0x5566AA44);
	mech1_out(s, 1, 0x7788, 2);
	assert_int_equal(mech1_in(s, 0, 4), 0x55778844);
	assert_int_equal(mech1_in(s, 2, 2), 0x5577);
	assert_int_equal(mech1_in(s, 3, 1), 0x55);
}

static void mechanism_1_answers_every_shape(void **state)
{
	struct pci_segment *s = *state;

	mech1_out(s, 0, 0x80000000, 4);
	for (unsigned off = 0; off < PCI_MECH1_PORTS; off++) {
		for (unsigned len = 1; off + len <= PCI_MECH1_PORTS; len++) {
			uint8_t data[8] = { 0 };

			if ((off & 3) + len <= 4)
				continue;
			pci_mech1_bus_ops.write(s, off, data, len);
			pci_mech1_bus_ops.read(s, off, data, len);
			for (unsigned i = 0; i < len; i++)
				assert_int_equal(data[i], 0xFF);
		}
	}
	assert_int_equal(mech1_in(s, 0, 4), 0x80000000); /* crossing writes were dropped */
}

static uint32_t other_read(void *dev, unsigned reg, uint32_t mask)
{
	(void)mask;
	return *(uint32_t *)dev + reg;
}

static void other_write(void *dev, unsigned reg, uint32_t value, uint32_t mask)
{
	(void)reg;
	*(uint32_t *)dev = value & mask;
}

static const struct pci_function_ops other_ops = { .read = other_read, .write = other_write };

static void functions_get_the_lowest_free_or_the_asked_slot(void **state)
{
	struct pci_segment *s = *state;
	uint32_t regs = 0x1000;

	assert_int_equal(pci_segment_add(s, 0, &other_ops, &regs), -EBUSY);
	assert_int_equal(pci_segment_add(s, 2, &other_ops, &regs), 2);
	assert_int_equal(pci_segment_add(s, -1, &other_ops, &regs), 1);
	assert_int_equal(pci_segment_add(s, -1, &other_ops, &regs), 3);
	assert_int_equal(pci_segment_add(s, 2, &other_ops, &regs), -EBUSY);
	assert_int_equal(pci_segment_add(s, PCI_SLOTS, &other_ops, &regs), -EINVAL);
	assert_int_equal(pci_segment_add(s, 4, NULL, NULL), -EINVAL);
	assert_int_equal(ecam_in(s, ecam(2, 0, 0x20), 4), 0x1008);
	ecam_out(s, ecam(2, 0, 0x22), 0xAB, 1);
	assert_int_equal(regs, 0x00AB0000);
}

static void a_full_bus_takes_no_more(void **state)
{
	struct pci_segment *s = *state;
	uint32_t regs = 0;

	for (int i = 1; i < PCI_SLOTS; i++)
		assert_int_equal(pci_segment_add(s, -1, &other_ops, &regs), i);
	assert_int_equal(pci_segment_add(s, -1, &other_ops, &regs), -ENOSPC);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(host_bridge_header_is_as_documented),
		T(host_bridge_has_few_writable_bits),
		T(byte_and_word_writes_touch_their_lanes_only),
		T(ecam_answers_every_shape_everywhere),
		T(absent_slots_and_functions_read_all_ones),
		T(writes_to_other_functions_miss_function_0),
		T(mechanism_1_needs_enable_and_bus_0),
		T(mechanism_1_reaches_64_registers_by_lanes),
		T(address_register_merges_parts),
		T(mechanism_1_answers_every_shape),
		T(functions_get_the_lowest_free_or_the_asked_slot),
		T(a_full_bus_takes_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
