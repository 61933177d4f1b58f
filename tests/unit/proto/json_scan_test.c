/* SPDX-License-Identifier: ISC */
/* The pre-scan against documents that are JSON and documents that only look like it. */
#include "proto/json_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/codec_json.h"

struct doc {
	const char *text;
	size_t len; /* 0: strlen */
};

static int scan(const struct doc *d, struct err *e)
{
	struct json_scan s;
	int r = json_scan(&s, d->text, d->len > 0 ? d->len : strlen(d->text), e);

	json_scan_fini(&s);
	return r;
}

static const struct doc good[] = {
	{ "null", 0 },
	{ "true", 0 },
	{ "false", 0 },
	{ "0", 0 },
	{ "-0", 0 },
	{ "1", 0 },
	{ "10", 0 },
	{ "-1", 0 },
	{ "1.5", 0 },
	{ "0.0", 0 },
	{ "1e5", 0 },
	{ "1E5", 0 },
	{ "1e+5", 0 },
	{ "1e-5", 0 },
	{ "1.25e10", 0 },
	{ "0e0", 0 },
	{ "1e400", 0 }, /* grammar only: the walker refuses it where it counts */
	{ "18446744073709551615", 0 },
	{ "99999999999999999999999999999999999999999", 0 },
	{ "\"\"", 0 },
	{ "\"a\"", 0 },
	{ "\" \"", 0 },
	{ "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", 0 },
	{ "\"\\u0001\"", 0 },
	{ "\"\\u00e9\"", 0 },
	{ "\"\\uD834\\uDD1E\"", 0 },
	{ "\"\\ud834\\udd1e\"", 0 },
	{ "\"\\uFFFF\"", 0 },
	{ "\"\x7f\"", 0 },
	{ "\"\xc3\xa9\"", 0 },
	{ "\"\xe2\x82\xac\"", 0 },
	{ "\"\xf0\x9d\x84\x9e\"", 0 },
	{ "\"\xf4\x8f\xbf\xbf\"", 0 },
	{ "\"\xed\x9f\xbf\"", 0 },
	{ "\"\xee\x80\x80\"", 0 },
	{ "[]", 0 },
	{ "[1]", 0 },
	{ "[1,2]", 0 },
	{ "[[]]", 0 },
	{ "[[],[]]", 0 },
	{ "[null,true,false,\"x\",1,{},[]]", 0 },
	{ "{}", 0 },
	{ "{\"a\":1}", 0 },
	{ "{\"a\":1,\"b\":2}", 0 },
	{ "{\"\":0}", 0 },
	{ "{\"a\":{\"a\":{}}}", 0 },
	{ "{\"a\":1,\"a\":2}", 0 }, /* twice: the walker knows whether it minds */
	{ " { \"a\" : [ 1 , 2 ] } ", 0 },
	{ "\t\r\n1\t\r\n", 0 },
	{ "{\"\\u0061\":1}", 0 },
	{ "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", 0 }, /* 32 deep */
};

