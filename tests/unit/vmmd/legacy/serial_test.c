/* SPDX-License-Identifier: ISC */
#include "vmmd/legacy/serial.h"

#include <linux/serial_reg.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
	struct serial *s;
	unsigned irqs, wakes, rooms;
};

static void on_irq(void *arg)
{
	((struct fixture *)arg)->irqs++;
}

static void on_wake(void *arg)
{
	((struct fixture *)arg)->wakes++;
}

static void on_room(void *arg)
{
	((struct fixture *)arg)->rooms++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return -1;
	const struct serial_ops ops = {
		.raise_irq = on_irq, .tx_wake = on_wake, .rx_room = on_room, .arg = f
	};
	f->s = serial_new(&ops);
	*state = f;
	return f->s != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	serial_free(f->s);
	free(f);
	return 0;
}

static uint8_t in(struct fixture *f, unsigned reg)
{
	uint8_t v = 0;

	serial_bus_ops.read(f->s, reg, &v, 1);
	return v;
}

static void out(struct fixture *f, unsigned reg, unsigned v)
{
	const uint8_t b = (uint8_t)v;

	serial_bus_ops.write(f->s, reg, &b, 1);
}

static void fill_ring(struct fixture *f)
{
	for (unsigned i = 0; i < SERIAL_TX_RING; i++) {
		assert_true((in(f, UART_LSR) & UART_LSR_THRE) != 0);
		out(f, UART_TX, i * 7);
	}
}

/* Takes everything out and checks that it is the sequence 7i from @first on; returns how many
 * bytes. */
static size_t drain(struct fixture *f, size_t first)
{
	const uint8_t *p;
	size_t n, total = 0;

	while ((n = serial_tx_peek(f->s, &p)) > 0) {
		for (size_t i = 0; i < n; i++)
			assert_int_equal(p[i], (uint8_t)((first + total + i) * 7));
		serial_tx_consume(f->s, n);
		total += n;
	}
	return total;
}

static void registers_start_as_documented(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, UART_IER), 0);
	assert_int_equal(in(f, UART_IIR), 0xC1);
	assert_int_equal(in(f, UART_LCR), 3);
	assert_int_equal(in(f, UART_MCR), 8);
	assert_int_equal(in(f, UART_LSR), 0x60);
	assert_int_equal(in(f, UART_MSR), 0xB0);
	assert_int_equal(in(f, UART_SCR), 0);
	out(f, UART_LCR, UART_LCR_DLAB);
	assert_int_equal(in(f, UART_DLL), 12);
	assert_int_equal(in(f, UART_DLM), 0);
}

static void writable_registers_read_back(void **state)
{
	struct fixture *f = *state;

	for (unsigned v = 0; v < 256; v++) {
		out(f, UART_LCR, v & ~(unsigned)UART_LCR_DLAB);
		assert_int_equal(in(f, UART_LCR), v & ~(unsigned)UART_LCR_DLAB);
		out(f, UART_IER, v);
		assert_int_equal(in(f, UART_IER), v & 0x0F);
		out(f, UART_MCR, v);
		assert_int_equal(in(f, UART_MCR), v & 0x1F);
		out(f, UART_SCR, v);
		assert_int_equal(in(f, UART_SCR), v);
		out(f, UART_LCR, UART_LCR_DLAB);
		out(f, UART_DLL, v);
		out(f, UART_DLM, 255 - v);
		assert_int_equal(in(f, UART_DLL), v);
		assert_int_equal(in(f, UART_DLM), 255 - v);
	}
}

static void divisor_writes_send_nothing(void **state)
{
	struct fixture *f = *state;
	const uint8_t *p;

	out(f, UART_LCR, UART_LCR_DLAB);
	out(f, UART_DLL, 'x');
	assert_int_equal(serial_tx_peek(f->s, &p), 0);
}

static void read_only_registers_ignore_writes(void **state)
{
	struct fixture *f = *state;

	out(f, UART_LSR, 0);
	out(f, UART_MSR, 0);
	out(f, UART_FCR, 0x07);
	assert_int_equal(in(f, UART_LSR), 0x60);
	assert_int_equal(in(f, UART_MSR), 0xB0);
	assert_int_equal(in(f, UART_IIR), 0xC1);
}

