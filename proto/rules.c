/* SPDX-License-Identifier: ISC */
/*
 * Checks across fields. The order is the documented one, because a client sees the first refusal only. Rules over
 * members that this build doesn't serve come with them.
 */
#include "proto/rules.h"

#include <inttypes.h>
#include <string.h>

#include "common/log.h"
#include "common/ovf.h"

enum { VCPUS_MAX = 8192, PCI_SLOTS = 32 };

struct rule {
	const char *name;
	int (*check)(const struct cfg_vm *cfg, struct err *e);
};

static int no(struct err *e, const char *text)
{
	return err_set(e, -ERR_INVALID, "%s", text);
}

/* --- what is booted -------------------------------------------------------------------------------------------------- */

static int payload_exists(const struct cfg_vm *cfg, struct err *e)
{
	return cfg->has_payload ? 0 : no(e, "nothing to boot: no payload is given");
}

static int payload_firmware_or_kernel(const struct cfg_vm *cfg, struct err *e)
{
	const struct cfg_payload *p = &cfg->payload;

	if (p->igvm != NULL)
		return p->firmware != NULL ? no(e, "payload: igvm and firmware exclude each other") : 0;
	if (p->firmware != NULL && p->kernel != NULL)
		return no(e, "payload: firmware and kernel exclude each other");
	if (p->firmware == NULL && p->kernel == NULL)
		return no(e, "nothing to boot: the payload has neither kernel nor firmware");
	return 0;
}

/* --- consoles -------------------------------------------------------------------------------------------------------- */

static bool is_given(const char *s)
{
	return s != NULL && *s != '\0';
}

static int console_file_has_path(const struct cfg_vm *cfg, struct err *e)
{
	if (cfg->console.mode == CONSOLE_MODE_FILE && !is_given(cfg->console.file))
		return no(e, "console: mode File without a file");
	return 0;
}

static int serial_has_path(const struct cfg_vm *cfg, struct err *e)
{
	if (cfg->serial.mode == CONSOLE_MODE_FILE && !is_given(cfg->serial.file))
		return no(e, "serial: mode File without a file");
	if (cfg->serial.mode == CONSOLE_MODE_SOCKET && !is_given(cfg->serial.socket))
		return no(e, "serial: mode Socket without a socket");
	return 0;
}

static int console_is_placed_well(const struct cfg_vm *cfg, struct err *e)
{
	const struct cfg_console *c = &cfg->console;

	if (c->pci_segment != 0)
		return err_set(e, -ERR_INVALID, "console: PCI segment %u does not exist", (unsigned)c->pci_segment);
	if (c->has_pci_device_id && (c->pci_device_id == 0 || c->pci_device_id >= PCI_SLOTS))
		return err_set(e, -ERR_INVALID, "console: PCI slot %u cannot be had", (unsigned)c->pci_device_id);
	if (c->id != NULL && strncmp(c->id, "__", 2) == 0)
		return err_set(e, -ERR_INVALID, "console: id \"%s\" begins with \"__\"", c->id);
	return 0;
}

/* --- CPUs ------------------------------------------------------------------------------------------------------------ */

/* The reference boots a VM without any vCPU; refusing is better. */
static int cpus_at_least_one(const struct cfg_vm *cfg, struct err *e)
{
	return cfg->cpus.boot_vcpus > 0 ? 0 : no(e, "cpus: boot_vcpus is 0");
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
		return no(e, "cpus: a part of the topology is 0");
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

	return m->has_hugepage_size && !m->hugepages ? no(e, "memory: hugepage_size without hugepages") : 0;
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
		return no(e, "memory: shared and mergeable exclude each other");
	return 0;
}

static const struct rule boot_rules[] = {
	{ "payload_exists", payload_exists },
	{ "payload_firmware_or_kernel", payload_firmware_or_kernel },
	{ "console_file_has_path", console_file_has_path },
	{ "serial_has_path", serial_has_path },
	{ "cpus_at_least_one", cpus_at_least_one },
	{ "cpus_max_not_below_boot", cpus_max_not_below_boot },
	{ "cpus_not_too_many", cpus_not_too_many },
	{ "console_is_placed_well", console_is_placed_well },
	{ "topology_is_whole", topology_is_whole },
	{ "hugepage_size_needs_hugepages", hugepage_size_needs_hugepages },
	{ "hugepage_size_is_power_of_two", hugepage_size_is_power_of_two },
	{ "shared_excludes_mergeable", shared_excludes_mergeable },
};

/* --- what fails at boot ---------------------------------------------------------------------------------------------- */

static int memory_is_not_empty(const struct cfg_vm *cfg, struct err *e)
{
	if (cfg->memory.size > 0 || cfg->memory.n_zones > 0)
		return 0;
	return err_set(e, -EINVAL, "memory: size is 0");
}

static int memory_is_whole_pages(const struct cfg_vm *cfg, struct err *e)
{
	if (cfg->memory.size % 4096 == 0)
		return 0;
	return err_set(e, -EINVAL, "memory: size %" PRIu64 " is not a multiple of the page size", cfg->memory.size);
}

static const struct rule runtime_rules[] = {
	{ "memory_is_not_empty", memory_is_not_empty },
	{ "memory_is_whole_pages", memory_is_whole_pages },
};

static int run(const struct rule *rules, size_t n, const struct cfg_vm *cfg, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		int r = rules[i].check(cfg, e);

		if (r < 0) {
			log_debug("configuration: rule %s", rules[i].name);
			return r;
		}
	}
	return 0;
}

int rules_check_boot(const struct cfg_vm *cfg, struct err *e)
{
	return run(boot_rules, nitems(boot_rules), cfg, e);
}

int rules_check_runtime(const struct cfg_vm *cfg, struct err *e)
{
	return run(runtime_rules, nitems(runtime_rules), cfg, e);
}
