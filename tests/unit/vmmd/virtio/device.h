/* SPDX-License-Identifier: ISC */
/* A virtio device without KVM, with a back end that only remembers, reached as a guest would: by ECAM and by the bus. */
#ifndef TESTS_UNIT_VMMD_VIRTIO_DEVICE_H
#define TESTS_UNIT_VMMD_VIRTIO_DEVICE_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>

#include "tests/unit/vmmd/fake_kvm.h"
#include "vmmd/errand.h"
#include "vmmd/irq.h"
#include "vmmd/pci/pci.h"
#include "vmmd/pci/window.h"
#include "vmmd/virtio/virtio_dev.h"

enum { QUEUES = 3, QUEUE_SIZE = 256, SPACE = 60, LATE_STOPS = 1 };
#define LOW_BASE  UINT64_C(0xC0000000)
#define LOW_SIZE  UINT64_C(0x28000000)
#define HIGH_BASE UINT64_C(0x100000000)
#define HIGH_SIZE (UINT64_C(0x3FFFFFEF0000) - HIGH_BASE)
#define FEATURES  (UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << 29 | UINT64_C(1) << 9)

struct machine_without_kvm {
	struct wake wake;
	struct errands es;
	struct irqs irqs;
	struct pci_segment seg;
	struct pci_windows windows;
	struct virtio_dev *dev;
	int kick[QUEUES], call[QUEUES];
	/* The back end: what it was told. */
	bool stops_late;
	unsigned starts, stops, kicks[QUEUES], writes;
	uint64_t acked;
	uint32_t write_off, write_len;
	uint8_t written[8];
};

static void be_start(void *be, uint64_t acked)
{
	struct machine_without_kvm *m = be;

	m->starts++;
	m->acked = acked;
}

static void be_stop(void *be)
{
	struct machine_without_kvm *m = be;

	m->stops++;
	if (!m->stops_late)
		virtio_dev_stopped(m->dev);
}

static void be_kick(void *be, unsigned q)
{
	struct machine_without_kvm *m = be;

	m->kicks[q]++;
}

static void be_write_config(void *be, uint32_t off, const void *p, uint32_t len)
{
	struct machine_without_kvm *m = be;

	m->writes++;
	m->write_off = off;
	m->write_len = len;
	memcpy(m->written, p, len < sizeof(m->written) ? len : sizeof(m->written));
}

static const struct virtio_backend_ops be_ops = {
	.start = be_start,
	.stop = be_stop,
	.kick = be_kick,
	.write_config = be_write_config,
};

