/* SPDX-License-Identifier: ISC */
/* Start, stop and resumption of rings, step by step. */
#include "vmmd/vhost/front.h"

#include "front_fixture.h"

/* --- start ------------------------------------------------------------------------------------------------------------ */

static void start_of_ours_in_order_without_descriptors(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	start_ours(f);
	assert_int_equal(f->refused, 0);
	end(f);
}

static void start_of_another_hands_over_descriptors(void **state)
{
	struct fixture *f = make(false, CONFIG, true);
	_cleanup_(fd_closep) int region = memfd_create("region", MFD_CLOEXEC);

	(void)state;
	shake_hands(f);
	enable(f, 1, 0);
	vhost_front_start(&f->front, FEATURES, &f->ram, false);
	fake_expect(&f->be, VHOST_USER_SET_FEATURES);
	for (int i = 0; i < 2; i++) {
		fake_expect(&f->be, VHOST_USER_ADD_MEM_REG);
		assert_int_equal(f->be.n_fds, 1);
		ack(f);
	}
	expect_num(f, 1); /* ring 0 is not enabled */
	answer_inflight(f, region);
	expect_inflight(f);
	expect_ring(f, 1, 0);
	expect_status(f, 15);
	expect_enable(f, 1, true);
	fake_expect_nothing(&f->be);
	end(f);
}

static void start_of_another_without_slots_uses_the_table(void **state)
{
	struct fixture *f = make(false, 0, false);

	(void)state;
	to_protocol(f, VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK));
	turn(f);
	assert_int_equal(f->front.state, VHOST_READY);
	enable(f, 0, 0);
	vhost_front_start(&f->front, FEATURES, &f->ram, false);
	fake_expect(&f->be, VHOST_USER_SET_FEATURES);
	expect_ram(f);
	expect_num(f, 0);
	expect_ring(f, 0, 0);
	expect_enable(f, 0, true);
	fake_expect_nothing(&f->be);
	end(f);
}

static void start_without_protocol_features_enables_nothing(void **state)
{
	struct fixture *f = make(false, 0, false);

	(void)state;
	fake_expect(&f->be, VHOST_USER_SET_OWNER);
	fake_expect(&f->be, VHOST_USER_GET_FEATURES);
	fake_reply_u64(&f->be, VHOST_USER_GET_FEATURES, VHOST_USER_BIT(VIRTIO_F_VERSION_1));
	turn(f);
	enable(f, 0, 0);
	vhost_front_start(&f->front, VHOST_USER_BIT(VIRTIO_F_VERSION_1), &f->ram, false);
	static const uint32_t order[] = {
		VHOST_USER_SET_FEATURES,   VHOST_USER_SET_MEM_TABLE,  VHOST_USER_SET_VRING_NUM,
		VHOST_USER_SET_VRING_ADDR, VHOST_USER_SET_VRING_BASE, VHOST_USER_SET_VRING_CALL,
		VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_ERR,
	};

	for (size_t i = 0; i < nitems(order); i++) {
		fake_expect(&f->be, order[i]);
		assert_false(fake_wants_reply(&f->be));
	}
	fake_expect_nothing(&f->be);
	end(f);
}

static void refusal_of_a_ring_is_told_and_the_link_stays(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	enable(f, 0, 0);
	vhost_front_start(&f->front, FEATURES, &f->ram, false);
	fake_expect(&f->be, VHOST_USER_SET_FEATURES);
	fake_expect(&f->be, VHOST_USER_SET_MEM_TABLE);
	fake_reply_u64(&f->be, VHOST_USER_SET_MEM_TABLE, 1);
	turn(f);
	assert_int_equal(f->refused, 1);
	assert_int_equal(f->broken, 0);
	end(f);
}

static void inflight_region_with_too_many_descriptors_breaks_it(void **state)
{
	struct fixture *f = make(false, CONFIG, true);
	struct vhost_user_inflight i = { .mmap_size = 4096 };

	(void)state;
	shake_hands(f);
	enable(f, 0, 0);
	vhost_front_start(&f->front, FEATURES, &f->ram, false);
	fake_expect(&f->be, VHOST_USER_SET_FEATURES);
	for (int k = 0; k < 2; k++) {
		fake_expect(&f->be, VHOST_USER_ADD_MEM_REG);
		ack(f);
	}
	expect_num(f, 0);
	fake_expect(&f->be, VHOST_USER_GET_INFLIGHT_FD);
	fake_send(&f->be, VHOST_USER_GET_INFLIGHT_FD, VHOST_USER_VERSION | VHOST_USER_REPLY, &i, sizeof(i), f->kick, 2);
	turn(f);
	assert_int_equal(f->broken, 1);
	end(f);
}

/* --- stop ------------------------------------------------------------------------------------------------------------- */

static void stop_waits_for_every_base(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	start_ours(f);
	vhost_front_stop(&f->front);
	expect_enable(f, 0, false);
	expect_enable(f, 1, false);
	answer_base(f, 0);
	assert_int_equal(f->stopped, 0);
	answer_base(f, 1);
	assert_int_equal(f->stopped, 1);
	assert_int_equal(f->front.state, VHOST_READY);
	fake_expect(&f->be, VHOST_USER_RESET_DEVICE);
	fake_expect_nothing(&f->be);
	end(f);
}

