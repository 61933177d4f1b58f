/* SPDX-License-Identifier: ISC */
/* The command line of cloister: exact parsing from one table (options.def), help, version, and the VM it describes. */
#ifndef PROTO_OPTS_H
#define PROTO_OPTS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "proto/config.h"
#include "proto/options.def"

#define OPT_ID(id, ...) OPT_##id,
enum opt_id { OPTIONS(OPT_ID) OPT_COUNT };
#undef OPT_ID

/* What the starter needs before any jail exists. Texts are borrowed from argv. */
struct start_opts {
	bool help_or_version;
	const char *api_socket; /* as written */
	const char *log_file;
	unsigned verbosity;
};

/* Tolerant: picks the last of each, never fails; whatever is wrong is told by opts_parse() in apid. 0. */
int opts_scan_start(int argc, char *const *argv, struct start_opts *out);

/* One option's use. Texts are borrowed from argv. */
struct opt_use {
	bool given;
	unsigned n;
	const char **v; /* n values, in order */
};

struct opts {
	struct opt_use o[OPT_COUNT];
	unsigned verbosity; /* -v count */
	bool help, version;
};

/* Strict. 0; -EINVAL: usage error, the text is for after "error: " (exit 2); -ENOMSG: no arguments at all (exit 2, the
 * text is the help); -ENOMEM. opts_usage() makes the text of both. --help and --version win over what is missing, not
 * over what is malformed before them. @o needs no init and is to be freed by opts_fini() after success only. */
int opts_parse(int argc, char *const *argv, struct opts *o, struct err *e) __must_check;
void opts_fini(struct opts *o);

/* Last value given, NULL when the option was not given or has none. */
const char *opts_value(const struct opts *o, enum opt_id id);
bool opts_given(const struct opts *o, enum opt_id id);

/* Options that are known but not served by this build (also "--seccomp" other than true): the run ends with status 1.
 * After --help and --version were looked at. 0 or -EINVAL. */
int opts_check_served(const struct opts *o, struct err *e) __must_check;

/* Does the command line ask for a VM (a payload option is given)? */
bool opts_wants_vm(const struct opts *o);
/* The VM it asks for. The chain is "parsing config", "parsing --cpus", detail (exit 1). @cfg needs no init; free with
 * obj_fini(&desc_cfg_vm, cfg) after success. */
int opts_to_config(const struct opts *o, struct cfg_vm *cfg, struct err *e) __must_check;

/* --api-socket's value taken apart. */
struct api_socket_arg {
	int fd;          /* -1: a path */
	char path[4096]; /* "" with fd */
};
/* 0, or -EINVAL: the run ends with status 1. */
int opts_parse_api_socket(const char *value, struct api_socket_arg *out, struct err *e) __must_check;

/* Texts. @argv0 may be NULL. */
int opts_help(struct wbuf *out, const char *argv0);
/* What stderr gets for a failed opts_parse(): "error: ...", usage line, hint; or the help. */
int opts_usage(struct wbuf *out, const char *argv0, const struct err *e);
int opts_version(struct wbuf *out, unsigned verbosity);

#endif
