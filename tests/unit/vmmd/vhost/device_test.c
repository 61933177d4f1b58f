/* SPDX-License-Identifier: ISC */
/* What a driver gets to see while back ends work, hang, die and come again. */
#include "vmmd/vhost/device.h"

#include "device_fixture.h"

static void start_waits_for_nobody(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	driver_ok(f);
	assert_int_equal(f->d->front.state, VHOST_RUNNING);
	fake_expect(&f->be, VHOST_USER_SET_FEATURES);
	assert_int_equal(fake_u64(&f->be), ACKED | VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES));
	assert_int_equal(f->v.needs_reset, 0);
	end(f);
}

static void rings_outside_memory_are_left_out(void **state)
{
	static const struct virtio_queue bad[] = {
		{ true, RING, RAM - 16, 0x1800, 0x2000 },
		{ true, RING, 0x1000, RAM, 0x2000 },
		{ true, RING, 0x1000, 0x1800, UINT64_MAX - 3 },
		{ true, RING, 0x1008, 0x1800, 0x2000 },
		{ true, RING, 0x1000, 0x1801, 0x2000 },
		{ true, RING, 0x1000, 0x1800, 0x2002 },
		{ true, 0, 0x1000, 0x1800, 0x2000 },
		{ true, 3, 0x1000, 0x1800, 0x2000 },
		{ true, 2 * QUEUE_SIZE, 0x1000, 0x1800, 0x2000 },
		{ false, RING, 0x1000, 0x1800, 0x2000 },
	};

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++) {
		struct fixture *f = make_disk(true);

		f->v.q[0] = bad[i];
		driver_ok(f);
		assert_false(f->d->front.rings[0].enabled);
		assert_true(f->d->front.rings[1].enabled);
		end(f);
	}
}

static void reset_is_confirmed_when_nothing_is_in_flight(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	driver_ok(f);
	driver_reset(f);
	assert_int_equal(f->v.stopped, 0);
	assert_false(vhost_devices_are_idle(&f->ds));
	play(f, FEATURES, 7);
	assert_int_equal(f->v.stopped, 1);
	assert_int_equal(f->stopped, 1);
	assert_true(vhost_devices_are_idle(&f->ds));
	assert_int_equal(f->kills, 0);
	end(f);
}

static void reset_of_a_hung_back_end_ends_with_its_death(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	driver_ok(f);
	driver_reset(f);
	run_until(f, &f->kills, 0);
	assert_int_equal(f->killed_generation, 1);
	assert_int_equal(f->v.stopped, 0);
	gone(f, 1, false);
	assert_int_equal(f->v.stopped, 1);
	assert_true(vhost_devices_are_idle(&f->ds));
	end(f);
}

static void reset_does_not_wait_for_ever_for_a_death(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	driver_ok(f);
	driver_reset(f);
	run_until(f, &f->v.stopped, 0);
	assert_int_equal(f->kills, 1);
	assert_int_equal(f->failed, 1);
	/* a driver that tries again learns it */
	driver_ok(f);
	assert_int_equal(f->v.needs_reset, 1);
	end(f);
}

static void reset_without_a_back_end_is_confirmed_at_once(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	driver_ok(f);
	gone(f, 1, false);
	driver_reset(f);
	assert_int_equal(f->v.stopped, 1);
	end(f);
}

static void death_is_a_pause(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	driver_ok(f);
	gone(f, 1, false);
	assert_int_equal(f->v.needs_reset, 0);
	f->ram[0x2000 + 2] = 17; /* used.idx of queue 0 */
	f->ram[0x2000 + 3] = 1;
	up(f, 2);
	play(f, FEATURES, 7);
	assert_int_equal(f->restarted, 1);
	assert_int_equal(f->d->front.state, VHOST_RUNNING);
	assert_int_equal(f->d->front.rings[0].base, 273);
	assert_int_equal(f->d->front.rings[1].base, 0);
	end(f);
}

static void driver_ok_without_a_back_end_is_kept(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	f->ram[0x2002] = 5; /* left by a driver before */
	gone(f, 1, false);
	driver_ok(f);
	assert_int_equal(f->v.needs_reset, 0);
	up(f, 2);
	play(f, FEATURES, 7);
	assert_int_equal(f->d->front.state, VHOST_RUNNING);
	assert_int_equal(f->d->front.rings[0].base, 0);
	end(f);
}

