/* SPDX-License-Identifier: ISC */
/*
 * The life of a helper with processes that are none: spawning, killing and what /proc says are this file's. A process is a
 * socket (its end of the control channel) and a pipe (its pidfd, readable when the other end is closed).
 */
#include "jail/monitor_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/str.h"
#include "jail/monitor_internal.h"
#include "jail/monitor_ops.h"
#include "proto/dispatch.h"

/* --- the world -------------------------------------------------------------------------------------------------- */

enum { UID = 1900000002 };

static struct {
	struct monitor mon;
	struct helper h;
	struct chan *peer; /* the process's end */
	int alive;         /* closed: it is dead */
	struct spawn_exit how;
	unsigned spawned, killed;
	int spawn_result, verify_result, configure_result;
	struct verify_want verified;
	/* what the owner heard */
	unsigned configured, up, died, failed, stopped, swept;
	uint32_t detail;
	char why[1024];
} w;

static void end_of_process(struct spawn_exit how)
{
	w.how = how;
	fd_closep(&w.alive);
	if (w.peer != NULL)
		chan_free(w.peer);
	w.peer = NULL;
}

int spawn_start(const struct spawn_req *req, struct spawn_child *out, struct err *e)
{
	int pair[2];

	*out = SPAWN_CHILD_NONE;
	if (w.spawn_result < 0)
		return err_set(e, w.spawn_result, "no process");
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	out->pid = 1000 + (pid_t)++w.spawned;
	out->pidfd = pair[0];
	w.alive = pair[1];
	w.peer = chan_new(dup(req->fds[0]), CHAN_MONITOR_MAX, CHAN_MONITOR_MAX);
	assert_non_null(w.peer);
	assert_int_equal(req->id, UID);
	return 0;
}

void spawn_kill(const struct spawn_child *c)
{
	if (c->pid <= 0 || w.alive < 0)
		return;
	w.killed++;
	end_of_process((struct spawn_exit){ .code = -1, .signal = SIGKILL });
}

struct spawn_exit spawn_reap(struct spawn_child *c)
{
	assert_int_equal(w.alive, -1); /* nobody waits for a process that lives */
	fd_closep(&c->pidfd);
	c->pid = 0;
	return w.how;
}

void spawn_read_report(struct spawn_child *c)
{
	(void)c;
}

int verify_process(pid_t pid, const struct verify_want *want, struct err *e)
{
	(void)pid;
	w.verified = *want;
	return w.verify_result < 0 ? err_set(e, w.verify_result, "Seccomp is 0 instead of 2") : 0;
}

uid_t monitor_uid(const struct monitor *mon, int slot)
{
	(void)mon;
	return (uid_t)(1900000000 + slot);
}

void monitor_note_missing(struct monitor *mon, const char *who, struct jail_missing m)
{
	(void)mon;
	(void)who;
	(void)m;
}

void monitor_sweep(struct monitor *mon)
{
	(void)mon;
	w.swept++;
}

void monitor_after(struct event *timer, uint32_t ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	(void)event_add(timer, &tv);
}

/* As monitor_ops.c has it. */
#define ROW(name, body, phases, answer, fn) { MSG_##name, phases, 0, body, fn },
#define SKIP(name, body, phases, answer, fn)
static const struct dispatch_entry ops[] = { MONITOR_OPS(SKIP, SKIP, SKIP, ROW, SKIP) };

static void on_msg(void *arg, struct chan_msg *m)
{
	struct helper *h = arg;
	struct err e;

	if (dispatch(ops, nitems(ops), h->state, h, m, &e) < 0)
		helper_kill(h);
}

static void on_gone(void *arg, int why)
{
	(void)why;
	helper_kill(arg);
}

const struct link_ops monitor_helper_ops = { .on_msg = on_msg, .on_gone = on_gone };

/* --- the owner -------------------------------------------------------------------------------------------------- */

static int configure(struct helper *h, struct err *e)
{
	(void)h;
	w.configured++;
	return w.configure_result < 0 ? err_set(e, w.configure_result, "no configuration") : 0;
}

static void expect(struct helper *h, struct verify_want *want)
{
	(void)h;
	want->fds_below = want->nofile = 11;
}

static void on_up(struct helper *h, uint32_t detail)
{
	assert_int_equal(h->state, HELPER_UP);
	w.up++;
	w.detail = detail;
}

static void on_died(struct helper *h, const char *why)
{
	assert_int_equal(h->child.pid, 0);
	w.died++;
	(void)str_fmt(w.why, sizeof(w.why), "%s", why);
}

