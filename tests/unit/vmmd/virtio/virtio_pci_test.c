/* SPDX-License-Identifier: ISC */
#include "vmmd/virtio/virtio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/vmmd/virtio/device.h"

static int make(void **state, const struct virtio_dev_cfg *cfg)
{
	struct machine_without_kvm *m = calloc(1, sizeof(*m));

	*state = m;
	return m != NULL ? machine_without_kvm_init(m, cfg) : -1;
}

static int setup(void **state)
{
	return make(state, &(struct virtio_dev_cfg){ .type = VIRTIO_ID_BLOCK,
						     .config_len = SPACE,
						     .config_len_hidden = true,
						     .writable_off = 32,
						     .writable_len = 1,
						     .bar32 = true });
}

static int setup_without_space(void **state)
{
	return make(state, &(struct virtio_dev_cfg){ .type = VIRTIO_ID_RNG });
}

static int teardown(void **state)
{
	machine_without_kvm_fini(*state);
	assert_int_equal(fake.n_irqfds + fake.n_bells + fake.wrong_order, 0);
	free(*state);
	return 0;
}

/* --- configuration space of the function -------------------------------------------------------------------------------- */

static void function_is_a_modern_virtio_device(void **state)
{
	struct machine_without_kvm *m = *state;

	assert_int_equal(virtio_dev_slot(m->dev), 1);
	assert_int_equal(cfg_in(m, 0, 4), 0x10421AF4);
	assert_int_equal(cfg_in(m, 4, 4), 0x00100000);
	assert_int_equal(cfg_in(m, 8, 4), 0x01800001);
	assert_int_equal(cfg_in(m, 0x0C, 4), 0);
	assert_int_equal(cfg_in(m, 0x10, 4), 0xE7F80000);
	assert_int_equal(cfg_in(m, 0x14, 4), 0);
	assert_int_equal(cfg_in(m, 0x2C, 4), 0x10421AF4);
	assert_int_equal(cfg_in(m, 0x34, 4), 0x40);
	assert_int_equal(cfg_in(m, 0x3C, 4), 0); /* no interrupt pin */
}

static void capabilities_lie_where_firmware_expects_them(void **state)
{
	static const uint32_t want[][6] = {
		{ 0x40, 0x01105009, 0, 0, 56 },          { 0x50, 0x03106009, 0, 0x2000, 1 },
		{ 0x60, 0x04107009, 0, 0x4000, 0x1000 }, { 0x70, 0x02148409, 0, 0x6000, 0x1000, 4 },
		{ 0x84, 0x05149809, 0, 0, 0, 0 },        { 0x98, 0x00030011, 0x8000, 0x48000 },
	};

	for (unsigned i = 0; i < nitems(want); i++)
		for (unsigned k = 1; k < (i < 3 ? 5 : i < 5 ? 6 : 4); k++)
			assert_int_equal(cfg_in(*state, want[i][0] + 4 * (k - 1), 4), want[i][k]);
	for (unsigned reg = 0xA4; reg < 0x1000; reg += 4)
		assert_int_equal(cfg_in(*state, reg, 4), 0);
}

static void capabilities_move_up_without_a_configuration_space(void **state)
{
	struct machine_without_kvm *m = *state;

	assert_int_equal(cfg_in(m, 0, 4), 0x10441AF4);
	assert_int_equal(cfg_in(m, 8, 4), 0xFFFF0001);
	assert_int_equal(cfg_in(m, 0x10, 4), 0xFF800004); /* 64 bits, 8 MiB aligned */
	assert_int_equal(cfg_in(m, 0x14, 4), 0x3FFF);
	assert_int_equal(cfg_in(m, 0x60, 4), 0x02147409);
	assert_int_equal(cfg_in(m, 0x74, 4), 0x05148809);
	assert_int_equal(cfg_in(m, 0x88, 4), 0x00030011);
	for (unsigned off = 0x4000; off < 0x5000; off += 4)
		assert_int_equal(in(m, off, 4), 0);
}

