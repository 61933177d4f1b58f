/* SPDX-License-Identifier: ISC */
/* The binary form: through and back, and every way in which a peer may lie. */
#include "proto/codec_bin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/msg.h"
#include "tests/unit/proto/full_config.h"

static void encode(const struct desc *d, const void *obj, struct wbuf *w)
{
	wbuf_init(w, 1 << 20);
	assert_int_equal(bin_encode(d, obj, w), 0);
}

static void bin_full_config_goes_through_and_back(void **state)
{
	struct cfg_vm a, b;
	struct wbuf w, again;
	struct err e;

	(void)state;
	full_config(&a);
	encode(&desc_cfg_vm, &a, &w);
	memset(&b, 0xff, sizeof(b)); /* needs no init */
	assert_int_equal(bin_decode(&desc_cfg_vm, &b, w.p, w.len, &e), 0);
	assert_true(obj_equal(&desc_cfg_vm, &a, &b));
	encode(&desc_cfg_vm, &b, &again);
	assert_int_equal(w.len, again.len);
	assert_memory_equal(w.p, again.p, w.len);
	wbuf_fini(&w);
	wbuf_fini(&again);
	obj_fini(&desc_cfg_vm, &a);
	obj_fini(&desc_cfg_vm, &b);
}

static void bin_layout_is_what_the_header_says(void **state)
{
	static const uint8_t want[] = {
		1, 0,             /* version */
		27, 0, 0, 0,      /* bytes that follow */
		1, 0, 0, 0,       /* kind: MON_FILE_INITRAMFS */
		19, 0, 0, 0,      /* length of the path */
		'/', 'b', 'o', 'o', 't', '/', 'i', 'n', 'i', 't', 'r', 'd', '.', 'i', 'm', 'g', '-', '6', '1',
	};
	char path[] = "/boot/initrd.img-61";
	struct msg_mon_open_file m = { .kind = MON_FILE_INITRAMFS };
	struct wbuf w;

	(void)state;
	m.path = path;
	encode(&desc_msg_mon_open_file, &m, &w);
	assert_int_equal(w.len, sizeof(want));
	assert_memory_equal(w.p, want, sizeof(want));
	wbuf_fini(&w);
}

static void bin_optional_parts_take_one_byte_when_absent(void **state)
{
	static const uint8_t absent[] = { 1, 0, 1, 0, 0, 0, 0 };
	struct msg_mon_open_console_result m = { 0 };
	struct wbuf w;

	(void)state;
	encode(&desc_msg_mon_open_console_result, &m, &w);
	assert_int_equal(w.len, sizeof(absent));
	assert_memory_equal(w.p, absent, sizeof(absent));
	wbuf_fini(&w);
}

static void bin_encode_refuses_what_the_reader_would(void **state)
{
	struct msg_mon_open_file m = { .kind = MON_FILE_KERNEL };
	struct msg_mon_text t = { .stream = 0 };
	char empty[] = "", *longer = calloc(1, 4097);
	struct wbuf w;

	(void)state;
	assert_non_null(longer);
	wbuf_init(&w, 1 << 16);
	assert_int_equal(bin_encode(&desc_msg_mon_open_file, &m, &w), -EINVAL); /* no path */
	m.path = empty;
	wbuf_reset(&w);
	assert_int_equal(bin_encode(&desc_msg_mon_open_file, &m, &w), -ERANGE);
	memset(longer, '/', 4096);
	m.path = longer;
	wbuf_reset(&w);
	assert_int_equal(bin_encode(&desc_msg_mon_open_file, &m, &w), -ERANGE);
	longer[4095] = '\0';
	wbuf_reset(&w);
	assert_int_equal(bin_encode(&desc_msg_mon_open_file, &m, &w), 0);
	m.kind = (enum mon_file)2;
	wbuf_reset(&w);
	assert_int_equal(bin_encode(&desc_msg_mon_open_file, &m, &w), -ERANGE);
	wbuf_reset(&w);
	assert_int_equal(bin_encode(&desc_msg_mon_text, &t, &w), -ERANGE);
	t.stream = 1;
	t.n_data = 4097;
	t.data = (uint8_t *)longer;
	wbuf_reset(&w);
	assert_int_equal(bin_encode(&desc_msg_mon_text, &t, &w), -ERANGE);
	wbuf_fini(&w);
	wbuf_init(&w, 16);
	t.n_data = 64;
	assert_int_equal(bin_encode(&desc_msg_mon_text, &t, &w), -EMSGSIZE);
	wbuf_fini(&w);
	free(longer);
}

/* Decoding fails with the given text and leaves nothing. */
static void refuse(const struct desc *d, const uint8_t *p, size_t len, const char *want)
{
	uint8_t obj[1024], zero[1024] = { 0 };
	struct err e = { 0 };

	assert_true(d->size <= sizeof(obj));
	memset(obj, 0xff, sizeof(obj));
	assert_int_equal(bin_decode(d, obj, p, len, &e), -EBADMSG);
	assert_int_equal(err_count(&e), 1);
	if (want != NULL)
		assert_string_equal(err_text(&e, 0), want);
	assert_memory_equal(obj, zero, d->size);
	assert_int_equal(bin_decode(d, obj, p, len, NULL), -EBADMSG);
}

