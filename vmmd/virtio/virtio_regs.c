/* SPDX-License-Identifier: ISC */
/*
 * Common configuration and configuration space (virtio v1.2 4.1.4.3, 4.1.4.6). The caller holds the device's lock.
 *
 * An access must have its field's width (of 64-bit fields: either half, or the whole); others read 0 and write nothing.
 * Nothing a driver writes in whatever order is an error here: what makes no sense is not taken, and reads back as before.
 *
 *	status    bits are only added, until 0 resets; FEATURES_OK only with VERSION_1, DRIVER_OK starts the device when
 *	          all four bits of a driver that is ready are set, no other, and some queue is enabled
 *	features  are fixed by FEATURES_OK
 *	queues    size and addresses are fixed when a queue is enabled, and which are enabled when the device starts
 *	vectors   change at any time
 */
#include "vmmd/virtio/virtio_internal.h"

#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "common/ovf.h"

_Static_assert(sizeof(struct virtio_pci_common_cfg) == VIRTIO_BAR_COMMON_BYTES, "virtio v1.2 4.1.4.3");

enum {
	STATUS_OF_DRIVER = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
			   VIRTIO_CONFIG_S_DRIVER_OK,
	STATUS_WRITABLE = STATUS_OF_DRIVER | VIRTIO_CONFIG_S_FAILED,
};

static const uint8_t width_at[VIRTIO_BAR_COMMON_BYTES] = {
	[VIRTIO_PCI_COMMON_DFSELECT] = 4,  [VIRTIO_PCI_COMMON_DF] = 4,
	[VIRTIO_PCI_COMMON_GFSELECT] = 4,  [VIRTIO_PCI_COMMON_GF] = 4,
	[VIRTIO_PCI_COMMON_MSIX] = 2,      [VIRTIO_PCI_COMMON_NUMQ] = 2,
	[VIRTIO_PCI_COMMON_STATUS] = 1,    [VIRTIO_PCI_COMMON_CFGGENERATION] = 1,
	[VIRTIO_PCI_COMMON_Q_SELECT] = 2,  [VIRTIO_PCI_COMMON_Q_SIZE] = 2,
	[VIRTIO_PCI_COMMON_Q_MSIX] = 2,    [VIRTIO_PCI_COMMON_Q_ENABLE] = 2,
	[VIRTIO_PCI_COMMON_Q_NOFF] = 2,    [VIRTIO_PCI_COMMON_Q_DESCLO] = 4,
	[VIRTIO_PCI_COMMON_Q_DESCHI] = 4,  [VIRTIO_PCI_COMMON_Q_AVAILLO] = 4,
	[VIRTIO_PCI_COMMON_Q_AVAILHI] = 4, [VIRTIO_PCI_COMMON_Q_USEDLO] = 4,
	[VIRTIO_PCI_COMMON_Q_USEDHI] = 4,
};

/* The whole of a 64-bit field. */
static bool is_both_halves(unsigned off, unsigned len)
{
	return len == 8 && off % 8 == 0 && off >= VIRTIO_PCI_COMMON_Q_DESCLO;
}

/* The one way to a queue that a driver names; NULL: there is none. */
static struct virtio_vq *selected(const struct virtio_dev *d)
{
	return d->queue_select < d->cfg.n_queues ? &d->vq[d->queue_select] : NULL;
}

bool virtio_regs_reset(struct virtio_dev *d)
{
	bool sync = false;

	d->status = 0;
	d->resetting = false;
	d->config_vector = VIRTIO_MSI_NO_VECTOR;
	d->queue_select = 0;
	d->feature_select = 0;
	d->driver_feature_select = 0;
	d->acked = 0;
	for (unsigned i = 0; i < d->cfg.n_queues; i++) {
		d->vq[i].q = (struct virtio_queue){ .size = d->cfg.queue_size };
		d->vq[i].vector = VIRTIO_MSI_NO_VECTOR;
		d->vq[i].kicked = false;
		if (msix_set_source(&d->msix, i, MSIX_NO_VECTOR))
			sync = true;
	}
	msix_forget(&d->msix);
	return sync;
}

/* --- reading ---------------------------------------------------------------------------------------------------------- */

