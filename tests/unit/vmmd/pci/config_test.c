/* SPDX-License-Identifier: ISC */
#include "vmmd/pci/config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct pci_ids ids = {
	.vendor = 0x1AF4,
	.device = 0x1042,
	.subsys_vendor = 0x1AF5,
	.subsys = 0x1043,
	.class_code = 0x018000,
	.revision = 7,
};

static void header_carries_the_ids(void **state)
{
	struct pci_config c;

	(void)state;
	pci_config_init(&c, &ids);
	assert_int_equal(pci_config_read(&c, 0), 0x10421AF4);
	assert_int_equal(pci_config_read(&c, 2), 0x01800007);
	assert_int_equal(pci_config_read(&c, 11), 0x10431AF5);
	pci_config_fini(&c);
}

static void writes_need_both_masks(void **state)
{
	struct pci_config c;

	(void)state;
	pci_config_init(&c, &ids);
	pci_config_write(&c, 1, 0xFFFFFFFF, 0x00FF);
	assert_int_equal(pci_config_read(&c, 1), 0x00FF);
	pci_config_write(&c, 1, 0, 0xFFFF0000);
	assert_int_equal(pci_config_read(&c, 1), 0x00FF);
	pci_config_write(&c, 0, 0, 0xFFFFFFFF);
	assert_int_equal(pci_config_read(&c, 0), 0x10421AF4);
	pci_config_fini(&c);
}

static void registers_behind_the_kept_ones_read_as_zero(void **state)
{
	struct pci_config c;

	(void)state;
	pci_config_init(&c, &ids);
	c.writable[PCI_CONFIG_KEPT - 1] = 0xF0;
	assert_false(pci_config_write(&c, PCI_CONFIG_KEPT - 1, 0xFF, 0xFFFFFFFF));
	assert_int_equal(pci_config_read(&c, PCI_CONFIG_KEPT - 1), 0xF0);
	for (unsigned reg = PCI_CONFIG_KEPT; reg < PCI_CONFIG_DWORDS; reg++) {
		assert_false(pci_config_write(&c, reg, UINT32_MAX, UINT32_MAX));
		assert_int_equal(pci_config_read(&c, reg), 0);
	}
	pci_config_fini(&c);
}

static void capabilities_form_a_chain(void **state)
{
	static const uint8_t body[] = { 0xEE, 0xEE, 0x12, 0x34, 0x56, 0x78, 0x9A };
	struct pci_config c;

	(void)state;
	pci_config_init(&c, &ids);
	assert_int_equal(pci_config_read(&c, 1), 0); /* no capability, no status bit */
	assert_int_equal(pci_config_add_cap(&c, 0x09, body, sizeof(body)), 0x40);
	assert_int_equal(pci_config_add_cap(&c, 0x11, body, 4), 0x48);
	assert_int_equal(pci_config_read(&c, 1), 0x00100000);
	assert_int_equal(pci_config_read(&c, 13), 0x40);
	assert_int_equal(pci_config_read(&c, 16), 0x34124809);
	assert_int_equal(pci_config_read(&c, 17), 0x009A7856);
	assert_int_equal(pci_config_read(&c, 18), 0x34120011);
	assert_int_equal(pci_config_add_cap(&c, 0x09, body, 256), -ENOSPC);
	pci_config_fini(&c);
}

/* --- base addresses -------------------------------------------------------------------------------------------------- */

enum { LOW = 4, HIGH = 5, OTHER = 6, SIZE = 0x80000 };
#define WINDOW     UINT64_C(0x4000000000)
#define WINDOW_LEN UINT64_C(0x4000000000)
#define PLACED     (WINDOW + WINDOW_LEN - SIZE)
#define WHOLE      UINT32_MAX

struct fixture {
	struct pci_windows w;
	struct pci_region wide, narrow;
	struct pci_config c;
};