static const struct doc bad[] = {
	{ "", 0 },
	{ " ", 0 },
	{ "\n", 0 },
	{ "\0", 1 },
	{ "1\0", 2 },
	{ "\xef\xbb\xbf{}", 0 }, /* byte order mark */
	{ "nul", 0 },
	{ "nulll", 0 },
	{ "Null", 0 },
	{ "NULL", 0 },
	{ "tru", 0 },
	{ "True", 0 },
	{ "falsee", 0 },
	{ "nan", 0 },
	{ "NaN", 0 },
	{ "Infinity", 0 },
	{ "-Infinity", 0 },
	{ "undefined", 0 },
	{ "'a'", 0 },
	{ "a", 0 },
	{ "00", 0 },
	{ "01", 0 },
	{ "-01", 0 },
	{ "-", 0 },
	{ "--1", 0 },
	{ "+1", 0 },
	{ ".5", 0 },
	{ "1.", 0 },
	{ "1.e5", 0 },
	{ "1e", 0 },
	{ "1e+", 0 },
	{ "1e-", 0 },
	{ "1e1.5", 0 },
	{ "1.2.3", 0 },
	{ "-.5", 0 },
	{ "0x10", 0 },
	{ "1_000", 0 },
	{ "1,000", 0 },
	{ "1 2", 0 },
	{ "1a", 0 },
	{ "\xd9\xa1", 0 }, /* a digit, but not of JSON */
	{ "\"", 0 },
	{ "\"a", 0 },
	{ "a\"", 0 },
	{ "\"a\"b\"", 0 },
	{ "\"\n\"", 0 },
	{ "\"\t\"", 0 },
	{ "\"\x1f\"", 0 },
	{ "\"\0\"", 3 },
	{ "\"a\0b\"", 5 },
	{ "\"\\\"", 0 },
	{ "\"\\", 0 },
	{ "\"\\\0\"", 4 },
	{ "\"\\a\"", 0 },
	{ "\"\\x41\"", 0 },
	{ "\"\\'\"", 0 },
	{ "\"\\0\"", 0 },
	{ "\"\\U0041\"", 0 },
	{ "\"\\u\"", 0 },
	{ "\"\\u1\"", 0 },
	{ "\"\\u12\"", 0 },
	{ "\"\\u123\"", 0 },
	{ "\"\\u12", 0 },
	{ "\"\\u12g4\"", 0 },
	{ "\"\\u 123\"", 0 },
	{ "\"\\u0000\"", 0 },
	{ "\"a\\u0000b\"", 0 },
	{ "\"\\ud800\"", 0 },
	{ "\"\\udbff\"", 0 },
	{ "\"\\udc00\"", 0 },
	{ "\"\\udfff\"", 0 },
	{ "\"\\ud800x\"", 0 },
	{ "\"\\ud800\\n\"", 0 },
	{ "\"\\ud800\\u0041\"", 0 },
	{ "\"\\ud800\\ud800\"", 0 },
	{ "\"\\udc00\\ud800\"", 0 },
	{ "\"\\ud800\\u", 0 },
	{ "\"\\ud800\\udc0", 0 },
	{ "\"\x80\"", 0 },
	{ "\"\xbf\"", 0 },
	{ "\"\xc0\x80\"", 0 }, /* NUL, too long */
	{ "\"\xc1\xbf\"", 0 },
	{ "\"\xc3\"", 0 },
	{ "\"\xc3\x28\"", 0 },
	{ "\"\xe0\x80\xaf\"", 0 },
	{ "\"\xe0\x9f\xbf\"", 0 },
	{ "\"\xe2\x82\"", 0 },
	{ "\"\xed\xa0\x80\"", 0 }, /* a surrogate in UTF-8 */
	{ "\"\xed\xbf\xbf\"", 0 },
	{ "\"\xf0\x80\x80\xaf\"", 0 },
	{ "\"\xf0\x8f\xbf\xbf\"", 0 },
	{ "\"\xf4\x90\x80\x80\"", 0 },
	{ "\"\xf5\x80\x80\x80\"", 0 },
	{ "\"\xf8\x88\x80\x80\x80\"", 0 },
	{ "\"\xfe\"", 0 },
	{ "\"\xff\"", 0 },
	{ "\xff", 0 },
	{ "{\"\xff\":1}", 0 },
	{ "[", 0 },
	{ "]", 0 },
	{ "[1", 0 },
	{ "[1,", 0 },
	{ "[,]", 0 },
	{ "[,1]", 0 },
	{ "[1,]", 0 },
	{ "[1,,2]", 0 },
	{ "[1 2]", 0 },
	{ "[1:2]", 0 },
	{ "[\"a\":1]", 0 },
	{ "[1}", 0 },
	{ "[]]", 0 },
	{ "[] []", 0 },
	{ "{", 0 },
	{ "}", 0 },
	{ "{]", 0 },
	{ "{1}", 0 },
	{ "{\"a\"}", 0 },
	{ "{\"a\":}", 0 },
	{ "{\"a\":1", 0 },
	{ "{\"a\":1,", 0 },
	{ "{\"a\":1,}", 0 },
	{ "{,}", 0 },
	{ "{,\"a\":1}", 0 },
	{ "{\"a\":1,,\"b\":2}", 0 },
	{ "{\"a\":1 \"b\":2}", 0 },
	{ "{\"a\"::1}", 0 },
	{ "{\"a\",1}", 0 },
	{ "{a:1}", 0 },
	{ "{'a':1}", 0 },
	{ "{1:1}", 0 },
	{ "{null:1}", 0 },
	{ "{\"a\":1]", 0 },
	{ "{\"\\u0000\":1}", 0 },
	{ "{\"\\ud800\":1}", 0 },
	{ "{}{}", 0 },
	{ "{} x", 0 },
	{ "{}\0", 3 },
	{ "// c\n1", 0 },
	{ "/* c */1", 0 },
	{ "1 // c", 0 },
	{ "1\v", 0 },
	{ "1\f", 0 },
	{ "1\xc2\xa0", 0 },
	{ "{\"a\":01}", 0 },
	{ "[1.]", 0 },
	{ "[-]", 0 },
	{ "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", 0 }, /* 33 deep */
};

static void json_scan_takes_what_is_json(void **state)
{
	struct err e;

	(void)state;
	for (size_t i = 0; i < nitems(good); i++)
		if (scan(&good[i], &e) != 0)
			fail_msg("refused %s: %s", good[i].text, err_text(&e, 0));
}

static void json_scan_refuses_what_is_not(void **state)
{
	(void)state;
	for (size_t i = 0; i < nitems(bad); i++) {
		struct err e = { 0 };

		if (scan(&bad[i], &e) != -EINVAL)
			fail_msg("took document %zu: %s", i, bad[i].text);
		assert_int_equal(err_count(&e), 1);
		assert_non_null(strstr(err_text(&e, 0), " at line "));
		assert_int_equal(scan(&bad[i], NULL), -EINVAL);
	}
}

