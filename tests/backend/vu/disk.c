/* SPDX-License-Identifier: ISC */
#include "tests/backend/vu/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/backend/vu/tests.h"

enum { SLOTS = 32, BUFFER = 65536 };
#define BYTES (UINT64_C(16) << 20)

static int open_image(struct vu_disk *d)
{
	const struct vu_disk_opts *o = &d->opts;

	if (o->path != NULL) {
		(void)snprintf(d->path, sizeof(d->path), "%s", o->path);
	} else {
		(void)snprintf(d->path, sizeof(d->path), "%s/vudiskXXXXXX", o->dir != NULL ? o->dir : "/tmp");
		int fd = mkostemp(d->path, O_CLOEXEC);

		if (fd < 0 || ftruncate(fd, (off_t)(o->bytes != 0 ? o->bytes : BYTES)) < 0)
			return -errno;
		(void)close(fd);
		d->own_file = true;
	}
	d->fd = open(d->path, (o->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | (o->direct ? O_DIRECT : 0));
	return d->fd < 0 ? -errno : 0;
}

static void add_arg(struct vu_disk *d, unsigned *n, const char *fmt, const char *value)
{
	if (*n >= nitems(d->text))
		return;
	int at = (int)strcspn(fmt, "%");

	(void)snprintf(d->text[*n], sizeof(d->text[0]), "%.*s%s", at, fmt, value);
	d->args[*n] = d->text[*n];
	(*n)++;
}

static void make_args(struct vu_disk *d)
{
	const struct vu_disk_opts *o = &d->opts;
	char number[16];
	unsigned n = 0;

	add_arg(d, &n, "--path=%", d->path);
	if (!o->no_type)
		add_arg(d, &n, "--image-type=%", "raw");
	if (o->readonly)
		add_arg(d, &n, "--readonly=%", "on");
	if (o->direct)
		add_arg(d, &n, "--direct=%", "on");
	if (o->no_uring)
		add_arg(d, &n, "--engine=%", "sync");
	if (o->serial != NULL)
		add_arg(d, &n, "--serial=%", o->serial);
	(void)snprintf(number, sizeof(number), "%u", o->n_queues != 0 ? o->n_queues : 1);
	add_arg(d, &n, "--num-queues=%", number);
}

struct vu_disk *vu_disk_new_cold(const struct vu_disk_opts *opts)
{
	struct vu_disk *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->opts = *opts;
	d->fd = -1;
	int r = open_image(d);

	if (r < 0) {
		vu_diag("%s: %s", d->path, strerror(-r));
		(void)vu_disk_free(d);
		return NULL;
	}
	make_args(d);
	d->config = (struct msg_blk_config){ .readonly = opts->readonly, .direct = opts->direct, .sparse = true,
					     .use_io_uring = !opts->no_uring,
					     .image_type = opts->no_type ? IMAGE_TYPE_UNKNOWN : IMAGE_TYPE_RAW,
					     .serial = (char *)(uintptr_t)opts->serial };
	d->cfg = (struct vu_cfg){ .mode = (enum vu_mode)opts->mode, .program = "cloister-blk", .args = d->args,
				  .n_queues = opts->n_queues, .queue_size = opts->queue_size, .hole = opts->hole,
				  .config_type = MSG_BLK_CONFIG, .config_desc = &desc_msg_blk_config,
				  .config = &d->config, .fds = &d->fd, .n_fds = 1,
				  .features = ~(opts->without | (opts->log ? 0 : VHOST_USER_BIT(VHOST_USER_F_LOG_ALL))) };
	return d;
}

static int make_slots(struct vu_disk *d)
{
	struct virtio_blk_config config;
	int r = vu_get_config(d->v, &config, sizeof(config.capacity));

	if (r < 0)
		return r;
	d->sectors = config.capacity;
	d->b = calloc(d->v->n_queues, sizeof(*d->b));
	for (unsigned q = 0; d->b != NULL && q < d->v->n_queues && r == 0; q++)
		r = vu_blk_init(&d->b[q], d->v, q, d->opts.slots != 0 ? d->opts.slots : SLOTS,
				d->opts.buffer != 0 ? d->opts.buffer : BUFFER);
	return d->b == NULL ? -ENOMEM : r;
}

struct vu_disk *vu_disk_new(const struct vu_disk_opts *opts)
{
	struct vu_disk *d = vu_disk_new_cold(opts);

	if (d == NULL)
		return NULL;
	d->v = vu_new(&d->cfg);
	if (d->v == NULL || make_slots(d) < 0) {
		(void)vu_disk_free(d);
		return NULL;
	}
	return d;
}

bool vu_disk_free(struct vu_disk *d)
{
	if (d == NULL)
		return true;
	bool good = vu_free(d->v);

	fd_closep(&d->fd);
	if (d->own_file)
		(void)unlink(d->path);
	free(d->b);
	free(d);
	return good;
}

bool vu_disk_write(struct vu_disk *d, unsigned queue, uint64_t sector, unsigned n, uint64_t sequence)
{
	struct vu_blk *b = &d->b[queue];

	for (unsigned i = 0; i < n; i++)
		vu_blk_stamp((uint8_t *)vu_blk_data(b, 0) + (size_t)i * VU_SECTOR, VU_SECTOR, sector + i, sequence);
	int r = vu_blk_do(b, VIRTIO_BLK_T_OUT, sector, n * VU_SECTOR);

	WANT(r == VIRTIO_BLK_S_OK, "write of %u sectors at %llu: %d", n, (unsigned long long)sector, r);
	return true;
}

bool vu_disk_check(struct vu_disk *d, unsigned queue, uint64_t sector, unsigned n, uint64_t sequence)
{
	struct vu_blk *b = &d->b[queue];

	memset(vu_blk_data(b, 0), 0xcc, (size_t)n * VU_SECTOR);
	int r = vu_blk_do(b, VIRTIO_BLK_T_IN, sector, n * VU_SECTOR);

	WANT(r == VIRTIO_BLK_S_OK, "read of %u sectors at %llu: %d", n, (unsigned long long)sector, r);
	for (unsigned i = 0; i < n; i++) {
		uint64_t got = vu_blk_read_stamp((uint8_t *)vu_blk_data(b, 0) + (size_t)i * VU_SECTOR, VU_SECTOR, sector + i);

		WANT(got == sequence, "sector %llu has sequence %lld, not %lld", (unsigned long long)(sector + i), (long long)got,
		     (long long)sequence);
	}
	return true;
}
