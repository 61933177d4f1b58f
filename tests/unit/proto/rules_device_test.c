/* SPDX-License-Identifier: ISC */
/* The rules of devices, in JSON as a client writes it: which one fails, with which code, which comes first. */
#include "proto/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/proto/json_util.h"

#define MACHINE "\"payload\":{\"kernel\":\"/k\"},\"cpus\":{\"boot_vcpus\":4,\"max_vcpus\":4}"
#define SHARED ",\"memory\":{\"size\":4096,\"shared\":true}"

static void make(const char *rest, struct cfg_vm *c)
{
	char text[4096];

	assert_true(snprintf(text, sizeof(text), "{" MACHINE "%s%s}", *rest != '\0' ? "," : "", rest) < (int)sizeof(text));
	take(text, c);
}

static void passes(const char *rest)
{
	struct cfg_vm c;
	struct err e = { 0 };

	make(rest, &c);
	if (rules_check_boot(&c, &e) != 0)
		fail_msg("%s: %s: %s", rest, err_text(&e, 0), err_text(&e, 1));
	obj_fini(&desc_cfg_vm, &c);
}

/* Refused with @code; the chain is @outer, @inner. */
static void refused(const char *rest, int code, const char *outer, const char *inner)
{
	struct cfg_vm c;
	struct err e = { 0 };

	make(rest, &c);
	if (rules_check_boot(&c, &e) != code || err_code(&e, 0) != code || err_count(&e) != 2 ||
	    strcmp(err_text(&e, 0), outer) != 0 || strcmp(err_text(&e, 1), inner) != 0)
		fail_msg("%s: %d \"%s\": \"%s\"", rest, err_code(&e, 0), err_text(&e, 0), err_text(&e, 1));
	assert_int_equal(rules_check_boot(&c, NULL), code);
	obj_fini(&desc_cfg_vm, &c);
}

#define DISK(members) "\"disks\":[{\"path\":\"/d\"," members "}]"
#define BARE_DISK(members) "\"disks\":[{" members "}]"
#define NET(members) "\"net\":[{" members "}]"
#define LIMIT "{\"ops\":{\"size\":1,\"refill_time\":1}}"
#define GROUP(id) "\"rate_limit_groups\":[{\"id\":\"" id "\",\"rate_limiter_config\":" LIMIT "}]"

static void groups_have_an_id_and_limits(void **state)
{
	(void)state;
	passes(GROUP("g"));
	refused("\"rate_limit_groups\":[{\"rate_limiter_config\":" LIMIT "}]", -ERR_INVALID, "rate_limit_groups[0]",
		"the group has no id");
	refused("\"rate_limit_groups\":[{\"id\":\"\",\"rate_limiter_config\":" LIMIT "}]", -ERR_INVALID,
		"rate limit group \"\"", "the group has no id");
	refused("\"rate_limit_groups\":[{\"id\":\"g\"}]", -ERR_INVALID, "rate limit group \"g\"", "the group limits nothing");
	refused(GROUP("__g"), -ERR_INVALID, "rate limit group \"__g\"", "id \"__g\" begins with \"__\"");
	refused("\"rate_limit_groups\":[{\"id\":\"g\",\"rate_limiter_config\":" LIMIT "},"
		"{\"id\":\"g\",\"rate_limiter_config\":" LIMIT "}]", -ERR_CONFLICT, "rate limit group \"g\"",
		"id \"g\" is not unique");
}

