/* SPDX-License-Identifier: ISC */
/* What the vhost-user server lets no front end do. */
#include "tests/unit/devices/common/front.h"

static void refusals_are_answered_when_answers_are_wanted(void **state)
{
	uint64_t v = UINT64_MAX;

	(void)state;
	negotiate(ACK);
	assert_int_equal(say_raw(VHOST_USER_SET_FEATURES, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, &v, 8, NULL, 0), 0);
	assert_int_equal(hear_u64(VHOST_USER_SET_FEATURES), 1);
	v = UINT64_C(1) << 32;
	assert_int_equal(say_raw(VHOST_USER_SET_FEATURES, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, &v, 8, NULL, 0), 0);
	assert_int_equal(hear_u64(VHOST_USER_SET_FEATURES), 0);
	assert_true(say_u64(VHOST_USER_SET_FEATURES, UINT64_MAX) < 0); /* and end the connection otherwise */
}

static void running_ring_keeps_its_geometry(void **state)
{
	struct vhost_user_vring_addr a = { .index = 0, .descriptor = USER + 0x4000, .available = USER, .used = USER };
	struct vhost_user_vring_state v = { 0, 64 };
	const uint32_t flags = VHOST_USER_VERSION | VHOST_USER_NEED_REPLY;

	(void)state;
	negotiate(ACK);
	assert_int_equal(say_memory(0, RAM, 0), 0);
	run_ring(0);
	assert_int_equal(say_raw(VHOST_USER_SET_VRING_NUM, flags, &v, sizeof(v), NULL, 0), 0);
	assert_int_equal(hear_u64(VHOST_USER_SET_VRING_NUM), 1);
	assert_int_equal(say_raw(VHOST_USER_SET_VRING_BASE, flags, &v, sizeof(v), NULL, 0), 0);
	assert_int_equal(hear_u64(VHOST_USER_SET_VRING_BASE), 1);
	assert_int_equal(say_raw(VHOST_USER_SET_VRING_ADDR, flags, &a, sizeof(a), NULL, 0), 0);
	assert_int_equal(hear_u64(VHOST_USER_SET_VRING_ADDR), 1);
	assert_int_equal(stub.stops[0], 0);
}

static void sizes_that_are_none_are_refused(void **state)
{
	const uint32_t bad[] = { 0, 3, 129, 512, 32768, 65536, UINT32_MAX };

	(void)state;
	negotiate(ACK);
	for (size_t i = 0; i < nitems(bad); i++) {
		struct vhost_user_vring_state v = { 0, bad[i] };

		assert_int_equal(say_raw(VHOST_USER_SET_VRING_NUM, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, &v, sizeof(v), NULL, 0), 0);
		assert_int_equal(hear_u64(VHOST_USER_SET_VRING_NUM), 1);
	}
}

