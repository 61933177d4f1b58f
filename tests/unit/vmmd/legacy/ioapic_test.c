/* SPDX-License-Identifier: ISC */
#include "vmmd/legacy/ioapic.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct route {
	unsigned sets, injects;
	bool masked;
	uint64_t addr;
	uint32_t data;
};

struct fixture {
	struct ioapic *io;
	struct route pin[IOAPIC_PINS];
	void (*on_set)(struct fixture *f, unsigned pin); /* from inside set_route, once */
};

static void set_route(void *arg, unsigned pin, bool masked, uint64_t addr, uint32_t data)
{
	struct fixture *f = arg;
	void (*hook)(struct fixture *, unsigned) = f->on_set;

	f->pin[pin] =
		(struct route){ f->pin[pin].sets + 1, f->pin[pin].injects, masked, addr, data };
	f->on_set = NULL;
	if (hook != NULL)
		hook(f, pin);
}

static void inject(void *arg, unsigned pin)
{
	((struct fixture *)arg)->pin[pin].injects++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return -1;
	const struct ioapic_ops ops = { .set_route = set_route, .inject = inject, .arg = f };
	f->io = ioapic_new(&ops);
	*state = f;
	return f->io != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ioapic_free(f->io);
	free(f);
	return 0;
}

static void out(struct fixture *f, uint64_t off, uint32_t v)
{
	ioapic_bus_ops.write(f->io, off, &v, sizeof(v));
}

static uint32_t in(struct fixture *f, uint64_t off)
{
	uint32_t v = 0;

	ioapic_bus_ops.read(f->io, off, &v, sizeof(v));
	return v;
}

static void write_reg(struct fixture *f, uint32_t reg, uint32_t v)
{
	out(f, 0, reg);
	out(f, 0x10, v);
}

static uint32_t read_reg(struct fixture *f, uint32_t reg)
{
	out(f, 0, reg);
	return in(f, 0x10);
}

static void set_pin(struct fixture *f, unsigned pin, uint64_t rte)
{
	write_reg(f, 0x11 + 2 * pin, (uint32_t)(rte >> 32));
	write_reg(f, 0x10 + 2 * pin, (uint32_t)rte);
}

static void registers_start_as_documented(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, 0), 0);
	assert_int_equal(read_reg(f, 0), 0);
	assert_int_equal(read_reg(f, 1), 0x00170011);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		assert_int_equal(read_reg(f, 0x10 + 2 * pin), 0x10000);
		assert_int_equal(read_reg(f, 0x11 + 2 * pin), 0);
	}
}

static void id_is_four_bits_and_the_arbitration_id_follows(void **state)
{
	struct fixture *f = *state;

	write_reg(f, 0, UINT32_MAX);
	assert_int_equal(read_reg(f, 0), 0x0F000000);
	assert_int_equal(read_reg(f, 2), 0x0F000000);
	write_reg(f, 2, 0);
	assert_int_equal(read_reg(f, 2), 0x0F000000);
}

static void version_is_read_only(void **state)
{
	struct fixture *f = *state;

	write_reg(f, 1, 0);
	assert_int_equal(read_reg(f, 1), 0x00170011);
}

static void status_bits_of_an_entry_are_read_only(void **state)
{
	struct fixture *f = *state;

	write_reg(f, 0x10, UINT32_MAX);
	assert_int_equal(read_reg(f, 0x10), UINT32_MAX & ~UINT32_C(0x5000));
	write_reg(f, 0x11, UINT32_MAX);
	assert_int_equal(read_reg(f, 0x11), UINT32_MAX);
}

static void unmasking_makes_the_documented_message(void **state)
{
	struct fixture *f = *state;

	/* fixed, physical, edge, vector 0x31, APIC 3 */
	set_pin(f, 4, UINT64_C(0x0300000000000031));
	assert_false(f->pin[4].masked);
	assert_true(f->pin[4].addr == 0xFEE03008);
	assert_int_equal(f->pin[4].data, 0x31);
	/* lowest priority, logical, level */
	set_pin(f, 5, UINT64_C(0xFF0000000000A952));
	assert_true(f->pin[5].addr == 0xFEEFF00C);
	assert_int_equal(f->pin[5].data, 0xC152);
	set_pin(f, 6, UINT64_C(0x12FE000000000060)); /* destination 0x7F12 */
	assert_true(f->pin[6].addr == (0xFEE12008 | 0x7F << 5));
}

