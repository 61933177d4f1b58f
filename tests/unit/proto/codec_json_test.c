/* SPDX-License-Identifier: ISC */
/* Objects from JSON and back. */
#include "proto/codec_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/config.h"
#include "proto/msg.h"
#include "tests/unit/proto/full_config.h"
#include "tests/unit/proto/json_util.h"

static const char default_config[] =
	"{\"cpus\":{\"boot_vcpus\":1,\"max_vcpus\":1,\"kvm_hyperv\":false,\"max_phys_bits\":46,\"features\":{\"amx\":false},"
	"\"nested\":true,\"core_scheduling\":\"Vm\",\"profile\":\"Host\"},"
	"\"memory\":{\"size\":536870912,\"mergeable\":false,\"hotplug_method\":\"Acpi\",\"shared\":false,\"hugepages\":false,"
	"\"prefault\":false,\"reserve\":false,\"thp\":true},"
	"%s\"rng\":{\"pci_segment\":0,\"src\":\"/dev/urandom\"},"
	"\"serial\":{\"mode\":\"Null\"},\"console\":{\"mode\":\"Tty\",\"pci_segment\":0},"
	"\"debug_console\":{\"mode\":\"Off\",\"iobase\":233},"
	"\"pvpanic\":false,\"iommu\":false,\"watchdog\":false,\"landlock_enable\":false}";

static void expect_config(const char *text, const char *payload)
{
	char want[2048];
	struct cfg_vm cfg;
	char *got;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	assert_true(snprintf(want, sizeof(want), default_config, payload) < (int)sizeof(want));
#pragma GCC diagnostic pop
	take(text, &cfg);
	got = encode(&desc_cfg_vm, &cfg);
	assert_string_equal(got, want);
	free(got);
	obj_fini(&desc_cfg_vm, &cfg);
}

static void json_empty_config_has_all_defaults_in_order(void **state)
{
	(void)state;
	expect_config("{}", "");
	expect_config("{\"payload\":{}}", "\"payload\":{},");
	expect_config("{\"payload\":null}", "");
	expect_config("{\"payload\":{\"kernel\":\"/k\",\"cmdline\":\"a b\",\"initramfs\":\"/i\"}}",
		      "\"payload\":{\"kernel\":\"/k\",\"cmdline\":\"a b\",\"initramfs\":\"/i\"},");
}

static void json_unknown_members_are_ignored_everywhere(void **state)
{
	(void)state;
	expect_config("{\"nosuch\":{\"a\":[1,2,{\"b\":null}]},\"Cpus\":1,\"cpus \":2,\"file\":3,"
		      "\"payload\":{\"kernel\":\"/k\",\"Kernel\":7,\"x\":1e400},\"nosuch\":1}",
		      "\"payload\":{\"kernel\":\"/k\"},");
	/* the command line has a key "file" for memory; JSON has not */
	expect_config("{\"memory\":{\"size\":536870912,\"file\":\"/x\"}}", "");
}

static void json_old_payload_form_is_taken(void **state)
{
	(void)state;
	expect_config("{\"kernel\":{\"path\":\"/k\"},\"cmdline\":{\"args\":\"a b\"},\"initramfs\":{\"path\":\"/i\"}}",
		      "\"payload\":{\"kernel\":\"/k\",\"cmdline\":\"a b\",\"initramfs\":\"/i\"},");
	expect_config("{\"kernel\":null,\"cmdline\":{\"args\":null},\"initramfs\":{}}", "");
	/* the new form wins, wherever it stands */
	expect_config("{\"kernel\":{\"path\":\"/old\"},\"cmdline\":{\"args\":\"x\"},\"payload\":{\"kernel\":\"/new\"}}",
		      "\"payload\":{\"kernel\":\"/new\",\"cmdline\":\"x\"},");
	expect_config("{\"payload\":{\"kernel\":\"/new\"},\"kernel\":{\"path\":\"/old\"}}",
		      "\"payload\":{\"kernel\":\"/new\"},");
	refuse("{\"kernel\":\"/k\"}", -EINVAL, "\"kernel\": expected an object, found string \"/k\" at line 1 column 14");
	refuse("{\"kernel\":{\"path\":1}}", -EINVAL, "\"kernel\": expected a string, found number 1 at line 1 column 19");
	refuse("{\"kernel\":{},\"kernel\":{}}", -EINVAL, "\"kernel\": given twice at line 1 column 23");
}

