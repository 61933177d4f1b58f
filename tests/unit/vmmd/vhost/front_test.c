/* SPDX-License-Identifier: ISC */
/* The handshake, what is wrong with an answer, the configuration space. */
#include "vmmd/vhost/front.h"

#include "front_fixture.h"

/* --- handshake -------------------------------------------------------------------------------------------------------- */

static void handshake_of_ours(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	assert_int_equal(f->ready, 1);
	assert_int_equal(f->front.features, FEATURES);
	assert_int_equal(f->front.config[0], 7);
	fake_expect_nothing(&f->be);
	end(f);
}

static void handshake_takes_only_protocol_features_that_we_know(void **state)
{
	struct fixture *f = make(false, CONFIG, true);

	(void)state;
	to_protocol(f, UINT64_MAX);
	/* requests of its own need a channel that others don't get */
	assert_int_equal(fake_u64(&f->be), PROTO_ALL & ~VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ));
	end(f);
}

static void handshake_in_single_bytes(void **state)
{
	struct fixture *f = make(true, CONFIG, true);
	struct vhost_user_header h = { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION | VHOST_USER_REPLY, 8 };
	uint64_t v = FEATURES;
	uint8_t m[20];

	(void)state;
	fake_expect(&f->be, VHOST_USER_SET_OWNER);
	fake_expect(&f->be, VHOST_USER_GET_FEATURES);
	memcpy(m, &h, 12);
	memcpy(m + 12, &v, 8);
	for (size_t i = 0; i < sizeof(m); i++) {
		assert_int_equal(send(f->be.sock, &m[i], 1, 0), 1);
		turn(f);
	}
	fake_expect(&f->be, VHOST_USER_GET_PROTOCOL_FEATURES);
	end(f);
}

static void handshake_of_a_back_end_without_anything(void **state)
{
	struct fixture *f = make(false, 12, false);

	(void)state;
	fake_expect(&f->be, VHOST_USER_SET_OWNER);
	fake_expect(&f->be, VHOST_USER_GET_FEATURES);
	fake_reply_u64(&f->be, VHOST_USER_GET_FEATURES, VHOST_USER_BIT(VIRTIO_F_VERSION_1));
	turn(f);
	assert_int_equal(f->ready, 1);
	assert_false(f->front.has_config);
	end(f);
}

static void handshake_without_configuration_where_it_may_fail(void **state)
{
	struct fixture *f = make(false, 12, false);

	(void)state;
	to_protocol(f, VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIG));
	fake_expect(&f->be, VHOST_USER_GET_CONFIG);
	fake_reply(&f->be, VHOST_USER_GET_CONFIG, NULL, 0);
	turn(f);
	assert_int_equal(f->ready, 1);
	assert_false(f->front.has_config);
	end(f);
}

static void handshake_fails_without_virtio_1(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	fake_expect(&f->be, VHOST_USER_SET_OWNER);
	fake_expect(&f->be, VHOST_USER_GET_FEATURES);
	fake_reply_u64(&f->be, VHOST_USER_GET_FEATURES, 1 << 6);
	turn(f);
	assert_int_equal(f->broken, 1);
	assert_string_equal(f->why, "it does not know virtio 1");
	end(f);
}

static void handshake_fails_with_too_few_queues(void **state)
{
	static const uint64_t counts[] = { 0, 1 };

	(void)state;
	for (size_t i = 0; i < nitems(counts); i++) {
		struct fixture *f = make(true, CONFIG, true);

		to_protocol(f, PROTO_ALL);
		fake_expect(&f->be, VHOST_USER_GET_QUEUE_NUM);
		fake_reply_u64(&f->be, VHOST_USER_GET_QUEUE_NUM, counts[i]);
		turn(f);
		assert_int_equal(f->broken, 1);
		end(f);
	}
}

static void handshake_fails_without_configuration_that_is_needed(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	to_protocol(f, 0);
	turn(f);
	assert_int_equal(f->broken, 1);
	assert_int_equal(f->ready, 0);
	end(f);
}

/* --- hostile ---------------------------------------------------------------------------------------------------------- */

struct bad {
	uint32_t request, flags, size;
	unsigned n_fds;
};

static void send_bad(struct fixture *f, const struct bad *b)
{
	uint8_t junk[VHOST_USER_PAYLOAD_MAX] = { 0 };
	struct vhost_user_header h = { b->request, b->flags, b->size };
	int fds[FAKE_FDS];

	for (unsigned i = 0; i < b->n_fds; i++)
		fds[i] = f->kick[0];
	assert_int_equal(fd_sendmsg(f->be.sock, &h, sizeof(h), fds, b->n_fds), sizeof(h));
	(void)fd_sendmsg(f->be.sock, junk, b->size < sizeof(junk) ? b->size : sizeof(junk), NULL, 0);
}

