/* SPDX-License-Identifier: ISC */
/*
 * Between a serial port's registers and the stream socket to its cloister-console: the control thread's side of both.
 *
 * Out: vCPUs fill the port's ring and wake the control thread, which sends with MSG_DONTWAIT; EV_WRITE is armed only
 * while the socket is full. In: read only while the port has taken everything before, so a guest that doesn't read
 * slows down whoever types and nothing is dropped here.
 *
 * The socket outlives machines (a reset keeps it) and the console process (the monitor keeps its other end for a
 * successor). Should it break all the same, output is thrown away and counted: a guest must not hang for a console.
 */
#ifndef VMMD_SERIAL_LINK_H
#define VMMD_SERIAL_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

struct event;
struct event_base;
struct serial;

enum { SERIAL_LINK_INPUT = 4096 };

struct serial_link {
	int fd; /* stream socket, owned; -1: none */
	bool broken;
	uint64_t thrown_away;  /* bytes of output without a socket */
	struct serial *serial; /* NULL: no machine */
	struct event *on_read, *on_write;
	size_t in_off, in_len; /* of input: what the port has not taken yet */
	uint8_t input[SERIAL_LINK_INPUT];
};

/* Takes *@fd (-1: no console, output needs no link). */
int serial_link_open(struct serial_link *l, struct event_base *base, int *fd) __must_check;
void serial_link_close(struct serial_link *l); /* accepts a zeroed one with fd -1 */

/* A machine's port comes or goes (NULL). */
void serial_link_attach(struct serial_link *l, struct serial *serial);
/* Move what can be moved, both ways, now. After each wake-up by a vCPU. */
void serial_link_pump(struct serial_link *l);
/* The machine has stopped: get the rest of its output out. Gives up when the other side has taken nothing for
 * @timeout_ms. */
void serial_link_drain(struct serial_link *l, int timeout_ms);

#endif
