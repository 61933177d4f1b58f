/* SPDX-License-Identifier: ISC */
#include "apid/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"

/* What came of reading @text, fed in pieces of @piece bytes. */
struct outcome {
	enum http_step last;
	size_t taken;
	unsigned heads;
	struct http_in *h;
};

static struct outcome read_pieces(const char *text, size_t len, size_t piece)
{
	struct outcome o = { .last = HTTP_IN_MORE, .h = http_in_new() };

	assert_non_null(o.h);
	while (o.taken < len && o.last != HTTP_IN_DONE && o.last != HTTP_IN_BAD) {
		size_t n = len - o.taken < piece ? len - o.taken : piece, used = 99999;

		o.last = http_in_feed(o.h, text + o.taken, n, &used);
		assert_true(used <= n);
		assert_true(used == n || o.last != HTTP_IN_MORE);
		o.heads += o.last == HTTP_IN_HEAD;
		o.taken += used;
	}
	return o;
}

static struct outcome read_all(const char *text)
{
	return read_pieces(text, strlen(text), SIZE_MAX);
}

static void assert_body(const struct http_in *h, const char *want)
{
	size_t len = 0;
	const uint8_t *p = http_in_body(h, &len);

	assert_int_equal(len, strlen(want));
	if (len > 0)
		assert_memory_equal(p, want, len);
}

static void request_without_body_is_done_at_its_empty_line(void **state)
{
	struct outcome o = read_all("GET /api/v1/vmm.ping HTTP/1.1\r\nHost: x\r\n\r\nGET");

	(void)state;
	assert_int_equal(o.last, HTTP_IN_DONE);
	assert_int_equal(o.taken, strlen("GET /api/v1/vmm.ping HTTP/1.1\r\nHost: x\r\n\r\n"));
	assert_null(http_in_error(o.h));
	assert_int_equal(http_in_verb(o.h), HTTP_VERB_GET);
	assert_string_equal(http_in_target(o.h), "/api/v1/vmm.ping");
	assert_int_equal(http_in_minor(o.h), 1);
	assert_int_equal(http_in_announced(o.h), 0);
	assert_false(http_in_wants_close(o.h));
	http_in_free(o.h);
}

static void body_of_announced_length_is_read_and_no_more(void **state)
{
	struct outcome o = read_all("PUT /a HTTP/1.0\r\ncontent-length: 5\r\n\r\nhelloworld");

	(void)state;
	assert_int_equal(o.last, HTTP_IN_DONE);
	assert_int_equal(o.heads, 1);
	assert_int_equal(o.taken, strlen("PUT /a HTTP/1.0\r\ncontent-length: 5\r\n\r\nhello"));
	assert_int_equal(http_in_announced(o.h), 5);
	assert_int_equal(http_in_minor(o.h), 0);
	assert_body(o.h, "hello");
	http_in_free(o.h);
}

static void any_split_gives_the_same_request(void **state)
{
	static const char *const texts[] = {
		"PUT /api/v1/vm.create HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
		"PUT /api/v1/vm.create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\n\r\n",
		"\r\n\r\n0\r\n\r\nPUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
	};

	(void)state;
	for (size_t i = 0; i < nitems(texts); i++) {
		for (size_t piece = 1; piece < strlen(texts[i]); piece++) {
			struct outcome o = read_pieces(texts[i], strlen(texts[i]), piece);

			assert_int_equal(o.last, HTTP_IN_DONE);
			assert_int_equal(o.taken, strlen(texts[i]));
			assert_string_equal(http_in_target(o.h), "/api/v1/vm.create");
			assert_body(o.h, "{\"a\":1}");
			http_in_free(o.h);
		}
	}
}

static void chunked_body_ends_at_its_terminator(void **state)
{
	struct outcome o = read_all("PUT /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\nPUT");

	(void)state;
	assert_int_equal(o.last, HTTP_IN_DONE);
	assert_int_equal(http_in_announced(o.h), HTTP_BODY_UNKNOWN);
	assert_int_equal(o.taken, strlen("PUT /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"));
	assert_body(o.h, "");
	http_in_free(o.h);
}

