/* SPDX-License-Identifier: ISC */
/*
 * cloister-blk: a disk (virtio v1.2 5.2) over a raw image or a block device.
 *
 * Descriptors held: those of every device (jail/policy/roles.def), the image, a ring for each queue. What the image
 * holds is read only behind the lock-down, and nothing of it is believed but which format it is.
 *
 * Believed: the parent's configuration. Not believed: everything in guest memory (blk_req.c), the in-flight region
 * and the page of a limit group (other helpers write there), which can hurt this disk only.
 *
 *	blk_req	a request's bytes to a checked request	blk_queue	from the ring to an engine and back, order
 *	blk_probe	the image's format			blk_io		steps of one request
 *	blk_config	features, configuration space		blk_uring	engine: io_uring
 *	blk_image	size, alignment, what it can do	blk_sync	engine: system calls
 */
#include "devices/blk/blk.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/clock.h"
#include "common/log.h"
#include "devices/blk/blk_probe.h"
#include "devices/blk/blk_stats.h"
#include "jail/policy/roles.h"

enum {
	ALONE_QUEUES_MAX = 64,
	IO_WORKERS = 2, /* kernel threads of a ring */
	PROBE_BYTES = 3 * BLK_ALIGN_MAX,
	CPUS_MAX = 8193, /* as numbers may be in the configuration */
};
_Static_assert((int)FD_blk_IMAGE == VDEVICE_FD_FIRST_OWN && (int)FD_blk_alone_IMAGE == FD_blk_IMAGE, "roles.def");

/* --- descriptor phase ----------------------------------------------------------------------------------------- */

static int make_queues(struct blk *b, uint16_t queue_size, struct err *e)
{
	b->queue = calloc(b->n_queues, sizeof(*b->queue));
	b->cpus = calloc(b->n_queues, sizeof(cpu_set_t *));
	if (b->queue == NULL || b->cpus == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < b->n_queues; i++) {
		int r = blk_queue_init(&b->queue[i], &b->disk, i, queue_size, e);

		if (r < 0)
			return r;
	}
	return 0;
}

int blk_prepare(struct blk *b, struct jail_limits *lim, struct err *e)
{
	struct blk_disk *d = &b->disk;
	uint64_t bytes = 0;
	int r = blk_image_examine(&d->image, b->setup.serial, e);

	if (r < 0)
		return r;
	b->n_queues = vdevice_n_queues(b->vd);
	d->vd = b->vd;
	d->threads = b->n_queues > 1;
	d->writeback = true;
	blk_order_init(&d->order, d->threads);
	(void)pthread_mutex_init(&d->stats_mtx, NULL);
	b->probe = aligned_alloc(BLK_ALIGN_MAX, PROBE_BYTES);
	if (b->probe == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	r = make_queues(b, vdevice_queue_size(b->vd), e);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < b->n_queues; i++)
		bytes += blk_queue_bytes(&b->queue[i]);
	/* A write behind its end must not make the image grow, whatever happens here. (Alone the log may be a file,
	 * too.) */
	if (lim->fsize != JAIL_KEEP && !d->image.shape.readonly)
		lim->fsize = d->image.shape.bytes;
	/* The kernel makes a ring's workers when they are needed, as tasks of this process. */
	if (b->setup.use_io_uring && lim->nproc != JAIL_KEEP)
		lim->nproc = (lim->nproc > 0 ? lim->nproc : 1) + (uint64_t)IO_WORKERS * b->n_queues;
	if (lim->as_bytes != JAIL_KEEP)
		lim->as_bytes += bytes;
	b->ops.role = b->setup.use_io_uring ? JAIL_BLK_URING : JAIL_BLK;
	return 0;
}

int blk_own_limits(struct blk *b, const struct cfg_rate_limiter *cfg, struct err *e)
{
	struct ratelimit probe;

	ratelimit_init(&probe, cfg, clock_mono_ns());
	if (!ratelimit_is_on(&probe))
		return 0;
	int r = ratelimit_shared_init(&b->own_limits, cfg, clock_mono_ns());
	if (r < 0)
		return err_sys(e, r, "limits");
	b->disk.limits = &b->own_limits;
	return 0;
}

