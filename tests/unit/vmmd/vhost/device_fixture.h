/* SPDX-License-Identifier: ISC */
/*
 * A device between a monitor, a back end and a driver that are all played by hand: the functions of virtio devices are
 * the ones below, which count how they are called.
 */
#ifndef TESTS_UNIT_VMMD_VHOST_DEVICE_FIXTURE_H
#define TESTS_UNIT_VMMD_VHOST_DEVICE_FIXTURE_H

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>

#include "common/ev.h"
#include "fake_backend.h"
#include "vmmd/vhost/devices.h"

enum { QUEUES = 2, QUEUES_ROOM = 8, QUEUE_SIZE = 128, RAM = 64 * 1024, RING = 64 };

#define PROTO \
	(VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_MQ) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIG) | \
	 VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE))
#define FEATURES \
	(VHOST_USER_BIT(VIRTIO_F_VERSION_1) | VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES) | VHOST_USER_BIT(9))
#define ACKED (VHOST_USER_BIT(VIRTIO_F_VERSION_1) | VHOST_USER_BIT(9))

struct virtio_dev {
	struct virtio_queue q[QUEUES_ROOM];
	unsigned stopped, needs_reset, set_config, set_kick, set_call;
	int kick[QUEUES_ROOM], call[QUEUES_ROOM]; /* set last */
	uint8_t config0;
};

const struct virtio_queue *virtio_dev_queue(const struct virtio_dev *d, unsigned q)
{
	return &d->q[q];
}

void virtio_dev_stopped(struct virtio_dev *d)
{
	d->stopped++;
}

void virtio_dev_needs_reset(struct virtio_dev *d)
{
	d->needs_reset++;
}

void virtio_dev_set_config(struct virtio_dev *d, const void *config, uint32_t len)
{
	assert_true(len > 0);
	d->config0 = *(const uint8_t *)config;
	d->set_config++;
}

void virtio_dev_set_kick(struct virtio_dev *d, unsigned q, int fd)
{
	assert_true(q < QUEUES_ROOM && fcntl(fd, F_GETFD) >= 0);
	d->kick[q] = fd;
	d->set_kick++;
}

void virtio_dev_set_call(struct virtio_dev *d, unsigned q, int fd)
{
	assert_true(q < QUEUES_ROOM && fcntl(fd, F_GETFD) >= 0);
	d->call[q] = fd;
	d->set_call++;
}

int virtio_dev_slot(const struct virtio_dev *d)
{
	(void)d;
	return 2;
}

void virtio_dev_bar(const struct virtio_dev *d, uint64_t *base, uint64_t *size, bool *is_64)
{
	(void)d;
	*base = 0xe7f80000;
	*size = 0x80000;
	*is_64 = false;
}

struct fixture {
	struct event_base *base;
	struct vhost_devices ds;
	struct vhost_device *d;
	struct virtio_dev v;
	struct fake be;
	int backend; /* our end of its own channel */
	int err;     /* the back end's duplicate */
	struct stats_page *stats;
	struct cfg_vm cfg;
	struct memmap map;
	struct gmem gmem;
	uint8_t *ram;
	int ram_fd;
	unsigned kills, restarted, failed, stopped;
	uint32_t killed_generation;
};

static inline void on_kill(void *arg, const struct vhost_device *d)
{
	struct fixture *f = arg;

	f->kills++;
	f->killed_generation = d->generation;
}

static inline void on_event(void *arg, const struct vhost_device *d, const char *name)
{
	struct fixture *f = arg;

	assert_string_equal(d->id, d->kind == DEV_DISK ? "_disk0" : "_net0");
	f->restarted += strcmp(name, "restarted") == 0;
	f->failed += strcmp(name, "failed") == 0;
}

static inline void on_stopped(void *arg, struct vhost_device *d)
{
	(void)d;
	((struct fixture *)arg)->stopped++;
}

static inline void turn(struct fixture *f)
{
	for (int i = 0; i < 4; i++)
		assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
}

/* --- the monitor ------------------------------------------------------------------------------------------------------ */

/* In the order of MON_DEVICE. Returns the count. */
static inline unsigned make_fds(struct fixture *f, bool ours, int *fds)
{
	unsigned n = 0;
	int pair[2], stats;

	assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
	fd_closep(&f->be.sock);
	f->be.sock = pair[0];
	fds[n++] = pair[1];
	if (ours) {
		assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
		fd_closep(&f->backend);
		f->backend = pair[0];
		fds[n++] = pair[1];
	}
	fds[n] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	fd_closep(&f->err);
	f->err = fcntl(fds[n++], F_DUPFD_CLOEXEC, 0);
	if (ours) {
		stats = memfd_create("stats", MFD_CLOEXEC);
		assert_int_equal(ftruncate(stats, STATS_PAGE_BYTES), 0);
		f->stats = mmap(NULL, STATS_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, stats, 0);
		assert_ptr_not_equal(f->stats, MAP_FAILED);
		fds[n++] = stats;
	}
	for (int i = 0; i < 2 * (int)QUEUES; i++)
		fds[n++] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return n;
}

static inline struct msg_mon_device device_message(bool ours)
{
	return (struct msg_mon_device){
		.kind = DEV_DISK,
		.generation = 1,
		.ours = ours,
		.n_queues = QUEUES,
		.queue_size = QUEUE_SIZE,
		.n_events = 2 * QUEUES,
	};
}

static inline void gone(struct fixture *f, uint32_t generation, bool final)
{
	char reason[] = "killed";
	const struct msg_mon_device_gone m = {
		.kind = DEV_DISK,
		.generation = generation,
		.final = final,
		.reason = reason,
	};

	vhost_devices_gone(&f->ds, &m);
}

