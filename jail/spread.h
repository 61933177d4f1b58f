/* SPDX-License-Identifier: ISC */
/*
 * A start is as fast as its processes run side by side, and the kernel may leave a new one on its parent's processor
 * until the parent waits (measured on KVM guests with a processor idle beside it: 2 ms). These give the scheduler a push.
 * No affinity is left behind, and where somebody has set one (a cpuset, taskset) they do nothing.
 */
#ifndef JAIL_SPREAD_H
#define JAIL_SPREAD_H

#include <sys/types.h>

/* Processors that this process may use, 1 when that can't be told. */
unsigned spread_width(void);

/* @child has just been made: it begins on another processor than this one. */
void spread_away(pid_t child);

/* @child waits for what we are about to send: it wakes up here, where there will be room. Then release it. */
void spread_pull(pid_t child);
void spread_release(pid_t child);

#endif
