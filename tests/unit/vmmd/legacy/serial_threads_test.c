/* SPDX-License-Identifier: ISC */
/*
 * A vCPU thread and the control thread on one port, as in vmmd: run under ThreadSanitizer this
 * shows that they don't race, and in any build that no byte is lost or repeated while the ring is
 * full half of the time.
 */
#include "vmmd/legacy/serial.h"

#include <linux/serial_reg.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

enum { BYTES = 1 << 20, ECHOES = 20000, DEADLINE_MS = 60000 };

static struct {
	struct serial *s;
	int wake, irq; /* eventfds */
} port;

static void post(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

static void wait_for(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n;

	if (poll(&p, 1, DEADLINE_MS) != 1 || read(fd, &n, sizeof(n)) != sizeof(n))
		abort(); /* a lost wake-up */
}

static void on_irq(void *arg)
{
	(void)arg;
	post(port.irq);
}

static void on_wake(void *arg)
{
	(void)arg;
	post(port.wake);
}

static uint8_t in(unsigned reg)
{
	uint8_t v = 0;

	serial_bus_ops.read(port.s, reg, &v, 1);
	return v;
}

static void out(unsigned reg, unsigned v)
{
	const uint8_t b = (uint8_t)v;

	serial_bus_ops.write(port.s, reg, &b, 1);
}

static int setup(void **state)
{
	const struct serial_ops ops = { .raise_irq = on_irq, .tx_wake = on_wake };

	(void)state;
	port.s = serial_new(&ops);
	port.wake = eventfd(0, EFD_CLOEXEC);
	port.irq = eventfd(0, EFD_CLOEXEC);
	return port.s != NULL && port.wake >= 0 && port.irq >= 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	serial_free(port.s);
	close(port.wake);
	close(port.irq);
	return 0;
}

/* A driver by the book: fills the FIFO while THRE is set, else waits for the interrupt. */
static void *send_by_interrupt(void *arg)
{
	(void)arg;
	out(UART_IER, UART_IER_THRI);
	for (unsigned sent = 0; sent < BYTES;) {
		if ((in(UART_LSR)&UART_LSR_THRE) == 0) {
			wait_for(port.irq);
			(void)in(UART_IIR);
			continue;
		}
		for (unsigned i = 0; i < 16 && sent < BYTES; i++, sent++)
			out(UART_TX, sent * 31 >> 3);
	}
	return NULL;
}

static void bytes_pass_between_threads_without_loss(void **state)
{
	pthread_t vcpu;
	unsigned got = 0;

	(void)state;
	assert_int_equal(pthread_create(&vcpu, NULL, send_by_interrupt, NULL), 0);
	while (got < BYTES) {
		const uint8_t *p;
		size_t n = serial_tx_peek(port.s, &p);

		if (n == 0) {
			wait_for(port.wake);
			continue;
		}
		if (n > 1000) /* a socket that takes less than offered */
			n -= n / 3;
		for (size_t i = 0; i < n; i++)
			assert_int_equal(p[i], (uint8_t)((got + i) * 31 >> 3));
		serial_tx_consume(port.s, n);
		got += (unsigned)n;
	}
	pthread_join(vcpu, NULL);
	assert_int_equal(serial_tx_overruns(port.s), 0);
}

static void *echo(void *arg)
{
	(void)arg;
	out(UART_IER, UART_IER_RDI);
	for (unsigned n = 0; n < ECHOES;) {
		if ((in(UART_LSR)&UART_LSR_DR) == 0) {
			wait_for(port.irq);
			continue;
		}
		out(UART_TX, in(UART_RX));
		n++;
	}
	return NULL;
}

static void input_and_output_pass_at_the_same_time(void **state)
{
	pthread_t vcpu;
	unsigned pushed = 0, got = 0;

	(void)state;
	assert_int_equal(pthread_create(&vcpu, NULL, echo, NULL), 0);
	while (got < ECHOES) {
		const uint8_t *p;
		uint8_t byte = (uint8_t)(pushed * 13);

		if (pushed < ECHOES)
			pushed += (unsigned)serial_rx_push(port.s, &byte, 1);
		size_t n = serial_tx_peek(port.s, &p);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(p[i], (uint8_t)((got + i) * 13));
		serial_tx_consume(port.s, n);
		got += (unsigned)n;
	}
	pthread_join(vcpu, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bytes_pass_between_threads_without_loss, setup,
						teardown),
		cmocka_unit_test_setup_teardown(input_and_output_pass_at_the_same_time, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
