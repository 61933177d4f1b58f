/* SPDX-License-Identifier: ISC */
/*
 * The vCPU threads of one built machine.
 *
 * Each thread has a descriptor table of its own with four entries, so that the first thing to end when this process is
 * killed is a thread's lifeline (tables close in ascending order, and before a gigabyte of RAM is given back):
 *
 *	0 lifeline   the monitor watches its other end
 *	1 vCPU       nobody else in this process keeps it
 *	2 VM         interrupt ioctls only
 *	3 wake       eventfd, wakes the control thread
 *
 * It is held at a gate while the guest must not run. To get it out of KVM_RUN the control thread sets immediate_exit and
 * sends VCPU_SIGNAL, which is blocked except inside KVM_RUN (KVM_SET_SIGNAL_MASK) and taken with sigtimedwait(): no
 * handler, no lost wake-up.
 *
 *	new, add (each vCPU), [registers], start, open, [vcpus_request()...], close, end, free
 *
 * All functions are for the control thread unless they say otherwise.
 */
#ifndef VMMD_VCPU_H
#define VMMD_VCPU_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "vmmd/bus.h"
#include "vmmd/wake.h"

#define VCPU_SIGNAL SIGRTMIN

/* Numbers in a vCPU thread's own table (jail/policy/roles.def). */
enum { VCPU_FD_LIFELINE, VCPU_FD_VCPU, VCPU_FD_VM, VCPU_FD_WAKE, VCPU_FDS };

/* What the guest, or trouble, wants of the machine. */
enum vcpu_request { VCPU_REQ_NONE, VCPU_REQ_RESET, VCPU_REQ_POWER_OFF, VCPU_REQ_FAILED };

struct errands;
struct vcpus;

struct vcpus_cfg {
	unsigned n;                             /* how many will be added */
	const struct bus *pio, *mmio;           /* borrowed */
	void (*eoi)(void *arg, uint8_t vector); /* from vCPU threads */
	void *arg;
	struct wake *wake;       /* borrowed */
	struct errands *errands; /* borrowed; served while the control thread waits for vCPUs */
};

struct vcpus *vcpus_new(const struct vcpus_cfg *cfg); /* NULL when out of memory */
/* Undoes everything at any stage; running threads end. Accepts NULL. */
void vcpus_free(struct vcpus *vs);

/* Takes *@fd; the next vCPU in order. */
int vcpus_add(struct vcpus *vs, int *fd, size_t run_bytes, struct err *e) __must_check;
/* Its descriptor, for setting registers before vcpus_start(); -1 afterwards. */
int vcpus_fd(const struct vcpus *vs, unsigned index);

/* Make the threads, named vcpu0, vcpu1, ... When this returns 0 all exist, jailed, held at the closed gate. Takes
 * @lifelines as far as it gets; what a thread has ends with the thread. @vm is borrowed, and copied into each thread's
 * table. */
int vcpus_start(struct vcpus *vs, int vm, int *lifelines, unsigned n_lifelines, struct err *e) __must_check;

void vcpus_open(struct vcpus *vs);
/* When it returns no vCPU executes guest instructions, until the next vcpus_open(). A vCPU whose errand stays with the
 * control thread is waited for until someone else ends it, so errands that may stay are closed before. */
void vcpus_close(struct vcpus *vs);
/* The threads end (they must be held). The last reference to the VM may go with a thread's table, outside our sight: that
 * takes 15-23 ms and nobody here waits for it. So close everything else that refers to the VM first. */
void vcpus_end(struct vcpus *vs);

/* Ask for @req; the first one wins. No vCPU enters the guest again afterwards: the calling one at once, the others as
 * soon as vcpus_close() kicks them. Any thread; a vCPU thread holds no device's lock. */
void vcpus_ask(struct vcpus *vs, enum vcpu_request req);
enum vcpu_request vcpus_request(const struct vcpus *vs);
/* Send on what vCPU threads have logged. */
void vcpus_forward_logs(struct vcpus *vs);

#endif
