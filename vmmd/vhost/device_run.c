/* SPDX-License-Identifier: ISC */
/* What a driver wants of its device, carried out by whatever back end there is. */
#include "vmmd/vhost/device_internal.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include <event2/event.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/ovf.h"

/* --- a control queue -------------------------------------------------------------------------------------------------- */

#define BIT(n) (UINT64_C(1) << (n))

static struct vhost_device *whole(struct vhost_device *d)
{
	return d->data != NULL ? d->data : d;
}

/* Queues of the guest's, from the first on, that @d itself serves. */
static unsigned n_served(const struct vhost_device *d)
{
	return d->control_queue > 0 && d->control_queue < d->n_queues ? d->control_queue : d->n_queues;
}

/* Where a driver that has accepted @acked finds it (virtio v1.2 5.1.2: behind the pairs, of which there is one without
 * MQ). 0: nowhere. */
static unsigned control_queue(const struct vhost_device *d, uint64_t acked)
{
	if (d->control == NULL || (acked & BIT(VIRTIO_NET_F_CTRL_VQ)) == 0)
		return 0;
	return (acked & BIT(VIRTIO_NET_F_MQ)) != 0 ? d->n_queues : 2;
}

/* Its events are those of the last queue; where it is another (0: no longer) that one lends its registers. */
static void place_control(struct vhost_device *d, unsigned queue)
{
	unsigned was = n_served(d);

	d->control_queue = queue;
	unsigned now = n_served(d);

	if (was == now || d->dev == NULL)
		return;
	unsigned q = was < now ? was : now, from = was < now ? q : d->n_queues;

	virtio_dev_set_kick(d->dev, q, d->kick[from]);
	virtio_dev_set_call(d->dev, q, d->call[from]);
}

/* Rings are enabled as the driver has told the control queue: one pair before it has (virtio v1.2 5.1.6.5.5). */
static void set_pairs(struct vhost_device *d, unsigned pairs)
{
	bool told = d->control_queue != 0 && (d->acked & BIT(VIRTIO_NET_F_MQ)) != 0;

	vhost_front_set_active(&d->front, told ? 2 * pairs : d->n_queues);
}

static void hear_pairs(struct vhost_device *control)
{
	const uint8_t *at = control->front.config + VHOST_CTL_PAIRS_AT;
	unsigned pairs = at[0] | (unsigned)at[1] << 8;

	if (control->wanted && pairs > 0 && pairs <= control->data->n_queues / 2)
		set_pairs(control->data, pairs);
}

/* --- the end of a run ------------------------------------------------------------------------------------------------- */

bool vhost_device_is_idle(const struct vhost_device *d)
{
	return !d->wanted && !d->stopping;
}

void vhost_device_stopped(struct vhost_device *d)
{
	if (!d->stopping)
		return;
	d->stopping = false;
	(void)event_del(d->on_late);
	vhost_front_forget(&d->front);
	struct vhost_device *all = whole(d);

	for (const struct vhost_device *p = all; p != NULL; p = p->control)
		if (p->stopping)
			return; /* its end comes, too */
	place_control(all, 0);
	if (all->dev != NULL)
		virtio_dev_stopped(all->dev);
	all->ops->stopped(all->arg, all);
}

void vhost_device_fail(struct vhost_device *d)
{
	vhost_device_watch_err(d, false);
	if (d->wanted && whole(d)->dev != NULL)
		virtio_dev_needs_reset(whole(d)->dev);
}

static void be_stop(void *be)
{
	struct vhost_device *d = be;
	bool under_way = false;

	for (struct vhost_device *p = d; p != NULL; p = p->control) {
		p->wanted = false;
		p->ran = false;
		under_way = under_way || p->stopping;
	}
	if (under_way)
		return;
	/* All are, before one can say that it has stopped. */
	for (struct vhost_device *p = d; p != NULL; p = p->control)
		p->stopping = true;
	for (struct vhost_device *p = d; p != NULL; p = p->control) {
		vhost_device_watch_err(p, false);
		if (p->doomed)
			vhost_device_await_death(p);
		else
			vhost_front_stop(&p->front);
	}
}

/*
 * #syscalls vmmd: eventfd2
 */
static int fresh_event(unsigned count)
{
	int fd = eventfd(count, EFD_NONBLOCK | EFD_CLOEXEC);

	if (fd < 0)
		log_error("eventfd: %s", strerrordesc_np(errno));
	return fd;
}