static uint32_t feature_word(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

static uint64_t queue_address(const struct virtio_queue *q, unsigned off)
{
	if (off < VIRTIO_PCI_COMMON_Q_AVAILLO)
		return q->desc;
	return off < VIRTIO_PCI_COMMON_Q_USEDLO ? q->driver : q->device;
}

static uint32_t read_queue(const struct virtio_dev *d, unsigned off)
{
	const struct virtio_vq *vq = selected(d);

	if (vq == NULL)
		return off == VIRTIO_PCI_COMMON_Q_MSIX ? VIRTIO_MSI_NO_VECTOR : 0;
	switch (off) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		return vq->q.size;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		return vq->vector;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return vq->q.enabled;
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return d->queue_select;
	}
	return (uint32_t)(queue_address(&vq->q, off) >> (off % 8 * 8));
}

static uint32_t read_field(const struct virtio_dev *d, unsigned off)
{
	switch (off) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		return d->feature_select;
	case VIRTIO_PCI_COMMON_DF:
		return feature_word(d->cfg.features, d->feature_select);
	case VIRTIO_PCI_COMMON_GFSELECT:
		return d->driver_feature_select;
	case VIRTIO_PCI_COMMON_GF:
		return feature_word(d->acked, d->driver_feature_select);
	case VIRTIO_PCI_COMMON_MSIX:
		return d->config_vector;
	case VIRTIO_PCI_COMMON_NUMQ:
		return d->cfg.n_queues;
	case VIRTIO_PCI_COMMON_STATUS:
		return d->status;
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		return d->generation;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		return d->queue_select;
	}
	return read_queue(d, off);
}

uint64_t virtio_regs_read(const struct virtio_dev *d, unsigned off, unsigned len)
{
	if (is_both_halves(off, len))
		return read_field(d, off) | (uint64_t)read_field(d, off + 4) << 32;
	return width_at[off] == len ? read_field(d, off) : 0;
}

/* --- writing ---------------------------------------------------------------------------------------------------------- */

/* Bits that weren't offered are dropped (virtio v1.2 2.2: a driver must not accept them). */
static void write_features(struct virtio_dev *d, uint32_t value)
{
	if (d->driver_feature_select >= 2 || (d->status & VIRTIO_CONFIG_S_FEATURES_OK) != 0)
		return;
	unsigned shift = 32 * d->driver_feature_select;

	d->acked &= ~((uint64_t)UINT32_MAX << shift);
	d->acked |= ((uint64_t)value << shift) & d->cfg.features;
}

static enum virtio_then write_status(struct virtio_dev *d, uint8_t value)
{
	if (value == 0 && d->state == VIRTIO_IDLE)
		return virtio_regs_reset(d) ? VIRTIO_THEN_SYNC : VIRTIO_THEN_NOTHING;
	if (value == 0) {
		d->resetting = true;
		return VIRTIO_THEN_RESET;
	}
	value &= STATUS_WRITABLE;
	if ((d->acked & (UINT64_C(1) << VIRTIO_F_VERSION_1)) == 0)
		value &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK; /* virtio v1.2 6.1: we need it */
	d->status |= value;
	return VIRTIO_THEN_NOTHING;
}

/* A vector that doesn't exist reads back as none (virtio v1.2 4.1.5.1.2.1). */
static uint16_t good_vector(const struct virtio_dev *d, uint32_t value)
{
	return value < d->msix.n_vectors ? (uint16_t)value : VIRTIO_MSI_NO_VECTOR;
}

static void write_half(uint64_t *field, unsigned off, uint32_t value)
{
	unsigned shift = off % 8 * 8;

	*field = (*field & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)value << shift;
}

/* Size and addresses of a queue that isn't enabled. Addresses are checked by who uses them. */
static void write_geometry(struct virtio_queue *q, unsigned off, uint32_t value)
{
	if (off == VIRTIO_PCI_COMMON_Q_SIZE)
		q->size = (uint16_t)value;
	else if (off < VIRTIO_PCI_COMMON_Q_AVAILLO)
		write_half(&q->desc, off, value);
	else if (off < VIRTIO_PCI_COMMON_Q_USEDLO)
		write_half(&q->driver, off, value);
	else
		write_half(&q->device, off, value);
}