static void accesses_of_other_widths_do_nothing(void **state)
{
	struct fixture *f = *state;
	const uint8_t *p;

	for (unsigned reg = 0; reg < SERIAL_PORTS; reg++) {
		for (unsigned len = 2; reg + len <= SERIAL_PORTS; len++) {
			uint8_t data[SERIAL_PORTS] = { 0 };

			serial_bus_ops.read(f->s, reg, data, len);
			for (unsigned i = 0; i < sizeof(data); i++)
				assert_int_equal(data[i], 0);
			memset(data, 0xFF, sizeof(data));
			serial_bus_ops.write(f->s, reg, data, len);
		}
	}
	assert_int_equal(in(f, UART_LCR), 3);
	assert_int_equal(serial_tx_peek(f->s, &p), 0);
}

static void sent_bytes_come_out_in_order_and_wake_once(void **state)
{
	struct fixture *f = *state;
	const uint8_t *p;

	out(f, UART_TX, 'a');
	out(f, UART_TX, 'b');
	assert_int_equal(f->wakes, 1);
	assert_int_equal(serial_tx_peek(f->s, &p), 2);
	assert_memory_equal(p, "ab", 2);
	serial_tx_consume(f->s, 1);
	out(f, UART_TX, 'c');
	assert_int_equal(f->wakes, 1); /* the reader hasn't seen the end yet */
	assert_int_equal(serial_tx_peek(f->s, &p), 2);
	assert_memory_equal(p, "bc", 2);
	serial_tx_consume(f->s, 2);
	assert_int_equal(serial_tx_peek(f->s, &p), 0);
	out(f, UART_TX, 'd');
	assert_int_equal(f->wakes, 2);
}

static void a_full_ring_clears_thre_and_temt(void **state)
{
	struct fixture *f = *state;
	const uint8_t *p;

	fill_ring(f);
	assert_int_equal(in(f, UART_LSR) & (UART_LSR_THRE | UART_LSR_TEMT), 0);
	assert_true(serial_tx_peek(f->s, &p) > 0);
	/* looking is not taking */
	assert_int_equal(in(f, UART_LSR) & (UART_LSR_THRE | UART_LSR_TEMT), 0);
	serial_tx_consume(f->s, 1);
	assert_int_equal(in(f, UART_LSR), 0x60);
	assert_int_equal(drain(f, 1), SERIAL_TX_RING - 1);
}

static void a_burst_begun_before_the_ring_was_full_is_kept_whole(void **state)
{
	struct fixture *f = *state;

	fill_ring(f);
	for (unsigned i = 0; i < SERIAL_TX_SLACK; i++)
		out(f, UART_TX, (SERIAL_TX_RING + i) * 7);
	assert_int_equal(serial_tx_overruns(f->s), 0);
	out(f, UART_TX, 'x');
	out(f, UART_TX, 'y');
	assert_int_equal(serial_tx_overruns(f->s), 2);
	assert_int_equal(drain(f, 0), SERIAL_TX_RING + SERIAL_TX_SLACK);
}

static void the_ring_wraps_without_loss(void **state)
{
	struct fixture *f = *state;
	size_t sent = 0, got = 0;

	/* Odd pieces, so that every position of the ring is once the first and once the last of a
	 * run. */
	while (sent < 20 * (size_t)SERIAL_TX_RING) {
		for (unsigned i = 0; i < 60013; i++)
			out(f, UART_TX, (unsigned)(sent++ * 7));
		got += drain(f, got);
	}
	assert_int_equal(got, sent);
}

static void thr_interrupt_follows_each_byte_and_iir_tells_it_once(void **state)
{
	struct fixture *f = *state;

	out(f, UART_IER, UART_IER_THRI);
	assert_int_equal(f->irqs, 1); /* THR is empty already */
	assert_int_equal(in(f, UART_IIR), 0xC2);
	assert_int_equal(in(f, UART_IIR), 0xC1);
	out(f, UART_TX, 'a');
	assert_int_equal(f->irqs, 2);
	assert_int_equal(in(f, UART_IIR), 0xC2);
	out(f, UART_IER, 0);
	out(f, UART_TX, 'b');
	assert_int_equal(f->irqs, 2);
	assert_int_equal(in(f, UART_IIR), 0xC1);
}

