/* SPDX-License-Identifier: ISC */
/*
 * Every allocation of every walker fails once: each time -ENOMEM with a text, nothing half-made, nothing leaked. The
 * allocator stands in front of libc's, so this runs in plain builds only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "proto/chan.h"
#include "proto/codec_bin.h"
#include "proto/codec_json.h"
#include "proto/codec_kv.h"
#include "proto/opts.h"
#include "tests/unit/proto/full_config.h"

#ifndef CLOISTER_SANITIZER

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

static struct {
	bool on;
	long live;     /* blocks taken less blocks freed while on */
	long fail_at;  /* this allocation fails; -1: none */
	long count;
} heap = { .fail_at = -1 };

static bool fails(void)
{
	return heap.on && heap.count++ == heap.fail_at;
}

static void *counted(void *p)
{
	if (heap.on && p != NULL)
		heap.live++;
	return p;
}

void *malloc(size_t n)
{
	return fails() ? NULL : counted(__libc_malloc(n));
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : counted(__libc_calloc(n, size));
}

void *realloc(void *p, size_t n)
{
	if (fails())
		return NULL;
	return p == NULL ? counted(__libc_realloc(p, n)) : __libc_realloc(p, n);
}

void free(void *p)
{
	if (heap.on && p != NULL)
		heap.live--;
	__libc_free(p);
}

/* Run @fn with each of its allocations failing in turn, until none does. */
static void fail_each(int (*fn)(struct err *e), bool has_text)
{
	for (long at = 0; at < 10000; at++) {
		struct err e = { 0 };

		heap.live = 0;
		heap.count = 0;
		heap.fail_at = at;
		heap.on = true;
		int r = fn(&e);
		heap.on = false;
		assert_int_equal(heap.live, 0);
		if (heap.count <= at) {
			assert_int_equal(r, 0);
			assert_true(at > 0);
			return;
		}
		assert_int_equal(r, -ENOMEM);
		if (has_text)
			assert_true(err_count(&e) > 0 && err_code(&e, err_count(&e) - 1) == -ENOMEM);
	}
	fail_msg("no end");
}

static struct cfg_vm full;
static struct wbuf full_bin;

static int setup(void **state)
{
	(void)state;
	full_config(&full);
	wbuf_init(&full_bin, 1 << 20);
	return bin_encode(&desc_cfg_vm, &full, &full_bin);
}

static int teardown(void **state)
{
	(void)state;
	wbuf_fini(&full_bin);
	obj_fini(&desc_cfg_vm, &full);
	return 0;
}

static const struct cfg_vm zero;

static int try_copy(struct err *e)
{
	struct cfg_vm c;
	int r = obj_copy(&desc_cfg_vm, &c, &full);

	(void)e;
	if (r == 0)
		obj_fini(&desc_cfg_vm, &c);
	return memcmp(&c, &zero, sizeof(c)) == 0 ? r : -EIO;
}

static int try_encode(struct err *e)
{
	struct wbuf w;

	(void)e;
	wbuf_init(&w, 1 << 20);
	int r = bin_encode(&desc_cfg_vm, &full, &w);
	wbuf_fini(&w);
	return r;
}

static int try_decode(struct err *e)
{
	struct cfg_vm c;
	int r = bin_decode(&desc_cfg_vm, &c, full_bin.p, full_bin.len, e);

	if (r == 0)
		obj_fini(&desc_cfg_vm, &c);
	return memcmp(&c, &zero, sizeof(c)) == 0 ? r : -EIO;
}

static int try_json(struct err *e)
{
	static const char text[] = "{\"cpus\":{\"boot_vcpus\":1,\"max_vcpus\":2},\"rng\":{\"src\":\"/dev/urandom\"},"
				   "\"disks\":[{\"path\":\"/d\",\"queue_affinity\":[{\"queue_index\":0,\"host_cpus\":[1]}]}],"
				   "\"net\":[{\"mac\":\"2E:00:00:00:00:01\",\"fds\":[3]}],"
				   "\"payload\":{\"kernel\":\"/k\"},\"cmdline\":{\"args\":\"a\"},\"serial\":{\"mode\":\"Tty\",\"file\":\"/f\"}}";
	struct cfg_vm c;
	int r = json_decode(&desc_cfg_vm, &c, text, strlen(text), e);

	if (r == 0)
		obj_fini(&desc_cfg_vm, &c);
	return memcmp(&c, &zero, sizeof(c)) == 0 ? r : -EIO;
}

