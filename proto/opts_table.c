/* SPDX-License-Identifier: ISC */
#include "proto/opts_table.h"

#define FORM_TEXT NULL
#define FORM_KEYS(object) &desc_##object
#define OPT_ROW(id, optname, GROUP, ARG, SERVED, optflags, FORM, dflt, text) \
	[OPT_##id] = { .name = optname, .group = OG_##GROUP, .arg = OA_##ARG, .served = FS_##SERVED, .flags = (optflags), \
		       .def = (dflt), .help = (text), .kv = FORM_##FORM },

const struct opt_desc opt_table[OPT_COUNT] = { OPTIONS(OPT_ROW) };
