/* SPDX-License-Identifier: ISC */
#include "vmmd/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "common/fd.h"

struct fixture {
	struct events ev;
	struct chan *ours, *theirs;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int pair[2];

	if (f == NULL || fd_socketpair(SOCK_SEQPACKET, pair) < 0)
		return -1;
	events_init(&f->ev);
	f->ours = chan_new(pair[0], CHAN_COMMAND_MAX, CHAN_COMMAND_MAX);
	f->theirs = chan_new(pair[1], CHAN_COMMAND_MAX, CHAN_COMMAND_MAX);
	*state = f;
	return f->ours != NULL && f->theirs != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	events_fini(&f->ev);
	chan_free(f->ours);
	chan_free(f->theirs);
	free(f);
	return 0;
}

static void expect_event(struct fixture *f, uint64_t seq, const char *name)
{
	struct msg_cmd_event got;
	struct chan_msg m;

	assert_int_equal(chan_flush(f->ours), 0);
	assert_int_equal(chan_recv(f->theirs, &m), 1);
	assert_int_equal(m.type, MSG_CMD_EVENT);
	assert_int_equal(chan_decode(&m, &desc_msg_cmd_event, &got, NULL), 0);
	assert_int_equal(got.seq, seq);
	assert_string_equal(got.source, "vm");
	assert_string_equal(got.event, name);
	assert_true(got.mono_ns > 0);
	obj_fini(&desc_msg_cmd_event, &got);
	chan_msg_fini(&m);
}

static void expect_silence(struct fixture *f)
{
	struct chan_msg m;

	assert_int_equal(chan_recv(f->theirs, &m), 0);
}

static void events_are_numbered_from_one(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(events_send(events_add(&f->ev, "vm", "booting", NULL), f->ours), 0);
	assert_int_equal(events_send(events_add(&f->ev, "vm", "booted", NULL), f->ours), 0);
	expect_event(f, 1, "booting");
	expect_event(f, 2, "booted");
	assert_int_equal(f->ev.next, 3);
}

static void unacknowledged_events_are_sent_again(void **state)
{
	struct fixture *f = *state;

	events_add(&f->ev, "vm", "booting", NULL);
	events_add(&f->ev, "vm", "booted", NULL);
	events_add(&f->ev, "vm", "shutdown", NULL);
	events_ack(&f->ev, 1);
	assert_int_equal(events_resend(&f->ev, f->ours), 0);
	expect_event(f, 2, "booted");
	expect_event(f, 3, "shutdown");
	expect_silence(f);
}

static void acknowledging_the_future_forgets_what_there_is(void **state)
{
	struct fixture *f = *state;

	events_add(&f->ev, "vm", "booting", NULL);
	events_ack(&f->ev, UINT64_MAX);
	assert_int_equal(f->ev.n, 0);
	events_add(&f->ev, "vm", "booted", NULL);
	assert_int_equal(events_resend(&f->ev, f->ours), 0);
	expect_event(f, 2, "booted");
}

static void an_event_of_a_device_names_it(void **state)
{
	struct fixture *f = *state;
	struct msg_cmd_event got;
	struct chan_msg m;

	events_add(&f->ev, "device", "restarted", "_disk0");
	for (int i = 0; i < 2; i++) { /* as often as it is sent */
		assert_int_equal(events_resend(&f->ev, f->ours), 0);
		assert_int_equal(chan_recv(f->theirs, &m), 1);
		assert_int_equal(chan_decode(&m, &desc_msg_cmd_event, &got, NULL), 0);
		assert_string_equal(got.source, "device");
		assert_string_equal(got.event, "restarted");
		assert_int_equal(got.n_props, 1);
		assert_string_equal(got.props[0].name, "id");
		assert_string_equal(got.props[0].value, "_disk0");
		obj_fini(&desc_msg_cmd_event, &got);
		chan_msg_fini(&m);
	}
}

static void full_store_loses_the_oldest_and_counts(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < EVENTS_MAX + 3; i++)
		events_add(&f->ev, "vm", "rebooted", NULL);
	assert_int_equal(f->ev.n, EVENTS_MAX);
	assert_int_equal(f->ev.lost, 3);
	assert_int_equal(f->ev.v[f->ev.first].seq, 4);
	events_ack(&f->ev, EVENTS_MAX + 2);
	assert_int_equal(f->ev.n, 1);
	assert_int_equal(events_resend(&f->ev, f->ours), 0);
	expect_event(f, EVENTS_MAX + 3, "rebooted");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(events_are_numbered_from_one),
		T(unacknowledged_events_are_sent_again),
		T(acknowledging_the_future_forgets_what_there_is),
		T(an_event_of_a_device_names_it),
		T(full_store_loses_the_oldest_and_counts),
	};

	return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
