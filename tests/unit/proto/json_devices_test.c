/* SPDX-License-Identifier: ISC */
/* Disks, networks, entropy, console and limit groups in JSON: what is filled in, what is written, what is refused. */
#include "proto/codec_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/proto/json_util.h"

static void expect_written(const char *text, const char *member, const char *want)
{
	struct cfg_vm cfg;
	char *out, *at;

	take(text, &cfg);
	out = encode(&desc_cfg_vm, &cfg);
	at = strstr(out, member);
	if (at == NULL || strncmp(at + strlen(member), want, strlen(want)) != 0)
		fail_msg("%s: %s", text, out);
	free(out);
	obj_fini(&desc_cfg_vm, &cfg);
}

#define DISK_REST \
	"\"readonly\":false,\"direct\":false,\"num_queues\":1,\"queue_size\":128,\"vhost_user\":false,\"disable_io_uring\":false," \
	"\"disable_aio\":false,\"backing_files\":false,\"sparse\":true,\"image_type\":\"Unknown\",\"lock_granularity\":\"ByteRange\"}"
#define NET_HEAD "[{\"pci_segment\":0,"
#define NET_REST \
	"\"num_queues\":2,\"queue_size\":256,\"vhost_user\":false,\"vhost_mode\":\"Client\",\"offload_tso\":true," \
	"\"offload_ufo\":true,\"offload_csum\":true}]"

static void devices_have_the_documented_defaults(void **state)
{
	(void)state;
	expect_written("{\"disks\":[{}]}", "\"disks\":", "[{\"pci_segment\":0," DISK_REST "]");
	expect_written("{\"disks\":[{\"path\":\"/a\"},{\"path\":\"/b\",\"id\":\"x\",\"pci_device_id\":9}]}", "\"disks\":",
		       "[{\"pci_segment\":0,\"path\":\"/a\"," DISK_REST
		       ",{\"id\":\"x\",\"pci_segment\":0,\"pci_device_id\":9,\"path\":\"/b\"," DISK_REST "]");
	expect_written("{\"net\":[{}]}", "\"net\":", NET_HEAD NET_REST);
	expect_written("{}", "\"rng\":", "{\"pci_segment\":0,\"src\":\"/dev/urandom\"}");
	expect_written("{\"rng\":{\"src\":\"/dev/hwrng\",\"id\":\"r\"}}", "\"rng\":",
		       "{\"id\":\"r\",\"pci_segment\":0,\"src\":\"/dev/hwrng\"}");
	expect_written("{}", "\"console\":", "{\"mode\":\"Tty\",\"pci_segment\":0}");
	expect_written("{\"console\":{\"mode\":\"File\",\"file\":\"/f\",\"id\":\"c\",\"pci_device_id\":2}}", "\"console\":",
		       "{\"file\":\"/f\",\"mode\":\"File\",\"id\":\"c\",\"pci_segment\":0,\"pci_device_id\":2}");
}

static void empty_and_null_lists_are_absent(void **state)
{
	static const char *const texts[] = { "{\"disks\":null,\"net\":null,\"rate_limit_groups\":null}",
					     "{\"disks\":[],\"net\":[],\"rate_limit_groups\":[]}" };

	(void)state;
	for (size_t i = 0; i < nitems(texts); i++) {
		struct cfg_vm cfg;
		char *out;

		take(texts[i], &cfg);
		out = encode(&desc_cfg_vm, &cfg);
		assert_null(strstr(out, "disks"));
		assert_null(strstr(out, "\"net\""));
		assert_null(strstr(out, "rate_limit"));
		free(out);
		obj_fini(&desc_cfg_vm, &cfg);
	}
}

static void limiters_write_null_for_what_is_not_limited(void **state)
{
	(void)state;
	expect_written("{\"disks\":[{\"rate_limiter_config\":{}}]}", "\"rate_limiter_config\":", "{\"bandwidth\":null,\"ops\":null}");
	expect_written("{\"disks\":[{\"rate_limiter_config\":{\"ops\":{\"refill_time\":100,\"size\":7},\"bandwidth\":null}}]}",
		       "\"rate_limiter_config\":",
		       "{\"bandwidth\":null,\"ops\":{\"size\":7,\"one_time_burst\":null,\"refill_time\":100}}");
	expect_written("{\"net\":[{\"rate_limiter_config\":{\"bandwidth\":{\"size\":18446744073709551615,\"one_time_burst\":0,"
		       "\"refill_time\":1,\"unknown\":[]}}}]}",
		       "\"rate_limiter_config\":",
		       "{\"bandwidth\":{\"size\":18446744073709551615,\"one_time_burst\":0,\"refill_time\":1},\"ops\":null}");
	expect_written("{\"rate_limit_groups\":[{}]}", "\"rate_limit_groups\":",
		       "[{\"id\":\"\",\"rate_limiter_config\":{\"bandwidth\":null,\"ops\":null}}]");
	expect_written("{\"disks\":[{\"rate_limiter_config\":null}]}", "\"vhost_user\":false,\"disable", "_io_uring\"");
}