static void impossible_messages_end_the_connection(void **state)
{
	static const struct { uint32_t request, flags, size; uint64_t p[2]; unsigned n_fds; } bad[] = {
		{ VHOST_USER_GET_FEATURES, 0, 0, { 0 }, 0 }, { VHOST_USER_GET_FEATURES, 2, 0, { 0 }, 0 },
		{ VHOST_USER_GET_FEATURES, 1 | VHOST_USER_REPLY, 0, { 0 }, 0 }, { VHOST_USER_GET_FEATURES, 1, 8, { 0 }, 0 },
		{ VHOST_USER_SET_FEATURES, 1, 4, { 0 }, 0 }, { VHOST_USER_SET_FEATURES, 1, 0, { 0 }, 0 },
		{ 0, 1, 0, { 0 }, 0 }, { 23, 1, 8, { 0 }, 0 }, { 41, 1, 8, { 0 }, 0 }, { UINT32_MAX, 1, 8, { 0 }, 0 },
		{ VHOST_USER_IOTLB_MSG, 1, 8, { 0 }, 0 },
		{ VHOST_USER_GET_FEATURES, 1, 0, { 0 }, 1 }, { VHOST_USER_SET_FEATURES, 1, 8, { UINT64_C(1) << 32 }, 8 },
		{ VHOST_USER_SET_VRING_NUM, 1, 8, { QUEUES | UINT64_C(128) << 32 }, 0 },
		{ VHOST_USER_SET_VRING_NUM, 1, 8, { 0x100 | UINT64_C(128) << 32 }, 0 },
		{ VHOST_USER_GET_VRING_BASE, 1, 8, { UINT32_MAX }, 0 }, { VHOST_USER_VRING_KICK, 1, 8, { QUEUES }, 0 },
		{ VHOST_USER_SET_VRING_KICK, 1, 8, { QUEUES }, 1 }, { VHOST_USER_SET_VRING_KICK, 1, 8, { 0 }, 0 },
		{ VHOST_USER_SET_VRING_KICK, 1, 8, { VHOST_USER_VRING_NOFD }, 1 }, { VHOST_USER_SET_VRING_CALL, 1, 8, { 0 }, 2 },
		{ VHOST_USER_SET_MEM_TABLE, 1, 8, { 1 }, 1 }, { VHOST_USER_SET_MEM_TABLE, 1, 8, { 0 }, 1 },
		{ VHOST_USER_SET_MEM_TABLE, 1, 8, { 9 }, 0 }, { VHOST_USER_SET_LOG_BASE, 1, 16, { 0 }, 0 },
		{ VHOST_USER_SET_BACKEND_REQ_FD, 1, 0, { 0 }, 0 }, { VHOST_USER_SET_INFLIGHT_FD, 1, 16, { 0 }, 1 },
	};

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++) {
		unsigned before = open_descriptors();
		int fds[8] = { ram, ram, ram, ram, ram, ram, ram, ram };

		assert_true(say_raw(bad[i].request, bad[i].flags, bad[i].p, bad[i].size, fds, bad[i].n_fds) < 0);
		assert_int_equal(gone(NULL), 0);
		assert_int_equal(begin(false), 0);
		assert_int_equal(open_descriptors(), before);
	}
}

static void too_many_descriptors_are_all_closed(void **state)
{
	int fds[64];
	unsigned before = open_descriptors();

	(void)state;
	for (size_t i = 0; i < nitems(fds); i++)
		fds[i] = ram;
	assert_int_equal(say_raw(VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, NULL, 0, fds, nitems(fds)), -EPROTO);
	assert_int_equal(open_descriptors(), before);
}

static void spare_descriptors_are_closed(void **state)
{
	unsigned before;
	struct vhost_user_single_region r = { .region = { 0, RAM, USER, 0 } };

	(void)state;
	negotiate(0);
	before = open_descriptors();
	for (int i = 0; i < 3; i++) {
		assert_int_equal(say_raw(VHOST_USER_ADD_MEM_REG, VHOST_USER_VERSION, &r, sizeof(r), &ram, 1), 0);
		assert_int_equal(say_raw(VHOST_USER_REM_MEM_REG, VHOST_USER_VERSION, &r, sizeof(r), &ram, 1), 0);
		assert_int_equal(say_fd(VHOST_USER_SET_LOG_FD, 0, eventfd(0, 0)), 0);
		assert_int_equal(say_memory(0, RAM, 0), 0);
		assert_int_equal(say_raw(VHOST_USER_REM_MEM_REG, VHOST_USER_VERSION, &r, sizeof(r), NULL, 0), 0);
	}
	assert_int_equal(open_descriptors(), before);
	assert_int_equal(s.mem.n, 0);
}

static void memory_that_its_file_does_not_have_is_refused(void **state)
{
	const uint64_t bad[][3] = { { 0, RAM, 1 }, { 0, RAM + 1, 0 }, { 0, 0, 0 }, { UINT64_MAX, 2, 0 }, { 0, UINT64_MAX, 0 },
				    { 0, 4096, UINT64_MAX - 1 } };

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++) {
		assert_true(say_memory(bad[i][0], bad[i][1], bad[i][2]) < 0);
		assert_int_equal(gone(NULL), 0);
		assert_int_equal(begin(false), 0);
	}
}