static void json_numbers_are_exact_to_the_last_bit(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} sizes[] = {
		{ "0", 0 },
		{ "9007199254740993", UINT64_C(9007199254740993) }, /* 2^53 + 1 */
		{ "9223372036854775807", INT64_MAX },
		{ "9223372036854775808", UINT64_C(1) << 63 },
		{ "18446744073709551614", UINT64_MAX - 1 },
		{ "18446744073709551615", UINT64_MAX },
	};

	(void)state;
	for (size_t i = 0; i < nitems(sizes); i++) {
		char text[128], want[64];
		struct cfg_vm cfg;
		char *got;

		(void)snprintf(text, sizeof(text), "{\"memory\":{\"size\":%s}}", sizes[i].text);
		(void)snprintf(want, sizeof(want), "{\"size\":%s,", sizes[i].text);
		take(text, &cfg);
		assert_true(cfg.memory.size == sizes[i].value);
		got = encode(&desc_cfg_memory, &cfg.memory);
		assert_int_equal(strncmp(got, want, strlen(want)), 0);
		free(got);
		obj_fini(&desc_cfg_vm, &cfg);
	}
}

static void json_numbers_that_are_none_of_the_type_are_refused(void **state)
{
	static const char *const sizes[] = { "18446744073709551616", "99999999999999999999999", "-1", "-0", "1.0",
					     "1e0",		     "1E3",			"0.5", "1e400" };
	static const char *const bits[] = { "256", "-1", "4294967296", "18446744073709551615", "46.0" };
	char text[128];

	(void)state;
	for (size_t i = 0; i < nitems(sizes); i++) {
		(void)snprintf(text, sizeof(text), "{\"memory\":{\"size\":%s}}", sizes[i]);
		refuse(text, -EINVAL, NULL);
	}
	for (size_t i = 0; i < nitems(bits); i++) {
		(void)snprintf(text, sizeof(text), "{\"cpus\":{\"boot_vcpus\":1,\"max_vcpus\":1,\"max_phys_bits\":%s}}", bits[i]);
		refuse(text, -EINVAL, NULL);
	}
	refuse("{\"cpus\":{\"boot_vcpus\":4294967296,\"max_vcpus\":1}}", -EINVAL,
	       "\"cpus.boot_vcpus\": number 4294967296 is out of range for u32 at line 1 column 32");
	refuse("{\"cpus\":{\"boot_vcpus\":\"4\",\"max_vcpus\":1}}", -EINVAL,
	       "\"cpus.boot_vcpus\": expected u32, found string \"4\" at line 1 column 25");
	accept_doc("{\"cpus\":{\"boot_vcpus\":0,\"max_vcpus\":4294967295,\"max_phys_bits\":255}}");
}

static void json_string_that_looks_like_a_tag_stays_a_string(void **state)
{
	struct cfg_vm cfg;

	(void)state;
	take("{\"payload\":{\"kernel\":\"n12\",\"cmdline\":\"s\",\"initramfs\":\"\"}}", &cfg);
	assert_string_equal(cfg.payload.kernel, "n12");
	assert_string_equal(cfg.payload.cmdline, "s");
	assert_string_equal(cfg.payload.initramfs, "");
	obj_fini(&desc_cfg_vm, &cfg);
	refuse("{\"memory\":{\"size\":\"n12\"}}", -EINVAL, NULL);
	refuse("{\"memory\":{\"size\":\"12\"}}", -EINVAL, NULL);
}