static void bin_every_cut_is_refused(void **state)
{
	struct cfg_vm a;
	struct wbuf w;

	(void)state;
	full_config(&a);
	encode(&desc_cfg_vm, &a, &w);
	for (size_t len = 0; len < w.len; len++) {
		uint8_t *exact = malloc(len + 1); /* +1: malloc(0) may be NULL */
		struct cfg_vm b;

		assert_non_null(exact);
		memcpy(exact, w.p, len);
		assert_int_equal(bin_decode(&desc_cfg_vm, &b, exact, len, NULL), -EBADMSG);
		free(exact);
	}
	wbuf_fini(&w);
	obj_fini(&desc_cfg_vm, &a);
}

/* Flip each byte to a few values: refused, or an object whose encoding gives exactly these bytes. */
static void bin_every_changed_byte_is_refused_or_means_itself(void **state)
{
	static const uint8_t flips[] = { 0x01, 0x02, 0x80, 0xff };
	unsigned taken = 0;
	struct cfg_vm a, b;
	struct wbuf w, again;

	(void)state;
	full_config(&a);
	encode(&desc_cfg_vm, &a, &w);
	for (size_t i = 0; i < w.len * nitems(flips); i++) {
		size_t at = i / nitems(flips);

		w.p[at] ^= flips[i % nitems(flips)];
		if (bin_decode(&desc_cfg_vm, &b, w.p, w.len, NULL) == 0) {
			encode(&desc_cfg_vm, &b, &again);
			assert_int_equal(again.len, w.len);
			assert_memory_equal(again.p, w.p, w.len);
			wbuf_fini(&again);
			obj_fini(&desc_cfg_vm, &b);
			taken++;
		}
		w.p[at] ^= flips[i % nitems(flips)];
	}
	assert_true(taken > 100); /* numbers and letters do change */
	wbuf_fini(&w);
	obj_fini(&desc_cfg_vm, &a);
}

static void bin_bytes_left_over_are_refused(void **state)
{
	static const uint8_t behind[] = { 1, 0, 1, 0, 0, 0, 0, 0 };
	static const uint8_t inside[] = { 1, 0, 2, 0, 0, 0, 0, 0 };

	(void)state;
	refuse(&desc_msg_mon_open_console_result, behind, sizeof(behind), "msg_mon_open_console_result: bytes left over");
	refuse(&desc_msg_mon_open_console_result, inside, sizeof(inside), "msg_mon_open_console_result: bytes left over");
}

static void bin_other_versions_are_refused_by_name(void **state)
{
	static const uint8_t newer[] = { 2, 0, 1, 0, 0, 0, 0 };

	(void)state;
	refuse(&desc_msg_mon_open_console_result, newer, sizeof(newer), "msg_mon_open_console_result: version 2 is unknown, 1 expected");
}

static void bin_lies_about_lengths_are_refused(void **state)
{
	static const uint8_t object[] = { 1, 0, 0xff, 0xff, 0xff, 0xff, 0 };
	static const uint8_t flag[] = { 1, 0, 1, 0, 0, 0, 2 };
	static const uint8_t string[] = { 1, 0, 6, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 'x' };
	static const uint8_t short_string[] = { 1, 0, 6, 0, 0, 0, 1, 2, 0, 0, 0, 'x' };
	static const uint8_t empty[] = { 1, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0 };
	static const uint8_t nul[] = { 1, 0, 8, 0, 0, 0, 1, 3, 0, 0, 0, 'a', 0, 'b' };

	(void)state;
	const struct desc *d = &desc_msg_mon_open_console_result;
	refuse(d, object, sizeof(object), "msg_mon_open_console_result: cut short");
	refuse(d, flag, sizeof(flag), "msg_mon_open_console_result.pty: flag is neither 0 nor 1");
	refuse(d, string, sizeof(string), "msg_mon_open_console_result.pty: length out of range");
	refuse(d, short_string, sizeof(short_string), "msg_mon_open_console_result.pty: cut short");
	refuse(d, empty, sizeof(empty), "msg_mon_open_console_result.pty: length out of range");
	refuse(d, nul, sizeof(nul), "msg_mon_open_console_result.pty: NUL in a text");
}

