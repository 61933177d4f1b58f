/* SPDX-License-Identifier: ISC */
/* What the vhost-user server does for a front end that means well. */
#include "tests/unit/devices/common/front.h"

static void ring_starts_when_started_and_enabled(void **state)
{
	(void)state;
	negotiate(0);
	assert_int_equal(say_memory(0x10000, RAM, 0), 0);
	set_up_ring(1);
	assert_int_equal(stub.starts[1], 0);
	assert_int_equal(say_state(VHOST_USER_SET_VRING_ENABLE, 1, 1), 0);
	assert_int_equal(stub.starts[1], 1);
	assert_int_equal(stub.setup[1].desc, 0x10000);
	assert_int_equal(stub.setup[1].avail, 0x11000);
	assert_int_equal(stub.setup[1].used, 0x12000);
	assert_int_equal(stub.setup[1].num, 128);
	assert_int_equal(stub.setup[1].base, 7);
	assert_int_equal(stub.starts[0] + stub.starts[2], 0);
}

static void without_protocol_features_a_ring_starts_enabled(void **state)
{
	(void)state;
	assert_int_equal(say_u64(VHOST_USER_SET_FEATURES, UINT64_C(1) << 32), 0);
	assert_int_equal(say_memory(0, RAM, 0), 0);
	set_up_ring(0);
	assert_true(stub.running[0]);
}