/* The page of the group is shared with its other disks. */
static int group_limits(struct blk *b, struct chan_msg *m, struct err *e)
{
	if (m->nfds < 2)
		return err_set(e, -EBADMSG, "no page of the limit group");
	void *page = mmap(NULL, sizeof(struct ratelimit_shared), PROT_READ | PROT_WRITE, MAP_SHARED, m->fds[1], 0);
	if (page == MAP_FAILED)
		return err_sys(e, -errno, "page of the limit group");
	b->disk.limits = page;
	return 0;
}

/* Taken up by the queues' threads. */
static int set_affinity(struct blk *b, const struct msg_blk_config *c, struct err *e)
{
	b->cpus_bytes = CPU_ALLOC_SIZE(CPUS_MAX);
	for (size_t i = 0; i < c->n_affinity; i++) {
		const struct cfg_queue_affinity *a = &c->affinity[i];

		if (a->n_host_cpus == 0 || a->queue_index >= b->n_queues || b->cpus[a->queue_index] != NULL)
			continue;
		cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
		if (set == NULL)
			return err_set(e, -ENOMEM, "out of memory");
		CPU_ZERO_S(b->cpus_bytes, set);
		for (size_t k = 0; k < a->n_host_cpus; k++)
			CPU_SET_S(a->host_cpus[k], b->cpus_bytes, set);
		b->cpus[a->queue_index] = set;
	}
	return 0;
}

/* io_uring if it is wanted and can be had, else plain system calls. */
static int make_engine(struct blk *b, struct blk_queue *q, struct err *e)
{
	/* Only direct I/O outlives its process (blk_uring.c). */
	int control = vdevice_is_alone(b->vd) || !b->disk.image.direct ? -1 : (int)FD_blk_CONTROL;
	int r = -ENOSYS;

	if (b->setup.use_io_uring)
		r = blk_uring_init(&q->engine, b->disk.image.fd, b->disk.image.direct, control, q->depth, e);
	if (r == 0) {
		int fd = blk_uring_fd(&q->engine);

		r = vdevice_own_fd(b->vd, &fd, FD_blk_EVENTS + q->index, e);
		blk_uring_set_fd(&q->engine, FD_blk_EVENTS + (int)q->index);
		return r;
	}
	/* All queues or none: they have one filter. */
	if (b->setup.must_io_uring || (b->setup.use_io_uring && q->index > 0))
		return r;
	if (b->setup.use_io_uring)
		log_warn("io_uring: %s; reading and writing by plain system calls", strerror(-r));
	b->setup.use_io_uring = false;
	b->ops.role = JAIL_BLK;
	blk_sync_init(&q->engine, b->disk.image.fd);
	return 0;
}

/* In the thread that will serve the queue.
 * #syscalls monitor: sched_setaffinity -- of a child before its own filter
 */
static int blk_queue_init_op(void *dev, unsigned i, struct err *e)
{
	struct blk *b = dev;
	struct blk_queue *q = &b->queue[i];

	if (b->cpus[i] != NULL && sched_setaffinity(0, b->cpus_bytes, b->cpus[i]) < 0)
		return err_sys(e, -errno, "queue %u: host processors", i);
	int r = make_engine(b, q, e);
	if (r < 0)
		return r;
	vdevice_set_polling(b->vd, i, b->poll_us);
	return blk_queue_watch(q, vdevice_base(b->vd, i), e);
}

static int blk_configure(void *dev, const void *config, struct chan_msg *m, struct jail_limits *lim, struct err *e)
{
	const struct msg_blk_config *c = config;
	struct blk *b = dev;
	struct blk_image *img = &b->disk.image;
	int r = vdevice_take_fd(b->vd, m, 0, FD_blk_IMAGE, e);

	if (r < 0)
		return r;
	img->fd = FD_blk_IMAGE;
	b->queue_size = vdevice_queue_size(b->vd);
	img->direct = c->direct;
	img->shape.readonly = c->readonly;
	img->shape.sparse = c->sparse;
	b->setup.use_io_uring = c->use_io_uring;
	b->setup.image_type = c->image_type;
	b->setup.serial = c->serial;
	b->poll_us = BLK_POLL_US;
	r = c->has_group ? group_limits(b, m, e) : blk_own_limits(b, &c->limits, e);
	if (r == 0)
		r = blk_prepare(b, lim, e);
	if (r == 0)
		r = set_affinity(b, c, e);
	b->setup.serial = NULL; /* goes with the message; what it says is in the image's id */
	return r;
}

