/* SPDX-License-Identifier: ISC */
/*
 * Checks across fields. The order is the documented one, because a client sees the first refusal only. Rules over
 * members that this build doesn't serve come with them.
 */
#include "proto/rules_internal.h"

#include <inttypes.h>

#include "common/log.h"
#include "common/ovf.h"

enum { VCPUS_MAX = 8192 };

int rules_no(struct err *e, const char *text)
{
	return err_set(e, -ERR_INVALID, "%s", text);
}

/* --- what is booted -------------------------------------------------------------------------------------------------- */

static int payload_exists(const struct cfg_vm *cfg, struct err *e)
{
	return cfg->has_payload ? 0 : rules_no(e, "nothing to boot: no payload is given");
}

static int payload_firmware_or_kernel(const struct cfg_vm *cfg, struct err *e)
{
	const struct cfg_payload *p = &cfg->payload;

	if (p->igvm != NULL)
		return p->firmware != NULL ? rules_no(e, "payload: igvm and firmware exclude each other") : 0;
	if (p->firmware != NULL && p->kernel != NULL)
		return rules_no(e, "payload: firmware and kernel exclude each other");
	if (p->firmware == NULL && p->kernel == NULL)
		return rules_no(e, "nothing to boot: the payload has neither kernel nor firmware");
	return 0;
}

/* --- consoles -------------------------------------------------------------------------------------------------------- */

static int console_file_has_path(const struct cfg_vm *cfg, struct err *e)
{
	if (cfg->console.mode == CONSOLE_MODE_FILE && !rules_given(cfg->console.file))
		return rules_no(e, "console: mode File without a file");
	return 0;
}

static int serial_has_path(const struct cfg_vm *cfg, struct err *e)
{
	if (cfg->serial.mode == CONSOLE_MODE_FILE && !rules_given(cfg->serial.file))
		return rules_no(e, "serial: mode File without a file");
	if (cfg->serial.mode == CONSOLE_MODE_SOCKET && !rules_given(cfg->serial.socket))
		return rules_no(e, "serial: mode Socket without a socket");
	return 0;
}

/* Their output would be one mess, and one of them would get what is typed. */
static int consoles_on_one_tty_are_told(const struct cfg_vm *cfg, struct err *e)
{
	unsigned n = (cfg->console.mode == CONSOLE_MODE_TTY ? 1u : 0u) + (cfg->serial.mode == CONSOLE_MODE_TTY ? 1u : 0u) +
		     (cfg->debug_console.mode == CONSOLE_MODE_TTY ? 1u : 0u);

	(void)e;
	if (n > 1)
		log_warn("%u consoles share one terminal", n);
	return 0;
}

/* --- CPUs ------------------------------------------------------------------------------------------------------------ */

/* The reference boots a VM without any vCPU; refusing is better. */
static int cpus_at_least_one(const struct cfg_vm *cfg, struct err *e)
{
	return cfg->cpus.boot_vcpus > 0 ? 0 : rules_no(e, "cpus: boot_vcpus is 0");
}

static int cpus_max_not_below_boot(const struct cfg_vm *cfg, struct err *e)
{
	const struct cfg_cpus *c = &cfg->cpus;

	if (c->max_vcpus >= c->boot_vcpus)
		return 0;
	return err_set(e, -ERR_INVALID, "cpus: max_vcpus %" PRIu32 " is below boot_vcpus %" PRIu32, c->max_vcpus,
		       c->boot_vcpus);
}

static int cpus_not_too_many(const struct cfg_vm *cfg, struct err *e)
{
	if (cfg->cpus.max_vcpus <= VCPUS_MAX)
		return 0;
	return err_set(e, -ERR_INVALID, "cpus: max_vcpus %" PRIu32 " is above %d", cfg->cpus.max_vcpus, VCPUS_MAX);
}

