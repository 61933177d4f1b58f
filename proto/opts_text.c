/* SPDX-License-Identifier: ISC */
/* What --help, --version and a usage error print. No text of --version holds a "/": a client would take it for a path. */
#include <errno.h>
#include <string.h>

#include "proto/codec_kv.h"
#include "proto/opts_table.h"
#include "proto/version.h"

static const char *base_name(const char *argv0)
{
	const char *slash;

	if (argv0 == NULL || *argv0 == '\0')
		return "cloister";
	slash = strrchr(argv0, '/');
	return slash != NULL && slash[1] != '\0' ? slash + 1 : argv0;
}

static void put_option(struct wbuf *out, const struct opt_desc *o, enum opt_id id)
{
	if (id == OPT_VERBOSE)
		(void)wbuf_str(out, "  -v...");
	else if (id == OPT_HELP)
		(void)wbuf_str(out, "  -h, --help");
	else if (id == OPT_VERSION)
		(void)wbuf_str(out, "  -V, --version");
	else if (o->arg == OA_FLAG)
		(void)wbuf_printf(out, "      --%s", o->name);
	else if (o->arg == OA_OPTIONAL)
		(void)wbuf_printf(out, "      --%s [<%s>]", o->name, o->name);
	else
		(void)wbuf_printf(out, "      --%s <%s>%s", o->name, o->name, o->arg == OA_MULTI ? "..." : "");
	(void)wbuf_printf(out, "\n          %s", o->help);
	if (o->kv != NULL) {
		(void)wbuf_str(out, ": ");
		(void)kv_help(o->kv, out);
	}
	if (id == OPT_SECCOMP)
		(void)wbuf_str(out, " [possible values: true]");
	if (o->def != NULL)
		(void)wbuf_printf(out, " [default: %s]", o->def);
	(void)wbuf_str(out, "\n");
}

int opts_help(struct wbuf *out, const char *argv0)
{
	(void)wbuf_printf(out, "Run a virtual machine of jailed processes\n\nUsage: %s [OPTIONS]\n\nOptions:\n",
			  base_name(argv0));
	for (unsigned i = 0; i < OPT_COUNT; i++)
		if (opt_table[i].served == FS_SERVED)
			put_option(out, &opt_table[i], (enum opt_id)i);
	return out->error;
}

int opts_usage(struct wbuf *out, const char *argv0, const struct err *e)
{
	if (e == NULL || err_code(e, 0) == -ENOMSG)
		return opts_help(out, argv0);
	return wbuf_printf(out, "error: %s\n\nUsage: %s [OPTIONS]\n\nFor more information, try '--help'.\n", err_text(e, 0),
			   base_name(argv0));
}

int opts_version(struct wbuf *out, unsigned verbosity)
{
#define FEATURE(name) "\"" name "\"",
	static const char *const features[] = { CLOISTER_FEATURES(FEATURE) };
#undef FEATURE

	(void)wbuf_printf(out, "cloud-hypervisor %s\nMigration Protocol Versions: %s\n", CLOISTER_BUILD,
			  CLOISTER_MIGRATION_VERSIONS);
	if (verbosity == 0)
		return out->error;
	(void)wbuf_str(out, "Enabled features: [");
	for (size_t i = 0; i < nitems(features); i++)
		(void)wbuf_printf(out, "%s%s", i > 0 ? ", " : "", features[i]);
	return wbuf_str(out, "]\n");
}
