/* SPDX-License-Identifier: ISC */
/* Rules of groups, disks, network devices, entropy device and console. Within a list each element passes all its rules
 * before the next one is looked at. */
#include "proto/rules_internal.h"

#include <inttypes.h>
#include <string.h>

#include "common/ovf.h"

enum {
	PCI_SEGMENTS = 1, /* platform.num_pci_segments is not served */
	PCI_SLOTS = 32,
	DISK_SERIAL_MAX = 20, /* virtio v1.2 5.2.6.1: the id of a block device */
	NET_MTU_MIN = 1280,
	FD_STDERR = 2,
};

/* --- what several share ---------------------------------------------------------------------------------------------- */

/* 1: another one's, and the same; -1: the very one at @where; 0: neither. */
static int compare_id(char *const *id, char *const *where)
{
	if (id == where)
		return -1;
	return *id != NULL && strcmp(*id, *where) == 0 ? 1 : 0;
}

/* Does somebody whose turn is earlier have the id at @where? */
static bool id_is_taken(const struct cfg_vm *cfg, char *const *where)
{
	int r = 0;

	for (size_t i = 0; i < cfg->n_rate_limit_groups && r == 0; i++)
		r = compare_id(&cfg->rate_limit_groups[i].id, where);
	for (size_t i = 0; i < cfg->n_disks && r == 0; i++)
		r = compare_id(&cfg->disks[i].id, where);
	for (size_t i = 0; i < cfg->n_net && r == 0; i++)
		r = compare_id(&cfg->net[i].id, where);
	if (r == 0)
		r = compare_id(&cfg->rng.id, where);
	return r > 0;
}

static int check_id(const struct cfg_vm *cfg, char *const *where, struct err *e)
{
	if (*where == NULL)
		return 0;
	if (strncmp(*where, "__", 2) == 0)
		return err_set(e, -ERR_INVALID, "id \"%s\" begins with \"__\"", *where);
	if (id_is_taken(cfg, where))
		return err_set(e, -ERR_CONFLICT, "id \"%s\" is not unique", *where);
	return 0;
}

static int check_place(uint16_t segment, bool has_slot, uint8_t slot, struct err *e)
{
	if (segment >= PCI_SEGMENTS)
		return err_set(e, -ERR_INVALID, "PCI segment %u does not exist: this build has segment 0 only",
			       (unsigned)segment);
	if (has_slot && slot >= PCI_SLOTS)
		return err_set(e, -ERR_INVALID, "pci_device_id %u is above %d", (unsigned)slot, PCI_SLOTS - 1);
	if (has_slot && slot == 0)
		return rules_no(e, "pci_device_id 0 is the host bridge");
	return 0;
}

/* vhost-user shares guest memory with another process. */
static bool memory_is_shared(const struct cfg_memory *m)
{
	if (m->shared || m->hugepages)
		return true;
	if (m->size != 0 || m->n_zones == 0)
		return false;
	for (size_t i = 0; i < m->n_zones; i++)
		if (!m->zones[i].shared && !m->zones[i].hugepages)
			return false;
	return true;
}

static int check_pow2(const char *what, uint64_t v, struct err *e)
{
	if (is_pow2_u64(v))
		return 0;
	return err_set(e, -ERR_INVALID, "%s %" PRIu64 " is not a power of two", what, v);
}

/* --- groups ---------------------------------------------------------------------------------------------------------- */

static const struct cfg_rate_limit_group *find_group(const struct cfg_vm *cfg, const char *id)
{
	for (size_t i = 0; i < cfg->n_rate_limit_groups; i++) {
		const struct cfg_rate_limit_group *g = &cfg->rate_limit_groups[i];

		if (g->id != NULL && strcmp(g->id, id) == 0)
			return g;
	}
	return NULL;
}

static int check_group(const struct cfg_vm *cfg, const struct cfg_rate_limit_group *g, struct err *e)
{
	if (!rules_given(g->id))
		return rules_no(e, "the group has no id");
	if (!g->rate_limiter_config.has_bandwidth && !g->rate_limiter_config.has_ops)
		return rules_no(e, "the group limits nothing");
	return check_id(cfg, &g->id, e);
}

