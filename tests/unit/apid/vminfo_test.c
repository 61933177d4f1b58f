/* SPDX-License-Identifier: ISC */
#include "apid/vminfo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct wbuf out;

static int setup(void **state)
{
	(void)state;
	wbuf_init(&out, 1 << 20);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	wbuf_fini(&out);
	return 0;
}

static void assert_text(const char *want)
{
	assert_int_equal(wbuf_u8(&out, '\0'), 0);
	assert_string_equal((const char *)out.p, want);
}

#define CPUS \
	"\"cpus\":{\"boot_vcpus\":1,\"max_vcpus\":1,\"kvm_hyperv\":false,\"max_phys_bits\":46,\"features\":{\"amx\":false}," \
	"\"nested\":true,\"core_scheduling\":\"Vm\",\"profile\":\"Host\"}"
#define MEMORY \
	"\"memory\":{\"size\":536870912,\"mergeable\":false,\"hotplug_method\":\"Acpi\",\"shared\":false,\"hugepages\":false," \
	"\"prefault\":false,\"reserve\":false,\"thp\":true}"
#define REST \
	"\"rng\":{\"pci_segment\":0,\"src\":\"/dev/urandom\"}," \
	"\"serial\":{\"mode\":\"Null\"},\"console\":{\"mode\":\"Tty\",\"pci_segment\":0}," \
	"\"debug_console\":{\"mode\":\"Off\",\"iobase\":233},\"pvpanic\":false,\"iommu\":false,\"watchdog\":false," \
	"\"landlock_enable\":false"

static void ping_has_all_members_in_order(void **state)
{
	(void)state;
	assert_int_equal(vminfo_ping(&out, 4711), 0);
	assert_text("{\"build_version\":\"v54.0.0\",\"version\":\"54.0.0\",\"pid\":4711,\"features\":[\"kvm\"]}");
}

static void info_of_a_created_vm_has_all_defaults_and_no_devices(void **state)
{
	struct msg_cmd_vm_info_result r = { .state = VM_STATE_CREATED, .memory_actual_size = 536870912 };

	(void)state;
	obj_init(&desc_cfg_vm, &r.config);
	assert_int_equal(vminfo_info(&out, &r), 0);
	assert_text("{\"config\":{" CPUS "," MEMORY "," REST "},\"state\":\"Created\",\"memory_actual_size\":536870912}");
	obj_fini(&desc_cfg_vm, &r.config);
}

static void info_of_a_running_vm_has_its_device_tree(void **state)
{
	char ioapic[] = "__ioapic", wrapper[] = "_virtio-pci-_disk0", disk[] = "_disk0", bdf[] = "0000:00:01.0";
	char *children[] = { disk };
	struct msg_pci_bar bars[] = {
		{ .index = 0, .base = UINT64_C(70368735789056), .size = 524288, .type = PCI_BAR_MMIO64 },
		{ .index = 2, .base = 3891789824, .size = 1, .type = PCI_BAR_MMIO32, .prefetchable = true },
	};
	struct msg_dev_node nodes[] = {
		{ .id = ioapic },
		{ .id = disk, .parent = wrapper },
		{ .id = wrapper, .n_bars = 2, .bars = bars, .n_children = 1, .children = children, .pci_bdf = bdf },
	};
	struct msg_cmd_vm_info_result r = {
		.state = VM_STATE_RUNNING,
		.memory_actual_size = UINT64_MAX,
		.n_nodes = 3,
		.nodes = nodes,
	};

	(void)state;
	obj_init(&desc_cfg_vm, &r.config);
	assert_int_equal(vminfo_info(&out, &r), 0);
	assert_text("{\"config\":{" CPUS "," MEMORY "," REST
		    "},\"state\":\"Running\",\"memory_actual_size\":18446744073709551615,\"device_tree\":{"
		    "\"__ioapic\":{\"id\":\"__ioapic\",\"resources\":[],\"children\":[]},"
		    "\"_disk0\":{\"id\":\"_disk0\",\"resources\":[],\"parent\":\"_virtio-pci-_disk0\",\"children\":[]},"
		    "\"_virtio-pci-_disk0\":{\"id\":\"_virtio-pci-_disk0\",\"resources\":["
		    "{\"PciBar\":{\"index\":0,\"base\":70368735789056,\"size\":524288,\"type_\":\"Mmio64\","
		    "\"prefetchable\":false}},"
		    "{\"PciBar\":{\"index\":2,\"base\":3891789824,\"size\":1,\"type_\":\"Mmio32\","
		    "\"prefetchable\":true}}],\"children\":[\"_disk0\"],\"pci_bdf\":\"0000:00:01.0\"}}}");
	obj_fini(&desc_cfg_vm, &r.config);
}

static void counters_are_grouped_by_device(void **state)
{
	char a[] = "_net1", b[] = "_disk0", n1[] = "rx_bytes", n2[] = "tx_bytes", n3[] = "read_ops";
	struct msg_counter c[] = {
		{ .device = a, .name = n1, .value = 1 },
		{ .device = a, .name = n2, .value = UINT64_MAX },
		{ .device = b, .name = n3, .value = 0 },
	};
	struct msg_cmd_vm_counters_result r = { .n_counters = 3, .counters = c };

	(void)state;
	assert_int_equal(vminfo_counters(&out, &r), 0);
	assert_text("{\"_net1\":{\"rx_bytes\":1,\"tx_bytes\":18446744073709551615},\"_disk0\":{\"read_ops\":0}}");
}

static void no_counters_are_an_empty_object(void **state)
{
	struct msg_cmd_vm_counters_result r = { 0 };

	(void)state;
	assert_int_equal(vminfo_counters(&out, &r), 0);
	assert_text("{}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ping_has_all_members_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(info_of_a_created_vm_has_all_defaults_and_no_devices, setup, teardown),
		cmocka_unit_test_setup_teardown(info_of_a_running_vm_has_its_device_tree, setup, teardown),
		cmocka_unit_test_setup_teardown(counters_are_grouped_by_device, setup, teardown),
		cmocka_unit_test_setup_teardown(no_counters_are_an_empty_object, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
