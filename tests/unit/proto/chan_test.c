/* SPDX-License-Identifier: ISC */
/* Channels between friends, and against a peer that writes records by hand. */
#include "proto/chan.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/buf.h"

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static void pair(struct chan **a, struct chan **b, size_t max_msg, size_t max_queued)
{
	int sv[2];

	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, sv), 0);
	*a = chan_new(sv[0], max_msg, max_queued);
	*b = chan_new(sv[1], max_msg, max_queued);
	assert_non_null(*a);
	assert_non_null(*b);
}

/* A text body of any length for the tests that need size. */
static struct msg_mon_text text_of(size_t n, uint8_t fill)
{
	struct msg_mon_text t = { .stream = 1, .n_data = n, .data = malloc(n + 1) };

	assert_non_null(t.data);
	memset(t.data, fill, n);
	return t;
}

static void chan_send_arrives_whole_with_type_and_id(void **state)
{
	struct chan *a, *b;
	struct chan_msg m;
	struct msg_mon_open_file in = { .kind = MON_FILE_INITRAMFS }, out;
	struct err e;
	char path[] = "/boot/initrd";

	(void)state;
	in.path = path;
	pair(&a, &b, CHAN_MONITOR_MAX, 0);
	assert_int_equal(chan_recv(b, &m), 0);
	assert_int_equal(chan_send(a, MSG_MON_OPEN_FILE, 77, &desc_msg_mon_open_file, &in, NULL, 0), 0);
	assert_false(chan_wants_write(a));
	assert_int_equal(chan_recv(b, &m), 1);
	assert_int_equal(m.type, MSG_MON_OPEN_FILE);
	assert_int_equal(m.id, 77);
	assert_int_equal(m.nfds, 0);
	assert_int_equal(chan_decode(&m, &desc_msg_mon_open_file, &out, &e), 0);
	assert_true(obj_equal(&desc_msg_mon_open_file, &in, &out));
	obj_fini(&desc_msg_mon_open_file, &out);
	chan_msg_fini(&m);
	chan_free(a);
	chan_free(b);
}

static void chan_send_without_body_arrives(void **state)
{
	struct chan *a, *b;
	struct chan_msg m;

	(void)state;
	pair(&a, &b, 0, 0);
	assert_int_equal(chan_send(a, MSG_CMD_VM_INFO, UINT32_MAX, NULL, NULL, NULL, 0), 0);
	assert_int_equal(chan_recv_plain(b, &m), 1);
	assert_int_equal(m.type, MSG_CMD_VM_INFO);
	assert_int_equal(m.id, UINT32_MAX);
	assert_int_equal(m.len, 0);
	assert_null(m.data);
	chan_msg_fini(&m);
	chan_free(a);
	assert_int_equal(chan_recv_plain(b, &m), -EPIPE);
	assert_int_equal(chan_recv(b, &m), -EPIPE);
	chan_free(b);
}

static void chan_send_passes_descriptors_and_leaves_the_callers(void **state)
{
	struct chan *a, *b;
	struct chan_msg m;
	unsigned before = open_fds();
	int fds[FD_PASS_MAX];
	struct stat want, got;

	(void)state;
	pair(&a, &b, CHAN_MONITOR_MAX, 0);
	fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(fds[0] >= 0);
	for (unsigned i = 1; i < FD_PASS_MAX; i++)
		fds[i] = fds[0];
	assert_int_equal(chan_send(a, MSG_MON_LIFELINES, 1, NULL, NULL, fds, FD_PASS_MAX), 0);
	assert_int_equal(chan_recv(b, &m), 1);
	assert_int_equal(m.nfds, FD_PASS_MAX);
	assert_int_equal(fstat(fds[0], &want), 0);
	assert_int_equal(fstat(m.fds[252], &got), 0);
	assert_int_equal(want.st_rdev, got.st_rdev);
	assert_int_equal(fcntl(m.fds[0], F_GETFD), FD_CLOEXEC);
	int taken = fd_take(&m.fds[1]);
	chan_msg_fini(&m);
	assert_int_equal(close(taken), 0);
	assert_int_equal(close(fds[0]), 0);
	chan_free(a);
	chan_free(b);
	assert_int_equal(open_fds(), before);
}

