/* SPDX-License-Identifier: ISC */
/* From options to what they ask for. Everything refused here ends the run with status 1. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/str.h"
#include "proto/codec_kv.h"
#include "proto/opts_table.h"

static bool is_plain_object(const struct desc *d, const void *obj)
{
	for (unsigned i = 0; i < d->n; i++)
		if (!field_is_plain(&d->f[i], obj))
			return false;
	return true;
}

/* A device of a later build may be asked for in the one form that makes no difference: a balloon of size 0. */
static bool asks_for_nothing(const struct opt_desc *d, const char *value)
{
	bool plain;
	void *obj;

	if (d->kv == NULL || value == NULL)
		return false;
	obj = calloc(1, d->kv->size);
	if (obj == NULL)
		return false;
	plain = kv_decode(d->kv, obj, value, NULL) == 0 && is_plain_object(d->kv, obj);
	obj_fini(d->kv, obj);
	free(obj);
	return plain;
}

int opts_check_served(const struct opts *o, struct err *e)
{
	const char *seccomp = opts_value(o, OPT_SECCOMP);

	for (unsigned i = 0; i < OPT_COUNT; i++) {
		const struct opt_desc *d = &opt_table[i];

		if (!o->o[i].given || d->served == FS_SERVED || asks_for_nothing(d, opts_value(o, (enum opt_id)i)))
			continue;
		return err_set(e, -EINVAL, "--%s is not supported by this build", d->name);
	}
	if (seccomp != NULL && strcmp(seccomp, "true") != 0)
		return err_set(e, -EINVAL, "--seccomp %s is not supported by this build", seccomp);
	return 0;
}

bool opts_wants_vm(const struct opts *o)
{
	for (unsigned i = 0; i < OPT_COUNT; i++)
		if (o->o[i].given && opt_table[i].group == OG_PAYLOAD)
			return true;
	return false;
}

/* --- the VM ---------------------------------------------------------------------------------------------------------- */

/* Replace a defaulted object by what the option says, if it is given. */
static int parse_object(const struct opts *o, enum opt_id id, void *obj, struct err *e)
{
	const struct opt_desc *d = &opt_table[id];
	const char *text = opts_value(o, id);
	int r;

	if (text == NULL)
		return 0;
	obj_fini(d->kv, obj);
	r = kv_decode(d->kv, obj, text, e);
	return r < 0 ? err_wrap(e, r, "parsing --%s", d->name) : 0;
}