static void reset_meanwhile_takes_the_wish_back(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	driver_ok(f);
	gone(f, 1, false);
	driver_reset(f);
	up(f, 2);
	play(f, FEATURES, 7);
	assert_int_equal(f->d->front.state, VHOST_READY);
	end(f);
}

static void broken_back_end_is_reported_once(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	driver_ok(f);
	fake_reply_u64(&f->be, VHOST_USER_GET_FEATURES, 0);
	turn(f);
	assert_int_equal(f->kills, 1);
	fd_closep(&f->be.sock);
	turn(f);
	assert_int_equal(f->kills, 1);
	assert_int_equal(f->v.needs_reset, 0);
	end(f);
}

static void old_news_of_a_death_counts_for_nothing(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	driver_ok(f);
	gone(f, 1, false);
	up(f, 2);
	play(f, FEATURES, 7);
	gone(f, 1, true);
	assert_int_equal(f->d->front.state, VHOST_RUNNING);
	assert_int_equal(f->failed, 0);
	end(f);
}

static void final_death_needs_a_reset_and_stays(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	driver_ok(f);
	gone(f, 1, true);
	assert_int_equal(f->failed, 1);
	assert_int_equal(f->v.needs_reset, 1);
	driver_reset(f);
	assert_int_equal(f->v.stopped, 1);
	driver_ok(f);
	assert_int_equal(f->v.needs_reset, 2);
	end(f);
}

static void death_with_no_successor_for_good_is_told_under_its_number(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	driver_ok(f);
	gone(f, 1, false);
	assert_int_equal(f->failed, 0);
	gone(f, 2, true);
	assert_int_equal(f->failed, 1);
	assert_int_equal(f->v.needs_reset, 1);
	gone(f, 2, true);
	assert_int_equal(f->failed, 1);
	end(f);
}

static void successor_without_features_in_use_fails_the_driver(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	driver_ok(f);
	gone(f, 1, false);
	up(f, 2);
	play(f, FEATURES & ~VHOST_USER_BIT(9), 7);
	assert_int_equal(f->v.needs_reset, 1);
	assert_int_equal(f->d->front.state, VHOST_READY);
	end(f);
}

static void successor_must_be_newer(void **state)
{
	struct fixture *f = make_disk(true);
	const struct msg_mon_device_up m = { .kind = DEV_DISK, .generation = 1 };
	int fds[16], n;

	(void)state;
	gone(f, 1, false);
	n = (int)make_fds(f, true, fds);
	assert_int_equal(vhost_devices_up(&f->ds, &m, fds, 2, NULL), -EBADMSG);
	fd_close_all(fds, (unsigned)n);
	end(f);
}

static void complaint_of_the_back_end_needs_a_reset_once(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	assert_int_equal(eventfd_write(f->err, 1), 0); /* of a life before */
	driver_ok(f);
	assert_int_equal(f->v.needs_reset, 0);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(eventfd_write(f->err, 1), 0);
		turn(f);
	}
	assert_int_equal(f->v.needs_reset, 1);
	end(f);
}

static void complaint_on_an_eventfd_that_blocks_does_not_block(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	driver_ok(f);
	assert_int_equal(fcntl(f->err, F_SETFL, 0), 0);
	assert_int_equal(eventfd_write(f->err, 1), 0);
	turn(f);
	assert_int_equal(f->v.needs_reset, 1);
	driver_reset(f);
	play(f, FEATURES, 7);
	driver_ok(f); /* reads what there is: nothing */
	end(f);
}

static void configuration_that_changes_reaches_the_guest(void **state)
{
	struct fixture *f = make_disk(true);
	const struct vhost_user_header h = { VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, VHOST_USER_VERSION, 0 };

	(void)state;
	assert_int_equal(f->d->config[0], 7);
	assert_int_equal(send(f->backend, &h, sizeof(h), 0), sizeof(h));
	play(f, FEATURES, 9);
	assert_int_equal(f->v.config0, 9);
	assert_int_equal(f->v.set_config, 1);
	end(f);
}

