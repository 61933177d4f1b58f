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

static int teardown(void **state)
{
	machine_without_kvm_fini(*state);
	assert_int_equal(fake.n_irqfds + fake.n_bells + fake.wrong_order, 0);
	free(*state);
	return 0;
}

/* --- common configuration ----------------------------------------------------------------------------------------------------- */

static void features_are_offered_in_two_words(void **state)
{
	struct machine_without_kvm *m = *state;
	static const uint32_t selects[] = { 0, 1, 2, 3, 31, 32, 0x7FFFFFFF, 0x80000001, UINT32_MAX };

	for (unsigned i = 0; i < nitems(selects); i++) {
		out(m, VIRTIO_PCI_COMMON_DFSELECT, selects[i], 4);
		assert_int_equal(in(m, VIRTIO_PCI_COMMON_DFSELECT, 4), selects[i]);
		out(m, VIRTIO_PCI_COMMON_DF, 0, 4);
		assert_int_equal(in(m, VIRTIO_PCI_COMMON_DF, 4),
				 selects[i] < 2 ? (FEATURES >> (32 * selects[i]) & UINT32_MAX) : 0);
		out(m, VIRTIO_PCI_COMMON_GFSELECT, selects[i], 4);
		out(m, VIRTIO_PCI_COMMON_GF, UINT32_MAX, 4);
		assert_int_equal(in(m, VIRTIO_PCI_COMMON_GF, 4),
				 selects[i] < 2 ? (FEATURES >> (32 * selects[i]) & UINT32_MAX) : 0);
	}
}

static void features_need_version_1_and_stay(void **state)
{
	struct machine_without_kvm *m = *state;

	negotiate(m, FEATURES & UINT32_MAX);
	assert_int_equal(status(m), 3);
	negotiate(m, UINT64_MAX);
	assert_int_equal(status(m), 0xB);
	negotiate(m, 0);
	enable_queue(m, 0, 0);
	set_status(m, 0xF);
	errands_serve(&m->es);
	assert_int_equal(m->acked, FEATURES);
}

static void only_a_ready_driver_with_a_queue_starts_the_device(void **state)
{
	struct machine_without_kvm *m = *state;

	for (unsigned v = 1; v < 256; v++) {
		set_status(m, 0);
		negotiate(m, v % 2 != 0 ? UINT64_MAX : 0);
		if (v % 3 != 0)
			enable_queue(m, 1, 0xFFFF);
		set_status(m, (uint8_t)v);
		errands_serve(&m->es);
		bool ready = v % 2 != 0 && v % 3 != 0 && (v & 0x80) == 0 && (v & 4) != 0;

		assert_int_equal(m->starts, ready);
		assert_int_equal(m->stops, 0);
		assert_int_equal(virtio_dev_is_running(m->dev), ready);
		set_status(m, 0);
		assert_int_equal(m->stops, ready);
		assert_int_equal(status(m), 0);
		m->starts = m->stops = 0;
	}
}

static void status_bits_are_not_taken_back(void **state)
{
	struct machine_without_kvm *m = *state;

	bring_up(m);
	for (unsigned v = 1; v < 0x80; v++) {
		set_status(m, (uint8_t)v);
		assert_int_equal(status(m), 0xF);
	}
	set_status(m, 0xFF); /* NEEDS_RESET isn't the driver's */
	assert_int_equal(status(m), 0x8F);
	errands_serve(&m->es);
	assert_int_equal(m->starts, 1);
}