/* A peer that is no client may not say in another form what we say in one. */
static void bin_addresses_have_one_spelling(void **state)
{
	static const char *const bad[] = { "2E:00:00:00:00:01", "2e:00:00:00:00:0g", "2e-00-00-00-00-01", "2e:00:00:00:00:001" };
	static const char *const bad_ip[] = { "1.2.3", "1.2.3.04", "0:0:0:0:0:0:0:1", "FE80::1", "::1%lo", "x" };
	struct cfg_net n, got;
	struct wbuf w;
	struct err e;

	(void)state;
	for (size_t i = 0; i < nitems(bad) + nitems(bad_ip); i++) {
		obj_init(&desc_cfg_net, &n);
		if (i < nitems(bad))
			n.mac = strdup(bad[i]);
		else
			n.ip = strdup(bad_ip[i - nitems(bad)]);
		encode(&desc_cfg_net, &n, &w);
		assert_int_equal(bin_decode(&desc_cfg_net, &got, w.p, w.len, &e), -EBADMSG);
		assert_non_null(strstr(err_text(&e, 0), "not in its canonical form"));
		wbuf_fini(&w);
		obj_fini(&desc_cfg_net, &n);
	}
}

static void bin_lies_about_counts_are_refused(void **state)
{
	static const uint8_t too_many[] = { 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0 };
	static const uint8_t more_than_there_is[] = { 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0 };
	static const uint8_t huge[] = { 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff };

	(void)state;
	refuse(&desc_msg_result, too_many, sizeof(too_many), "msg_result.links: count out of range");
	refuse(&desc_msg_result, more_than_there_is, sizeof(more_than_there_is), "msg_result.links: cut short");
	refuse(&desc_msg_result, huge, sizeof(huge), "msg_result.links: count out of range");
}

static void bin_numbers_keep_their_ranges(void **state)
{
	static const uint8_t stream0[] = { 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t stream3[] = { 1, 0, 5, 0, 0, 0, 3, 0, 0, 0, 0 };
	static const uint8_t stream2[] = { 1, 0, 5, 0, 0, 0, 2, 0, 0, 0, 0 };
	static const uint8_t bool2[] = { 1, 0, 1, 0, 0, 0, 2 };
	static const uint8_t enum2[] = { 1, 0, 9, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, '/' };
	static const uint8_t enum_wide[] = { 1, 0, 9, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, '/' };
	struct msg_mon_text t;

	(void)state;
	refuse(&desc_msg_mon_text, stream0, sizeof(stream0), "msg_mon_text.stream: value out of range");
	refuse(&desc_msg_mon_text, stream3, sizeof(stream3), NULL);
	assert_int_equal(bin_decode(&desc_msg_mon_text, &t, stream2, sizeof(stream2), NULL), 0);
	obj_fini(&desc_msg_mon_text, &t);
	refuse(&desc_msg_mon_args_ok, bool2, sizeof(bool2), NULL);
	refuse(&desc_msg_mon_open_file, enum2, sizeof(enum2), NULL);
	refuse(&desc_msg_mon_open_file, enum_wide, sizeof(enum_wide), NULL);
}

static void bin_signed_numbers_go_through_and_back(void **state)
{
	static const int32_t codes[] = { 0, 1, -1, INT32_MIN, INT32_MAX, -ENOENT };
	char text[] = "";

	(void)state;
	for (size_t i = 0; i < nitems(codes); i++) {
		struct msg_link a = { .code = codes[i], .text = text }, b;
		struct wbuf w;

		encode(&desc_msg_link, &a, &w);
		assert_int_equal(bin_decode(&desc_msg_link, &b, w.p, w.len, NULL), 0);
		assert_int_equal(b.code, codes[i]);
		obj_fini(&desc_msg_link, &b);
		wbuf_fini(&w);
	}
}

/* A message to the monitor fits the bound that its channel has, with the longest path. */
static void bin_messages_to_the_monitor_fit_8_kib(void **state)
{
	struct msg_mon_start s = { .uid_base = -1 };
	struct msg_mon_text t = { .stream = 2, .n_data = 4096 };
	struct wbuf w;
	char *path = calloc(1, 4096);

	(void)state;
	assert_non_null(path);
	memset(path, '/', 4095);
	s.api_socket = path;
	t.data = (uint8_t *)path;
	wbuf_init(&w, 8192);
	assert_int_equal(bin_encode(&desc_msg_mon_text, &t, &w), 0);
	wbuf_reset(&w);
	assert_int_equal(bin_encode(&desc_msg_mon_start, &s, &w), 0);
	wbuf_fini(&w);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bin_full_config_goes_through_and_back),
		cmocka_unit_test(bin_layout_is_what_the_header_says),
		cmocka_unit_test(bin_optional_parts_take_one_byte_when_absent),
		cmocka_unit_test(bin_encode_refuses_what_the_reader_would),
		cmocka_unit_test(bin_every_cut_is_refused),
		cmocka_unit_test(bin_every_changed_byte_is_refused_or_means_itself),
		cmocka_unit_test(bin_bytes_left_over_are_refused),
		cmocka_unit_test(bin_other_versions_are_refused_by_name),
		cmocka_unit_test(bin_lies_about_lengths_are_refused),
		cmocka_unit_test(bin_addresses_have_one_spelling),
		cmocka_unit_test(bin_lies_about_counts_are_refused),
		cmocka_unit_test(bin_numbers_keep_their_ranges),
		cmocka_unit_test(bin_signed_numbers_go_through_and_back),
		cmocka_unit_test(bin_messages_to_the_monitor_fit_8_kib),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