static void json_null_is_absent_only_for_optional_members(void **state)
{
	(void)state;
	accept_doc("{\"payload\":null,\"disks\":null,\"net\":null,\"fs\":null,\"platform\":null,\"gdb\":null}");
	accept_doc("{\"payload\":{\"kernel\":null,\"cmdline\":null,\"initramfs\":null,\"firmware\":null,\"igvm\":null,"
		   "\"host_data\":null,\"fw_cfg_config\":null}}");
	accept_doc("{\"serial\":{\"mode\":\"Null\",\"file\":null,\"socket\":null},\"debug_console\":{\"mode\":\"Off\",\"iobase\":null},"
		   "\"console\":{\"mode\":\"Off\",\"file\":null,\"socket\":null,\"id\":null,\"pci_device_id\":null}}");
	accept_doc("{\"cpus\":{\"boot_vcpus\":1,\"max_vcpus\":1,\"topology\":null,\"affinity\":null},"
		   "\"memory\":{\"size\":4096,\"hotplug_size\":null,\"hotplugged_size\":null,\"hugepage_size\":null,\"zones\":null}}");
	refuse("{\"cpus\":null}", -EINVAL, "\"cpus\": expected an object, found null at line 1 column 12");
	refuse("{\"memory\":null}", -EINVAL, NULL);
	refuse("{\"serial\":null}", -EINVAL, NULL);
	refuse("{\"console\":null}", -EINVAL, NULL);
	refuse("{\"debug_console\":null}", -EINVAL, NULL);
	refuse("{\"memory\":{\"size\":null}}", -EINVAL, NULL);
	refuse("{\"memory\":{\"size\":1,\"shared\":null}}", -EINVAL, NULL);
	refuse("{\"cpus\":{\"boot_vcpus\":null,\"max_vcpus\":1}}", -EINVAL, NULL);
	refuse("{\"cpus\":{\"boot_vcpus\":1,\"max_vcpus\":1,\"max_phys_bits\":null}}", -EINVAL, NULL);
	refuse("{\"serial\":{\"mode\":null}}", -EINVAL, NULL);
	refuse("{\"console\":{\"mode\":null}}", -EINVAL, NULL);
}

static void json_optional_default_is_of_the_object_left_out(void **state)
{
	struct cfg_vm cfg;

	(void)state;
	take("{\"debug_console\":{\"mode\":\"Off\"}}", &cfg);
	assert_false(cfg.debug_console.has_iobase);
	obj_fini(&desc_cfg_vm, &cfg);
	take("{}", &cfg);
	assert_true(cfg.debug_console.has_iobase);
	assert_int_equal(cfg.debug_console.iobase, 233);
	obj_fini(&desc_cfg_vm, &cfg);
}

static void json_missing_members_are_named(void **state)
{
	(void)state;
	refuse("{\"cpus\":{}}", -EINVAL, "\"cpus\": missing member \"boot_vcpus\" at line 1 column 10");
	refuse("{\"cpus\":{\"boot_vcpus\":1}}", -EINVAL, "\"cpus\": missing member \"max_vcpus\" at line 1 column 24");
	refuse("{\"memory\":{\"shared\":true}}", -EINVAL, "\"memory\": missing member \"size\" at line 1 column 25");
	refuse("{\"serial\":{}}", -EINVAL, NULL);
	refuse("{\"console\":{}}", -EINVAL, NULL);
	refuse("{\"debug_console\":{\"iobase\":233}}", -EINVAL, NULL);
}

static void json_known_members_may_stand_once(void **state)
{
	(void)state;
	refuse("{\"cpus\":{\"boot_vcpus\":1,\"max_vcpus\":1,\"boot_vcpus\":1}}", -EINVAL,
	       "\"cpus.boot_vcpus\": given twice at line 1 column 52");
	refuse("{\"payload\":null,\"payload\":null}", -EINVAL, NULL);
	refuse("{\"payload\":{\"kernel\":\"/a\",\"kernel\":\"/b\"}}", -EINVAL, NULL);
	refuse("{\"disks\":null,\"disks\":[]}", -EINVAL, NULL);
	refuse("{\"payload\":{\"kernel\":\"/a\",\"\\u006bernel\":\"/b\"}}", -EINVAL, NULL); /* the same name */
}