static void on_failed(struct helper *h, const struct err *why)
{
	assert_int_equal(h->child.pid, 0);
	w.failed++;
	(void)err_join(why, w.why, sizeof(w.why));
}

static void on_stopped(struct helper *h)
{
	assert_int_equal(h->child.pid, 0);
	w.stopped++;
}

static const struct helper_ops owner = { .configure = configure, .expect = expect, .up = on_up, .died = on_died,
					 .failed = on_failed, .stopped = on_stopped };
static const struct helper_kind kind = { .role = JAIL_RNG, .program = "cloister-rng", .ready_ms = 30 };

static int setup(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	w.alive = -1;
	w.mon.null_fd = w.mon.log_write = -1;
	w.mon.base = ev_new(EV_BACKEND_EPOLL);
	helper_init(&w.h, &w.mon, &kind, &owner, NULL);
	helper_name(&w.h, "_rng0");
	w.h.uid_slot = UID - 1900000000;
	return w.mon.base == NULL ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	spawn_kill(&w.h.child);
	fd_closep(&w.h.child.pidfd);
	helper_forget(&w.h);
	ev_free(w.mon.base);
	return 0;
}

/* Everything that is ready, and nothing that waits for time. */
static void run(void)
{
	for (int i = 0; i < 20; i++)
		(void)event_base_loop(w.mon.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

/* Until the state is one of @states; timers of the test are short. */
static void run_until(unsigned states)
{
	int64_t end = clock_mono_ms() + 5000;

	while ((w.h.state & states) == 0 && clock_mono_ms() < end)
		(void)event_base_loop(w.mon.base, EVLOOP_ONCE);
	assert_true((w.h.state & states) != 0);
}

static void say(enum msg_type type, const struct desc *d, const void *obj)
{
	assert_int_equal(chan_send(w.peer, type, 0, d, obj, NULL, 0), 0);
	run();
}

static void say_hello(void)
{
	const struct msg_hlp_hello hello = { .version = 1 };

	say(MSG_HLP_HELLO, &desc_msg_hlp_hello, &hello);
}

static void say_ready(uint32_t detail)
{
	const struct msg_hlp_ready ready = { .detail = detail };

	say(MSG_HLP_READY, &desc_msg_hlp_ready, &ready);
}

static void say_no(void)
{
	struct msg_result res = { 0 };
	struct err e;

	(void)err_set(&e, -EINVAL, "qcow2 is not served");
	assert_int_equal(msg_result_set(&res, -EINVAL, &e), 0);
	say(MSG_RESULT, &desc_msg_result, &res);
	obj_fini(&desc_msg_result, &res);
}

static void die_of(int sig)
{
	end_of_process((struct spawn_exit){ .code = sig == 0 ? 1 : -1, .signal = sig });
	run();
}

static void start(void)
{
	struct err e;

	assert_int_equal(helper_start(&w.h, &e), 0);
	run();
}

static void bring_up(void)
{
	say_hello();
	say_ready(7);
	assert_int_equal(w.h.state, HELPER_UP);
}

/* --- tests ------------------------------------------------------------------------------------------------------ */

static void hello_configuration_lockdown_ready_up(void **state)
{
	struct chan_msg m;

	(void)state;
	start();
	assert_int_equal(w.h.state, HELPER_BLANK);
	assert_int_equal(w.h.fork_no, 1);
	assert_false(w.h.said_hello);
	say_hello();
	assert_int_equal(w.h.state, HELPER_LOCKING);
	assert_true(w.h.said_hello);
	assert_int_equal(w.swept, 1);
	assert_int_equal(w.configured, 1);
	assert_int_equal(chan_recv(w.peer, &m), 1);
	assert_int_equal(m.type, MSG_HLP_LOCKDOWN);
	chan_msg_fini(&m);
	say_ready(7);
	assert_int_equal(w.h.state, HELPER_UP);
	assert_int_equal(w.up, 1);
	assert_int_equal(w.detail, 7);
	assert_int_equal(w.verified.uid, UID);
	assert_true(w.verified.own_uid);
	assert_int_equal(w.verified.nofile, 11);
	assert_int_equal(w.verified.threads, 1);
}

static void ready_that_is_not_true_is_a_crash(void **state)
{
	(void)state;
	start();
	say_hello();
	w.verify_result = -EPERM;
	say_ready(0);
	assert_int_equal(w.up, 0);
	assert_int_equal(w.killed, 1);
	assert_int_equal(w.died, 1);
	assert_int_equal(w.spawned, 2);
}

static void ready_of_one_that_dies_of_its_filter_is_left_to_die_of_that(void **state)
{
	(void)state;
	start();
	say_hello();
	w.verify_result = -ESRCH;
	say_ready(0);
	assert_int_equal(w.up + w.killed, 0);
	die_of(SIGSYS);
	assert_int_equal(w.h.state, HELPER_FAILED);
}

static void words_out_of_order_are_a_crash(void **state)
{
	(void)state;
	start();
	say_ready(0); /* before hello */
	assert_int_equal(w.killed, 1);
	assert_int_equal(w.spawned, 2);
	bring_up();
	say_hello(); /* twice */
	assert_int_equal(w.killed, 2);
	assert_int_equal(w.died, 2);
}

static void another_version_is_a_crash(void **state)
{
	const struct msg_hlp_hello hello = { .version = 2 };

	(void)state;
	start();
	say(MSG_HLP_HELLO, &desc_msg_hlp_hello, &hello);
	assert_int_equal(w.configured, 0);
	assert_int_equal(w.killed, 1);
}

static void what_cannot_be_configured_is_a_crash(void **state)
{
	(void)state;
	start();
	w.configure_result = -EMFILE;
	say_hello();
	assert_int_equal(w.killed, 1);
	assert_int_equal(w.died, 1);
}

static void a_refusal_is_final_and_keeps_its_chain(void **state)
{
	(void)state;
	start();
	say_hello();
	say_no();
	assert_int_equal(w.h.state, HELPER_FAILED);
	assert_int_equal(w.failed, 1);
	assert_int_equal(w.died, 0);
	assert_string_equal(w.why, "qcow2 is not served");
	assert_int_equal(w.spawned, 1);
}

static void a_refusal_and_death_at_once_are_a_refusal(void **state)
{
	struct msg_result res = { .code = -EINVAL };

	(void)state;
	start();
	say_hello();
	assert_int_equal(chan_send(w.peer, MSG_RESULT, 0, &desc_msg_result, &res, NULL, 0), 0);
	die_of(0);
	assert_int_equal(w.h.state, HELPER_FAILED);
	assert_int_equal(w.spawned, 1);
}

static void a_refusal_from_one_that_serves_is_a_crash(void **state)
{
	(void)state;
	start();
	bring_up();
	say_no();
	assert_int_equal(w.failed, 0);
	assert_int_equal(w.died, 1);
	assert_int_equal(w.spawned, 2);
}

static void the_first_successor_comes_at_once_the_next_ones_later(void **state)
{
	(void)state;
	start();
	bring_up();
	die_of(SIGSEGV);
	assert_int_equal(w.died, 1);
	assert_non_null(strstr(w.why, "was killed by signal 11"));
	assert_int_equal(w.h.fork_no, 2);
	assert_false(w.h.said_hello);
	assert_int_equal(w.swept, 2);
	assert_int_equal(w.spawned, 2);
	assert_int_equal(w.h.state, HELPER_BLANK);
	die_of(SIGSEGV);
	assert_int_equal(w.spawned, 2);
	assert_int_equal(w.h.state, HELPER_WAITING);
	run_until(HELPER_BLANK);
	assert_int_equal(w.spawned, 3);
	bring_up();
}

static void five_deaths_are_the_last(void **state)
{
	(void)state;
	start();
	for (int i = 0; i < 5; i++) {
		run_until(HELPER_BLANK);
		die_of(SIGKILL);
	}
	assert_int_equal(w.h.state, HELPER_FAILED);
	assert_int_equal(w.died, 4);
	assert_int_equal(w.failed, 1);
	assert_int_equal(w.spawned, 5);
	assert_non_null(strstr(w.why, "is not started again"));
}

static void a_filter_kill_is_the_last(void **state)
{
	(void)state;
	start();
	bring_up();
	die_of(SIGSYS);
	assert_int_equal(w.h.state, HELPER_FAILED);
	assert_int_equal(w.failed, 1);
	assert_int_equal(w.spawned, 1);
}

static void one_that_is_not_ready_in_time_is_a_crash(void **state)
{
	(void)state;
	start();
	run_until(HELPER_BLANK);
	int64_t begun = clock_mono_ms();
	while (w.killed == 0 && clock_mono_ms() < begun + 5000)
		(void)event_base_loop(w.mon.base, EVLOOP_ONCE);
	run();
	assert_int_equal(w.killed, 1);
	assert_int_equal(w.died, 1);
}

static void one_that_was_ready_in_time_is_no_crash_however_late_we_look(void **state)
{
	const struct msg_hlp_ready ready = { 0 };

	(void)state;
	start();
	say_hello();
	/* Said in time; this process was stopped until long after. */
	assert_int_equal(chan_send(w.peer, MSG_HLP_READY, 0, &desc_msg_hlp_ready, &ready, NULL, 0), 0);
	int64_t until = clock_mono_ms() + 60;
	while (clock_mono_ms() < until)
		continue;
	run();
	assert_int_equal(w.h.state, HELPER_UP);
	assert_int_equal(w.killed, 0);
}

static void a_start_that_fails_counts_as_a_crash(void **state)
{
	struct err e;

	(void)state;
	w.spawn_result = -EAGAIN;
	assert_int_equal(helper_start(&w.h, &e), 0);
	run_until(HELPER_FAILED);
	assert_int_equal(w.died, 4);
	assert_non_null(strstr(w.why, "no process"));
}

static void renewing_is_no_crash(void **state)
{
	(void)state;
	start();
	bring_up();
	for (int i = 0; i < 10; i++) {
		helper_renew(&w.h);
		run();
		bring_up();
	}
	assert_int_equal(w.died, 0);
	assert_int_equal(w.spawned, 11);
}

static void stop_drains_first(void **state)
{
	const struct msg_hlp_drained drained = { .complete = true };
	struct chan_msg m;

	(void)state;
	start();
	bring_up();
	assert_int_equal(chan_recv(w.peer, &m), 1); /* lock-down */
	chan_msg_fini(&m);
	helper_stop(&w.h, 1000);
	assert_int_equal(w.h.state, HELPER_DRAINING);
	assert_int_equal(chan_recv(w.peer, &m), 1);
	assert_int_equal(m.type, MSG_HLP_DRAIN);
	chan_msg_fini(&m);
	assert_int_equal(w.stopped, 0);
	say(MSG_HLP_DRAINED, &desc_msg_hlp_drained, &drained);
	assert_int_equal(w.stopped, 1);
	assert_int_equal(w.killed, 1);
	assert_int_equal(w.h.state, HELPER_NONE);
}

static void stop_without_a_drain_waits_for_the_end_only(void **state)
{
	(void)state;
	start();
	bring_up();
	helper_stop(&w.h, 0);
	helper_stop(&w.h, 0);
	assert_int_equal(w.stopped, 0);
	run();
	assert_int_equal(w.stopped, 1);
	assert_int_equal(w.died, 0);
}

static void stop_of_one_that_waits_or_has_failed_is_over_at_once(void **state)
{
	(void)state;
	start();
	die_of(SIGKILL);
	die_of(SIGKILL);
	assert_int_equal(w.h.state, HELPER_WAITING);
	helper_stop(&w.h, 1000);
	assert_int_equal(w.stopped, 1);
	unsigned spawned = w.spawned;
	run();
	assert_int_equal(w.spawned, spawned);
	start();
	die_of(SIGSYS);
	helper_stop(&w.h, 1000);
	assert_int_equal(w.stopped, 2);
	assert_int_equal(w.h.state, HELPER_NONE);
}

static void a_death_while_stopping_is_the_stop(void **state)
{
	(void)state;
	start();
	bring_up();
	helper_stop(&w.h, 1000);
	die_of(SIGSEGV);
	assert_int_equal(w.stopped, 1);
	assert_int_equal(w.died + w.failed, 0);
}

static void started_again_it_has_a_fresh_breaker(void **state)
{
	(void)state;
	start();
	die_of(SIGSYS);
	assert_int_equal(w.h.state, HELPER_FAILED);
	helper_stop(&w.h, 0);
	start();
	bring_up();
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(hello_configuration_lockdown_ready_up), T(ready_that_is_not_true_is_a_crash),
		T(ready_of_one_that_dies_of_its_filter_is_left_to_die_of_that),
		T(words_out_of_order_are_a_crash), T(another_version_is_a_crash), T(what_cannot_be_configured_is_a_crash),
		T(a_refusal_is_final_and_keeps_its_chain), T(a_refusal_and_death_at_once_are_a_refusal),
		T(a_refusal_from_one_that_serves_is_a_crash), T(the_first_successor_comes_at_once_the_next_ones_later),
		T(five_deaths_are_the_last), T(a_filter_kill_is_the_last), T(one_that_is_not_ready_in_time_is_a_crash),
		T(one_that_was_ready_in_time_is_no_crash_however_late_we_look), T(a_start_that_fails_counts_as_a_crash),
		T(renewing_is_no_crash), T(stop_drains_first), T(stop_without_a_drain_waits_for_the_end_only),
		T(stop_of_one_that_waits_or_has_failed_is_over_at_once), T(a_death_while_stopping_is_the_stop),
		T(started_again_it_has_a_fresh_breaker),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
