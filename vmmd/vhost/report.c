/* SPDX-License-Identifier: ISC */
/* What vm.info and vm.counters say of virtio devices. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmmd/vhost/devices.h"

/* --- vm.info ---------------------------------------------------------------------------------------------------------- */

static struct msg_dev_node *add_node(struct msg_cmd_vm_info_result *out)
{
	struct msg_dev_node *more = realloc(out->nodes, (out->n_nodes + 1) * sizeof(*more));

	if (more == NULL)
		return NULL;
	out->nodes = more;
	memset(&more[out->n_nodes], 0, sizeof(*more));
	return &more[out->n_nodes++];
}

static int add_device(struct msg_cmd_vm_info_result *out, const char *id, const char *pci_id)
{
	struct msg_dev_node *node = add_node(out);

	if (node == NULL)
		return -ENOMEM;
	node->id = strdup(id);
	node->parent = strdup(pci_id);
	return node->id != NULL && node->parent != NULL ? 0 : -ENOMEM;
}

static int add_bar(struct msg_dev_node *node, const struct virtio_dev *dev)
{
	bool is_64;

	node->bars = calloc(1, sizeof(*node->bars));
	if (node->bars == NULL)
		return -ENOMEM;
	node->n_bars = 1;
	virtio_dev_bar(dev, &node->bars[0].base, &node->bars[0].size, &is_64);
	node->bars[0].type = is_64 ? PCI_BAR_MMIO64 : PCI_BAR_MMIO32;
	return 0;
}

/* Its child, its place on the bus (segment 0, bus 0, function 0) and its one BAR. */
static int add_function(struct msg_cmd_vm_info_result *out, const char *id, const char *pci_id,
			const struct virtio_dev *dev)
{
	struct msg_dev_node *node = add_node(out);

	if (node == NULL)
		return -ENOMEM;
	node->id = strdup(pci_id);
	node->children = calloc(1, sizeof(*node->children));
	if (node->children != NULL) {
		node->n_children = 1;
		node->children[0] = strdup(id);
	}
	if (node->id == NULL || node->n_children == 0 || node->children[0] == NULL)
		return -ENOMEM;
	if (asprintf(&node->pci_bdf, "0000:00:%02x.0", (unsigned)virtio_dev_slot(dev)) < 0) {
		node->pci_bdf = NULL;
		return -ENOMEM;
	}
	return add_bar(node, dev);
}

int vhost_devices_info(const struct vhost_devices *ds, struct msg_cmd_vm_info_result *out)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < ds->n; i++) {
		const struct vhost_device *d = ds->v[i];
		char pci_id[sizeof("_virtio-pci-") + 255];

		if (d->dev == NULL)
			continue;
		(void)snprintf(pci_id, sizeof(pci_id), "_virtio-pci-%s", d->id);
		r = add_device(out, d->id, pci_id);
		if (r == 0)
			r = add_function(out, d->id, pci_id, d->dev);
	}
	return r;
}

/* --- vm.counters ------------------------------------------------------------------------------------------------------ */

struct counter {
	unsigned at; /* of the page */
	const char *name;
	unsigned scale;
	int counts_with; /* which counter has to be above 0 before this one means anything, -1: none */
	uint64_t first;
};

#define SCALE_OF(c) \
	((c) == STATS_BLK_READ_LATENCY_AVG || (c) == STATS_BLK_WRITE_LATENCY_AVG ? (unsigned)STATS_LATENCY_SCALE : 1u)
#define READS_OF(c)  ((c) >= STATS_BLK_READ_LATENCY_MIN && (c) <= STATS_BLK_READ_LATENCY_AVG)
#define WRITES_OF(c) ((c) >= STATS_BLK_WRITE_LATENCY_MIN && (c) <= STATS_BLK_WRITE_LATENCY_AVG)
#define BLK_COUNTER(c, shown, value) \
	{ c, shown, SCALE_OF(c), READS_OF(c) ? STATS_BLK_READ_OPS : WRITES_OF(c) ? STATS_BLK_WRITE_OPS : -1, value },
#define NET_COUNTER(c, shown, value) { c, shown, 1, -1, value },

static const struct counter blk_counters[] = { STATS_BLK(BLK_COUNTER) };
static const struct counter net_counters[] = { STATS_NET(NET_COUNTER) };

/* One look at each, on a page that somebody else writes: any number will do. */
static uint64_t value_of(const struct stats_page *page, const struct counter *c)
{
	if (c->counts_with >= 0 && atomic_load_explicit(&page->v[c->counts_with], memory_order_acquire) == 0)
		return c->first;
	return atomic_load_explicit(&page->v[c->at], memory_order_relaxed) / c->scale;
}

static int add_counter(struct msg_cmd_vm_counters_result *out, const struct vhost_device *d, const struct counter *c)
{
	struct msg_counter *more = realloc(out->counters, (out->n_counters + 1) * sizeof(*more));

	if (more == NULL)
		return -ENOMEM;
	out->counters = more;
	struct msg_counter *m = &more[out->n_counters];

	*m = (struct msg_counter){ .device = strdup(d->id), .name = strdup(c->name), .value = value_of(d->stats, c) };
	out->n_counters++;
	return m->device != NULL && m->name != NULL ? 0 : -ENOMEM;
}

int vhost_devices_counters(const struct vhost_devices *ds, struct msg_cmd_vm_counters_result *out)
{
	int r = 0;

	for (unsigned i = 0; i < ds->n; i++) {
		const struct vhost_device *d = ds->v[i];
		const struct counter *c = d->kind == DEV_DISK ? blk_counters : net_counters;
		size_t n = d->kind == DEV_DISK ? nitems(blk_counters) : d->kind == DEV_NET ? nitems(net_counters) : 0;

		if (d->stats == NULL || d->id == NULL)
			continue;
		for (size_t k = 0; r == 0 && k < n; k++)
			r = c[k].name != NULL ? add_counter(out, d, &c[k]) : 0;
	}
	return r;
}