static void read_only_bits_stay_whatever_is_written(void **state)
{
	struct machine_without_kvm *m = *state;
	static const uint32_t values[] = { UINT32_MAX, 0, 0xAAAAAAAA, 0x55555555 };

	for (unsigned reg = 0; reg < 0x1000; reg += 4) {
		uint32_t before = cfg_in(m, reg, 4), writable = 0;

		if (reg == 0x04)
			writable = 0xFFFF;
		else if (reg == 0x0C || reg == 0x3C || reg == 0x88)
			writable = 0xFF;
		else if (reg == 0x8C || reg == 0x90)
			writable = UINT32_MAX;
		else if (reg == 0x10 || reg == 0x94 || reg == 0x98)
			continue; /* base address, window's data, MSI-X: tests of their own */
		for (unsigned i = 0; i < nitems(values); i++) {
			cfg_out(m, reg, values[i], 4);
			assert_int_equal(cfg_in(m, reg, 4), (before & ~writable) | (values[i] & writable));
		}
		cfg_out(m, reg, before, 4);
	}
}

static void message_control_takes_words_and_dwords(void **state)
{
	struct machine_without_kvm *m = *state;

	cfg_out(m, 0x9A, 0xFFFF, 2);
	assert_int_equal(cfg_in(m, 0x9A, 2), 0xC003);
	cfg_out(m, 0x9B, 0, 1); /* half of it is none */
	assert_int_equal(cfg_in(m, 0x9A, 2), 0xC003);
	cfg_out(m, 0x98, 0x80000000, 4);
	assert_int_equal(cfg_in(m, 0x98, 4), 0x80030011);
	cfg_out(m, 0x98, 0x0000, 2);
	assert_int_equal(cfg_in(m, 0x9A, 2), 0x8003);
}

/* --- doorbells ------------------------------------------------------------------------------------------------------------ */

