/* SPDX-License-Identifier: ISC */
#include "apid/rpc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "common/fd.h"

enum { SHORT_MS = 50, LONG_MS = 60000 };

struct fixture {
	struct event_base *base;
	struct rpc *rpc;
	struct chan *peer;
	unsigned done, messages, answered;
	uint32_t last_answered;
	int lost;
	bool typed;
	int code; /* of the last done: 0 success */
};

static struct fixture f;

static void on_message(void *arg, struct chan_msg *m)
{
	(void)arg;
	(void)m;
	f.messages++;
}

static void on_answered(void *arg, uint32_t id)
{
	(void)arg;
	f.answered++;
	f.last_answered = id;
}

static void on_lost(void *arg, int code)
{
	(void)arg;
	f.lost = code;
}

static const struct rpc_ops ops = { .message = on_message, .answered = on_answered, .lost = on_lost };

static void on_done(void *arg, struct chan_msg *m, const struct err *e)
{
	(void)arg;
	f.done++;
	f.typed = m != NULL;
	f.code = e == NULL ? 0 : err_code(e, 0);
}

static int setup(void **state)
{
	int pair[2];

	(void)state;
	memset(&f, 0, sizeof(f));
	f.base = ev_new(EV_BACKEND_EPOLL);
	if (fd_socketpair(SOCK_SEQPACKET, pair) < 0)
		return -1;
	f.peer = chan_new(pair[1], CHAN_MONITOR_MAX, CHAN_COMMAND_MAX);
	f.rpc = rpc_new(f.base, chan_new(pair[0], CHAN_MONITOR_MAX, CHAN_COMMAND_MAX), "peer", &ops, NULL);
	return f.rpc == NULL;
}

static int teardown(void **state)
{
	(void)state;
	rpc_free(f.rpc);
	chan_free(f.peer);
	ev_free(f.base);
	return 0;
}

static void turn(void)
{
	(void)event_base_loop(f.base, EVLOOP_NONBLOCK);
	(void)event_base_loop(f.base, EVLOOP_NONBLOCK);
}

static uint32_t call(unsigned timeout_ms)
{
	uint32_t id = 0;
	struct err e;

	assert_int_equal(rpc_call(f.rpc, MSG_MON_RELEASE, NULL, timeout_ms, on_done, NULL, &id, &e), 0);
	return id;
}

static void answer(uint32_t id, int code, const char *text)
{
	struct msg_result res;
	struct err e;

	(void)err_set(&e, code, "%s", text != NULL ? text : "");
	assert_int_equal(msg_result_set(&res, code, text != NULL ? &e : NULL), 0);
	assert_int_equal(chan_send(f.peer, MSG_RESULT, id, &desc_msg_result, &res, NULL, 0), 0);
	obj_fini(&desc_msg_result, &res);
	turn();
}

static void answers_find_their_requests_in_any_order(void **state)
{
	uint32_t a = call(LONG_MS), b = call(LONG_MS);

	(void)state;
	assert_int_not_equal(a, b);
	answer(b, 0, NULL);
	assert_int_equal(f.done, 1);
	assert_int_equal(f.code, 0);
	assert_int_equal(f.last_answered, b);
	answer(a, -EIO, "broken");
	assert_int_equal(f.done, 2);
	assert_int_equal(f.code, -EIO);
	assert_int_equal(f.answered, 2);
}

static void refusal_without_a_chain_still_has_a_text(void **state)
{
	(void)state;
	answer(call(LONG_MS), -ENOSPC, NULL);
	assert_int_equal(f.code, -ENOSPC);
}

static void typed_answer_is_handed_over(void **state)
{
	struct msg_mon_open_file_result res = { .size = 5 };
	uint32_t id = call(LONG_MS);

	(void)state;
	assert_int_equal(chan_send(f.peer, MSG_MON_OPEN_FILE_RESULT, id, &desc_msg_mon_open_file_result, &res, NULL, 0), 0);
	turn();
	assert_int_equal(f.done, 1);
	assert_true(f.typed);
}