static void limiters_take_no_other_member(void **state)
{
	(void)state;
	refuse("{\"disks\":[{\"rate_limiter_config\":{\"bandwidth\":null,\"iops\":1}}]}", -EINVAL,
	       "\"disks[0].rate_limiter_config\": unknown member \"iops\" at line 1 column 59");
	refuse("{\"net\":[{\"rate_limiter_config\":{\"\":1}}]}", -EINVAL, NULL);
	refuse("{\"rate_limit_groups\":[{\"rate_limiter_config\":{\"Ops\":null}}]}", -EINVAL, NULL);
	refuse("{\"rate_limit_groups\":[{\"rate_limiter_config\":null}]}", -EINVAL, NULL);
	refuse("{\"rate_limit_groups\":[{\"id\":null}]}", -EINVAL, NULL);
	refuse("{\"disks\":[{\"rate_limiter_config\":{\"ops\":{\"size\":1}}}]}", -EINVAL, NULL);
	refuse("{\"disks\":[{\"rate_limiter_config\":{\"ops\":{\"refill_time\":1}}}]}", -EINVAL, NULL);
	refuse("{\"disks\":[{\"rate_limiter_config\":{\"ops\":{\"size\":-1,\"refill_time\":1}}}]}", -EINVAL, NULL);
}

static void addresses_are_canonical_or_refused(void **state)
{
	(void)state;
	expect_written("{\"net\":[{\"mac\":\"2E:51:0F:9A:3C:07\",\"host_mac\":\"0A:00:00:00:00:01\"}]}", "\"mac\":",
		       "\"2e:51:0f:9a:3c:07\",\"host_mac\":\"0a:00:00:00:00:01\"");
	expect_written("{\"net\":[{\"ip\":\"FD00::1\",\"mask\":\"FFFF:FFFF::\"}]}", "\"ip\":", "\"fd00::1\",\"mask\":\"ffff:ffff::\"");
	refuse("{\"net\":[{\"mac\":\"2e:51:0f:9a:3c\"}]}", -EINVAL,
	       "\"net[0].mac\": string \"2e:51:0f:9a:3c\" is not a MAC address at line 1 column 31");
	refuse("{\"net\":[{},{\"ip\":\"10.0.0\"}]}", -EINVAL,
	       "\"net[1].ip\": string \"10.0.0\" is not an IP address at line 1 column 25");
	refuse("{\"net\":[{\"mask\":\"24\"}]}", -EINVAL, NULL);
	refuse("{\"net\":[{\"host_mac\":\"\"}]}", -EINVAL, NULL);
	accept_doc("{\"net\":[{\"mac\":null,\"ip\":null,\"mask\":null,\"host_mac\":null,\"mtu\":null,\"tap\":null,\"id\":null}]}");
}

/* Numbers in JSON are nobody's descriptors. */
static void descriptors_in_json_are_forgotten(void **state)
{
	struct cfg_vm cfg;

	(void)state;
	take("{\"net\":[{\"fds\":[3,-1,2147483647]},{\"fds\":null},{\"fds\":[]}]}", &cfg);
	for (size_t i = 0; i < 3; i++) {
		assert_false(cfg.net[i].has_fds);
		assert_int_equal(cfg.net[i].n_fds, 0);
		assert_null(cfg.net[i].fds);
	}
	obj_fini(&desc_cfg_vm, &cfg);
	refuse("{\"net\":[{\"fds\":[2147483648]}]}", -EINVAL, NULL);
	refuse("{\"net\":[{\"fds\":[\"3\"]}]}", -EINVAL, NULL);
	refuse("{\"net\":[{\"fds\":[null]}]}", -EINVAL, NULL);
	refuse("{\"net\":[{\"fds\":3}]}", -EINVAL, NULL);
}

static void internal_members_are_no_members(void **state)
{
	struct cfg_vm cfg;
	char *out;

	(void)state;
	take("{\"disks\":[{\"image_detected\":true}]}", &cfg);
	assert_false(cfg.disks[0].image_detected);
	cfg.disks[0].image_detected = true;
	out = encode(&desc_cfg_vm, &cfg);
	assert_null(strstr(out, "detected"));
	free(out);
	obj_fini(&desc_cfg_vm, &cfg);
}

