/* SPDX-License-Identifier: ISC */
/* Logging from several threads at once; also run under TSan. */
#include "common/log.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "common/fd.h"

enum { THREADS = 4, EACH = 2000 };

static void *log_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < EACH; i++)
		log_info("message %d", i);
	return NULL;
}

static unsigned run_threads(void *(*fn)(void *arg), void *arg)
{
	pthread_t thread[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, fn, arg), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	return THREADS;
}

static void every_record_arrives_or_is_counted(void **state)
{
	uint8_t wire[LOG_REC_MAX];
	struct log_rec rec;
	uint64_t arrived = 0, told = 0;
	ssize_t n;
	int s[2];

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, s), 0);
	log_open(s[0], "vmm", LOG_INFO);
	run_threads(log_many, NULL);
	while ((n = recv(s[1], wire, sizeof(wire), MSG_DONTWAIT)) > 0) {
		assert_int_equal(log_rec_decode(&rec, wire, (size_t)n), 0);
		arrived++;
		told += rec.dropped;
	}
	log_info("the last one tells the rest");
	n = recv(s[1], wire, sizeof(wire), MSG_DONTWAIT);
	assert_true(n > 0);
	assert_int_equal(log_rec_decode(&rec, wire, (size_t)n), 0);
	assert_int_equal(arrived + told + rec.dropped, THREADS * EACH);
	log_open(-1, "", LOG_WARN);
	fd_close_all(s, 2);
}

static _Atomic uint32_t passed, lost;

static void *ask_many(void *arg)
{
	for (int i = 0; i < EACH; i++) {
		uint32_t suppressed = 0;

		if (log_rl_pass_at(arg, 5, &suppressed))
			passed++;
		lost += suppressed;
	}
	return NULL;
}

static void rate_limit_loses_no_count_between_threads(void **state)
{
	struct log_rl rl = { .in_window = 0 };
	uint32_t suppressed = 0;

	(void)state;
	passed = 0;
	lost = 0;
	run_threads(ask_many, &rl);
	/* threads that race for the window may each reset it once */
	assert_true(passed >= 10 && passed <= 10 + THREADS * 10);
	assert_true(log_rl_pass_at(&rl, 6, &suppressed));
	assert_int_equal(passed + lost + suppressed, THREADS * EACH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_record_arrives_or_is_counted),
		cmocka_unit_test(rate_limit_loses_no_count_between_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
