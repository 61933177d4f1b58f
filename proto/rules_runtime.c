/* SPDX-License-Identifier: ISC */
/* What the schema and the rules let pass and no boot can be made of. */
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/un.h>

#include "proto/rules_internal.h"

enum {
	QUEUES_MAX = 256,                 /* of a device: two descriptors each */
	NET_QUEUES_MAX = QUEUES_MAX - 2, /* one of them is the control queue, the others come in pairs */
	QUEUE_SIZE_MIN = 4,
	PCI_SLOTS = 32,
	TAP_NAME_MAX = 15, /* IFNAMSIZ without the NUL */
	ID_MAX = 240,      /* with the prefix of its PCI node still below 256 */
};

#define PCI_NODE "_virtio-pci-"

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

/* --- devices --------------------------------------------------------------------------------------------------------- */

static int check_path(const char *what, const char *path, size_t size, struct err *e)
{
	size_t len = strlen(path);

	if (len == 0)
		return err_set(e, -EINVAL, "%s is empty", what);
	if (len >= size)
		return err_set(e, -ENAMETOOLONG, "%s has %zu bytes, more than %zu", what, len, size - 1);
	return 0;
}

static int check_socket(const char *path, struct err *e)
{
	struct sockaddr_un *addr = NULL;

	return check_path("vhost_socket", path, sizeof(addr->sun_path), e);
}

static int check_id(const char *id, struct err *e)
{
	if (id == NULL)
		return 0;
	if (*id == '\0')
		return err_set(e, -EINVAL, "the id is empty");
	if (strlen(id) > ID_MAX)
		return err_set(e, -EINVAL, "the id has %zu bytes, more than %d", strlen(id), ID_MAX);
	if (strncmp(id, PCI_NODE, sizeof(PCI_NODE) - 1) == 0)
		return err_set(e, -EINVAL, "id \"%s\": such names are those of PCI devices", id);
	return 0;
}

static int check_queues(uint64_t n, uint64_t max, uint16_t size, struct err *e)
{
	if (n == 0)
		return err_set(e, -EINVAL, "num_queues is 0");
	if (n > max)
		return err_set(e, -EINVAL, "num_queues %" PRIu64 " is above %" PRIu64 ", the most that this build serves", n,
			       max);
	if (size < QUEUE_SIZE_MIN)
		return err_set(e, -EINVAL, "queue_size %u is too small", (unsigned)size);
	return 0;
}

static int check_image_type(const struct cfg_disk *d, struct err *e)
{
	if (d->image_type == IMAGE_TYPE_RAW || d->image_type == IMAGE_TYPE_UNKNOWN)
		return 0;
	return err_set(e, -EINVAL, "image_type %s is not supported by this build",
		       enum_image_type.names[d->image_type].json);
}

static int check_disk(const struct cfg_disk *d, struct err *e)
{
	int r = check_id(d->id, e);

	if (r == 0)
		r = check_queues(d->num_queues, QUEUES_MAX, d->queue_size, e);
	if (r < 0 || d->vhost_user)
		return r < 0 ? r : check_socket(d->vhost_socket, e);
	if (d->path == NULL)
		return err_set(e, -EINVAL, "neither path nor vhost_user with vhost_socket is given");
	r = check_path("path", d->path, PATH_MAX, e);
	return r < 0 ? r : check_image_type(d, e);
}

static int disks_can_be_made(const struct cfg_vm *cfg, struct err *e)
{
	for (size_t i = 0; i < cfg->n_disks; i++) {
		int r = check_disk(&cfg->disks[i], e);

		if (r < 0)
			return rules_of_device(e, r, "disk", "disks", i, cfg->disks[i].id);
	}
	return 0;
}

