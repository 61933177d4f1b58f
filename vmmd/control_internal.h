/* SPDX-License-Identifier: ISC */
/* The inside of the control loop, for control.c, control_apid.c and control_monitor.c. */
#ifndef VMMD_CONTROL_INTERNAL_H
#define VMMD_CONTROL_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "vmmd/control.h"
#include "vmmd/events.h"
#include "vmmd/peer.h"
#include "vmmd/results.h"
#include "vmmd/vm.h"

struct event;

struct control {
	struct event_base *base; /* borrowed */
	struct peer monitor, apid;
	int signals;
	struct event *on_signal, *on_wake, *on_release, *on_end_timeout, *on_idle;
	struct vm vm;
	struct results results;
	struct events events;
	bool no_shutdown;     /* a guest that powers off leaves its VM Created */
	/* The machine is gone; lifelines for the next run, or a device's last requests, are under way. */
	bool resetting;
	bool release_pending; /* vm_release() is due, once answers are out */
	bool ending;          /* END was sent, nothing new is done */
	int status;           /* then the exit status */
	bool stashed;         /* stash holds a message of apid's that has to wait for the end of a boot or reset */
	struct chan_msg stash;
	bool mon_stashed;     /* the same of the monitor's */
	struct chan_msg mon_stash;
	int boot_err_code;    /* the monitor handed over something unusable: told at the boot */
	struct err boot_err;
};

/* --- control.c ------------------------------------------------------------------------------------------------------- */

/* Number an event, keep it, send it (apid logs it). Static texts. */
void control_event(struct control *ctl, const char *source, const char *name);
/* Of the device @id. */
void control_device_event(struct control *ctl, const char *name, const char *id);
/* Running -> Created. The monitor is told before this returns; memory and files are given back from the loop. */
void control_stop_vm(struct control *ctl);
/* Any state -> None, with its events. */
void control_delete_vm(struct control *ctl);
/* Delete the VM and leave with @status, once the monitor has done its part. */
void control_end(struct control *ctl, int status);
/* Out of the loop now. */
void control_quit(struct control *ctl, int status);
/* The second half of a guest's reset, when all lifelines are there and no device has anything in flight. */
void control_continue_reset(struct control *ctl);
void control_send_monitor(struct control *ctl, enum msg_type type, const void *body);

/* --- control_monitor.c ----------------------------------------------------------------------------------------------- */

/* Handle all that the monitor has sent. */
void control_drain_monitor(struct control *ctl);
/* In the middle of a boot or reset: hear of devices' back ends, keep the first message about something else. */
void control_hear_of_devices(struct control *ctl);

/* --- control_apid.c -------------------------------------------------------------------------------------------------- */

/* Callback: something came from apid. */
void control_on_apid(void *arg);
/* In the middle of a boot or reset: answer what only asks, keep the first message that wants more. */
void control_answer_queries(void *arg);
/* apid's channel ends, with what came over it and has not been handled. */
void control_drop_apid(struct control *ctl);

#endif