static void json_wrong_types_are_refused(void **state)
{
	static const char *const values[] = { "true", "1", "\"x\"", "[]", "{}", "[{}]", "1.5" };
	static const struct {
		const char *before, *after, *fits;
	} places[] = {
		{ "{\"cpus\":", "}", "" },
		{ "{\"memory\":", "}", "" },
		{ "{\"payload\":", "}", "{}" },
		{ "{\"serial\":", "}", "" },
		{ "{\"serial\":{\"mode\":", "}}", "" },
		{ "{\"serial\":{\"mode\":\"Null\",\"file\":", "}}", "\"x\"" },
		{ "{\"memory\":{\"size\":", "}}", "1" },
		{ "{\"memory\":{\"size\":1,\"shared\":", "}}", "true" },
		{ "{\"payload\":{\"kernel\":", "}}", "\"x\"" },
		{ "{\"cpus\":{\"boot_vcpus\":1,\"max_vcpus\":", "}}", "1" },
		{ "{\"cpus\":{\"boot_vcpus\":1,\"max_vcpus\":1,\"features\":", "}}", "{}" },
		{ "", "", "{}" },
	};
	char text[160];

	(void)state;
	for (size_t p = 0; p < nitems(places); p++) {
		for (size_t v = 0; v < nitems(values); v++) {
			(void)snprintf(text, sizeof(text), "%s%s%s", places[p].before, values[v], places[p].after);
			if (strcmp(values[v], places[p].fits) == 0)
				accept_doc(text);
			else
				refuse(text, -EINVAL, NULL);
		}
	}
}

static void json_enums_are_exact(void **state)
{
	static const char *const modes[] = { "Off", "Pty", "Tty", "File", "Socket", "Null" };
	static const char *const bad[] = { "off", "OFF", "Off ", "", "None", "n1", "0" };
	char text[96];
	struct cfg_vm cfg;

	(void)state;
	for (unsigned i = 0; i < nitems(modes); i++) {
		(void)snprintf(text, sizeof(text), "{\"serial\":{\"mode\":\"%s\"}}", modes[i]);
		take(text, &cfg);
		assert_int_equal(cfg.serial.mode, i);
		obj_fini(&desc_cfg_vm, &cfg);
		(void)snprintf(text, sizeof(text), "{\"serial\":{\"mode\":{\"%s\":null}}}", modes[i]);
		take(text, &cfg);
		assert_int_equal(cfg.serial.mode, i);
		obj_fini(&desc_cfg_vm, &cfg);
	}
	for (unsigned i = 0; i < nitems(bad); i++) {
		(void)snprintf(text, sizeof(text), "{\"serial\":{\"mode\":\"%s\"}}", bad[i]);
		refuse(text, -EINVAL, NULL);
	}
	refuse("{\"serial\":{\"mode\":{\"Off\":1}}}", -EINVAL, NULL);
	refuse("{\"serial\":{\"mode\":{\"Off\":null,\"Tty\":null}}}", -EINVAL, NULL);
	refuse("{\"serial\":{\"mode\":{}}}", -EINVAL, NULL);
}

/* --- the walkers over an object without LATER rows ------------------------------------------------------------------- */

static void json_nested_lists_go_through_and_back(void **state)
{
	static const char text[] =
		"{\"config\":{},\"state\":\"Running\",\"memory_actual_size\":18446744073709551615,\"nodes\":["
		"{\"id\":\"__serial\",\"children\":[],\"bars\":[]},"
		"{\"id\":\"a\",\"parent\":\"p\",\"children\":[\"x\",\"y\"],\"bars\":[{\"index\":5,\"base\":1,\"size\":2,\"type\":\"Io\",\"prefetchable\":true}],\"pci_bdf\":\"0000:00:01.0\"}]}";
	struct msg_cmd_vm_info_result a, b;
	struct err e;
	char *once, *twice;

	(void)state;
	assert_int_equal(json_decode(&desc_msg_cmd_vm_info_result, &a, text, strlen(text), &e), 0);
	assert_int_equal(a.state, VM_STATE_RUNNING);
	assert_true(a.memory_actual_size == UINT64_MAX);
	assert_int_equal(a.n_nodes, 2);
	assert_int_equal(a.nodes[1].n_children, 2);
	assert_string_equal(a.nodes[1].children[1], "y");
	once = encode(&desc_msg_cmd_vm_info_result, &a);
	assert_int_equal(json_decode(&desc_msg_cmd_vm_info_result, &b, once, strlen(once), &e), 0);
	assert_true(obj_equal(&desc_msg_cmd_vm_info_result, &a, &b));
	twice = encode(&desc_msg_cmd_vm_info_result, &b);
	assert_string_equal(once, twice);
	free(once);
	free(twice);
	obj_fini(&desc_msg_cmd_vm_info_result, &a);
	obj_fini(&desc_msg_cmd_vm_info_result, &b);
}