static void hostile_requests_of_its_own_cost_the_back_end(void **state)
{
	struct fixture *f = make_disk(true);
	const struct vhost_user_header h = { VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, 0, UINT32_MAX };

	(void)state;
	assert_int_equal(send(f->backend, &h, sizeof(h), 0), sizeof(h));
	turn(f);
	assert_int_equal(f->kills, 1);
	end(f);
}

/* --- somebody else's -------------------------------------------------------------------------------------------------- */

static void reset_of_anothers_hung_back_end_cuts_it_off(void **state)
{
	struct fixture *f = make_disk(false);

	(void)state;
	driver_ok(f);
	driver_reset(f);
	run_until(f, &f->v.stopped, 0);
	assert_int_equal(f->kills, 1);
	assert_int_equal(f->v.set_kick, QUEUES);
	assert_int_equal(f->v.set_call, QUEUES);
	end(f);
}

static void anothers_successor_hears_a_doorbell(void **state)
{
	struct fixture *f = make_disk(false);
	eventfd_t n = 0;

	(void)state;
	driver_ok(f);
	play(f, FEATURES, 7);
	assert_int_equal(f->v.set_kick, 0);
	gone(f, 1, false);
	up(f, 2);
	play(f, FEATURES, 7);
	assert_int_equal(f->d->front.state, VHOST_RUNNING);
	assert_int_equal(f->v.set_kick, QUEUES);
	assert_int_equal(eventfd_read(f->d->kick[0], &n), 0);
	assert_int_equal(n, 1);
	end(f);
}

static void doorbell_for_another_is_a_fresh_event(void **state)
{
	struct fixture *f = make_disk(false);
	eventfd_t n = 0;

	(void)state;
	driver_ok(f);
	play(f, FEATURES, 7);
	f->d->cfg.ops->kick(f->d->cfg.be, 1);
	fake_expect(&f->be, VHOST_USER_SET_VRING_KICK);
	assert_int_equal(fake_u64(&f->be), 1);
	assert_int_equal(f->be.n_fds, 1);
	assert_int_equal(f->v.set_kick, 1);
	assert_int_equal(eventfd_read(f->d->kick[1], &n), 0);
	assert_int_equal(n, 1);
	end(f);
}

static void doorbell_for_ours_is_a_message(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	driver_ok(f);
	play(f, FEATURES, 7);
	f->d->cfg.ops->kick(f->d->cfg.be, 1);
	fake_expect(&f->be, VHOST_USER_VRING_KICK);
	assert_int_equal(f->v.set_kick, 0);
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(start_waits_for_nobody),
		cmocka_unit_test(rings_outside_memory_are_left_out),
		cmocka_unit_test(reset_is_confirmed_when_nothing_is_in_flight),
		cmocka_unit_test(reset_of_a_hung_back_end_ends_with_its_death),
		cmocka_unit_test(reset_does_not_wait_for_ever_for_a_death),
		cmocka_unit_test(reset_without_a_back_end_is_confirmed_at_once),
		cmocka_unit_test(death_is_a_pause),
		cmocka_unit_test(driver_ok_without_a_back_end_is_kept),
		cmocka_unit_test(reset_meanwhile_takes_the_wish_back),
		cmocka_unit_test(broken_back_end_is_reported_once),
		cmocka_unit_test(old_news_of_a_death_counts_for_nothing),
		cmocka_unit_test(final_death_needs_a_reset_and_stays),
		cmocka_unit_test(death_with_no_successor_for_good_is_told_under_its_number),
		cmocka_unit_test(successor_without_features_in_use_fails_the_driver),
		cmocka_unit_test(successor_must_be_newer),
		cmocka_unit_test(complaint_of_the_back_end_needs_a_reset_once),
		cmocka_unit_test(complaint_on_an_eventfd_that_blocks_does_not_block),
		cmocka_unit_test(configuration_that_changes_reaches_the_guest),
		cmocka_unit_test(hostile_requests_of_its_own_cost_the_back_end),
		cmocka_unit_test(reset_of_anothers_hung_back_end_cuts_it_off),
		cmocka_unit_test(anothers_successor_hears_a_doorbell),
		cmocka_unit_test(doorbell_for_another_is_a_fresh_event),
		cmocka_unit_test(doorbell_for_ours_is_a_message),
	};

	return cmocka_run_group_tests_name("vhost/device", tests, NULL, NULL);
}