static void chan_large_message_goes_in_chunks_and_waits_in_the_queue(void **state)
{
	struct chan *a, *b;
	struct chan_msg m;
	struct msg_cmd_vm_create c = { 0 }, out;
	unsigned before = open_fds(), turns = 0;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), r;
	struct err e;

	(void)state;
	pair(&a, &b, CHAN_COMMAND_MAX, CHAN_COMMAND_MAX);
	obj_init(&desc_msg_cmd_vm_create, &c);
	c.config.has_payload = true;
	c.config.payload.cmdline = malloc(4 << 20);
	assert_non_null(c.config.payload.cmdline);
	memset(c.config.payload.cmdline, 'x', (4 << 20) - 1);
	c.config.payload.cmdline[(4 << 20) - 1] = '\0';
	/* two of them: the second one's descriptor has to wait as well */
	assert_int_equal(chan_send(a, MSG_CMD_VM_CREATE, 1, &desc_msg_cmd_vm_create, &c, NULL, 0), 0);
	assert_true(chan_wants_write(a));
	assert_int_equal(chan_send(a, MSG_CMD_VM_CREATE, 2, &desc_msg_cmd_vm_create, &c, NULL, 0), -ENOBUFS);
	assert_int_equal(chan_send(a, MSG_CMD_VM_INFO, 3, NULL, NULL, &fd, 1), 0);
	assert_int_equal(close(fd), 0); /* the queue holds its own */
	while ((r = chan_recv(b, &m)) == 0 && turns++ < 10000)
		assert_int_equal(chan_flush(a), 0);
	assert_int_equal(r, 1);
	assert_int_equal(chan_decode(&m, &desc_msg_cmd_vm_create, &out, &e), 0);
	assert_true(obj_equal(&desc_msg_cmd_vm_create, &c, &out));
	obj_fini(&desc_msg_cmd_vm_create, &out);
	chan_msg_fini(&m);
	while ((r = chan_recv(b, &m)) == 0 && turns++ < 20000)
		assert_int_equal(chan_flush(a), 0);
	assert_int_equal(r, 1);
	assert_int_equal(m.id, 3);
	assert_int_equal(m.nfds, 1);
	chan_msg_fini(&m);
	assert_false(chan_wants_write(a));
	obj_fini(&desc_msg_cmd_vm_create, &c);
	chan_free(a);
	chan_free(b);
	assert_int_equal(open_fds(), before);
}

static void chan_queue_is_bounded_and_freed_with_its_descriptors(void **state)
{
	struct chan *a, *b;
	unsigned before = open_fds(), sent = 0;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), r;
	struct msg_mon_text t = text_of(4096, 'q');

	(void)state;
	pair(&a, &b, CHAN_MONITOR_MAX, 64 * 1024);
	while ((r = chan_send(a, MSG_MON_TEXT, sent, &desc_msg_mon_text, &t, &fd, 1)) == 0 && sent < 10000)
		sent++;
	assert_int_equal(r, -ENOBUFS);
	assert_true(chan_wants_write(a));
	assert_int_equal(close(fd), 0);
	free(t.data);
	chan_free(a);
	chan_free(b);
	assert_int_equal(open_fds(), before);
}