static void masking_takes_the_route_away(void **state)
{
	struct fixture *f = *state;

	set_pin(f, 4, 0x31);
	set_pin(f, 4, 0x10031);
	assert_true(f->pin[4].masked);
}

static void writes_that_change_nothing_set_no_route(void **state)
{
	struct fixture *f = *state;

	set_pin(f, 4, 0x31);
	unsigned sets = f->pin[4].sets;
	set_pin(f, 4, 0x31);
	set_pin(f, 4, 0x31 | 0x5000); /* read-only bits */
	assert_int_equal(f->pin[4].sets, sets);
}

static void pulse_is_delivered_when_unmasked(void **state)
{
	struct fixture *f = *state;

	set_pin(f, 4, 0x31);
	ioapic_pulse(f->io, 4);
	ioapic_pulse(f->io, 4);
	assert_int_equal(f->pin[4].injects, 2);
}

static void pulse_on_a_masked_pin_waits_and_counts_once(void **state)
{
	struct fixture *f = *state;

	ioapic_pulse(f->io, 4);
	ioapic_pulse(f->io, 4);
	assert_int_equal(f->pin[4].injects, 0);
	set_pin(f, 4, 0x10031);
	assert_int_equal(f->pin[4].injects, 0);
	set_pin(f, 4, 0x31);
	assert_int_equal(f->pin[4].injects, 1);
	set_pin(f, 4, 0x10031);
	set_pin(f, 4, 0x31);
	assert_int_equal(f->pin[4].injects, 1);
}

static void pulse_of_a_pin_out_of_range_is_ignored(void **state)
{
	struct fixture *f = *state;

	ioapic_pulse(f->io, IOAPIC_PINS);
	ioapic_pulse(f->io, UINT32_MAX);
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		assert_int_equal(f->pin[i].injects, 0);
}

static void level_delivery_sets_remote_irr_until_eoi(void **state)
{
	struct fixture *f = *state;

	set_pin(f, 7, 0x8041);
	set_pin(f, 8, 0x8041);
	set_pin(f, 9, 0x8042);
	for (unsigned pin = 7; pin <= 9; pin++) {
		ioapic_pulse(f->io, pin);
		assert_true((read_reg(f, 0x10 + 2 * pin) & 0x4000) != 0);
	}
	ioapic_eoi(f->io, 0x41);
	assert_int_equal(read_reg(f, 0x10 + 2 * 7) & 0x4000, 0);
	assert_int_equal(read_reg(f, 0x10 + 2 * 8) & 0x4000, 0);
	assert_int_equal(read_reg(f, 0x10 + 2 * 9) & 0x4000, 0x4000);
}

static void edge_delivery_leaves_remote_irr_alone(void **state)
{
	struct fixture *f = *state;

	set_pin(f, 7, 0x41);
	ioapic_pulse(f->io, 7);
	assert_int_equal(read_reg(f, 0x10 + 2 * 7), 0x41);
}

static void switching_to_edge_clears_remote_irr(void **state)
{
	struct fixture *f = *state;

	set_pin(f, 7, 0x8041);
	ioapic_pulse(f->io, 7);
	set_pin(f, 7, 0x10041);
	set_pin(f, 7, 0x8041);
	assert_int_equal(read_reg(f, 0x10 + 2 * 7), 0x8041);
}

static void change_inside(struct fixture *f, unsigned pin)
{
	ioapic_pulse(f->io, pin);
	set_pin(f, pin, 0x77);
}

/* Another vCPU changes the entry, and a device pulses it, while the route is being set. */
static void change_during_set_route_ends_with_the_last_state(void **state)
{
	struct fixture *f = *state;

	f->on_set = change_inside;
	write_reg(f, 0x10 + 2 * 3, 0x55);
	assert_int_equal(f->pin[3].data, 0x77);
	assert_int_equal(f->pin[3].sets, 2);
	assert_int_equal(f->pin[3].injects, 1); /* with the route of the last state */
}

static void mask_inside(struct fixture *f, unsigned pin)
{
	ioapic_pulse(f->io, pin);
	set_pin(f, pin, 0x10000);
}