/* A 64-bit BAR in registers 4 and 5, a 32-bit one in 6. */
static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (f == NULL || pci_windows_init(&f->w) < 0)
		return -1;
	pci_windows_set(&f->w.low, 0xC0000000, 0x28000000);
	pci_windows_set(&f->w.high, WINDOW, WINDOW_LEN);
	f->wide.size = f->narrow.size = SIZE;
	pci_config_init(&f->c, &ids);
	if (pci_region_place(&f->wide, &f->w.high, 1) < 0 || pci_region_place(&f->narrow, &f->w.low, 1) < 0)
		return -1;
	if (pci_config_add_bar(&f->c, 0, true, &f->wide) < 0 || pci_config_add_bar(&f->c, 2, false, &f->narrow) < 0)
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pci_region_remove(&f->wide);
	pci_region_remove(&f->narrow);
	pci_config_fini(&f->c);
	pci_windows_fini(&f->w);
	free(f);
	return 0;
}

static bool put(struct fixture *f, unsigned reg, uint32_t v)
{
	return pci_config_write(&f->c, reg, v, WHOLE);
}

static uint32_t get(struct fixture *f, unsigned reg)
{
	return pci_config_read(&f->c, reg);
}

static void decode(struct fixture *f, bool on)
{
	(void)put(f, 1, on ? 2 : 0);
}

static void bars_show_where_they_were_placed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, LOW), (uint32_t)PLACED | 4);
	assert_int_equal(get(f, HIGH), PLACED >> 32);
	assert_int_equal(get(f, OTHER), 0xE7F80000);
	for (unsigned reg = OTHER + 1; reg < 10; reg++) {
		assert_false(put(f, reg, WHOLE));
		assert_int_equal(get(f, reg), 0);
	}
}

static void probes_show_sizes_and_move_nothing(void **state)
{
	struct fixture *f = *state;
	/* Both halves, one after the other, in any order; then the old values, in any order. */
	static const unsigned orders[][4] = { { LOW, LOW, HIGH, HIGH }, { LOW, HIGH, LOW, HIGH },
					      { LOW, HIGH, HIGH, LOW }, { HIGH, LOW, HIGH, LOW },
					      { HIGH, LOW, LOW, HIGH }, { HIGH, HIGH, LOW, LOW } };

	for (unsigned on = 0; on < 2; on++) {
		for (unsigned i = 0; i < nitems(orders); i++) {
			bool probed[2] = { false, false };

			decode(f, on != 0);
			for (unsigned k = 0; k < 4; k++) {
				unsigned reg = orders[i][k];
				uint32_t old = reg == LOW ? (uint32_t)PLACED | 4 : (uint32_t)(PLACED >> 32);

				assert_false(put(f, reg, probed[reg - LOW] ? old : WHOLE));
				assert_int_equal(get(f, reg), probed[reg - LOW] ? old
							      : reg == LOW      ? 0xFFF80004
										: WHOLE);
				probed[reg - LOW] = true;
				assert_int_equal(pci_region_base(&f->wide), PLACED);
			}
			decode(f, true);
			assert_int_equal(pci_region_base(&f->wide), PLACED);
			assert_int_equal(get(f, LOW), (uint32_t)PLACED | 4);
		}
	}
	assert_false(put(f, OTHER, WHOLE));
	assert_int_equal(get(f, OTHER), 0xFFF80000);
	assert_int_equal(pci_region_base(&f->narrow), 0xE7F80000);
}

static void wide_bar_moves_with_its_upper_half(void **state)
{
	struct fixture *f = *state;

	decode(f, true);
	assert_false(put(f, LOW, 0x10000000));
	assert_int_equal(pci_region_base(&f->wide), PLACED);
	assert_true(put(f, HIGH, 0x50));
	assert_int_equal(pci_region_base(&f->wide), UINT64_C(0x5010000000));
	assert_int_equal(get(f, LOW), 0x10000004);
	/* The same upper half again, and the lower one as it is: no move. */
	assert_false(put(f, HIGH, 0x50));
	assert_false(put(f, LOW, 0x20000000));
	assert_true(put(f, HIGH, 0x50));
	assert_int_equal(pci_region_base(&f->wide), UINT64_C(0x5020000000));
}

