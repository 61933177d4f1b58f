/* SPDX-License-Identifier: ISC */
/*
 * Taking argv apart. One walker turns argv into uses of options; the starter's tolerant look and apid's strict parse
 * differ only in what they do with a use and with an error.
 */
#include "proto/opts.h"

#include <stdlib.h>
#include <string.h>

#include "common/str.h"
#include "proto/opts_table.h"

/* --- the walker ------------------------------------------------------------------------------------------------------ */

struct walk {
	int argc;
	char *const *argv;
	int i; /* next argument */
	struct err *e;
	void *ctx;
	/* One occurrence of an option; @v NULL: without a value. */
	int (*use)(void *ctx, enum opt_id id, const char *v, bool first_of_occurrence, struct err *e);
	bool stop;
};

static bool is_value(const char *arg)
{
	return arg[0] != '-' || arg[1] == '\0';
}

static const struct opt_desc *find_long(const char *name, size_t len, enum opt_id *id)
{
	for (unsigned i = 0; i < OPT_COUNT; i++) {
		if (i == OPT_VERBOSE || strlen(opt_table[i].name) != len || strncmp(opt_table[i].name, name, len) != 0)
			continue;
		*id = (enum opt_id)i;
		return &opt_table[i];
	}
	return NULL;
}

static int unexpected(struct walk *w, const char *arg)
{
	return err_set(w->e, -EINVAL, "unexpected argument '%s' found", arg);
}

static int value_missing(struct walk *w, const struct opt_desc *o)
{
	return err_set(w->e, -EINVAL, "a value is required for '--%s <%s>' but none was supplied", o->name, o->name);
}

/* The values that follow an option written without "=". */
static int take_values(struct walk *w, const struct opt_desc *o, enum opt_id id)
{
	bool first = true;
	int r = 0;

	while (r == 0 && w->i < w->argc && is_value(w->argv[w->i]) && (first || o->arg == OA_MULTI)) {
		r = w->use(w->ctx, id, w->argv[w->i++], first, w->e);
		first = false;
	}
	if (r < 0 || !first)
		return r;
	return o->arg == OA_OPTIONAL ? w->use(w->ctx, id, NULL, true, w->e) : value_missing(w, o);
}

static int take_long(struct walk *w, const char *arg)
{
	const char *eq = strchr(arg, '=');
	size_t len = eq != NULL ? (size_t)(eq - arg) : strlen(arg);
	enum opt_id id = OPT_COUNT;
	const struct opt_desc *o = find_long(arg, len, &id);

	if (o == NULL)
		return err_set(w->e, -EINVAL, "unexpected argument '--%.*s' found", (int)(len > 4096 ? 4096 : len), arg);
	if (o->arg == OA_FLAG) {
		if (eq != NULL)
			return err_set(w->e, -EINVAL, "unexpected value '%s' for '--%s' found; no more were expected",
				       eq + 1, o->name);
		return w->use(w->ctx, id, NULL, true, w->e);
	}
	if (eq != NULL)
		return w->use(w->ctx, id, eq + 1, true, w->e);
	return take_values(w, o, id);
}

/* "-v", "-vvV", ... */
static int take_short(struct walk *w, const char *arg)
{
	int r = 0;

	for (const char *p = arg + 1; *p != '\0' && r == 0 && !w->stop; p++) {
		if (*p == 'v')
			r = w->use(w->ctx, OPT_VERBOSE, NULL, true, w->e);
		else if (*p == 'V')
			r = w->use(w->ctx, OPT_VERSION, NULL, true, w->e);
		else if (*p == 'h')
			r = w->use(w->ctx, OPT_HELP, NULL, true, w->e);
		else
			r = err_set(w->e, -EINVAL, "unexpected argument '-%c' found", *p >= ' ' && *p < 127 ? *p : '?');
		w->stop = w->stop || *p == 'h';
	}
	return r;
}

static int take_argument(struct walk *w)
{
	const char *arg = w->argv[w->i++];

	if (strcmp(arg, "--") == 0) {
		w->stop = true;
		return w->i < w->argc ? unexpected(w, w->argv[w->i]) : 0;
	}
	if (is_value(arg))
		return unexpected(w, arg);
	if (arg[1] != '-')
		return take_short(w, arg);
	/* help answers where it stands, whatever follows */
	w->stop = strcmp(arg, "--help") == 0;
	return take_long(w, arg + 2);
}

/* --- the starter's look ---------------------------------------------------------------------------------------------- */