static void json_full_config_is_written_in_the_documented_order(void **state)
{
	static const char want[] =
		"{\"cpus\":{\"boot_vcpus\":3,\"max_vcpus\":4294967295,\"topology\":{\"threads_per_core\":1,\"cores_per_die\":2,"
		"\"dies_per_package\":65535,\"packages\":4},\"kvm_hyperv\":true,\"max_phys_bits\":255,"
		"\"affinity\":[{\"vcpu\":0,\"host_cpus\":[0,0,18446744073709551615]},"
		"{\"vcpu\":1,\"host_cpus\":[0,0,18446744073709551615]}],\"features\":{\"amx\":true},\"nested\":false,"
		"\"core_scheduling\":\"Off\",\"profile\":\"Host\"},"
		"\"memory\":{\"size\":18446744073709551615,\"mergeable\":true,\"hotplug_method\":\"VirtioMem\","
		"\"hotplug_size\":9007199254740993,\"hotplugged_size\":0,\"shared\":true,\"hugepages\":true,"
		"\"hugepage_size\":4096,\"prefault\":true,\"reserve\":true,"
		"\"zones\":[{\"id\":\"\",\"size\":4096,\"file\":\"/dev/hugepages/z\",\"shared\":false,\"hugepages\":false,"
		"\"host_numa_node\":7,\"prefault\":false,\"reserve\":false,\"mergeable\":false},"
		"{\"id\":\"z\\u00e9\",\"size\":4096,\"file\":\"/dev/hugepages/z\",\"shared\":false,\"hugepages\":false,"
		"\"host_numa_node\":7,\"prefault\":false,\"reserve\":false,\"mergeable\":false}],\"thp\":false},"
		"\"payload\":{\"firmware\":\"/f\",\"kernel\":\"/boot/vmlinuz \\\"quoted\\\" \\\\ \\u0001\","
		"\"cmdline\":\"console=ttyS0 \\ud834\\udd1e\",\"initramfs\":\"\",\"igvm\":\"/i\",\"host_data\":\"00\"},"
		"\"rate_limit_groups\":[{\"id\":\"g\",\"rate_limiter_config\":{\"bandwidth\":{\"size\":18446744073709551615,\"one_time_burst\":1,\"refill_time\":100},"
		"\"ops\":{\"size\":5,\"one_time_burst\":null,\"refill_time\":1}}},"
		"{\"id\":\"\",\"rate_limiter_config\":{\"bandwidth\":null,\"ops\":null}}],"
		"\"disks\":[{\"id\":\"d\",\"iommu\":true,\"pci_segment\":1,\"pci_device_id\":5,\"path\":\"/img\",\"readonly\":true,"
		"\"direct\":true,\"num_queues\":18446744073709551615,\"queue_size\":64,\"vhost_user\":true,\"vhost_socket\":\"/vs\","
		"\"rate_limit_group\":\"g\",\"rate_limiter_config\":{\"bandwidth\":{\"size\":18446744073709551615,\"one_time_burst\":1,\"refill_time\":100},"
		"\"ops\":{\"size\":5,\"one_time_burst\":null,\"refill_time\":1}},"
		"\"disable_io_uring\":true,\"disable_aio\":true,\"serial\":\"s1\","
		"\"queue_affinity\":[{\"queue_index\":0,\"host_cpus\":[0]},{\"queue_index\":1,\"host_cpus\":[1]}],"
		"\"backing_files\":true,\"sparse\":false,\"image_type\":\"Qcow2\",\"lock_granularity\":\"Full\"},"
		"{\"pci_segment\":0,\"readonly\":false,\"direct\":false,\"num_queues\":1,\"queue_size\":128,\"vhost_user\":false,"
		"\"disable_io_uring\":false,\"disable_aio\":false,\"backing_files\":false,\"sparse\":true,"
		"\"image_type\":\"Unknown\",\"lock_granularity\":\"ByteRange\"}],"
		"\"net\":[{\"id\":\"n\",\"pci_segment\":0,\"tap\":\"tap0\",\"ip\":\"192.168.249.1\",\"mask\":\"ffff:ffff::\","
		"\"mac\":\"2e:89:a8:e4:bf:95\",\"host_mac\":\"00:00:00:00:00:01\",\"mtu\":1500,\"num_queues\":4,\"queue_size\":512,"
		"\"vhost_user\":true,\"vhost_socket\":\"/ns\",\"vhost_mode\":\"Server\",\"fds\":[-1,2147483647],"
		"\"rate_limiter_config\":{\"bandwidth\":{\"size\":18446744073709551615,\"one_time_burst\":1,\"refill_time\":100},"
		"\"ops\":{\"size\":5,\"one_time_burst\":null,\"refill_time\":1}},"
		"\"offload_tso\":false,\"offload_ufo\":false,\"offload_csum\":false},"
		"{\"pci_segment\":0,\"num_queues\":2,\"queue_size\":256,\"vhost_user\":false,\"vhost_mode\":\"Client\","
		"\"offload_tso\":true,\"offload_ufo\":true,\"offload_csum\":true}],"
		"\"rng\":{\"id\":\"r\",\"pci_segment\":0,\"src\":\"/dev/hwrng\"},"
		"\"serial\":{\"file\":\"/s\",\"mode\":\"Socket\",\"socket\":\"/sock\"},"
		"\"console\":{\"file\":\"/c\",\"mode\":\"File\",\"socket\":\"/cs\",\"id\":\"con\",\"iommu\":true,"
		"\"pci_segment\":65535,\"pci_device_id\":31},"
		"\"debug_console\":{\"file\":\"/d\",\"mode\":\"File\",\"iobase\":65535},"
		"\"pvpanic\":true,\"iommu\":true,\"watchdog\":true,\"landlock_enable\":true}";
	struct cfg_vm c;
	char *got;

	(void)state;
	full_config(&c);
	got = encode(&desc_cfg_vm, &c);
	assert_string_equal(got, want);
	free(got);
	obj_fini(&desc_cfg_vm, &c);
}