static int topology_is_whole(const struct cfg_vm *cfg, struct err *e)
{
	const struct cfg_topology *t = &cfg->cpus.topology;
	uint64_t product;

	if (!cfg->cpus.has_topology)
		return 0;
	if (t->threads_per_core == 0 || t->cores_per_die == 0 || t->dies_per_package == 0 || t->packages == 0)
		return rules_no(e, "cpus: a part of the topology is 0");
	if (t->threads_per_core > 2)
		return err_set(e, -ERR_INVALID, "cpus: %u threads per core, 2 at most", (unsigned)t->threads_per_core);
	product = (uint64_t)t->threads_per_core * t->cores_per_die * t->dies_per_package * t->packages; /* 4 x 16 bits */
	if (product != cfg->cpus.max_vcpus)
		return err_set(e, -ERR_INVALID, "cpus: the topology has %" PRIu64 " CPUs, max_vcpus is %" PRIu32, product,
			       cfg->cpus.max_vcpus);
	return 0;
}

/* --- memory ---------------------------------------------------------------------------------------------------------- */

static int hugepage_size_needs_hugepages(const struct cfg_vm *cfg, struct err *e)
{
	const struct cfg_memory *m = &cfg->memory;

	return m->has_hugepage_size && !m->hugepages ? rules_no(e, "memory: hugepage_size without hugepages") : 0;
}

static int hugepage_size_is_power_of_two(const struct cfg_vm *cfg, struct err *e)
{
	const struct cfg_memory *m = &cfg->memory;

	if (!m->has_hugepage_size || is_pow2_u64(m->hugepage_size))
		return 0;
	return err_set(e, -ERR_INVALID, "memory: hugepage_size %" PRIu64 " is not a power of two", m->hugepage_size);
}

static int shared_excludes_mergeable(const struct cfg_vm *cfg, struct err *e)
{
	if (cfg->memory.shared && cfg->memory.mergeable)
		return rules_no(e, "memory: shared and mergeable exclude each other");
	return 0;
}

static const struct rule boot_rules[] = {
	{ "payload_exists", payload_exists },
	{ "payload_firmware_or_kernel", payload_firmware_or_kernel },
	{ "consoles_on_one_tty_are_told", consoles_on_one_tty_are_told },
	{ "console_file_has_path", console_file_has_path },
	{ "serial_has_path", serial_has_path },
	{ "cpus_at_least_one", cpus_at_least_one },
	{ "cpus_max_not_below_boot", cpus_max_not_below_boot },
	{ "cpus_not_too_many", cpus_not_too_many },
	{ "rules_groups", rules_groups },
	{ "rules_disks", rules_disks },
	{ "rules_nets", rules_nets },
	{ "rules_rng", rules_rng },
	{ "rules_console", rules_console },
	{ "topology_is_whole", topology_is_whole },
	{ "hugepage_size_needs_hugepages", hugepage_size_needs_hugepages },
	{ "hugepage_size_is_power_of_two", hugepage_size_is_power_of_two },
	{ "shared_excludes_mergeable", shared_excludes_mergeable },
};

/* --- running them ---------------------------------------------------------------------------------------------------- */

void rules_log(const char *name)
{
	log_debug("configuration: rule %s", name);
}

int rules_run(const struct rule *rules, size_t n, const struct cfg_vm *cfg, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		int r = rules[i].check(cfg, e);

		if (r < 0) {
			rules_log(rules[i].name);
			return r;
		}
	}
	return 0;
}

int rules_of_device(struct err *e, int r, const char *kind, const char *list, size_t i, const char *id)
{
	if (id != NULL)
		return err_wrap(e, r, "%s \"%.256s\"", kind, id);
	return err_wrap(e, r, "%s[%zu]", list, i);
}

int rules_check_boot(const struct cfg_vm *cfg, struct err *e)
{
	return rules_run(boot_rules, nitems(boot_rules), cfg, e);
}

void rules_complete(struct cfg_vm *cfg)
{
	for (size_t i = 0; i < cfg->n_disks; i++)
		cfg->iommu = cfg->iommu || cfg->disks[i].iommu;
	for (size_t i = 0; i < cfg->n_net; i++)
		cfg->iommu = cfg->iommu || cfg->net[i].iommu;
	cfg->iommu = cfg->iommu || cfg->rng.iommu || cfg->console.iommu;
}