/* A doorbell that has rung @count times already. False: the old one stays. */
static bool replace_kick(struct vhost_device *d, unsigned q, unsigned count)
{
	int fd = fresh_event(count);

	if (fd < 0)
		return false;
	if (d->dev != NULL && q < n_served(d))
		virtio_dev_set_kick(d->dev, q, fd);
	fd_closep(&d->kick[q]);
	d->kick[q] = fd;
	return true;
}

/* The guest's doorbells and interrupts no longer reach whoever has the old ones. Without a descriptor to be had it
 * goes on with those: a nuisance to its own guest. */
static void replace_events(struct vhost_device *d)
{
	for (unsigned q = 0; q < d->n_queues; q++) {
		int call = fresh_event(0);

		(void)replace_kick(d, q, 0);
		if (call >= 0) {
			if (d->dev != NULL && q < n_served(d))
				virtio_dev_set_call(d->dev, q, call);
			fd_closep(&d->call[q]);
			d->call[q] = call;
		}
	}
}

void vhost_device_await_death(struct vhost_device *d)
{
	uint32_t ms = d->front.cfg.timeouts.death_ms;
	const struct timeval timeout = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	if (d->ours) {
		(void)event_add(d->on_late, &timeout);
		return;
	}
	replace_events(d);
	vhost_device_stopped(d);
}

/* It was killed and does not die. Its successor, should there be one some day, makes the device work again. */
static void on_late(evutil_socket_t fd, short what, void *arg)
{
	struct vhost_device *d = arg;

	(void)fd;
	(void)what;
	if (!d->stopping)
		return;
	log_error("%s: its back end does not die: failed, the VM goes on without it", d->name);
	d->final = true;
	d->ops->event(d->arg, d, "failed");
	vhost_device_stopped(d);
}

void vhost_device_on_stopped(void *arg)
{
	vhost_device_stopped(arg);
}

/* --- start ------------------------------------------------------------------------------------------------------------ */

static bool is_ring(const struct vhost_device *d, const struct virtio_queue *q)
{
	uint64_t n = q->size;

	if (!q->enabled || !is_pow2_u64(n) || n > d->queue_size)
		return false;
	if (q->desc % 16 != 0 || q->driver % 2 != 0 || q->device % 4 != 0)
		return false;
	return gmem_check(d->gmem, q->desc, 16 * n) == 0 && gmem_check(d->gmem, q->driver, 6 + 2 * n) == 0 &&
	       gmem_check(d->gmem, q->device, 6 + 8 * n) == 0;
}

/* Everything before this was used: a back end that died takes up the rest. What the guest has made of the index
 * meanwhile is its own affair. */
static uint16_t used_idx(const struct vhost_device *d, const struct virtio_queue *q)
{
	uint16_t idx = 0;

	if (gmem_read(d->gmem, q->device + 2, &idx, sizeof(idx)) < 0)
		return 0;
	return le16toh(idx);
}

/* What the driver set up for ring @i. */
static const struct virtio_queue *queue_of(const struct vhost_device *d, unsigned i)
{
	static const struct virtio_queue none;

	if (d->data != NULL)
		return virtio_dev_queue(d->data->dev, d->data->control_queue);
	return i < n_served(d) ? virtio_dev_queue(d->dev, i) : &none;
}

/* A ring that can't be is left out, like one that isn't enabled. */
static void fill_rings(struct vhost_device *d)
{
	for (unsigned i = 0; i < d->n_queues; i++) {
		const struct virtio_queue *q = queue_of(d, i);
		struct vhost_ring *ring = &d->front.rings[i];

		*ring = (struct vhost_ring){ .enabled = is_ring(d, q) };
		if (q->enabled && !ring->enabled)
			log_warn_rl("%s: queue %u is not in guest memory", d->name, i);
		if (!ring->enabled)
			continue;
		ring->size = q->size;
		ring->desc = q->desc;
		ring->avail = q->driver;
		ring->used = q->device;
		ring->base = d->ran ? used_idx(d, q) : 0;
	}
}

static void run(struct vhost_device *d)
{
	uint64_t has = d->front.features | d->profile->added;

	/* What a control queue's helper lacks is not its affair. */
	if (d->data == NULL && (d->acked & ~has) != 0) {
		log_error("%s: its back end has lost features that are in use", d->name);
		vhost_device_fail(d);
		return;
	}
	fill_rings(d);
	/* Somebody else's successor may not look at its rings before a doorbell rings, and the one for what is there has
	 * rung long ago. Ours looks. */
	for (unsigned q = 0; d->ran && !d->ours && q < d->n_queues; q++)
		(void)replace_kick(d, q, 1);
	vhost_front_start(&d->front, d->acked & d->front.features, d->ram, d->ran);
	d->ran = true;
	vhost_device_watch_err(d, true);
	/* What it was about to tell is of another run. */
	if (d->data != NULL)
		vhost_front_refresh_config(&d->front);
}