/* The objects whose rows are all served go through whole. */
static void json_full_objects_go_through_and_back(void **state)
{
	struct cfg_memory_zone zone;
	struct cfg_affinity affinity;
	struct cfg_serial serial;
	struct cfg_vm c;
	char *text;

	(void)state;
	full_config(&c);
	text = encode(&desc_cfg_memory_zone, &c.memory.zones[1]);
	assert_int_equal(json_decode(&desc_cfg_memory_zone, &zone, text, strlen(text), NULL), 0);
	assert_true(obj_equal(&desc_cfg_memory_zone, &zone, &c.memory.zones[1]));
	free(text);
	text = encode(&desc_cfg_affinity, &c.cpus.affinity[1]);
	assert_int_equal(json_decode(&desc_cfg_affinity, &affinity, text, strlen(text), NULL), 0);
	assert_true(obj_equal(&desc_cfg_affinity, &affinity, &c.cpus.affinity[1]));
	free(text);
	text = encode(&desc_cfg_serial, &c.serial);
	assert_int_equal(json_decode(&desc_cfg_serial, &serial, text, strlen(text), NULL), 0);
	assert_true(obj_equal(&desc_cfg_serial, &serial, &c.serial));
	free(text);
	obj_fini(&desc_cfg_memory_zone, &zone);
	obj_fini(&desc_cfg_affinity, &affinity);
	obj_fini(&desc_cfg_serial, &serial);
	obj_fini(&desc_cfg_vm, &c);
}

