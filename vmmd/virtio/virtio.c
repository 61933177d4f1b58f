/* SPDX-License-Identifier: ISC */
/*
 * The life of a virtio device: started by DRIVER_OK, stopped by a reset.
 *
 *	vCPU thread                       control thread                   back end
 *	DRIVER_OK: posts start     --->   ops->start()              --->   serves the queues
 *	(goes on)
 *	status 0: calls reset      --->   ops->stop()               --->   stops
 *	(waits; others read the           virtio_dev_stopped()      <---   nothing is in flight, or it is dead
 *	old status meanwhile)      <---   registers as at power-on
 *
 * Errands are served in order, so a reset that follows DRIVER_OK finds the device started. A machine that is halted ends
 * the vCPU's wait early; the status stays what it was.
 */
#include "vmmd/virtio/virtio_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include <linux/virtio_config.h>

#include "common/log.h"

/* --- errands: control thread ------------------------------------------------------------------------------------------ */

static bool run_start(void *arg)
{
	struct virtio_dev *d = arg;

	(void)pthread_mutex_lock(&d->mtx);
	bool start = d->state == VIRTIO_STARTING && !d->resetting;
	uint64_t acked = d->acked;

	if (start)
		d->state = VIRTIO_STARTED;
	(void)pthread_mutex_unlock(&d->mtx);
	if (start)
		d->cfg.ops->start(d->cfg.be, acked);
	return true;
}

void virtio_post_start(struct virtio_dev *d)
{
	errand_post(d->env.errands, &d->start, run_start, d);
}

static bool take_kick(struct virtio_dev *d, unsigned q)
{
	(void)pthread_mutex_lock(&d->mtx);
	bool kick = d->vq[q].kicked && d->state == VIRTIO_STARTED && !d->resetting && d->vq[q].q.enabled;

	d->vq[q].kicked = false;
	(void)pthread_mutex_unlock(&d->mtx);
	return kick;
}

static bool run_kicks(void *arg)
{
	struct virtio_dev *d = arg;

	for (unsigned q = 0; q < d->cfg.n_queues; q++)
		if (take_kick(d, q))
			d->cfg.ops->kick(d->cfg.be, q);
	return true;
}

void virtio_post_kick(struct virtio_dev *d, unsigned q)
{
	d->vq[q].kicked = true;
	errand_post(d->env.errands, &d->kicks, run_kicks, d);
}

static bool run_config_written(void *arg)
{
	struct virtio_dev *d = arg;
	uint8_t copy[VIRTIO_DEV_CONFIG_MAX];

	(void)pthread_mutex_lock(&d->mtx);
	uint32_t off = d->written_from, len = d->written_to - off;

	memcpy(copy, d->space + off, len);
	d->written_from = d->written_to = 0;
	(void)pthread_mutex_unlock(&d->mtx);
	if (len > 0)
		d->cfg.ops->write_config(d->cfg.be, off, copy, len);
	return true;
}

void virtio_post_config(struct virtio_dev *d)
{
	errand_post(d->env.errands, &d->config_written, run_config_written, d);
}

/* --- stopping --------------------------------------------------------------------------------------------------------- */

/* Interrupts of the life that is over are not for the next driver. A foreign back end has the eventfd too and may have made
 * it blocking, hence the flag.
 *
 * #syscalls vmmd: preadv2
 */
static void forget_interrupts(struct virtio_dev *d)
{
	for (unsigned q = 0; q < d->cfg.n_queues; q++) {
		uint64_t n;
		struct iovec iov = { &n, sizeof(n) };

		if (preadv2(d->call[q], &iov, 1, -1, RWF_NOWAIT) < 0) {
			/* Nothing there, or a kernel that cannot tell: a driver lives with an interrupt too many. */
		}
	}
}