int rules_groups(const struct cfg_vm *cfg, struct err *e)
{
	for (size_t i = 0; i < cfg->n_rate_limit_groups; i++) {
		const struct cfg_rate_limit_group *g = &cfg->rate_limit_groups[i];
		int r = check_group(cfg, g, e);

		if (r < 0)
			return rules_of_device(e, r, "rate limit group", "rate_limit_groups", i, g->id);
	}
	return 0;
}

/* --- disks ----------------------------------------------------------------------------------------------------------- */

struct disk_rule {
	const char *name;
	int (*check)(const struct cfg_vm *cfg, const struct cfg_disk *d, struct err *e);
};

static int disk_path_excludes_socket(const struct cfg_vm *cfg, const struct cfg_disk *d, struct err *e)
{
	(void)cfg;
	return d->path != NULL && d->vhost_socket != NULL ? rules_no(e, "path and vhost_socket exclude each other") : 0;
}

static int disk_vhost_user_needs_shared_memory(const struct cfg_vm *cfg, const struct cfg_disk *d, struct err *e)
{
	return d->vhost_user && !memory_is_shared(&cfg->memory) ? rules_no(e, "vhost_user needs shared memory") : 0;
}

static int disk_vhost_user_needs_socket(const struct cfg_vm *cfg, const struct cfg_disk *d, struct err *e)
{
	(void)cfg;
	return d->vhost_user && d->vhost_socket == NULL ? rules_no(e, "vhost_user needs vhost_socket") : 0;
}

static int disk_vhost_user_has_no_limits(const struct cfg_vm *cfg, const struct cfg_disk *d, struct err *e)
{
	(void)cfg;
	if (d->vhost_user && (d->has_rate_limiter_config || d->rate_limit_group != NULL))
		return rules_no(e, "a vhost_user back end cannot be limited");
	return 0;
}

static int disk_group_exists(const struct cfg_vm *cfg, const struct cfg_disk *d, struct err *e)
{
	if (d->rate_limit_group == NULL || find_group(cfg, d->rate_limit_group) != NULL)
		return 0;
	return err_set(e, -ERR_INVALID, "rate_limit_group \"%s\" does not exist", d->rate_limit_group);
}

static int disk_is_placed_well(const struct cfg_vm *cfg, const struct cfg_disk *d, struct err *e)
{
	(void)cfg;
	return check_place(d->pci_segment, d->has_pci_device_id, d->pci_device_id, e);
}

static int disk_queues_per_vcpu(const struct cfg_vm *cfg, const struct cfg_disk *d, struct err *e)
{
	if (d->num_queues <= cfg->cpus.boot_vcpus)
		return 0;
	return err_set(e, -ERR_INVALID, "num_queues %" PRIu64 " is above boot_vcpus %" PRIu32, d->num_queues,
		       cfg->cpus.boot_vcpus);
}

static int disk_queue_size_is_power_of_two(const struct cfg_vm *cfg, const struct cfg_disk *d, struct err *e)
{
	(void)cfg;
	return check_pow2("queue_size", d->queue_size, e);
}

static int disk_queue_size_is_above_two(const struct cfg_vm *cfg, const struct cfg_disk *d, struct err *e)
{
	(void)cfg;
	if (d->queue_size > 2)
		return 0;
	return err_set(e, -ERR_INVALID, "queue_size %u is too small", (unsigned)d->queue_size);
}

static int disk_vhost_user_is_not_behind_iommu(const struct cfg_vm *cfg, const struct cfg_disk *d, struct err *e)
{
	(void)cfg;
	return d->vhost_user && d->iommu ? rules_no(e, "vhost_user is not possible behind an IOMMU") : 0;
}

static int disk_group_excludes_own_limits(const struct cfg_vm *cfg, const struct cfg_disk *d, struct err *e)
{
	(void)cfg;
	if (d->has_rate_limiter_config && d->rate_limit_group != NULL)
		return rules_no(e, "rate_limiter_config and rate_limit_group exclude each other");
	return 0;
}

static int disk_serial_fits(const struct cfg_vm *cfg, const struct cfg_disk *d, struct err *e)
{
	(void)cfg;
	if (d->serial == NULL || strlen(d->serial) <= DISK_SERIAL_MAX)
		return 0;
	return err_set(e, -ERR_INVALID, "serial has %zu bytes, %d at most", strlen(d->serial), DISK_SERIAL_MAX);
}

static int disk_id_is_unique(const struct cfg_vm *cfg, const struct cfg_disk *d, struct err *e)
{
	return check_id(cfg, &d->id, e);
}

