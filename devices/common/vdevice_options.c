/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/str.h"
#include "devices/common/vdevice_alone.h"
#include "proto/version.h"

enum { FD_HIGHEST = 1 << 20 };

struct parse {
	const struct vdevice_ops *ops;
	void *dev;
	struct alone_options *out;
};

static const char common_help[] =
	"  --socket-path=PATH    make a UNIX socket here, wait for vhost-user front ends, one after the other\n"
	"  --fd=N                use this inherited UNIX socket, connected or listening\n"
	"  --help                print this text\n"
	"  --version             print the version\n";

static void print_help(const struct vdevice_ops *ops)
{
	printf("Usage: cloister-%s --socket-path=PATH | --fd=N [OPTION]...\n\n%s", ops->name, common_help);
	for (const struct vdevice_option *o = ops->options; o != NULL && o->name != NULL; o++) {
		char left[64];

		(void)str_fmt(left, sizeof(left), "--%s%s%s", o->name, o->value != NULL ? "=" : "",
			      o->value != NULL ? o->value : "");
		printf("  %-21s %s\n", left, o->help);
	}
}

static int take_fd(struct parse *p, const char *value, struct err *e)
{
	uint64_t n;

	if (str_to_u64(value, 3, FD_HIGHEST, &n) < 0)
		return err_set(e, -EINVAL, "--fd: \"%s\" is not a descriptor's number", value);
	p->out->fd = (int)n;
	return 0;
}

static int take_device_option(struct parse *p, const char *name, size_t len, const char *value, bool *used, struct err *e)
{
	const struct vdevice_option *o = p->ops->options;

	while (o != NULL && o->name != NULL && (strlen(o->name) != len || memcmp(o->name, name, len) != 0))
		o++;
	if (o == NULL || o->name == NULL)
		return err_set(e, -EINVAL, "--%.*s: no such option", (int)len, name);
	*used = o->value != NULL;
	if (o->value != NULL && value == NULL)
		return err_set(e, -EINVAL, "--%s: %s is missing", o->name, o->value);
	int r = o->take(p->dev, o->value != NULL ? value : NULL, e);
	return r < 0 ? err_wrap(e, -EINVAL, "--%s", o->name) : 0;
}

static bool is(const char *name, size_t len, const char *what)
{
	return strlen(what) == len && memcmp(name, what, len) == 0;
}

/* One option. @value is what follows '=', or else the next argument; *@used tells whether it was wanted. */
static int take(struct parse *p, const char *name, size_t len, const char *value, bool *used, struct err *e)
{
	bool is_path = is(name, len, "socket-path");

	*used = false;
	if (is(name, len, "help")) {
		print_help(p->ops);
		return 1;
	}
	if (is(name, len, "version")) {
		printf("cloister-%s %s\n", p->ops->name, CLOISTER_BUILD);
		return 1;
	}
	if (!is_path && !is(name, len, "fd"))
		return take_device_option(p, name, len, value, used, e);
	*used = true;
	if (value == NULL || *value == '\0')
		return err_set(e, -EINVAL, "--%.*s: a value is missing", (int)len, name);
	if (!is_path)
		return take_fd(p, value, e);
	p->out->socket_path = value;
	return 0;
}

int alone_options_parse(const struct vdevice_ops *ops, void *dev, int argc, char **argv, struct alone_options *out,
			struct err *e)
{
	struct parse p = { ops, dev, out };

	*out = (struct alone_options){ .fd = -1 };
	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];
		bool used;

		if (strncmp(arg, "--", 2) != 0 || arg[2] == '\0')
			return err_set(e, -EINVAL, "\"%s\" is no option", arg);
		const char *eq = strchr(arg, '=');
		size_t len = eq != NULL ? (size_t)(eq - arg - 2) : strlen(arg + 2);
		int r = take(&p, arg + 2, len, eq != NULL ? eq + 1 : argv[i + 1], &used, e);
		if (r != 0)
			return r;
		if (eq != NULL && !used)
			return err_set(e, -EINVAL, "--%.*s takes no value", (int)len, arg + 2);
		i += eq == NULL && used;
	}
	if ((out->socket_path != NULL) == (out->fd >= 0))
		return err_set(e, -EINVAL, "exactly one of --socket-path and --fd is needed");
	return 0;
}
