/* SPDX-License-Identifier: ISC */
/* What this build knows but does not serve: refused by name, accepted when it asks for nothing. */
#include "proto/codec_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/proto/json_util.h"

struct later {
	const char *place;   /* document with %s where the value goes */
	const char *name;    /* as the refusal names it */
	const char *plain;   /* a value that asks for nothing, besides null; NULL: none */
	const char *refused; /* a value that asks for something */
	bool needs_value;    /* null is refused as well */
};

#define TOP(name) "{\"" name "\":%s}"
#define CPUS(name) "{\"cpus\":{\"boot_vcpus\":1,\"max_vcpus\":1,\"" name "\":%s}}"
#define MEMORY(name) "{\"memory\":{\"size\":4096,\"" name "\":%s}}"
#define PAYLOAD(name) "{\"payload\":{\"kernel\":\"/k\",\"" name "\":%s}}"
#define DISK(name) "{\"disks\":[{\"path\":\"/d\",\"" name "\":%s}]}"
#define NET(name) "{\"net\":[{\"" name "\":%s}]}"
#define CONSOLE(name) "{\"console\":{\"mode\":\"Off\",\"" name "\":%s}}"

static const struct later laters[] = {
	{ TOP("rng"), "rng.iommu", "{\"src\":\"/dev/urandom\",\"iommu\":null}", "{\"src\":\"/dev/urandom\",\"iommu\":true}", true },
	{ DISK("iommu"), "disks[0].iommu", "false", "true", false },
	{ NET("iommu"), "net[0].iommu", "false", "true", false },
	{ TOP("balloon"), "balloon.size", "{\"size\":0}", "{\"size\":1048576}", false },
	{ TOP("balloon"), "balloon.deflate_on_oom", "{\"size\":0,\"deflate_on_oom\":false}",
	  "{\"size\":0,\"deflate_on_oom\":true}", false },
	{ TOP("balloon"), "balloon.free_page_reporting", "{\"size\":0,\"pci_segment\":0}",
	  "{\"size\":0,\"free_page_reporting\":true}", false },
	{ TOP("generic_vhost_user"), "generic_vhost_user", "[]", "[{}]", false },
	{ TOP("fs"), "fs", "[]", "[{}]", false },
	{ TOP("pmem"), "pmem", "[]", "[{}]", false },
	{ TOP("devices"), "devices", "[]", "[{}]", false },
	{ TOP("user_devices"), "user_devices", "[]", "[{}]", false },
	{ TOP("vdpa"), "vdpa", "[]", "[{}]", false },
	{ TOP("vsock"), "vsock", NULL, "{\"cid\":3,\"socket\":\"/s\"}", false },
	{ TOP("pvmemcontrol"), "pvmemcontrol", NULL, "{}", false },
	{ TOP("pvpanic"), "pvpanic", "false", "true", false },
	{ TOP("iommu"), "iommu", "false", "true", false },
	{ TOP("numa"), "numa", "[]", "[{\"guest_numa_id\":0}]", false },
	{ TOP("watchdog"), "watchdog", "false", "true", false },
	{ TOP("rtc"), "rtc", NULL, "{}", false },
	{ TOP("gdb"), "gdb", "false", "true", false },
	{ TOP("pci_segments"), "pci_segments", "[]", "[{}]", false },
	{ TOP("platform"), "platform.num_pci_segments", "{\"num_pci_segments\":1,\"vfio_p2p_dma\":true,\"oem_strings\":[]}",
	  "{\"num_pci_segments\":2}", false },
	{ TOP("platform"), "platform.vfio_p2p_dma", "{}", "{\"vfio_p2p_dma\":false}", false },
	{ TOP("platform"), "platform.uuid", "{\"uuid\":null}", "{\"uuid\":\"x\"}", false },
	{ TOP("tpm"), "tpm", NULL, "{\"socket\":\"/s\"}", false },
	{ TOP("landlock_enable"), "landlock_enable", "false", "true", false },
	{ TOP("landlock_rules"), "landlock_rules", "[]", "[{\"path\":\"/\",\"access\":\"r\"}]", false },
	{ TOP("ivshmem"), "ivshmem", NULL, "{\"path\":\"/p\",\"size\":1}", false },
	{ CPUS("topology"), "cpus.topology", NULL,
	  "{\"threads_per_core\":1,\"cores_per_die\":1,\"dies_per_package\":1,\"packages\":1}", false },
	{ CPUS("kvm_hyperv"), "cpus.kvm_hyperv", "false", "true", false },
	{ CPUS("affinity"), "cpus.affinity", "[]", "[{\"vcpu\":0,\"host_cpus\":[0]}]", false },
	{ CPUS("features"), "cpus.features.amx", "{\"amx\":false}", "{\"amx\":true}", false },
	{ CPUS("nested"), "cpus.nested", "true", "false", false },
	{ CPUS("core_scheduling"), "cpus.core_scheduling", "\"Vm\"", "\"Vcpu\"", false },
	{ CPUS("core_scheduling"), "cpus.core_scheduling", "\"Vm\"", "\"Off\"", false },
	{ MEMORY("mergeable"), "memory.mergeable", "false", "true", false },
	{ MEMORY("hotplug_method"), "memory.hotplug_method", "\"Acpi\"", "\"VirtioMem\"", false },
	{ MEMORY("hotplug_size"), "memory.hotplug_size", NULL, "1", false },
	{ MEMORY("hotplugged_size"), "memory.hotplugged_size", NULL, "1", false },
	{ MEMORY("hugepages"), "memory.hugepages", "false", "true", false },
	{ MEMORY("hugepage_size"), "memory.hugepage_size", NULL, "2097152", false },
	{ MEMORY("prefault"), "memory.prefault", "false", "true", false },
	{ MEMORY("reserve"), "memory.reserve", "false", "true", false },
	{ MEMORY("zones"), "memory.zones", "[]", "[{\"id\":\"z\",\"size\":1}]", false },
	{ MEMORY("thp"), "memory.thp", "true", "false", false },
	{ PAYLOAD("firmware"), "payload.firmware", NULL, "\"/f\"", false },
	{ PAYLOAD("igvm"), "payload.igvm", NULL, "\"/f\"", false },
	{ PAYLOAD("host_data"), "payload.host_data", NULL, "\"00\"", false },
	{ PAYLOAD("fw_cfg_config"), "payload.fw_cfg_config", NULL, "{}", false },
	{ CONSOLE("iommu"), "console.iommu", "false", "true", false },
	{ "{\"debug_console\":{\"mode\":%s}}", "debug_console.mode", "\"Off\"", "\"Tty\"", true },
	{ "{\"debug_console\":{\"mode\":%s}}", "debug_console.mode", "\"Null\"", "\"File\"", true },
	{ "{\"debug_console\":{\"mode\":\"Off\",\"iobase\":%s}}", "debug_console.iobase", "233", "234", false },
	{ "{\"debug_console\":{\"mode\":\"Off\",\"file\":%s}}", "debug_console.file", NULL, "\"/f\"", false },
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void fill(char out[512], const struct later *l, const char *value)
{
	assert_true(snprintf(out, 512, l->place, value) < 512);
}
#pragma GCC diagnostic pop

static void json_what_is_not_served_is_refused_by_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < nitems(laters); i++) {
		char text[512], want[128];
		struct err e;
		struct cfg_vm cfg;

		fill(text, &laters[i], laters[i].refused);
		refuse(text, -ERR_INVALID, NULL);
		assert_int_equal(json_decode(&desc_cfg_vm, &cfg, text, strlen(text), &e), -ERR_INVALID);
		(void)snprintf(want, sizeof(want), "\"%s\"", laters[i].name);
		if (strstr(err_text(&e, 0), want) == NULL ||
		    strstr(err_text(&e, 0), "is not supported by this build") == NULL)
			fail_msg("%s: %s", text, err_text(&e, 0));
	}
	refuse("{\"disks\":[{},{\"iommu\":true}]}", -ERR_INVALID, "\"disks[1].iommu\" is not supported by this build");
	refuse("{\"debug_console\":{\"mode\":\"Tty\"}}", -ERR_INVALID,
	       "\"debug_console.mode\": string \"Tty\" is not supported by this build");
	refuse("{\"memory\":{\"size\":1,\"thp\":false}}", -ERR_INVALID,
	       "\"memory.thp\": boolean false is not supported by this build");
}