static void addresses_outside_the_table_are_the_guests_fault(void **state)
{
	struct vhost_user_vring_addr a = { .index = 0, .descriptor = USER + RAM, .available = 0, .used = UINT64_MAX };

	(void)state;
	negotiate(0);
	assert_int_equal(say_memory(0, RAM, 0), 0);
	set_up_ring(0);
	assert_int_equal(say_state(VHOST_USER_GET_VRING_BASE, 0, 0), 0);
	assert_int_equal(say(VHOST_USER_SET_VRING_ADDR, &a, sizeof(a)), 0);
	assert_int_equal(say_fd(VHOST_USER_SET_VRING_KICK, 0, eventfd(0, 0)), 0);
	assert_int_equal(say_state(VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	assert_true(stub.running[0]); /* and vq_start() finds it out */
	assert_int_equal(gmem_check(stub.setup[0].gm, stub.setup[0].desc, 1), -EFAULT);
	assert_int_equal(gmem_check(stub.setup[0].gm, stub.setup[0].used, 1), -EFAULT);
}

static void base_is_told_when_nothing_is_in_flight(void **state)
{
	struct vhost_user_vring_state v;

	(void)state;
	negotiate(0);
	assert_int_equal(say_memory(0, RAM, 0), 0);
	run_ring(2);
	stub.busy[2] = true;
	assert_int_equal(say_state(VHOST_USER_GET_VRING_BASE, 2, 0), 0);
	assert_int_equal(stub.stops[2], 1);
	assert_int_equal(hear(VHOST_USER_GET_VRING_BASE, &v, sizeof(v)), -1);
	assert_false(vu_server_wants_read(&s));
	assert_int_equal(vu_server_settle(&s, NULL), 0); /* something else came to rest */
	assert_int_equal(hear(VHOST_USER_GET_VRING_BASE, &v, sizeof(v)), -1);
	stub.busy[2] = false;
	assert_int_equal(vu_server_settle(&s, NULL), 0);
	assert_int_equal(hear(VHOST_USER_GET_VRING_BASE, &v, sizeof(v)), sizeof(v));
	assert_int_equal(v.index, 2);
	assert_int_equal(v.num, 102);
	assert_true(vu_server_wants_read(&s));
	assert_int_equal(stub.starts[2], 1);
}

static void new_memory_waits_for_queues_which_go_on_afterwards(void **state)
{
	(void)state;
	negotiate(0);
	assert_int_equal(say_memory(0, RAM, 0), 0);
	run_ring(0);
	run_ring(1);
	stub.busy[0] = true;
	assert_int_equal(say_memory(0x100000, RAM, 0), 0);
	assert_int_equal(s.mem.slot[0].is.guest_addr, 0);
	stub.busy[0] = false;
	assert_int_equal(vu_server_settle(&s, NULL), 0);
	assert_int_equal(s.mem.slot[0].is.guest_addr, 0x100000);
	assert_int_equal(stub.starts[0], 2);
	assert_int_equal(stub.starts[1], 2);
	assert_int_equal(stub.setup[1].base, 101);
	assert_int_equal(stub.setup[1].desc, 0x100000);
}

static void reset_stops_everything_and_forgets_the_fault(void **state)
{
	(void)state;
	negotiate(VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_STATUS));
	assert_int_equal(say_memory(0, RAM, 0), 0);
	run_ring(0);
	assert_int_equal(say_u64(VHOST_USER_SET_STATUS, 0xf), 0);
	vu_server_needs_reset(&s);
	assert_int_equal(say(VHOST_USER_GET_STATUS, NULL, 0), 0);
	assert_int_equal(hear_u64(VHOST_USER_GET_STATUS), 0x4f);
	assert_int_equal(say_u64(VHOST_USER_SET_STATUS, 0), 0);
	assert_false(stub.running[0]);
	assert_int_equal(stub.resets, 1);
	assert_int_equal(say(VHOST_USER_GET_STATUS, NULL, 0), 0);
	assert_int_equal(hear_u64(VHOST_USER_GET_STATUS), 0);
	run_ring(0);
	assert_int_equal(say(VHOST_USER_RESET_DEVICE, NULL, 0), 0);
	assert_false(stub.running[0]);
}

static void configuration_is_read_and_written_where_it_may_be(void **state)
{
	struct vhost_user_config c = { .offset = 4, .size = 10 };

	(void)state;
	negotiate(ACK);
	assert_int_equal(say(VHOST_USER_GET_CONFIG, &c, 12 + 10), 0);
	assert_int_equal(hear(VHOST_USER_GET_CONFIG, &c, sizeof(c)), 12 + 10);
	assert_memory_equal(c.data, "ig!!\0\0\0\0\0\0", 10);
	c = (struct vhost_user_config){ .offset = 250, .size = 7 };
	assert_int_equal(say(VHOST_USER_GET_CONFIG, &c, 12 + 7), 0);
	assert_int_equal(hear(VHOST_USER_GET_CONFIG, &c, sizeof(c)), 0);
	c = (struct vhost_user_config){ .offset = 4, .size = 2, .data = "XY" };
	assert_int_equal(say(VHOST_USER_SET_CONFIG, &c, 12 + 2), 0);
	assert_memory_equal(s.config, "confXY!!", 8);
	assert_int_equal(stub.config_writes, 1);
	const uint32_t bad[][2] = { { 3, 1 }, { 5, 2 }, { 6, 1 }, { UINT32_MAX, 2 }, { 4, 0 } };
	for (size_t i = 0; i < nitems(bad); i++) {
		c = (struct vhost_user_config){ .offset = bad[i][0], .size = bad[i][1] };
		assert_int_equal(say_raw(VHOST_USER_SET_CONFIG, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, &c, 12 + bad[i][1], NULL, 0),
				 0);
		assert_int_equal(hear_u64(VHOST_USER_SET_CONFIG), 1);
	}
	assert_int_equal(stub.config_writes, 1);
}

static void change_of_configuration_is_told_once(void **state)
{
	struct vhost_user_header h;

	(void)state;
	negotiate(VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ));
	vu_server_config_changed(&s); /* nowhere to tell it yet */
	assert_false(vu_server_wants_tell(&s));
	assert_int_equal(say_raw(VHOST_USER_SET_BACKEND_REQ_FD, VHOST_USER_VERSION, NULL, 0, &backend[0], 1), 0);
	assert_true(vu_server_wants_tell(&s));
	assert_int_equal(vu_server_tell(&s), 0);
	assert_int_equal(recv(backend[1], &h, sizeof(h), MSG_DONTWAIT), sizeof(h));
	assert_int_equal(h.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	assert_false(vu_server_wants_tell(&s));
	assert_int_equal(recv(backend[1], &h, sizeof(h), MSG_DONTWAIT), -1);
}

static void inflight_region_is_made_and_taken_back(void **state)
{
	struct vhost_user_inflight i = { .num_queues = QUEUES, .queue_size = 128 };
	struct vhost_user_header h;
	int fds[1];
	unsigned n;

	(void)state;
	negotiate(VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD));
	assert_int_equal(say(VHOST_USER_GET_INFLIGHT_FD, &i, sizeof(i)), 0); /* with padding, as QEMU has it */
	assert_int_equal(fd_recvmsg(peer, &h, sizeof(h), fds, 1, &n), sizeof(h));
	assert_int_equal(n, 1);
	assert_int_equal(h.size, sizeof(i));
	assert_int_equal(recv(peer, &i, sizeof(i), 0), sizeof(i));
	assert_int_equal(i.mmap_size, vhost_user_inflight_bytes(QUEUES, 128));
	assert_true((fcntl(fds[0], F_GET_SEALS) & F_SEAL_SHRINK) != 0);
	assert_int_equal(say_memory(0, RAM, 0), 0);
	run_ring(0);
	assert_int_equal(stub.setup[0].inflight.num, 128);
	assert_int_equal(say_raw(VHOST_USER_SET_INFLIGHT_FD, VHOST_USER_VERSION, &i, VHOST_USER_INFLIGHT_BYTES, fds, 1), 0);
	assert_int_equal(stub.starts[0], 2);
	i.mmap_size--;
	assert_true(say_raw(VHOST_USER_SET_INFLIGHT_FD, VHOST_USER_VERSION, &i, VHOST_USER_INFLIGHT_BYTES, fds, 1) < 0);
	(void)close(fds[0]);
}