static int check_net(const struct cfg_net *n, struct err *e)
{
	int r = check_id(n->id, e);

	if (r == 0)
		r = check_queues(n->num_queues, NET_QUEUES_MAX, n->queue_size, e);
	if (r < 0 || n->vhost_user)
		return r < 0 ? r : check_socket(n->vhost_socket, e);
	if (n->tap != NULL && (*n->tap == '\0' || strlen(n->tap) > TAP_NAME_MAX || strchr(n->tap, '/') != NULL))
		return err_set(e, -EINVAL, "\"%.64s\" cannot be the name of an interface", n->tap);
	return 0;
}

static int nets_can_be_made(const struct cfg_vm *cfg, struct err *e)
{
	for (size_t i = 0; i < cfg->n_net; i++) {
		int r = check_net(&cfg->net[i], e);

		if (r < 0)
			return rules_of_device(e, r, "net", "net", i, cfg->net[i].id);
	}
	return 0;
}

static int rng_can_be_made(const struct cfg_vm *cfg, struct err *e)
{
	int r = check_id(cfg->rng.id, e);

	if (r == 0 && cfg->rng.src != NULL)
		r = check_path("src", cfg->rng.src, PATH_MAX, e);
	return r < 0 ? err_wrap(e, r, "rng") : 0;
}

static int console_can_be_made(const struct cfg_vm *cfg, struct err *e)
{
	int r = check_id(cfg->console.id, e);

	return r < 0 ? err_wrap(e, r, "console") : 0;
}

static int groups_have_short_names(const struct cfg_vm *cfg, struct err *e)
{
	for (size_t i = 0; i < cfg->n_rate_limit_groups; i++) {
		int r = check_id(cfg->rate_limit_groups[i].id, e);

		if (r < 0)
			return rules_of_device(e, r, "rate limit group", "rate_limit_groups", i, NULL);
	}
	return 0;
}

/* --- slots ----------------------------------------------------------------------------------------------------------- */

struct slots {
	uint32_t taken; /* a bit each */
	unsigned devices;
};

static int take_slot(struct slots *s, bool has_slot, uint8_t slot, struct err *e)
{
	s->devices++;
	if (!has_slot)
		return 0;
	if ((s->taken >> slot & 1) != 0) /* below 32: a rule */
		return err_set(e, -EINVAL, "PCI slot %u is taken by two devices", (unsigned)slot);
	s->taken |= UINT32_C(1) << slot;
	return 0;
}

/* Slot 0 is the host bridge. */
static int slots_are_enough(const struct cfg_vm *cfg, struct err *e)
{
	struct slots s = { .taken = 1 };
	int r = 0;

	if (cfg->console.mode != CONSOLE_MODE_OFF)
		r = take_slot(&s, cfg->console.has_pci_device_id, cfg->console.pci_device_id, e);
	for (size_t i = 0; i < cfg->n_disks && r == 0; i++)
		r = take_slot(&s, cfg->disks[i].has_pci_device_id, cfg->disks[i].pci_device_id, e);
	for (size_t i = 0; i < cfg->n_net && r == 0; i++)
		r = take_slot(&s, cfg->net[i].has_pci_device_id, cfg->net[i].pci_device_id, e);
	if (r == 0)
		r = take_slot(&s, cfg->rng.has_pci_device_id, cfg->rng.pci_device_id, e);
	if (r == 0 && s.devices > PCI_SLOTS - 1)
		r = err_set(e, -EINVAL, "%u devices, PCI segment 0 has room for %d", s.devices, PCI_SLOTS - 1);
	return r;
}

static const struct rule runtime_rules[] = {
	{ "memory_is_not_empty", memory_is_not_empty },
	{ "memory_is_whole_pages", memory_is_whole_pages },
	{ "groups_have_short_names", groups_have_short_names },
	{ "console_can_be_made", console_can_be_made },
	{ "disks_can_be_made", disks_can_be_made },
	{ "nets_can_be_made", nets_can_be_made },
	{ "rng_can_be_made", rng_can_be_made },
	{ "slots_are_enough", slots_are_enough },
};

int rules_check_runtime(const struct cfg_vm *cfg, struct err *e)
{
	return rules_run(runtime_rules, nitems(runtime_rules), cfg, e);
}