static void answers_that_are_none_break_it(void **state)
{
	enum { GOOD = VHOST_USER_VERSION | VHOST_USER_REPLY };
	static const struct bad bad[] = {
		{ VHOST_USER_GET_PROTOCOL_FEATURES, GOOD, 8, 0 }, /* never asked */
		{ VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 8, 0 },
		{ VHOST_USER_GET_FEATURES, VHOST_USER_REPLY, 8, 0 },
		{ VHOST_USER_GET_FEATURES, GOOD | 1u << 30, 8, 0 },
		{ VHOST_USER_GET_FEATURES, GOOD, 0, 0 },
		{ VHOST_USER_GET_FEATURES, GOOD, 7, 0 },
		{ VHOST_USER_GET_FEATURES, GOOD, 9, 0 },
		{ VHOST_USER_GET_FEATURES, GOOD, UINT32_MAX, 0 },
		{ VHOST_USER_GET_FEATURES, GOOD, 8, 1 },
		{ VHOST_USER_GET_FEATURES, GOOD, 8, 8 },
		{ 0, GOOD, 8, 0 },
		{ UINT32_MAX, GOOD, 8, 0 },
	};

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++) {
		struct fixture *f = make(false, CONFIG, true);

		fake_expect(&f->be, VHOST_USER_SET_OWNER);
		fake_expect(&f->be, VHOST_USER_GET_FEATURES);
		send_bad(f, &bad[i]);
		turn(f);
		assert_int_equal(f->broken, 1);
		assert_int_equal(f->front.state, VHOST_DOWN);
		end(f);
	}
}

static void an_answer_twice_breaks_it(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	fake_reply_u64(&f->be, VHOST_USER_GET_FEATURES, FEATURES);
	turn(f);
	assert_int_equal(f->broken, 1);
	end(f);
}

static void the_end_of_its_socket_breaks_it(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	assert_int_equal(shutdown(f->be.sock, SHUT_WR), 0);
	turn(f);
	assert_int_equal(f->broken, 1);
	assert_string_equal(f->why, "it has closed its socket");
	end(f);
}

static void last_words_count_before_the_end(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	start_ours(f);
	vhost_front_stop(&f->front);
	expect_enable(f, 0, false);
	expect_enable(f, 1, false);
	struct vhost_user_vring_state s = { 0, 0 };

	fake_reply(&f->be, VHOST_USER_GET_VRING_BASE, &s, sizeof(s));
	s.index = 1;
	fake_reply(&f->be, VHOST_USER_GET_VRING_BASE, &s, sizeof(s));
	fd_closep(&f->be.sock);
	turn(f);
	assert_int_equal(f->stopped, 1);
	assert_int_equal(f->broken, 1);
	end(f);
}

static void silence_breaks_it_in_time(void **state)
{
	struct fixture *f = make(true, CONFIG, true);
	uint64_t since = ev_now_ns();

	(void)state;
	run_until_broken(f);
	assert_string_equal(f->why, "it does not answer");
	assert_true(ev_now_ns() - since >= (uint64_t)TIMEOUT_MS * 1000000);
	end(f);
}

static void one_byte_now_and_then_is_silence(void **state)
{
	struct fixture *f = make(true, CONFIG, true);
	struct vhost_user_header h = { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION | VHOST_USER_REPLY, 8 };

	(void)state;
	for (size_t i = 0; i < sizeof(h) && f->broken == 0; i++) {
		(void)send(f->be.sock, (uint8_t *)&h + i, 1, MSG_NOSIGNAL);
		turn(f);
		nap(10);
	}
	run_until_broken(f);
	end(f);
}

/* Both sides were frozen: the clock has moved on, and the answer comes with the first look, or soon after it. */
static void a_deadline_is_believed_only_after_another_look(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	fake_expect(&f->be, VHOST_USER_SET_OWNER);
	fake_expect(&f->be, VHOST_USER_GET_FEATURES);
	nap(TIMEOUT_MS + 10);
	vhost_front_pump(&f->front); /* over, and doubted */
	assert_int_equal(f->broken, 0);
	fake_reply_u64(&f->be, VHOST_USER_GET_FEATURES, FEATURES);
	nap(15);
	turn(f);
	assert_int_equal(f->broken, 0);
	fake_expect(&f->be, VHOST_USER_GET_PROTOCOL_FEATURES);
	end(f);
}

