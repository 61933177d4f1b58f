/* SPDX-License-Identifier: ISC */
#include "jail/breaker.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void first_crash_restarts_at_once(void **state)
{
	struct breaker b = { 0 };

	(void)state;
	assert_int_equal(breaker_crash(&b, 1000, SIGKILL), 0);
}

static void delays_double_from_ten_milliseconds(void **state)
{
	struct breaker b = { 0 };

	(void)state;
	assert_int_equal(breaker_crash(&b, 1000, 0), 0);
	assert_int_equal(breaker_crash(&b, 2000, SIGSEGV), 10);
	assert_int_equal(breaker_crash(&b, 3000, SIGSEGV), 20);
	assert_int_equal(breaker_crash(&b, 4000, SIGSEGV), 40);
}

static void fifth_crash_in_sixty_seconds_opens_for_good(void **state)
{
	struct breaker b = { 0 };

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_true(breaker_crash(&b, 1000 * i, SIGKILL) >= 0);
	assert_int_equal(breaker_crash(&b, 59999, SIGKILL), -ECANCELED);
	assert_int_equal(breaker_crash(&b, 10 * 60000, SIGKILL), -ECANCELED);
}

static void crashes_older_than_the_window_are_forgotten(void **state)
{
	struct breaker b = { 0 };

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_true(breaker_crash(&b, i, SIGKILL) >= 0);
	assert_int_equal(breaker_crash(&b, 60000 + 4, SIGKILL), 0);
}

static void steady_crashes_reach_five_seconds_and_stay_there(void **state)
{
	struct breaker b = { 0 };
	int delay = 0;

	(void)state;
	/* One every 16 s: never five in a window. */
	for (int i = 0; i < 20; i++)
		delay = breaker_crash(&b, 16000 * i, SIGKILL);
	assert_int_equal(delay, BREAKER_DELAY_MAX_MS);
}

static void filter_kill_is_never_restarted(void **state)
{
	struct breaker b = { 0 };

	(void)state;
	assert_int_equal(breaker_crash(&b, 1000, SIGSYS), -ECANCELED);
	assert_int_equal(breaker_crash(&b, 10 * 60000, SIGKILL), -ECANCELED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_crash_restarts_at_once),
		cmocka_unit_test(delays_double_from_ten_milliseconds),
		cmocka_unit_test(fifth_crash_in_sixty_seconds_opens_for_good),
		cmocka_unit_test(crashes_older_than_the_window_are_forgotten),
		cmocka_unit_test(steady_crashes_reach_five_seconds_and_stay_there),
		cmocka_unit_test(filter_kill_is_never_restarted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