static void doorbells_follow_the_bar(void **state)
{
	struct machine_without_kvm *m = *state;

	assert_int_equal(fake.n_bells, QUEUES);
	for (unsigned q = 0; q < QUEUES; q++)
		assert_int_equal(fake_bell(0xE7F86000 + 4 * q), m->kick[q]);
	cfg_out(m, 0x10, 0xD0000000, 4);
	assert_int_equal(fake_bell(0xE7F86000), m->kick[0]);
	cfg_out(m, 4, 2, 2);
	assert_int_equal(fake.n_bells, QUEUES);
	for (unsigned q = 0; q < QUEUES; q++)
		assert_int_equal(fake_bell(0xD0006000 + 4 * q), m->kick[q]);
	assert_int_equal(in(m, VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
	cfg_out(m, 0x10, 0xFEE00000, 4);
	assert_int_equal(fake_bell(0xD0006000), m->kick[0]);
	assert_int_equal(cfg_in(m, 0x10, 4), 0xD0000000);
}

static void doorbell_that_kvm_has_no_room_for_is_an_exit(void **state)
{
	struct machine_without_kvm *m = *state;

	fake.bells_max = 1;
	cfg_out(m, 4, 2, 2);
	cfg_out(m, 0x10, 0xD0000000, 4);
	assert_int_equal(fake.n_bells, 1);
	bring_up(m);
	out(m, 0x6000 + 4, 1, 2);
	errands_serve(&m->es);
	assert_int_equal(m->kicks[1], 1);
	fake.bells_max = 0;
	cfg_out(m, 0x10, 0xD1000000, 4);
	assert_int_equal(fake.n_bells, QUEUES);
}

static void doorbells_elsewhere_ring_nothing(void **state)
{
	struct machine_without_kvm *m = *state;

	out(m, 0x6000, 0, 2); /* before DRIVER_OK */
	errands_serve(&m->es);
	bring_up(m);
	for (unsigned off = 0x6000; off < 0x7000; off++)
		if (off % 4 != 0 || off >= 0x6000 + 4 * QUEUES)
			for (unsigned len = 1; len <= 8 && off + len <= 0x7000; len++)
				out(m, off, off, len);
	errands_serve(&m->es);
	for (unsigned q = 0; q < QUEUES; q++)
		assert_int_equal(m->kicks[q], 0);
}

static void eventfds_are_replaced(void **state)
{
	struct machine_without_kvm *m = *state;
	int kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	bring_up(m);
	virtio_dev_set_kick(m->dev, 1, kick);
	virtio_dev_set_call(m->dev, 1, call);
	assert_int_equal(fake_bell(0xE7F86004), kick);
	assert_int_equal(fake.n_bells, QUEUES);
	assert_true(fake_is_bound(call));
	assert_false(fake_is_bound(m->call[1]));
	virtio_dev_set_kick(m->dev, 1, m->kick[1]);
	virtio_dev_set_call(m->dev, 1, m->call[1]);
	(void)close(kick);
	(void)close(call);
}

/* --- access window ---------------------------------------------------------------------------------------------------------- */

static void aim(struct machine_without_kvm *m, uint32_t bar, uint32_t off, uint32_t len)
{
	cfg_out(m, 0x88, bar, 1);
	cfg_out(m, 0x8C, off, 4);
	cfg_out(m, 0x90, len, 4);
}

static void window_reaches_all_of_the_bar(void **state)
{
	struct machine_without_kvm *m = *state;

	aim(m, 0, VIRTIO_PCI_COMMON_STATUS, 1);
	cfg_out(m, 0x94, 1, 1);
	assert_int_equal(status(m), 1);
	assert_int_equal(cfg_in(m, 0x94, 1), 1);
	aim(m, 0, VIRTIO_PCI_COMMON_Q_SIZE, 2);
	assert_int_equal(cfg_in(m, 0x94, 4), QUEUE_SIZE); /* no more than the length */
	aim(m, 0, 0x4000, 4);
	assert_int_equal(cfg_in(m, 0x94, 4), 0x04030201);
	assert_int_equal(cfg_in(m, 0x94, 1), 1);
	aim(m, 0, 0x8008, 4);
	cfg_out(m, 0x94, 0x1234, 4);
	assert_int_equal(in(m, 0x8008, 4), 0x1234);
	bring_up(m);
	aim(m, 0, 0x6000 + 8, 2);
	cfg_out(m, 0x94, 2, 2);
	errands_serve(&m->es);
	assert_int_equal(m->kicks[2], 1);
}

static void window_elsewhere_answers_nothing(void **state)
{
	static const uint32_t offsets[] = { 0, 1, 2, 3, 20, 0x7FFFC, 0x7FFFF, 0x80000, UINT32_MAX, UINT32_MAX - 3 };
	static const uint32_t lengths[] = { 0, 3, 5, 8, 16, UINT32_MAX };
	struct machine_without_kvm *m = *state;

	for (uint32_t bar = 1; bar < 256; bar++) {
		aim(m, bar, VIRTIO_PCI_COMMON_STATUS, 1);
		cfg_out(m, 0x94, 1, 1);
		assert_int_equal(cfg_in(m, 0x94, 4), 0);
	}
	for (unsigned i = 0; i < nitems(offsets); i++)
		for (unsigned k = 0; k < nitems(lengths); k++) {
			aim(m, 0, offsets[i], lengths[k]);
			cfg_out(m, 0x94, UINT32_MAX, 4);
			assert_int_equal(cfg_in(m, 0x94, 4), 0);
		}
	for (unsigned i = 1; i < nitems(offsets); i++) {
		aim(m, 0, offsets[i], 4);
		if (offsets[i] == 20 || offsets[i] % 4 != 0 || offsets[i] >= 0x7FFFC)
			assert_int_equal(cfg_in(m, 0x94, 4), 0);
	}
	aim(m, 0, VIRTIO_PCI_COMMON_STATUS, 1);
	cfg_out(m, 0x95, 1, 1); /* not at the first byte */
	assert_int_equal(status(m), 0);
	assert_int_equal(m->starts, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(function_is_a_modern_virtio_device),
		T(capabilities_lie_where_firmware_expects_them),
		cmocka_unit_test_setup_teardown(capabilities_move_up_without_a_configuration_space, setup_without_space, teardown),
		T(read_only_bits_stay_whatever_is_written),
		T(message_control_takes_words_and_dwords),
		T(doorbells_follow_the_bar),
		T(doorbell_that_kvm_has_no_room_for_is_an_exit),
		T(doorbells_elsewhere_ring_nothing),
		T(eventfds_are_replaced),
		T(window_reaches_all_of_the_bar),
		T(window_elsewhere_answers_nothing),
	};

	return cmocka_run_group_tests_name("virtio over PCI", tests, NULL, NULL);
}