static void json_what_is_not_served_is_accepted_when_it_asks_for_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < nitems(laters); i++) {
		char text[512];

		fill(text, &laters[i], "null");
		if (laters[i].needs_value)
			refuse(text, -EINVAL, NULL);
		else
			accept_doc(text);
		if (laters[i].plain == NULL)
			continue;
		fill(text, &laters[i], laters[i].plain);
		accept_doc(text);
	}
}

/* No LATER row of the table is left out of the list above. */
static void expect_listed(const struct desc *d, const char *prefix)
{
	for (unsigned i = 0; i < d->n; i++) {
		const struct field_desc *f = &d->f[i];
		char name[128];
		bool listed = false;

		(void)snprintf(name, sizeof(name), "%s%s", prefix, f->name);
		for (size_t k = 0; k < nitems(laters); k++)
			listed = listed || strcmp(laters[k].name, name) == 0 ||
				 (strncmp(laters[k].name, name, strlen(name)) == 0 && laters[k].name[strlen(name)] == '.');
		if (f->served == FS_LATER && !listed)
			fail_msg("no test for \"%s\"", name);
		if (f->kind == FK_OBJ && field_is_stored(f) && f->served == FS_SERVED) {
			(void)strcat(name, field_is_list(f) ? "[0]." : ".");
			expect_listed(f->obj, name);
		}
	}
}

static void json_every_member_that_is_not_served_is_tested(void **state)
{
	struct cfg_vm cfg;

	(void)state;
	/* of the debug console's rows the socket does not exist */
	take("{\"debug_console\":{\"mode\":\"Off\",\"socket\":\"/s\"}}", &cfg);
	obj_fini(&desc_cfg_vm, &cfg);
	expect_listed(&desc_cfg_vm, "");
}

static void json_wrong_types_of_what_is_not_served_are_refused(void **state)
{
	(void)state;
	refuse("{\"fs\":{}}", -EINVAL, "\"fs\": expected an array, found an object at line 1 column 7");
	refuse("{\"fs\":\"x\"}", -EINVAL, NULL);
	refuse("{\"balloon\":{}}", -EINVAL, "\"balloon\": missing member \"size\" at line 1 column 13");
	refuse("{\"pvpanic\":\"no\"}", -EINVAL, NULL);
	refuse("{\"gdb\":0}", -EINVAL, NULL);
	refuse("{\"platform\":{\"num_pci_segments\":65536}}", -EINVAL, NULL);
	refuse("{\"platform\":{\"oem_strings\":7}}", -EINVAL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_what_is_not_served_is_refused_by_name),
		cmocka_unit_test(json_what_is_not_served_is_accepted_when_it_asks_for_nothing),
		cmocka_unit_test(json_every_member_that_is_not_served_is_tested),
		cmocka_unit_test(json_wrong_types_of_what_is_not_served_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
