/* SPDX-License-Identifier: ISC */
/*
 * 16550 UART (National Semiconductor PC16550D), as far as a driver can tell over an infinitely fast
 * line.
 *
 * Transmitting. A byte written to THR goes into the ring and THR is empty again at once: THRE and
 * TEMT stay 1 and the "THR empty" interrupt becomes pending with each byte. When the ring holds
 * SERIAL_TX_RING bytes, THRE and TEMT turn 0 and the interrupt waits until serial_tx_consume() has
 * made room. That is all the flow control a 16550 has. Drivers test THRE once and then write as
 * many bytes as they believe the FIFO takes (16 after the usual detection), and Linux's polled
 * console gives up after 10 ms and writes its byte all the same: SERIAL_TX_SLACK bytes lie beyond
 * the ring for both, the second being good for 40 s.
 *
 * Interrupts. The line is an edge into the IOAPIC. It is raised for every new cause, not only when
 * the OR of all causes rises: a driver that has just read "no interrupt pending" may still be
 * inside its handler, and an edge more is harmless where an edge less would hang the port. IIR
 * tells the cause of highest priority, receive before transmit; "receive" stays as long as bytes
 * are queued, "THR empty" goes when IIR has told it or THR is written.
 *
 * FIFO control is accepted and ignored, though IIR says that FIFOs are on: drivers then take the
 * port for a 16550A.
 */
#include "vmmd/legacy/serial.h"

#include <linux/serial_reg.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
	IER_MASK = 0x0F,
	IIR_FIFO_ON = 0xC0,
	MCR_MASK = 0x1F,
	/* Carrier, data set ready and clear to send: what a terminal that is switched on shows. */
	MSR_ONLINE = UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS,
	DIVISOR_9600 = 12,
	TX_CAPACITY = SERIAL_TX_RING + SERIAL_TX_SLACK,
	/* Room that is announced once the RX queue had been full: not a wake-up for each byte the
	   guest takes. */
	RX_ROOM = SERIAL_RX_QUEUE / 2,
};

struct serial {
	struct serial_ops ops; /* [const] */
	pthread_mutex_t mtx;   /* guards all below; never held across a callback */

	uint8_t ier, lcr, mcr, scratch;
	uint16_t divisor;
	bool thri_pending; /* "THR empty" not yet told */

	uint8_t rx[SERIAL_RX_QUEUE];
	size_t rx_head, rx_len;
	bool rx_refused; /* serial_rx_push() had to leave bytes behind */

	/* The control thread reads [head, head + len) without the mutex; that part isn't written to
	 * before it says so, and taking the mutex in peek and consume orders the accesses. */
	uint8_t tx[TX_CAPACITY];
	size_t tx_head, tx_len;
	bool tx_idle; /* the control thread knows of no bytes */
	uint64_t tx_overruns;
};

/* What to call once the mutex is free. */
struct serial_calls {
	bool irq, wake, room;
};

static void serial_make_calls(const struct serial *s, const struct serial_calls *c)
{
	if (c->irq && s->ops.raise_irq != NULL)
		s->ops.raise_irq(s->ops.arg);
	if (c->wake && s->ops.tx_wake != NULL)
		s->ops.tx_wake(s->ops.arg);
	if (c->room && s->ops.rx_room != NULL)
		s->ops.rx_room(s->ops.arg);
}

struct serial *serial_new(const struct serial_ops *ops)
{
	struct serial *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->ops = *ops;
	s->lcr = UART_LCR_WLEN8;
	s->mcr = UART_MCR_OUT2;
	s->divisor = DIVISOR_9600;
	s->tx_idle = true;
	if (pthread_mutex_init(&s->mtx, NULL) != 0) {
		free(s);
		return NULL;
	}
	return s;
}

void serial_free(struct serial *s)
{
	if (s == NULL)
		return;
	pthread_mutex_destroy(&s->mtx);
	free(s);
}

static bool tx_is_full(const struct serial *s)
{
	return s->tx_len >= SERIAL_TX_RING;
}

