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

static inline void full_limits(struct cfg_rate_limiter *l)
{
	l->has_bandwidth = l->has_ops = true;
	l->bandwidth = (struct cfg_token_bucket){ .size = UINT64_MAX, .has_one_time_burst = true, .one_time_burst = 1,
						  .refill_time = 100 };
	l->ops = (struct cfg_token_bucket){ .size = 5, .refill_time = 1 };
}

static inline void full_disk(struct cfg_disk *d)
{
	obj_init(&desc_cfg_disk, d);
	d->id = strdup("d");
	d->iommu = true;
	d->pci_segment = 1;
	d->has_pci_device_id = true;
	d->pci_device_id = 5;
	d->path = strdup("/img");
	d->readonly = d->direct = true;
	d->num_queues = UINT64_MAX;
	d->queue_size = 64;
	d->vhost_user = true;
	d->vhost_socket = strdup("/vs");
	d->rate_limit_group = strdup("g");
	d->has_rate_limiter_config = true;
	full_limits(&d->rate_limiter_config);
	d->disable_io_uring = d->disable_aio = true;
	d->serial = strdup("s1");
	d->has_queue_affinity = true;
	d->n_queue_affinity = 2;
	d->queue_affinity = calloc(2, sizeof(*d->queue_affinity));
	for (unsigned i = 0; i < 2; i++) {
		d->queue_affinity[i].queue_index = (uint16_t)i;
		d->queue_affinity[i].n_host_cpus = 1;
		d->queue_affinity[i].host_cpus = calloc(1, sizeof(uint64_t));
		d->queue_affinity[i].host_cpus[0] = i;
	}
	d->backing_files = true;
	d->sparse = false;
	d->image_type = IMAGE_TYPE_QCOW2;
	d->lock_granularity = LOCK_GRANULARITY_FULL;
	d->image_detected = true;
}

static inline void full_net(struct cfg_net *n)
{
	obj_init(&desc_cfg_net, n);
	n->id = strdup("n");
	n->tap = strdup("tap0");
	n->ip = strdup("192.168.249.1");
	n->mask = strdup("ffff:ffff::");
	n->mac = strdup("2e:89:a8:e4:bf:95");
	n->host_mac = strdup("00:00:00:00:00:01");
	n->has_mtu = true;
	n->mtu = 1500;
	n->num_queues = 4;
	n->queue_size = 512;
	n->vhost_user = true;
	n->vhost_socket = strdup("/ns");
	n->vhost_mode = VHOST_MODE_SERVER;
	n->has_fds = true;
	n->n_fds = 2;
	n->fds = calloc(2, sizeof(*n->fds));
	n->fds[0] = -1;
	n->fds[1] = INT32_MAX;
	n->has_rate_limiter_config = true;
	full_limits(&n->rate_limiter_config);
	n->offload_tso = n->offload_ufo = n->offload_csum = false;
}

static inline void full_devices(struct cfg_vm *c)
{
	c->has_rate_limit_groups = true;
	c->n_rate_limit_groups = 2;
	c->rate_limit_groups = calloc(2, sizeof(*c->rate_limit_groups));
	c->rate_limit_groups[0].id = strdup("g");
	full_limits(&c->rate_limit_groups[0].rate_limiter_config);
	c->has_disks = true;
	c->n_disks = 2;
	c->disks = calloc(2, sizeof(*c->disks));
	full_disk(&c->disks[0]);
	obj_init(&desc_cfg_disk, &c->disks[1]);
	c->has_net = true;
	c->n_net = 2;
	c->net = calloc(2, sizeof(*c->net));
	full_net(&c->net[0]);
	obj_init(&desc_cfg_net, &c->net[1]);
	c->rng.id = strdup("r");
	c->rng.src = strdup("/dev/hwrng");
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
	full_devices(c);
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
