/* SPDX-License-Identifier: ISC */
/*
 * The output is the monitor's: stderr as the client gave it, or a file. Its description may be shared and blocking, so
 * a line is only written when poll() says that it would be taken; a line is shorter than PIPE_BUF and goes whole.
 */
#include "apid/logsink.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/fd.h"

enum {
	RECORDS_PER_WAKE = 64,
	BUFFER_MAX = 64 * 1024,
	RETRY_MS = 20,
};
_Static_assert(LOGSINK_LINE_MAX <= PIPE_BUF, "poll() promises room for that much");

struct logsink {
	int sock, out;
	uint64_t start_mono_ns;
	enum log_level max;
	bool started;
	struct event *ev_read, *ev_retry;
	struct wbuf waiting; /* whole lines */
	size_t off;          /* of the first that is not written */
	uint64_t dropped;    /* lines lost since the last that passed, here or before */
};

size_t logsink_render(const struct log_rec *rec, uint64_t start_mono_ns, char *buf, size_t cap)
{
	static const char *const names[] = { "ERROR", "WARN", "INFO", "DEBUG", "TRACE" };
	uint64_t ns = rec->mono_ns > start_mono_ns ? rec->mono_ns - start_mono_ns : 0;
	uint64_t us = ns / 1000;
	int n = snprintf(buf, cap, "cloud-hypervisor: %3" PRIu64 ".%06" PRIu64 "s: <%s> %s:%s -- %s\r\n", us / 1000000,
			 us % 1000000, rec->thread[0] != '\0' ? rec->thread : "anonymous",
			 names[rec->level < nitems(names) ? rec->level : LOG_TRACE], rec->loc, rec->msg);

	if (n < 0)
		return 0;
	return (size_t)n < cap ? (size_t)n : cap - 1;
}

/* Room for one more line at the end of what waits? */
static bool fits(struct logsink *l, size_t len)
{
	if (l->off > 0) {
		memmove(l->waiting.p, l->waiting.p + l->off, l->waiting.len - l->off);
		l->waiting.len -= l->off;
		l->off = 0;
	}
	return l->waiting.len + len <= BUFFER_MAX;
}

static void add_line(struct logsink *l, const struct log_rec *rec)
{
	char line[LOGSINK_LINE_MAX];
	size_t len = logsink_render(rec, l->start_mono_ns, line, sizeof(line));

	if (!fits(l, len) || wbuf_put(&l->waiting, line, len) < 0)
		l->dropped++;
}

static void tell_dropped(struct logsink *l, const struct log_rec *like)
{
	struct log_rec rec = { .level = LOG_WARN, .mono_ns = like->mono_ns };

	if (l->dropped == 0 || !fits(l, (size_t)2 * LOGSINK_LINE_MAX))
		return;
	(void)snprintf(rec.thread, sizeof(rec.thread), "apid");
	(void)snprintf(rec.loc, sizeof(rec.loc), "%s:%d", __FILE__, __LINE__);
	(void)snprintf(rec.msg, sizeof(rec.msg), "%" PRIu64 " log records were lost", l->dropped);
	l->dropped = 0;
	add_line(l, &rec);
}

static void put(struct logsink *l, const struct log_rec *rec)
{
	l->dropped += rec->dropped < UINT32_MAX ? rec->dropped : UINT32_MAX;
	tell_dropped(l, rec);
	if (rec->level <= (uint8_t)l->max)
		add_line(l, rec);
}

/* Length of the first line that waits. */
static size_t first_line(const struct logsink *l)
{
	const uint8_t *p = l->waiting.p + l->off;
	const uint8_t *end = memchr(p, '\n', l->waiting.len - l->off);

	return end != NULL ? (size_t)(end - p) + 1 : l->waiting.len - l->off;
}

/* #syscalls write poll */
static void write_out(struct logsink *l)
{
	static const struct timeval retry = { .tv_usec = RETRY_MS * 1000 };

	while (l->off < l->waiting.len) {
		struct pollfd p = { .fd = l->out, .events = POLLOUT };
		size_t len = first_line(l);
		ssize_t n = -1;

		if (poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0)
			n = write(l->out, l->waiting.p + l->off, len);
		else if ((p.revents & (POLLERR | POLLHUP | POLLNVAL)) == 0)
			errno = EAGAIN; /* as if it had been non-blocking */
		else
			errno = EPIPE;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			(void)event_add(l->ev_retry, &retry);
			return;
		}
		if (n < 0) { /* gone or full: this line is lost, the next may not be */
			l->dropped++;
			n = (ssize_t)len;
		}
		l->off += (size_t)n;
	}
	wbuf_reset(&l->waiting);
	l->off = 0;
}

/* All writers are gone? */
static bool at_end(const struct logsink *l)
{
	struct pollfd p = { .fd = l->sock, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP) != 0;
}

/* False: nothing more to read now. */
static bool read_record(struct logsink *l)
{
	uint8_t buf[LOG_REC_MAX + 1];
	struct log_rec rec;
	unsigned nfds;
	ssize_t n = fd_recvmsg(l->sock, buf, sizeof(buf), NULL, 0, &nfds);

	if (n == -EBADMSG) { /* too long, or with descriptors */
		l->dropped++;
		return true;
	}
	if (n == 0 && !at_end(l)) { /* an empty record; nobody shall end the log with one */
		l->dropped++;
		return true;
	}
	if (n <= 0) {
		if (n != -EAGAIN)
			(void)event_del(l->ev_read);
		return false;
	}
	if (log_rec_decode(&rec, buf, (size_t)n) < 0)
		l->dropped++;
	else
		put(l, &rec);
	return true;
}

static void drain(struct logsink *l, unsigned budget)
{
	for (unsigned i = 0; i < budget && read_record(l); i++) {
	}
	write_out(l);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	drain(arg, RECORDS_PER_WAKE);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	write_out(arg);
}

void logsink_put(void *logsink, const struct log_rec *rec)
{
	struct logsink *l = logsink;

	put(l, rec);
	if (l->started)
		write_out(l);
}

void logsink_start(struct logsink *l)
{
	l->started = true;
	(void)event_add(l->ev_read, NULL);
	write_out(l);
}

bool logsink_flush(struct logsink *l)
{
	if (!l->started)
		return true;
	drain(l, 64 * RECORDS_PER_WAKE);
	return l->off == l->waiting.len;
}

struct logsink *logsink_new(struct event_base *base, int sock, int out, uint64_t start_mono_ns, enum log_level max)
{
	struct logsink *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	*l = (struct logsink){ .sock = sock, .out = out, .start_mono_ns = start_mono_ns, .max = max };
	wbuf_init(&l->waiting, BUFFER_MAX);
	l->ev_read = event_new(base, sock, EV_READ | EV_PERSIST, on_readable, l);
	l->ev_retry = evtimer_new(base, on_retry, l);
	if (l->ev_read != NULL && l->ev_retry != NULL)
		return l;
	logsink_free(l);
	return NULL;
}

void logsink_free(struct logsink *l)
{
	if (l == NULL)
		return;
	if (l->ev_read != NULL)
		event_free(l->ev_read);
	if (l->ev_retry != NULL)
		event_free(l->ev_retry);
	wbuf_fini(&l->waiting);
	fd_closep(&l->sock);
	fd_closep(&l->out);
	free(l);
}