/* THR is empty (again): remember to tell, and tell now if the driver wants to know. */
static void thr_emptied(struct serial *s, struct serial_calls *c)
{
	if ((s->ier & UART_IER_THRI) != 0) {
		s->thri_pending = true;
		c->irq = true;
	}
}

static bool rx_queue(struct serial *s, uint8_t byte, size_t limit)
{
	if (s->rx_len >= limit)
		return false;
	s->rx[(s->rx_head + s->rx_len) % SERIAL_RX_QUEUE] = byte;
	s->rx_len++;
	return true;
}

static void tx_queue(struct serial *s, uint8_t byte, struct serial_calls *c)
{
	if (s->ops.tx_wake == NULL)
		return; /* nobody listens: sent */
	if (s->tx_len == TX_CAPACITY) {
		s->tx_overruns++; /* the driver ignores THRE: as on hardware, the byte is lost */
		return;
	}
	s->tx[(s->tx_head + s->tx_len) % TX_CAPACITY] = byte;
	s->tx_len++;
	if (s->tx_idle) {
		s->tx_idle = false;
		c->wake = true;
	}
}

static void write_thr(struct serial *s, uint8_t byte, struct serial_calls *c)
{
	s->thri_pending = false;
	if ((s->mcr & UART_MCR_LOOP) != 0) {
		if (rx_queue(s, byte, SERIAL_LOOP_MAX) && (s->ier & UART_IER_RDI) != 0)
			c->irq = true;
	} else {
		tx_queue(s, byte, c);
	}
	if (!tx_is_full(s))
		thr_emptied(s, c);
}

static uint8_t read_rbr(struct serial *s, struct serial_calls *c)
{
	if (s->rx_len == 0)
		return 0;
	uint8_t byte = s->rx[s->rx_head];
	s->rx_head = (s->rx_head + 1) % SERIAL_RX_QUEUE;
	s->rx_len--;
	if (s->rx_refused && SERIAL_RX_QUEUE - s->rx_len >= RX_ROOM) {
		s->rx_refused = false;
		c->room = true;
	}
	return byte;
}

static void write_ier(struct serial *s, uint8_t v, struct serial_calls *c)
{
	uint8_t risen = (uint8_t)(v & ~s->ier & IER_MASK);

	s->ier = v & IER_MASK;
	if ((s->ier & UART_IER_THRI) == 0)
		s->thri_pending = false;
	if ((risen & UART_IER_THRI) != 0 && !tx_is_full(s))
		thr_emptied(s, c);
	if ((risen & UART_IER_RDI) != 0 && s->rx_len > 0)
		c->irq = true;
}

static uint8_t read_iir(struct serial *s)
{
	if ((s->ier & UART_IER_RDI) != 0 && s->rx_len > 0)
		return IIR_FIFO_ON | UART_IIR_RDI;
	if (s->thri_pending) {
		s->thri_pending = false;
		return IIR_FIFO_ON | UART_IIR_THRI;
	}
	return IIR_FIFO_ON | UART_IIR_NO_INT;
}

static uint8_t read_lsr(const struct serial *s)
{
	uint8_t lsr = 0;

	if (!tx_is_full(s))
		lsr |= UART_LSR_THRE | UART_LSR_TEMT;
	if (s->rx_len > 0)
		lsr |= UART_LSR_DR;
	return lsr;
}

/* In loopback the modem control outputs come back as the modem status inputs. */
static uint8_t read_msr(const struct serial *s)
{
	uint8_t msr = 0;

	if ((s->mcr & UART_MCR_LOOP) == 0)
		return MSR_ONLINE;
	if ((s->mcr & UART_MCR_RTS) != 0)
		msr |= UART_MSR_CTS;
	if ((s->mcr & UART_MCR_DTR) != 0)
		msr |= UART_MSR_DSR;
	if ((s->mcr & UART_MCR_OUT1) != 0)
		msr |= UART_MSR_RI;
	if ((s->mcr & UART_MCR_OUT2) != 0)
		msr |= UART_MSR_DCD;
	return msr;
}

