/* SPDX-License-Identifier: ISC */
/* What a register write can ask of the whole machine. */
#ifndef VMMD_LEGACY_EVENT_H
#define VMMD_LEGACY_EVENT_H

enum platform_event {
	PLATFORM_RESET,     /* ACPI reset register, i8042 0xFE, CMOS shutdown byte */
	PLATFORM_POWER_OFF, /* ACPI S5 */
};

/* Called in the vCPU thread whose write asked for it, with no lock held. The receiver sees to it
 * that this vCPU doesn't enter the guest again: after the call the device has nothing more to
 * do. */
struct platform_sink {
	void (*event)(void *arg, enum platform_event ev);
	void *arg;
};

#endif
