/* SPDX-License-Identifier: ISC */
/*
 * Blocks of 128 uids, one block for each running instance, one uid for each of its processes. A block is claimed by a
 * byte lock on /run/cloister/uids and free again when the last holder of the descriptor is gone.
 */
#ifndef JAIL_UIDS_H
#define JAIL_UIDS_H

#include "common/cleanup.h"
#include "common/err.h"

enum {
	UIDS_FIRST = 1900000000,
	UIDS_PER_BLOCK = 128,
	UIDS_BLOCKS = 4096,
};

/* Slots in a block. The monitor keeps the starter's uid. */
enum {
	UIDS_SLOT_VMMD = 0,
	UIDS_SLOT_APID = 1,
	UIDS_SLOT_CONSOLE = 2, /* serial; the virtio console comes next */
	UIDS_SLOT_RNG = 4,
	/* And on, by index: a PCI segment has 31 slots. More of them would share the last uid, where the limit on tasks
	 * counts those of all. */
	UIDS_SLOT_DISKS = 32,
	UIDS_SLOT_NETS = 64,
	UIDS_SLOTS_PER_KIND = 32,
};

/* Claim a free block under directory @dir (made when missing). Returns its first uid, *@lock_fd keeps it claimed. */
int uids_claim(const char *dir, int *lock_fd, struct err *e) __must_check;

#endif
