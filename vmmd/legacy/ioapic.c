/* SPDX-License-Identifier: ISC */
/*
 * Register writes change an entry under the mutex; the route that follows from it is set without
 * the mutex, because that is an ioctl that sleeps. Pins whose route is to be set are marked in
 * "stale", and one thread at a time (the "applier") works them off. A second vCPU that changes an
 * entry meanwhile marks it and goes on: the applier looks again before it leaves. So routes are
 * never set in a wrong order and the last state wins.
 */
#include "vmmd/legacy/ioapic.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "vmmd/arch/x86_64/layout.h"

enum {
	OFF_SELECT = 0x00,
	OFF_WINDOW = 0x10,
	REG_ID = 0x00,
	REG_VERSION = 0x01,
	REG_ARBITRATION = 0x02,
	REG_REDIRECTION = 0x10,
	VERSION = 0x11 | (IOAPIC_PINS - 1) << 16,
	ID_MASK = 0x0F000000,
};

/* Redirection entry (82093AA 3.2.4) */
#define RTE_VECTOR              UINT64_C(0xFF)
#define RTE_DELIVERY_MODE_SHIFT 8
#define RTE_DELIVERY_MODE       UINT64_C(0x700)
#define RTE_LOGICAL             UINT64_C(0x800)
#define RTE_DELIVERY_STATUS     UINT64_C(0x1000)
#define RTE_REMOTE_IRR          UINT64_C(0x4000)
#define RTE_LEVEL               UINT64_C(0x8000)
#define RTE_MASKED              UINT64_C(0x10000)
#define RTE_READ_ONLY           (RTE_DELIVERY_STATUS | RTE_REMOTE_IRR)
#define RTE_DEST_SHIFT          56
#define RTE_EXT_DEST_SHIFT      49 /* destination bits 14:8 when CPUID offers extended ids */
#define RTE_EXT_DEST            UINT64_C(0x7F)

/* MSI (Intel SDM vol. 3, "Message Signalled Interrupts") */
enum {
	MSI_DEST_SHIFT = 12,
	MSI_EXT_DEST_SHIFT = 5,
	MSI_REDIRECTION_HINT = 1 << 3,
	MSI_LOGICAL = 1 << 2,
	MSI_LEVEL = 1 << 15,
	MSI_ASSERT = 1 << 14,
};

struct ioapic {
	struct ioapic_ops ops; /* [const] */
	pthread_mutex_t mtx;   /* guards all below */
	uint32_t select, id;
	uint64_t rte[IOAPIC_PINS];
	uint32_t pending; /* pins that saw an edge while masked */
	uint32_t stale;   /* pins whose route isn't set yet */
	bool applying;    /* some thread is in apply_routes() */
};

struct ioapic *ioapic_new(const struct ioapic_ops *ops)
{
	struct ioapic *io = calloc(1, sizeof(*io));

	if (io == NULL)
		return NULL;
	io->ops = *ops;
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		io->rte[i] = RTE_MASKED;
	if (pthread_mutex_init(&io->mtx, NULL) != 0) {
		free(io);
		return NULL;
	}
	return io;
}

void ioapic_free(struct ioapic *io)
{
	if (io == NULL)
		return;
	pthread_mutex_destroy(&io->mtx);
	free(io);
}

static uint64_t msi_addr(uint64_t rte)
{
	uint64_t addr =
		LAYOUT_LAPIC | (rte >> RTE_DEST_SHIFT) << MSI_DEST_SHIFT | MSI_REDIRECTION_HINT;

	addr |= (rte >> RTE_EXT_DEST_SHIFT & RTE_EXT_DEST) << MSI_EXT_DEST_SHIFT;
	if ((rte & RTE_LOGICAL) != 0)
		addr |= MSI_LOGICAL;
	return addr;
}

static uint32_t msi_data(uint64_t rte)
{
	/* These have the same places in both. */
	uint32_t data = (uint32_t)(rte & (RTE_VECTOR | RTE_DELIVERY_MODE));

	/* A level-triggered message says "asserted": the pulse is all there is. */
	if ((rte & RTE_LEVEL) != 0)
		data |= MSI_LEVEL | MSI_ASSERT;
	return data;
}

/* The part of an entry that its route is made of. */
static uint64_t route_bits(uint64_t rte)
{
	return rte & ~RTE_READ_ONLY;
}

/* An edge on an unmasked pin is about to be delivered. */
static void mark_delivery(struct ioapic *io, unsigned pin)
{
	if ((io->rte[pin] & RTE_LEVEL) != 0)
		io->rte[pin] |= RTE_REMOTE_IRR;
}

