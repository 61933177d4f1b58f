/* SPDX-License-Identifier: ISC */
/*
 * Making records and handing them on. The socket is only touched in log_send.c, so that a role whose threads have a
 * sink instead (vCPU threads) needs no call of its own.
 */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/str.h"

enum { LOG_RL_PER_SECOND = 10 };

typedef void log_sink_fn(void *arg, const struct log_rec *rec);

/* [const] after start, when the process has its threads; lost is [atomic] */
static struct {
	int sock;
	enum log_level max_level;
	char name[LOG_NAME_MAX];
	log_sink_fn *sink;
	void *sink_arg;
	_Atomic uint64_t lost;
} log_state = { .sock = -1, .max_level = LOG_WARN };

static _Thread_local struct {
	char name[LOG_NAME_MAX];
	log_sink_fn *sink;
	void *sink_arg;
} log_thread;

void log_open(int sock, const char *name, enum log_level max_level)
{
	log_state.sock = sock;
	log_state.max_level = max_level;
	(void)str_fmt(log_state.name, sizeof(log_state.name), "%s", name);
	log_clean_text(log_state.name, strlen(log_state.name));
}

void log_set_thread_sink(void (*fn)(void *arg, const struct log_rec *rec), void *arg)
{
	log_thread.sink = fn;
	log_thread.sink_arg = arg;
}

void log_set_process_sink(void (*fn)(void *arg, const struct log_rec *rec), void *arg)
{
	log_state.sink = fn;
	log_state.sink_arg = arg;
}

void log_set_thread_name(const char *name)
{
	(void)str_fmt(log_thread.name, sizeof(log_thread.name), "%s", name);
	log_clean_text(log_thread.name, strlen(log_thread.name));
}

enum log_level log_level(void)
{
	return log_state.max_level;
}

void log_forward(const struct log_rec *rec)
{
	struct log_rec copy;

	if (log_state.sink != NULL) {
		log_state.sink(log_state.sink_arg, rec);
		return;
	}
	if (log_state.sock < 0)
		return;
	copy = *rec;
	uint64_t lost = atomic_exchange_explicit(&log_state.lost, 0, memory_order_relaxed);
	copy.dropped += lost;
	if (log_rec_send(log_state.sock, &copy) < 0)
		atomic_fetch_add_explicit(&log_state.lost, lost + 1, memory_order_relaxed);
}

static void rec_init(struct log_rec *rec, enum log_level level, const char *file, int line)
{
	rec->level = (uint8_t)level;
	rec->mono_ns = clock_mono_ns();
	rec->dropped = 0;
	(void)str_fmt(rec->thread, sizeof(rec->thread), "%s",
		      log_thread.name[0] != '\0' ? log_thread.name : log_state.name);
	(void)str_fmt(rec->loc, sizeof(rec->loc), "%s:%d", file, line);
}

void log_emit(enum log_level level, const char *file, int line, const char *fmt, ...)
{
	int saved_errno = errno;
	struct log_rec rec;
	va_list ap;

	if (level > log_state.max_level)
		return; /* for callers that come without log_at() */
	rec_init(&rec, level, file, line);
	va_start(ap, fmt);
	int n = vsnprintf(rec.msg, sizeof(rec.msg), fmt, ap);
	va_end(ap);
	if (n < 0)
		rec.msg[0] = '\0';
	if (n >= (int)sizeof(rec.msg))
		rec.msg[str_utf8_cut(rec.msg, sizeof(rec.msg) - 1)] = '\0';
	log_clean_text(rec.msg, strlen(rec.msg));
	if (log_thread.sink != NULL)
		log_thread.sink(log_thread.sink_arg, &rec);
	else
		log_forward(&rec);
	errno = saved_errno;
}

bool log_rl_pass_at(struct log_rl *rl, uint64_t now_s, uint32_t *suppressed)
{
	uint64_t window = atomic_load_explicit(&rl->window_s, memory_order_relaxed);

	*suppressed = 0;
	/* Threads that race for a new window lose a little exactness, never the limit by more than their number. */
	if (window != now_s + 1 && atomic_compare_exchange_strong(&rl->window_s, &window, now_s + 1))
		atomic_store_explicit(&rl->in_window, 0, memory_order_relaxed);
	if (atomic_fetch_add_explicit(&rl->in_window, 1, memory_order_relaxed) >= LOG_RL_PER_SECOND) {
		atomic_fetch_add_explicit(&rl->suppressed, 1, memory_order_relaxed);
		return false;
	}
	*suppressed = atomic_exchange_explicit(&rl->suppressed, 0, memory_order_relaxed);
	return true;
}

bool log_rl_pass(struct log_rl *rl, uint32_t *suppressed)
{
	return log_rl_pass_at(rl, clock_mono_ns() / UINT64_C(1000000000), suppressed);
}
