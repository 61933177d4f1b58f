/* SPDX-License-Identifier: ISC */
#include "vmmd/serial_link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "common/ev.h"
#include "common/fd.h"
#include "common/log.h"
#include "vmmd/legacy/serial.h"

static void arm(struct event *ev, bool on)
{
	if (ev == NULL)
		return;
	if (on)
		(void)event_add(ev, NULL);
	else
		(void)event_del(ev);
}

static void set_broken(struct serial_link *l, const char *why)
{
	log_warn("serial: the stream to its console is gone (%s), output is thrown away", why);
	l->broken = true;
	arm(l->on_read, false);
	arm(l->on_write, false);
}

/* --- output --------------------------------------------------------------------------------------------------------- */

/* Bytes sent, or -EAGAIN. A broken stream takes everything. */
static ssize_t send_some(struct serial_link *l, const uint8_t *p, size_t n)
{
	if (!l->broken) {
		ssize_t r = fd_sendmsg(l->fd, p, n, NULL, 0);

		if (r >= 0 || r == -EAGAIN)
			return r;
		set_broken(l, strerrordesc_np((int)-r));
	}
	l->thrown_away += n;
	return (ssize_t)n;
}

/* True: all of it is out. */
static bool push_out(struct serial_link *l)
{
	const uint8_t *p;
	size_t n;

	while ((n = serial_tx_peek(l->serial, &p)) > 0) {
		ssize_t sent = send_some(l, p, n);

		if (sent < 0)
			return false;
		serial_tx_consume(l->serial, (size_t)sent);
	}
	return true;
}

/* --- input ---------------------------------------------------------------------------------------------------------- */

/* True: the port has taken all that was read. */
static bool push_in(struct serial_link *l)
{
	if (l->in_off < l->in_len)
		l->in_off += serial_rx_push(l->serial, l->input + l->in_off, l->in_len - l->in_off);
	return l->in_off == l->in_len;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct serial_link *l = arg;

	(void)what;
	if (l->serial == NULL || !push_in(l)) {
		arm(l->on_read, false);
		return;
	}
	unsigned nfds;
	ssize_t n = fd_recvmsg(fd, l->input, sizeof(l->input), NULL, 0, &nfds);

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		set_broken(l, n == 0 ? "end of file" : strerrordesc_np((int)-n));
		return;
	}
	l->in_off = 0;
	l->in_len = (size_t)n;
	if (!push_in(l))
		arm(l->on_read, false);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	serial_link_pump(arg);
}

/* --- life ----------------------------------------------------------------------------------------------------------- */

int serial_link_open(struct serial_link *l, struct event_base *base, int *fd)
{
	*l = (struct serial_link){ .fd = fd_take(fd) };
	if (l->fd < 0)
		return 0;
	l->on_read = event_new(base, l->fd, EV_READ | EV_PERSIST, on_readable, l);
	l->on_write = event_new(base, l->fd, EV_WRITE | EV_PERSIST, on_writable, l);
	if (l->on_read == NULL || l->on_write == NULL) {
		serial_link_close(l);
		return -ENOMEM;
	}
	return 0;
}

void serial_link_close(struct serial_link *l)
{
	if (l->thrown_away > 0)
		log_warn("serial: %llu bytes of output were thrown away", (unsigned long long)l->thrown_away);
	if (l->on_read != NULL)
		event_free(l->on_read);
	if (l->on_write != NULL)
		event_free(l->on_write);
	fd_closep(&l->fd);
	*l = (struct serial_link){ .fd = -1 };
}

void serial_link_attach(struct serial_link *l, struct serial *serial)
{
	l->serial = serial;
	if (l->fd < 0)
		return;
	arm(l->on_write, false);
	arm(l->on_read, false);
	if (serial != NULL)
		serial_link_pump(l);
}

void serial_link_pump(struct serial_link *l)
{
	if (l->serial == NULL || l->fd < 0)
		return;
	bool all_in = push_in(l);
	bool all_out = push_out(l);

	arm(l->on_read, all_in && !l->broken);
	arm(l->on_write, !all_out && !l->broken);
}

void serial_link_drain(struct serial_link *l, int timeout_ms)
{
	if (l->serial == NULL || l->fd < 0)
		return;
	while (!push_out(l)) {
		if (fd_wait(l->fd, POLLOUT, timeout_ms) > 0)
			continue;
		log_warn("serial: its console takes nothing, the last output is lost");
		return;
	}
}