/* What Linux's 8250 driver does at start-up to find ports that don't tell "THR empty" again; a port
 * that fails this is driven by a timer from then on. */
static void linux_start_up_probe_finds_a_sound_port(void **state)
{
	struct fixture *f = *state;

	out(f, UART_IER, UART_IER_THRI);
	uint8_t first = in(f, UART_IIR);
	out(f, UART_IER, 0);
	out(f, UART_IER, UART_IER_THRI);
	uint8_t second = in(f, UART_IIR);
	out(f, UART_IER, 0);
	assert_int_equal(first & UART_IIR_NO_INT, 0);
	assert_int_equal(second & UART_IIR_NO_INT, 0);
}

static void thr_interrupt_waits_for_room_in_a_full_ring(void **state)
{
	struct fixture *f = *state;
	const uint8_t *p;

	fill_ring(f);
	out(f, UART_IER, UART_IER_THRI);
	assert_int_equal(f->irqs, 0);
	assert_int_equal(in(f, UART_IIR), 0xC1);
	assert_true(serial_tx_peek(f->s, &p) > 0);
	serial_tx_consume(f->s, 100);
	assert_int_equal(f->irqs, 1);
	assert_int_equal(in(f, UART_IIR), 0xC2);
	serial_tx_consume(f->s, 100);
	assert_int_equal(f->irqs, 1); /* it was not full any more */
}

static void room_is_not_announced_to_a_driver_that_polls(void **state)
{
	struct fixture *f = *state;

	fill_ring(f);
	serial_tx_consume(f->s, 100);
	assert_int_equal(f->irqs, 0);
	assert_int_equal(in(f, UART_IIR), 0xC1);
}

static void consuming_more_than_there_is_stops_at_empty(void **state)
{
	struct fixture *f = *state;
	const uint8_t *p;

	out(f, UART_TX, 'a');
	serial_tx_consume(f->s, SIZE_MAX);
	assert_int_equal(serial_tx_peek(f->s, &p), 0);
	out(f, UART_TX, 'b');
	assert_int_equal(serial_tx_peek(f->s, &p), 1);
	assert_int_equal(p[0], 'b');
}

static void received_bytes_set_dr_until_read(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(serial_rx_push(f->s, (const uint8_t *)"hi", 2), 2);
	assert_int_equal(f->irqs, 0);
	assert_int_equal(in(f, UART_LSR), 0x61);
	assert_int_equal(in(f, UART_RX), 'h');
	assert_int_equal(in(f, UART_LSR), 0x61);
	assert_int_equal(in(f, UART_RX), 'i');
	assert_int_equal(in(f, UART_LSR), 0x60);
	assert_int_equal(in(f, UART_RX), 0); /* nothing there */
}

static void receive_interrupt_lasts_while_bytes_are_queued(void **state)
{
	struct fixture *f = *state;

	out(f, UART_IER, UART_IER_RDI);
	assert_int_equal(f->irqs, 0);
	serial_rx_push(f->s, (const uint8_t *)"ab", 2);
	assert_int_equal(f->irqs, 1);
	assert_int_equal(in(f, UART_IIR), 0xC4);
	(void)in(f, UART_RX);
	assert_int_equal(in(f, UART_IIR), 0xC4);
	(void)in(f, UART_RX);
	assert_int_equal(in(f, UART_IIR), 0xC1);
}

static void enabling_the_receive_interrupt_tells_of_bytes_already_there(void **state)
{
	struct fixture *f = *state;

	serial_rx_push(f->s, (const uint8_t *)"a", 1);
	out(f, UART_IER, UART_IER_RDI);
	assert_int_equal(f->irqs, 1);
}

