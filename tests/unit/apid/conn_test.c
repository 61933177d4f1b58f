/* SPDX-License-Identifier: ISC */
/* Connections over socketpairs, adopted as a successor would: what a client sees, and what the page and the monitor are
 * told. The byte-by-byte suite is in tests/integration. */
#include "apid/conn.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fd.h"

#define HEAD_204 "HTTP/1.1 204 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n\r\n"
#define HEAD_204_CLOSE "HTTP/1.1 204 \r\nServer: Cloud Hypervisor API\r\nConnection: close\r\n\r\n"
#define PING "GET /ping HTTP/1.1\r\n\r\n"

enum { CLIENTS = 8 };

struct fixture {
	struct event_base *base;
	struct connpage *page;
	struct server *server;
	int client[CLIENTS];
	bool answer_at_once;
	struct exchange *waiting[64]; /* requests that came and were not answered */
	unsigned n_waiting, requests, closed, other_at;
	uint32_t delivered;
	size_t last_body;
	unsigned last_fds;
	int taken_fd;
};

static struct fixture f;

static void on_request(void *arg, struct exchange *x)
{
	(void)arg;
	f.requests++;
	f.last_body = x->body_len;
	f.last_fds = x->nfds;
	if (strcmp(x->target, "/other") == 0)
		f.other_at = f.requests;
	if (x->nfds > 0 && strcmp(x->target, "/take") == 0)
		f.taken_fd = fd_take(&x->fds[0]);
	if (f.answer_at_once)
		exchange_reply(x, 204, NULL);
	else
		f.waiting[f.n_waiting++] = x;
}

static void on_opened(void *arg, unsigned slot, int fd)
{
	(void)arg;
	(void)slot;
	(void)fd;
}

static void on_closed(void *arg, unsigned slot)
{
	(void)arg;
	(void)slot;
	f.closed++;
}

static void on_delivered(void *arg, uint32_t id)
{
	(void)arg;
	f.delivered = id;
}

static const struct server_ops ops = {
	.request = on_request,
	.opened = on_opened,
	.closed = on_closed,
	.delivered = on_delivered,
};

static int setup(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	f.answer_at_once = true;
	f.taken_fd = -1;
	f.base = ev_new(EV_BACKEND_EPOLL);
	if (f.base == NULL || connpage_private(&f.page) < 0)
		return -1;
	f.server = server_new(f.base, f.page, &ops, NULL);
	for (unsigned i = 0; i < CLIENTS; i++) {
		int pair[2];

		if (fd_socketpair(SOCK_STREAM, pair) < 0)
			return -1;
		connpage_set(f.page, i, SLOT_IDLE);
		if (server_adopt(f.server, i, pair[0]) != NULL)
			return -1;
		f.client[i] = pair[1];
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < f.n_waiting; i++) {
		if (f.waiting[i] != NULL)
			exchange_reply(f.waiting[i], 204, NULL);
	}
	server_free(f.server);
	connpage_unmap(f.page);
	ev_free(f.base);
	fd_close_all(f.client, CLIENTS);
	fd_closep(&f.taken_fd);
	return 0;
}

static void turn(void)
{
	for (int i = 0; i < 8; i++)
		(void)event_base_loop(f.base, EVLOOP_NONBLOCK);
}

static void say(unsigned client, const char *text)
{
	assert_int_equal(send(f.client[client], text, strlen(text), 0), strlen(text));
	turn();
}

static void assert_hears(unsigned client, const char *want)
{
	char got[8192];
	ssize_t n = recv(f.client[client], got, sizeof(got) - 1, MSG_DONTWAIT);

	got[n > 0 ? n : 0] = '\0';
	assert_string_equal(got, want);
}

static void assert_gone(unsigned client)
{
	char c;

	assert_int_equal(recv(f.client[client], &c, 1, MSG_DONTWAIT), 0);
}

static void answer(unsigned i)
{
	struct exchange *x = f.waiting[i];

	f.waiting[i] = NULL;
	exchange_reply(x, 204, NULL);
	turn();
}