static void narrow_bar_moves_at_once(void **state)
{
	struct fixture *f = *state;

	decode(f, true);
	assert_true(put(f, OTHER, 0xD0000000));
	assert_int_equal(pci_region_base(&f->narrow), 0xD0000000);
}

static void moves_wait_for_decoding(void **state)
{
	struct fixture *f = *state;

	assert_false(put(f, LOW, 0x30000000));
	assert_false(put(f, HIGH, 0x41));
	assert_false(put(f, OTHER, 0xC0000000));
	assert_int_equal(pci_region_base(&f->wide), PLACED);
	assert_int_equal(pci_region_base(&f->narrow), 0xE7F80000);
	assert_true(put(f, 1, 2));
	assert_int_equal(pci_region_base(&f->wide), UINT64_C(0x4130000000));
	assert_int_equal(pci_region_base(&f->narrow), 0xC0000000);
	assert_false(put(f, 1, 0));
	assert_false(put(f, 1, 2));
}

static void parts_of_a_register_merge_and_move_nothing(void **state)
{
	struct fixture *f = *state;

	decode(f, true);
	assert_false(pci_config_write(&f->c, OTHER, 0xD0000000, 0xFF000000));
	assert_int_equal(get(f, OTHER), 0xD0F80000);
	assert_int_equal(pci_region_base(&f->narrow), 0xE7F80000);
}

static void impossible_moves_restore_the_old_address(void **state)
{
	static const uint32_t bad[] = { 0,          0x80000,    0xFEE00000, 0xFEC00000,
					0xE8000000, 0xE7FC0000, 0xBFF80000, 0xFFF80000 };
	struct fixture *f = *state;

	decode(f, true);
	for (unsigned i = 0; i < nitems(bad); i++) {
		(void)put(f, OTHER, bad[i]);
		assert_int_equal(pci_region_base(&f->narrow), 0xE7F80000);
		assert_int_equal(get(f, OTHER), 0xE7F80000);
	}
	static const uint32_t upper[] = { 0, 1, 0x3F, 0x80, 0x7FFFFFFF, 0xFFFFFFFE };

	for (unsigned i = 0; i < nitems(upper); i++) {
		assert_false(put(f, LOW, 0xFEE00000));
		assert_false(put(f, HIGH, upper[i]));
		assert_int_equal(pci_region_base(&f->wide), PLACED);
		assert_int_equal(get(f, LOW), (uint32_t)PLACED | 4);
		assert_int_equal(get(f, HIGH), PLACED >> 32);
	}
}

static void occupied_place_is_refused(void **state)
{
	struct fixture *f = *state;
	struct pci_region other = { .size = 0x10000 };

	assert_int_equal(pci_region_place(&other, &f->w.low, 1), 0);
	assert_int_equal(pci_region_move(&other, 0xD0010000), 0);
	decode(f, true);
	assert_false(put(f, OTHER, 0xD0000000));
	assert_int_equal(get(f, OTHER), 0xE7F80000);
	assert_int_equal(pci_region_move(&other, 0xC0000000), 0);
	assert_true(put(f, OTHER, 0xD0000000));
	pci_region_remove(&other);
}

static void too_many_or_misplaced_bars_are_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(pci_config_add_bar(&f->c, 3, false, &f->narrow), -ENOSPC);
	f->c.n_bars = 1;
	assert_int_equal(pci_config_add_bar(&f->c, 5, true, &f->wide), -EINVAL);
	assert_int_equal(pci_config_add_bar(&f->c, 6, false, &f->wide), -EINVAL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_carries_the_ids),
		cmocka_unit_test(writes_need_both_masks),
		cmocka_unit_test(registers_behind_the_kept_ones_read_as_zero),
		cmocka_unit_test(capabilities_form_a_chain),
		T(bars_show_where_they_were_placed),
		T(probes_show_sizes_and_move_nothing),
		T(wide_bar_moves_with_its_upper_half),
		T(narrow_bar_moves_at_once),
		T(moves_wait_for_decoding),
		T(parts_of_a_register_merge_and_move_nothing),
		T(impossible_moves_restore_the_old_address),
		T(occupied_place_is_refused),
		T(too_many_or_misplaced_bars_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
