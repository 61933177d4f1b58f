/* SPDX-License-Identifier: ISC */
/* The vhost-user server and a front end played by hand; queues are stubs that become idle when told. */
#ifndef TESTS_UNIT_DEVICES_COMMON_FRONT_H
#define TESTS_UNIT_DEVICES_COMMON_FRONT_H

#include "devices/common/vu_server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "common/fd.h"

enum { QUEUES = 3, SIZE = 256, RAM = 1 << 20, USER_SHIFT = 40 };
#define USER (UINT64_C(1) << USER_SHIFT)

static struct {
	unsigned starts[QUEUES], stops[QUEUES], kicks[QUEUES], resets, features, config_writes;
	bool busy[QUEUES];   /* has requests in flight */
	bool running[QUEUES];
	struct vq_setup setup[QUEUES];
	int kick[QUEUES], call[QUEUES];
} stub;

static struct vu_server s;
static int peer, ram, backend[2];

static inline void stub_start(void *arg, unsigned q, const struct vq_setup *setup)
{
	(void)arg;
	assert_false(stub.running[q]);
	stub.running[q] = true;
	stub.setup[q] = *setup;
	stub.starts[q]++;
}

static inline void stub_stop(void *arg, unsigned q)
{
	(void)arg;
	assert_true(stub.running[q]);
	stub.running[q] = false;
	stub.stops[q]++;
}

static inline bool stub_is_idle(void *arg, unsigned q)
{
	(void)arg;
	return !stub.busy[q];
}

static inline uint16_t stub_base(void *arg, unsigned q)
{
	(void)arg;
	return (uint16_t)(100 + q);
}

static inline void stub_kick(void *arg, unsigned q)
{
	(void)arg;
	stub.kicks[q]++;
}

static inline void stub_log(void *arg, unsigned q, bool on)
{
	(void)arg;
	(void)q;
	(void)on;
}

static inline void keep(int *where, int fd)
{
	fd_closep(where);
	*where = fd;
}

static inline void stub_set_kick(void *arg, unsigned q, int fd)
{
	(void)arg;
	assert_false(stub.running[q]);
	keep(&stub.kick[q], fd);
}

static inline void stub_set_call(void *arg, unsigned q, int fd)
{
	(void)arg;
	keep(&stub.call[q], fd);
}

static inline void stub_set_err(void *arg, unsigned q, int fd)
{
	(void)arg;
	(void)q;
	fd_closep(&fd);
}

static inline void stub_features(void *arg, uint64_t acked)
{
	(void)arg;
	(void)acked;
	for (unsigned i = 0; i < QUEUES; i++)
		assert_false(stub.running[i]);
	stub.features++;
}

static inline void stub_config(void *arg, uint32_t off, uint32_t len)
{
	(void)arg;
	(void)off;
	(void)len;
	stub.config_writes++;
}

static inline void stub_reset(void *arg)
{
	(void)arg;
	stub.resets++;
}

static const struct vu_ops ops = {
	stub_start, stub_stop, stub_is_idle, stub_base, stub_kick, stub_log, stub_set_kick, stub_set_call, stub_set_err, stub_features,
	stub_config, stub_reset,
};

static inline int begin(bool preset)
{
	int pair[2];

	memset(&stub, 0, sizeof(stub));
	for (unsigned i = 0; i < QUEUES; i++)
		stub.kick[i] = stub.call[i] = -1;
	ram = memfd_create("ram", MFD_CLOEXEC);
	if (fd_socketpair(SOCK_STREAM, pair) < 0 || fd_socketpair(SOCK_STREAM, backend) < 0 || ftruncate(ram, RAM) < 0 ||
	    vu_server_init(&s, &ops, NULL, preset, QUEUES, SIZE) < 0)
		return -1;
	s.features = UINT64_C(1) << 32;
	s.with_inflight = true;
	s.config_len = 8;
	memcpy(s.config, "config!!", 8);
	s.w_off = 4;
	s.w_len = 2;
	peer = pair[1];
	vu_server_connect(&s, pair[0]);
	return 0;
}

static inline int fresh(void **state)
{
	(void)state;
	return begin(false);
}

static inline void close_all(void)
{
	for (unsigned i = 0; i < QUEUES; i++) {
		fd_closep(&stub.kick[i]);
		fd_closep(&stub.call[i]);
	}
	fd_closep(&peer);
	fd_closep(&ram);
	fd_closep(&backend[0]);
	fd_closep(&backend[1]);
}

static inline int gone(void **state)
{
	(void)state;
	memset(stub.busy, 0, sizeof(stub.busy));
	bool done = vu_server_disconnect(&s);
	vu_server_fini(&s);
	close_all();
	return done ? 0 : -1;
}

