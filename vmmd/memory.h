/* SPDX-License-Identifier: ISC */
/*
 * Guest RAM in this process: one sealed memfd, made by the monitor, mapped once per run of guest addresses; each run is
 * one KVM memory slot.
 */
#ifndef VMMD_MEMORY_H
#define VMMD_MEMORY_H

#include "common/cleanup.h"
#include "common/err.h"
#include "common/gmem.h"
#include "vmmd/arch/x86_64/memmap.h"

struct memory {
	struct gmem gmem; /* what is mapped; no region: nothing */
};

/* Map @fd (borrowed; it holds map->ram_size bytes) as @map says. On failure nothing is mapped. */
int memory_map(struct memory *m, int fd, const struct memmap *map, struct err *e) __must_check;
void memory_unmap(struct memory *m); /* accepts a zeroed or unmapped one */

/* Tell KVM about every run, slot 0 first. Before anything registers on the VM's buses: afterwards a slot waits for a
 * grace period of several milliseconds. */
int memory_set_slots(const struct memory *m, int vm, struct err *e) __must_check;

/* All of RAM reads as zeros again, for a reset of the machine. While no vCPU runs. @progress(@arg) is called now and then:
 * giving back gigabytes takes its time. */
int memory_clear(struct memory *m, void (*progress)(void *arg), void *arg, struct err *e) __must_check;

#endif