/* Each value of the option is one more element of the list. */
static int parse_list(const struct opts *o, enum opt_id id, struct cfg_vm *cfg, const char *member, struct err *e)
{
	const struct field_desc *f = desc_find(&desc_cfg_vm, member);
	const struct opt_desc *d = &opt_table[id];
	const struct opt_use *u = &o->o[id];
	char *list;
	int r = 0;

	if (u->n == 0)
		return 0;
	if (u->n > field_max(f)) {
		(void)err_set(e, -EINVAL, "%u of them, %u at most", u->n, (unsigned)field_max(f));
		return err_wrap(e, -EINVAL, "parsing --%s", d->name);
	}
	list = calloc(u->n, f->elem);
	if (list == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	field_set_ptr(f, cfg, list);
	field_set_count(f, cfg, u->n); /* zeroed elements are free to fini */
	field_set_has(f, cfg, true);
	for (unsigned i = 0; i < u->n && r == 0; i++)
		r = kv_decode(d->kv, list + i * f->elem, u->v[i], e);
	return r < 0 ? err_wrap(e, r, "parsing --%s", d->name) : 0;
}

/* What a foreign back end serves has no format. */
static void forget_image_types(struct cfg_vm *cfg)
{
	for (size_t i = 0; i < cfg->n_disks; i++)
		if (cfg->disks[i].vhost_socket != NULL)
			cfg->disks[i].image_type = IMAGE_TYPE_UNKNOWN;
}

static int parse_devices(const struct opts *o, struct cfg_vm *cfg, struct err *e)
{
	int r = parse_list(o, OPT_RATE_LIMIT_GROUP, cfg, "rate_limit_groups", e);

	if (r == 0)
		r = parse_list(o, OPT_DISK, cfg, "disks", e);
	if (r == 0)
		r = parse_list(o, OPT_NET, cfg, "net", e);
	if (r == 0)
		r = parse_object(o, OPT_RNG, &cfg->rng, e);
	if (r == 0)
		r = parse_object(o, OPT_CONSOLE, &cfg->console, e);
	if (r == 0)
		r = parse_object(o, OPT_SERIAL, &cfg->serial, e);
	if (r == 0)
		r = parse_object(o, OPT_DEBUG_CONSOLE, &cfg->debug_console, e);
	if (r == 0)
		forget_image_types(cfg);
	return r;
}

static int take_text(const struct opts *o, enum opt_id id, uint64_t max, char **out, struct err *e)
{
	const char *v = opts_value(o, id);

	if (v == NULL)
		return 0;
	if (strlen(v) > max) {
		err_set(e, -EINVAL, "text too long");
		return err_wrap(e, -EINVAL, "parsing --%s", opt_table[id].name);
	}
	*out = strdup(v);
	return *out != NULL ? 0 : err_set(e, -ENOMEM, "out of memory");
}

static int take_payload(const struct opts *o, struct cfg_vm *cfg, struct err *e)
{
	struct cfg_payload *p = &cfg->payload;
	const struct desc *d = &desc_cfg_payload;
	int r;

	cfg->has_payload = true;
	r = take_text(o, OPT_KERNEL, field_value_max(desc_find(d, "kernel")), &p->kernel, e);
	if (r == 0)
		r = take_text(o, OPT_CMDLINE, field_value_max(desc_find(d, "cmdline")), &p->cmdline, e);
	if (r == 0)
		r = take_text(o, OPT_INITRAMFS, field_value_max(desc_find(d, "initramfs")), &p->initramfs, e);
	return r;
}

int opts_to_config(const struct opts *o, struct cfg_vm *cfg, struct err *e)
{
	int r;

	obj_init(&desc_cfg_vm, cfg);
	r = parse_object(o, OPT_CPUS, &cfg->cpus, e);
	if (r == 0)
		r = parse_object(o, OPT_MEMORY, &cfg->memory, e);
	if (r == 0)
		r = parse_devices(o, cfg, e);
	if (r == 0)
		r = take_payload(o, cfg, e);
	if (r == 0)
		return 0;
	obj_fini(&desc_cfg_vm, cfg);
	return err_wrap(e, r, "parsing config");
}

/* --- --api-socket ---------------------------------------------------------------------------------------------------- */

#define SOCKET_ARG_FIELDS(F, S) \
	F(S, STR, path, NULLABLE, 0, ANY, SERVED, "path", .kv = KV_STR) \
	F(S, STR, fd, NULLABLE, 0, ANY, SERVED, "descriptor", .kv = KV_STR)
struct socket_arg {
	SOCKET_ARG_FIELDS(CFG_MEMBER, socket_arg)
};
static const struct field_desc socket_arg_fields[] = { SOCKET_ARG_FIELDS(CFG_FIELD, socket_arg) };
static const struct desc desc_socket_arg = {
	.name = "api-socket",
	.size = sizeof(struct socket_arg),
	.n = nitems(socket_arg_fields),
	.f = socket_arg_fields,
};

static int take_socket_path(const char *path, struct api_socket_arg *out, struct err *e)
{
	if (*path == '\0')
		return err_set(e, -EINVAL, "--api-socket: the path is empty");
	if (!str_fmt(out->path, sizeof(out->path), "%s", path))
		return err_set(e, -EINVAL, "--api-socket: the path is too long");
	return 0;
}

int opts_parse_api_socket(const char *value, struct api_socket_arg *out, struct err *e)
{
	struct socket_arg arg;
	uint64_t fd = 0;
	int r;

	*out = (struct api_socket_arg){ .fd = -1 };
	if (kv_decode(&desc_socket_arg, &arg, value, NULL) < 0 || (arg.fd == NULL && arg.path == NULL)) {
		/* not in that form at all: the whole of it is a path (kv_decode left nothing behind) */
		return take_socket_path(value, out, e);
	}
	if (arg.fd == NULL) {
		r = take_socket_path(arg.path, out, e);
	} else {
		r = str_to_u64(arg.fd, 0, INT_MAX, &fd);
		if (r < 0)
			r = err_set(e, -EINVAL, "--api-socket: fd=%s is not a descriptor number", arg.fd);
		else
			out->fd = (int)fd;
	}
	obj_fini(&desc_socket_arg, &arg);
	return r;
}
