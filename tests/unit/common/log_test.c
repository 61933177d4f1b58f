/* SPDX-License-Identifier: ISC */
#include "common/log.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/str.h"

static struct log_rec sample(void)
{
	return (struct log_rec){ .level = LOG_INFO,
				 .mono_ns = UINT64_C(0x0102030405060708),
				 .dropped = 3,
				 .thread = "vcpu0",
				 .loc = "vmmd/vcpu.c:12",
				 .msg = "guest said \xe2\x82\xac" };
}

static size_t sample_wire(uint8_t wire[LOG_REC_MAX])
{
	struct log_rec rec = sample();

	return log_rec_encode(&rec, wire, LOG_REC_MAX);
}

/* Receive one record from @sock; -EAGAIN when there is none. */
static int next_rec(int sock, struct log_rec *rec)
{
	uint8_t wire[LOG_REC_MAX + 1];
	ssize_t n = recv(sock, wire, sizeof(wire), MSG_DONTWAIT);

	return n < 0 ? -errno : log_rec_decode(rec, wire, (size_t)n);
}

static void decode_gives_back_what_was_encoded(void **state)
{
	uint8_t wire[LOG_REC_MAX];
	struct log_rec want = sample(), got;
	size_t n = log_rec_encode(&want, wire, sizeof(wire));

	(void)state;
	assert_true(n > 0);
	assert_int_equal(log_rec_decode(&got, wire, n), 0);
	assert_int_equal(got.level, want.level);
	assert_true(got.mono_ns == want.mono_ns && got.dropped == want.dropped);
	assert_string_equal(got.thread, want.thread);
	assert_string_equal(got.loc, want.loc);
	assert_string_equal(got.msg, want.msg);
}

static void encode_of_the_longest_record_fits(void **state)
{
	uint8_t wire[LOG_REC_MAX];
	struct log_rec rec, got;

	(void)state;
	memset(&rec, 'x', sizeof(rec)); /* not even terminated */
	rec.level = LOG_TRACE;
	size_t n = log_rec_encode(&rec, wire, sizeof(wire));
	assert_true(n > 0 && n <= LOG_REC_MAX);
	assert_int_equal(log_rec_encode(&rec, wire, n - 1), 0);
	assert_int_equal(log_rec_decode(&got, wire, n), 0);
	assert_int_equal(strlen(got.msg), LOG_MSG_MAX - 1);
	assert_int_equal(strlen(got.loc), LOG_LOC_MAX - 1);
	assert_int_equal(strlen(got.thread), LOG_NAME_MAX - 1);
}

static void decode_refuses_every_other_length(void **state)
{
	uint8_t wire[LOG_REC_MAX + 1] = { 0 };
	struct log_rec rec;
	size_t n = sample_wire(wire);

	(void)state;
	for (size_t len = 0; len <= LOG_REC_MAX + 1; len++)
		assert_int_equal(log_rec_decode(&rec, wire, len), len == n ? 0 : -EBADMSG);
}

static void decode_refuses_hostile_headers(void **state)
{
	static const struct {
		unsigned at;
		uint8_t value;
	} bad[] = {
		{ 0, 0 },
		{ 0, 2 },
		{ 1, LOG_TRACE + 1 },
		{ 1, 255 },
		{ 2, LOG_NAME_MAX },
		{ 2, 255 },
		{ 3, LOG_LOC_MAX },
		{ 3, 255 },
		{ 4, 0 },
		{ 5, 4 },
		{ 5, 255 },
		{ 6, 1 },
		{ 7, 1 },
	};
	uint8_t wire[LOG_REC_MAX];
	struct log_rec rec;

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++) {
		size_t n = sample_wire(wire);

		wire[bad[i].at] = bad[i].value;
		assert_int_equal(log_rec_decode(&rec, wire, n), -EBADMSG);
	}
}