/* The back end is out of it. A reset that waits for that is over. */
static void end_stop(struct virtio_dev *d)
{
	bool sync = false;

	(void)pthread_mutex_lock(&d->mtx);
	bool reset = d->resetting;

	d->state = VIRTIO_IDLE;
	if (reset)
		sync = virtio_regs_reset(d);
	(void)pthread_mutex_unlock(&d->mtx);
	if (sync)
		msix_sync(&d->msix);
	if (reset)
		forget_interrupts(d);
	errand_done(d->env.errands, d);
}

/* Returns true when there is nothing (more) to wait for. */
static bool stop(struct virtio_dev *d)
{
	(void)pthread_mutex_lock(&d->mtx);
	enum virtio_state was = d->state;

	if (was == VIRTIO_STARTED)
		d->state = VIRTIO_STOPPING;
	(void)pthread_mutex_unlock(&d->mtx);
	switch (was) {
	case VIRTIO_IDLE:
	case VIRTIO_STOPPING:
		break;
	case VIRTIO_STARTING:
		end_stop(d);
		break;
	case VIRTIO_STARTED:
		d->cfg.ops->stop(d->cfg.be);
		break;
	}
	return virtio_dev_is_idle(d);
}

static bool run_reset(void *arg)
{
	return stop(arg);
}

void virtio_await_reset(struct virtio_dev *d)
{
	errand_call(d->env.errands, run_reset, d);
}

void virtio_dev_stop(struct virtio_dev *d)
{
	(void)stop(d);
}

void virtio_dev_stopped(struct virtio_dev *d)
{
	(void)pthread_mutex_lock(&d->mtx);
	bool asked = d->state == VIRTIO_STOPPING;

	(void)pthread_mutex_unlock(&d->mtx);
	if (asked)
		end_stop(d);
}

bool virtio_dev_is_idle(struct virtio_dev *d)
{
	(void)pthread_mutex_lock(&d->mtx);
	bool idle = d->state == VIRTIO_IDLE;

	(void)pthread_mutex_unlock(&d->mtx);
	return idle;
}

/* --- from the back end ------------------------------------------------------------------------------------------------ */

void virtio_dev_needs_reset(struct virtio_dev *d)
{
	(void)pthread_mutex_lock(&d->mtx);
	bool tell = (d->status & VIRTIO_CONFIG_S_DRIVER_OK) != 0 && !d->resetting &&
		    (d->status & VIRTIO_CONFIG_S_NEEDS_RESET) == 0;
	uint16_t vector = d->config_vector;

	if (tell)
		d->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	(void)pthread_mutex_unlock(&d->mtx);
	if (!tell)
		return;
	log_debug_rl("%s: the device needs a reset by its driver", d->cfg.id);
	msix_raise(&d->msix, vector);
}

/* What the driver has written and the back end has not heard of stays. [mtx] */
static bool take_config(struct virtio_dev *d, const uint8_t *config, uint32_t len)
{
	bool changed = false;

	for (uint32_t i = 0; i < len && i < d->cfg.config_len; i++) {
		if (d->space[i] == config[i] || (i >= d->written_from && i < d->written_to))
			continue;
		d->space[i] = config[i];
		changed = true;
	}
	return changed;
}

void virtio_dev_set_config(struct virtio_dev *d, const void *config, uint32_t len)
{
	(void)pthread_mutex_lock(&d->mtx);
	bool changed = take_config(d, config, len);
	bool tell = changed && (d->status & VIRTIO_CONFIG_S_DRIVER_OK) != 0 && !d->resetting;
	uint16_t vector = d->config_vector;

	if (changed)
		d->generation_due = true;
	(void)pthread_mutex_unlock(&d->mtx);
	if (tell)
		msix_raise(&d->msix, vector);
}

/* --- questions -------------------------------------------------------------------------------------------------------- */

const struct virtio_queue *virtio_dev_queue(const struct virtio_dev *d, unsigned q)
{
	return q < d->cfg.n_queues ? &d->vq[q].q : NULL;
}