static void chan_message_refused_by_its_size_sends_nothing(void **state)
{
	struct chan *a, *b;
	struct chan_msg m;
	struct msg_mon_text t = text_of(4096, 'q');

	(void)state;
	pair(&a, &b, 4096, 0);
	assert_int_equal(chan_send(a, MSG_MON_TEXT, 1, &desc_msg_mon_text, &t, NULL, 0), -EMSGSIZE);
	t.stream = 3; /* out of range */
	t.n_data = 1;
	assert_int_equal(chan_send(a, MSG_MON_TEXT, 1, &desc_msg_mon_text, &t, NULL, 0), -ERANGE);
	assert_int_equal(chan_recv(b, &m), 0);
	t.stream = 2;
	assert_int_equal(chan_send(a, MSG_MON_TEXT, 2, &desc_msg_mon_text, &t, NULL, 0), 0);
	assert_int_equal(chan_recv(b, &m), 1);
	chan_msg_fini(&m);
	free(t.data);
	chan_free(a);
	chan_free(b);
}

static void chan_send_to_a_peer_that_is_gone_returns_epipe(void **state)
{
	struct chan *a, *b;
	struct chan_msg m;

	(void)state;
	pair(&a, &b, 4096, 0);
	chan_free(b);
	assert_int_equal(chan_send(a, MSG_CMD_VM_INFO, 1, NULL, NULL, NULL, 0), -EPIPE);
	assert_int_equal(chan_send(a, MSG_CMD_VM_INFO, 1, NULL, NULL, NULL, 0), -EPIPE);
	assert_int_equal(chan_flush(a), -EPIPE);
	assert_int_equal(chan_recv(a, &m), -EPIPE);
	chan_free(a);
}

static void chan_send_of_a_bad_descriptor_sends_nothing(void **state)
{
	struct chan *a, *b;
	struct chan_msg m;
	int bad = 1000000;

	(void)state;
	pair(&a, &b, 4096, 0);
	assert_int_equal(chan_send(a, MSG_CMD_VM_INFO, 1, NULL, NULL, &bad, 1), -EBADF);
	assert_int_equal(chan_send(a, MSG_CMD_VM_INFO, 2, NULL, NULL, NULL, 0), 0);
	assert_int_equal(chan_recv(b, &m), 1);
	assert_int_equal(m.id, 2);
	chan_msg_fini(&m);
	chan_free(a);
	chan_free(b);
}

static void chan_recv_timeout_gives_up_and_sees_what_came(void **state)
{
	struct chan *a, *b;
	struct chan_msg m;

	(void)state;
	pair(&a, &b, 4096, 0);
	assert_int_equal(chan_recv_timeout(b, &m, 0), -ETIMEDOUT);
	assert_int_equal(chan_recv_timeout(b, &m, 5), -ETIMEDOUT);
	assert_int_equal(chan_send(a, MSG_CMD_VM_INFO, 2, NULL, NULL, NULL, 0), 0);
	assert_int_equal(chan_recv_timeout(b, &m, 0), 1);
	chan_msg_fini(&m);
	chan_free(a);
	assert_int_equal(chan_recv_timeout(b, &m, 10000), -EPIPE);
	chan_free(b);
}

/* The kernel reports ECONNRESET in front of what a peer sent before it went with something unread. */
static void chan_last_words_are_heard(void **state)
{
	struct chan *a, *b;
	struct chan_msg m;

	(void)state;
	for (unsigned plain = 0; plain < 2; plain++) {
		pair(&a, &b, 4096, 0);
		assert_int_equal(chan_send(b, MSG_CMD_VM_INFO, 1, NULL, NULL, NULL, 0), 0);
		assert_int_equal(chan_send(a, MSG_MON_END_OK, 2, NULL, NULL, NULL, 0), 0);
		assert_int_equal(chan_send(a, MSG_VMM_STOPPED, 3, NULL, NULL, NULL, 0), 0);
		chan_free(a);
		for (uint32_t id = 2; id < 4; id++) {
			assert_int_equal(plain ? chan_recv_plain(b, &m) : chan_recv(b, &m), 1);
			assert_int_equal(m.id, id);
			chan_msg_fini(&m);
		}
		assert_int_equal(plain ? chan_recv_plain(b, &m) : chan_recv(b, &m), -EPIPE);
		chan_free(b);
	}
}

