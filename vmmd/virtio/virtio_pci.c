/* SPDX-License-Identifier: ISC */
/*
 * virtio over PCI, modern only (virtio v1.2 4.1): configuration space, its capabilities, and the one BAR.
 *
 * Offsets of capabilities and of what lies in the BAR are those that firmware and snapshots know: common configuration,
 * ISR, configuration space (left out by a device without one, and the rest moves up), notification, access window, MSI-X.
 * The ISR is there and always 0: there is no interrupt but MSI-X.
 */
#include "vmmd/virtio/virtio_internal.h"

#include <endian.h>
#include <string.h>

#include <linux/pci_regs.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>

#include "common/log.h"
#include "common/units.h"
#include "vmmd/kvm.h"
#include "vmmd/pci/pci.h"

enum {
	VENDOR = 0x1AF4,
	DEVICE_BASE = 0x1040, /* virtio v1.2 4.1.2: + the device's type */
	REVISION = 1,
	CLASS_NET = 0x020000,
	CLASS_STORAGE = 0x018000,
	CLASS_OTHER = 0xFFFF00,
	/* In the access window's capability, in dwords */
	WINDOW_BAR = 1,
	WINDOW_OFFSET = 2,
	WINDOW_LENGTH = 3,
	WINDOW_DATA = 4,
};

#define BAR_ALIGN (8 * MIB)

/* --- BAR -------------------------------------------------------------------------------------------------------------- */

/* Is all of the access in the @size bytes at @base? Sets where. */
static bool is_in(uint64_t off, unsigned len, unsigned base, unsigned size, unsigned *at)
{
	if (off < base || off - base >= size || len > size - (off - base))
		return false;
	*at = (unsigned)(off - base);
	return true;
}

static void put_le(uint64_t v, void *data, unsigned len)
{
	v = htole64(v);
	memcpy(data, &v, len < sizeof(v) ? len : sizeof(v));
}

static uint64_t get_le(const void *data, unsigned len)
{
	uint64_t v = 0;

	memcpy(&v, data, len < sizeof(v) ? len : sizeof(v));
	return le64toh(v);
}

/* The bus has zeroed @data: what nothing answers reads as 0. */
static void bar_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct virtio_dev *d = dev;
	unsigned at;

	if (is_in(off, len, VIRTIO_BAR_COMMON, VIRTIO_BAR_COMMON_BYTES, &at)) {
		(void)pthread_mutex_lock(&d->mtx);
		put_le(virtio_regs_read(d, at, len), data, len);
		(void)pthread_mutex_unlock(&d->mtx);
	} else if (is_in(off, len, VIRTIO_BAR_DEVICE, VIRTIO_BAR_DEVICE_BYTES, &at)) {
		(void)pthread_mutex_lock(&d->mtx);
		virtio_space_read(d, at, data, len);
		(void)pthread_mutex_unlock(&d->mtx);
	} else if (is_in(off, len, VIRTIO_BAR_TABLE, VIRTIO_BAR_TABLE_BYTES, &at)) {
		put_le(msix_read_table(&d->msix, at, len), data, len);
	} else if (is_in(off, len, VIRTIO_BAR_PENDING, VIRTIO_BAR_PENDING_BYTES, &at)) {
		put_le(msix_read_pending(&d->msix, at, len), data, len);
	}
}

static void write_common(struct virtio_dev *d, unsigned at, uint64_t value, unsigned len)
{
	(void)pthread_mutex_lock(&d->mtx);
	enum virtio_then then = virtio_regs_write(d, at, value, len);

	(void)pthread_mutex_unlock(&d->mtx);
	switch (then) {
	case VIRTIO_THEN_NOTHING:
		break;
	case VIRTIO_THEN_SYNC:
		msix_sync(&d->msix);
		break;
	case VIRTIO_THEN_RESET:
		virtio_await_reset(d);
		break;
	}
}

/* A doorbell that KVM did not take: one by the access window, or one for which it has no room. */
static void ring(struct virtio_dev *d, unsigned at)
{
	if (at % VIRTIO_BAR_NOTIFY_STEP != 0 || at / VIRTIO_BAR_NOTIFY_STEP >= d->cfg.n_queues)
		return;
	(void)pthread_mutex_lock(&d->mtx);
	virtio_post_kick(d, at / VIRTIO_BAR_NOTIFY_STEP);
	(void)pthread_mutex_unlock(&d->mtx);
}

static void bar_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct virtio_dev *d = dev;
	unsigned at;

	if (is_in(off, len, VIRTIO_BAR_COMMON, VIRTIO_BAR_COMMON_BYTES, &at)) {
		write_common(d, at, get_le(data, len), len);
	} else if (is_in(off, len, VIRTIO_BAR_DEVICE, VIRTIO_BAR_DEVICE_BYTES, &at)) {
		(void)pthread_mutex_lock(&d->mtx);
		if (virtio_space_write(d, at, data, len))
			virtio_post_config(d);
		(void)pthread_mutex_unlock(&d->mtx);
	} else if (is_in(off, len, VIRTIO_BAR_NOTIFY, VIRTIO_BAR_NOTIFY_BYTES, &at)) {
		ring(d, at);
	} else if (is_in(off, len, VIRTIO_BAR_TABLE, VIRTIO_BAR_TABLE_BYTES, &at)) {
		msix_write_table(&d->msix, at, get_le(data, len), len);
	}
}