static inline void up(struct fixture *f, uint32_t generation)
{
	const struct msg_mon_device_up m = { .kind = DEV_DISK, .generation = generation };
	int fds[16], n = (int)make_fds(f, f->d->ours, fds);

	assert_int_equal(vhost_devices_up(&f->ds, &m, fds, f->d->ours ? 2 : 1, NULL), 0);
	fd_close_all(fds, (unsigned)n);
}

/* --- the back end ----------------------------------------------------------------------------------------------------- */

static inline void reply_config(struct fixture *f, uint8_t first)
{
	uint8_t config[60] = { first };

	fake_reply_config(&f->be, config, sizeof(config));
}

/* Whatever is asked is answered, up to and with @last. */
static inline void play(struct fixture *f, uint64_t features, uint8_t config0)
{
	turn(f);
	while (fake_take(&f->be)) {
		switch (f->be.h.request) {
		case VHOST_USER_GET_FEATURES:
			fake_reply_u64(&f->be, f->be.h.request, features);
			break;
		case VHOST_USER_GET_PROTOCOL_FEATURES:
			fake_reply_u64(&f->be, f->be.h.request, PROTO);
			break;
		case VHOST_USER_GET_QUEUE_NUM:
			fake_reply_u64(&f->be, f->be.h.request, QUEUES);
			break;
		case VHOST_USER_GET_CONFIG:
			reply_config(f, config0);
			break;
		case VHOST_USER_GET_VRING_BASE:
			fake_reply(&f->be, f->be.h.request, f->be.payload, f->be.h.size);
			break;
		default:
			break;
		}
		turn(f);
	}
}

/* --- the driver ------------------------------------------------------------------------------------------------------- */

static inline void set_up_queues(struct fixture *f)
{
	for (unsigned q = 0; q < QUEUES; q++)
		f->v.q[q] = (struct virtio_queue){
			.enabled = true,
			.size = RING,
			.desc = 0x1000 + 0x2000 * q,
			.driver = 0x1800 + 0x2000 * q,
			.device = 0x2000 + 0x2000 * q,
		};
}

static inline void driver_ok(struct fixture *f)
{
	f->d->cfg.ops->start(f->d->cfg.be, ACKED);
	turn(f);
}

static inline void driver_reset(struct fixture *f)
{
	f->d->cfg.ops->stop(f->d->cfg.be);
	turn(f);
}

/* --- life ------------------------------------------------------------------------------------------------------------- */

static inline void no_progress(void *arg)
{
	(void)arg;
}

static inline void make_config(struct cfg_vm *cfg)
{
	obj_init(&desc_cfg_vm, cfg);
	cfg->has_disks = true;
	cfg->n_disks = 1;
	cfg->disks = calloc(1, sizeof(*cfg->disks));
	obj_init(&desc_cfg_disk, &cfg->disks[0]);
	cfg->disks[0].id = strdup("_disk0");
}

static inline struct fixture *make(void)
{
	static const struct vhost_device_ops ops = { on_kill, on_event, on_stopped };
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->base = ev_new(EV_BACKEND_EPOLL);
	f->be.sock = f->backend = f->err = -1;
	make_config(&f->cfg);
	f->ram_fd = memfd_create("ram", MFD_CLOEXEC);
	assert_int_equal(ftruncate(f->ram_fd, RAM), 0);
	f->ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_SHARED, f->ram_fd, 0);
	assert_int_equal(gmem_add(&f->gmem, 0, RAM, f->ram), 0);
	f->map.n_ram = 1;
	f->map.ram[0] = (struct memmap_ram){ 0, RAM, 0 };
	vhost_devices_init(&f->ds, f->base, &ops, f);
	set_up_queues(f);
	return f;
}

/* A disk, handed over, prepared, in a machine. */
static inline struct fixture *make_disk(bool ours)
{
	struct fixture *f = make();
	const struct msg_mon_device m = device_message(ours);
	int fds[16];
	unsigned n = make_fds(f, ours, fds);

	assert_int_equal(vhost_devices_add(&f->ds, &m, fds, n, NULL), 0);
	fd_close_all(fds, n);
	f->d = f->ds.v[0];
	f->d->front.cfg.timeouts = (struct vhost_timeouts){ .answer_ms = 100, .stop_ms = 20, .death_ms = 40 };
	play(f, FEATURES, 7);
	assert_int_equal(vhost_devices_prepare(&f->ds, &f->cfg, &f->gmem, &f->map, f->ram_fd, no_progress, NULL, NULL),
			 0);
	assert_int_equal(vhost_devices_list(&f->ds)[0].cfg == &f->d->cfg, 1);
	*vhost_devices_list(&f->ds)[0].out = &f->v;
	return f;
}

static inline void end(struct fixture *f)
{
	vhost_devices_clear(&f->ds);
	ev_free(f->base);
	fd_closep(&f->be.sock);
	fd_closep(&f->backend);
	fd_closep(&f->err);
	fd_closep(&f->ram_fd);
	if (f->stats != NULL)
		(void)munmap(f->stats, STATS_PAGE_BYTES);
	(void)munmap(f->ram, RAM);
	obj_fini(&desc_cfg_vm, &f->cfg);
	free(f);
}

/* Until @n has grown beyond @was, for at most 2 s: the deadlines here are far below. */
static inline void run_until(struct fixture *f, const unsigned *n, unsigned was)
{
	const struct timespec t = { 0, 1000000 };

	for (int i = 0; i < 2000 && *n == was; i++) {
		turn(f);
		(void)nanosleep(&t, NULL);
	}
	assert_int_equal(*n, was + 1);
}

#endif
