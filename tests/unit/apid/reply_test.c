/* SPDX-License-Identifier: ISC */
#include "apid/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct wbuf out;

static int setup(void **state)
{
	(void)state;
	wbuf_init(&out, REPLY_MAX);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	wbuf_fini(&out);
	return 0;
}

static void assert_bytes(const char *want)
{
	assert_int_equal(out.len, strlen(want));
	assert_memory_equal(out.p, want, out.len);
}

static void status_line_has_no_reason_and_a_trailing_blank(void **state)
{
	(void)state;
	assert_int_equal(reply_put(&out, 200, "{}", 2, false), 0);
	assert_bytes("HTTP/1.1 200 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n"
		     "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
}

static void no_content_has_neither_type_nor_length(void **state)
{
	(void)state;
	assert_int_equal(reply_put(&out, 204, NULL, 0, false), 0);
	assert_bytes("HTTP/1.1 204 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n\r\n");
}

static void empty_body_has_length_0(void **state)
{
	(void)state;
	assert_int_equal(reply_put(&out, 200, NULL, 0, false), 0);
	assert_bytes("HTTP/1.1 200 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n"
		     "Content-Type: application/json\r\nContent-Length: 0\r\n\r\n");
}

static void last_reply_of_a_connection_says_so(void **state)
{
	(void)state;
	assert_int_equal(reply_put(&out, 204, NULL, 0, true), 0);
	assert_bytes("HTTP/1.1 204 \r\nServer: Cloud Hypervisor API\r\nConnection: close\r\n\r\n");
}

static void parse_error_is_valid_json_with_its_line_feed_escaped(void **state)
{
	(void)state;
	assert_int_equal(reply_put_parse_error(&out, "Bad \"thing\".", false), 0);
	assert_bytes("HTTP/1.1 400 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
		     "Content-Type: application/json\r\nContent-Length: 80\r\n\r\n"
		     "{ \"error\": \"Bad \\\"thing\\\".\\nAll previous unanswered requests will be dropped.\" }");
}

static void interim_reply_repeats_the_version(void **state)
{
	(void)state;
	assert_int_equal(reply_put_continue(&out, 0), 0);
	assert_bytes("HTTP/1.0 100 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n");
}

static void refusal_of_a_connection_announces_its_exact_length(void **state)
{
	const char *body = strstr(reply_busy, "\r\n\r\n");

	(void)state;
	assert_int_equal(strlen(reply_busy), reply_busy_len);
	assert_int_equal(strlen(body + 4), 40);
	assert_non_null(strstr(reply_busy, "Content-Length: 40\r\n"));
}

static void error_is_an_array_outermost_first(void **state)
{
	struct err e;

	(void)state;
	(void)err_set(&e, -ENOENT, "root cause");
	(void)err_wrap(&e, -EINVAL, "middle \xc3\xa4");
	assert_int_equal(reply_body_error(&out, "Error from API", &e), 0);
	assert_bytes("[\"Error from API\",\"middle \\u00e4\",\"root cause\"]");
}

static void error_without_chain_is_one_text(void **state)
{
	(void)state;
	assert_int_equal(reply_body_error(&out, "Bad Request", NULL), 0);
	assert_bytes("[\"Bad Request\"]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(status_line_has_no_reason_and_a_trailing_blank, setup, teardown),
		cmocka_unit_test_setup_teardown(no_content_has_neither_type_nor_length, setup, teardown),
		cmocka_unit_test_setup_teardown(empty_body_has_length_0, setup, teardown),
		cmocka_unit_test_setup_teardown(last_reply_of_a_connection_says_so, setup, teardown),
		cmocka_unit_test_setup_teardown(parse_error_is_valid_json_with_its_line_feed_escaped, setup, teardown),
		cmocka_unit_test_setup_teardown(interim_reply_repeats_the_version, setup, teardown),
		cmocka_unit_test(refusal_of_a_connection_announces_its_exact_length),
		cmocka_unit_test_setup_teardown(error_is_an_array_outermost_first, setup, teardown),
		cmocka_unit_test_setup_teardown(error_without_chain_is_one_text, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