static void decode_replaces_control_characters(void **state)
{
	uint8_t wire[LOG_REC_MAX];
	struct log_rec rec = sample(), got;

	(void)state;
	strcpy(rec.thread, "a\rb");
	strcpy(rec.msg, "1\n2\x1b[31m3\x7f\xc2\x9b"
			"4\xc2\xa0");
	size_t n = log_rec_encode(&rec, wire, sizeof(wire));
	wire[24 + 3] = 0; /* a NUL in the location */
	assert_int_equal(log_rec_decode(&got, wire, n), 0);
	assert_string_equal(got.thread, "a?b");
	assert_string_equal(got.msg, "1?2?[31m3???4\xc2\xa0");
	assert_string_equal(got.loc, "?mmd/vcpu.c:12");
}

static void decode_replaces_all_of_what_is_no_utf8(void **state)
{
	uint8_t wire[LOG_REC_MAX];
	struct log_rec rec = sample(), got;

	(void)state;
	strcpy(rec.msg, "a\xff\xe2\x82\xac");
	assert_int_equal(log_rec_decode(&got, wire, log_rec_encode(&rec, wire, sizeof(wire))), 0);
	assert_string_equal(got.msg, "a????");
}

static void emit_sends_one_whole_record(void **state)
{
	int s[2];
	struct log_rec rec;
	uint64_t before = clock_mono_ns();

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	log_open(s[0], "vmm", LOG_INFO);
	log_warn("disk %d", 5);
	int line = __LINE__ - 1;
	assert_int_equal(next_rec(s[1], &rec), 0);
	assert_int_equal(rec.level, LOG_WARN);
	assert_string_equal(rec.thread, "vmm");
	assert_string_equal(rec.msg, "disk 5");
	char loc[LOG_LOC_MAX];
	assert_true(str_fmt(loc, sizeof(loc), "%s:%d", __FILE__, line));
	assert_string_equal(rec.loc, loc);
	assert_true(rec.mono_ns >= before && rec.mono_ns <= clock_mono_ns());
	assert_int_equal(rec.dropped, 0);
	log_open(-1, "", LOG_WARN);
	fd_close_all(s, 2);
}

static void levels_above_the_maximum_are_not_made(void **state)
{
	int s[2], calls = 0;
	struct log_rec rec;

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	log_open(s[0], "vmm", LOG_INFO);
	log_debug("%d", ++calls);
	log_emit(LOG_TRACE, "f", 1, "%d", 1);
	assert_int_equal(calls, 0); /* not even the arguments are looked at */
	assert_int_equal(next_rec(s[1], &rec), -EAGAIN);
	log_info("x");
	assert_int_equal(next_rec(s[1], &rec), 0);
	log_open(-1, "", LOG_WARN);
	fd_close_all(s, 2);
}

static void full_socket_drops_and_counts(void **state)
{
	int s[2];
	struct log_rec rec;
	uint64_t arrived = 0, told = 0;

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	log_open(s[0], "vmm", LOG_INFO);
	errno = ENXIO;
	for (int i = 0; i < 5000; i++)
		log_info("message %d", i);
	assert_int_equal(errno, ENXIO); /* logging in an error path keeps errno */
	while (next_rec(s[1], &rec) == 0)
		arrived++;
	assert_true(arrived > 0 && arrived < 5000);
	log_info("the next one that passes");
	assert_int_equal(next_rec(s[1], &rec), 0);
	told = rec.dropped;
	assert_int_equal(arrived + told, 5000);
	log_info("and it is told once");
	assert_int_equal(next_rec(s[1], &rec), 0);
	assert_int_equal(rec.dropped, 0);
	log_open(-1, "", LOG_WARN);
	fd_close_all(s, 2);
}

static void keep_rec(void *arg, const struct log_rec *rec)
{
	*(struct log_rec *)arg = *rec;
}

static void *log_in_thread(void *arg)
{
	log_set_thread_name("vcpu1");
	log_set_thread_sink(keep_rec, arg);
	log_warn("from the thread");
	return NULL;
}

