/* SPDX-License-Identifier: ISC */
/*
 * Logging. A jailed process sends each record up one socket that the monitor keeps and apid reads; the reader
 * re-checks level, length and control characters. Sending never blocks: a full socket drops the record and counts it
 * (the next record that passes carries the count). No guest data in messages.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

enum {
	LOG_MSG_MAX = 1024,
	LOG_LOC_MAX = 64,
	LOG_NAME_MAX = 32,
	LOG_REC_MAX = 1200,
};

/* One record as it is kept in memory; log_rec_encode/decode give its wire form (at most LOG_REC_MAX bytes). The texts
 * are terminated, valid UTF-8 and without control characters. */
struct log_rec {
	uint8_t level;
	uint64_t mono_ns;          /* CLOCK_MONOTONIC at the call */
	uint64_t dropped;          /* records lost before this one */
	char thread[LOG_NAME_MAX]; /* "vmm", "vcpu0", "_disk0", "monitor", "apid", ... */
	char loc[LOG_LOC_MAX];     /* file:line */
	char msg[LOG_MSG_MAX];
};

/* Send records to @sock (SOCK_SEQPACKET or SOCK_DGRAM, not owned), -1 = drop all. @name is this process's default
 * thread name. Records above @max_level are not made. */
void log_open(int sock, const char *name, enum log_level max_level);
/* Called instead of sending, from this thread only: vCPU threads hand records to the control thread. */
void log_set_thread_sink(void (*fn)(void *arg, const struct log_rec *rec), void *arg);
/* Called instead of sending, for the whole process: apid writes its own records directly. */
void log_set_process_sink(void (*fn)(void *arg, const struct log_rec *rec), void *arg);
void log_set_thread_name(const char *name);
/* Send a record made elsewhere (the control thread for its vCPU threads). */
void log_forward(const struct log_rec *rec);
enum log_level log_level(void);

/* Returns the bytes written, 0 when @cap is too small (LOG_REC_MAX always suffices). */
size_t log_rec_encode(const struct log_rec *rec, uint8_t *out, size_t cap);
/* Refuses (-EBADMSG) wrong sizes and levels; replaces control characters in the texts. */
int log_rec_decode(struct log_rec *rec, const void *p, size_t len);
/* Send one record, never blocking: 0 or -errno. log.c counts what was lost. */
int log_rec_send(int sock, const struct log_rec *rec);
/* Replace what a terminal or a log reader could act on (control characters, invalid UTF-8) by '?', in place. */
void log_clean_text(char *s, size_t len);

void log_emit(enum log_level level, const char *file, int line, const char *fmt, ...) __printf(4, 5);

/* At most 10 records a second from one place; the rest is counted and told with the next one that passes. */
struct log_rl {
	_Atomic uint64_t window_s;
	_Atomic uint32_t in_window, suppressed;
};
bool log_rl_pass(struct log_rl *rl, uint32_t *suppressed);
/* The same with the clock given, in whole seconds. */
bool log_rl_pass_at(struct log_rl *rl, uint64_t now_s, uint32_t *suppressed);

#define log_at(level, ...) \
	do { \
		if ((level) <= log_level()) \
			log_emit((level), __FILE__, __LINE__, __VA_ARGS__); \
	} while (0)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_trace(...) log_at(LOG_TRACE, __VA_ARGS__)
#define log_at_rl(level, ...) \
	do { \
		static struct log_rl rl_; \
		uint32_t lost_ = 0; \
		if ((level) <= log_level() && log_rl_pass(&rl_, &lost_)) { \
			if (lost_ > 0) \
				log_at((level), "%u similar messages left out", lost_); \
			log_at((level), __VA_ARGS__); \
		} \
	} while (0)
#define log_warn_rl(...) log_at_rl(LOG_WARN, __VA_ARGS__)
#define log_info_rl(...) log_at_rl(LOG_INFO, __VA_ARGS__)
#define log_debug_rl(...) log_at_rl(LOG_DEBUG, __VA_ARGS__)

#endif
