/* SPDX-License-Identifier: ISC */
#include "apid/logsink.h"

#include <fcntl.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fd.h"

#define SECOND UINT64_C(1000000000)

struct fixture {
	struct event_base *base;
	struct logsink *log;
	int sock; /* what a jailed process holds */
	int out;  /* what the reader of stderr holds */
};

static void open_log(struct fixture *f, enum log_level max)
{
	int pair[2], out[2];

	f->base = ev_new(EV_BACKEND_EPOLL);
	assert_non_null(f->base);
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, pair), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(fd_set_nonblock(out[0], true), 0);
	f->sock = pair[1];
	f->out = out[0];
	f->log = logsink_new(f->base, pair[0], out[1], 10 * SECOND, max);
	assert_non_null(f->log);
}

static void close_log(struct fixture *f)
{
	logsink_free(f->log);
	fd_closep(&f->sock);
	fd_closep(&f->out);
	ev_free(f->base);
}

static struct log_rec record(const char *msg)
{
	struct log_rec rec = { .level = LOG_INFO, .mono_ns = 11 * SECOND, .thread = "vmm", .loc = "a.c:1" };

	(void)snprintf(rec.msg, sizeof(rec.msg), "%s", msg);
	return rec;
}

static void assert_output(struct fixture *f, const char *want)
{
	char got[4096];
	ssize_t n = read(f->out, got, sizeof(got) - 1);

	got[n > 0 ? n : 0] = '\0';
	assert_string_equal(got, want);
}

static void line_has_the_documented_template(void **state)
{
	struct log_rec rec = record("hello");
	char line[LOGSINK_LINE_MAX];

	(void)state;
	rec.mono_ns = 10 * SECOND + 12345678;
	size_t n = logsink_render(&rec, 10 * SECOND, line, sizeof(line));
	assert_string_equal(line, "cloud-hypervisor:   0.012345s: <vmm> INFO:a.c:1 -- hello\r\n");
	assert_int_equal(n, strlen(line));
	rec.mono_ns = 1234567 * SECOND + 1;
	rec.level = LOG_ERROR;
	rec.thread[0] = '\0';
	(void)logsink_render(&rec, 0, line, sizeof(line));
	assert_string_equal(line, "cloud-hypervisor: 1234567.000000s: <anonymous> ERROR:a.c:1 -- hello\r\n");
}

static void largest_record_fits_its_line(void **state)
{
	struct log_rec rec = { .level = LOG_DEBUG, .mono_ns = UINT64_MAX };
	char line[LOGSINK_LINE_MAX];

	(void)state;
	memset(rec.thread, 't', sizeof(rec.thread) - 1);
	memset(rec.loc, 'l', sizeof(rec.loc) - 1);
	memset(rec.msg, 'm', sizeof(rec.msg) - 1);
	size_t n = logsink_render(&rec, 0, line, sizeof(line));
	assert_true(n < sizeof(line) - 1);
	assert_string_equal(line + n - 2, "\r\n");
}

static void nothing_is_written_before_the_start(void **state)
{
	struct fixture f;
	struct log_rec rec = record("kept");

	(void)state;
	open_log(&f, LOG_INFO);
	logsink_put(f.log, &rec);
	assert_int_equal(log_rec_send(f.sock, &rec), 0);
	assert_true(logsink_flush(f.log));
	assert_output(&f, "");
	logsink_start(f.log);
	assert_true(logsink_flush(f.log));
	assert_output(&f, "cloud-hypervisor:   1.000000s: <vmm> INFO:a.c:1 -- kept\r\n"
			  "cloud-hypervisor:   1.000000s: <vmm> INFO:a.c:1 -- kept\r\n");
	close_log(&f);
}