/* --- locked: the image's format ------------------------------------------------------------------------------- */

/* Before the first queue runs, through the first queue's engine. Returns bytes or -errno. */
static int64_t read_image(struct blk *b, uint8_t *to, uint64_t off, uint32_t len)
{
	struct blk_engine *g = &b->queue[0].engine;
	struct iovec iov = { to, len };
	struct blk_io io = { .op = BLK_IO_READ, .off = off, .iov = &iov, .n_iov = 1 };

	for (;;) {
		struct blk_io *done = &io;

		if (!g->ops->begin(g, &io)) {
			if (!g->ops->submit(g))
				return -EAGAIN;
			while ((done = g->ops->reap(g)) == NULL)
				g->ops->wait(g);
		}
		if (done->res != -EINTR && done->res != -EAGAIN)
			return done->res;
		io.may_block = true;
	}
}

static int read_type(struct blk *b, enum image_type *out, struct err *e)
{
	const struct blk_image *img = &b->disk.image;
	uint32_t unit = img->off_align > BLK_PROBE_HEAD ? img->off_align : BLK_PROBE_HEAD;
	uint64_t tail_at = img->shape.bytes - BLK_PROBE_TAIL, from = tail_at / unit * unit;
	uint8_t *tail = b->probe + BLK_ALIGN_MAX;
	int64_t n = read_image(b, b->probe, 0, unit);

	if (n < 0)
		return err_sys(e, (int)n, "image: read");
	uint32_t need = (uint32_t)(tail_at - from) + BLK_PROBE_TAIL;
	int64_t n_tail = read_image(b, tail, from, (need + img->off_align - 1) / img->off_align * img->off_align);
	if (n_tail < 0)
		return err_sys(e, (int)n_tail, "image: read");
	bool whole = n_tail >= (int64_t)need;
	*out = blk_probe(b->probe, n < BLK_PROBE_HEAD ? (size_t)n : BLK_PROBE_HEAD,
			 whole ? tail + (tail_at - from) : NULL);
	return 0;
}

static void set_rules(struct blk *b, bool guard)
{
	const struct blk_image *img = &b->disk.image;
	uint64_t f = blk_features(&img->shape, b->n_queues);

	b->disk.rules = (struct blk_rules){
		.capacity = img->shape.bytes / BLK_SECTOR,
		.readonly = img->shape.readonly,
		.guard_first = guard,
		.discard = (f >> VIRTIO_BLK_F_DISCARD & 1) != 0,
		.zeroes = (f >> VIRTIO_BLK_F_WRITE_ZEROES & 1) != 0,
		.write_unit = img->off_align > BLK_SECTOR ? img->off_align : BLK_SECTOR,
	};
}

static bool is_write_through(struct blk *b)
{
	return atomic_load(&vdevice_stats(b->vd)->v[STATS_BLK_WRITE_THROUGH]) != 0;
}

static void announce(struct blk *b, bool writeback)
{
	uint8_t config[BLK_CONFIG_BYTES];

	blk_config_fill(&b->disk.image.shape, b->n_queues, b->queue_size, config);
	config[BLK_CONFIG_WCE] = writeback;
	vdevice_set_config(b->vd, config, sizeof(config), BLK_CONFIG_WCE, 1);
}