static void begin(struct vhost_device *d, uint64_t acked)
{
	d->wanted = true;
	d->ran = false;
	d->acked = acked;
	if (d->final)
		vhost_device_fail(d);
	else if (d->front.state == VHOST_READY)
		run(d);
	/* else when a back end is ready */
}

static void be_start(void *be, uint64_t acked)
{
	struct vhost_device *d = be;

	d->acked = acked;
	place_control(d, control_queue(d, acked));
	set_pairs(d, 1);
	begin(d, acked);
	if (d->control_queue != 0)
		begin(d->control, acked);
}

void vhost_device_on_ready(void *arg)
{
	struct vhost_device *d = arg;

	if (d->ram == NULL)
		return; /* the first one, before the boot */
	log_info("%s: its back end is ready", d->name);
	d->ops->event(d->arg, d, "restarted");
	vhost_device_on_config(d);
	if (d->wanted)
		run(d);
}

void vhost_device_on_refused(void *arg, const char *what)
{
	struct vhost_device *d = arg;

	log_warn_rl("%s: %s", d->name, what);
	vhost_device_fail(d);
}

/* --- configuration space ---------------------------------------------------------------------------------------------- */

void vhost_device_on_config(void *arg)
{
	struct vhost_device *d = arg;

	if (d->ram == NULL)
		return;
	if (d->data != NULL)
		hear_pairs(d);
	d = whole(d);
	(void)vhost_device_fill_config(d);
	if (d->dev != NULL && d->profile->config_len > 0)
		virtio_dev_set_config(d->dev, d->config, d->profile->config_len);
}

static void be_write_config(void *be, uint32_t off, const void *p, uint32_t len)
{
	struct vhost_device *d = be;

	vhost_front_write_config(&d->front, off, p, len);
}

/* It has no other ear than its eventfd, which it could have made one that blocks a writer. So it gets another one,
 * that counts 1 from the start. While such a message waits to be sent no other is needed. */
static void kick_another(struct vhost_device *d, unsigned q)
{
	if (d->front.state != VHOST_RUNNING || vhost_link_is_unsent(&d->front.link, VHOST_USER_SET_VRING_KICK, q))
		return;
	if (replace_kick(d, q, 1))
		vhost_front_set_kick(&d->front, q, &d->kick[q]);
}

static void be_kick(void *be, unsigned q)
{
	struct vhost_device *d = be;

	if (d->control_queue != 0 && q == d->control_queue)
		vhost_front_kick(&d->control->front, 0);
	else if (d->ours)
		vhost_front_kick(&d->front, q);
	else
		kick_another(d, q);
}

const struct virtio_backend_ops vhost_device_backend_ops = {
	.start = be_start,
	.stop = be_stop,
	.kick = be_kick,
	.write_config = be_write_config,
};

/* --- trouble that a back end tells ------------------------------------------------------------------------------------ */

/*
 * The guest broke its rings. Heard once for each start: what comes after that means the same. The back end has the same
 * eventfd, and could have made it one that blocks.
 *
 * #syscalls vmmd: preadv2
 */
static void on_err(evutil_socket_t fd, short what, void *arg)
{
	struct vhost_device *d = arg;
	uint64_t n;
	struct iovec iov = { &n, sizeof(n) };

	(void)what;
	if (preadv2(fd, &iov, 1, -1, RWF_NOWAIT) < 0 && errno == EAGAIN)
		return;
	vhost_device_watch_err(d, false);
	log_warn_rl("%s: broken rings or requests", d->name);
	vhost_device_fail(d);
}

int vhost_device_make_events(struct vhost_device *d, struct err *e)
{
	d->on_err = event_new(d->base, d->err, EV_READ | EV_PERSIST, on_err, d);
	d->on_late = event_new(d->base, -1, 0, on_late, d);
	return d->on_err == NULL || d->on_late == NULL ? err_set(e, -ENOMEM, "out of memory for a device") : 0;
}

void vhost_device_watch_err(struct vhost_device *d, bool on)
{
	uint64_t n;
	struct iovec iov = { &n, sizeof(n) };

	if (d->on_err == NULL)
		return;
	if (on) {
		/* What was meant for the run before doesn't count. */
		if (preadv2(d->err, &iov, 1, -1, RWF_NOWAIT) > 0)
			log_debug("%s: an old complaint", d->name);
		(void)event_add(d->on_err, NULL);
		return;
	}
	(void)event_del(d->on_err);
}