/* --- the front end ---------------------------------------------------------------------------------------------- */

static inline int say_raw(uint32_t request, uint32_t flags, const void *p, uint32_t size, const int *fds, unsigned n_fds)
{
	uint8_t msg[1024];
	struct vhost_user_header h = { request, flags, size };

	memcpy(msg, &h, sizeof(h));
	if (size > 0)
		memcpy(msg + sizeof(h), p, size);
	assert_int_equal(fd_sendmsg(peer, msg, sizeof(h) + size, fds, n_fds), sizeof(h) + size);
	return vu_server_readable(&s, NULL);
}

static inline int say(uint32_t request, const void *p, uint32_t size)
{
	return say_raw(request, VHOST_USER_VERSION, p, size, NULL, 0);
}

static inline int say_u64(uint32_t request, uint64_t v)
{
	return say(request, &v, sizeof(v));
}

static inline int say_state(uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_user_vring_state v = { index, num };

	return say(request, &v, sizeof(v));
}

static inline int say_fd(uint32_t request, uint64_t v, int fd)
{
	int r = say_raw(request, VHOST_USER_VERSION, &v, sizeof(v), &fd, 1);

	(void)close(fd);
	return r;
}

/* The answer's payload, -1: there is none. */
static inline int hear(uint32_t request, void *p, size_t cap)
{
	struct vhost_user_header h;
	ssize_t n = recv(peer, &h, sizeof(h), MSG_DONTWAIT);

	if (n < 0)
		return -1;
	assert_int_equal(n, sizeof(h));
	assert_int_equal(h.request, request);
	assert_int_equal(h.flags, VHOST_USER_VERSION | VHOST_USER_REPLY);
	assert_in_range(h.size, 0, cap);
	if (h.size > 0)
		assert_int_equal(recv(peer, p, h.size, MSG_DONTWAIT), h.size);
	return (int)h.size;
}

static inline uint64_t hear_u64(uint32_t request)
{
	uint64_t v = 0;

	assert_int_equal(hear(request, &v, sizeof(v)), sizeof(v));
	return v;
}

static inline void negotiate(uint64_t protocol)
{
	assert_int_equal(say(VHOST_USER_SET_OWNER, NULL, 0), 0);
	assert_int_equal(say(VHOST_USER_GET_FEATURES, NULL, 0), 0);
	uint64_t f = hear_u64(VHOST_USER_GET_FEATURES);
	assert_int_equal(say(VHOST_USER_GET_PROTOCOL_FEATURES, NULL, 0), 0);
	uint64_t p = hear_u64(VHOST_USER_GET_PROTOCOL_FEATURES);
	assert_int_equal(p & protocol, protocol);
	assert_int_equal(say_u64(VHOST_USER_SET_PROTOCOL_FEATURES, protocol), 0);
	assert_int_equal(say_u64(VHOST_USER_SET_FEATURES, f & ~VHOST_USER_BIT(VHOST_USER_F_LOG_ALL)), 0);
}

static inline int say_memory(uint64_t guest, uint64_t size, uint64_t offset)
{
	struct vhost_user_mem_table t = { .n = 1, .region = { { guest, size, USER, offset } } };

	return say_raw(VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION, &t, 8 + 32, s.preset ? NULL : &ram, s.preset ? 0 : 1);
}

static inline void set_up_ring(uint32_t i)
{
	struct vhost_user_vring_addr a = { .index = i, .descriptor = USER, .available = USER + 0x1000, .used = USER + 0x2000 };

	assert_int_equal(say_state(VHOST_USER_SET_VRING_NUM, i, 128), 0);
	assert_int_equal(say(VHOST_USER_SET_VRING_ADDR, &a, sizeof(a)), 0);
	assert_int_equal(say_state(VHOST_USER_SET_VRING_BASE, i, 7), 0);
	if (!s.preset) {
		assert_int_equal(say_fd(VHOST_USER_SET_VRING_CALL, i, eventfd(0, 0)), 0);
		assert_int_equal(say_fd(VHOST_USER_SET_VRING_KICK, i, eventfd(0, 0)), 0);
	} else {
		assert_int_equal(say_u64(VHOST_USER_SET_VRING_CALL, i), 0);
		assert_int_equal(say_u64(VHOST_USER_SET_VRING_KICK, i), 0);
	}
}

static inline void run_ring(uint32_t i)
{
	set_up_ring(i);
	assert_int_equal(say_state(VHOST_USER_SET_VRING_ENABLE, i, 1), 0);
	assert_true(stub.running[i]);
}

static inline unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		n++;
	(void)closedir(dir);
	return n;
}

#define ACK VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK)

#define T(f) cmocka_unit_test_setup_teardown(f, fresh, gone)

#endif
