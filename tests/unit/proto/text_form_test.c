/* SPDX-License-Identifier: ISC */
#include "proto/text_form.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void expect(enum text_form form, const char *s, const char *want)
{
	char out[TEXT_FORM_MAX];

	if (text_form_canon(form, s, out) != 0)
		fail_msg("\"%s\" refused", s);
	assert_string_equal(out, want);
	assert_int_equal(text_form_canon(form, want, out), 0); /* and that one is itself */
	assert_string_equal(out, want);
}

static void refuse(enum text_form form, const char *s)
{
	char out[TEXT_FORM_MAX];

	if (text_form_canon(form, s, out) != -EINVAL)
		fail_msg("\"%s\" taken", s);
}

static void mac_addresses_are_lower_case(void **state)
{
	(void)state;
	expect(TF_MAC, "2e:89:a8:e4:bf:95", "2e:89:a8:e4:bf:95");
	expect(TF_MAC, "2E:89:A8:E4:BF:95", "2e:89:a8:e4:bf:95");
	expect(TF_MAC, "00:00:00:00:00:00", "00:00:00:00:00:00");
	expect(TF_MAC, "fF:Ff:FF:ff:ff:ff", "ff:ff:ff:ff:ff:ff");
}

static void mac_addresses_that_are_none(void **state)
{
	static const char *const bad[] = {
		"", ":", "2e", "2e:89:a8:e4:bf", "2e:89:a8:e4:bf:", "2e:89:a8:e4:bf:9", "2e:89:a8:e4:bf:955", "2e:89:a8:e4:bf:95:",
		"2e-89-a8-e4-bf-95", "2e:89:a8:e4:bf:9g", "2e:89:a8:e4:bf: 5", "2e:89:a8:e4:bf:+5", "2e89a8e4bf95", " 2e:89:a8:e4:bf:9",
		":2e:89:a8:e4:bf:95", "2e:89:a8:e4::bf:95", "2e:89:a8:e4:bf:\xc3\xa9", "2:e89:a8:e4:bf:95",
	};

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++)
		refuse(TF_MAC, bad[i]);
}

static void ip_addresses_of_both_kinds(void **state)
{
	(void)state;
	expect(TF_IP, "192.168.249.1", "192.168.249.1");
	expect(TF_IP, "0.0.0.0", "0.0.0.0");
	expect(TF_IP, "255.255.255.255", "255.255.255.255");
	expect(TF_IP, "::", "::");
	expect(TF_IP, "FE80::1", "fe80::1");
	expect(TF_IP, "2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1");
	expect(TF_IP, "ffff:ffff:ffff:ffff::", "ffff:ffff:ffff:ffff::");
	expect(TF_IP, "1111:2222:3333:4444:5555:6666:7777:8888", "1111:2222:3333:4444:5555:6666:7777:8888");
	expect(TF_IP, "::ffff:102:304", "::ffff:1.2.3.4");
}

static void ip_addresses_that_are_none(void **state)
{
	static const char *const bad[] = { "",	  "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.-4", "01.2.3.4", "1.2.3.4/24", " 1.2.3.4",
					   "1.2.3.4 ", ":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "fe80::1%lo", "fe80::g",
					   "12345::", "localhost", "0x1.2.3.4" };

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++)
		refuse(TF_IP, bad[i]);
}

static void any_text_has_no_canonical_form(void **state)
{
	(void)state;
	refuse(TF_ANY, "x");
	assert_string_equal(text_form_name(TF_MAC), "a MAC address");
	assert_string_equal(text_form_name(TF_IP), "an IP address");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mac_addresses_are_lower_case),
		cmocka_unit_test(mac_addresses_that_are_none),
		cmocka_unit_test(ip_addresses_of_both_kinds),
		cmocka_unit_test(ip_addresses_that_are_none),
		cmocka_unit_test(any_text_has_no_canonical_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