static void requests_are_answered_one_after_another_on_one_connection(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		say(0, PING);
		assert_hears(0, HEAD_204);
	}
	assert_int_equal(f.requests, 3);
	assert_int_equal(connpage_get(f.page, 0).state, SLOT_IDLE);
}

static void pipelined_requests_wait_for_their_predecessors(void **state)
{
	(void)state;
	f.answer_at_once = false;
	say(0, PING PING PING);
	assert_int_equal(f.requests, 1);
	answer(0);
	assert_int_equal(f.requests, 2);
	answer(1);
	answer(2);
	assert_int_equal(f.requests, 3);
	assert_hears(0, HEAD_204 HEAD_204 HEAD_204);
}

static void many_pipelined_requests_leave_others_their_turn(void **state)
{
	enum { MANY = 700 };
	char *many = malloc(strlen(PING) * MANY);
	static char buf[MANY * sizeof(HEAD_204)];
	size_t got = 0;

	(void)state;
	assert_non_null(many);
	for (size_t i = 0; i < MANY; i++)
		memcpy(many + strlen(PING) * i, PING, strlen(PING));
	assert_int_equal(send(f.client[0], many, strlen(PING) * MANY, 0), strlen(PING) * MANY);
	say(1, "GET /other HTTP/1.1\r\n\r\n");
	assert_true(f.other_at > 0 && f.other_at < MANY / 2);
	assert_hears(1, HEAD_204);
	for (int i = 0; i < 100 && got < MANY * strlen(HEAD_204); i++) {
		ssize_t n = recv(f.client[0], buf, sizeof(buf), MSG_DONTWAIT);

		got += n > 0 ? (size_t)n : 0;
		turn();
	}
	assert_int_equal(f.requests, MANY + 1);
	assert_int_equal(got, MANY * strlen(HEAD_204));
	free(many);
}

static void close_is_honoured_after_the_reply(void **state)
{
	(void)state;
	say(0, "GET /ping HTTP/1.1\r\nConnection: close\r\n\r\n" PING);
	assert_hears(0, HEAD_204_CLOSE);
	assert_gone(0);
	assert_int_equal(f.requests, 1);
}

static void half_closed_client_gets_all_its_answers(void **state)
{
	(void)state;
	assert_int_equal(send(f.client[0], PING PING, strlen(PING PING), 0), strlen(PING PING));
	assert_int_equal(shutdown(f.client[0], SHUT_WR), 0);
	turn();
	assert_hears(0, HEAD_204 HEAD_204);
	assert_gone(0);
	assert_int_equal(f.closed, 1);
}

static void client_that_is_gone_leaves_its_request_running(void **state)
{
	(void)state;
	f.answer_at_once = false;
	say(0, PING);
	exchange_sent(f.waiting[0], 55, 3);
	assert_int_equal(connpage_get(f.page, 0).state, SLOT_SENT);
	fd_closep(&f.client[0]);
	turn();
	answer(0);
	assert_int_equal(f.delivered, 55);
	assert_int_equal(f.closed, 1);
	assert_int_equal(connpage_get(f.page, 0).state, SLOT_FREE);
}

static void result_counts_as_delivered_when_the_reply_is_out(void **state)
{
	(void)state;
	f.answer_at_once = false;
	say(0, PING);
	exchange_sent(f.waiting[0], 56, 3);
	assert_int_equal(f.delivered, 0);
	answer(0);
	assert_int_equal(f.delivered, 56);
	assert_hears(0, HEAD_204);
}

static void page_follows_the_request(void **state)
{
	(void)state;
	f.answer_at_once = false;
	say(0, "GET /pi");
	assert_int_equal(connpage_get(f.page, 0).state, SLOT_READING);
	say(0, "ng HTTP/1.1\r\n\r\n");
	exchange_sent(f.waiting[0], 9, 4);
	struct slot_info i = connpage_get(f.page, 0);
	assert_int_equal(i.state, SLOT_SENT);
	assert_int_equal(i.id, 9);
	assert_int_equal(i.route, 4);
	assert_false(i.close);
	answer(0);
	assert_int_equal(connpage_get(f.page, 0).state, SLOT_IDLE);
	say(0, "0\r\n\r\n");
	assert_int_equal(connpage_get(f.page, 0).state, SLOT_IDLE);
}