static int blk_start(void *dev, uint32_t *detail, struct err *e)
{
	struct blk *b = dev;
	enum image_type found = IMAGE_TYPE_UNKNOWN;
	int r = read_type(b, &found, e);

	if (r == 0)
		r = blk_probe_check(b->setup.image_type, found, e);
	if (r < 0)
		return r;
	free(b->probe);
	b->probe = NULL;
	/* A guest that could write a header there would choose the format that the next start finds. */
	bool guard = b->setup.image_type == IMAGE_TYPE_UNKNOWN && !b->disk.image.shape.readonly;
	if (guard)
		log_warn("no image type was given, raw was found: the guest cannot write to the first sector");
	set_rules(b, guard);
	if (vdevice_is_alone(b->vd))
		blk_stats_init(vdevice_stats(b->vd));
	vdevice_set_features(b->vd, blk_features(&b->disk.image.shape, b->n_queues), 0);
	announce(b, !is_write_through(b));
	b->started = true;
	*detail = found;
	return 0;
}

/* --- the driver's choices ------------------------------------------------------------------------------------- */

static uint8_t wce(const struct blk *b)
{
	return ((const uint8_t *)vdevice_config(b->vd))[BLK_CONFIG_WCE];
}

/* A write cache that was turned off stays off in a successor. */
static void blk_set_features(void *dev, uint64_t acked)
{
	struct blk *b = dev;

	b->acked = acked;
	b->disk.writeback = blk_is_writeback(acked, wce(b));
}

static void blk_config_written(void *dev, uint32_t off, uint32_t len)
{
	struct blk *b = dev;

	(void)off;
	(void)len;
	atomic_store(&vdevice_stats(b->vd)->v[STATS_BLK_WRITE_THROUGH], wce(b) == 0);
	b->disk.writeback = blk_is_writeback(b->acked, wce(b));
}

/* Before a driver comes that knows of nothing. What a successor finds is not that: it is connected before it starts. */
static void blk_reset(void *dev)
{
	struct blk *b = dev;

	if (!b->started)
		return;
	atomic_store(&vdevice_stats(b->vd)->v[STATS_BLK_FLUSH_FAILED], 0);
	atomic_store(&vdevice_stats(b->vd)->v[STATS_BLK_WRITE_THROUGH], 0);
	announce(b, true);
}

/* --- queues --------------------------------------------------------------------------------------------------- */

static void blk_on_queue(void *dev, struct vq *vq)
{
	struct blk *b = dev;

	blk_queue_run(&b->queue[vq_index(vq)]);
}

static bool blk_poll(void *dev, struct vq *vq)
{
	struct blk *b = dev;
	struct blk_engine *g = &b->queue[vq_index(vq)].engine;

	return g->ops->has_finished(g);
}

static void blk_queue_start_op(void *dev, struct vq *vq)
{
	struct blk *b = dev;

	blk_queue_start(&b->queue[vq_index(vq)], vq);
}

static void blk_queue_stop_op(void *dev, struct vq *vq)
{
	struct blk *b = dev;

	blk_queue_stop(&b->queue[vq_index(vq)]);
}

static const struct vdevice_ops blk_ops = {
	.name = "blk",
	.role = JAIL_BLK,
	.role_alone = JAIL_BLK_ALONE,
	.flags = VDEVICE_THREADS | VDEVICE_INFLIGHT,
	.fd_events = FD_blk_EVENTS,
	.queues_max = ALONE_QUEUES_MAX,
	.config_type = MSG_BLK_CONFIG,
	.config_desc = &desc_msg_blk_config,
	.configure = blk_configure,
	.options = blk_options,
	.open_alone = blk_open_alone,
	.queue_init = blk_queue_init_op,
	.start = blk_start,
	.set_features = blk_set_features,
	.config_written = blk_config_written,
	.reset = blk_reset,
	.on_queue = blk_on_queue,
	.poll = blk_poll,
	.queue_start = blk_queue_start_op,
	.queue_stop = blk_queue_stop_op,
};

int main(int argc, char **argv)
{
	static struct blk blk;

	blk.ops = blk_ops;
	blk_alone_init(&blk);
	/* Beyond the limit on file sizes: an error of the write, not the end. */
	(void)signal(SIGXFSZ, SIG_IGN);
	return vdevice_main(&blk.ops, &blk, &blk.vd, argc, argv);
}
