/* SPDX-License-Identifier: ISC */
/*
 * One split virtqueue, device side (virtio v1.2 2.7). Chains are copied into a bounded array of the caller's before anything
 * is believed; guest memory is reached through gmem only; every byte of a ring is read once.
 *
 * Owned by the thread that serves the queue; what another thread must not touch between vq_start() and vq_stop().
 */
#ifndef DEVICES_COMMON_VQ_H
#define DEVICES_COMMON_VQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/cleanup.h"

struct vq;

/* A popped chain: iov[0 .. n_out) is for the device to read, iov[n_out .. n_out + n_in) to write; all of it inside guest
 * memory, totals fit 32 bits. The iovecs are borrowed from guest memory until vq_push(), and are for system calls and the
 * accessors below: nothing in a device dereferences them. */
struct vq_chain {
	uint16_t head;
	uint32_t out_bytes, in_bytes;
	unsigned n_out, n_in;
	struct iovec *iov;
	bool in_seen; /* the walk's own */
};

/* Pop the next chain. @iov has room for @max iovecs (not bytes). Returns 1 popped, 0 empty, -EBADMSG guest fault (the queue
 * is broken until it is started again: the device asks for a reset). At most queue-size chains are in flight: a head that
 * is in flight already is a guest fault. */
int vq_pop(struct vq *vq, struct vq_chain *out, struct iovec *iov, unsigned max) __must_check;
/* Take back the last vq_pop(): it was not begun, and comes again. Not after another pop or push. */
void vq_unpop(struct vq *vq, const struct vq_chain *c);
/* Done with @head; @written bytes of its device-writable part were written (virtio v1.2 2.7.8.2). Out of order is
 * fine. The driver sees it at vq_flush() at the latest. */
void vq_push(struct vq *vq, uint16_t head, uint32_t written);
/* Publish what was pushed, interrupt the driver if it wants that. Once per batch. */
void vq_flush(struct vq *vq);

/* Copies between a chain and private memory, @off counts from the start of the readable or writable part. Returns 0,
 * or -ERANGE when it is not all inside. Writing marks pages in the dirty log. */
int vq_chain_read(const struct vq_chain *c, uint32_t off, void *dst, uint32_t len) __must_check;
int vq_chain_write(struct vq *vq, const struct vq_chain *c, uint32_t off, const void *src, uint32_t len) __must_check;
/* iovecs of [@off, @off + @len) of the readable (or, @in, writable) part. Returns how many, -ERANGE, -E2BIG. */
int vq_chain_iov(const struct vq_chain *c, bool in, uint32_t off, uint32_t len, struct iovec *out, unsigned max);
/* A system call has written [@off, @off + @len) of the writable part: mark pages in the dirty log (if it is on). */
void vq_chain_dirty(struct vq *vq, const struct vq_chain *c, uint32_t off, uint32_t len);

/* Ask the driver for kicks (@on) or not to send any. After turning them on, look again: 1 when something came
 * meanwhile (kicks are then still on), 0: sleep. */
int vq_want_kicks(struct vq *vq, bool on);
/* Chains that wait to be popped, at most the queue size; for adaptive polling and for net. -EBADMSG: index out of range. */
int vq_pending(struct vq *vq);

/* What broke the queue, for the log. */
const char *vq_fault(const struct vq *vq);

unsigned vq_index(const struct vq *vq);
uint16_t vq_size(const struct vq *vq);
bool vq_is_started(const struct vq *vq);
uint16_t vq_in_flight(const struct vq *vq);
/* The index of the used entry that the next push fills, and how many of the next chains were in flight in a
 * predecessor and are popped again, in order. For a device that serves in order and keeps account of it. */
uint16_t vq_used_index(const struct vq *vq);
uint16_t vq_resubmitted(const struct vq *vq);
/* Features that the driver accepted. */
uint64_t vq_features(const struct vq *vq);

#endif
