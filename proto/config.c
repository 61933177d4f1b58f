/* SPDX-License-Identifier: ISC */
#include "proto/config.h"

CFG_ENUMS(ENUM_DEFINE)

#define CFG_DEFINE(S, ver, FIELDS) DESC_DEFINE(CFG_FIELD, S, ver, FIELDS)
CFG_OBJECTS(CFG_DEFINE)
