/* SPDX-License-Identifier: ISC */
#include "vmmd/vhost/msg.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct vhost_msg reply(uint32_t request, const void *p, uint32_t len)
{
	struct vhost_msg m = { .h = { request, VHOST_USER_VERSION | VHOST_USER_REPLY, len } };

	if (len > 0)
		memcpy(m.payload, p, len);
	return m;
}

static struct vhost_msg reply_u64(uint32_t request, uint64_t v)
{
	return reply(request, &v, sizeof(v));
}

/* Feed @len bytes in pieces of @piece; the result of the last. */
static int feed(struct vhost_in *in, const void *p, size_t len, size_t piece)
{
	const uint8_t *bytes = p;
	int r = 0;

	while (len > 0 && r == 0) {
		size_t want;
		void *at = vhost_in_space(in, &want);
		size_t n = want < piece ? want : piece;

		n = n < len ? n : len;
		memcpy(at, bytes, n);
		r = vhost_in_got(in, n);
		bytes += n;
		len -= n;
	}
	return r;
}

static void in_puts_together_what_comes_in_pieces(void **state)
{
	struct vhost_msg m = reply_u64(VHOST_USER_GET_FEATURES, 0x1122334455667788);

	(void)state;
	for (size_t piece = 1; piece < 24; piece++) {
		struct vhost_in in = { 0 };

		assert_int_equal(feed(&in, &m, 20, piece), 1);
		assert_memory_equal(&in.m, &m, 20);
		vhost_in_next(&in);
		assert_int_equal(feed(&in, &m, 20, piece), 1);
	}
}

static void in_takes_a_message_without_payload(void **state)
{
	struct vhost_user_header h = { VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, VHOST_USER_VERSION, 0 };
	struct vhost_in in = { 0 };

	(void)state;
	assert_int_equal(feed(&in, &h, sizeof(h), 5), 1);
}

static void in_refuses_what_is_no_message(void **state)
{
	static const struct vhost_user_header bad[] = {
		{ 1, VHOST_USER_VERSION | VHOST_USER_REPLY, VHOST_USER_PAYLOAD_MAX + 1 },
		{ 1, VHOST_USER_VERSION | VHOST_USER_REPLY, UINT32_MAX },
		{ 1, VHOST_USER_REPLY, 8 },
		{ 1, 2 | VHOST_USER_REPLY, 8 },
		{ 1, VHOST_USER_VERSION | 1u << 4, 8 },
		{ 1, VHOST_USER_VERSION | 1u << 31, 8 },
	};

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++) {
		struct vhost_in in = { 0 };

		assert_int_equal(feed(&in, &bad[i], sizeof(bad[i]), 64), -EBADMSG);
	}
}

static void in_refuses_more_than_it_wanted(void **state)
{
	struct vhost_in in = { 0 };

	(void)state;
	assert_int_equal(vhost_in_got(&in, sizeof(struct vhost_user_header) + 1), -EBADMSG);
}

static void reply_of_a_number(void **state)
{
	const struct vhost_expect x = { VHOST_USER_GET_FEATURES, VHOST_ANSWER_U64, 0, 0, false, false };
	struct vhost_msg m = reply_u64(VHOST_USER_GET_FEATURES, 42);
	struct vhost_reply r;

	(void)state;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), 0);
	assert_int_equal(r.number, 42);
	assert_int_equal(r.request, VHOST_USER_GET_FEATURES);
	assert_int_equal(vhost_reply_check(&x, &m, 1, &r), -EBADMSG);
	m.h.size = 7;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), -EBADMSG);
	m.h.size = 12;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), -EBADMSG);
}

static void reply_to_something_else_is_refused(void **state)
{
	const struct vhost_expect x = { VHOST_USER_GET_FEATURES, VHOST_ANSWER_U64, 0, 0, false, false };
	struct vhost_msg m = reply_u64(VHOST_USER_GET_PROTOCOL_FEATURES, 42);
	struct vhost_reply r;

	(void)state;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), -EBADMSG);
	m = reply_u64(VHOST_USER_GET_FEATURES, 42);
	m.h.flags = VHOST_USER_VERSION;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), -EBADMSG);
	/* some back ends leave our flag standing */
	m.h.flags = VHOST_USER_VERSION | VHOST_USER_REPLY | VHOST_USER_NEED_REPLY;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), 0);
}

static void reply_of_an_acknowledgement(void **state)
{
	const struct vhost_expect x = { VHOST_USER_SET_MEM_TABLE, VHOST_ANSWER_ACK, 0, 0, false, false };
	struct vhost_msg m = reply_u64(VHOST_USER_SET_MEM_TABLE, 0);
	struct vhost_reply r;

	(void)state;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), 0);
	assert_false(r.failed);
	m = reply_u64(VHOST_USER_SET_MEM_TABLE, UINT64_MAX);
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), 0);
	assert_true(r.failed);
}