static enum virtio_then write_queue(struct virtio_dev *d, unsigned off, uint32_t value)
{
	struct virtio_vq *vq = selected(d);

	if (vq == NULL)
		return VIRTIO_THEN_NOTHING;
	switch (off) {
	case VIRTIO_PCI_COMMON_Q_MSIX:
		vq->vector = good_vector(d, value);
		return msix_set_source(&d->msix, d->queue_select, vq->vector) ? VIRTIO_THEN_SYNC : VIRTIO_THEN_NOTHING;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		if (value == 1 && d->state == VIRTIO_IDLE && is_pow2_u64(vq->q.size) && vq->q.size <= d->cfg.queue_size)
			vq->q.enabled = true;
		return VIRTIO_THEN_NOTHING;
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return VIRTIO_THEN_NOTHING;
	}
	if (!vq->q.enabled && d->state == VIRTIO_IDLE)
		write_geometry(&vq->q, off, value);
	return VIRTIO_THEN_NOTHING;
}

static enum virtio_then write_field(struct virtio_dev *d, unsigned off, uint32_t value)
{
	switch (off) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		d->feature_select = value;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		d->driver_feature_select = value;
		break;
	case VIRTIO_PCI_COMMON_GF:
		write_features(d, value);
		break;
	case VIRTIO_PCI_COMMON_MSIX:
		d->config_vector = good_vector(d, value);
		break;
	case VIRTIO_PCI_COMMON_STATUS:
		return write_status(d, (uint8_t)value);
	case VIRTIO_PCI_COMMON_Q_SELECT:
		d->queue_select = (uint16_t)value;
		break;
	case VIRTIO_PCI_COMMON_DF:
	case VIRTIO_PCI_COMMON_NUMQ:
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		break;
	default:
		return write_queue(d, off, value);
	}
	return VIRTIO_THEN_NOTHING;
}

static bool has_queue(const struct virtio_dev *d)
{
	for (unsigned i = 0; i < d->cfg.n_queues; i++)
		if (d->vq[i].q.enabled)
			return true;
	return false;
}

enum virtio_then virtio_regs_write(struct virtio_dev *d, unsigned off, uint64_t value, unsigned len)
{
	bool both = is_both_halves(off, len);
	enum virtio_then then;

	if (!both && width_at[off] != len)
		return VIRTIO_THEN_NOTHING;
	if (d->resetting && off != VIRTIO_PCI_COMMON_STATUS)
		return VIRTIO_THEN_NOTHING;
	if (d->resetting)
		return value == 0 ? VIRTIO_THEN_RESET : VIRTIO_THEN_NOTHING;
	then = write_field(d, off, (uint32_t)value);
	if (both)
		then = write_field(d, off + 4, (uint32_t)(value >> 32));
	if (d->state == VIRTIO_IDLE && d->status == STATUS_OF_DRIVER && has_queue(d)) {
		d->state = VIRTIO_STARTING;
		virtio_post_start(d);
	}
	return then;
}

/* --- configuration space ---------------------------------------------------------------------------------------------- */

void virtio_space_read(struct virtio_dev *d, unsigned off, void *data, unsigned len)
{
	/* A driver that reads the space in parts compares the generation before and after: a change between two parts
	 * shows by the second one. */
	if (d->generation_due)
		d->generation++;
	d->generation_due = false;
	memset(data, 0, len);
	if (off < d->cfg.config_len)
		memcpy(data, d->space + off, len < d->cfg.config_len - off ? len : d->cfg.config_len - off);
}

bool virtio_space_write(struct virtio_dev *d, unsigned off, const void *data, unsigned len)
{
	const uint32_t lo = d->cfg.writable_off, hi = lo + d->cfg.writable_len;
	uint32_t from = off > lo ? off : lo, to = off + len < hi ? off + len : hi;

	if (from >= to || d->resetting)
		return false;
	memcpy(d->space + from, (const uint8_t *)data + (from - off), to - from);
	if (d->written_from == d->written_to) {
		d->written_from = from;
		d->written_to = to;
	}
	if (from < d->written_from)
		d->written_from = from;
	if (to > d->written_to)
		d->written_to = to;
	return true;
}
