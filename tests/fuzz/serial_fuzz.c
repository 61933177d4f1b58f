/* SPDX-License-Identifier: ISC */
/*
 * A driver and the host on one 16550, by turns: what was sent comes out complete and in order, THRE
 * tells the truth about room, and the queues keep their bounds.
 */
#include <linux/serial_reg.h>

#include "tests/fuzz/ops.h"
#include "vmmd/legacy/serial.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
	uint8_t sent[1 << 18]; /* what the port took and the host hasn't seen */
	size_t head, tail;
	bool loop, dlab;
	unsigned wakes;
} model;

static void on_wake(void *arg)
{
	(void)arg;
	model.wakes++;
}

static uint8_t in(struct serial *s, unsigned reg)
{
	uint8_t v = 0;

	serial_bus_ops.read(s, reg, &v, 1);
	return v;
}

static void out(struct serial *s, unsigned reg, uint8_t v)
{
	uint64_t lost = serial_tx_overruns(s);
	bool thre = (in(s, UART_LSR) & UART_LSR_THRE) != 0;

	serial_bus_ops.write(s, reg, &v, 1);
	if (reg == UART_LCR)
		model.dlab = (v & UART_LCR_DLAB) != 0;
	if (reg == UART_MCR)
		model.loop = (v & UART_MCR_LOOP) != 0;
	ops_promise(!thre || serial_tx_overruns(s) == lost);
	if (reg == UART_TX && !model.dlab && !model.loop && serial_tx_overruns(s) == lost &&
	    model.tail < sizeof(model.sent))
		model.sent[model.tail++] = v;
}

static void drain(struct serial *s, size_t most)
{
	const uint8_t *p = NULL;
	size_t n = serial_tx_peek(s, &p);

	if (n > most)
		n = most;
	for (size_t i = 0; i < n; i++)
		ops_promise(p[i] == model.sent[model.head++]);
	serial_tx_consume(s, n);
}

/* A burst that fills the ring needs more than a fuzzer's few bytes. What doesn't fit is lost from
 * its end. */
static void burst(struct serial *s, size_t n)
{
	uint64_t lost = serial_tx_overruns(s);

	if (n > sizeof(model.sent) - model.tail)
		n = sizeof(model.sent) - model.tail;
	if (model.dlab || model.loop)
		return;
	for (size_t i = 0; i < n; i++) {
		model.sent[model.tail + i] = (uint8_t)i;
		serial_bus_ops.write(s, UART_TX, &model.sent[model.tail + i], 1);
	}
	lost = serial_tx_overruns(s) - lost;
	ops_promise(lost <= n && (lost == 0 || (in(s, UART_LSR) & UART_LSR_THRE) == 0));
	model.tail += n - lost;
}

static void wide(struct serial *s, struct ops *o)
{
	uint8_t data[8] = { 0 };
	unsigned off = (unsigned)ops_take(o, 1) % SERIAL_PORTS;
	unsigned len = 2 + (unsigned)ops_take(o, 1) % 7;

	serial_bus_ops.write(s, off, data, len);
	serial_bus_ops.read(s, off, data, len);
	for (unsigned i = 0; i < sizeof(data); i++)
		ops_promise(data[i] == 0);
}

static void step(struct serial *s, struct ops *o)
{
	uint8_t op = (uint8_t)ops_take(o, 1);
	uint8_t bytes[256] = { 0 };
	size_t n;

	switch (op >> 4) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
	case 5:
		out(s, op & 7, (uint8_t)ops_take(o, 1));
		break;
	case 6:
		wide(s, o);
		break;
	case 7:
		burst(s, ops_take(o, 2));
		break;
	case 8:
		drain(s, ops_take(o, 2));
		break;
	case 9:
		n = ops_take(o, 1);
		ops_promise(serial_rx_push(s, bytes, n) <= n);
		break;
	default:
		(void)in(s, op & 7);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct serial_ops ops = { .tx_wake = on_wake };
	struct ops o = { data, size };
	struct serial *s = serial_new(&ops);

	if (s == NULL)
		return 0;
	model.head = model.tail = 0;
	model.loop = model.dlab = false;
	while (o.left > 0 && model.tail < sizeof(model.sent))
		step(s, &o);
	while (model.head < model.tail) {
		size_t before = model.head;

		drain(s, SIZE_MAX);
		ops_promise(model.head > before);
	}
	ops_promise((in(s, UART_LSR) & UART_LSR_TEMT) != 0);
	serial_free(s);
	return 0;
}