static void memory_that_is_no_file_is_refused(void **state)
{
	const char *const paths[] = { "/", "/dev/null", "/dev/zero" };
	struct vhost_user_single_region r = { .region = { 0, 4096, USER, 0 } };

	(void)state;
	negotiate(ACK);
	for (size_t i = 0; i < nitems(paths) + 1; i++) {
		int fd = i < nitems(paths) ? open(paths[i], O_RDONLY | O_CLOEXEC) : eventfd(0, 0);

		assert_int_equal(say_raw(VHOST_USER_ADD_MEM_REG, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, &r, sizeof(r), &fd, 1), 0);
		assert_int_equal(hear_u64(VHOST_USER_ADD_MEM_REG), 1);
		(void)close(fd);
	}
}

static void regions_that_overlap_are_refused(void **state)
{
	struct vhost_user_mem_table t = { .n = 2, .region = { { 0, 0x2000, USER, 0 }, { 0x1000, 0x1000, USER * 2, 0x2000 } } };
	int fds[2] = { ram, ram };

	(void)state;
	assert_true(say_raw(VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION, &t, 8 + 64, fds, 2) < 0);
	assert_int_equal(gone(NULL), 0);
	assert_int_equal(begin(false), 0);
	t.region[1] = (struct vhost_user_mem_region){ 0x2000, 0x1000, USER + 0x1fff, 0x2000 };
	assert_true(say_raw(VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION, &t, 8 + 64, fds, 2) < 0);
	assert_int_equal(gone(NULL), 0);
	assert_int_equal(begin(false), 0);
	t.region[1].user_addr = USER + 0x2000;
	assert_int_equal(say_raw(VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION, &t, 8 + 64, fds, 2), 0);
}

static void memory_at_an_odd_offset_is_the_right_memory(void **state)
{
	char byte;

	(void)state;
	assert_int_equal(pwrite(ram, "!", 1, 5000), 1);
	assert_int_equal(say_memory(0x100000, 0x10000, 5000), 0);
	assert_int_equal(gmem_read(&s.mem.gm, 0x100000, &byte, 1), 0);
	assert_int_equal(byte, '!');
}

static void byte_by_byte_is_as_good(void **state)
{
	uint8_t msg[20] = { VHOST_USER_SET_VRING_NUM, 0, 0, 0, VHOST_USER_VERSION, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 64 };

	(void)state;
	for (size_t i = 0; i < sizeof(msg); i++) {
		assert_int_equal(send(peer, msg + i, 1, 0), 1);
		assert_int_equal(vu_server_readable(&s, NULL), 0);
		assert_int_equal(s.rings[1].num, i + 1 < sizeof(msg) ? 0 : 64);
	}
}

static void end_of_file_is_told(void **state)
{
	(void)state;
	fd_closep(&peer);
	assert_int_equal(vu_server_readable(&s, NULL), -EPIPE);
}

static void front_end_that_reads_nothing_is_not_read_from(void **state)
{
	int small = 2048, n = 0;
	struct vhost_user_header h = { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0 };

	(void)state;
	assert_int_equal(setsockopt(s.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	while (vu_server_wants_read(&s) && n++ < 10000) {
		(void)send(peer, &h, sizeof(h), MSG_DONTWAIT);
		assert_int_equal(vu_server_readable(&s, NULL), 0);
	}
	assert_true(vu_server_wants_write(&s));
	assert_in_range(n, 1, 9999);
	(void)hear_u64(VHOST_USER_GET_FEATURES);
	for (int i = 0; i < n && vu_server_wants_write(&s); i++) {
		uint64_t v[3];

		(void)recv(peer, v, 20, MSG_DONTWAIT);
		assert_int_equal(vu_server_writable(&s), 0);
	}
	assert_true(vu_server_wants_read(&s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(refusals_are_answered_when_answers_are_wanted), T(running_ring_keeps_its_geometry),
		T(sizes_that_are_none_are_refused), T(impossible_messages_end_the_connection),
		T(too_many_descriptors_are_all_closed), T(spare_descriptors_are_closed),
		T(memory_that_its_file_does_not_have_is_refused), T(memory_that_is_no_file_is_refused),
		T(regions_that_overlap_are_refused), T(memory_at_an_odd_offset_is_the_right_memory),
		T(byte_by_byte_is_as_good), T(end_of_file_is_told), T(front_end_that_reads_nothing_is_not_read_from),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