static void lone_terminators_and_empty_lines_are_no_request(void **state)
{
	static const char *const texts[] = { "\r\n", "0\r\n\r\n", "0\r\n\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n" };

	(void)state;
	for (size_t i = 0; i < nitems(texts); i++) {
		for (size_t piece = 1; piece < 6; piece++) {
			struct outcome o = read_pieces(texts[i], strlen(texts[i]), piece);

			assert_int_equal(o.last, HTTP_IN_MORE);
			assert_true(http_in_is_empty(o.h));
			http_in_free(o.h);
		}
	}
}

static void beginning_of_a_request_is_not_empty(void **state)
{
	struct outcome o = read_all("0\r\n");

	(void)state;
	assert_false(http_in_is_empty(o.h));
	http_in_free(o.h);
	o = read_all("G");
	assert_false(http_in_is_empty(o.h));
	http_in_free(o.h);
}

static void bytes_without_end_are_swallowed_in_bounded_memory(void **state)
{
	char many[HTTP_HEAD_MAX * 3];
	struct outcome o;

	(void)state;
	for (size_t i = 0; i + 1 < sizeof(many); i += 2)
		memcpy(many + i, "\r\n", 2);
	o = read_pieces(many, sizeof(many), 5000);
	assert_int_equal(o.last, HTTP_IN_MORE);
	assert_int_equal(o.taken, sizeof(many));
	http_in_free(o.h);
}

static void connection_close_is_seen_in_any_spelling(void **state)
{
	static const char *const yes[] = { "close", "Close", "keep-alive, close", "TE,\tCLOSE " };
	static const char *const no[] = { "keep-alive", "closed", "", "Upgrade" };
	char text[256];

	(void)state;
	for (size_t i = 0; i < nitems(yes) + nitems(no); i++) {
		const char *value = i < nitems(yes) ? yes[i] : no[i - nitems(yes)];

		(void)snprintf(text, sizeof(text), "GET /a HTTP/1.1\r\ncOnnection:%s\r\n\r\n", value);
		struct outcome o = read_all(text);
		assert_int_equal(o.last, HTTP_IN_DONE);
		assert_int_equal(http_in_wants_close(o.h), i < nitems(yes));
		http_in_free(o.h);
	}
}

static void upgrade_is_ignored(void **state)
{
	struct outcome o = read_all("GET /a HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
				    "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n");

	(void)state;
	assert_int_equal(o.last, HTTP_IN_DONE);
	assert_null(http_in_error(o.h));
	http_in_free(o.h);
	o = read_all("PUT /a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi");
	assert_int_equal(o.last, HTTP_IN_DONE);
	assert_body(o.h, "hi");
	http_in_free(o.h);
}

