/* SPDX-License-Identifier: ISC */
#include "devices/console/console_host.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/log.h"

enum { CHUNKS_PER_WAKE = 16 }; /* then the loop gets its turn */

static void client_gone(struct console_host *h);

/* --- output -------------------------------------------------------------------------------------------------------- */

static void wait_for_target(struct console_host *h)
{
	if (!h->out_waits && h->ev_out != NULL)
		h->out_waits = event_add(h->ev_out, NULL) == 0;
}

/* The target refused for another reason than being slow. */
static void target_failed(struct console_host *h, int error, size_t n)
{
	if (h->target.kind == CON_TARGET_LISTEN) {
		client_gone(h); /* the bytes stay for the next one */
		return;
	}
	console_ring_drop(&h->ring, n);
	if (h->target.kind == CON_TARGET_STREAM && (error == EPIPE || error == ECONNRESET || error == EIO)) {
		if (!h->target_gone)
			log_warn("console output has no reader any more");
		h->target_gone = true;
		return;
	}
	log_at_rl(LOG_WARN, "console output lost: %s", strerror(error)); /* a full disk: later bytes may fit again */
}

/* Ring to target, one chunk. False when there is no more to do now. */
static bool push_chunk(struct console_host *h)
{
	const uint8_t *p;
	size_t n = console_ring_peek(&h->ring, &p);

	if (n == 0)
		return false;
	if (h->target_gone) {
		console_ring_drop(&h->ring, n);
		return true;
	}
	console_ring_take(&h->ring, n);
	ssize_t w = console_target_write(&h->target, p, n);
	if (w == (ssize_t)n)
		return true;
	console_ring_put_back(&h->ring, w < 0 ? n : n - (size_t)w);
	if (w >= 0 || w == -EAGAIN)
		wait_for_target(h);
	else
		target_failed(h, (int)-w, n);
	return w < 0 && w != -EAGAIN && h->target.kind != CON_TARGET_LISTEN;
}

void console_host_push(struct console_host *h, bool again)
{
	if (again)
		h->out_waits = false;
	if (h->out_waits || (h->target.kind == CON_TARGET_LISTEN && h->target.out < 0))
		return;
	for (int i = 0; push_chunk(h); i++) {
		if (i >= CHUNKS_PER_WAKE && h->ev_out != NULL && !h->target_gone) {
			wait_for_target(h);
			break;
		}
	}
}

void console_host_put(struct console_host *h, const void *p, size_t n)
{
	(void)console_ring_put(&h->ring, p, n);
	console_host_push(h, false);
}

static void on_target_writable(evutil_socket_t fd, short what, void *arg)
{
	struct console_host *h = arg;

	(void)fd;
	(void)what;
	console_host_push(h, true); /* not persistent: armed again while output waits */
	if (h->ops->on_output != NULL)
		h->ops->on_output(h->arg);
}

bool console_host_is_settled(const struct console_host *h, bool *complete)
{
	*complete = console_ring_used(&h->ring) == 0;
	return *complete || (h->target.kind == CON_TARGET_LISTEN && h->target.out < 0);
}

/* --- input --------------------------------------------------------------------------------------------------------- */

/* The Enter key of a line-buffered peer is a lone LF; a guest's terminal expects CR. */
static void convert_input(uint8_t *p, size_t n)
{
	if (n == 1 && p[0] == '\n')
		p[0] = '\r';
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	struct console_host *h = arg;
	ssize_t n = console_target_read(&h->target, h->input, sizeof(h->input));

	(void)fd;
	(void)what;
	if (n == -EAGAIN)
		return;
	/* It waits for the guest; or there is no more, and output may go on (a client that only closed its sending
	 * side). */
	(void)event_del(h->ev_in);
	if (n <= 0)
		return;
	convert_input(h->input, (size_t)n);
	h->input_at = 0;
	h->input_len = (size_t)n;
	h->ops->on_input(h->arg);
}

size_t console_host_input(const struct console_host *h, const uint8_t **p)
{
	*p = h->input + h->input_at;
	return h->input_len - h->input_at;
}

void console_host_input_taken(struct console_host *h, size_t n)
{
	h->input_at += n;
	if (h->input_at < h->input_len)
		return;
	h->input_at = 0;
	h->input_len = 0;
	if (h->ev_in != NULL && !h->no_guest)
		(void)event_add(h->ev_in, NULL);
}

void console_host_end_input(struct console_host *h)
{
	h->no_guest = true;
	if (h->ev_in != NULL)
		(void)event_del(h->ev_in);
}

/* --- clients of a listening socket ------------------------------------------------------------------------------------ */

static void free_event(struct event **ev)
{
	if (*ev != NULL)
		event_free(*ev);
	*ev = NULL;
}

static void client_gone(struct console_host *h)
{
	free_event(&h->ev_out);
	free_event(&h->ev_in);
	h->out_waits = false;
	console_target_hang_up(&h->target);
}

/* Events for the target's present descriptors. */
static int watch_target(struct console_host *h)
{
	if (h->target.out >= 0) {
		h->ev_out = event_new(h->base, h->target.out, EV_WRITE, on_target_writable, h);
		if (h->ev_out == NULL)
			return -ENOMEM;
	}
	if (h->target.in >= 0) {
		h->ev_in = event_new(h->base, h->target.in, EV_READ | EV_PERSIST, on_input, h);
		if (h->ev_in == NULL)
			return -ENOMEM;
		if (h->input_len == 0 && !h->no_guest && event_add(h->ev_in, NULL) < 0)
			return -ENOMEM;
	}
	return 0;
}

static void on_listen(evutil_socket_t fd, short what, void *arg)
{
	struct console_host *h = arg;

	(void)fd;
	(void)what;
	client_gone(h);
	int r = console_target_accept(&h->target);
	if (r == 0 && watch_target(h) < 0)
		client_gone(h);
	if (r < 0 && r != -EAGAIN) {
		log_warn("console accepts no more clients: %s", strerror(-r));
		(void)event_del(h->ev_listen);
	}
	console_host_push(h, false);
}

/* --- life ---------------------------------------------------------------------------------------------------------- */

/* #syscalls monitor: newfstatat mmap madvise(DONTDUMP) */
int console_host_map_ring(struct console_host *h, int fd, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size < 0)
		return err_set(e, -EINVAL, "ring");
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return err_sys(e, -errno, "mapping the ring");
	(void)madvise(p, (size_t)st.st_size, MADV_DONTDUMP);
	int r = console_ring_attach(&h->ring, p, (size_t)st.st_size);
	if (r < 0)
		return err_set(e, r, "ring of %lld bytes", (long long)st.st_size);
	if (r == 0)
		log_debug("console ring starts empty");
	return 0;
}

int console_host_start(struct console_host *h, struct event_base *base, const struct console_guest_ops *ops, void *arg,
		       struct err *e)
{
	h->base = base;
	h->ops = ops;
	h->arg = arg;
	if (h->target.kind == CON_TARGET_LISTEN) {
		h->ev_listen = event_new(base, h->target.at.listen, EV_READ | EV_PERSIST, on_listen, h);
		if (h->ev_listen == NULL || event_add(h->ev_listen, NULL) < 0)
			return err_set(e, -ENOMEM, "events");
	}
	if (watch_target(h) < 0)
		return err_set(e, -ENOMEM, "events");
	console_host_push(h, false); /* what a predecessor left */
	return 0;
}
