/* SPDX-License-Identifier: ISC */
/*
 * Everything that anyone can ask of the monitor, and who may ask it. One channel, one power: a message on another
 * channel than its own, in another phase, or not in this list is refused. All have fixed types and at most 8 KiB; the only
 * texts in them are paths, which go to open_policy.c as they are, what goes on to cloister-tap, and MON_TEXT, which is not
 * looked at.
 *
 *	STARTER(message, body, phases, answer, handler)		the started process, before it becomes vmmd
 *	VMMD	the same channel afterwards
 *	APID	clients' requests, taken apart
 *	HELPER	cloister-console, -blk, -net, -rng; its phases are those of enum helper_state
 *	TAP	cloister-tap, which works for a moment and ends
 *
 * Answers: NONE; RESULT (code and error chain); TYPED (a message of its own, or RESULT for a failure; not yet when the
 * handler says -EINPROGRESS). FDS: descriptors may come along. COSTLY: at most 100 a second.
 */
#ifndef JAIL_MONITOR_OPS_H
#define JAIL_MONITOR_OPS_H

#include "proto/chan.h"

#define MONITOR_OPS(STARTER, VMMD, APID, HELPER, TAP) \
	STARTER(MON_START, &desc_msg_mon_start, INIT, NONE | FDS, op_start)         /* options, log socket, uids */ \
	STARTER(MON_NAMESPACES, &desc_msg_mon_namespaces, ANY, NONE | FDS, op_namespaces) /* empty, to share */ \
	STARTER(MON_JAILED, &desc_msg_mon_jailed, ANY, NONE, op_jailed)             /* layers it lacks; now vmmd */ \
	VMMD(VMM_HELLO, &desc_msg_vmm_hello, ANY, NONE, op_vmm_hello)               /* layers it lacks */ \
	VMMD(VMM_LIFELINES, &desc_msg_vmm_lifelines, ANY, NONE, op_vmm_lifelines)   /* pipes for a reset's vCPUs */ \
	VMMD(VMM_STOPPING, NULL, ANY, NONE, op_vmm_stopping)                        /* their end is no death */ \
	VMMD(VMM_STOPPED, NULL, ANY, NONE, op_vmm_stopped)                          /* release memory, consoles */ \
	VMMD(VMM_END, &desc_msg_vmm_end, ANY, NONE, op_vmm_end)                     /* orderly end, with a status */ \
	VMMD(VMM_DEVICE_KILL, &desc_msg_vmm_device_kill, ANY, NONE, op_vmm_device_kill) /* its helper does not answer */ \
	VMMD(VMM_WINSIZE, NULL, ANY, NONE, op_vmm_winsize)                          /* to the virtio console's helper */ \
	APID(APID_HELLO, &desc_msg_apid_hello, ANY, NONE, op_apid_hello)            /* layers it lacks */ \
	APID(MON_TEXT, &desc_msg_mon_text, ANY, NONE, op_text)                      /* to stdout or stderr */ \
	APID(MON_ARGS_OK, &desc_msg_mon_args_ok, UP, TYPED, op_args_ok)             /* opens the API socket */ \
	APID(MON_KEEP_CONN, &desc_msg_mon_keep_conn, ANY, NONE | FDS, op_keep_conn) /* keep for a successor */ \
	APID(MON_DROP_CONN, &desc_msg_mon_drop_conn, ANY, NONE, op_drop_conn)       /* forget it */ \
	APID(MON_OPEN_FILE, &desc_msg_mon_open_file, SERVING, TYPED | COSTLY, op_open_file)        /* to read */ \
	APID(MON_MAKE_MEMORY, &desc_msg_mon_make_memory, SERVING, RESULT | COSTLY, op_make_memory) /* sealed */ \
	APID(MON_OPEN_CONSOLE, &desc_msg_mon_open_console, SERVING, TYPED | COSTLY, op_open_console) \
	APID(MON_CLOSE_CONSOLE, &desc_msg_mon_close_console, SERVING, RESULT | COSTLY, op_close_console) \
	APID(MON_LIMIT_GROUP, &desc_msg_mon_limit_group, SERVING, RESULT | COSTLY, op_limit_group) /* for disks to come */ \
	APID(MON_OPEN_DISK, &desc_msg_mon_open_disk, SERVING, RESULT | COSTLY, op_open_disk)       /* image, helper */ \
	APID(MON_OPEN_NET, &desc_msg_mon_open_net, SERVING, RESULT | COSTLY, op_open_net)          /* taps, helper */ \
	APID(MON_OPEN_RNG, &desc_msg_mon_open_rng, SERVING, RESULT | COSTLY, op_open_rng)          /* source, helper */ \
	APID(MON_OPEN_VCON, &desc_msg_mon_open_vcon, SERVING, RESULT | COSTLY, op_open_vcon)       /* console's helper */ \
	APID(MON_HANDOVER, &desc_msg_mon_handover, SERVING, TYPED | COSTLY, op_handover)           /* to vmmd */ \
	APID(MON_RELEASE, NULL, SERVING, RESULT, op_release)                        /* the boot failed */ \
	APID(MON_FLUSHED, NULL, ENDING, NONE, op_flushed)                           /* last words are out */ \
	HELPER(HLP_HELLO, &desc_msg_hlp_hello, HELPER_BLANK, NONE, op_hlp_hello)    /* blank: configure it */ \
	HELPER(HLP_READY, &desc_msg_hlp_ready, HELPER_LOCKING, NONE, op_hlp_ready)  /* not believed: verified */ \
	HELPER(RESULT, &desc_msg_result, HELPER_LOCKING, NONE, op_hlp_result)       /* it cannot serve, and says why */ \
	HELPER(HLP_DRAINED, &desc_msg_hlp_drained, HELPER_DRAINING, NONE, op_hlp_drained) /* output is out */ \
	TAP(HLP_HELLO, &desc_msg_hlp_hello, ALWAYS, NONE, op_tap_hello) \
	TAP(TAP_RESULT, &desc_msg_tap_result, ALWAYS, NONE | FDS, op_tap_result)    /* a tap for each pair */ \
	TAP(RESULT, &desc_msg_result, ALWAYS, NONE, op_tap_refusal)

/* A handler gets a valid struct and only decides. @ctx: struct monitor; for HELPER struct helper, for TAP struct tap_job. */
#define MONITOR_OP_DECLARE(type, desc, phases, answer, fn) \
	int fn(void *ctx, const void *msg, struct chan_msg *m, struct err *e);
MONITOR_OPS(MONITOR_OP_DECLARE, MONITOR_OP_DECLARE, MONITOR_OP_DECLARE, MONITOR_OP_DECLARE, MONITOR_OP_DECLARE)
#undef MONITOR_OP_DECLARE

#endif