/* Sending to a peer that is gone does not take away what it sent. */
static void chan_recv_goes_on_after_a_failed_send(void **state)
{
	struct chan *a, *b;
	struct chan_msg m;

	(void)state;
	pair(&a, &b, 4096, 0);
	assert_int_equal(chan_send(a, MSG_VMM_STOPPED, 3, NULL, NULL, NULL, 0), 0);
	chan_free(a);
	assert_int_equal(chan_send(b, MSG_CMD_VM_INFO, 1, NULL, NULL, NULL, 0), -EPIPE);
	assert_int_equal(chan_recv(b, &m), 1);
	assert_int_equal(m.type, MSG_VMM_STOPPED);
	chan_msg_fini(&m);
	assert_int_equal(chan_recv(b, &m), -EPIPE);
	chan_free(b);
}

/* --- a hostile peer -------------------------------------------------------------------------------------------------- */

struct raw {
	uint32_t magic;
	uint16_t type, flags;
	uint32_t id, total, offset, chunk;
	size_t body; /* bytes that really follow */
	unsigned nfds;
};

static const struct raw sane = { CHAN_MAGIC, MSG_CMD_VM_INFO, 0, 9, 0, 0, 0, 0, 0 };

static void raw_send(int fd, const struct raw *h)
{
	static uint8_t body[2 * CHAN_RECORD_MAX];
	struct wbuf w;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), fds[FD_PASS_MAX];

	for (unsigned i = 0; i < FD_PASS_MAX; i++)
		fds[i] = null;
	wbuf_init(&w, sizeof(body));
	assert_int_equal(wbuf_le32(&w, h->magic), 0);
	assert_int_equal(wbuf_le16(&w, h->type), 0);
	assert_int_equal(wbuf_le16(&w, h->flags), 0);
	assert_int_equal(wbuf_le32(&w, h->id), 0);
	assert_int_equal(wbuf_le32(&w, h->total), 0);
	assert_int_equal(wbuf_le32(&w, h->offset), 0);
	assert_int_equal(wbuf_le32(&w, h->chunk), 0);
	assert_int_equal(wbuf_put(&w, body, h->body), 0);
	assert_int_equal(fd_sendmsg(fd, w.p, w.len, fds, h->nfds), w.len);
	wbuf_fini(&w);
	assert_int_equal(close(null), 0);
}

/* Send the records, each of which but the last must be taken as incomplete; the channel must break and leak nothing. */
static void expect_broken(const struct raw *recs, size_t n, bool plain)
{
	unsigned before = open_fds();
	struct chan_msg m;
	int sv[2], r;
	struct chan *c;

	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, sv), 0);
	c = chan_new(sv[1], 256 * 1024, 0);
	assert_non_null(c);
	for (size_t i = 0; i < n; i++)
		raw_send(sv[0], &recs[i]);
	r = plain ? chan_recv_plain(c, &m) : chan_recv(c, &m);
	assert_int_equal(r, -EBADMSG);
	/* for ever, in both directions, though a sane record follows */
	raw_send(sv[0], &sane);
	assert_int_equal(chan_recv(c, &m), -EBADMSG);
	assert_int_equal(chan_recv_plain(c, &m), -EBADMSG);
	assert_int_equal(chan_send(c, MSG_CMD_VM_INFO, 1, NULL, NULL, NULL, 0), -EBADMSG);
	assert_int_equal(close(sv[0]), 0);
	chan_free(c);
	assert_int_equal(open_fds(), before);
}

enum { FULL = CHAN_RECORD_MAX - CHAN_HEADER };