static void answer_that_does_not_come_is_given_up(void **state)
{
	uint32_t id = call(SHORT_MS);

	(void)state;
	(void)event_base_loop(f.base, EVLOOP_ONCE);
	assert_int_equal(f.done, 1);
	assert_int_equal(f.code, -ETIMEDOUT);
	answer(id, 0, NULL); /* late: acknowledged, nothing else */
	assert_int_equal(f.done, 1);
	assert_int_equal(f.last_answered, id);
	assert_int_equal(f.messages, 0);
}

static void deadline_is_believed_only_after_a_look_at_the_channel(void **state)
{
	struct timespec longer = { .tv_nsec = 2 * SHORT_MS * 1000000 };
	struct msg_result ok = { 0 };
	uint32_t id = call(SHORT_MS);

	(void)state;
	/* this process is the one that sleeps, while the answer has long been there */
	assert_int_equal(chan_send(f.peer, MSG_RESULT, id, &desc_msg_result, &ok, NULL, 0), 0);
	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &longer, NULL);
	turn();
	assert_int_equal(f.done, 1);
	assert_int_equal(f.code, 0);
}

static void dropped_request_is_not_reported(void **state)
{
	uint32_t id = call(LONG_MS);

	(void)state;
	rpc_drop(f.rpc, id);
	answer(id, 0, NULL);
	assert_int_equal(f.done, 0);
	assert_int_equal(f.last_answered, id);
}

static void what_answers_nothing_is_a_message(void **state)
{
	(void)state;
	(void)call(LONG_MS);
	assert_int_equal(chan_send(f.peer, MSG_APID_FLUSH, 0, NULL, NULL, NULL, 0), 0);
	turn();
	assert_int_equal(f.messages, 1);
	assert_int_equal(f.done, 0);
}

static void event_with_the_number_of_a_request_is_no_answer(void **state)
{
	char source[] = "vm", name[] = "booted";
	struct msg_cmd_event ev = { .seq = 1, .source = source, .event = name };
	uint32_t id = call(LONG_MS);

	(void)state;
	assert_int_equal(chan_send(f.peer, MSG_CMD_EVENT, id, &desc_msg_cmd_event, &ev, NULL, 0), 0);
	turn();
	assert_int_equal(f.messages, 1);
	assert_int_equal(f.done, 0);
}

static void ids_go_on_where_a_predecessor_stopped(void **state)
{
	(void)state;
	rpc_set_next_id(f.rpc, 1000);
	assert_int_equal(call(LONG_MS), 1000);
	assert_int_equal(call(LONG_MS), 1001);
	assert_int_equal(rpc_expect(f.rpc, 999, LONG_MS, on_done, NULL), 0);
	assert_int_equal(rpc_expect(f.rpc, 999, LONG_MS, on_done, NULL), -EEXIST);
	assert_int_equal(rpc_expect(f.rpc, 0, LONG_MS, on_done, NULL), -EEXIST);
	answer(999, 0, NULL);
	assert_int_equal(f.done, 1);
}

static void end_of_the_channel_is_reported_once_and_ends_calls(void **state)
{
	struct err e;

	(void)state;
	chan_free(f.peer);
	f.peer = NULL;
	turn();
	assert_int_equal(f.lost, -EPIPE);
	assert_true(rpc_call(f.rpc, MSG_MON_RELEASE, NULL, LONG_MS, on_done, NULL, NULL, &e) < 0);
	rpc_tell(f.rpc, MSG_MON_RELEASE, 0, NULL, NULL, 0);
	assert_int_equal(f.done, 0);
}

static void broken_peer_is_reported(void **state)
{
	(void)state;
	assert_int_equal(send(chan_fd(f.peer), "junk", 4, 0), 4);
	turn();
	assert_int_equal(f.lost, -EBADMSG);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(answers_find_their_requests_in_any_order),
		TEST(refusal_without_a_chain_still_has_a_text),
		TEST(typed_answer_is_handed_over),
		TEST(answer_that_does_not_come_is_given_up),
		TEST(deadline_is_believed_only_after_a_look_at_the_channel),
		TEST(dropped_request_is_not_reported),
		TEST(what_answers_nothing_is_a_message),
		TEST(event_with_the_number_of_a_request_is_no_answer),
		TEST(ids_go_on_where_a_predecessor_stopped),
		TEST(end_of_the_channel_is_reported_once_and_ends_calls),
		TEST(broken_peer_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