/* Called with the mutex, returns with it; gives it up around each call. */
static void apply_routes(struct ioapic *io)
{
	if (io->applying)
		return;
	io->applying = true;
	while (io->stale != 0) {
		unsigned pin = (unsigned)__builtin_ctz(io->stale);
		uint32_t bit = UINT32_C(1) << pin;
		uint64_t rte = io->rte[pin];
		bool masked = (rte & RTE_MASKED) != 0;

		pthread_mutex_unlock(&io->mtx);
		io->ops.set_route(io->ops.arg, pin, masked, msi_addr(rte), msi_data(rte));
		pthread_mutex_lock(&io->mtx);
		if (route_bits(io->rte[pin]) != route_bits(rte))
			continue; /* changed meanwhile: still stale */
		io->stale &= ~bit;
		if (masked || (io->pending & bit) == 0)
			continue;
		io->pending &= ~bit;
		mark_delivery(io, pin);
		pthread_mutex_unlock(&io->mtx);
		io->ops.inject(io->ops.arg, pin);
		pthread_mutex_lock(&io->mtx);
	}
	io->applying = false;
}

static void write_entry(struct ioapic *io, unsigned pin, bool high, uint32_t v)
{
	uint64_t old = io->rte[pin], rte;

	if (high)
		rte = (old & UINT32_MAX) | (uint64_t)v << 32;
	else
		rte = (old & ~(uint64_t)UINT32_MAX) | v;
	rte = (rte & ~RTE_READ_ONLY) | (old & RTE_READ_ONLY);
	/* An edge-triggered entry has no Remote IRR; guests clear a stuck one by switching to edge
	 * and back. */
	if ((rte & RTE_LEVEL) == 0)
		rte &= ~RTE_REMOTE_IRR;
	io->rte[pin] = rte;
	if (route_bits(rte) != route_bits(old)) {
		io->stale |= UINT32_C(1) << pin;
		apply_routes(io);
	}
}

static uint32_t read_register(const struct ioapic *io, uint32_t reg)
{
	if (reg == REG_ID || reg == REG_ARBITRATION)
		return io->id;
	if (reg == REG_VERSION)
		return VERSION;
	if (reg < REG_REDIRECTION || reg >= REG_REDIRECTION + 2 * IOAPIC_PINS)
		return 0;
	uint64_t rte = io->rte[(reg - REG_REDIRECTION) / 2];
	return (uint32_t)((reg & 1) != 0 ? rte >> 32 : rte);
}

static void write_register(struct ioapic *io, uint32_t reg, uint32_t v)
{
	if (reg == REG_ID)
		io->id = v & ID_MASK;
	else if (reg >= REG_REDIRECTION && reg < REG_REDIRECTION + 2 * IOAPIC_PINS)
		write_entry(io, (reg - REG_REDIRECTION) / 2, (reg & 1) != 0, v);
	/* The version register is read-only, though Windows writes it. */
}

/* Registers are 32 bits wide and decoded as such only. */
static void ioapic_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct ioapic *io = dev;
	uint32_t v = 0;

	if (len != sizeof(v))
		return;
	pthread_mutex_lock(&io->mtx);
	if (off == OFF_SELECT)
		v = io->select;
	else if (off == OFF_WINDOW)
		v = read_register(io, io->select);
	pthread_mutex_unlock(&io->mtx);
	memcpy(data, &v, sizeof(v)); /* x86 host and guest: little endian both */
}

static void ioapic_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct ioapic *io = dev;
	uint32_t v;

	if (len != sizeof(v))
		return;
	memcpy(&v, data, sizeof(v));
	pthread_mutex_lock(&io->mtx);
	if (off == OFF_SELECT)
		io->select = v & 0xFF;
	else if (off == OFF_WINDOW)
		write_register(io, io->select, v);
	pthread_mutex_unlock(&io->mtx);
}

const struct bus_ops ioapic_bus_ops = { .read = ioapic_read, .write = ioapic_write };

void ioapic_pulse(struct ioapic *io, unsigned pin)
{
	bool deliver = false;

	if (pin >= IOAPIC_PINS)
		return;
	pthread_mutex_lock(&io->mtx);
	uint32_t bit = UINT32_C(1) << pin;
	if ((io->rte[pin] & RTE_MASKED) != 0 || (io->stale & bit) != 0) {
		io->pending |= bit; /* a stale pin is seen to by the thread that sets its route */
	} else {
		deliver = true;
		mark_delivery(io, pin);
	}
	pthread_mutex_unlock(&io->mtx);
	if (deliver)
		io->ops.inject(io->ops.arg, pin);
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	pthread_mutex_lock(&io->mtx);
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		if ((io->rte[i] & RTE_LEVEL) != 0 && (io->rte[i] & RTE_VECTOR) == vector)
			io->rte[i] &= ~RTE_REMOTE_IRR;
	}
	pthread_mutex_unlock(&io->mtx);
}