static void a_back_end_that_reads_nothing_is_broken_in_time(void **state)
{
	struct fixture *f = make(true, CONFIG, true);
	int small = 1;

	(void)state;
	shake_hands(f);
	start_ours(f);
	assert_int_equal(setsockopt(f->front.link.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	for (int i = 0; i < 100; i++) {
		vhost_front_kick(&f->front, 0);
		vhost_front_kick(&f->front, 1);
	}
	assert_true(f->front.link.n_queued <= 2); /* doorbells that wait are not rung again */
	run_until_broken(f);
	end(f);
}

static void a_flood_of_unasked_answers_costs_one_message(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	for (int i = 0; i < 50; i++)
		fake_reply_u64(&f->be, VHOST_USER_SET_MEM_TABLE, 0);
	turn(f);
	assert_int_equal(f->broken, 1);
	end(f);
}

/* --- configuration space ---------------------------------------------------------------------------------------------- */

static void change_is_read_again(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	vhost_front_refresh_config(&f->front);
	answer_config(f, 9, 1);
	assert_int_equal(f->config, 1);
	assert_int_equal(f->front.config[0], 9);
	end(f);
}

static void many_changes_are_read_once_more(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	for (int i = 0; i < 100; i++)
		vhost_front_refresh_config(&f->front);
	answer_config(f, 8, 1);
	assert_int_equal(f->config, 0); /* that one may be old */
	answer_config(f, 9, 1);
	assert_int_equal(f->config, 1);
	fake_expect_nothing(&f->be);
	end(f);
}

static void expect_set_config(struct fixture *f, uint8_t value)
{
	struct vhost_user_config c;

	fake_expect(&f->be, VHOST_USER_SET_CONFIG);
	memcpy(&c, f->be.payload, f->be.h.size);
	assert_int_equal(c.offset, 32);
	assert_int_equal(c.size, 1);
	assert_int_equal(c.data[0], value);
}

static void write_goes_out_and_stays(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	vhost_front_write_config(&f->front, 32, "\0", 1);
	expect_set_config(f, 0);
	/* while that is on its way, two more: one message */
	vhost_front_write_config(&f->front, 32, "\1", 1);
	vhost_front_write_config(&f->front, 32, "\2", 1);
	fake_expect_nothing(&f->be);
	fake_reply_u64(&f->be, VHOST_USER_SET_CONFIG, 0);
	turn(f);
	expect_set_config(f, 2);
	assert_int_equal(f->front.config[32], 2);
	end(f);
}

static void write_outside_what_may_be_written_is_dropped(void **state)
{
	struct fixture *f = make(true, CONFIG, true);
	uint8_t many[8] = { 0xff };

	(void)state;
	shake_hands(f);
	vhost_front_write_config(&f->front, 31, many, 1);
	vhost_front_write_config(&f->front, 32, many, 2);
	vhost_front_write_config(&f->front, 33, many, 1);
	vhost_front_write_config(&f->front, UINT32_MAX, many, 8);
	fake_expect_nothing(&f->be);
	end(f);
}

static void successor_gets_what_the_driver_wrote(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	start_ours(f);
	vhost_front_write_config(&f->front, 32, "\0", 1);
	expect_set_config(f, 0);
	fake_reply_u64(&f->be, VHOST_USER_SET_CONFIG, 0);
	turn(f);
	fd_closep(&f->be.sock);
	turn(f);
	connect_again(f);
	shake_hands(f); /* says 1 */
	assert_int_equal(f->front.config[32], 0);
	vhost_front_start(&f->front, FEATURES, &f->ram, true);
	expect_set_config(f, 0);
	end(f);
}

static void doorbell_in_the_band_only_while_running(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	vhost_front_kick(&f->front, 0);
	fake_expect_nothing(&f->be);
	start_ours(f);
	vhost_front_kick(&f->front, 1);
	vhost_front_kick(&f->front, QUEUES);
	fake_expect(&f->be, VHOST_USER_VRING_KICK);
	assert_int_equal(fake_state(&f->be).index, 1);
	fake_expect_nothing(&f->be);
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handshake_of_ours),
		cmocka_unit_test(handshake_takes_only_protocol_features_that_we_know),
		cmocka_unit_test(handshake_in_single_bytes),
		cmocka_unit_test(handshake_of_a_back_end_without_anything),
		cmocka_unit_test(handshake_without_configuration_where_it_may_fail),
		cmocka_unit_test(handshake_fails_without_virtio_1),
		cmocka_unit_test(handshake_fails_with_too_few_queues),
		cmocka_unit_test(handshake_fails_without_configuration_that_is_needed),
		cmocka_unit_test(answers_that_are_none_break_it),
		cmocka_unit_test(an_answer_twice_breaks_it),
		cmocka_unit_test(the_end_of_its_socket_breaks_it),
		cmocka_unit_test(last_words_count_before_the_end),
		cmocka_unit_test(silence_breaks_it_in_time),
		cmocka_unit_test(one_byte_now_and_then_is_silence),
		cmocka_unit_test(a_deadline_is_believed_only_after_another_look),
		cmocka_unit_test(a_back_end_that_reads_nothing_is_broken_in_time),
		cmocka_unit_test(a_flood_of_unasked_answers_costs_one_message),
		cmocka_unit_test(change_is_read_again),
		cmocka_unit_test(many_changes_are_read_once_more),
		cmocka_unit_test(write_goes_out_and_stays),
		cmocka_unit_test(write_outside_what_may_be_written_is_dropped),
		cmocka_unit_test(successor_gets_what_the_driver_wrote),
		cmocka_unit_test(doorbell_in_the_band_only_while_running),
	};

	return cmocka_run_group_tests_name("vhost/front", tests, NULL, NULL);
}
