/* SPDX-License-Identifier: ISC */
#include "vmmd/vhost/backend.h"

#include "common/ev.h"
#include "fake_backend.h"

struct fixture {
	struct event_base *base;
	struct vhost_backend b;
	struct fake be;
	unsigned changed, broken;
};

static void on_changed(void *arg)
{
	((struct fixture *)arg)->changed++;
}

static void on_broken(void *arg, const char *why)
{
	(void)why;
	((struct fixture *)arg)->broken++;
}

static int setup(void **state)
{
	static const struct vhost_backend_ops ops = { on_changed, on_broken };
	struct fixture *f = calloc(1, sizeof(*f));
	int pair[2];

	assert_non_null(f);
	f->base = ev_new(EV_BACKEND_EPOLL);
	assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
	f->be.sock = pair[0];
	vhost_backend_init(&f->b, &ops, f);
	assert_int_equal(vhost_backend_open(&f->b, f->base, &pair[1]), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vhost_backend_close(&f->b);
	ev_free(f->base);
	fd_closep(&f->be.sock);
	free(f);
	return 0;
}

static void turn(struct fixture *f)
{
	for (int i = 0; i < 4; i++)
		assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
}

static void ask(struct fixture *f, uint32_t request, uint32_t flags, const void *p, uint32_t len)
{
	fake_send(&f->be, request, VHOST_USER_VERSION | flags, p, len, NULL, 0);
	turn(f);
}

static void change_is_told(void **state)
{
	struct fixture *f = *state;

	ask(f, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, 0, NULL, 0);
	assert_int_equal(f->changed, 1);
	fake_expect_nothing(&f->be);
}

static void change_is_acknowledged_when_asked(void **state)
{
	struct fixture *f = *state;

	ask(f, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, VHOST_USER_NEED_REPLY, NULL, 0);
	assert_int_equal(f->changed, 1);
	fake_expect(&f->be, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	assert_true((f->be.h.flags & VHOST_USER_REPLY) != 0);
	assert_int_equal(fake_u64(&f->be), 0);
}

static void everything_else_is_refused(void **state)
{
	static const uint32_t requests[] = {
		VHOST_USER_BACKEND_IOTLB_MSG,
		VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG,
		VHOST_USER_BACKEND_VRING_CALL,
		VHOST_USER_BACKEND_VRING_ERR,
		6,
		4711,
		UINT32_MAX,
	};
	struct fixture *f = *state;
	uint8_t junk[40] = { 0xff };

	for (size_t i = 0; i < nitems(requests); i++) {
		ask(f, requests[i], VHOST_USER_NEED_REPLY, junk, sizeof(junk));
		fake_expect(&f->be, requests[i]);
		assert_true(fake_u64(&f->be) != 0);
		ask(f, requests[i], 0, junk, sizeof(junk));
		fake_expect_nothing(&f->be);
	}
	assert_int_equal(f->changed, 0);
	assert_int_equal(f->broken, 0);
}

static void change_with_a_payload_is_refused(void **state)
{
	struct fixture *f = *state;

	ask(f, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, 0, "12345678", 8);
	assert_int_equal(f->changed, 0);
}

static void no_message_breaks_it(void **state)
{
	static const struct vhost_user_header bad[] = {
		{ VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, 0, 0 },
		{ VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, VHOST_USER_VERSION | VHOST_USER_REPLY, 0 },
		{ VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, VHOST_USER_VERSION, UINT32_MAX },
		{ 0, VHOST_USER_VERSION, 0 },
	};

	for (size_t i = 0; i < nitems(bad); i++) {
		void *own = NULL;

		(void)state;
		assert_int_equal(setup(&own), 0);
		struct fixture *f = own;

		assert_int_equal(fd_sendmsg(f->be.sock, &bad[i], sizeof(bad[i]), NULL, 0), sizeof(bad[i]));
		turn(f);
		assert_int_equal(f->broken, 1);
		assert_int_equal(f->b.fd, -1);
		(void)teardown(&own);
	}
}

/* 1000 a second are believed to be a window that is being dragged. */
static void flood_breaks_it(void **state)
{
	struct fixture *f = *state;
	int sent = 0;

	while (f->broken == 0 && sent < 3000) {
		for (int i = 0; i < 50 && f->broken == 0; i++, sent++)
			fake_send(&f->be, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, VHOST_USER_VERSION, NULL, 0, NULL, 0);
		turn(f);
	}
	assert_int_equal(f->broken, 1);
	assert_true(f->changed >= 1000);
}

static void end_of_the_channel_is_quiet(void **state)
{
	struct fixture *f = *state;

	fd_closep(&f->be.sock);
	turn(f);
	assert_int_equal(f->broken, 0);
	assert_int_equal(f->b.fd, -1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(change_is_told),
		T(change_is_acknowledged_when_asked),
		T(everything_else_is_refused),
		T(change_with_a_payload_is_refused),
		cmocka_unit_test(no_message_breaks_it),
		T(flood_breaks_it),
		T(end_of_the_channel_is_quiet),
	};

	return cmocka_run_group_tests_name("vhost/backend", tests, NULL, NULL);
}