static bool dlab(const struct serial *s)
{
	return (s->lcr & UART_LCR_DLAB) != 0;
}

static uint8_t read_reg(struct serial *s, unsigned reg, struct serial_calls *c)
{
	switch (reg) {
	case UART_RX:
		return dlab(s) ? (uint8_t)(s->divisor & 0xFF) : read_rbr(s, c);
	case UART_IER:
		return dlab(s) ? (uint8_t)(s->divisor >> 8) : s->ier;
	case UART_IIR:
		return read_iir(s);
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		return read_lsr(s);
	case UART_MSR:
		return read_msr(s);
	case UART_SCR:
		return s->scratch;
	}
	return 0;
}

static void write_reg(struct serial *s, unsigned reg, uint8_t v, struct serial_calls *c)
{
	switch (reg) {
	case UART_TX:
		if (dlab(s))
			s->divisor = (uint16_t)((s->divisor & 0xFF00) | v);
		else
			write_thr(s, v, c);
		break;
	case UART_IER:
		if (dlab(s))
			s->divisor = (uint16_t)((s->divisor & 0x00FF) | v << 8);
		else
			write_ier(s, v, c);
		break;
	case UART_LCR:
		s->lcr = v;
		break;
	case UART_MCR:
		s->mcr = v & MCR_MASK;
		break;
	case UART_SCR:
		s->scratch = v;
		break;
	}
}

/* Registers are a byte wide; wider accesses are not decoded. */
static void serial_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct serial *s = dev;
	struct serial_calls calls = { 0 };

	if (len != 1)
		return;
	pthread_mutex_lock(&s->mtx);
	*(uint8_t *)data = read_reg(s, (unsigned)off, &calls);
	pthread_mutex_unlock(&s->mtx);
	serial_make_calls(s, &calls);
}

static void serial_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct serial *s = dev;
	struct serial_calls calls = { 0 };

	if (len != 1)
		return;
	pthread_mutex_lock(&s->mtx);
	write_reg(s, (unsigned)off, *(const uint8_t *)data, &calls);
	pthread_mutex_unlock(&s->mtx);
	serial_make_calls(s, &calls);
}

const struct bus_ops serial_bus_ops = { .read = serial_read, .write = serial_write };

size_t serial_tx_peek(struct serial *s, const uint8_t **p)
{
	pthread_mutex_lock(&s->mtx);
	size_t run = TX_CAPACITY - s->tx_head;
	if (run > s->tx_len)
		run = s->tx_len;
	*p = &s->tx[s->tx_head];
	s->tx_idle = run == 0;
	pthread_mutex_unlock(&s->mtx);
	return run;
}

void serial_tx_consume(struct serial *s, size_t n)
{
	struct serial_calls calls = { 0 };

	pthread_mutex_lock(&s->mtx);
	bool was_full = tx_is_full(s);
	if (n > s->tx_len)
		n = s->tx_len;
	s->tx_head = (s->tx_head + n) % TX_CAPACITY;
	s->tx_len -= n;
	if (was_full && !tx_is_full(s))
		thr_emptied(s, &calls);
	pthread_mutex_unlock(&s->mtx);
	serial_make_calls(s, &calls);
}

size_t serial_rx_push(struct serial *s, const uint8_t *p, size_t n)
{
	struct serial_calls calls = { 0 };
	size_t done = 0;

	pthread_mutex_lock(&s->mtx);
	while (done < n && rx_queue(s, p[done], SERIAL_RX_QUEUE))
		done++;
	s->rx_refused = done < n;
	calls.irq = done > 0 && (s->ier & UART_IER_RDI) != 0;
	pthread_mutex_unlock(&s->mtx);
	serial_make_calls(s, &calls);
	return done;
}

uint64_t serial_tx_overruns(struct serial *s)
{
	pthread_mutex_lock(&s->mtx);
	uint64_t n = s->tx_overruns;
	pthread_mutex_unlock(&s->mtx);
	return n;
}