static void chan_recv_breaks_on_one_bad_record(void **state)
{
	const struct raw bad[] = {
		{ CHAN_MAGIC + 1, 1, 0, 1, 0, 0, 0, 0, 0 },      /* another version */
		{ 0, 1, 0, 1, 0, 0, 0, 0, 3 },                   /* no magic, with descriptors */
		{ CHAN_MAGIC, 0, 0, 1, 0, 0, 0, 0, 0 },          /* type 0 */
		{ CHAN_MAGIC, 1, 1, 1, 0, 0, 0, 0, 0 },          /* flags */
		{ CHAN_MAGIC, 1, 0, 1, 256 * 1024 + 1, 0, FULL, FULL, 0 }, /* too large */
		{ CHAN_MAGIC, 1, 0, 1, UINT32_MAX, 0, FULL, FULL, 0 },
		{ CHAN_MAGIC, 1, 0, 1, 10, 0, 9, 9, 0 },         /* short chunk */
		{ CHAN_MAGIC, 1, 0, 1, 10, 0, 10, 9, 0 },        /* record shorter than it says */
		{ CHAN_MAGIC, 1, 0, 1, 10, 0, 10, 11, 0 },       /* longer */
		{ CHAN_MAGIC, 1, 0, 1, 10, 5, 5, 5, 0 },         /* begins in the middle */
		{ CHAN_MAGIC, 1, 0, 1, 10, 11, 0, 0, 0 },        /* offset beyond the end */
		{ CHAN_MAGIC, 1, 0, 1, 0, 0, 1, 1, 0 },          /* more than all */
		{ CHAN_MAGIC, 1, 0, 1, FULL + 1, 0, FULL + 1, FULL + 1, 1 }, /* record too long */
	};

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++) {
		expect_broken(&bad[i], 1, false);
		if (bad[i].nfds == 0)
			expect_broken(&bad[i], 1, true);
	}
}

static void chan_recv_breaks_on_a_bad_second_record(void **state)
{
	const struct raw first = { CHAN_MAGIC, 7, 0, 1, 2 * FULL, 0, FULL, FULL, 2 };
	const struct raw second[] = {
		{ CHAN_MAGIC, 7, 0, 1, 2 * FULL, 0, FULL, FULL, 0 },        /* overlap */
		{ CHAN_MAGIC, 7, 0, 1, 2 * FULL, FULL - 1, FULL, FULL, 0 }, /* overlap by one */
		{ CHAN_MAGIC, 7, 0, 1, 2 * FULL, FULL + 1, FULL - 1, FULL - 1, 0 }, /* gap */
		{ CHAN_MAGIC, 7, 0, 1, 2 * FULL, 2 * FULL, 0, 0, 0 },       /* jump to the end */
		{ CHAN_MAGIC, 8, 0, 1, 2 * FULL, FULL, FULL, FULL, 0 },     /* other type */
		{ CHAN_MAGIC, 7, 0, 2, 2 * FULL, FULL, FULL, FULL, 0 },     /* other id */
		{ CHAN_MAGIC, 7, 0, 1, 2 * FULL + 1, FULL, FULL, FULL, 0 }, /* other length */
		{ CHAN_MAGIC, 7, 0, 1, 2 * FULL, FULL, FULL, FULL, 1 },     /* descriptors in the middle */
		{ CHAN_MAGIC, 7, 0, 1, 2 * FULL, FULL, FULL - 1, FULL - 1, 0 }, /* not full */
		{ CHAN_MAGIC, MSG_CMD_VM_INFO, 0, 9, 0, 0, 0, 0, 0 },       /* another message in between */
	};

	(void)state;
	for (size_t i = 0; i < nitems(second); i++) {
		struct raw recs[2] = { first, second[i] };

		expect_broken(recs, 2, false);
	}
}