static const struct bus_ops bar_ops = { .read = bar_read, .write = bar_write };

/* --- doorbells: control thread ---------------------------------------------------------------------------------------- */

static int set_bell(struct virtio_dev *d, unsigned q, uint64_t bar, bool on)
{
	uint64_t gpa = bar + VIRTIO_BAR_NOTIFY + (uint64_t)q * VIRTIO_BAR_NOTIFY_STEP;

	return kvm_ioeventfd(d->env.vm, d->kick[q], gpa, on);
}

static void add_bell(struct virtio_dev *d, unsigned q)
{
	int r = set_bell(d, q, d->bells_at, true);

	d->vq[q].bell = r == 0;
	if (r < 0)
		log_warn_rl("%s: queue %u: KVM takes no doorbell, each notification is an exit: %s", d->cfg.id, q,
			    strerrordesc_np(-r));
}

static void remove_bell(struct virtio_dev *d, unsigned q)
{
	int r = d->vq[q].bell ? set_bell(d, q, d->bells_at, false) : 0;

	d->vq[q].bell = false;
	if (r < 0)
		log_warn_rl("%s: queue %u: KVM does not release its doorbell: %s", d->cfg.id, q, strerrordesc_np(-r));
}

void virtio_pci_remove_bells(struct virtio_dev *d)
{
	for (unsigned q = 0; q < d->cfg.n_queues; q++)
		remove_bell(d, q);
	d->bells_at = 0;
}

bool virtio_pci_place_bells(void *arg)
{
	struct virtio_dev *d = arg;
	uint64_t base = pci_region_base(&d->bar);

	if (base == d->bells_at)
		return true;
	virtio_pci_remove_bells(d);
	d->bells_at = base;
	for (unsigned q = 0; q < d->cfg.n_queues; q++)
		add_bell(d, q);
	return true;
}

void virtio_dev_set_kick(struct virtio_dev *d, unsigned q, int fd)
{
	/* KVM has one per address: what comes in between is an exit, which also ends in a kick. */
	remove_bell(d, q);
	d->kick[q] = fd;
	add_bell(d, q);
}

void virtio_dev_set_call(struct virtio_dev *d, unsigned q, int fd)
{
	d->call[q] = fd;
	msix_set_fd(&d->msix, q, fd);
}

/* --- access window (virtio v1.2 4.1.4.9) ------------------------------------------------------------------------------ */

/* What a data access in lanes @mask reaches: an access that starts at the first byte, of at most the length that the
 * driver has set. 0: nothing. */
static unsigned window_target(struct virtio_dev *d, uint32_t mask, uint32_t *off)
{
	uint32_t bar = pci_config_read(&d->config, d->reg_window + WINDOW_BAR) & 0xFF;
	uint32_t len = pci_config_read(&d->config, d->reg_window + WINDOW_LENGTH);
	unsigned access = (unsigned)__builtin_popcount(mask) / 8;

	*off = pci_config_read(&d->config, d->reg_window + WINDOW_OFFSET);
	if (bar != 0 || (len != 1 && len != 2 && len != 4) || *off % len != 0 || (mask & 0xFF) == 0)
		return 0;
	if (access < len)
		len = access;
	return *off <= VIRTIO_BAR_BYTES - len ? len : 0;
}

static uint32_t window_read(struct virtio_dev *d, uint32_t mask)
{
	uint32_t off, v = 0;
	unsigned len = window_target(d, mask, &off);

	if (len > 0)
		bar_read(d, off, &v, len);
	return le32toh(v);
}

static void window_write(struct virtio_dev *d, uint32_t value, uint32_t mask)
{
	uint32_t off, v = htole32(value);
	unsigned len = window_target(d, mask, &off);

	if (len > 0)
		bar_write(d, off, &v, len);
}

/* --- configuration space ---------------------------------------------------------------------------------------------- */

static uint32_t config_read(void *dev, unsigned reg, uint32_t mask)
{
	struct virtio_dev *d = dev;

	if (reg == d->reg_window + WINDOW_DATA)
		return window_read(d, mask);
	if (reg == d->reg_msix)
		return pci_config_read(&d->config, reg) | (uint32_t)msix_control(&d->msix) << 16;
	return pci_config_read(&d->config, reg);
}

static void config_write(void *dev, unsigned reg, uint32_t value, uint32_t mask)
{
	struct virtio_dev *d = dev;

	if (reg == d->reg_window + WINDOW_DATA) {
		window_write(d, value, mask);
	} else if (reg == d->reg_msix) {
		if (mask >> 16 == 0xFFFF) /* half a message control is none */
			msix_write_control(&d->msix, (uint16_t)(value >> 16));
	} else if (pci_config_write(&d->config, reg, value, mask)) {
		errand_call(d->env.errands, virtio_pci_place_bells, d);
	}
}

