/* SPDX-License-Identifier: ISC */
#include "apid/routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const documented[] = {
	"vmm.ping",	     "vmm.shutdown",  "vm.create",		 "vm.delete",	    "vm.boot",
	"vm.shutdown",	     "vm.reboot",     "vm.pause",		 "vm.resume",	    "vm.power-button",
	"vm.nmi",	     "vm.info",	      "vm.counters",		 "vm.resize",	    "vm.resize-disk",
	"vm.resize-zone",    "vm.add-device", "vm.add-user-device",	 "vm.add-disk",	    "vm.add-fs",
	"vm.add-generic-vhost-user", "vm.add-pmem",  "vm.add-net",		 "vm.add-vdpa",	    "vm.add-vsock",
	"vm.remove-device",  "vm.snapshot",   "vm.restore",		 "vm.coredump",	    "vm.receive-migration",
	"vm.send-migration", "vmm.nmi",
};

static enum route_verdict find(enum http_verb verb, const char *name, size_t body_len, unsigned *index)
{
	char target[128];

	(void)snprintf(target, sizeof(target), "/api/v1/%s", name);
	return routes_find(verb, target, body_len, index);
}

static bool found_with_some_body(const char *name, enum http_verb verb)
{
	unsigned i = 0;

	return find(verb, name, 0, &i) == ROUTE_OK || find(verb, name, 2, &i) == ROUTE_OK;
}

static void every_documented_endpoint_is_routed_once(void **state)
{
	(void)state;
	assert_int_equal(routes_count(), nitems(documented));
	for (size_t i = 0; i < nitems(documented); i++)
		assert_true(found_with_some_body(documented[i], HTTP_VERB_GET) ||
			    found_with_some_body(documented[i], HTTP_VERB_PUT));
	for (unsigned i = 0; i < routes_count(); i++) {
		unsigned index = 9999;

		if (find(routes_verb(i), routes_name(i), 0, &index) != ROUTE_OK)
			assert_int_equal(find(routes_verb(i), routes_name(i), 2, &index), ROUTE_OK);
		assert_int_equal(index, i);
	}
}

static void other_methods_are_bad_requests_everywhere(void **state)
{
	(void)state;
	for (unsigned i = 0; i < routes_count(); i++) {
		for (enum http_verb v = HTTP_VERB_GET; v <= HTTP_VERB_DELETE; v++) {
			unsigned index;

			if (v == routes_verb(i))
				continue;
			assert_int_equal(find(v, routes_name(i), 0, &index), ROUTE_BAD_REQUEST);
			assert_int_equal(find(v, routes_name(i), 2, &index), ROUTE_BAD_REQUEST);
		}
	}
}

static void body_is_required_refused_or_ignored(void **state)
{
	static const struct {
		const char *name;
		enum http_verb verb;
		enum route_verdict without, with;
	} cases[] = {
		{ "vmm.ping", HTTP_VERB_GET, ROUTE_OK, ROUTE_OK },
		{ "vm.info", HTTP_VERB_GET, ROUTE_OK, ROUTE_OK },
		{ "vm.counters", HTTP_VERB_GET, ROUTE_OK, ROUTE_OK },
		{ "vmm.shutdown", HTTP_VERB_PUT, ROUTE_OK, ROUTE_OK },
		{ "vm.create", HTTP_VERB_PUT, ROUTE_BAD_REQUEST, ROUTE_OK },
		{ "vm.boot", HTTP_VERB_PUT, ROUTE_OK, ROUTE_BAD_REQUEST },
		{ "vm.nmi", HTTP_VERB_PUT, ROUTE_OK, ROUTE_BAD_REQUEST },
		{ "vmm.nmi", HTTP_VERB_PUT, ROUTE_OK, ROUTE_BAD_REQUEST },
		{ "vm.add-net", HTTP_VERB_PUT, ROUTE_BAD_REQUEST, ROUTE_OK },
		{ "vm.snapshot", HTTP_VERB_PUT, ROUTE_BAD_REQUEST, ROUTE_OK },
	};
	unsigned index;

	(void)state;
	for (size_t i = 0; i < nitems(cases); i++) {
		assert_int_equal(find(cases[i].verb, cases[i].name, 0, &index), cases[i].without);
		assert_int_equal(find(cases[i].verb, cases[i].name, 5, &index), cases[i].with);
	}
}

static void paths_are_compared_byte_by_byte(void **state)
{
	static const char *const unknown[] = {
		"",		       "/",		       "/api/v1",	       "/api/v1/",
		"/api/v1/vmm.ping/",   "/api/v1/vmm.ping?x",   "/API/v1/vmm.ping",     "/api/v1/VMM.ping",
		"/api/v1//vmm.ping",   "/api/v2/vmm.ping",     "/api/v1/vmm.pin",      "/api/v1/vmm.pingg",
		"/api/v1/../v1/vmm.ping", "/api/v1/vmm%2eping", "vmm.ping",
	};
	unsigned index;

	(void)state;
	for (size_t i = 0; i < nitems(unknown); i++)
		assert_int_equal(routes_find(HTTP_VERB_GET, unknown[i], 0, &index), ROUTE_NOT_FOUND);
}

static void status_follows_the_code_below_the_action(void **state)
{
	(void)state;
	assert_int_equal(routes_status(-ERR_NOT_FOUND), 404);
	assert_int_equal(routes_status(-ERR_INVALID), 400);
	assert_int_equal(routes_status(-ERR_CONFLICT), 409);
	assert_int_equal(routes_status(-ERR_PENDING), 429);
	assert_int_equal(routes_status(-ENOENT), 500);
	assert_int_equal(routes_status(-EINVAL), 500);
	assert_int_equal(routes_status(0), 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_documented_endpoint_is_routed_once),
		cmocka_unit_test(other_methods_are_bad_requests_everywhere),
		cmocka_unit_test(body_is_required_refused_or_ignored),
		cmocka_unit_test(paths_are_compared_byte_by_byte),
		cmocka_unit_test(status_follows_the_code_below_the_action),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