/* Each field, each width: those that fit the field act. */
static void fields_answer_their_own_width_only(void **state)
{
	static const struct {
		unsigned off, len;
	} field[] = { { 0, 4 },  { 4, 4 },  { 8, 4 },  { 12, 4 }, { 16, 2 }, { 18, 2 }, { 20, 1 }, { 21, 1 },
		      { 22, 2 }, { 24, 2 }, { 26, 2 }, { 28, 2 }, { 30, 2 }, { 32, 4 }, { 36, 4 }, { 40, 4 },
		      { 44, 4 }, { 48, 4 }, { 52, 4 }, { 32, 8 }, { 40, 8 }, { 48, 8 } };
	struct machine_without_kvm *m = *state;

	out(m, VIRTIO_PCI_COMMON_Q_DESCLO, 0x1111111122222222, 8);
	for (unsigned off = 0; off < 64; off++) {
		for (unsigned len = 1; len <= 8; len++) {
			bool good = false;

			for (unsigned i = 0; i < nitems(field); i++)
				good = good || (field[i].off == off && field[i].len == len);
			if (good)
				continue;
			assert_int_equal(in(m, off, len), 0);
			out(m, off, UINT64_MAX, len);
		}
	}
	assert_int_equal(status(m), 0);
	assert_int_equal(in(m, VIRTIO_PCI_COMMON_DFSELECT, 4), 0);
	assert_int_equal(in(m, VIRTIO_PCI_COMMON_MSIX, 2), 0xFFFF);
	assert_int_equal(in(m, VIRTIO_PCI_COMMON_Q_SELECT, 2), 0);
	assert_int_equal(in(m, VIRTIO_PCI_COMMON_Q_SIZE, 2), QUEUE_SIZE);
	assert_int_equal(in(m, VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0x1111111122222222);
	assert_int_equal(in(m, VIRTIO_PCI_COMMON_Q_DESCHI, 4), 0x11111111);
}

static void queues_beyond_the_last_are_not_there(void **state)
{
	static const uint16_t select[] = { QUEUES, QUEUES + 1, QUEUES + 2, 0x7FFF, 0x8000, 0xFFFF };
	struct machine_without_kvm *m = *state;

	for (unsigned i = 0; i < nitems(select); i++) {
		out(m, VIRTIO_PCI_COMMON_Q_SELECT, select[i], 2);
		for (unsigned off = VIRTIO_PCI_COMMON_Q_SIZE; off < 56; off += off < 32 ? 2 : 4) {
			out(m, off, 1, off < 32 ? 2 : 4);
			assert_int_equal(in(m, off, off < 32 ? 2 : 4), off == VIRTIO_PCI_COMMON_Q_MSIX ? 0xFFFF : 0);
		}
	}
	for (uint16_t q = 0; q < QUEUES; q++) {
		out(m, VIRTIO_PCI_COMMON_Q_SELECT, q, 2);
		assert_int_equal(in(m, VIRTIO_PCI_COMMON_Q_NOFF, 2), q);
		assert_int_equal(in(m, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	}
}

static void only_sizes_that_can_be_are_enabled(void **state)
{
	struct machine_without_kvm *m = *state;

	for (unsigned size = 0; size < 65536; size += size < 600 ? 1 : 97) {
		bool good = size != 0 && (size & (size - 1)) == 0 && size <= QUEUE_SIZE;

		out(m, VIRTIO_PCI_COMMON_Q_SIZE, size, 2);
		out(m, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
		assert_int_equal(in(m, VIRTIO_PCI_COMMON_Q_ENABLE, 2), good);
		set_status(m, 0);
		assert_int_equal(in(m, VIRTIO_PCI_COMMON_Q_SIZE, 2), QUEUE_SIZE);
	}
	static const uint16_t not_one[] = { 0, 2, 3, 0x100, 0xFFFF };

	for (unsigned i = 0; i < nitems(not_one); i++) {
		out(m, VIRTIO_PCI_COMMON_Q_ENABLE, not_one[i], 2);
		assert_int_equal(in(m, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	}
}

/* Every field with every value in every status: the geometry of an enabled queue stays. */
static void enabled_queue_is_what_it_was(void **state)
{
	static const uint8_t statuses[] = { 0, 1, 3, 0xB, 0xF, 0x8F };
	static const uint64_t values[] = { 0, 1, 2, 3, 128, 512, 0xFFFF, 0x80000000, UINT64_MAX };
	struct machine_without_kvm *m = *state;

	for (unsigned s = 0; s < nitems(statuses); s++) {
		set_status(m, 0);
		if (statuses[s] > 1)
			negotiate(m, UINT64_MAX);
		enable_queue(m, 1, 2);
		set_status(m, statuses[s] != 0 ? statuses[s] : 1);
		errands_serve(&m->es);
		for (unsigned off = 0; off < 56; off++)
			for (unsigned len = 1; len <= 8; len *= 2)
				for (unsigned v = 0; v < nitems(values); v++) {
					if (off == VIRTIO_PCI_COMMON_STATUS && len == 1)
						continue;
					out(m, VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
					out(m, off, values[v], len);
				}
		const struct virtio_queue *q = virtio_dev_queue(m->dev, 1);

		assert_non_null(q);
		assert_true(q->enabled);
		assert_int_equal(q->size, QUEUE_SIZE);
		assert_int_equal(q->desc, 0x10001);
		assert_int_equal(q->driver, 0x120000001);
		assert_int_equal(q->device, 0x200000000);
	}
	assert_null(virtio_dev_queue(m->dev, QUEUES));
}

static void queues_cannot_be_enabled_behind_a_running_device(void **state)
{
	struct machine_without_kvm *m = *state;

	negotiate(m, UINT64_MAX);
	enable_queue(m, 0, 0);
	set_status(m, 0xF);
	enable_queue(m, 1, 0); /* the start is on its way */
	errands_serve(&m->es);
	enable_queue(m, 2, 0);
	assert_int_equal(m->starts, 1);
	assert_false(virtio_dev_queue(m->dev, 1)->enabled);
	assert_false(virtio_dev_queue(m->dev, 2)->enabled);
}

static void vectors_that_do_not_exist_read_back_as_none(void **state)
{
	struct machine_without_kvm *m = *state;

	for (unsigned v = 0; v < 65536; v += v < 16 ? 1 : 1021) {
		uint32_t want = v <= QUEUES ? v : 0xFFFF;

		out(m, VIRTIO_PCI_COMMON_MSIX, v, 2);
		assert_int_equal(in(m, VIRTIO_PCI_COMMON_MSIX, 2), want);
		out(m, VIRTIO_PCI_COMMON_Q_MSIX, v, 2);
		assert_int_equal(in(m, VIRTIO_PCI_COMMON_Q_MSIX, 2), want);
	}
}

static void vector_changes_while_running(void **state)
{
	struct machine_without_kvm *m = *state;

	bring_up(m);
	assert_int_equal(fake_message_of(m->call[0]).data, 0x40);
	out(m, VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
	out(m, VIRTIO_PCI_COMMON_Q_MSIX, 2, 2);
	assert_int_equal(fake_message_of(m->call[0]).data, 0x42);
	out(m, VIRTIO_PCI_COMMON_Q_MSIX, 0xFFFF, 2);
	assert_false(fake_is_bound(m->call[0]));
}

/* --- reset -------------------------------------------------------------------------------------------------------------------- */

static void reset_puts_all_registers_back(void **state)
{
	struct machine_without_kvm *m = *state;

	bring_up(m);
	assert_int_equal(fake.n_irqfds, QUEUES);
	set_status(m, 0);
	assert_int_equal(m->stops, 1);
	assert_int_equal(status(m), 0);
	assert_int_equal(fake.n_irqfds, 0);
	assert_int_equal(fake.n_routes, 0);
	assert_int_equal(in(m, VIRTIO_PCI_COMMON_MSIX, 2), 0xFFFF);
	out(m, VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	assert_int_equal(in(m, VIRTIO_PCI_COMMON_GF, 4), 0);
	for (uint16_t q = 0; q < QUEUES; q++) {
		out(m, VIRTIO_PCI_COMMON_Q_SELECT, q, 2);
		assert_int_equal(in(m, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
		assert_int_equal(in(m, VIRTIO_PCI_COMMON_Q_MSIX, 2), 0xFFFF);
		assert_int_equal(in(m, VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0);
	}
	assert_int_equal(in(m, 0x8008, 4), 0x40); /* MSI-X belongs to PCI */
	bring_up(m);
	assert_int_equal(m->starts, 2);
	assert_int_equal(fake.n_irqfds, QUEUES);
}

static void interrupts_of_the_life_before_do_not_come(void **state)
{
	static const uint64_t one = 1;
	struct machine_without_kvm *m = *state;

	bring_up(m);
	cfg_out(m, 0x9A, 0xC000, 2);
	assert_int_equal(write(m->call[1], &one, sizeof(one)), sizeof(one));
	virtio_dev_needs_reset(m->dev);
	assert_int_equal(in(m, 0x48000, 8), 1 << 1 | 1 << QUEUES);
	set_status(m, 0);
	assert_int_equal(in(m, 0x48000, 8), 0);
	bring_up(m);
	assert_int_equal(fake.n_delivered + fake.n_signals, 0);
}

static void reset_before_the_start_was_carried_out_starts_nothing(void **state)
{
	struct machine_without_kvm *m = *state;

	negotiate(m, UINT64_MAX);
	enable_queue(m, 0, 0);
	set_status(m, 0xF);
	set_status(m, 0); /* in the control thread, hence at once, in front of the start */
	errands_serve(&m->es);
	assert_int_equal(m->starts + m->stops, 0);
	assert_int_equal(status(m), 0);
}

static void registers_hold_still_until_the_back_end_confirms(void **state)
{
	struct machine_without_kvm *m = *state;

	m->stops_late = true;
	bring_up(m);
	set_status(m, 0);
	assert_int_equal(m->stops, 1);
	assert_int_equal(status(m), 0xF);
	assert_false(virtio_dev_is_running(m->dev));
	set_status(m, 1);
	set_status(m, 0x80);
	out(m, VIRTIO_PCI_COMMON_MSIX, 0, 2);
	out(m, VIRTIO_PCI_COMMON_Q_MSIX, 0, 2);
	out(m, 0x4000 + 32, 0x77, 1);
	out(m, 0x6000, 0, 2);
	virtio_dev_needs_reset(m->dev);
	errands_serve(&m->es);
	assert_int_equal(status(m), 0xF);
	assert_int_equal(in(m, VIRTIO_PCI_COMMON_MSIX, 2), QUEUES);
	assert_int_equal(m->kicks[0] + m->writes + fake.n_signals, 0);
	set_status(m, 0);
	assert_int_equal(m->stops, 1);
	virtio_dev_stopped(m->dev);
	assert_int_equal(status(m), 0);
	virtio_dev_stopped(m->dev); /* nobody asked */
	assert_int_equal(status(m), 0);
}

static void end_of_the_machine_stops_without_a_reset(void **state)
{
	struct machine_without_kvm *m = *state;

	virtio_dev_stop(m->dev);
	assert_true(virtio_dev_is_idle(m->dev));
	assert_int_equal(m->stops, 0);
	m->stops_late = true;
	bring_up(m);
	errands_close(&m->es);
	virtio_dev_stop(m->dev);
	assert_false(virtio_dev_is_idle(m->dev));
	virtio_dev_stop(m->dev);
	assert_int_equal(m->stops, 1);
	virtio_dev_stopped(m->dev);
	assert_true(virtio_dev_is_idle(m->dev));
}

/* --- the back end's say --------------------------------------------------------------------------------------------------------- */

static void needs_reset_is_told_once_and_to_a_running_driver(void **state)
{
	struct machine_without_kvm *m = *state;

	virtio_dev_needs_reset(m->dev);
	assert_int_equal(status(m), 0);
	bring_up(m);
	virtio_dev_needs_reset(m->dev);
	virtio_dev_needs_reset(m->dev);
	assert_int_equal(status(m), 0x4F);
	assert_int_equal(fake.n_signals, 1);
	assert_int_equal(fake.last.data, 0x40 + QUEUES);
	set_status(m, 0xF);
	errands_serve(&m->es);
	assert_int_equal(status(m), 0x4F);
	assert_int_equal(m->starts, 1);
	set_status(m, 0);
	assert_int_equal(status(m), 0);
}

static void changed_space_shows_by_generation_and_interrupt(void **state)
{
	struct machine_without_kvm *m = *state;
	uint8_t space[SPACE + 8] = { 0xAA, 0xBB };

	bring_up(m);
	assert_int_equal(in(m, 0x4000, 4), 0x04030201);
	assert_int_equal(in(m, VIRTIO_PCI_COMMON_CFGGENERATION, 1), 0);
	virtio_dev_set_config(m->dev, space, sizeof(space));
	assert_int_equal(fake.n_signals, 1);
	assert_int_equal(in(m, VIRTIO_PCI_COMMON_CFGGENERATION, 1), 0);
	assert_int_equal(in(m, 0x4000, 4), 0x0000BBAA);
	assert_int_equal(in(m, VIRTIO_PCI_COMMON_CFGGENERATION, 1), 1);
	assert_int_equal(in(m, 0x4000, 4), 0x0000BBAA);
	assert_int_equal(in(m, VIRTIO_PCI_COMMON_CFGGENERATION, 1), 1);
	virtio_dev_set_config(m->dev, space, sizeof(space)); /* nothing new */
	assert_int_equal(fake.n_signals, 1);
	for (unsigned i = 0; i < 300; i++) {
		space[0]++;
		virtio_dev_set_config(m->dev, space, 1);
		(void)in(m, 0x4000, 1);
	}
	assert_int_equal(in(m, VIRTIO_PCI_COMMON_CFGGENERATION, 1), (uint8_t)301);
}

static void space_is_read_in_any_shape_and_ends_in_zeros(void **state)
{
	struct machine_without_kvm *m = *state;

	for (unsigned off = 0; off < 80; off++) {
		for (unsigned len = 1; len <= 8; len++) {
			uint64_t want = 0;

			for (unsigned i = 0; i < len && off + i < SPACE; i++)
				want |= (uint64_t)(off + i + 1) << (8 * i);
			assert_int_equal(in(m, 0x4000 + off, len), want);
		}
	}
	assert_int_equal(in(m, 0x4FFC, 8), 0);
	assert_int_equal(in(m, 0x3FFE, 4), 0);
}

static void only_the_writable_part_of_the_space_is_written(void **state)
{
	struct machine_without_kvm *m = *state;

	for (unsigned off = 0; off < 0x1000; off++) {
		for (unsigned len = 1; len <= 8 && off + len <= 0x1000; len++) {
			out(m, 0x4000 + off, UINT64_C(0x7777777777777777), len);
			for (unsigned i = 0; i < SPACE; i += 4)
				assert_true(i == 32 || in(m, 0x4000 + i, 4) == (i + 1) * 0x01010101u + 0x03020100u);
		}
	}
	assert_int_equal(in(m, 0x4000 + 32, 4), 0x24232277);
	errands_serve(&m->es);
	assert_int_equal(m->writes, 1); /* all of them in one errand */
	assert_int_equal(m->write_off, 32);
	assert_int_equal(m->write_len, 1);
	assert_int_equal(m->written[0], 0x77);
	out(m, 0x4000 + 30, 0x550000, 3);
	/* What the driver wrote and the back end hasn't heard of isn't overwritten by what the back end says. */
	uint8_t space[SPACE] = { 0 };

	virtio_dev_set_config(m->dev, space, sizeof(space));
	errands_serve(&m->es);
	assert_int_equal(m->written[0], 0x55);
	assert_int_equal(in(m, 0x4000 + 32, 1), 0x55);
}

static void rest_of_the_bar_reads_zero(void **state)
{
	struct machine_without_kvm *m = *state;
	static const uint64_t places[] = { 0x38,   0x1000, 0x2000, 0x2001,  0x3FFC,  0x5000,  0x6000,
					   0x6FFC, 0x7000, 0x8040, 0x47FFC, 0x48008, 0x48800, 0x7FFF8 };

	for (unsigned i = 0; i < nitems(places); i++)
		for (unsigned len = 1; len <= 8; len++) {
			out(m, places[i], UINT64_MAX, len);
			assert_int_equal(in(m, places[i], len), 0);
		}
}

/* --- making ------------------------------------------------------------------------------------------------------------------------ */

static void impossible_devices_are_refused(void **state)
{
	struct machine_without_kvm *m = *state;
	struct virtio_env env = {
		.vm = 7, .errands = &m->es, .irqs = &m->irqs, .segment = &m->seg, .windows = &m->windows
	};
	const struct virtio_dev_cfg good = {
		.id = "x", .n_queues = 1, .slot = -1, .kick = m->kick, .call = m->call, .ops = &be_ops
	};
	struct virtio_dev_cfg bad[6];
	struct virtio_dev *d;

	for (unsigned i = 0; i < nitems(bad); i++)
		bad[i] = good;
	bad[0].n_queues = 0;
	bad[1].n_queues = VIRTIO_QUEUES_MAX + 1;
	bad[2].config_len = VIRTIO_DEV_CONFIG_MAX + 1;
	bad[3].writable_len = 1;
	bad[4].slot = 1; /* taken */
	bad[5].slot = 32;
	for (unsigned i = 0; i < nitems(bad); i++) {
		struct err e = { 0 };

		assert_true(virtio_dev_new(&env, &bad[i], &d, &e) < 0);
		assert_null(d);
		assert_string_equal(err_text(&e, 0), "device \"x\"");
	}
	assert_int_equal(m->windows.n, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(features_are_offered_in_two_words),
		T(features_need_version_1_and_stay),
		T(only_a_ready_driver_with_a_queue_starts_the_device),
		T(status_bits_are_not_taken_back),
		T(fields_answer_their_own_width_only),
		T(queues_beyond_the_last_are_not_there),
		T(only_sizes_that_can_be_are_enabled),
		T(enabled_queue_is_what_it_was),
		T(queues_cannot_be_enabled_behind_a_running_device),
		T(vectors_that_do_not_exist_read_back_as_none),
		T(vector_changes_while_running),
		T(reset_puts_all_registers_back),
		T(interrupts_of_the_life_before_do_not_come),
		T(reset_before_the_start_was_carried_out_starts_nothing),
		T(registers_hold_still_until_the_back_end_confirms),
		T(end_of_the_machine_stops_without_a_reset),
		T(needs_reset_is_told_once_and_to_a_running_driver),
		T(changed_space_shows_by_generation_and_interrupt),
		T(space_is_read_in_any_shape_and_ends_in_zeros),
		T(only_the_writable_part_of_the_space_is_written),
		T(rest_of_the_bar_reads_zero),
		T(impossible_devices_are_refused),
	};

	return cmocka_run_group_tests_name("virtio", tests, NULL, NULL);
}