static void json_list_errors_name_the_element(void **state)
{
	static const char text[] = "{\"id\":\"x\",\n\"children\":[\"a\",\n  7]}";
	struct msg_dev_node n;
	struct err e;

	(void)state;
	assert_int_equal(json_decode(&desc_msg_dev_node, &n, text, strlen(text), &e), -EINVAL);
	assert_string_equal(err_text(&e, 0), "\"children[1]\": expected a string, found number 7 at line 3 column 3");
}

static void json_lengths_and_counts_are_checked(void **state)
{
	static const char empty_id[] = "{\"id\":\"\",\"children\":[],\"bars\":[]}";
	char text[4096];
	struct msg_dev_node n;
	struct err e;
	size_t at;

	(void)state;
	assert_int_equal(json_decode(&desc_msg_dev_node, &n, empty_id, strlen(empty_id), &e), -EINVAL);
	memset(text, 'i', sizeof(text));
	memcpy(text, "{\"id\":\"", 7);
	memcpy(text + 7 + 256, "\",\"children\":[],\"bars\":[]}", 27);
	assert_int_equal(json_decode(&desc_msg_dev_node, &n, text, strlen(text), &e), -EINVAL);
	assert_non_null(strstr(err_text(&e, 0), "text too long"));
	memcpy(text + 7 + 255, "\",\"children\":[],\"bars\":[]}", 27);
	assert_int_equal(json_decode(&desc_msg_dev_node, &n, text, strlen(text), &e), 0);
	obj_fini(&desc_msg_dev_node, &n);
	at = (size_t)snprintf(text, sizeof(text), "{\"id\":\"x\",\"children\":[\"c\"");
	for (unsigned i = 0; i < 256; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, ",\"c\"");
	(void)snprintf(text + at, sizeof(text) - at, "]}");
	assert_int_equal(json_decode(&desc_msg_dev_node, &n, text, strlen(text), &e), -EINVAL);
	assert_non_null(strstr(err_text(&e, 0), "too many elements"));
}

