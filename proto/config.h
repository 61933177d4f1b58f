/* SPDX-License-Identifier: ISC */
/* The configuration objects as C structs, and their descriptors desc_cfg_vm, desc_cfg_cpus, ... (config.def). */
#ifndef PROTO_CONFIG_H
#define PROTO_CONFIG_H

#include "proto/config.def"
#include "proto/desc.h"

CFG_ENUMS(ENUM_DECLARE)

#define CFG_DECLARE(S, ver, FIELDS) DESC_DECLARE(CFG_MEMBER, S, FIELDS)
CFG_OBJECTS(CFG_DECLARE)
#undef CFG_DECLARE

#endif
