/* SPDX-License-Identifier: ISC */
/* Bodies of the three GET endpoints. All append to @out and return its error. */
#ifndef APID_VMINFO_H
#define APID_VMINFO_H

#include <stdint.h>

#include "common/buf.h"
#include "proto/msg.h"

int vminfo_ping(struct wbuf *out, int32_t pid);
int vminfo_info(struct wbuf *out, const struct msg_cmd_vm_info_result *r);
int vminfo_counters(struct wbuf *out, const struct msg_cmd_vm_counters_result *r);

#endif