/* Every document cut anywhere: an error or a document, never a read beyond the end (ASan looks). */
static void json_scan_survives_every_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < nitems(good); i++) {
		for (size_t len = 1; len < strlen(good[i].text); len++) {
			char *exact = malloc(len);
			struct json_scan s;

			assert_non_null(exact);
			memcpy(exact, good[i].text, len);
			int r = json_scan(&s, exact, len, NULL);
			assert_true(r == 0 || r == -EINVAL);
			json_scan_fini(&s);
			free(exact);
		}
	}
}

static void json_scan_tags_values_and_leaves_names(void **state)
{
	static const char text[] = " {\"n1\" : -12 ,\"s\":\"n\\u0041\",\"b\":[true , null,1.5e3 ,\"\"]} ";
	static const char want[] = "{\"n1\":\"n-12\",\"s\":\"sn\\u0041\",\"b\":[true,null,\"n1.5e3\",\"s\"]}";
	struct json_scan s;

	(void)state;
	assert_int_equal(json_scan(&s, text, strlen(text), NULL), 0);
	assert_int_equal(s.text.len, strlen(want));
	assert_memory_equal(s.text.p, want, strlen(want));
	json_scan_fini(&s);
}

static void json_scan_knows_where_each_value_stands(void **state)
{
	static const char text[] = "{\"a\":12,\"b\":[ true,\"xy\" ]}";
	struct json_scan s;

	(void)state;
	assert_int_equal(json_scan(&s, text, strlen(text), NULL), 0);
	assert_int_equal(s.n_values, 5);
	assert_int_equal(s.spans[0].start, 0);
	assert_int_equal(s.spans[0].end, strlen(text) - 1);
	assert_int_equal(s.spans[1].start, 5); /* 12 */
	assert_int_equal(s.spans[1].end, 6);
	assert_int_equal(s.spans[2].start, 12); /* the array */
	assert_int_equal(s.spans[2].end, 24);
	assert_int_equal(s.spans[3].start, 14); /* true */
	assert_int_equal(s.spans[3].end, 17);
	assert_int_equal(s.spans[4].start, 19); /* "xy" with its quotes */
	assert_int_equal(s.spans[4].end, 22);
	json_scan_fini(&s);
}

static void json_scan_says_line_and_column(void **state)
{
	static const char text[] = "{\n \"a\": 1,\n \"b\" 2}";
	struct json_scan s;
	struct err e;

	(void)state;
	assert_int_equal(json_scan(&s, text, strlen(text), &e), -EINVAL);
	assert_string_equal(err_text(&e, 0), "expected \":\" at line 3 column 6");
	json_scan_fini(&s);
}

static void json_scan_bounds_the_number_of_values(void **state)
{
	size_t n = JSON_VALUES_MAX, len = 2 * n + 1;
	char *text = malloc(len);
	struct json_scan s;
	struct err e;

	(void)state;
	assert_non_null(text);
	/* the array and n - 1 elements are allowed, one more isn't */
	memset(text, ',', len);
	text[0] = '[';
	for (size_t i = 0; i < n - 1; i++)
		text[1 + 2 * i] = '0';
	text[2 * (n - 1)] = ']';
	assert_int_equal(json_scan(&s, text, 2 * (n - 1) + 1, &e), 0);
	assert_int_equal(s.n_values, n);
	json_scan_fini(&s);
	text[2 * (n - 1)] = ',';
	text[2 * (n - 1) + 1] = '0';
	text[2 * n] = ']';
	assert_int_equal(json_scan(&s, text, 2 * n + 1, &e), -EINVAL);
	assert_non_null(strstr(err_text(&e, 0), "too many values"));
	json_scan_fini(&s);
	free(text);
}

static void json_scan_bounds_depth_for_a_million_brackets(void **state)
{
	size_t n = 1000000;
	char *text = malloc(n);
	struct json_scan s;
	struct err e;

	(void)state;
	assert_non_null(text);
	memset(text, '[', n);
	assert_int_equal(json_scan(&s, text, n, &e), -EINVAL);
	assert_string_equal(err_text(&e, 0), "nested too deep at line 1 column 33");
	json_scan_fini(&s);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_scan_takes_what_is_json),
		cmocka_unit_test(json_scan_refuses_what_is_not),
		cmocka_unit_test(json_scan_survives_every_cut),
		cmocka_unit_test(json_scan_tags_values_and_leaves_names),
		cmocka_unit_test(json_scan_knows_where_each_value_stands),
		cmocka_unit_test(json_scan_says_line_and_column),
		cmocka_unit_test(json_scan_bounds_the_number_of_values),
		cmocka_unit_test(json_scan_bounds_depth_for_a_million_brackets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