static void stop_twice_is_told_once(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	start_ours(f);
	vhost_front_stop(&f->front);
	vhost_front_stop(&f->front);
	expect_enable(f, 0, false);
	expect_enable(f, 1, false);
	answer_base(f, 0);
	answer_base(f, 1);
	assert_int_equal(f->stopped, 1);
	end(f);
}

static void stop_of_what_does_not_run_is_over_at_once(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	vhost_front_stop(&f->front);
	assert_int_equal(f->stopped, 1);
	vhost_front_close(&f->front);
	vhost_front_stop(&f->front);
	assert_int_equal(f->stopped, 2);
	fake_expect_nothing(&f->be);
	end(f);
}

static void stop_in_the_middle_of_a_start_asks_no_ring(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	enable(f, 0, 0);
	vhost_front_start(&f->front, FEATURES, &f->ram, false);
	vhost_front_stop(&f->front);
	assert_int_equal(f->stopped, 1);
	fake_expect(&f->be, VHOST_USER_SET_FEATURES);
	expect_ram(f);
	expect_num(f, 0);
	answer_inflight(f, -1);
	fake_expect(&f->be, VHOST_USER_RESET_DEVICE);
	fake_expect_nothing(&f->be);
	assert_int_equal(f->broken, 0);
	/* and the next one begins from the start, but for memory, which is known */
	vhost_front_start(&f->front, FEATURES, &f->ram, false);
	fake_expect(&f->be, VHOST_USER_SET_FEATURES);
	expect_num(f, 0);
	answer_inflight(f, -1);
	expect_inflight(f);
	expect_ring(f, 0, 0);
	end(f);
}

static void stop_that_is_not_answered_breaks_it_in_time(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	start_ours(f);
	vhost_front_stop(&f->front);
	uint64_t since = ev_now_ns();

	run_until_broken(f);
	assert_int_equal(f->stopped, 0); /* its death will say so */
	assert_true(ev_now_ns() - since < UINT64_C(1000000000));
	end(f);
}

static void stop_with_the_base_of_another_ring_breaks_it(void **state)
{
	struct fixture *f = make(true, CONFIG, true);
	struct vhost_user_vring_state s = { 1, 0 };

	(void)state;
	shake_hands(f);
	start_ours(f);
	vhost_front_stop(&f->front);
	fake_reply(&f->be, VHOST_USER_GET_VRING_BASE, &s, sizeof(s));
	turn(f);
	assert_int_equal(f->broken, 1);
	assert_int_equal(f->stopped, 0);
	end(f);
}

/* --- resume ----------------------------------------------------------------------------------------------------------- */

static void successor_gets_the_region_and_the_used_index(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	start_ours(f);
	fd_closep(&f->be.sock);
	turn(f);
	assert_int_equal(f->broken, 1);
	connect_again(f);
	shake_hands(f);
	enable(f, 0, 17);
	enable(f, 1, 65535);
	vhost_front_start(&f->front, FEATURES, &f->ram, true);
	fake_expect(&f->be, VHOST_USER_SET_FEATURES);
	expect_ram(f);
	expect_num(f, 0);
	expect_num(f, 1);
	expect_inflight(f); /* not asked for again: that would empty it */
	expect_ring(f, 0, 17);
	expect_ring(f, 1, 65535);
	end(f);
}

static void successor_of_one_that_died_before_its_region_gets_a_fresh_one(void **state)
{
	struct fixture *f = make(true, CONFIG, true);

	(void)state;
	shake_hands(f);
	enable(f, 0, 0);
	vhost_front_start(&f->front, FEATURES, &f->ram, false);
	fd_closep(&f->be.sock);
	turn(f);
	connect_again(f);
	shake_hands(f);
	vhost_front_start(&f->front, FEATURES, &f->ram, true);
	fake_expect(&f->be, VHOST_USER_SET_FEATURES);
	expect_ram(f);
	expect_num(f, 0);
	answer_inflight(f, -1);
	expect_inflight(f);
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(start_of_ours_in_order_without_descriptors),
		cmocka_unit_test(start_of_another_hands_over_descriptors),
		cmocka_unit_test(start_of_another_without_slots_uses_the_table),
		cmocka_unit_test(start_without_protocol_features_enables_nothing),
		cmocka_unit_test(refusal_of_a_ring_is_told_and_the_link_stays),
		cmocka_unit_test(inflight_region_with_too_many_descriptors_breaks_it),
		cmocka_unit_test(stop_waits_for_every_base),
		cmocka_unit_test(stop_twice_is_told_once),
		cmocka_unit_test(stop_of_what_does_not_run_is_over_at_once),
		cmocka_unit_test(stop_in_the_middle_of_a_start_asks_no_ring),
		cmocka_unit_test(stop_that_is_not_answered_breaks_it_in_time),
		cmocka_unit_test(stop_with_the_base_of_another_ring_breaks_it),
		cmocka_unit_test(successor_gets_the_region_and_the_used_index),
		cmocka_unit_test(successor_of_one_that_died_before_its_region_gets_a_fresh_one),
	};

	return cmocka_run_group_tests_name("vhost/front_run", tests, NULL, NULL);
}
