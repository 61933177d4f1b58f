/* SPDX-License-Identifier: ISC */
#include "vmmd/results.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "common/fd.h"

struct fixture {
	struct results rs;
	struct chan *ours, *theirs;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int pair[2];

	if (f == NULL || fd_socketpair(SOCK_SEQPACKET, pair) < 0)
		return -1;
	results_init(&f->rs);
	f->ours = chan_new(pair[0], CHAN_COMMAND_MAX, CHAN_COMMAND_MAX);
	f->theirs = chan_new(pair[1], CHAN_COMMAND_MAX, CHAN_COMMAND_MAX);
	*state = f;
	return f->ours != NULL && f->theirs != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	results_fini(&f->rs);
	chan_free(f->ours);
	chan_free(f->theirs);
	free(f);
	return 0;
}

static void add(struct fixture *f, uint32_t id, int code, const char *text)
{
	struct msg_result r = { 0 };
	struct err e = { 0 };

	assert_int_equal(results_begin(&f->rs, id), 0);
	if (text != NULL)
		(void)err_set(&e, code, "%s", text);
	assert_int_equal(msg_result_set(&r, code, text != NULL ? &e : NULL), 0);
	assert_int_equal(results_add(&f->rs, id, MSG_RESULT, &r), 0);
	obj_fini(&desc_msg_result, &r);
}

static void expect(struct fixture *f, uint32_t id, int code, const char *text)
{
	struct msg_result r;
	struct chan_msg m;

	assert_int_equal(chan_recv(f->theirs, &m), 1);
	assert_int_equal(m.type, MSG_RESULT);
	assert_int_equal(m.id, id);
	assert_int_equal(chan_decode(&m, &desc_msg_result, &r, NULL), 0);
	assert_int_equal(r.code, code);
	if (text != NULL)
		assert_string_equal(r.links[0].text, text);
	obj_fini(&desc_msg_result, &r);
	chan_msg_fini(&m);
}

static void ids_only_grow(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(results_begin(&f->rs, 0), -EALREADY);
	assert_int_equal(results_begin(&f->rs, 5), 0);
	assert_int_equal(f->rs.next_id, 6);
	assert_int_equal(results_begin(&f->rs, 5), -EALREADY);
	assert_int_equal(results_begin(&f->rs, 3), -EALREADY);
	assert_int_equal(results_begin(&f->rs, UINT32_MAX), -ERANGE);
	assert_int_equal(f->rs.next_id, 6);
}

static void kept_results_are_sent_again_in_order(void **state)
{
	struct fixture *f = *state;
	struct chan_msg m;

	add(f, 1, 0, NULL);
	add(f, 2, -EINVAL, "no");
	add(f, 3, 0, NULL);
	results_ack(&f->rs, 1);
	results_ack(&f->rs, 77); /* nobody */
	assert_int_equal(results_resend(&f->rs, f->ours), 0);
	expect(f, 2, -EINVAL, "no");
	expect(f, 3, 0, NULL);
	assert_int_equal(chan_recv(f->theirs, &m), 0);
	results_ack(&f->rs, 3);
	assert_int_equal(f->rs.n, 1);
	assert_int_equal(results_resend(&f->rs, f->ours), 0);
	expect(f, 2, -EINVAL, "no");
}

static void a_peer_that_acknowledges_nothing_meets_a_bound(void **state)
{
	struct fixture *f = *state;
	struct msg_result r = { 0 };

	for (uint32_t id = 1; id <= RESULTS_MAX; id++)
		add(f, id, 0, NULL);
	assert_int_equal(results_add(&f->rs, RESULTS_MAX + 1, MSG_RESULT, &r), -ENOBUFS);
	results_ack(&f->rs, 10);
	assert_int_equal(results_add(&f->rs, RESULTS_MAX + 1, MSG_RESULT, &r), 0);
}

static void a_message_without_body_is_no_result(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(results_add(&f->rs, 1, MSG_CMD_VM_INFO, NULL), -EINVAL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ids_only_grow),
		T(kept_results_are_sent_again_in_order),
		T(a_peer_that_acknowledges_nothing_meets_a_bound),
		T(a_message_without_body_is_no_result),
	};

	return cmocka_run_group_tests_name("results", tests, NULL, NULL);
}
