/* SPDX-License-Identifier: ISC */
/*
 * 16550 UART, registers only: bytes leave through a 64 KiB ring that the control thread empties,
 * and come in through a small queue that it fills. No vCPU waits here and no byte is dropped that
 * the guest was allowed to send: while the ring holds 64 KiB, LSR.THRE and LSR.TEMT read 0.
 */
#ifndef VMMD_LEGACY_SERIAL_H
#define VMMD_LEGACY_SERIAL_H

#include <stddef.h>
#include <stdint.h>

#include "vmmd/bus.h"

enum {
	SERIAL_TX_RING = 65536, /* bytes queued at which THRE and TEMT turn 0 */
	SERIAL_TX_SLACK = 4096, /* beyond it, for drivers that write on (serial.c) */
	SERIAL_RX_QUEUE = 1024, /* bytes from outside */
	SERIAL_LOOP_MAX = 64,   /* bytes looped back */
	SERIAL_PORTS = 8,
};

/* All called without a lock held, from the thread that caused it. Any may be NULL. */
struct serial_ops {
	/* A rising edge of the interrupt line. vCPU or control thread. */
	void (*raise_irq)(void *arg);
	/* Bytes wait and the last serial_tx_peek() had returned 0 (or there was none yet). vCPU
	 * threads. NULL: nothing listens, bytes vanish at once and the transmitter is always
	 * empty. */
	void (*tx_wake)(void *arg);
	/* The queue has room again after serial_rx_push() took less than it was offered. vCPU
	 * threads. */
	void (*rx_room)(void *arg);
	void *arg;
};

struct serial;

/* NULL when out of memory. @ops is copied. */
struct serial *serial_new(const struct serial_ops *ops);
void serial_free(struct serial *s);

/* SERIAL_PORTS byte-wide registers; dev is the struct serial. */
extern const struct bus_ops serial_bus_ops;

/* Control thread only. Points *@p at queued bytes and returns how many lie there in one run (more
 * may follow after consuming these); 0 when empty. They stay valid until serial_tx_consume(), which
 * may raise the interrupt. */
size_t serial_tx_peek(struct serial *s, const uint8_t **p);
void serial_tx_consume(struct serial *s, size_t n);

/* Control thread only. Queues as many bytes as fit and returns that number; when it is less than
 * @n, rx_room follows. */
size_t serial_rx_push(struct serial *s, const uint8_t *p, size_t n);

/* Bytes lost because the guest wrote on although THRE was 0. Any thread. */
uint64_t serial_tx_overruns(struct serial *s);

#endif