static void disks_are_refused_by_their_rules(void **state)
{
	static const struct {
		const char *rest, *inner;
	} bad[] = {
		{ DISK("\"vhost_socket\":\"/s\""), "path and vhost_socket exclude each other" },
		{ BARE_DISK("\"vhost_user\":true,\"vhost_socket\":\"/s\""), "vhost_user needs shared memory" },
		{ BARE_DISK("\"vhost_user\":true") SHARED, "vhost_user needs vhost_socket" },
		{ BARE_DISK("\"vhost_user\":true,\"vhost_socket\":\"/s\",\"rate_limiter_config\":" LIMIT) SHARED,
		  "a vhost_user back end cannot be limited" },
		{ BARE_DISK("\"vhost_user\":true,\"vhost_socket\":\"/s\",\"rate_limit_group\":\"g\"") SHARED,
		  "a vhost_user back end cannot be limited" },
		{ DISK("\"rate_limit_group\":\"g\""), "rate_limit_group \"g\" does not exist" },
		{ DISK("\"pci_segment\":1"), "PCI segment 1 does not exist: this build has segment 0 only" },
		{ DISK("\"pci_device_id\":32"), "pci_device_id 32 is above 31" },
		{ DISK("\"pci_device_id\":0"), "pci_device_id 0 is the host bridge" },
		{ DISK("\"num_queues\":5"), "num_queues 5 is above boot_vcpus 4" },
		{ DISK("\"num_queues\":18446744073709551615"), "num_queues 18446744073709551615 is above boot_vcpus 4" },
		{ DISK("\"queue_size\":0"), "queue_size 0 is not a power of two" },
		{ DISK("\"queue_size\":100"), "queue_size 100 is not a power of two" },
		{ DISK("\"queue_size\":1"), "queue_size 1 is too small" },
		{ DISK("\"queue_size\":2"), "queue_size 2 is too small" },
		{ DISK("\"rate_limit_group\":\"g\",\"rate_limiter_config\":" LIMIT) "," GROUP("g"),
		  "rate_limiter_config and rate_limit_group exclude each other" },
		{ DISK("\"serial\":\"123456789012345678901\""), "serial has 21 bytes, 20 at most" },
	};

	(void)state;
	passes(DISK("\"num_queues\":4,\"queue_size\":4,\"serial\":\"12345678901234567890\",\"pci_device_id\":31"));
	passes(DISK("\"rate_limit_group\":\"g\"") "," GROUP("g"));
	passes(DISK("\"rate_limiter_config\":" LIMIT));
	passes(BARE_DISK("\"vhost_user\":true,\"vhost_socket\":\"/s\"") SHARED);
	passes(BARE_DISK("\"num_queues\":0")); /* fails later, as a failure of the boot */
	for (size_t i = 0; i < nitems(bad); i++)
		refused(bad[i].rest, -ERR_INVALID, "disks[0]", bad[i].inner);
	refused("\"disks\":[{\"path\":\"/a\"},{\"path\":\"/b\",\"id\":\"x\",\"queue_size\":3}]", -ERR_INVALID, "disk \"x\"",
		"queue_size 3 is not a power of two");
}

static void nets_are_refused_by_their_rules(void **state)
{
	static const struct {
		const char *rest, *inner;
	} bad[] = {
		{ NET("\"vhost_user\":true,\"vhost_socket\":\"/s\""), "vhost_user needs shared memory" },
		{ NET("\"vhost_user\":true") SHARED, "vhost_user needs vhost_socket" },
		{ NET("\"vhost_user\":true,\"vhost_socket\":\"/s\",\"rate_limiter_config\":{}") SHARED,
		  "a vhost_user back end cannot be limited" },
		{ NET("\"pci_segment\":65535"), "PCI segment 65535 does not exist: this build has segment 0 only" },
		{ NET("\"pci_device_id\":255"), "pci_device_id 255 is above 31" },
		{ NET("\"num_queues\":0"), "num_queues 0 is below 2" },
		{ NET("\"num_queues\":1"), "num_queues 1 is below 2" },
		{ NET("\"num_queues\":10"), "num_queues 10 is above twice boot_vcpus 4" },
		{ NET("\"queue_size\":0"), "queue_size 0 is not a power of two" },
		{ NET("\"queue_size\":255"), "queue_size 255 is not a power of two" },
		{ NET("\"mtu\":1279"), "mtu 1279 is below 1280" },
		{ NET("\"mtu\":0"), "mtu 0 is below 1280" },
		{ NET("\"offload_csum\":false"), "offload_tso and offload_ufo need offload_csum" },
		{ NET("\"offload_csum\":false,\"offload_tso\":false"), "offload_tso and offload_ufo need offload_csum" },
		{ NET("\"offload_csum\":false,\"offload_ufo\":false"), "offload_tso and offload_ufo need offload_csum" },
		{ NET("\"mask\":\"255.0.0.0\""), "mask without ip" },
		{ NET("\"ip\":\"10.0.0.1\""), "ip without mask" },
		{ NET("\"id\":null,\"mtu\":1,\"mask\":\"1.1.1.1\""), "mtu 1 is below 1280" },
	};

	(void)state;
	passes(NET("\"num_queues\":8,\"queue_size\":1,\"mtu\":1280"));
	passes(NET("\"num_queues\":3,\"offload_csum\":false,\"offload_tso\":false,\"offload_ufo\":false"));
	passes(NET("\"ip\":\"fd00::1\",\"mask\":\"ffff::\",\"mtu\":9500"));
	passes(NET("\"vhost_user\":true,\"vhost_socket\":\"/s\"") SHARED);
	passes("\"net\":[{\"mac\":\"2e:00:00:00:00:01\"},{\"mac\":\"2e:00:00:00:00:01\"}]");
	for (size_t i = 0; i < nitems(bad); i++)
		refused(bad[i].rest, -ERR_INVALID, "net[0]", bad[i].inner);
}