static void reply_of_a_base_is_of_the_queue_that_was_asked(void **state)
{
	const struct vhost_expect x = { VHOST_USER_GET_VRING_BASE, VHOST_ANSWER_STATE, 3, 0, false, false };
	struct vhost_user_vring_state s = { 3, 0xffffffff };
	struct vhost_msg m = reply(VHOST_USER_GET_VRING_BASE, &s, sizeof(s));
	struct vhost_reply r;

	(void)state;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), 0);
	s.index = 2;
	m = reply(VHOST_USER_GET_VRING_BASE, &s, sizeof(s));
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), -EBADMSG);
}

static void reply_of_configuration_space(void **state)
{
	struct vhost_expect x = { VHOST_USER_GET_CONFIG, VHOST_ANSWER_CONFIG, 0, 60, false, false };
	struct vhost_user_config c = { .size = 60, .data = { 7 } };
	struct vhost_msg m = reply(VHOST_USER_GET_CONFIG, &c, 72);
	struct vhost_reply r;

	(void)state;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), 0);
	assert_int_equal(r.len, 60);
	assert_int_equal(r.config[0], 7);
	m.h.size = 71;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), -EBADMSG);
	m.h.size = 73;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), -EBADMSG);
	c.size = 61;
	m = reply(VHOST_USER_GET_CONFIG, &c, 72);
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), -EBADMSG);
	c = (struct vhost_user_config){ .offset = 1, .size = 60 };
	m = reply(VHOST_USER_GET_CONFIG, &c, 72);
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), -EBADMSG);
	x.len = VHOST_USER_CONFIG_MAX + 1;
	m.h.size = 12 + x.len;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), -EBADMSG);
}

static void reply_of_no_configuration_space_counts_where_it_may_fail(void **state)
{
	struct vhost_expect x = { VHOST_USER_GET_CONFIG, VHOST_ANSWER_CONFIG, 0, 12, false, true };
	struct vhost_msg m = reply(VHOST_USER_GET_CONFIG, NULL, 0);
	struct vhost_reply r;

	(void)state;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), 0);
	assert_true(r.failed);
	x.may_fail = false;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), -EBADMSG);
}

static void reply_of_an_inflight_region(void **state)
{
	struct vhost_expect x = { VHOST_USER_GET_INFLIGHT_FD, VHOST_ANSWER_INFLIGHT, 0, 0, false, false };
	struct vhost_user_inflight i = { .mmap_size = 4096, .mmap_offset = 64, .num_queues = 1, .queue_size = 2 };
	struct vhost_msg m = reply(VHOST_USER_GET_INFLIGHT_FD, &i, 24);
	struct vhost_reply r;

	(void)state;
	/* ours: no descriptor; with the padding that most have at its end, and without */
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), 0);
	assert_int_equal(r.inflight.mmap_offset, 64);
	m.h.size = VHOST_USER_INFLIGHT_BYTES;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), 0);
	m.h.size = 16;
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), -EBADMSG);
	m.h.size = 24;
	assert_int_equal(vhost_reply_check(&x, &m, 1, &r), -EBADMSG);
	/* somebody else's: exactly one */
	x.fd = true;
	assert_int_equal(vhost_reply_check(&x, &m, 1, &r), 0);
	assert_false(r.failed);
	assert_int_equal(vhost_reply_check(&x, &m, 0, &r), 0);
	assert_true(r.failed);
	assert_int_equal(vhost_reply_check(&x, &m, 2, &r), -EBADMSG);
}

static void backend_request_is_no_reply(void **state)
{
	struct vhost_msg m = { .h = { VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, VHOST_USER_VERSION, 0 } };

	(void)state;
	assert_int_equal(vhost_backend_request_check(&m), 0);
	m.h.flags |= VHOST_USER_REPLY;
	assert_int_equal(vhost_backend_request_check(&m), -EBADMSG);
	m.h = (struct vhost_user_header){ 0, VHOST_USER_VERSION, 0 };
	assert_int_equal(vhost_backend_request_check(&m), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_puts_together_what_comes_in_pieces),
		cmocka_unit_test(in_takes_a_message_without_payload),
		cmocka_unit_test(in_refuses_what_is_no_message),
		cmocka_unit_test(in_refuses_more_than_it_wanted),
		cmocka_unit_test(reply_of_a_number),
		cmocka_unit_test(reply_to_something_else_is_refused),
		cmocka_unit_test(reply_of_an_acknowledgement),
		cmocka_unit_test(reply_of_a_base_is_of_the_queue_that_was_asked),
		cmocka_unit_test(reply_of_configuration_space),
		cmocka_unit_test(reply_of_no_configuration_space_counts_where_it_may_fail),
		cmocka_unit_test(reply_of_an_inflight_region),
		cmocka_unit_test(backend_request_is_no_reply),
	};

	return cmocka_run_group_tests_name("vhost/msg", tests, NULL, NULL);
}