static void pulse_before_a_mask_is_kept_for_later(void **state)
{
	struct fixture *f = *state;

	f->on_set = mask_inside;
	write_reg(f, 0x10 + 2 * 3, 0x55);
	assert_true(f->pin[3].masked);
	assert_int_equal(f->pin[3].injects, 0);
	set_pin(f, 3, 0x55);
	assert_int_equal(f->pin[3].injects, 1);
}

static void registers_out_of_range_read_zero_and_ignore_writes(void **state)
{
	struct fixture *f = *state;

	for (uint32_t reg = 0; reg < 0x200; reg++) {
		uint32_t low = reg & 0xFF;
		bool known = low <= 2 || (low >= 0x10 && low < 0x10 + 2 * IOAPIC_PINS);

		if (known)
			continue;
		write_reg(f, reg, 0xA5A5A5A5);
		assert_int_equal(read_reg(f, reg), 0);
	}
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		assert_int_equal(f->pin[i].sets, 0);
}

static void accesses_of_other_shapes_do_nothing(void **state)
{
	struct fixture *f = *state;

	out(f, 0, 0x10);
	for (unsigned off = 0; off < IOAPIC_MMIO_BYTES; off++) {
		for (unsigned len = 1; len <= 8 && off + len <= IOAPIC_MMIO_BYTES; len++) {
			uint8_t data[8] = { 0 };

			if (len == 4 && (off == 0 || off == 0x10))
				continue;
			ioapic_bus_ops.read(f->io, off, data, len);
			for (unsigned i = 0; i < sizeof(data); i++)
				assert_int_equal(data[i], 0);
			memset(data, 0x42, sizeof(data));
			ioapic_bus_ops.write(f->io, off, data, len);
		}
	}
	assert_int_equal(in(f, 0), 0x10);
	assert_int_equal(in(f, 0x10), 0x10000);
}

static void *program_pins(void *arg)
{
	struct fixture *f = arg;

	/* The window is a pair of registers that two threads share: any entry may get any value
	 * here. */
	for (unsigned i = 0; i < 20000; i++)
		set_pin(f, i % IOAPIC_PINS, i % 3 == 0 ? 0x10031 : 0x8031 + i % 5);
	return NULL;
}

static void *pulse_pins(void *arg)
{
	struct fixture *f = arg;

	for (unsigned i = 0; i < 20000; i++) {
		ioapic_pulse(f->io, i % IOAPIC_PINS);
		ioapic_eoi(f->io, (uint8_t)(0x31 + i % 5));
	}
	return NULL;
}

static void ignore_inject(void *arg, unsigned pin)
{
	(void)arg;
	(void)pin;
}

static void threads_end_with_routes_that_match_the_entries(void **state)
{
	struct fixture *f = *state;
	const struct ioapic_ops ops = { .set_route = set_route, .inject = ignore_inject, .arg = f };
	pthread_t t[3];

	ioapic_free(f->io);
	f->io = ioapic_new(&ops);
	assert_non_null(f->io);
	assert_int_equal(pthread_create(&t[0], NULL, program_pins, f), 0);
	assert_int_equal(pthread_create(&t[1], NULL, program_pins, f), 0);
	assert_int_equal(pthread_create(&t[2], NULL, pulse_pins, f), 0);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint32_t low = read_reg(f, 0x10 + 2 * pin);

		if (f->pin[pin].sets == 0)
			continue;
		assert_int_equal(f->pin[pin].masked, (low & 0x10000) != 0);
		assert_int_equal(f->pin[pin].data & 0x7FF, low & 0x7FF);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(registers_start_as_documented),
		T(id_is_four_bits_and_the_arbitration_id_follows),
		T(version_is_read_only),
		T(status_bits_of_an_entry_are_read_only),
		T(unmasking_makes_the_documented_message),
		T(masking_takes_the_route_away),
		T(writes_that_change_nothing_set_no_route),
		T(pulse_is_delivered_when_unmasked),
		T(pulse_on_a_masked_pin_waits_and_counts_once),
		T(pulse_of_a_pin_out_of_range_is_ignored),
		T(level_delivery_sets_remote_irr_until_eoi),
		T(edge_delivery_leaves_remote_irr_alone),
		T(switching_to_edge_clears_remote_irr),
		T(change_during_set_route_ends_with_the_last_state),
		T(pulse_before_a_mask_is_kept_for_later),
		T(registers_out_of_range_read_zero_and_ignore_writes),
		T(accesses_of_other_shapes_do_nothing),
		T(threads_end_with_routes_that_match_the_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