static const struct disk_rule disk_rules[] = {
	{ "disk_path_excludes_socket", disk_path_excludes_socket },
	{ "disk_vhost_user_needs_shared_memory", disk_vhost_user_needs_shared_memory },
	{ "disk_vhost_user_needs_socket", disk_vhost_user_needs_socket },
	{ "disk_vhost_user_has_no_limits", disk_vhost_user_has_no_limits },
	{ "disk_group_exists", disk_group_exists },
	{ "disk_is_placed_well", disk_is_placed_well },
	{ "disk_queues_per_vcpu", disk_queues_per_vcpu },
	{ "disk_queue_size_is_power_of_two", disk_queue_size_is_power_of_two },
	{ "disk_queue_size_is_above_two", disk_queue_size_is_above_two },
	{ "disk_vhost_user_is_not_behind_iommu", disk_vhost_user_is_not_behind_iommu },
	{ "disk_group_excludes_own_limits", disk_group_excludes_own_limits },
	{ "disk_serial_fits", disk_serial_fits },
	{ "disk_id_is_unique", disk_id_is_unique },
};

int rules_disks(const struct cfg_vm *cfg, struct err *e)
{
	for (size_t i = 0; i < cfg->n_disks; i++) {
		const struct cfg_disk *d = &cfg->disks[i];

		for (size_t k = 0; k < nitems(disk_rules); k++) {
			int r = disk_rules[k].check(cfg, d, e);

			if (r < 0) {
				rules_log(disk_rules[k].name);
				return rules_of_device(e, r, "disk", "disks", i, d->id);
			}
		}
	}
	return 0;
}

/* --- network --------------------------------------------------------------------------------------------------------- */

struct net_rule {
	const char *name;
	int (*check)(const struct cfg_vm *cfg, const struct cfg_net *n, struct err *e);
};

static int net_vhost_user_needs_shared_memory(const struct cfg_vm *cfg, const struct cfg_net *n, struct err *e)
{
	return n->vhost_user && !memory_is_shared(&cfg->memory) ? rules_no(e, "vhost_user needs shared memory") : 0;
}

static int net_vhost_user_needs_socket(const struct cfg_vm *cfg, const struct cfg_net *n, struct err *e)
{
	(void)cfg;
	return n->vhost_user && n->vhost_socket == NULL ? rules_no(e, "vhost_user needs vhost_socket") : 0;
}

static int net_vhost_user_has_no_limits(const struct cfg_vm *cfg, const struct cfg_net *n, struct err *e)
{
	(void)cfg;
	return n->vhost_user && n->has_rate_limiter_config ? rules_no(e, "a vhost_user back end cannot be limited") : 0;
}

static int net_is_placed_well(const struct cfg_vm *cfg, const struct cfg_net *n, struct err *e)
{
	(void)cfg;
	return check_place(n->pci_segment, n->has_pci_device_id, n->pci_device_id, e);
}

static int net_has_a_pair(const struct cfg_vm *cfg, const struct cfg_net *n, struct err *e)
{
	(void)cfg;
	if (n->num_queues >= 2)
		return 0;
	return err_set(e, -ERR_INVALID, "num_queues %" PRIu64 " is below 2", n->num_queues);
}

static int net_fd_for_each_pair(const struct cfg_vm *cfg, const struct cfg_net *n, struct err *e)
{
	(void)cfg;
	if (!n->has_fds || n->num_queues == 2 * (uint64_t)n->n_fds)
		return 0;
	return err_set(e, -ERR_INVALID, "%zu fds for num_queues %" PRIu64, n->n_fds, n->num_queues);
}

static int net_fds_can_be_taps(const struct cfg_vm *cfg, const struct cfg_net *n, struct err *e)
{
	(void)cfg;
	for (size_t i = 0; i < n->n_fds; i++)
		if (n->fds[i] <= FD_STDERR)
			return err_set(e, -ERR_INVALID, "fd %" PRId32 " is no tap", n->fds[i]);
	return 0;
}

static int net_pairs_per_vcpu(const struct cfg_vm *cfg, const struct cfg_net *n, struct err *e)
{
	if (n->num_queues / 2 <= cfg->cpus.boot_vcpus)
		return 0;
	return err_set(e, -ERR_INVALID, "num_queues %" PRIu64 " is above twice boot_vcpus %" PRIu32, n->num_queues,
		       cfg->cpus.boot_vcpus);
}

