/* SPDX-License-Identifier: ISC */
/* Messages between processes as C structs (struct msg_x), their types (MSG_X) and descriptors (desc_msg_x). */
#ifndef PROTO_MSG_H
#define PROTO_MSG_H

#include "common/err.h"
#include "proto/command.def"
#include "proto/config.h"
#include "proto/helper.def"
#include "proto/monitor.def"

COMMAND_ENUMS(ENUM_DECLARE)
MONITOR_ENUMS(ENUM_DECLARE)
HELPER_ENUMS(ENUM_DECLARE)

#define ALL_MESSAGES(O, M, N) COMMAND_MESSAGES(O, M, N) MONITOR_MESSAGES(O, M, N) HELPER_MESSAGES(O, M, N)

#define MSG_PART(S, ver, FIELDS) DESC_DECLARE(MSG_MEMBER, S, FIELDS)
#define MSG_BODY(T, S, num, ver, FIELDS) DESC_DECLARE(MSG_MEMBER, S, FIELDS)
#define MSG_NOBODY(T, num)
ALL_MESSAGES(MSG_PART, MSG_BODY, MSG_NOBODY)
#undef MSG_PART
#undef MSG_BODY
#undef MSG_NOBODY

#define MSG_PART(S, ver, FIELDS)
#define MSG_BODY(T, S, num, ver, FIELDS) MSG_##T = (num),
#define MSG_NOBODY(T, num) MSG_##T = (num),
enum msg_type { ALL_MESSAGES(MSG_PART, MSG_BODY, MSG_NOBODY) };
#undef MSG_PART
#undef MSG_BODY
#undef MSG_NOBODY

/* "CMD_VM_BOOT", or NULL for a number that is no message. */
const char *msg_type_name(enum msg_type type);
/* The body's descriptor, NULL when it has none or the type is unknown. */
const struct desc *msg_type_desc(enum msg_type type);

/* Fill a zeroed @r with copies of @code and the chain of @e (NULL: no links). 0 or -ENOMEM (@r then holds the code
 * only). obj_fini(&desc_msg_result, r) frees. */
int msg_result_set(struct msg_result *r, int code, const struct err *e);
/* The chain back into @e. A failure without links gets one from its code, so that @e is never empty then. */
void msg_result_err(const struct msg_result *r, struct err *e);

#endif
