/* SPDX-License-Identifier: ISC */
#include "vmmd/serial_link.h"

#include <linux/serial_reg.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/ev.h"
#include "common/fd.h"
#include "vmmd/legacy/serial.h"

struct fixture {
	struct event_base *base;
	struct serial *serial;
	struct serial_link link;
	int console; /* the other end */
	unsigned wakes, rooms;
};

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
	int pair[2];

	if (f == NULL || fd_socketpair(SOCK_STREAM, pair) < 0)
		return -1;
	const struct serial_ops ops = { .tx_wake = on_wake, .rx_room = on_room, .arg = f };

	f->base = ev_new(EV_BACKEND_EPOLL);
	f->serial = serial_new(&ops);
	f->console = pair[0];
	*state = f;
	if (f->base == NULL || f->serial == NULL || serial_link_open(&f->link, f->base, &pair[1]) < 0)
		return -1;
	serial_link_attach(&f->link, f->serial);
	return pair[1] == -1 ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	serial_link_attach(&f->link, NULL);
	serial_link_close(&f->link);
	serial_free(f->serial);
	ev_free(f->base);
	fd_closep(&f->console);
	free(f);
	return 0;
}

static void guest_out(struct fixture *f, unsigned reg, uint8_t v)
{
	serial_bus_ops.write(f->serial, reg, &v, 1);
}

static uint8_t guest_in(struct fixture *f, unsigned reg)
{
	uint8_t v = 0;

	serial_bus_ops.read(f->serial, reg, &v, 1);
	return v;
}

static void turn(struct fixture *f)
{
	assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
}

static void output_reaches_the_console(void **state)
{
	struct fixture *f = *state;
	char got[16] = { 0 };

	guest_out(f, UART_TX, 'o');
	guest_out(f, UART_TX, 'k');
	assert_int_equal(f->wakes, 1);
	serial_link_pump(&f->link);
	assert_int_equal(read(f->console, got, sizeof(got)), 2);
	assert_string_equal(got, "ok");
}

/* More than the socket takes: nothing is lost, nothing waits, the rest follows when there is room. */
static void full_socket_keeps_the_rest_in_order(void **state)
{
	struct fixture *f = *state;
	const size_t total = 600 * 1024;
	size_t written = 0, got = 0;
	uint8_t buf[8192];

	while (got < total) {
		while (written < total && (guest_in(f, UART_LSR) & UART_LSR_THRE) != 0)
			guest_out(f, UART_TX, (uint8_t)(written++ % 251));
		serial_link_pump(&f->link);
		if (written < total && (guest_in(f, UART_LSR) & UART_LSR_THRE) != 0)
			continue;
		ssize_t n = read(f->console, buf, sizeof(buf));

		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++, got++)
			assert_int_equal(buf[i], got % 251);
		turn(f);
	}
	assert_int_equal(serial_tx_overruns(f->serial), 0);
	assert_int_equal(f->link.thrown_away, 0);
}

static void input_reaches_the_guest(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(write(f->console, "hi", 2), 2);
	turn(f);
	assert_int_equal(guest_in(f, UART_RX), 'h');
	assert_int_equal(guest_in(f, UART_RX), 'i');
	assert_int_equal(guest_in(f, UART_LSR) & UART_LSR_DR, 0);
}

/* A guest that doesn't read stops us from reading; when it reads on, nothing is missing. */
static void input_waits_for_a_guest_that_does_not_read(void **state)
{
	struct fixture *f = *state;
	const size_t total = 3 * SERIAL_LINK_INPUT;
	uint8_t data[3 * SERIAL_LINK_INPUT];
	size_t got = 0;

	for (size_t i = 0; i < total; i++)
		data[i] = (uint8_t)(i % 253);
	assert_int_equal(write(f->console, data, total), total);
	for (int i = 0; i < 10; i++)
		turn(f);
	assert_true(f->link.in_off < f->link.in_len); /* full */
	while (got < total) {
		unsigned rooms = f->rooms;

		assert_int_not_equal(guest_in(f, UART_LSR) & UART_LSR_DR, 0);
		assert_int_equal(guest_in(f, UART_RX), got % 253);
		got++;
		if (f->rooms != rooms) { /* vCPU thread wakes the control thread */
			serial_link_pump(&f->link);
			turn(f);
		}
	}
}

static void broken_stream_throws_output_away_and_the_guest_goes_on(void **state)
{
	struct fixture *f = *state;

	fd_closep(&f->console);
	for (int i = 0; i < 2 * SERIAL_TX_RING; i++) {
		if ((guest_in(f, UART_LSR) & UART_LSR_THRE) == 0)
			serial_link_pump(&f->link);
		guest_out(f, UART_TX, 'x');
	}
	serial_link_pump(&f->link);
	assert_true(f->link.broken);
	assert_int_equal(f->link.thrown_away, 2 * SERIAL_TX_RING);
	assert_int_equal(serial_tx_overruns(f->serial), 0);
	turn(f);
}

static void end_of_file_is_noticed_without_spinning(void **state)
{
	struct fixture *f = *state;

	fd_closep(&f->console);
	turn(f);
	assert_true(f->link.broken);
	assert_int_equal(event_base_loop(f->base, EVLOOP_NONBLOCK), 1); /* no event is left to wait for */
}

/* A machine that goes and another that comes (a reset) share the stream. */
static void machines_come_and_go(void **state)
{
	struct fixture *f = *state;

	serial_link_attach(&f->link, NULL);
	assert_int_equal(write(f->console, "typed", 5), 5);
	turn(f);
	serial_link_pump(&f->link);
	serial_link_drain(&f->link, 0);
	serial_link_attach(&f->link, f->serial);
	turn(f);
	assert_int_equal(guest_in(f, UART_RX), 't');
}

static void drain_gives_up_on_a_console_that_takes_nothing(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 16; i++) {
		for (int k = 0; k < SERIAL_TX_RING; k++)
			if ((guest_in(f, UART_LSR) & UART_LSR_THRE) != 0)
				guest_out(f, UART_TX, 'x');
		serial_link_pump(&f->link);
	}
	serial_link_drain(&f->link, 10);
	const uint8_t *p;

	assert_true(serial_tx_peek(f->serial, &p) > 0);
}

static void no_console_needs_no_link(void **state)
{
	struct event_base *base = ev_new(EV_BACKEND_EPOLL);
	struct serial_link l;
	int none = -1;

	(void)state;
	assert_int_equal(serial_link_open(&l, base, &none), 0);
	serial_link_pump(&l);
	serial_link_drain(&l, 0);
	serial_link_close(&l);
	ev_free(base);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(output_reaches_the_console),
		T(full_socket_keeps_the_rest_in_order),
		T(input_reaches_the_guest),
		T(input_waits_for_a_guest_that_does_not_read),
		T(broken_stream_throws_output_away_and_the_guest_goes_on),
		T(end_of_file_is_noticed_without_spinning),
		T(machines_come_and_go),
		T(drain_gives_up_on_a_console_that_takes_nothing),
		cmocka_unit_test(no_console_needs_no_link),
	};

	return cmocka_run_group_tests_name("serial_link", tests, NULL, NULL);
}