static void expectation_counts_only_with_a_body(void **state)
{
	struct outcome o = read_all("PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");

	(void)state;
	assert_int_equal(o.last, HTTP_IN_HEAD);
	assert_true(http_in_wants_continue(o.h));
	http_in_free(o.h);
	o = read_all("PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
	assert_int_equal(o.last, HTTP_IN_HEAD);
	assert_true(http_in_wants_continue(o.h));
	http_in_free(o.h);
	o = read_all("PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(o.last, HTTP_IN_DONE);
	assert_false(http_in_wants_continue(o.h));
	http_in_free(o.h);
	o = read_all("PUT /a HTTP/1.1\r\nExpect: the-unexpected\r\nContent-Length: 1\r\n\r\n");
	assert_int_equal(o.last, HTTP_IN_HEAD);
	assert_false(http_in_wants_continue(o.h));
	http_in_free(o.h);
}

static void absolute_target_loses_its_host(void **state)
{
	struct outcome o = read_all("GET http://localhost:80/api/v1/vm.info HTTP/1.1\r\n\r\n");

	(void)state;
	assert_int_equal(o.last, HTTP_IN_DONE);
	assert_null(http_in_error(o.h));
	assert_string_equal(http_in_target(o.h), "/api/v1/vm.info");
	http_in_free(o.h);
}

static void query_and_trailing_slash_stay_in_the_target(void **state)
{
	struct outcome o = read_all("GET /api/v1/vm.info/?x=/y#z HTTP/1.1\r\n\r\n");

	(void)state;
	assert_string_equal(http_in_target(o.h), "/api/v1/vm.info/?x=/y#z");
	http_in_free(o.h);
}

/* The method, version or target cannot be served, but the request ends where it says. */
static void bad_request_line_of_known_length_is_read_to_its_end(void **state)
{
	static const char *const lines[] = {
		"POST /a HTTP/1.1",	      "HEAD /a HTTP/1.1",      "OPTIONS * HTTP/1.1", "get /a HTTP/1.1",
		"CONNECT host:80 HTTP/1.1",   "BREW /a HTTP/1.1",      "GET /a HTTP/1.2",    "GET /a HTTP/2.0",
		"GET /a http/1.1",	      "GET a HTTP/1.1",	       "GET * HTTP/1.1",     "GET http://host HTTP/1.1",
		"GET ftp://host/a HTTP/1.1", "GET /\xff HTTP/1.1", "GET /\xc3( HTTP/1.1", "G\xc3\xa9T /a HTTP/1.1",
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < nitems(lines); i++) {
		(void)snprintf(text, sizeof(text), "%s\r\nContent-Length: 5\r\n\r\nhelloGET", lines[i]);
		struct outcome o = read_all(text);
		assert_int_equal(o.last, HTTP_IN_DONE);
		assert_int_equal(o.taken, strlen(text) - 3);
		assert_non_null(http_in_error(o.h));
		http_in_free(o.h);
	}
}

static void assert_bad(const char *text, size_t len)
{
	for (size_t piece = 1; piece <= len; piece += piece > 4 ? len : 1) {
		struct outcome o = read_pieces(text, len, piece);

		if (o.last != HTTP_IN_BAD)
			print_error("accepted: %.*s\n", (int)len, text);
		assert_int_equal(o.last, HTTP_IN_BAD);
		assert_non_null(http_in_error(o.h));
		http_in_free(o.h);
	}
}

static void request_line_of_other_shape_is_refused_at_its_end(void **state)
{
	static const char *const lines[] = {
		"GARBAGE\r\n", "GET /a\r\n",	      "GET  /a HTTP/1.1\r\n",  "GET /a  HTTP/1.1\r\n", "GET /a HTTP/1.1 \r\n",
		" GET /a HTTP/1.1\r\n", "GET\t/a HTTP/1.1\r\n", "GET /a b HTTP/1.1\r\n", "GET /a\tb HTTP/1.1\r\n",
		"GET /a\nHTTP/1.1\r\n", "GET /a HTTP/1.1\n\r\n",  "GET /a\x7f HTTP/1.1\r\n", "0\r\nGET /a HTTP/1.1\r\n",
		"0 / HTTP/1.1\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < nitems(lines); i++)
		assert_bad(lines[i], strlen(lines[i]));
}

#define HEADER(lines) "PUT /a HTTP/1.1\r\n" lines "\r\n\r\n"

static void header_lines_that_readers_could_read_differently_are_refused(void **state)
{
	static const char *const texts[] = {
		HEADER("No colon"),
		HEADER(": no name"),
		HEADER("Content-Length : 5"),
		HEADER(" Content-Length: 5"),
		HEADER("A: b\r\n folded"),
		HEADER("A: b\r\n\tfolded"),
		HEADER("A: b\nContent-Length: 5"),
		HEADER("A: b\rContent-Length: 5"),
		HEADER("A: b\x01"),
		HEADER("A: \x01"),
		HEADER("A: \x7f"),
		HEADER("A\x80: b"),
		HEADER("A: \xff\xfe"),
		HEADER("Content-Length:"),
		HEADER("Content-Length: "),
		HEADER("Content-Length: +5"),
		HEADER("Content-Length: -5"),
		HEADER("Content-Length: 5 5"),
		HEADER("Content-Length: 5,5"),
		HEADER("Content-Length: 0x5"),
		HEADER("Content-Length: five"),
		HEADER("Content-Length: 5\r\nContent-Length: 5"),
		HEADER("Content-Length: 5\r\nContent-Length: 6"),
		HEADER("Content-Length: 4194305"),
		HEADER("Content-Length: 4294967296"),
		HEADER("Content-Length: 18446744073709551616"),
		HEADER("Content-Length: 99999999999999999999999999"),
		HEADER("Content-Length: 5\r\nTransfer-Encoding: chunked"),
		HEADER("Transfer-Encoding: chunked\r\nContent-Length: 5"),
		HEADER("Transfer-Encoding: gzip"),
		HEADER("Transfer-Encoding: gzip, chunked"),
		HEADER("Transfer-Encoding: chunked, identity"),
		HEADER("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
		HEADER("Transfer-Encoding: xchunked"),
		HEADER("Transfer-Encoding:"),
		HEADER("Accept-Encoding: identity;q=0"),
		HEADER("Accept-Encoding: *;q=0"),
		HEADER("Accept-Encoding:"),
	};

	(void)state;
	for (size_t i = 0; i < nitems(texts); i++)
		assert_bad(texts[i], strlen(texts[i]));
}

static void nul_in_a_header_is_refused(void **state)
{
	static const char text[] = "PUT /a HTTP/1.1\r\nA: b\0c\r\n\r\n";

	(void)state;
	assert_bad(text, sizeof(text) - 1);
}

#define CHUNKED(body) "PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" body

static void chunks_that_readers_could_read_differently_are_refused(void **state)
{
	static const char *const texts[] = {
		CHUNKED("5\nhello\r\n0\r\n\r\n"),
		CHUNKED("5\rXhello\r\n0\r\n\r\n"),
		CHUNKED("5\r\r\nhello\r\n0\r\n\r\n"),
		CHUNKED("5\r\nhelloXX0\r\n\r\n"),
		CHUNKED("5\r\nhello\n\n0\r\n\r\n"),
		CHUNKED("5\r\nhello0\r\n\r\n"),
		CHUNKED("5;a\nb\r\nhello\r\n0\r\n\r\n"),
		CHUNKED("0\r\n\n\r\n"),
		CHUNKED("0\r\n\rX"),
		CHUNKED("0\n\n"),
		CHUNKED("0\r\nTrailer: x\r\n\r\n"),
		CHUNKED("-5\r\nhello\r\n0\r\n\r\n"),
		CHUNKED("0x5\r\nhello\r\n0\r\n\r\n"),
		CHUNKED(" 5\r\nhello\r\n0\r\n\r\n"),
		CHUNKED("\r\n"),
		CHUNKED("g\r\n"),
		CHUNKED("ffffffffffffffff\r\n"),
		CHUNKED("fffffffffffffffff\r\n"),
	};

	(void)state;
	for (size_t i = 0; i < nitems(texts); i++) {
		struct outcome o = read_all(texts[i]);

		/* the two largest sizes are refused with the bytes that do not fit */
		if (i == nitems(texts) - 2) {
			http_in_free(o.h);
			continue;
		}
		if (o.last != HTTP_IN_BAD)
			print_error("accepted: %s\n", texts[i]);
		assert_int_equal(o.last, HTTP_IN_BAD);
		http_in_free(o.h);
		assert_bad(texts[i], strlen(texts[i]));
	}
}

static void chunked_body_stops_at_the_largest_body(void **state)
{
	static char block[65536];
	struct outcome o = read_all(CHUNKED(""));
	enum http_step step = HTTP_IN_MORE;
	size_t used, fed = 0;

	(void)state;
	memset(block, 'x', sizeof(block));
	(void)http_in_feed(o.h, "7fffffff\r\n", 10, &used);
	while (step == HTTP_IN_MORE && fed < 2 * HTTP_BODY_MAX) {
		step = http_in_feed(o.h, block, sizeof(block), &used);
		fed += sizeof(block);
	}
	assert_int_equal(step, HTTP_IN_BAD);
	assert_true(fed <= HTTP_BODY_MAX + sizeof(block));
	http_in_free(o.h);
}

static void largest_body_is_taken(void **state)
{
	static char block[HTTP_BODY_MAX];
	struct outcome o = read_all("PUT /a HTTP/1.1\r\nContent-Length: 4194304\r\n\r\n");
	size_t used = 0, len = 0;

	(void)state;
	assert_int_equal(o.last, HTTP_IN_HEAD);
	assert_int_equal(http_in_feed(o.h, block, sizeof(block), &used), HTTP_IN_DONE);
	assert_int_equal(used, sizeof(block));
	(void)http_in_body(o.h, &len);
	assert_int_equal(len, HTTP_BODY_MAX);
	http_in_free(o.h);
}

/* A head of exactly @total bytes, filled by one header. */
static char *head_of(size_t total)
{
	static const char start[] = "GET /a HTTP/1.1\r\nHost: ", end[] = "\r\n\r\n";
	char *text = malloc(total + 1);

	assert_non_null(text);
	memset(text, 'h', total);
	memcpy(text, start, sizeof(start) - 1);
	memcpy(text + total - (sizeof(end) - 1), end, sizeof(end));
	return text;
}

static void head_may_have_16_kib_and_no_more(void **state)
{
	char *fits = head_of(HTTP_HEAD_MAX), *over = head_of(HTTP_HEAD_MAX + 1);
	struct outcome o = read_all(fits);

	(void)state;
	assert_int_equal(o.last, HTTP_IN_DONE);
	http_in_free(o.h);
	o = read_all(over);
	assert_int_equal(o.last, HTTP_IN_BAD);
	assert_non_null(strstr(http_in_error(o.h), "16384"));
	http_in_free(o.h);
	free(fits);
	free(over);
}

static void endless_first_line_is_cut_off(void **state)
{
	char *text = malloc(40000);
	struct outcome o;

	(void)state;
	assert_non_null(text);
	memset(text, 'G', 40000);
	o = read_pieces(text, 40000, 1000);
	assert_int_equal(o.last, HTTP_IN_BAD);
	assert_int_equal(o.taken, HTTP_HEAD_MAX);
	http_in_free(o.h);
	free(text);
}

static void encodings_that_allow_identity_are_told_from_others(void **state)
{
	static const char *const yes[] = { "gzip",  "identity",	     "identity;q=1",	"gzip, identity;q=0.5",
					   "*",	    "*;q=0, identity", "gzip;q=0",	"identity;q=0.001",
					   "*;q=1", "*;q=0.1",	     "identityx;q=0", "br, *;q=0,identity" };
	static const char *const no[] = { "",	   "  ",		"identity;q=0",	 "IDENTITY; q=0.0",
					  "*;q=0", "gzip, *;q=0.000", "gzip;q=1, *;q=0" };

	(void)state;
	for (size_t i = 0; i < nitems(yes); i++)
		assert_true(http_encoding_allows_identity(yes[i]));
	for (size_t i = 0; i < nitems(no); i++)
		assert_false(http_encoding_allows_identity(no[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_without_body_is_done_at_its_empty_line),
		cmocka_unit_test(body_of_announced_length_is_read_and_no_more),
		cmocka_unit_test(any_split_gives_the_same_request),
		cmocka_unit_test(chunked_body_ends_at_its_terminator),
		cmocka_unit_test(lone_terminators_and_empty_lines_are_no_request),
		cmocka_unit_test(beginning_of_a_request_is_not_empty),
		cmocka_unit_test(bytes_without_end_are_swallowed_in_bounded_memory),
		cmocka_unit_test(connection_close_is_seen_in_any_spelling),
		cmocka_unit_test(upgrade_is_ignored),
		cmocka_unit_test(expectation_counts_only_with_a_body),
		cmocka_unit_test(absolute_target_loses_its_host),
		cmocka_unit_test(query_and_trailing_slash_stay_in_the_target),
		cmocka_unit_test(bad_request_line_of_known_length_is_read_to_its_end),
		cmocka_unit_test(request_line_of_other_shape_is_refused_at_its_end),
		cmocka_unit_test(header_lines_that_readers_could_read_differently_are_refused),
		cmocka_unit_test(nul_in_a_header_is_refused),
		cmocka_unit_test(chunks_that_readers_could_read_differently_are_refused),
		cmocka_unit_test(chunked_body_stops_at_the_largest_body),
		cmocka_unit_test(largest_body_is_taken),
		cmocka_unit_test(head_may_have_16_kib_and_no_more),
		cmocka_unit_test(endless_first_line_is_cut_off),
		cmocka_unit_test(encodings_that_allow_identity_are_told_from_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