static void chan_recv_breaks_on_a_record_shorter_than_a_header(void **state)
{
	struct chan_msg m;

	(void)state;
	for (size_t len = 1; len < CHAN_HEADER; len++) {
		int sv[2];
		const uint8_t bytes[CHAN_HEADER] = { 0x01, 0x53, 0x4c, 0x43, 1 };
		struct chan *c;

		assert_int_equal(fd_socketpair(SOCK_SEQPACKET, sv), 0);
		c = chan_new(sv[1], 4096, 0);
		assert_int_equal(fd_sendmsg(sv[0], bytes, len, NULL, 0), len);
		assert_int_equal(chan_recv(c, &m), -EBADMSG);
		assert_int_equal(close(sv[0]), 0);
		chan_free(c);
	}
}

static void chan_recv_breaks_on_end_of_file_within_a_message(void **state)
{
	const struct raw first = { CHAN_MAGIC, 7, 0, 1, 2 * FULL, 0, FULL, FULL, 2 };
	unsigned before = open_fds();
	struct chan_msg m;
	int sv[2];
	struct chan *c;

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, sv), 0);
	c = chan_new(sv[1], 256 * 1024, 0);
	raw_send(sv[0], &first);
	assert_int_equal(chan_recv(c, &m), 0);
	assert_int_equal(close(sv[0]), 0);
	assert_int_equal(chan_recv(c, &m), -EBADMSG);
	chan_free(c);
	assert_int_equal(open_fds(), before);
}

static void chan_free_within_a_message_closes_its_descriptors(void **state)
{
	const struct raw first = { CHAN_MAGIC, 7, 0, 1, 2 * FULL, 0, FULL, FULL, 5 };
	unsigned before = open_fds();
	struct chan_msg m;
	int sv[2];
	struct chan *c;

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, sv), 0);
	c = chan_new(sv[1], 256 * 1024, 0);
	raw_send(sv[0], &first);
	assert_int_equal(chan_recv(c, &m), 0);
	chan_free(c);
	assert_int_equal(close(sv[0]), 0);
	assert_int_equal(open_fds(), before);
}

static void chan_recv_plain_drops_descriptors(void **state)
{
	const struct raw rec = { CHAN_MAGIC, 7, 0, 1, 4, 0, 4, 4, 5 };
	unsigned before = open_fds();
	struct chan_msg m;
	int sv[2];
	struct chan *c;

	(void)state;
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, sv), 0);
	c = chan_new(sv[1], 4096, 0);
	raw_send(sv[0], &rec);
	assert_int_equal(chan_recv_plain(c, &m), 1);
	assert_int_equal(m.nfds, 0);
	assert_int_equal(m.len, 4);
	chan_msg_fini(&m);
	assert_int_equal(close(sv[0]), 0);
	chan_free(c);
	assert_int_equal(open_fds(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chan_send_arrives_whole_with_type_and_id),
		cmocka_unit_test(chan_send_without_body_arrives),
		cmocka_unit_test(chan_send_passes_descriptors_and_leaves_the_callers),
		cmocka_unit_test(chan_large_message_goes_in_chunks_and_waits_in_the_queue),
		cmocka_unit_test(chan_queue_is_bounded_and_freed_with_its_descriptors),
		cmocka_unit_test(chan_message_refused_by_its_size_sends_nothing),
		cmocka_unit_test(chan_send_to_a_peer_that_is_gone_returns_epipe),
		cmocka_unit_test(chan_send_of_a_bad_descriptor_sends_nothing),
		cmocka_unit_test(chan_recv_timeout_gives_up_and_sees_what_came),
		cmocka_unit_test(chan_last_words_are_heard),
		cmocka_unit_test(chan_recv_goes_on_after_a_failed_send),
		cmocka_unit_test(chan_recv_breaks_on_one_bad_record),
		cmocka_unit_test(chan_recv_breaks_on_a_bad_second_record),
		cmocka_unit_test(chan_recv_breaks_on_a_record_shorter_than_a_header),
		cmocka_unit_test(chan_recv_breaks_on_end_of_file_within_a_message),
		cmocka_unit_test(chan_free_within_a_message_closes_its_descriptors),
		cmocka_unit_test(chan_recv_plain_drops_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