static void thread_sink_takes_the_records_of_its_thread_only(void **state)
{
	int s[2];
	struct log_rec rec, kept = { .level = 99 };
	pthread_t thread;

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	log_open(s[0], "vmm", LOG_INFO);
	assert_int_equal(pthread_create(&thread, NULL, log_in_thread, &kept), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_string_equal(kept.thread, "vcpu1");
	assert_string_equal(kept.msg, "from the thread");
	assert_int_equal(next_rec(s[1], &rec), -EAGAIN);
	log_forward(&kept);
	assert_int_equal(next_rec(s[1], &rec), 0);
	assert_string_equal(rec.thread, "vcpu1");
	log_open(-1, "", LOG_WARN);
	fd_close_all(s, 2);
}

static void process_sink_replaces_the_socket(void **state)
{
	struct log_rec kept = { .level = 99 };

	(void)state;
	log_open(-1, "apid", LOG_INFO);
	log_set_process_sink(keep_rec, &kept);
	log_info("path %s", "a\nb");
	assert_string_equal(kept.thread, "apid");
	assert_string_equal(kept.msg, "path a?b");
	log_set_process_sink(NULL, NULL);
	log_open(-1, "", LOG_WARN);
	log_error("into nowhere");
}

static void long_message_is_cut_between_characters(void **state)
{
	struct log_rec kept = { .level = 99 };
	char text[LOG_MSG_MAX + 300];

	(void)state;
	text[0] = 'a'; /* so that the limit falls inside a character */
	for (size_t i = 1; i + 3 < sizeof(text); i += 3)
		memcpy(text + i, "\xe2\x82\xac", 4);
	log_set_process_sink(keep_rec, &kept);
	log_error("%s", text);
	log_set_process_sink(NULL, NULL);
	assert_memory_equal(kept.msg, text, strlen(kept.msg));
	assert_true(strlen(kept.msg) >= LOG_MSG_MAX - 3 && str_is_utf8(kept.msg, strlen(kept.msg)));
}

static void rate_limit_passes_ten_a_second_and_tells_the_rest(void **state)
{
	struct log_rl rl = { .in_window = 0 };
	uint32_t lost = 99;
	int passed = 0;

	(void)state;
	for (int i = 0; i < 1000; i++)
		passed += log_rl_pass_at(&rl, 7, &lost);
	assert_int_equal(passed, 10);
	assert_int_equal(lost, 0);
	assert_true(log_rl_pass_at(&rl, 8, &lost));
	assert_int_equal(lost, 990);
	assert_true(log_rl_pass_at(&rl, 8, &lost));
	assert_int_equal(lost, 0);
}

static void rate_limit_works_in_the_first_second_of_the_clock(void **state)
{
	struct log_rl rl = { .in_window = 0 };
	uint32_t lost = 0;
	int passed = 0;

	(void)state;
	for (int i = 0; i < 20; i++)
		passed += log_rl_pass_at(&rl, 0, &lost);
	assert_int_equal(passed, 10);
}

static void count_rec(void *arg, const struct log_rec *rec)
{
	(void)rec;
	++*(int *)arg;
}

static void limited_place_logs_a_bounded_number(void **state)
{
	int made = 0;
	uint64_t before = clock_mono_ns();

	(void)state;
	log_set_process_sink(count_rec, &made);
	for (int i = 0; i < 10000; i++)
		log_warn_rl("the guest again");
	log_set_process_sink(NULL, NULL);
	uint64_t windows = (clock_mono_ns() - before) / UINT64_C(1000000000) + 2;
	assert_true(made >= 10);
	assert_true((uint64_t)made <= windows * 11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decode_gives_back_what_was_encoded),
		cmocka_unit_test(encode_of_the_longest_record_fits),
		cmocka_unit_test(decode_refuses_every_other_length),
		cmocka_unit_test(decode_refuses_hostile_headers),
		cmocka_unit_test(decode_replaces_control_characters),
		cmocka_unit_test(decode_replaces_all_of_what_is_no_utf8),
		cmocka_unit_test(emit_sends_one_whole_record),
		cmocka_unit_test(levels_above_the_maximum_are_not_made),
		cmocka_unit_test(full_socket_drops_and_counts),
		cmocka_unit_test(thread_sink_takes_the_records_of_its_thread_only),
		cmocka_unit_test(process_sink_replaces_the_socket),
		cmocka_unit_test(long_message_is_cut_between_characters),
		cmocka_unit_test(rate_limit_passes_ten_a_second_and_tells_the_rest),
		cmocka_unit_test(rate_limit_works_in_the_first_second_of_the_clock),
		cmocka_unit_test(limited_place_logs_a_bounded_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