static void json_signed_numbers_keep_their_range(void **state)
{
	static const struct {
		const char *text;
		int r;
		int32_t value;
	} codes[] = {
		{ "0", 0, 0 },
		{ "-0", 0, 0 },
		{ "-1", 0, -1 },
		{ "2147483647", 0, INT32_MAX },
		{ "-2147483648", 0, INT32_MIN },
		{ "2147483648", -EINVAL, 0 },
		{ "-2147483649", -EINVAL, 0 },
		{ "-1.0", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < nitems(codes); i++) {
		char text[96], *out;
		struct msg_link l;

		(void)snprintf(text, sizeof(text), "{\"code\":%s,\"text\":\"\"}", codes[i].text);
		assert_int_equal(json_decode(&desc_msg_link, &l, text, strlen(text), NULL), codes[i].r);
		if (codes[i].r < 0)
			continue;
		assert_int_equal(l.code, codes[i].value);
		out = encode(&desc_msg_link, &l);
		(void)snprintf(text, sizeof(text), "{\"code\":%d,\"text\":\"\"}", codes[i].value);
		assert_string_equal(out, text);
		free(out);
		obj_fini(&desc_msg_link, &l);
	}
}

/* --- strings out ----------------------------------------------------------------------------------------------------- */

static void json_strings_are_written_in_ascii(void **state)
{
	static const struct {
		const char *in, *out;
	} texts[] = {
		{ "", "\"\"" },
		{ "plain / text", "\"plain / text\"" },
		{ "q\"b\\", "\"q\\\"b\\\\\"" },
		{ "\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\"" },
		{ "\x01\x1f\x7f", "\"\\u0001\\u001f\\u007f\"" },
		{ "caf\xc3\xa9", "\"caf\\u00e9\"" },
		{ "\xe2\x82\xac", "\"\\u20ac\"" },
		{ "\xf0\x9d\x84\x9e!", "\"\\ud834\\udd1e!\"" },
		{ "\xf4\x8f\xbf\xbf", "\"\\udbff\\udfff\"" },
		{ "\xff", "\"\\ufffd\"" },
		{ "a\xc3", "\"a\\ufffd\"" },
		{ "\xed\xa0\x80z", "\"\\ufffd\\ufffd\\ufffdz\"" },
	};

	(void)state;
	for (size_t i = 0; i < nitems(texts); i++) {
		struct wbuf w;

		wbuf_init(&w, 4096);
		assert_int_equal(json_put_string(&w, texts[i].in), 0);
		assert_int_equal(w.len, strlen(texts[i].out));
		assert_memory_equal(w.p, texts[i].out, w.len);
		wbuf_fini(&w);
	}
}

static void json_strings_go_through_and_back(void **state)
{
	static const char text[] = "{\"payload\":{\"cmdline\":\"\\u0001 \\\" \\\\ \\/ caf\\u00e9 \xe2\x82\xac \\ud834\\udd1e\"}}";
	struct cfg_vm a, b;
	char *out;

	(void)state;
	take(text, &a);
	assert_string_equal(a.payload.cmdline, "\x01 \" \\ / caf\xc3\xa9 \xe2\x82\xac \xf0\x9d\x84\x9e");
	out = encode(&desc_cfg_vm, &a);
	for (const char *p = out; *p != '\0'; p++)
		assert_true(*p >= 0x20 && *p < 0x7f);
	take(out, &b);
	assert_true(obj_equal(&desc_cfg_vm, &a, &b));
	free(out);
	obj_fini(&desc_cfg_vm, &a);
	obj_fini(&desc_cfg_vm, &b);
}

static void json_long_command_line_is_taken_whole(void **state)
{
	size_t n = 1 << 20;
	char *text = malloc(n + 64);
	struct cfg_vm cfg;
	struct err e;
	size_t head;

	(void)state;
	assert_non_null(text);
	head = (size_t)sprintf(text, "{\"payload\":{\"cmdline\":\"");
	memset(text + head, 'x', n);
	memcpy(text + head + n, "\"}}", 3);
	assert_int_equal(json_decode(&desc_cfg_vm, &cfg, text, head + n + 3, &e), 0);
	assert_int_equal(strlen(cfg.payload.cmdline), n);
	obj_fini(&desc_cfg_vm, &cfg);
	free(text);
}

static void json_a_million_keys_are_refused_quickly(void **state)
{
	size_t n = 1000000, at = 0;
	char *text = malloc(n * 8 + 2);
	struct cfg_vm cfg;
	struct err e;

	(void)state;
	assert_non_null(text);
	text[at++] = '{';
	for (size_t i = 0; i < n; i++) {
		memcpy(text + at, "\"k\":0,", 6);
		at += 6;
	}
	text[at - 1] = '}';
	assert_int_equal(json_decode(&desc_cfg_vm, &cfg, text, at, &e), -EINVAL);
	assert_non_null(strstr(err_text(&e, 0), "too many values"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_empty_config_has_all_defaults_in_order),
		cmocka_unit_test(json_unknown_members_are_ignored_everywhere),
		cmocka_unit_test(json_old_payload_form_is_taken),
		cmocka_unit_test(json_numbers_are_exact_to_the_last_bit),
		cmocka_unit_test(json_numbers_that_are_none_of_the_type_are_refused),
		cmocka_unit_test(json_string_that_looks_like_a_tag_stays_a_string),
		cmocka_unit_test(json_null_is_absent_only_for_optional_members),
		cmocka_unit_test(json_optional_default_is_of_the_object_left_out),
		cmocka_unit_test(json_missing_members_are_named),
		cmocka_unit_test(json_known_members_may_stand_once),
		cmocka_unit_test(json_wrong_types_are_refused),
		cmocka_unit_test(json_enums_are_exact),
		cmocka_unit_test(json_nested_lists_go_through_and_back),
		cmocka_unit_test(json_full_config_is_written_in_the_documented_order),
		cmocka_unit_test(json_full_objects_go_through_and_back),
		cmocka_unit_test(json_list_errors_name_the_element),
		cmocka_unit_test(json_lengths_and_counts_are_checked),
		cmocka_unit_test(json_signed_numbers_keep_their_range),
		cmocka_unit_test(json_strings_are_written_in_ascii),
		cmocka_unit_test(json_strings_go_through_and_back),
		cmocka_unit_test(json_long_command_line_is_taken_whole),
		cmocka_unit_test(json_a_million_keys_are_refused_quickly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