static int use_start(void *ctx, enum opt_id id, const char *v, bool first, struct err *e)
{
	struct start_opts *s = ctx;

	(void)first;
	(void)e;
	if ((opt_table[id].flags & OF_START) == 0)
		return 0;
	if (id == OPT_API_SOCKET)
		s->api_socket = v;
	else if (id == OPT_LOG_FILE)
		s->log_file = v;
	else if (id == OPT_VERBOSE)
		s->verbosity++;
	else if (id == OPT_HELP || id == OPT_VERSION)
		s->help_or_version = true;
	return 0;
}

int opts_scan_start(int argc, char *const *argv, struct start_opts *out)
{
	struct walk w = { .argc = argc, .argv = argv, .i = 1, .ctx = out, .use = use_start };

	memset(out, 0, sizeof(*out));
	if (argc <= 1)
		out->help_or_version = true;
	while (w.i < argc && !w.stop)
		(void)take_argument(&w); /* goes on behind what is wrong */
	return 0;
}

/* --- the strict parse ------------------------------------------------------------------------------------------------ */

static int add_value(struct opt_use *u, const char *v)
{
	const char **p = realloc(u->v, (u->n + 1) * sizeof(*p)); /* n is below argc */

	if (p == NULL)
		return -ENOMEM;
	u->v = p;
	u->v[u->n++] = v;
	return 0;
}

static int use_strict(void *ctx, enum opt_id id, const char *v, bool first, struct err *e)
{
	struct opts *o = ctx;
	struct opt_use *u = &o->o[id];
	const struct opt_desc *d = &opt_table[id];

	if (id == OPT_VERBOSE)
		o->verbosity++;
	else if (u->given && first && d->arg != OA_MULTI)
		return err_set(e, -EINVAL, "the argument '--%s%s%s%s' cannot be used multiple times", d->name,
			       d->arg == OA_FLAG ? "" : " <", d->arg == OA_FLAG ? "" : d->name,
			       d->arg == OA_FLAG ? "" : ">");
	u->given = true;
	o->help = o->help || id == OPT_HELP;
	o->version = o->version || id == OPT_VERSION;
	if (v != NULL && add_value(u, v) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	return 0;
}

static int check_utf8(int argc, char *const *argv, struct err *e)
{
	for (int i = 1; i < argc; i++)
		if (!str_is_utf8(argv[i], strlen(argv[i])))
			return err_set(e, -EINVAL, "invalid UTF-8 was detected in argument %d", i);
	return 0;
}

static int check_seccomp(const struct opts *o, struct err *e)
{
	static const char *const values[] = { "true", "false", "log", "errno" };
	const char *v = opts_value(o, OPT_SECCOMP);

	if (v == NULL)
		return 0;
	for (size_t i = 0; i < nitems(values); i++)
		if (strcmp(v, values[i]) == 0)
			return 0;
	return err_set(e, -EINVAL, "invalid value '%s' for '--seccomp <seccomp>'", v);
}

/* Options that describe a VM make sense only beside one that says what it boots. */
static int check_groups(const struct opts *o, struct err *e)
{
	const struct opt_desc *vm = NULL;

	for (unsigned i = 0; i < OPT_COUNT; i++) {
		if (!o->o[i].given)
			continue;
		if (opt_table[i].group == OG_PAYLOAD)
			return 0;
		if (opt_table[i].group == OG_VM && vm == NULL)
			vm = &opt_table[i];
	}
	if (vm == NULL)
		return 0;
	return err_set(e, -EINVAL, "'--%s' needs one of '--kernel <kernel>', '--firmware <firmware>'", vm->name);
}

int opts_parse(int argc, char *const *argv, struct opts *o, struct err *e)
{
	struct walk w = { .argc = argc, .argv = argv, .i = 1, .e = e, .ctx = o, .use = use_strict };
	int r;

	memset(o, 0, sizeof(*o));
	if (argc <= 1)
		return err_set(e, -ENOMSG, "no arguments");
	r = check_utf8(argc, argv, e);
	while (r == 0 && w.i < argc && !w.stop)
		r = take_argument(&w);
	if (r == 0 && !o->help)
		r = check_seccomp(o, e);
	if (r == 0 && !o->help && !o->version)
		r = check_groups(o, e);
	if (r < 0)
		opts_fini(o);
	return r;
}

void opts_fini(struct opts *o)
{
	for (unsigned i = 0; i < OPT_COUNT; i++)
		free(o->o[i].v);
	memset(o, 0, sizeof(*o));
}

const char *opts_value(const struct opts *o, enum opt_id id)
{
	return o->o[id].n > 0 ? o->o[id].v[o->o[id].n - 1] : NULL;
}

bool opts_given(const struct opts *o, enum opt_id id)
{
	return o->o[id].given;
}