static void records_come_out_by_the_loop(void **state)
{
	struct fixture f;
	struct log_rec rec = record("one"), more = record("two");

	(void)state;
	open_log(&f, LOG_INFO);
	logsink_start(f.log);
	more.level = LOG_DEBUG; /* above the level: dropped */
	assert_int_equal(log_rec_send(f.sock, &rec), 0);
	assert_int_equal(log_rec_send(f.sock, &more), 0);
	(void)event_base_loop(f.base, EVLOOP_NONBLOCK);
	assert_output(&f, "cloud-hypervisor:   1.000000s: <vmm> INFO:a.c:1 -- one\r\n");
	close_log(&f);
}

static void junk_and_empty_records_are_counted_and_end_nothing(void **state)
{
	struct fixture f;
	struct log_rec rec = record("after");
	char got[1024];
	static const char huge[LOG_REC_MAX + 100];

	(void)state;
	open_log(&f, LOG_INFO);
	logsink_start(f.log);
	assert_int_equal(send(f.sock, "junk", 4, 0), 4);
	assert_int_equal(send(f.sock, "", 0, 0), 0);
	assert_int_equal(send(f.sock, huge, sizeof(huge), 0), sizeof(huge));
	assert_int_equal(fd_sendmsg(f.sock, "x", 1, &f.sock, 1), 1);
	assert_int_equal(log_rec_send(f.sock, &rec), 0);
	(void)event_base_loop(f.base, EVLOOP_NONBLOCK);
	ssize_t n = read(f.out, got, sizeof(got) - 1);
	assert_true(n > 0);
	got[n] = '\0';
	assert_non_null(strstr(got, "4 log records were lost"));
	assert_non_null(strstr(got, "after"));
	close_log(&f);
}

static void output_that_nobody_reads_costs_lines_and_no_time(void **state)
{
	struct fixture f;
	struct log_rec rec = record("filler");
	char got[65536];
	size_t total = 0;
	ssize_t n;

	(void)state;
	open_log(&f, LOG_INFO);
	logsink_start(f.log);
	for (int i = 0; i < 10000; i++) /* 600 KiB into a pipe of 64 KiB and a buffer of 64 KiB */
		logsink_put(f.log, &rec);
	assert_false(logsink_flush(f.log));
	while ((n = read(f.out, got, sizeof(got))) > 0)
		total += (size_t)n;
	assert_true(total > 32768);
	while (!logsink_flush(f.log)) {
		while (read(f.out, got, sizeof(got)) > 0) {
		}
	}
	while (read(f.out, got, sizeof(got)) > 0) {
	}
	logsink_put(f.log, &rec);
	n = read(f.out, got, sizeof(got) - 1);
	assert_true(n > 0);
	got[n] = '\0';
	assert_non_null(strstr(got, "log records were lost"));
	close_log(&f);
}

static void reader_that_is_gone_is_survived(void **state)
{
	struct fixture f;
	struct log_rec rec = record("nobody");

	(void)state;
	open_log(&f, LOG_INFO);
	logsink_start(f.log);
	fd_closep(&f.out);
	logsink_put(f.log, &rec);
	assert_true(logsink_flush(f.log));
	close_log(&f);
}

static void end_of_all_writers_stops_the_reading(void **state)
{
	struct fixture f;

	(void)state;
	open_log(&f, LOG_INFO);
	logsink_start(f.log);
	fd_closep(&f.sock);
	(void)event_base_loop(f.base, EVLOOP_NONBLOCK);
	assert_int_equal(event_base_get_num_events(f.base, EVENT_BASE_COUNT_ADDED), 0);
	close_log(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(line_has_the_documented_template),
		cmocka_unit_test(largest_record_fits_its_line),
		cmocka_unit_test(nothing_is_written_before_the_start),
		cmocka_unit_test(records_come_out_by_the_loop),
		cmocka_unit_test(junk_and_empty_records_are_counted_and_end_nothing),
		cmocka_unit_test(output_that_nobody_reads_costs_lines_and_no_time),
		cmocka_unit_test(reader_that_is_gone_is_survived),
		cmocka_unit_test(end_of_all_writers_stops_the_reading),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
