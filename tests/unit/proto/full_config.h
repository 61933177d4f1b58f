/* SPDX-License-Identifier: ISC */
/* A configuration in which every stored member has something in it that is not its default, for the codec tests. */
#ifndef TESTS_UNIT_PROTO_FULL_CONFIG_H
#define TESTS_UNIT_PROTO_FULL_CONFIG_H

#include <stdlib.h>
#include <string.h>

#include "proto/config.h"

static inline void full_cpus(struct cfg_cpus *c)
{
	c->boot_vcpus = 3;
	c->max_vcpus = UINT32_MAX;
	c->has_topology = true;
	c->topology = (struct cfg_topology){ 1, 2, UINT16_MAX, 4 };
	c->kvm_hyperv = true;
	c->max_phys_bits = UINT8_MAX;
	c->has_affinity = true;
	c->n_affinity = 2;
	c->affinity = calloc(2, sizeof(*c->affinity));
	for (unsigned i = 0; i < 2; i++) {
		c->affinity[i].vcpu = i;
		c->affinity[i].n_host_cpus = 3;
		c->affinity[i].host_cpus = calloc(3, sizeof(uint64_t));
		c->affinity[i].host_cpus[2] = UINT64_MAX;
	}
	c->features.amx = true;
	c->nested = false;
	c->core_scheduling = CORE_SCHEDULING_OFF;
	c->profile = CPU_PROFILE_HOST;
}

static inline void full_memory(struct cfg_memory *m)
{
	m->size = UINT64_MAX;
	m->mergeable = true;
	m->hotplug_method = HOTPLUG_METHOD_VIRTIO_MEM;
	m->has_hotplug_size = true;
	m->hotplug_size = UINT64_C(1) << 53 | 1;
	m->has_hotplugged_size = true;
	m->shared = true;
	m->hugepages = true;
	m->has_hugepage_size = true;
	m->hugepage_size = 4096;
	m->prefault = true;
	m->reserve = true;
	m->has_zones = true;
	m->n_zones = 2;
	m->zones = calloc(2, sizeof(*m->zones));
	for (unsigned i = 0; i < 2; i++) {
		m->zones[i].id = strdup(i == 0 ? "" : "z\xc3\xa9");
		m->zones[i].size = 4096;
		m->zones[i].file = strdup("/dev/hugepages/z");
		m->zones[i].has_host_numa_node = true;
		m->zones[i].host_numa_node = 7;
	}
	m->thp = false;
}

static inline void full_config(struct cfg_vm *c)
{
	obj_init(&desc_cfg_vm, c);
	full_cpus(&c->cpus);
	full_memory(&c->memory);
	c->has_payload = true;
	c->payload.firmware = strdup("/f");
	c->payload.kernel = strdup("/boot/vmlinuz \"quoted\" \\ \x01");
	c->payload.cmdline = strdup("console=ttyS0 \xf0\x9d\x84\x9e");
	c->payload.initramfs = strdup("");
	c->payload.igvm = strdup("/i");
	c->payload.host_data = strdup("00");
	c->serial.file = strdup("/s");
	c->serial.mode = CONSOLE_MODE_SOCKET;
	c->serial.socket = strdup("/sock");
	c->console.file = strdup("/c");
	c->console.mode = CONSOLE_MODE_FILE;
	c->console.socket = strdup("/cs");
	c->console.id = strdup("con");
	c->console.iommu = true;
	c->console.pci_segment = UINT16_MAX;
	c->console.has_pci_device_id = true;
	c->console.pci_device_id = 31;
	c->debug_console.file = strdup("/d");
	c->debug_console.mode = CONSOLE_MODE_FILE;
	c->debug_console.has_iobase = true;
	c->debug_console.iobase = UINT16_MAX;
	c->pvpanic = true;
	c->iommu = true;
	c->watchdog = true;
	c->landlock_enable = true;
}

#endif