static int net_queue_size_is_power_of_two(const struct cfg_vm *cfg, const struct cfg_net *n, struct err *e)
{
	(void)cfg;
	return check_pow2("queue_size", n->queue_size, e);
}

static int net_vhost_user_is_not_behind_iommu(const struct cfg_vm *cfg, const struct cfg_net *n, struct err *e)
{
	(void)cfg;
	return n->vhost_user && n->iommu ? rules_no(e, "vhost_user is not possible behind an IOMMU") : 0;
}

static int net_mtu_is_large_enough(const struct cfg_vm *cfg, const struct cfg_net *n, struct err *e)
{
	(void)cfg;
	if (!n->has_mtu || n->mtu >= NET_MTU_MIN)
		return 0;
	return err_set(e, -ERR_INVALID, "mtu %u is below %d", (unsigned)n->mtu, NET_MTU_MIN);
}

static int net_offloads_need_checksums(const struct cfg_vm *cfg, const struct cfg_net *n, struct err *e)
{
	(void)cfg;
	if (!n->offload_csum && (n->offload_tso || n->offload_ufo))
		return rules_no(e, "offload_tso and offload_ufo need offload_csum");
	return 0;
}

static int net_ip_and_mask_belong_together(const struct cfg_vm *cfg, const struct cfg_net *n, struct err *e)
{
	(void)cfg;
	if (n->mask != NULL && n->ip == NULL)
		return rules_no(e, "mask without ip");
	return n->ip != NULL && n->mask == NULL ? rules_no(e, "ip without mask") : 0;
}

static int net_id_is_unique(const struct cfg_vm *cfg, const struct cfg_net *n, struct err *e)
{
	return check_id(cfg, &n->id, e);
}

static const struct net_rule net_rules[] = {
	{ "net_vhost_user_needs_shared_memory", net_vhost_user_needs_shared_memory },
	{ "net_vhost_user_needs_socket", net_vhost_user_needs_socket },
	{ "net_vhost_user_has_no_limits", net_vhost_user_has_no_limits },
	{ "net_is_placed_well", net_is_placed_well },
	{ "net_has_a_pair", net_has_a_pair },
	{ "net_fd_for_each_pair", net_fd_for_each_pair },
	{ "net_fds_can_be_taps", net_fds_can_be_taps },
	{ "net_pairs_per_vcpu", net_pairs_per_vcpu },
	{ "net_queue_size_is_power_of_two", net_queue_size_is_power_of_two },
	{ "net_vhost_user_is_not_behind_iommu", net_vhost_user_is_not_behind_iommu },
	{ "net_mtu_is_large_enough", net_mtu_is_large_enough },
	{ "net_offloads_need_checksums", net_offloads_need_checksums },
	{ "net_ip_and_mask_belong_together", net_ip_and_mask_belong_together },
	{ "net_id_is_unique", net_id_is_unique },
};

int rules_nets(const struct cfg_vm *cfg, struct err *e)
{
	for (size_t i = 0; i < cfg->n_net; i++) {
		const struct cfg_net *n = &cfg->net[i];

		for (size_t k = 0; k < nitems(net_rules); k++) {
			int r = net_rules[k].check(cfg, n, e);

			if (r < 0) {
				rules_log(net_rules[k].name);
				return rules_of_device(e, r, "net", "net", i, n->id);
			}
		}
	}
	return 0;
}

/* --- the ones there is one of ---------------------------------------------------------------------------------------- */

int rules_rng(const struct cfg_vm *cfg, struct err *e)
{
	const struct cfg_rng *d = &cfg->rng;
	int r = check_place(d->pci_segment, d->has_pci_device_id, d->pci_device_id, e);

	if (r == 0)
		r = check_id(cfg, &d->id, e);
	return r < 0 ? err_wrap(e, r, "rng") : 0;
}

/* Checked even if it is Off. */
int rules_console(const struct cfg_vm *cfg, struct err *e)
{
	const struct cfg_console *d = &cfg->console;
	int r = check_place(d->pci_segment, d->has_pci_device_id, d->pci_device_id, e);

	if (r == 0)
		r = check_id(cfg, &d->id, e);
	return r < 0 ? err_wrap(e, r, "console") : 0;
}
