/* SPDX-License-Identifier: ISC */
#include "vmmd/pci/msix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/vmmd/fake_kvm.h"
#include "vmmd/errand.h"
#include "vmmd/irq.h"

enum { VECTORS = 3, SOURCES = 2, ENABLE = 0x8000, MASK_ALL = 0x4000, CONTROL = 12, FIRST_GSI = 24 };
#define ADDR UINT64_C(0xFEE01000)

struct fixture {
	struct wake wake;
	struct errands es;
	struct irqs irqs;
	struct msix m;
	int fd[SOURCES];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fake_reset();
	if (f == NULL || wake_init(&f->wake) < 0 || errands_init(&f->es, &f->wake) < 0 ||
	    irqs_init(&f->irqs, 7, false) < 0)
		return -1;
	for (unsigned i = 0; i < SOURCES; i++)
		f->fd[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (msix_init(&f->m, &f->irqs, &f->es, VECTORS, f->fd, SOURCES) < 0)
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	msix_disconnect(&f->m);
	assert_int_equal(fake.n_irqfds, 0);
	assert_int_equal(fake.wrong_order, 0);
	msix_fini(&f->m);
	msix_fini(&f->m);
	irqs_fini(&f->irqs);
	errands_fini(&f->es);
	wake_fini(&f->wake);
	for (unsigned i = 0; i < SOURCES; i++)
		(void)close(f->fd[i]);
	free(f);
	return 0;
}

/* --- a driver's moves -------------------------------------------------------------------------------------------------- */

static void program(struct fixture *f, unsigned v, uint64_t addr, uint32_t data)
{
	msix_write_table(&f->m, v * 16, addr, 8);
	msix_write_table(&f->m, v * 16 + 8, data, 4);
}

static void mask(struct fixture *f, unsigned v, bool on)
{
	msix_write_table(&f->m, v * 16 + CONTROL, on, 4);
}

static void attach(struct fixture *f, unsigned s, uint16_t v)
{
	if (msix_set_source(&f->m, s, v))
		msix_sync(&f->m);
}

/* The back end has something to tell. */
static void signal_source(struct fixture *f, unsigned s)
{
	static const uint64_t one = 1;

	assert_int_equal(write(f->fd[s], &one, sizeof(one)), sizeof(one));
	fake_poll();
}

static uint64_t pending(struct fixture *f)
{
	uint64_t v = msix_read_pending(&f->m, 0, 8);

	assert_int_equal(msix_read_pending(&f->m, 0, 4), v);
	assert_int_equal(msix_read_pending(&f->m, 4, 4), 0);
	return v;
}

/* --- registers ----------------------------------------------------------------------------------------------------------- */

static void every_vector_is_masked_at_first(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(msix_control(&f->m), VECTORS - 1);
	for (unsigned off = 0; off < VECTORS * 16; off += 4)
		assert_int_equal(msix_read_table(&f->m, off, 4), off % 16 == CONTROL);
	assert_int_equal(pending(f), 0);
}

static void control_has_two_writable_bits(void **state)
{
	struct fixture *f = *state;

	msix_write_control(&f->m, 0xFFFF);
	assert_int_equal(msix_control(&f->m), ENABLE | MASK_ALL | (VECTORS - 1));
	msix_write_control(&f->m, 0x3FFF);
	assert_int_equal(msix_control(&f->m), VECTORS - 1);
}

static void table_takes_4_and_8_bytes_in_place_only(void **state)
{
	struct fixture *f = *state;

	for (unsigned off = 0; off < VECTORS * 16 + 64; off++) {
		for (unsigned len = 1; len <= 8; len++) {
			bool good = off < VECTORS * 16 && (len == 4 || len == 8) && off % len == 0;
			uint64_t before[VECTORS * 2];

			for (unsigned i = 0; i < VECTORS * 2; i++)
				before[i] = msix_read_table(&f->m, i * 8, 8);
			msix_write_table(&f->m, off, 0x1122334455667788, len);
			for (unsigned i = 0; i < VECTORS * 2; i++)
				assert_true(before[i] == msix_read_table(&f->m, i * 8, 8) || (good && off / 8 == i));
			if (!good)
				assert_int_equal(msix_read_table(&f->m, off, len), 0);
		}
	}
	assert_int_equal(msix_read_table(&f->m, UINT64_MAX - 7, 8), 0);
	msix_write_table(&f->m, UINT64_MAX - 3, 0, 4);
}

static void table_keeps_what_is_written_but_reserved_bits(void **state)
{
	struct fixture *f = *state;

	msix_write_table(&f->m, 16, 0xFFFFFFFFFFFFFFFF, 8);
	msix_write_table(&f->m, 24, 0xFFFFFFFFFFFFFFFE, 8);
	assert_int_equal(msix_read_table(&f->m, 16, 8), 0xFFFFFFFFFFFFFFFC);
	assert_int_equal(msix_read_table(&f->m, 24, 8), 0x1FFFFFFFE);
	msix_write_table(&f->m, 16, 0, 4);
	msix_write_table(&f->m, 20, 0x12, 4);
	assert_int_equal(msix_read_table(&f->m, 16, 8), UINT64_C(0x1200000000));
}

static void pending_bits_answer_every_shape(void **state)
{
	struct fixture *f = *state;

	for (unsigned off = 0; off < 0x20; off++)
		for (unsigned len = 1; len <= 8; len++)
			assert_int_equal(msix_read_pending(&f->m, off, len), 0);
}

/* --- interrupts of the back end ---------------------------------------------------------------------------------------- */

static void unmasked_vector_with_a_source_is_bound(void **state)
{
	struct fixture *f = *state;

	program(f, 1, ADDR, 0x41);
	attach(f, 0, 1);
	mask(f, 1, false);
	assert_int_equal(fake.n_calls, 0); /* not enabled: KVM hears nothing */
	msix_write_control(&f->m, ENABLE);
	assert_true(fake_is_bound(f->fd[0]));
	assert_int_equal(fake.route[0].gsi, FIRST_GSI);
	assert_int_equal(fake.route[0].type, KVM_IRQ_ROUTING_MSI);
	assert_int_equal(fake_message_of(f->fd[0]).address_lo, ADDR);
	assert_int_equal(fake_message_of(f->fd[0]).data, 0x41);
	assert_int_equal(fake.n_routes, 1); /* vectors without a source need no route */
	signal_source(f, 0);
	assert_int_equal(fake.n_delivered, 1);
}

/* What is enabled, what is unmasked, what is programmed, what is attached: whichever comes last makes it live. */
static void any_order_of_set_up_leads_to_the_same(void **state)
{
	struct fixture *f = *state;

	for (unsigned order = 0; order < 24; order++) {
		unsigned left[4] = { 0, 1, 2, 3 }, code = order;

		for (unsigned n = 4; n > 0; n--) {
			unsigned pick = code % n, step = left[pick];

			code /= n;
			left[pick] = left[n - 1];
			assert_false(fake_is_bound(f->fd[1]));
			switch (step) {
			case 0:
				program(f, 2, ADDR, 0x55);
				break;
			case 1:
				mask(f, 2, false);
				break;
			case 2:
				attach(f, 1, 2);
				break;
			default:
				msix_write_control(&f->m, ENABLE);
			}
		}
		assert_true(fake_is_bound(f->fd[1]));
		assert_int_equal(fake_message_of(f->fd[1]).data, 0x55);
		attach(f, 1, MSIX_NO_VECTOR);
		assert_false(fake_is_bound(f->fd[1]));
		assert_int_equal(fake.n_routes, 0);
		msix_write_control(&f->m, 0);
		mask(f, 2, true);
		program(f, 2, 0, 0);
	}
	assert_int_equal(f->irqs.n_msi, 1); /* its GSI is kept */
}

static void live(struct fixture *f)
{
	msix_write_control(&f->m, ENABLE);
	for (unsigned v = 0; v < VECTORS; v++) {
		program(f, v, ADDR, 0x40 + v);
		mask(f, v, false);
	}
	attach(f, 0, 1);
	attach(f, 1, 2);
}

static void masked_interrupt_is_pending_and_comes_when_unmasked(void **state)
{
	struct fixture *f = *state;

	live(f);
	mask(f, 1, true);
	assert_false(fake_is_bound(f->fd[0]));
	assert_true(fake_is_bound(f->fd[1]));
	assert_int_equal(fake.n_routes, 1);
	signal_source(f, 0);
	signal_source(f, 1);
	assert_int_equal(fake.n_delivered, 1);
	assert_int_equal(pending(f), 2);
	assert_int_equal(pending(f), 2); /* looking takes nothing */
	mask(f, 1, false);
	assert_int_equal(fake.n_delivered, 2);
	assert_int_equal(pending(f), 0);
}

static void function_mask_and_disable_hold_back_all(void **state)
{
	static const uint16_t off[] = { ENABLE | MASK_ALL, MASK_ALL, 0 };
	struct fixture *f = *state;

	live(f);
	for (unsigned i = 0; i < nitems(off); i++) {
		unsigned before = fake.n_delivered;

		msix_write_control(&f->m, off[i]);
		assert_int_equal(fake.n_irqfds, 0);
		assert_int_equal(fake.n_routes, 0);
		signal_source(f, 0);
		signal_source(f, 1);
		assert_int_equal(fake.n_delivered, before);
		assert_int_equal(pending(f), 6);
		msix_write_control(&f->m, ENABLE);
		assert_int_equal(fake.n_delivered, before + 2);
		assert_int_equal(pending(f), 0);
	}
}

static void message_changes_while_unmasked(void **state)
{
	struct fixture *f = *state;

	live(f);
	program(f, 1, ADDR | 0x2000, 0x99);
	assert_int_equal(fake_message_of(f->fd[0]).address_lo, ADDR | 0x2000);
	assert_int_equal(fake_message_of(f->fd[0]).data, 0x99);
}

static void source_changes_its_vector_while_running(void **state)
{
	struct fixture *f = *state;

	live(f);
	attach(f, 0, 2);
	assert_int_equal(fake_message_of(f->fd[0]).data, 0x42);
	assert_int_equal(fake_message_of(f->fd[1]).data, 0x42); /* two sources, one vector */
	assert_int_equal(fake.n_routes, 1);
	attach(f, 1, MSIX_NO_VECTOR);
	assert_true(fake_is_bound(f->fd[0]));
	signal_source(f, 1);
	assert_int_equal(fake.n_delivered, 0);
}

static void eventfd_is_replaced_without_a_gap(void **state)
{
	struct fixture *f = *state;
	int other = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	live(f);
	msix_set_fd(&f->m, 0, other);
	assert_false(fake_is_bound(f->fd[0]));
	assert_int_equal(fake_message_of(other).data, 0x41);
	mask(f, 1, true);
	msix_set_fd(&f->m, 0, f->fd[0]);
	assert_false(fake_is_bound(other));
	mask(f, 1, false);
	assert_int_equal(fake_message_of(f->fd[0]).data, 0x41);
	(void)close(other);
}

/* A message that is no interrupt has no route, and spoils none. */
static void message_to_elsewhere_is_never_delivered(void **state)
{
	static const uint64_t elsewhere[] = { 0, 0x1000, 0xFED00000, 0xFEF00000, 0xFFFFFFFC };
	struct fixture *f = *state;

	live(f);
	for (unsigned i = 0; i < nitems(elsewhere); i++) {
		program(f, 1, elsewhere[i], 0x41);
		assert_false(fake_is_bound(f->fd[0]));
		assert_true(fake_is_bound(f->fd[1]));
		msix_raise(&f->m, 1);
		assert_int_equal(fake.n_signals, 0);
		program(f, 1, ADDR, 0x41);
		assert_true(fake_is_bound(f->fd[0]));
		msix_forget(&f->m);
		fake.n_signals = 0;
	}
}

/* With 32-bit destinations KVM refuses a table with such an entry. */
static void high_half_that_kvm_refuses_is_no_address(void **state)
{
	struct fixture *f = *state;

	f->irqs.wide_ids = true;
	live(f);
	program(f, 1, ADDR | UINT64_C(0x0100000000), 1);
	assert_false(fake_is_bound(f->fd[0]));
	program(f, 1, ADDR | UINT64_C(0x010000000000), 1);
	assert_int_equal(fake_message_of(f->fd[0]).address_hi, 0x100);
	program(f, 1, ADDR | 0xE0, 1);
	assert_int_equal(fake_message_of(f->fd[0]).address_hi, 0x700);
	assert_int_equal(fake_message_of(f->fd[0]).address_lo, ADDR);
}

static void iterated_masking_leaves_nothing_behind(void **state)
{
	struct fixture *f = *state;

	live(f);
	for (unsigned i = 0; i < 1000; i++) {
		mask(f, 1, i % 2 == 0);
		msix_write_control(&f->m, i % 3 == 0 ? ENABLE | MASK_ALL : ENABLE);
		attach(f, 1, i % 5 == 0 ? MSIX_NO_VECTOR : 2);
	}
	assert_int_equal(f->irqs.n_msi, 2);
	assert_true(fake.n_irqfds <= 2);
}

/* --- interrupts of the device itself ------------------------------------------------------------------------------------- */

static void raised_vector_is_a_message_or_pending(void **state)
{
	struct fixture *f = *state;

	program(f, 0, ADDR, 0x77);
	msix_raise(&f->m, 0);
	msix_raise(&f->m, 0);
	msix_raise(&f->m, MSIX_NO_VECTOR);
	msix_raise(&f->m, VECTORS);
	assert_int_equal(fake.n_signals, 0);
	assert_int_equal(pending(f), 1);
	mask(f, 0, false);
	assert_int_equal(fake.n_signals, 0);
	msix_write_control(&f->m, ENABLE);
	assert_int_equal(fake.n_signals, 1);
	assert_int_equal(fake.last.data, 0x77);
	assert_int_equal(pending(f), 0);
	msix_raise(&f->m, 0);
	assert_int_equal(fake.n_signals, 2);
	assert_int_equal(fake.n_irqfds, 0); /* it needs no route */
}

static void forgotten_interrupts_do_not_come(void **state)
{
	struct fixture *f = *state;

	live(f);
	mask(f, 0, true);
	msix_raise(&f->m, 0);
	msix_forget(&f->m);
	mask(f, 0, false);
	assert_int_equal(fake.n_signals, 0);
}

static void vectors_have_bounds(void **state)
{
	struct fixture *f = *state;
	struct msix m;

	assert_int_equal(msix_init(&m, &f->irqs, &f->es, 0, NULL, 0), -EINVAL);
	assert_int_equal(msix_init(&m, &f->irqs, &f->es, MSIX_VECTORS_MAX + 1, NULL, 0), -EINVAL);
	assert_int_equal(msix_init(&m, &f->irqs, &f->es, MSIX_VECTORS_MAX, NULL, 0), 0);
	assert_int_equal(msix_read_pending(&m, MSIX_VECTORS_MAX / 8 - 8, 8), 0);
	msix_fini(&m);
}

/* All GSIs that there are, and one vector more. */
static void guest_without_free_routes_goes_on(void **state)
{
	struct fixture *f = *state;

	for (int i = FIRST_GSI; i < 4096; i++)
		assert_int_equal(irqs_alloc_msi(&f->irqs), i);
	assert_int_equal(irqs_alloc_msi(&f->irqs), -ENOSPC);
	live(f);
	assert_int_equal(fake.n_irqfds, 0);
	mask(f, 1, true);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(every_vector_is_masked_at_first),         T(control_has_two_writable_bits),
		T(table_takes_4_and_8_bytes_in_place_only), T(table_keeps_what_is_written_but_reserved_bits),
		T(pending_bits_answer_every_shape),         T(unmasked_vector_with_a_source_is_bound),
		T(any_order_of_set_up_leads_to_the_same),   T(masked_interrupt_is_pending_and_comes_when_unmasked),
		T(function_mask_and_disable_hold_back_all), T(message_changes_while_unmasked),
		T(source_changes_its_vector_while_running), T(eventfd_is_replaced_without_a_gap),
		T(message_to_elsewhere_is_never_delivered), T(high_half_that_kvm_refuses_is_no_address),
		T(iterated_masking_leaves_nothing_behind),  T(raised_vector_is_a_message_or_pending),
		T(forgotten_interrupts_do_not_come),        T(vectors_have_bounds),
		T(guest_without_free_routes_goes_on),
	};

	return cmocka_run_group_tests_name("pci/msix", tests, NULL, NULL);
}
