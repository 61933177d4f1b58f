/* SPDX-License-Identifier: ISC */
/* The other end of a front end's socket, played by hand. */
#ifndef TESTS_UNIT_VMMD_VHOST_FAKE_BACKEND_H
#define TESTS_UNIT_VMMD_VHOST_FAKE_BACKEND_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "common/fd.h"
#include "proto/vhost_user.h"

enum { FAKE_FDS = 8 };

struct fake {
	int sock;
	/* the request that expect() found last */
	struct vhost_user_header h;
	uint8_t payload[VHOST_USER_PAYLOAD_MAX];
	unsigned n_fds;
};

/* True: there was one, now in @b. Descriptors are counted and closed. */
static inline bool fake_take(struct fake *b)
{
	int fds[FAKE_FDS];
	unsigned n = 0;
	ssize_t got = fd_recvmsg(b->sock, &b->h, sizeof(b->h), fds, FAKE_FDS, &n);

	if (got <= 0)
		return false;
	assert_int_equal(got, sizeof(b->h));
	assert_int_equal(b->h.flags & VHOST_USER_VERSION_MASK, VHOST_USER_VERSION);
	assert_true(b->h.size <= sizeof(b->payload));
	if (b->h.size > 0)
		assert_int_equal(recv(b->sock, b->payload, b->h.size, MSG_DONTWAIT), b->h.size);
	b->n_fds = n;
	fd_close_all(fds, n);
	return true;
}

static inline void fake_expect(struct fake *b, uint32_t request)
{
	assert_true(fake_take(b));
	assert_int_equal(b->h.request, request);
}

static inline void fake_expect_nothing(struct fake *b)
{
	assert_false(fake_take(b));
}

static inline bool fake_wants_reply(const struct fake *b)
{
	return (b->h.flags & VHOST_USER_NEED_REPLY) != 0;
}

static inline uint64_t fake_u64(const struct fake *b)
{
	uint64_t v;

	assert_int_equal(b->h.size, sizeof(v));
	memcpy(&v, b->payload, sizeof(v));
	return v;
}

static inline struct vhost_user_vring_state fake_state(const struct fake *b)
{
	struct vhost_user_vring_state s;

	assert_int_equal(b->h.size, sizeof(s));
	memcpy(&s, b->payload, sizeof(s));
	return s;
}

static inline void fake_send(struct fake *b, uint32_t request, uint32_t flags, const void *p, uint32_t len,
			     const int *fds, unsigned n_fds)
{
	uint8_t m[sizeof(struct vhost_user_header) + VHOST_USER_PAYLOAD_MAX];
	struct vhost_user_header h = { request, flags, len };

	memcpy(m, &h, sizeof(h));
	if (len > 0)
		memcpy(m + sizeof(h), p, len);
	assert_int_equal(fd_sendmsg(b->sock, m, sizeof(h) + len, fds, n_fds), sizeof(h) + len);
}

static inline void fake_reply(struct fake *b, uint32_t request, const void *p, uint32_t len)
{
	fake_send(b, request, VHOST_USER_VERSION | VHOST_USER_REPLY, p, len, NULL, 0);
}

static inline void fake_reply_u64(struct fake *b, uint32_t request, uint64_t v)
{
	fake_reply(b, request, &v, sizeof(v));
}

static inline void fake_reply_config(struct fake *b, const uint8_t *config, uint32_t len)
{
	struct vhost_user_config c = { .offset = 0, .size = len };

	memcpy(c.data, config, len);
	fake_reply(b, VHOST_USER_GET_CONFIG, &c, 12 + len);
}

#endif