static inline int machine_without_kvm_init(struct machine_without_kvm *m, const struct virtio_dev_cfg *change)
{
	uint8_t space[SPACE];
	struct virtio_dev_cfg cfg = *change;
	struct virtio_env env = {
		.vm = 7, .errands = &m->es, .irqs = &m->irqs, .segment = &m->seg, .windows = &m->windows
	};

	fake_reset();
	for (unsigned i = 0; i < SPACE; i++)
		space[i] = (uint8_t)(i + 1);
	for (unsigned i = 0; i < QUEUES; i++) {
		m->kick[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		m->call[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
	if (wake_init(&m->wake) < 0 || errands_init(&m->es, &m->wake) < 0 || irqs_init(&m->irqs, 7, false) < 0 ||
	    pci_windows_init(&m->windows) < 0)
		return -1;
	pci_segment_init(&m->seg);
	pci_windows_set(&m->windows.low, LOW_BASE, LOW_SIZE);
	pci_windows_set(&m->windows.high, HIGH_BASE, HIGH_SIZE);
	cfg.id = "_disk0";
	cfg.n_queues = cfg.n_queues != 0 ? cfg.n_queues : QUEUES;
	cfg.queue_size = QUEUE_SIZE;
	cfg.features = FEATURES;
	cfg.config = space;
	cfg.slot = -1;
	cfg.kick = m->kick;
	cfg.call = m->call;
	cfg.ops = &be_ops;
	cfg.be = m;
	return virtio_dev_new(&env, &cfg, &m->dev, NULL);
}

static inline void machine_without_kvm_fini(struct machine_without_kvm *m)
{
	errands_close(&m->es);
	virtio_dev_disconnect(m->dev);
	virtio_dev_free(m->dev);
	pci_windows_fini(&m->windows);
	pci_segment_fini(&m->seg);
	irqs_fini(&m->irqs);
	errands_fini(&m->es);
	wake_fini(&m->wake);
	for (unsigned i = 0; i < QUEUES; i++) {
		(void)close(m->kick[i]);
		(void)close(m->call[i]);
	}
}

/* --- as a guest ---------------------------------------------------------------------------------------------------------- */

static inline uint64_t bar_base(struct machine_without_kvm *m)
{
	uint64_t base, size;
	bool is_64;

	virtio_dev_bar(m->dev, &base, &size, &is_64);
	return base;
}

/* In the BAR, wherever it lies. */
static inline uint64_t in(struct machine_without_kvm *m, uint64_t off, unsigned len)
{
	uint64_t v = 0, base = bar_base(m);
	struct pci_window *w = base < HIGH_BASE ? &m->windows.low : &m->windows.high;

	pci_window_bus_ops.read(w, base - w->base + off, &v, len);
	return v;
}

static inline void out(struct machine_without_kvm *m, uint64_t off, uint64_t v, unsigned len)
{
	uint64_t base = bar_base(m);
	struct pci_window *w = base < HIGH_BASE ? &m->windows.low : &m->windows.high;

	pci_window_bus_ops.write(w, base - w->base + off, &v, len);
}

static inline uint32_t cfg_in(struct machine_without_kvm *m, unsigned reg, unsigned len)
{
	uint32_t v = 0;

	pci_ecam_bus_ops.read(&m->seg, 1 << 15 | reg, &v, len);
	return v;
}

static inline void cfg_out(struct machine_without_kvm *m, unsigned reg, uint32_t v, unsigned len)
{
	pci_ecam_bus_ops.write(&m->seg, 1 << 15 | reg, &v, len);
}

static inline uint8_t status(struct machine_without_kvm *m)
{
	return (uint8_t)in(m, VIRTIO_PCI_COMMON_STATUS, 1);
}

static inline void set_status(struct machine_without_kvm *m, uint8_t v)
{
	out(m, VIRTIO_PCI_COMMON_STATUS, v, 1);
}

static inline void negotiate(struct machine_without_kvm *m, uint64_t features)
{
	set_status(m, 1);
	set_status(m, 3);
	for (unsigned i = 0; i < 2; i++) {
		out(m, VIRTIO_PCI_COMMON_GFSELECT, i, 4);
		out(m, VIRTIO_PCI_COMMON_GF, features >> (32 * i) & 0xFFFFFFFF, 4);
	}
	set_status(m, 0xB);
}

static inline void enable_queue(struct machine_without_kvm *m, uint16_t q, uint16_t vector)
{
	out(m, VIRTIO_PCI_COMMON_Q_SELECT, q, 2);
	out(m, VIRTIO_PCI_COMMON_Q_DESCLO, 0x10000u + q, 4);
	out(m, VIRTIO_PCI_COMMON_Q_AVAILLO, UINT64_C(0x120000000) + q, 8);
	out(m, VIRTIO_PCI_COMMON_Q_USEDHI, 2, 4);
	out(m, VIRTIO_PCI_COMMON_Q_MSIX, vector, 2);
	out(m, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
}

/* All queues, a vector each, the last one for changes of the configuration; running when this returns. */
static inline void bring_up(struct machine_without_kvm *m)
{
	negotiate(m, UINT64_MAX);
	cfg_out(m, 0x98 + 2, 0x8000, 2);
	for (uint16_t v = 0; v <= QUEUES; v++) {
		out(m, 0x8000 + 16u * v, 0xFEE00000, 8);
		out(m, 0x8008 + 16u * v, 0x40u + v, 8);
	}
	out(m, VIRTIO_PCI_COMMON_MSIX, QUEUES, 2);
	for (uint16_t q = 0; q < QUEUES; q++)
		enable_queue(m, q, q);
	set_status(m, 0xF);
	errands_serve(&m->es);
}

#endif