bool virtio_dev_is_running(struct virtio_dev *d)
{
	(void)pthread_mutex_lock(&d->mtx);
	bool running = d->state == VIRTIO_STARTED && !d->resetting;

	(void)pthread_mutex_unlock(&d->mtx);
	return running;
}

const char *virtio_dev_id(const struct virtio_dev *d)
{
	return d->cfg.id;
}

int virtio_dev_slot(const struct virtio_dev *d)
{
	return d->slot;
}

void virtio_dev_bar(const struct virtio_dev *d, uint64_t *base, uint64_t *size, bool *is_64)
{
	*base = pci_region_base(&d->bar);
	*size = d->bar.size;
	*is_64 = !d->cfg.bar32;
}

/* --- making and unmaking ---------------------------------------------------------------------------------------------- */

static int check_cfg(const struct virtio_dev_cfg *c)
{
	if (c->n_queues == 0 || c->n_queues > VIRTIO_QUEUES_MAX || c->config_len > VIRTIO_DEV_CONFIG_MAX)
		return -EINVAL;
	if (c->writable_off > c->config_len || c->writable_len > c->config_len - c->writable_off)
		return -EINVAL;
	return 0;
}

static int copy_cfg(struct virtio_dev *d, const struct virtio_dev_cfg *cfg)
{
	const size_t bytes = cfg->n_queues * sizeof(int);

	d->cfg = *cfg;
	d->cfg.kick = d->cfg.call = NULL;
	d->cfg.config = NULL;
	d->id = strdup(cfg->id);
	d->cfg.id = d->id;
	d->kick = malloc(bytes);
	d->call = malloc(bytes);
	d->vq = calloc(cfg->n_queues, sizeof(*d->vq));
	if (d->id == NULL || d->kick == NULL || d->call == NULL || d->vq == NULL)
		return -ENOMEM;
	memcpy(d->kick, cfg->kick, bytes);
	memcpy(d->call, cfg->call, bytes);
	if (cfg->config_len > 0)
		memcpy(d->space, cfg->config, cfg->config_len);
	return 0;
}

static int init(struct virtio_dev *d, const struct virtio_dev_cfg *cfg, struct err *e)
{
	int r = check_cfg(cfg);

	if (r == 0)
		r = copy_cfg(d, cfg);
	if (r == 0)
		r = msix_init(&d->msix, d->env.irqs, d->env.errands, cfg->n_queues + 1, d->call, cfg->n_queues);
	if (r < 0)
		return err_sys(e, r, "cannot make its registers");
	(void)virtio_regs_reset(d);
	r = virtio_pci_init(d, e);
	if (r == 0)
		(void)virtio_pci_place_bells(d);
	return r;
}

int virtio_dev_new(const struct virtio_env *env, const struct virtio_dev_cfg *cfg, struct virtio_dev **out,
		   struct err *e)
{
	struct virtio_dev *d = calloc(1, sizeof(*d));

	*out = NULL;
	if (d == NULL)
		return err_set(e, -ENOMEM, "device \"%s\": out of memory", cfg->id);
	d->env = *env;
	(void)pthread_mutex_init(&d->mtx, NULL);
	int r = init(d, cfg, e);

	if (r < 0) {
		virtio_dev_free(d);
		return err_wrap(e, r, "device \"%s\"", cfg->id);
	}
	*out = d;
	return 0;
}

void virtio_dev_disconnect(struct virtio_dev *d)
{
	virtio_pci_remove_bells(d);
	msix_disconnect(&d->msix);
}

void virtio_dev_free(struct virtio_dev *d)
{
	if (d == NULL)
		return;
	pci_region_remove(&d->bar);
	pci_config_fini(&d->config);
	msix_fini(&d->msix);
	free(d->kick);
	free(d->call);
	free(d->vq);
	free(d->id);
	(void)pthread_mutex_destroy(&d->mtx);
	free(d);
}
