/* SPDX-License-Identifier: ISC */
#include "jail/link.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fd.h"

struct fixture {
	struct event_base *base;
	struct link link;
	struct chan *peer;
	unsigned messages;
	int gone; /* why */
	bool close_in_callback;
};

static void on_msg(void *arg, struct chan_msg *m)
{
	struct fixture *f = arg;

	f->messages++;
	chan_msg_fini(m);
	if (f->close_in_callback)
		link_close(&f->link);
}

static void on_gone(void *arg, int why)
{
	struct fixture *f = arg;

	f->gone = why;
	assert_false(link_is_open(&f->link));
}

static const struct link_ops ops = { .on_msg = on_msg, .on_gone = on_gone };

static int setup(void **state)
{
	static struct fixture f;
	int pair[2];

	f = (struct fixture){ .base = ev_new(EV_BACKEND_EPOLL) };
	if (f.base == NULL || fd_socketpair(SOCK_SEQPACKET, pair) < 0)
		return -1;
	f.peer = chan_new(pair[1], CHAN_MONITOR_MAX, 1 << 20);
	*state = &f;
	return f.peer == NULL || link_open(&f.link, f.base, pair[0], &ops, &f) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	link_close(&f->link);
	if (f->peer != NULL)
		chan_free(f->peer);
	event_base_free(f->base);
	return 0;
}

static void send_some(struct fixture *f, unsigned n)
{
	while (n-- > 0)
		assert_int_equal(chan_send(f->peer, MSG_MON_RELEASE, n, NULL, NULL, NULL, 0), 0);
}

static void turn(struct fixture *f)
{
	assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK | EVLOOP_ONCE) >= 0);
}

static void messages_arrive(void **state)
{
	struct fixture *f = *state;

	send_some(f, 3);
	turn(f);
	assert_int_equal(f->messages, 3);
	assert_int_equal(f->gone, 0);
}

static void one_wake_up_takes_a_bounded_number(void **state)
{
	struct fixture *f = *state;

	send_some(f, 100);
	turn(f);
	assert_in_range(f->messages, 1, 64);
	turn(f);
	assert_int_equal(f->messages, 100);
}

static void last_words_come_before_the_end(void **state)
{
	struct fixture *f = *state;

	send_some(f, 2);
	chan_free(f->peer);
	f->peer = NULL;
	turn(f);
	assert_int_equal(f->messages, 2);
	assert_int_equal(f->gone, -EPIPE);
}

static void drain_needs_no_loop(void **state)
{
	struct fixture *f = *state;

	send_some(f, 100);
	link_drain(&f->link);
	assert_int_equal(f->messages, 100);
}

static void too_fast_a_peer_is_read_slowly_and_loses_nothing(void **state)
{
	struct fixture *f = *state;

	link_limit(&f->link, 50);
	send_some(f, 60);
	turn(f);
	turn(f);
	assert_int_equal(f->messages, 50);
	while (f->messages < 60) /* the loop waits for the timer; a hang is the failure */
		assert_true(event_base_loop(f->base, EVLOOP_ONCE) >= 0);
	assert_int_equal(f->gone, 0);
}

static void closing_within_the_callback_ends_it(void **state)
{
	struct fixture *f = *state;

	f->close_in_callback = true;
	send_some(f, 3);
	turn(f);
	assert_int_equal(f->messages, 1);
	assert_false(link_is_open(&f->link));
	assert_int_equal(link_send(&f->link, MSG_MON_RELEASE, 1, NULL, NULL, NULL, 0), -EPIPE);
}

static void garbage_ends_the_link(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(send(chan_fd(f->peer), "garbage", 7, 0), 7);
	turn(f);
	assert_int_equal(f->gone, -EBADMSG);
}

static void what_does_not_fit_at_once_goes_later(void **state)
{
	struct fixture *f = *state;
	struct chan_msg m;
	unsigned sent = 0, got = 0;
	uint8_t text[4000] = { 0 };
	struct msg_mon_text t = { .stream = 1, .n_data = sizeof(text), .data = text };

	/* More than the socket holds. */
	while (sent < 60 && link_send(&f->link, MSG_MON_TEXT, sent, &desc_msg_mon_text, &t, NULL, 0) == 0)
		sent++;
	assert_int_equal(sent, 60);
	while (got < sent) {
		int r = chan_recv(f->peer, &m);

		assert_true(r >= 0);
		if (r == 1) {
			assert_int_equal(m.id, got);
			got++;
			chan_msg_fini(&m);
		} else {
			turn(f);
		}
	}
}

#define WITH_LINK(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_LINK(messages_arrive),
		WITH_LINK(one_wake_up_takes_a_bounded_number),
		WITH_LINK(last_words_come_before_the_end),
		WITH_LINK(drain_needs_no_loop),
		WITH_LINK(too_fast_a_peer_is_read_slowly_and_loses_nothing),
		WITH_LINK(closing_within_the_callback_ends_it),
		WITH_LINK(garbage_ends_the_link),
		WITH_LINK(what_does_not_fit_at_once_goes_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
