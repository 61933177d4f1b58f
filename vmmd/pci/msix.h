/* SPDX-License-Identifier: ISC */
/*
 * MSI-X of one function (PCI 3.0 6.8.2): the table, the pending bits, the two bits of its control register.
 *
 * Interrupts come from two kinds of sources. Eventfds of a back end are bound to a GSI (irqfd) while their vector is
 * live, that is, enabled and not masked; else they are unbound, and what happens meanwhile stays counted in the
 * eventfd: that is the pending bit, and KVM delivers it when it is bound again. Only the control thread has the
 * eventfds, so a change that matters to one is an errand, and what a vector's state is and what KVM was told are two
 * things: msix_sync() brings the second up to the first, whatever happened between.
 *
 * The other kind is the device itself (msix_raise()), whose interrupts are messages by KVM_SIGNAL_MSI and whose
 * pending bit is kept here.
 *
 * vCPU threads call what handles accesses, with no lock of the device held where it says so.
 */
#ifndef VMMD_PCI_MSIX_H
#define VMMD_PCI_MSIX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"

enum { MSIX_VECTORS_MAX = 2048, MSIX_ENTRY_BYTES = 16, MSIX_NO_VECTOR = 0xFFFF };

struct errands;
struct irqs;

struct msix_vector { /* [mtx] */
	uint64_t addr;
	uint32_t data;
	bool masked;
	bool pending;  /* of msix_raise() */
	uint16_t uses; /* sources with this vector */
};

struct msix_route { /* [ctl] what KVM is to be told of a vector */
	int gsi;    /* 0: none yet */
	bool live;
	uint64_t addr;
	uint32_t data;
};

struct msix_source {
	uint16_t vector; /* [mtx] or MSIX_NO_VECTOR */
	int fd;          /* [ctl] borrowed */
	uint16_t want;   /* [ctl] the vector to be bound to */
	uint16_t bound;  /* [ctl] the one it is bound to */
};

struct msix {
	struct irqs *irqs;             /* [const] borrowed */
	struct errands *errands;       /* [const] borrowed */
	unsigned n_vectors, n_sources; /* [const] */
	pthread_mutex_t mtx;
	bool enabled, function_mask; /* [mtx] */
	struct msix_vector *vector;
	struct msix_route *route; /* of each vector */
	struct msix_source *source;
};

/* @fds: one eventfd for each of @n_sources. */
int msix_init(struct msix *m, struct irqs *irqs, struct errands *errands, unsigned n_vectors, const int *fds,
	      unsigned n_sources) __must_check;
/* Accepts a zeroed one. */
void msix_fini(struct msix *m);

/* Bits 15:0 of the capability's message control. The write acts as an errand may. No lock held. */
uint16_t msix_control(struct msix *m);
void msix_write_control(struct msix *m, uint16_t value);

/* Accesses to the table and to the pending bits, @off from their start. Of a wrong width or place: 0, dropped.
 * No lock held. */
uint64_t msix_read_table(struct msix *m, uint64_t off, unsigned len);
void msix_write_table(struct msix *m, uint64_t off, uint64_t value, unsigned len);
uint64_t msix_read_pending(struct msix *m, uint64_t off, unsigned len);

/* Source @s now has @vector (one that exists, or MSIX_NO_VECTOR). True: msix_sync() has to follow. Any thread, with
 * the device's lock held or not. */
bool msix_set_source(struct msix *m, unsigned s, uint16_t vector) __must_check;
/* Until it returns KVM may go on as before. Any thread, no lock held. */
void msix_sync(struct msix *m);
/* Raise @vector once; MSIX_NO_VECTOR raises nothing. Any thread, no lock held. */
void msix_raise(struct msix *m, uint16_t vector);
/* No vector is pending any more by msix_raise(). */
void msix_forget(struct msix *m);

/* Control thread: another eventfd for source @s. The old one is unbound when this returns. */
void msix_set_fd(struct msix *m, unsigned s, int fd);
/* Control thread: nothing is bound any more, nor will be. */
void msix_disconnect(struct msix *m);

#endif