static void everything_else_comes_back_as_it_was(void **state)
{
	static const char text[] =
		"[{\"id\":\"d\",\"pci_segment\":65535,\"pci_device_id\":255,\"path\":\"/p\",\"readonly\":true,\"direct\":true,"
		"\"num_queues\":18446744073709551615,\"queue_size\":65535,\"vhost_user\":true,\"vhost_socket\":\"/s\","
		"\"rate_limit_group\":\"g\",\"disable_io_uring\":true,\"disable_aio\":true,"
		"\"serial\":\"longer than twenty bytes, which is for a rule to say\","
		"\"queue_affinity\":[{\"queue_index\":0,\"host_cpus\":[0,2]},{\"queue_index\":65535,\"host_cpus\":[]}],"
		"\"backing_files\":true,\"sparse\":false,\"image_type\":\"FixedVhd\",\"lock_granularity\":\"Full\"}]";
	char doc[1024];

	(void)state;
	assert_true(snprintf(doc, sizeof(doc), "{\"disks\":%s}", text) < (int)sizeof(doc));
	expect_written(doc, "\"disks\":", text);
}

static void wrong_types_and_ranges_are_refused(void **state)
{
	static const char *const bad[] = {
		"{\"disks\":{}}",
		"{\"disks\":[null]}",
		"{\"disks\":[[]]}",
		"{\"disks\":[{\"path\":1}]}",
		"{\"disks\":[{\"path\":\"/a\",\"path\":\"/b\"}]}",
		"{\"disks\":[{\"readonly\":null}]}",
		"{\"disks\":[{\"readonly\":\"on\"}]}",
		"{\"disks\":[{\"num_queues\":null}]}",
		"{\"disks\":[{\"num_queues\":-1}]}",
		"{\"disks\":[{\"num_queues\":18446744073709551616}]}",
		"{\"disks\":[{\"queue_size\":65536}]}",
		"{\"disks\":[{\"queue_size\":128.0}]}",
		"{\"disks\":[{\"pci_segment\":null}]}",
		"{\"disks\":[{\"pci_segment\":65536}]}",
		"{\"disks\":[{\"pci_device_id\":256}]}",
		"{\"disks\":[{\"image_type\":\"raw\"}]}",
		"{\"disks\":[{\"image_type\":null}]}",
		"{\"disks\":[{\"lock_granularity\":\"byte-range\"}]}",
		"{\"disks\":[{\"queue_affinity\":[{\"queue_index\":0}]}]}",
		"{\"disks\":[{\"queue_affinity\":[{\"host_cpus\":[0]}]}]}",
		"{\"disks\":[{\"queue_affinity\":[{\"queue_index\":65536,\"host_cpus\":[0]}]}]}",
		"{\"disks\":[{\"serial\":7}]}",
		"{\"net\":{}}",
		"{\"net\":[{\"mtu\":65536}]}",
		"{\"net\":[{\"vhost_mode\":\"client\"}]}",
		"{\"net\":[{\"vhost_mode\":null}]}",
		"{\"net\":[{\"offload_tso\":null}]}",
		"{\"rng\":null}",
		"{\"rng\":[]}",
		"{\"rng\":{\"src\":1}}",
		"{\"rng\":{\"src\":null}}",
		"{\"console\":null}",
		"{\"console\":{}}",
		"{\"console\":{\"mode\":null}}",
		"{\"console\":{\"mode\":\"Off\",\"pci_segment\":null}}",
		"{\"rate_limit_groups\":[7]}",
	};

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++)
		refuse(bad[i], -EINVAL, NULL);
	refuse("{\"rng\":{}}", -EINVAL, "\"rng\": missing member \"src\" at line 1 column 9");
	refuse("{\"disks\":[{\"path\":\"/a\"},\n{\"queue_size\":\"1\"}]}", -EINVAL,
	       "\"disks[1].queue_size\": expected u16, found string \"1\" at line 2 column 17");
}

static void lists_have_an_end(void **state)
{
	enum { MANY = 256 };
	char *text = malloc(8 * MANY);
	size_t at = 0;

	(void)state;
	assert_non_null(text);
	at += (size_t)sprintf(text, "{\"disks\":[{}");
	for (unsigned i = 1; i < MANY; i++)
		at += (size_t)sprintf(text + at, ",{}");
	(void)sprintf(text + at, "]}");
	accept_doc(text);
	(void)sprintf(text + at, ",{}]}");
	refuse(text, -EINVAL, NULL);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(devices_have_the_documented_defaults),
		cmocka_unit_test(empty_and_null_lists_are_absent),
		cmocka_unit_test(limiters_write_null_for_what_is_not_limited),
		cmocka_unit_test(limiters_take_no_other_member),
		cmocka_unit_test(addresses_are_canonical_or_refused),
		cmocka_unit_test(descriptors_in_json_are_forgotten),
		cmocka_unit_test(internal_members_are_no_members),
		cmocka_unit_test(everything_else_comes_back_as_it_was),
		cmocka_unit_test(wrong_types_and_ranges_are_refused),
		cmocka_unit_test(lists_have_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
