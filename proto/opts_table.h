/* SPDX-License-Identifier: ISC */
/* options.def as a table, for the parser, the texts and schema_print. */
#ifndef PROTO_OPTS_TABLE_H
#define PROTO_OPTS_TABLE_H

#include "proto/opts.h"

enum opt_group { OG_NONE, OG_VMM, OG_LOG, OG_VM, OG_PAYLOAD };
enum opt_arg { OA_FLAG, OA_VALUE, OA_MULTI, OA_OPTIONAL, OA_COUNT };
enum { OF_START = 1u << 0 };

struct opt_desc {
	const char *name;
	enum opt_group group;
	enum opt_arg arg;
	enum served served;
	unsigned flags;
	const char *def;  /* as help shows it, NULL: none */
	const char *help;
	const struct desc *kv; /* of a key=value option */
};

extern const struct opt_desc opt_table[OPT_COUNT];

#endif