static const struct pci_function_ops function_ops = { .read = config_read, .write = config_write };

/* --- set-up ----------------------------------------------------------------------------------------------------------- */

static uint32_t class_code(uint32_t type)
{
	switch (type) {
	case VIRTIO_ID_NET:
		return CLASS_NET;
	case VIRTIO_ID_BLOCK:
		return CLASS_STORAGE;
	}
	return CLASS_OTHER;
}

struct region_cap {
	struct virtio_pci_cap cap;
	uint32_t extra; /* notification: multiplier; access window: data */
};
_Static_assert(sizeof(struct region_cap) == 20, "virtio v1.2 4.1.4.4");

/* The offset of a capability that tells where a region lies, or -ENOSPC. */
static int add_region_cap(struct virtio_dev *d, uint8_t type, uint32_t off, uint32_t size, bool has_extra,
			  uint32_t extra)
{
	struct region_cap c = {
		.cap = {
			.cap_len = has_extra ? sizeof(c) : sizeof(c.cap),
			.cfg_type = type,
			.offset = htole32(off),
			.length = htole32(size),
		},
		.extra = htole32(extra),
	};

	return pci_config_add_cap(&d->config, PCI_CAP_ID_VNDR, &c, c.cap.cap_len);
}

static int add_window(struct virtio_dev *d)
{
	int at = add_region_cap(d, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, true, 0);

	if (at < 0)
		return at;
	d->reg_window = (unsigned)at / 4;
	pci_config_set_writable(&d->config, (unsigned)at + 4 * WINDOW_BAR, 0xFF);
	pci_config_set_writable(&d->config, (unsigned)at + 4 * WINDOW_OFFSET, UINT32_MAX);
	pci_config_set_writable(&d->config, (unsigned)at + 4 * WINDOW_LENGTH, UINT32_MAX);
	return 0;
}

static int add_msix(struct virtio_dev *d)
{
	/* Message control is msix's own; tables: BAR number in the low bits, here 0. */
	const uint32_t body[3] = { 0, htole32(VIRTIO_BAR_TABLE), htole32(VIRTIO_BAR_PENDING) };
	int at = pci_config_add_cap(&d->config, PCI_CAP_ID_MSIX, body, sizeof(body));

	d->reg_msix = at > 0 ? (unsigned)at / 4 : 0;
	return at < 0 ? at : 0;
}

static int add_caps(struct virtio_dev *d)
{
	uint32_t space = d->cfg.config_len_hidden ? VIRTIO_BAR_DEVICE_BYTES : d->cfg.config_len;
	int r = add_region_cap(d, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_BAR_COMMON, VIRTIO_BAR_COMMON_BYTES, false, 0);

	if (r >= 0)
		r = add_region_cap(d, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_BAR_ISR, 1, false, 0);
	if (r >= 0 && d->cfg.config_len > 0)
		r = add_region_cap(d, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_BAR_DEVICE, space, false, 0);
	if (r >= 0)
		r = add_region_cap(d, VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_BAR_NOTIFY, VIRTIO_BAR_NOTIFY_BYTES, true,
				   VIRTIO_BAR_NOTIFY_STEP);
	if (r >= 0)
		r = add_window(d);
	return r >= 0 ? add_msix(d) : r;
}

static int place_bar(struct virtio_dev *d)
{
	struct pci_window *window = d->cfg.bar32 ? &d->env.windows->low : &d->env.windows->high;

	d->bar = (struct pci_region){ .size = VIRTIO_BAR_BYTES, .ops = &bar_ops, .dev = d };
	int r = pci_region_place(&d->bar, window, d->cfg.bar32 ? VIRTIO_BAR_BYTES : BAR_ALIGN);

	return r < 0 ? r : pci_config_add_bar(&d->config, 0, !d->cfg.bar32, &d->bar);
}

int virtio_pci_init(struct virtio_dev *d, struct err *e)
{
	const uint16_t id = (uint16_t)(DEVICE_BASE + d->cfg.type);
	const struct pci_ids ids = {
		.vendor = VENDOR,
		.device = id,
		.subsys_vendor = VENDOR,
		.subsys = id,
		.class_code = class_code(d->cfg.type),
		.revision = REVISION,
	};

	pci_config_init(&d->config, &ids);
	int r = add_caps(d);

	if (r == 0)
		r = place_bar(d);
	if (r < 0)
		return err_sys(e, r, "cannot place its registers");
	r = pci_segment_add(d->env.segment, d->cfg.slot, &function_ops, d);
	if (r == -EBUSY)
		return err_set(e, r, "PCI slot %d is taken", d->cfg.slot);
	if (r < 0)
		return err_set(e, r, "no PCI slot is free");
	d->slot = r;
	return 0;
}