static void net_descriptors_match_the_queues(void **state)
{
	static const struct {
		int32_t fds[2];
		size_t n;
		uint64_t queues;
		const char *inner;
	} bad[] = {
		{ { 3 }, 1, 4, "1 fds for num_queues 4" },
		{ { 3, 4 }, 2, 2, "2 fds for num_queues 2" },
		{ { 2 }, 1, 2, "fd 2 is no tap" },
		{ { 0 }, 1, 2, "fd 0 is no tap" },
		{ { 3, -1 }, 2, 4, "fd -1 is no tap" },
	};

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++) {
		struct cfg_vm c;
		struct err e;

		make(NET("\"id\":\"n\""), &c);
		c.net[0].num_queues = bad[i].queues;
		c.net[0].has_fds = true;
		c.net[0].n_fds = bad[i].n;
		c.net[0].fds = calloc(2, sizeof(int32_t));
		memcpy(c.net[0].fds, bad[i].fds, sizeof(bad[i].fds));
		assert_int_equal(rules_check_boot(&c, &e), -ERR_INVALID);
		assert_string_equal(err_text(&e, 1), bad[i].inner);
		c.net[0].fds[0] = 3;
		c.net[0].fds[1] = 4;
		c.net[0].num_queues = 2 * bad[i].n;
		assert_int_equal(rules_check_boot(&c, &e), 0);
		obj_fini(&desc_cfg_vm, &c);
	}
}

static void rng_and_console_have_place_and_id(void **state)
{
	(void)state;
	passes("\"rng\":{\"src\":\"/x\",\"id\":\"r\",\"pci_device_id\":31},\"console\":{\"mode\":\"Off\",\"id\":\"_c\"}");
	refused("\"rng\":{\"src\":\"/x\",\"pci_segment\":1}", -ERR_INVALID, "rng",
		"PCI segment 1 does not exist: this build has segment 0 only");
	refused("\"rng\":{\"src\":\"/x\",\"pci_device_id\":0}", -ERR_INVALID, "rng", "pci_device_id 0 is the host bridge");
	refused("\"rng\":{\"src\":\"/x\",\"id\":\"__rng\"}", -ERR_INVALID, "rng", "id \"__rng\" begins with \"__\"");
	/* also while it is off */
	refused("\"console\":{\"mode\":\"Off\",\"pci_segment\":1}", -ERR_INVALID, "console",
		"PCI segment 1 does not exist: this build has segment 0 only");
	refused("\"console\":{\"mode\":\"Off\",\"pci_device_id\":32}", -ERR_INVALID, "console", "pci_device_id 32 is above 31");
	refused("\"console\":{\"mode\":\"Tty\",\"id\":\"__console\"}", -ERR_INVALID, "console",
		"id \"__console\" begins with \"__\"");
}

static void ids_are_unique_over_all_kinds(void **state)
{
	static const char *const kinds[] = { GROUP("x"), DISK("\"id\":\"x\""), NET("\"id\":\"x\""), "\"rng\":{\"src\":\"/r\",\"id\":\"x\"}",
					     "\"console\":{\"mode\":\"Tty\",\"id\":\"x\"}" };
	static const char *const names[] = { "rate limit group \"x\"", "disk \"x\"", "net \"x\"", "rng", "console" };

	(void)state;
	for (size_t i = 0; i < nitems(kinds); i++) {
		passes(kinds[i]);
		for (size_t k = i + 1; k < nitems(kinds); k++) {
			char rest[512];

			(void)snprintf(rest, sizeof(rest), "%s,%s", kinds[k], kinds[i]); /* written in whatever order */
			refused(rest, -ERR_CONFLICT, names[k], "id \"x\" is not unique");
		}
	}
	refused("\"disks\":[{\"id\":\"x\"},{},{\"id\":\"x\"}]", -ERR_CONFLICT, "disk \"x\"", "id \"x\" is not unique");
	refused("\"net\":[{\"id\":\"x\"},{\"id\":\"y\"},{\"id\":\"x\"}]", -ERR_CONFLICT, "net \"x\"", "id \"x\" is not unique");
	passes("\"disks\":[{},{},{\"id\":\"X\"},{\"id\":\"x\"}],\"net\":[{},{}]");
}