static void end_waits_for_what_is_in_flight(void **state)
{
	(void)state;
	negotiate(0);
	assert_int_equal(say_memory(0, RAM, 0), 0);
	run_ring(0);
	stub.busy[0] = true;
	assert_false(vu_server_disconnect(&s));
	assert_int_equal(stub.stops[0], 1);
	assert_int_equal(s.mem.n, 1);
	stub.busy[0] = false;
	assert_true(vu_server_disconnect(&s));
	assert_int_equal(s.mem.n, 0);
	assert_int_equal(s.fd, -1);
}

static void in_band_kick_reaches_a_running_queue(void **state)
{
	(void)state;
	negotiate(0);
	assert_int_equal(say_memory(0, RAM, 0), 0);
	assert_int_equal(say_state(VHOST_USER_VRING_KICK, 0, 0), 0);
	assert_int_equal(stub.kicks[0], 0);
	run_ring(0);
	assert_int_equal(say_state(VHOST_USER_VRING_KICK, 0, 0), 0);
	assert_int_equal(stub.kicks[0], 1);
}

static void preset_messages_carry_no_descriptors(void **state)
{
	static uint8_t given[RAM], region[65536], log_bytes[4096];
	struct vhost_user_inflight i = { .num_queues = QUEUES, .queue_size = SIZE };
	struct vhost_user_log l = { .size = sizeof(log_bytes) };
	unsigned before;

	(void)state;
	assert_int_equal(gone(NULL), 0);
	assert_int_equal(begin(true), 0);
	s.mem.ram = given;
	s.mem.ram_bytes = RAM;
	s.inflight = (struct vu_shared){ .at = region, .bytes = sizeof(region) };
	s.log_map = (struct vu_shared){ .at = log_bytes, .bytes = sizeof(log_bytes) };
	before = open_descriptors();
	negotiate(VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD));
	assert_int_equal(say_memory(0, RAM, 0), 0);
	memset(region, 0xaa, sizeof(region));
	assert_int_equal(say(VHOST_USER_GET_INFLIGHT_FD, &i, VHOST_USER_INFLIGHT_BYTES), 0);
	assert_int_equal(hear(VHOST_USER_GET_INFLIGHT_FD, &i, sizeof(i)), VHOST_USER_INFLIGHT_BYTES);
	assert_int_equal(region[0] | region[sizeof(region) - 1], 0);
	region[9] = 1;
	assert_int_equal(say(VHOST_USER_SET_INFLIGHT_FD, &i, VHOST_USER_INFLIGHT_BYTES), 0);
	assert_int_equal(region[9], 1); /* taken as it is */
	assert_int_equal(say(VHOST_USER_SET_LOG_BASE, &l, sizeof(l)), 0);
	assert_int_equal(hear_u64(VHOST_USER_SET_LOG_BASE), 0);
	run_ring(1);
	assert_ptr_equal(stub.setup[1].inflight.queue, region + vhost_user_inflight_queue_bytes(SIZE));
	assert_int_equal(open_descriptors(), before);
	/* what is sent all the same is dropped by the kernel */
	assert_int_equal(say_raw(VHOST_USER_SET_OWNER, VHOST_USER_VERSION, NULL, 0, &ram, 1), 0);
	assert_int_equal(open_descriptors(), before);
	assert_true(say_memory(0, RAM, 4096) < 0);
	(void)close(s.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ring_starts_when_started_and_enabled), T(without_protocol_features_a_ring_starts_enabled),
		T(addresses_outside_the_table_are_the_guests_fault), T(base_is_told_when_nothing_is_in_flight),
		T(new_memory_waits_for_queues_which_go_on_afterwards),
		T(reset_stops_everything_and_forgets_the_fault), T(configuration_is_read_and_written_where_it_may_be),
		T(change_of_configuration_is_told_once), T(inflight_region_is_made_and_taken_back),
		T(end_waits_for_what_is_in_flight), T(in_band_kick_reaches_a_running_queue),
		T(preset_messages_carry_no_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
