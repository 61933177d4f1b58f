/* SPDX-License-Identifier: ISC */
/*
 * KVM's part in interrupts and doorbells, without KVM. A program that includes this defines the four wrappers of vmmd/kvm.c
 * that such code calls, so that the linker doesn't take the real ones.
 *
 * It keeps what KVM would know and refuses what KVM refuses; and it sees when an order is broken: an eventfd that is bound to a
 * GSI without a route.
 */
#ifndef TESTS_UNIT_VMMD_FAKE_KVM_H
#define TESTS_UNIT_VMMD_FAKE_KVM_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <linux/kvm.h>

#include "vmmd/kvm.h"

enum { FAKE_MAX = 600, FAKE_ROUTES = 4096 };

static struct {
	pthread_mutex_t mtx;
	struct {
		int fd;
		uint32_t gsi;
	} irqfd[FAKE_MAX];
	struct {
		int fd;
		uint64_t gpa;
	} bell[FAKE_MAX];
	unsigned n_irqfds, n_bells, n_routes, n_signals, n_delivered, n_calls;
	unsigned bells_max; /* 0: FAKE_MAX */
	unsigned wrong_order;
	struct kvm_irq_routing_entry route[FAKE_ROUTES];
	struct kvm_msi last;
} fake = { .mtx = PTHREAD_MUTEX_INITIALIZER };

static void fake_reset(void)
{
	(void)pthread_mutex_lock(&fake.mtx);
	fake.n_irqfds = fake.n_bells = fake.n_routes = fake.n_signals = fake.n_delivered = fake.n_calls = 0;
	fake.bells_max = fake.wrong_order = 0;
	(void)pthread_mutex_unlock(&fake.mtx);
}

static inline const struct kvm_irq_routing_entry *fake_route(uint32_t gsi)
{
	for (unsigned i = 0; i < fake.n_routes; i++)
		if (fake.route[i].gsi == gsi)
			return &fake.route[i];
	return NULL;
}

/* The message that @fd raises; all zeros: none. */
static inline struct kvm_irq_routing_msi fake_message_of(int fd)
{
	for (unsigned i = 0; i < fake.n_irqfds; i++) {
		const struct kvm_irq_routing_entry *r = fake.irqfd[i].fd == fd ? fake_route(fake.irqfd[i].gsi) : NULL;

		if (r != NULL)
			return r->u.msi;
	}
	return (struct kvm_irq_routing_msi){ 0 };
}

static inline bool fake_is_bound(int fd)
{
	for (unsigned i = 0; i < fake.n_irqfds; i++)
		if (fake.irqfd[i].fd == fd)
			return true;
	return false;
}

/* The eventfd behind a doorbell, or -1. */
static inline int fake_bell(uint64_t gpa)
{
	for (unsigned i = 0; i < fake.n_bells; i++)
		if (fake.bell[i].gpa == gpa)
			return fake.bell[i].fd;
	return -1;
}

/* What the kernel does when eventfds count: bound ones deliver. */
static inline void fake_poll(void)
{
	for (unsigned i = 0; i < fake.n_irqfds; i++) {
		struct pollfd p = { .fd = fake.irqfd[i].fd, .events = POLLIN };
		uint64_t n;

		if (poll(&p, 1, 0) > 0 && read(p.fd, &n, sizeof(n)) == sizeof(n))
			fake.n_delivered++;
	}
}

int kvm_set_routes(int vm, const struct kvm_irq_routing *routes)
{
	(void)vm;
	if (routes->nr > FAKE_ROUTES)
		return -EINVAL;
	(void)pthread_mutex_lock(&fake.mtx);
	fake.n_calls++;
	memcpy(fake.route, routes->entries, routes->nr * sizeof(fake.route[0]));
	fake.n_routes = routes->nr;
	for (unsigned i = 0; i < fake.n_irqfds; i++)
		if (fake_route(fake.irqfd[i].gsi) == NULL)
			fake.wrong_order++;
	(void)pthread_mutex_unlock(&fake.mtx);
	return 0;
}

int kvm_signal_msi(int vm, const struct kvm_msi *msi)
{
	(void)vm;
	(void)pthread_mutex_lock(&fake.mtx);
	fake.n_signals++;
	fake.last = *msi;
	(void)pthread_mutex_unlock(&fake.mtx);
	return 1;
}

int kvm_irqfd(int vm, int fd, uint32_t gsi, bool assign)
{
	int r = 0;

	(void)vm;
	(void)pthread_mutex_lock(&fake.mtx);
	fake.n_calls++;
	if (assign && (fake_is_bound(fd) || fake.n_irqfds == FAKE_MAX)) {
		r = -EBUSY;
	} else if (assign) {
		if (fake_route(gsi) == NULL)
			fake.wrong_order++;
		fake.irqfd[fake.n_irqfds].fd = fd;
		fake.irqfd[fake.n_irqfds++].gsi = gsi;
		fake_poll();
	} else {
		for (unsigned i = 0; i < fake.n_irqfds; i++)
			if (fake.irqfd[i].fd == fd && fake.irqfd[i].gsi == gsi)
				fake.irqfd[i--] = fake.irqfd[--fake.n_irqfds];
	}
	(void)pthread_mutex_unlock(&fake.mtx);
	return r;
}

int kvm_ioeventfd(int vm, int fd, uint64_t gpa, bool assign)
{
	int r = 0;

	(void)vm;
	(void)pthread_mutex_lock(&fake.mtx);
	if (assign && fake_bell(gpa) >= 0) {
		r = -EEXIST;
	} else if (assign && fake.n_bells == (fake.bells_max != 0 ? fake.bells_max : FAKE_MAX)) {
		r = -ENOSPC;
	} else if (assign) {
		fake.bell[fake.n_bells].fd = fd;
		fake.bell[fake.n_bells++].gpa = gpa;
	} else {
		r = -ENOENT;
		for (unsigned i = 0; i < fake.n_bells && r != 0; i++) {
			if (fake.bell[i].fd != fd || fake.bell[i].gpa != gpa)
				continue;
			fake.bell[i] = fake.bell[--fake.n_bells];
			r = 0;
		}
	}
	(void)pthread_mutex_unlock(&fake.mtx);
	return r;
}

#endif