/* Each line breaks the rule above it as well: the one named is the first in the documented order. */
static void first_in_the_documented_order_wins(void **state)
{
	(void)state;
	refused(DISK("\"vhost_socket\":\"/s\",\"queue_size\":3,\"num_queues\":9") "," NET("\"num_queues\":0"), -ERR_INVALID,
		"disks[0]", "path and vhost_socket exclude each other");
	refused(DISK("\"rate_limit_group\":\"no\",\"pci_segment\":1,\"num_queues\":9"), -ERR_INVALID, "disks[0]",
		"rate_limit_group \"no\" does not exist");
	refused(DISK("\"pci_segment\":1,\"num_queues\":9,\"queue_size\":3"), -ERR_INVALID, "disks[0]",
		"PCI segment 1 does not exist: this build has segment 0 only");
	refused(DISK("\"num_queues\":9,\"queue_size\":3,\"id\":\"__d\""), -ERR_INVALID, "disk \"__d\"",
		"num_queues 9 is above boot_vcpus 4");
	refused(DISK("\"queue_size\":3,\"id\":\"__d\"") "," NET("\"num_queues\":0"), -ERR_INVALID, "disk \"__d\"",
		"queue_size 3 is not a power of two");
	refused(DISK("\"serial\":\"123456789012345678901\",\"id\":\"__d\""), -ERR_INVALID, "disk \"__d\"",
		"serial has 21 bytes, 20 at most");
	refused("\"disks\":[{},{\"queue_size\":3}]," GROUP("__g"), -ERR_INVALID, "rate limit group \"__g\"",
		"id \"__g\" begins with \"__\"");
	refused(NET("\"num_queues\":0,\"queue_size\":3,\"mtu\":1") ",\"rng\":{\"src\":\"\",\"pci_segment\":1}", -ERR_INVALID,
		"net[0]", "num_queues 0 is below 2");
	refused("\"console\":{\"mode\":\"Off\",\"pci_segment\":2},\"rng\":{\"src\":\"\",\"pci_segment\":1}", -ERR_INVALID, "rng",
		"PCI segment 1 does not exist: this build has segment 0 only");
}

static void shared_memory_may_be_huge_pages_or_zones(void **state)
{
	struct cfg_vm c;

	(void)state;
	make(BARE_DISK("\"vhost_user\":true,\"vhost_socket\":\"/s\""), &c);
	assert_int_equal(rules_check_boot(&c, NULL), -ERR_INVALID);
	c.memory.hugepages = true;
	assert_int_equal(rules_check_boot(&c, NULL), 0);
	c.memory.hugepages = false;
	c.memory.size = 0;
	assert_int_equal(rules_check_boot(&c, NULL), -ERR_INVALID); /* no zone at all */
	c.memory.has_zones = true;
	c.memory.n_zones = 2;
	c.memory.zones = calloc(2, sizeof(*c.memory.zones));
	c.memory.zones[0].shared = true;
	assert_int_equal(rules_check_boot(&c, NULL), -ERR_INVALID);
	c.memory.zones[1].hugepages = true;
	assert_int_equal(rules_check_boot(&c, NULL), 0);
	c.memory.size = 4096; /* then the zones don't count */
	assert_int_equal(rules_check_boot(&c, NULL), -ERR_INVALID);
	obj_fini(&desc_cfg_vm, &c);
}

static void rules_behind_what_is_not_served_yet(void **state)
{
	struct cfg_vm c;
	struct err e;

	(void)state;
	make(BARE_DISK("\"vhost_user\":true,\"vhost_socket\":\"/s\"") "," NET("\"vhost_user\":true,\"vhost_socket\":\"/s\"") SHARED, &c);
	rules_complete(&c);
	assert_false(c.iommu);
	c.net[0].iommu = true;
	assert_int_equal(rules_check_boot(&c, &e), -ERR_INVALID);
	assert_string_equal(err_text(&e, 1), "vhost_user is not possible behind an IOMMU");
	c.disks[0].iommu = true;
	assert_int_equal(rules_check_boot(&c, &e), -ERR_INVALID);
	assert_string_equal(err_text(&e, 0), "disks[0]");
	rules_complete(&c);
	assert_true(c.iommu);
	c.net[0].iommu = c.disks[0].iommu = false;
	rules_complete(&c);
	assert_true(c.iommu); /* never cleared */
	obj_fini(&desc_cfg_vm, &c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(groups_have_an_id_and_limits),
		cmocka_unit_test(disks_are_refused_by_their_rules),
		cmocka_unit_test(nets_are_refused_by_their_rules),
		cmocka_unit_test(net_descriptors_match_the_queues),
		cmocka_unit_test(rng_and_console_have_place_and_id),
		cmocka_unit_test(ids_are_unique_over_all_kinds),
		cmocka_unit_test(first_in_the_documented_order_wins),
		cmocka_unit_test(shared_memory_may_be_huge_pages_or_zones),
		cmocka_unit_test(rules_behind_what_is_not_served_yet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