static int try_json_lists(struct err *e)
{
	static const char text[] = "{\"id\":\"x\",\"parent\":\"p\",\"children\":[\"a\",\"b\"],\"bars\":[]}";
	struct msg_dev_node n;
	int r = json_decode(&desc_msg_dev_node, &n, text, strlen(text), e);

	if (r == 0)
		obj_fini(&desc_msg_dev_node, &n);
	return r;
}

static int try_kv(struct err *e)
{
	struct cfg_serial s;
	int r = kv_decode(&desc_cfg_serial, &s, "file=/a", e);

	if (r == 0)
		obj_fini(&desc_cfg_serial, &s);
	return r;
}

static int try_opts(struct err *e)
{
	char name[] = "x", kernel[] = "--kernel=/k", serial[] = "--serial=file=/f", cmdline[] = "--cmdline=a";
	char disk[] = "--disk", a[] = "path=/a,queue_affinity=[0@[1]]", b[] = "path=/b,bw_size=1,bw_refill_time=1";
	char net[] = "--net=mac=2e:00:00:00:00:01,fd=[3,4]";
	char *argv[] = { name, kernel, serial, cmdline, disk, a, b, net, NULL };
	struct opts o;
	struct cfg_vm c;
	int r = opts_parse(8, argv, &o, e);

	if (r < 0)
		return r;
	r = opts_to_config(&o, &c, e);
	opts_fini(&o);
	if (r == 0)
		obj_fini(&desc_cfg_vm, &c);
	return memcmp(&c, &zero, sizeof(c)) == 0 ? r : -EIO;
}

static int try_result(struct err *e)
{
	struct msg_result m;
	struct err chain;

	(void)err_set(&chain, -EIO, "inner");
	(void)err_wrap(&chain, -EIO, "outer");
	(void)e;
	int r = msg_result_set(&m, -EIO, &chain);
	obj_fini(&desc_msg_result, &m);
	return r;
}

static struct chan *tx, *rx;

static int try_send(struct err *e)
{
	struct chan_msg m;
	struct msg_vmm_end end = { .status = 1 };
	int r = chan_send(tx, MSG_VMM_END, 1, &desc_msg_vmm_end, &end, NULL, 0);

	(void)e;
	if (r < 0)
		return chan_recv(rx, &m) == 0 ? r : -EIO; /* nothing was sent */
	heap.on = false; /* of the sending side only: a message that cannot be kept ends the channel */
	if (chan_recv(rx, &m) != 1)
		return -EIO;
	chan_msg_fini(&m);
	return 0;
}

static int try_receive(struct err *e)
{
	struct msg_vmm_end end = { .status = 1 };
	struct chan_msg m;
	struct chan *a, *b;
	int sv[2], r = -ENOMEM;

	(void)e;
	if (fd_socketpair(SOCK_SEQPACKET, sv) < 0)
		return -EIO;
	a = chan_new(sv[0], 4096, 0);
	b = chan_new(sv[1], 4096, 0);
	if (a != NULL && b != NULL)
		r = chan_send(a, MSG_VMM_END, 1, &desc_msg_vmm_end, &end, NULL, 0);
	if (r == 0) {
		r = chan_recv(b, &m);
		if (r == 1)
			chan_msg_fini(&m);
		r = r == 1 ? 0 : r == -EBADMSG ? -ENOMEM : r;
	}
	chan_free(a);
	chan_free(b);
	return r;
}

static void every_failed_allocation_is_survived(void **state)
{
	int sv[2];

	(void)state;
	fail_each(try_copy, false);
	fail_each(try_encode, false);
	fail_each(try_decode, true);
	fail_each(try_json, true);
	fail_each(try_json_lists, true);
	fail_each(try_kv, true);
	fail_each(try_opts, true);
	fail_each(try_result, false);
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, sv), 0);
	tx = chan_new(sv[0], 4096, 0);
	rx = chan_new(sv[1], 4096, 0);
	fail_each(try_send, false);
	chan_free(tx);
	chan_free(rx);
	fail_each(try_receive, false);
}

#else

static int setup(void **state)
{
	(void)state;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return 0;
}

static void every_failed_allocation_is_survived(void **state)
{
	(void)state;
	skip(); /* the sanitizer has the allocator */
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_failed_allocation_is_survived),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
