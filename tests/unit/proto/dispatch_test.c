/* SPDX-License-Identifier: ISC */
#include "proto/dispatch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { ST_A = 1u << 0, ST_B = 1u << 1 };

struct seen {
	unsigned calls;
	uint32_t id;
	uint8_t status;
	unsigned nfds;
	int fd;
	bool take_fd;
};

static int handle_end(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_vmm_end *end = msg;
	struct seen *s = ctx;

	s->calls++;
	s->id = m->id;
	s->status = end->status;
	if (end->status == 10)
		return err_set(e, -ENOTSUP, "no locks on this file system");
	return end->status == 9 ? err_set(e, -EBUSY, "busy") : 0;
}

static int handle_attach(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct seen *s = ctx;

	(void)e;
	assert_null(msg);
	s->calls++;
	s->nfds = m->nfds;
	if (s->take_fd)
		s->fd = fd_take(&m->fds[0]);
	return 0;
}

static const struct dispatch_entry table[] = {
	{ MSG_VMM_END, ST_A, 0, &desc_msg_vmm_end, handle_end },
	{ MSG_MON_ATTACH_APID, DISPATCH_ANY_STATE, DISPATCH_FDS, NULL, handle_attach },
};

/* Send through a real channel, so that @m is what a receiver has. */
static void deliver(struct chan_msg *m, enum msg_type type, const struct desc *d, const void *obj, unsigned nfds)
{
	int sv[2], fds[2] = { open("/dev/null", O_RDONLY | O_CLOEXEC), -1 };
	struct chan *a, *b;

	fds[1] = fds[0];
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, sv), 0);
	a = chan_new(sv[0], CHAN_MONITOR_MAX, 0);
	b = chan_new(sv[1], CHAN_MONITOR_MAX, 0);
	assert_int_equal(chan_send(a, type, 5, d, obj, fds, nfds), 0);
	assert_int_equal(chan_recv(b, m), 1);
	assert_int_equal(close(fds[0]), 0);
	chan_free(a);
	chan_free(b);
}

static int run(uint32_t state, struct seen *s, struct chan_msg *m, struct err *e)
{
	return dispatch(table, nitems(table), state, s, m, e);
}

static void dispatch_never_takes_a_handlers_trouble_for_the_peers_fault(void **state)
{
	struct msg_vmm_end end = { .status = 10 };
	struct seen s = { 0 };
	struct chan_msg m;
	struct err e;

	(void)state;
	err_clear(&e);
	deliver(&m, MSG_VMM_END, &desc_msg_vmm_end, &end, 0);
	assert_int_equal(run(ST_A, &s, &m, &e), -EREMOTEIO);
	assert_int_equal(err_code(&e, 0), -ENOTSUP);
	assert_string_equal(err_text(&e, 0), "no locks on this file system");
}

static void dispatch_calls_the_handler_with_a_decoded_body(void **state)
{
	struct msg_vmm_end end = { .status = 3 };
	struct seen s = { 0 };
	struct chan_msg m;
	struct err e;

	(void)state;
	deliver(&m, MSG_VMM_END, &desc_msg_vmm_end, &end, 0);
	assert_int_equal(run(ST_A, &s, &m, &e), 0);
	assert_int_equal(s.calls, 1);
	assert_int_equal(s.id, 5);
	assert_int_equal(s.status, 3);
	assert_null(m.data); /* freed */
}

static void dispatch_returns_what_the_handler_returned(void **state)
{
	struct msg_vmm_end end = { .status = 9 };
	struct seen s = { 0 };
	struct chan_msg m;
	struct err e;

	(void)state;
	deliver(&m, MSG_VMM_END, &desc_msg_vmm_end, &end, 0);
	assert_int_equal(run(ST_A, &s, &m, &e), -EBUSY);
	assert_string_equal(err_text(&e, 0), "busy");
}

static void dispatch_refuses_other_states_and_unlisted_messages(void **state)
{
	struct msg_vmm_end end = { .status = 3 };
	struct seen s = { 0 };
	struct chan_msg m;
	struct err e;

	(void)state;
	deliver(&m, MSG_VMM_END, &desc_msg_vmm_end, &end, 0);
	assert_int_equal(run(ST_B, &s, &m, &e), -EPROTO);
	assert_string_equal(err_text(&e, 0), "VMM_END is not taken in this state");
	deliver(&m, MSG_VMM_STOPPED, NULL, NULL, 0);
	assert_int_equal(run(ST_A, &s, &m, &e), -ENOTSUP);
	deliver(&m, (enum msg_type)0x7777, NULL, NULL, 0);
	assert_int_equal(run(ST_A, &s, &m, &e), -ENOTSUP);
	assert_string_equal(err_text(&e, 0), "an unknown message (0x7777) is not taken on this channel");
	assert_int_equal(s.calls, 0);
}

static void dispatch_refuses_bodies_and_descriptors_that_do_not_belong(void **state)
{
	struct msg_vmm_end end = { .status = 3 };
	struct msg_cmd_ack_event ack = { .seq = 3 };
	struct seen s = { 0 };
	struct chan_msg m;
	struct err e;
	int probe, next;

	(void)state;
	probe = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(close(probe), 0);
	deliver(&m, MSG_VMM_END, &desc_msg_vmm_end, &end, 2);
	assert_int_equal(run(ST_A, &s, &m, &e), -EBADMSG);
	assert_string_equal(err_text(&e, 0), "VMM_END came with descriptors");
	deliver(&m, MSG_MON_ATTACH_APID, &desc_msg_vmm_end, &end, 1);
	assert_int_equal(run(ST_A, &s, &m, &e), -EBADMSG);
	assert_string_equal(err_text(&e, 0), "MON_ATTACH_APID came with a body");
	deliver(&m, MSG_VMM_END, &desc_msg_cmd_ack_event, &ack, 0);
	assert_int_equal(run(ST_A, &s, &m, &e), -EBADMSG);
	assert_string_equal(err_text(&e, 0), "VMM_END");
	deliver(&m, MSG_VMM_END, NULL, NULL, 0);
	assert_int_equal(run(ST_A, &s, &m, NULL), -EBADMSG);
	assert_int_equal(s.calls, 0);
	next = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(next, probe); /* nothing was left open */
	assert_int_equal(close(next), 0);
}

static void dispatch_closes_descriptors_that_were_not_taken(void **state)
{
	struct seen s = { .take_fd = true };
	struct chan_msg m;
	struct err e;
	int probe, next;

	(void)state;
	probe = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(close(probe), 0);
	deliver(&m, MSG_MON_ATTACH_APID, NULL, NULL, 2);
	assert_int_equal(run(ST_B, &s, &m, &e), 0);
	assert_int_equal(s.nfds, 2);
	assert_int_equal(fcntl(s.fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(close(s.fd), 0);
	next = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(next, probe);
	assert_int_equal(close(next), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dispatch_calls_the_handler_with_a_decoded_body),
		cmocka_unit_test(dispatch_never_takes_a_handlers_trouble_for_the_peers_fault),
		cmocka_unit_test(dispatch_returns_what_the_handler_returned),
		cmocka_unit_test(dispatch_refuses_other_states_and_unlisted_messages),
		cmocka_unit_test(dispatch_refuses_bodies_and_descriptors_that_do_not_belong),
		cmocka_unit_test(dispatch_closes_descriptors_that_were_not_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
