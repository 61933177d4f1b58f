/* SPDX-License-Identifier: ISC */
#include "apid/actions/boot_plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/log.h"
#include "common/str.h"

enum { NAME_MAX_BYTES = 32, MAC_BYTES = 6, MAC_TEXT = 18 };

/* --- ids -------------------------------------------------------------------------------------------------------------- */

static bool is_same(const char *a, const char *b)
{
	return a != NULL && strcmp(a, b) == 0;
}

static bool is_used(const struct cfg_vm *cfg, const char *id)
{
	for (size_t i = 0; i < cfg->n_rate_limit_groups; i++)
		if (is_same(cfg->rate_limit_groups[i].id, id))
			return true;
	for (size_t i = 0; i < cfg->n_disks; i++)
		if (is_same(cfg->disks[i].id, id))
			return true;
	for (size_t i = 0; i < cfg->n_net; i++)
		if (is_same(cfg->net[i].id, id))
			return true;
	return is_same(cfg->rng.id, id) || is_same(cfg->console.id, id);
}

/* @counter: of all prefixes, goes on with each name. */
static int name_device(const struct cfg_vm *cfg, const char *prefix, unsigned *counter, char **id, struct err *e)
{
	char name[NAME_MAX_BYTES];

	if (*id != NULL)
		return 0;
	do
		(void)str_fmt(name, sizeof(name), "%s%u", prefix, (*counter)++);
	while (is_used(cfg, name));
	*id = strdup(name);
	return *id != NULL ? 0 : err_set(e, -ENOMEM, "out of memory");
}

/* --- addresses -------------------------------------------------------------------------------------------------------- */

/* Locally administered, for one receiver (IEEE 802: bit 1 set, bit 0 clear).
 * #syscalls apid: getrandom */
static int give_mac(char **mac, struct err *e)
{
	uint8_t b[MAC_BYTES] = { 0x2e };
	char text[MAC_TEXT];

	if (*mac != NULL)
		return 0;
	if (getrandom(b + 1, sizeof(b) - 1, 0) != (ssize_t)sizeof(b) - 1)
		return err_sys(e, -errno, "getrandom");
	(void)str_fmt(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
	*mac = strdup(text);
	return *mac != NULL ? 0 : err_set(e, -ENOMEM, "out of memory");
}

int boot_plan_names(struct cfg_vm *cfg, struct err *e)
{
	unsigned counter = 0;
	int r = 0;

	for (size_t i = 0; i < cfg->n_disks && r == 0; i++)
		r = name_device(cfg, "_disk", &counter, &cfg->disks[i].id, e);
	for (size_t i = 0; i < cfg->n_net && r == 0; i++) {
		r = name_device(cfg, "_net", &counter, &cfg->net[i].id, e);
		if (r == 0)
			r = give_mac(&cfg->net[i].mac, e);
	}
	return r;
}

/* --- images ----------------------------------------------------------------------------------------------------------- */

enum image_type boot_plan_image_type(const struct cfg_disk *d)
{
	return d->image_detected ? IMAGE_TYPE_UNKNOWN : d->image_type;
}

static const char *type_name(uint32_t type)
{
	return enum_image_type.names[type].json;
}

static int take_type(struct cfg_disk *d, uint32_t found, struct err *e)
{
	if (found >= enum_image_type.n)
		return err_set(e, -EBADMSG, "disk \"%s\": unknown image type %" PRIu32, d->id, found);
	if (found == IMAGE_TYPE_UNKNOWN)
		return 0;
	if (d->image_type == IMAGE_TYPE_UNKNOWN) {
		d->image_detected = true;
		d->image_type = found;
		log_info("disk \"%s\": image_type is not given, found %s", d->id, type_name(found)); /* its helper warns */
	}
	if (d->image_type == found)
		return 0;
	return err_set(e, -EINVAL, "disk \"%s\": the image is %s, not %s", d->id, type_name(found),
		       type_name(d->image_type));
}

int boot_plan_details(struct cfg_vm *cfg, const struct msg_mon_handover_result *res, struct err *e)
{
	for (size_t i = 0; i < res->n_details; i++) {
		const struct msg_dev_detail *d = &res->details[i];

		if (d->kind != DEV_DISK)
			continue;
		if (d->index >= cfg->n_disks)
			return err_set(e, -EBADMSG, "there is no disk %" PRIu32, d->index);
		int r = take_type(&cfg->disks[d->index], d->detail, e);
		if (r < 0)
			return r;
	}
	return 0;
}

bool boot_plan_uses_group(const struct cfg_vm *cfg, const char *id)
{
	for (size_t i = 0; i < cfg->n_disks; i++)
		if (is_same(cfg->disks[i].rate_limit_group, id))
			return true;
	return false;
}