static void successor_answers_what_its_predecessor_was_asked(void **state)
{
	struct slot_info sent = { .state = SLOT_SENT, .id = 42, .route = 2, .close = true };
	int pair[2];

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
	connpage_set_sent(f.page, 100, &sent);
	struct exchange *x = server_adopt(f.server, 100, pair[0]);
	assert_non_null(x);
	assert_int_equal(x->sent_id, 42);
	exchange_reply(x, 204, NULL);
	turn();
	assert_int_equal(f.delivered, 42);
	char got[256];
	ssize_t n = recv(pair[1], got, sizeof(got) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	got[n] = '\0';
	assert_string_equal(got, HEAD_204_CLOSE);
	(void)close(pair[1]);
}

static void connections_lost_with_a_predecessor_are_shut(void **state)
{
	static const enum slot_state lost[] = { SLOT_READING, SLOT_REPLYING, SLOT_FREE };

	(void)state;
	for (unsigned i = 0; i < nitems(lost); i++) {
		int pair[2];
		char c;

		assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
		connpage_set(f.page, 100, lost[i]);
		assert_null(server_adopt(f.server, 100, pair[0]));
		turn();
		assert_int_equal(recv(pair[1], &c, 1, MSG_DONTWAIT), 0);
		(void)close(pair[1]);
	}
}

static void slot_that_is_out_of_range_or_in_use_is_refused(void **state)
{
	int pair[2];
	char c;

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
	assert_null(server_adopt(f.server, CONN_MAX, pair[0]));
	assert_int_equal(recv(pair[1], &c, 1, MSG_DONTWAIT), 0);
	(void)close(pair[1]);
	assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
	assert_null(server_adopt(f.server, 0, pair[0]));
	assert_int_equal(recv(pair[1], &c, 1, MSG_DONTWAIT), 0);
	(void)close(pair[1]);
	say(0, PING);
	assert_hears(0, HEAD_204);
}

static void bad_request_is_answered_then_the_connection_ends(void **state)
{
	char got[1024];

	(void)state;
	say(0, "GET /ping HTTP/1.1\r\nContent-Length: x\r\n\r\n" PING);
	ssize_t n = recv(f.client[0], got, sizeof(got) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	got[n] = '\0';
	assert_non_null(strstr(got, "HTTP/1.1 400 \r\nServer: Firecracker API\r\nConnection: close\r\n"));
	assert_gone(0);
	assert_int_equal(f.requests, 0);
	/* what still comes is read and dropped, so that a client in the middle of a body gets to the answer */
	say(0, PING PING);
	fd_closep(&f.client[0]);
	turn();
	assert_int_equal(f.closed, 1);
}

static void bad_method_leaves_the_connection_usable(void **state)
{
	char got[1024];

	(void)state;
	say(0, "POST /ping HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody" PING);
	ssize_t n = recv(f.client[0], got, sizeof(got) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	got[n] = '\0';
	assert_non_null(strstr(got, "HTTP/1.1 400 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"));
	assert_non_null(strstr(got, HEAD_204));
	assert_int_equal(f.requests, 1);
}

static void descriptors_belong_to_their_request_and_are_closed_with_it(void **state)
{
	static const char first[] = "PUT /take HTTP/1.1\r\n", rest[] = "Content-Length: 2\r\n\r\nhi";
	int pipes[2];
	char c;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(fd_sendmsg(f.client[0], first, sizeof(first) - 1, &pipes[1], 1), sizeof(first) - 1);
	turn();
	say(0, rest);
	assert_int_equal(f.last_fds, 1);
	assert_true(f.taken_fd >= 0);
	fd_closep(&f.taken_fd);
	say(0, PING);
	assert_int_equal(f.last_fds, 0);
	/* not wanted: closed */
	assert_int_equal(fd_sendmsg(f.client[0], PING, strlen(PING), pipes, 2), strlen(PING));
	turn();
	assert_int_equal(f.last_fds, 2);
	fd_closep(&pipes[1]);
	assert_int_equal(read(pipes[0], &c, 1), 0); /* no writer is left */
	fd_closep(&pipes[0]);
}

static void body_is_invited_by_100(void **state)
{
	(void)state;
	say(0, "PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	assert_hears(0, "HTTP/1.1 100 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n");
	say(0, "hi");
	assert_hears(0, HEAD_204);
	assert_int_equal(f.last_body, 2);
}

/* Five times 4 MiB: four fit the budget, the fifth is served when one of them has ended. */
static void large_bodies_wait_for_each_other_unread(void **state)
{
	static char body[4 << 20];
	char got[256];

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		say(i, "PUT /a HTTP/1.1\r\nContent-Length: 4194304\r\n\r\n");
	ssize_t n = send(f.client[4], body, sizeof(body), MSG_DONTWAIT);
	assert_true(n > 0 && n < (ssize_t)sizeof(body));
	turn();
	assert_int_equal(send(f.client[4], body, 1, MSG_DONTWAIT), -1); /* nobody reads */
	say(5, "PUT /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"); /* a small one goes through */
	assert_hears(5, HEAD_204);
	fd_closep(&f.client[0]); /* its body will never come */
	turn();
	for (size_t off = (size_t)n; off < sizeof(body);) {
		n = send(f.client[4], body + off, sizeof(body) - off, MSG_DONTWAIT);
		off += n > 0 ? (size_t)n : 0;
		turn();
	}
	turn();
	assert_int_equal(f.last_body, sizeof(body));
	n = recv(f.client[4], got, sizeof(got), MSG_DONTWAIT);
	assert_int_equal(n, strlen(HEAD_204));
}

static void reply_that_is_not_taken_ends_the_connection(void **state)
{
	static uint8_t big[4 << 20];
	struct wbuf body;

	(void)state;
	f.answer_at_once = false;
	say(0, PING);
	wbuf_init(&body, sizeof(big));
	assert_int_equal(wbuf_put(&body, big, sizeof(big)), 0);
	struct exchange *x = f.waiting[0];
	f.waiting[0] = NULL;
	exchange_reply(x, 200, &body);
	wbuf_fini(&body);
	assert_true(server_has_output(f.server));
	for (int i = 0; i < 200 && f.closed == 0; i++) { /* a second without progress */
		static const struct timeval step = { .tv_usec = 50000 };

		(void)event_base_loopexit(f.base, &step);
		(void)event_base_dispatch(f.base);
	}
	assert_int_equal(f.closed, 1);
	assert_false(server_has_output(f.server));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(requests_are_answered_one_after_another_on_one_connection),
		TEST(pipelined_requests_wait_for_their_predecessors),
		TEST(many_pipelined_requests_leave_others_their_turn),
		TEST(close_is_honoured_after_the_reply),
		TEST(half_closed_client_gets_all_its_answers),
		TEST(client_that_is_gone_leaves_its_request_running),
		TEST(result_counts_as_delivered_when_the_reply_is_out),
		TEST(page_follows_the_request),
		TEST(successor_answers_what_its_predecessor_was_asked),
		TEST(connections_lost_with_a_predecessor_are_shut),
		TEST(slot_that_is_out_of_range_or_in_use_is_refused),
		TEST(bad_request_is_answered_then_the_connection_ends),
		TEST(bad_method_leaves_the_connection_usable),
		TEST(descriptors_belong_to_their_request_and_are_closed_with_it),
		TEST(body_is_invited_by_100),
		TEST(large_bodies_wait_for_each_other_unread),
		TEST(reply_that_is_not_taken_ends_the_connection),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