static void receive_goes_before_transmit_in_iir(void **state)
{
	struct fixture *f = *state;

	out(f, UART_IER, UART_IER_RDI | UART_IER_THRI);
	serial_rx_push(f->s, (const uint8_t *)"a", 1);
	assert_int_equal(in(f, UART_IIR), 0xC4);
	(void)in(f, UART_RX);
	assert_int_equal(in(f, UART_IIR), 0xC2);
	assert_int_equal(in(f, UART_IIR), 0xC1);
}

static void a_full_receive_queue_takes_no_more_and_says_when_it_has_room(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[SERIAL_RX_QUEUE + 10];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(serial_rx_push(f->s, bytes, sizeof(bytes)), SERIAL_RX_QUEUE);
	assert_int_equal(serial_rx_push(f->s, bytes, 1), 0);
	for (unsigned i = 0; i < SERIAL_RX_QUEUE; i++)
		assert_int_equal(in(f, UART_RX), (uint8_t)i);
	assert_int_equal(f->rooms, 1);
}

static void loopback_returns_bytes_and_modem_lines(void **state)
{
	struct fixture *f = *state;
	const uint8_t *p;

	out(f, UART_IER, UART_IER_RDI);
	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_RTS | UART_MCR_OUT2);
	assert_int_equal(in(f, UART_MSR) & 0xF0, 0x90);
	out(f, UART_MCR, UART_MCR_LOOP | UART_MCR_DTR | UART_MCR_OUT1);
	assert_int_equal(in(f, UART_MSR) & 0xF0, 0x60);
	out(f, UART_TX, 'z');
	assert_int_equal(f->irqs, 1);
	assert_int_equal(in(f, UART_RX), 'z');
	assert_int_equal(serial_tx_peek(f->s, &p), 0);
	assert_int_equal(f->wakes, 0);
}

static void loopback_queue_is_bounded(void **state)
{
	struct fixture *f = *state;

	out(f, UART_MCR, UART_MCR_LOOP);
	for (unsigned i = 0; i < 10 * SERIAL_LOOP_MAX; i++)
		out(f, UART_TX, i);
	for (unsigned i = 0; i < SERIAL_LOOP_MAX; i++)
		assert_int_equal(in(f, UART_RX), i);
	assert_int_equal(in(f, UART_LSR) & UART_LSR_DR, 0);
}

static void without_a_listener_the_transmitter_is_always_empty(void **state)
{
	const struct serial_ops ops = { 0 };
	struct fixture f = { .s = serial_new(&ops) };
	const uint8_t *p;

	(void)state;
	assert_non_null(f.s);
	for (unsigned i = 0; i < 3 * SERIAL_TX_RING; i++)
		out(&f, UART_TX, i);
	assert_int_equal(in(&f, UART_LSR), 0x60);
	assert_int_equal(serial_tx_peek(f.s, &p), 0);
	assert_int_equal(serial_tx_overruns(f.s), 0);
	serial_free(f.s);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(registers_start_as_documented),
		T(writable_registers_read_back),
		T(divisor_writes_send_nothing),
		T(read_only_registers_ignore_writes),
		T(accesses_of_other_widths_do_nothing),
		T(sent_bytes_come_out_in_order_and_wake_once),
		T(a_full_ring_clears_thre_and_temt),
		T(a_burst_begun_before_the_ring_was_full_is_kept_whole),
		T(the_ring_wraps_without_loss),
		T(thr_interrupt_follows_each_byte_and_iir_tells_it_once),
		T(linux_start_up_probe_finds_a_sound_port),
		T(thr_interrupt_waits_for_room_in_a_full_ring),
		T(room_is_not_announced_to_a_driver_that_polls),
		T(consuming_more_than_there_is_stops_at_empty),
		T(received_bytes_set_dr_until_read),
		T(receive_interrupt_lasts_while_bytes_are_queued),
		T(enabling_the_receive_interrupt_tells_of_bytes_already_there),
		T(receive_goes_before_transmit_in_iir),
		T(a_full_receive_queue_takes_no_more_and_says_when_it_has_room),
		T(loopback_returns_bytes_and_modem_lines),
		T(loopback_queue_is_bounded),
		T(without_a_listener_the_transmitter_is_always_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
