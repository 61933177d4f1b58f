/* SPDX-License-Identifier: ISC */
/* Run by hand against anyone's vhost-user front end: options, and opening what they name. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/str.h"
#include "common/units.h"
#include "devices/blk/blk.h"
#include "jail/policy/roles.h"

enum { ALONE_POLL_US_MAX = 1000, ALONE_QUEUE_SIZE = 128, ALONE_QUEUE_SIZE_MAX = 1024, LOCK_WAIT_MS = 1000 };

/* --- options -------------------------------------------------------------------------------------------------- */

static int take_path(void *dev, const char *value, struct err *e)
{
	struct blk *b = dev;

	free(b->path);
	b->path = strdup(value);
	return b->path != NULL ? 0 : err_set(e, -ENOMEM, "out of memory");
}

static int take_serial(void *dev, const char *value, struct err *e)
{
	struct blk *b = dev;

	if (strlen(value) > BLK_ID_BYTES)
		return err_set(e, -EINVAL, "serial numbers have at most %d bytes", BLK_ID_BYTES);
	free(b->serial);
	b->serial = strdup(value);
	return b->serial != NULL ? 0 : err_set(e, -ENOMEM, "out of memory");
}

static int take_switch(const char *value, bool *out, struct err *e)
{
	bool on = strcmp(value, "on") == 0;

	if (!on && strcmp(value, "off") != 0)
		return err_set(e, -EINVAL, "\"%s\" is neither on nor off", value);
	*out = on;
	return 0;
}

static int take_readonly(void *dev, const char *value, struct err *e)
{
	struct blk *b = dev;

	return take_switch(value, &b->disk.image.shape.readonly, e);
}

static int take_direct(void *dev, const char *value, struct err *e)
{
	struct blk *b = dev;

	return take_switch(value, &b->disk.image.direct, e);
}

static int take_sparse(void *dev, const char *value, struct err *e)
{
	struct blk *b = dev;

	return take_switch(value, &b->disk.image.shape.sparse, e);
}

static int take_num_queues(void *dev, const char *value, struct err *e)
{
	struct blk *b = dev;

	if (str_to_u64(value, 1, b->ops.queues_max, &b->n_queues_wanted) < 0)
		return err_set(e, -EINVAL, "\"%s\" is no number of queues from 1 to %u", value, b->ops.queues_max);
	return 0;
}

static int take_queue_size(void *dev, const char *value, struct err *e)
{
	struct blk *b = dev;
	uint64_t n;

	if (str_to_u64(value, 2, ALONE_QUEUE_SIZE_MAX, &n) < 0)
		return err_set(e, -EINVAL, "\"%s\" is no number from 2 to %d", value, ALONE_QUEUE_SIZE_MAX);
	b->queue_size = (uint16_t)n;
	return 0;
}

static int take_poll_us(void *dev, const char *value, struct err *e)
{
	struct blk *b = dev;
	uint64_t us;

	if (str_to_u64(value, 0, ALONE_POLL_US_MAX, &us) < 0)
		return err_set(e, -EINVAL, "\"%s\" is no number from 0 to %d", value, ALONE_POLL_US_MAX);
	b->poll_us = (uint32_t)us;
	return 0;
}

static int take_engine(void *dev, const char *value, struct err *e)
{
	struct blk *b = dev;

	b->setup.use_io_uring = b->setup.must_io_uring = strcmp(value, "io_uring") == 0;
	if (!b->setup.use_io_uring && strcmp(value, "sync") != 0)
		return err_set(e, -EINVAL, "\"%s\" is neither io_uring nor sync", value);
	return 0;
}

static int take_image_type(void *dev, const char *value, struct err *e)
{
	static const struct {
		const char *key;
		enum image_type type;
	} types[] = {
#define TYPE(constant, json, kv) { (kv), (constant) },
		IMAGE_TYPES(TYPE)
#undef TYPE
	};
	struct blk *b = dev;

	for (size_t i = 0; i < nitems(types); i++)
		if (types[i].key != NULL && strcmp(types[i].key, value) == 0) {
			b->setup.image_type = types[i].type;
			return 0;
		}
	return err_set(e, -EINVAL, "\"%s\" is no image type", value);
}

static int take_number(const char *value, uint64_t *out, struct err *e)
{
	if (size_parse(value, out) < 0)
		return err_set(e, -EINVAL, "\"%s\" is no number", value);
	return 0;
}

static struct cfg_token_bucket *bucket(struct blk *b, bool bytes)
{
	struct cfg_rate_limiter *l = &b->setup.limits;

	if (bytes) {
		l->has_bandwidth = true;
		return &l->bandwidth;
	}
	l->has_ops = true;
	return &l->ops;
}

static int take_burst(struct cfg_token_bucket *t, const char *value, struct err *e)
{
	t->has_one_time_burst = true;
	return take_number(value, &t->one_time_burst, e);
}

static int take_bw_size(void *dev, const char *value, struct err *e)
{
	return take_number(value, &bucket(dev, true)->size, e);
}

static int take_bw_burst(void *dev, const char *value, struct err *e)
{
	return take_burst(bucket(dev, true), value, e);
}

static int take_bw_refill(void *dev, const char *value, struct err *e)
{
	return take_number(value, &bucket(dev, true)->refill_time, e);
}

static int take_ops_size(void *dev, const char *value, struct err *e)
{
	return take_number(value, &bucket(dev, false)->size, e);
}

static int take_ops_burst(void *dev, const char *value, struct err *e)
{
	return take_burst(bucket(dev, false), value, e);
}

static int take_ops_refill(void *dev, const char *value, struct err *e)
{
	return take_number(value, &bucket(dev, false)->refill_time, e);
}

const struct vdevice_option blk_options[] = {
	{ "path", "PATH", "image file or block device", take_path },
	{ "readonly", "on|off", "refuse writes [off]", take_readonly },
	{ "direct", "on|off", "bypass the host's page cache [off]", take_direct },
	{ "sparse", "on|off", "offer discard, let the file be sparse [on]", take_sparse },
	{ "num-queues", "N", "queues [1]", take_num_queues },
	{ "queue-size", "N", "what the front end makes of it, at most; tells how many segments fit [128]", take_queue_size },
	{ "serial", "TEXT", "serial number, at most 20 bytes", take_serial },
	{ "image-type", "raw", "format [detected]", take_image_type },
	{ "engine", "io_uring|sync", "how the image is read and written [io_uring if there is one]", take_engine },
	{ "poll-us", "N", "longest adaptive poll in microseconds, 0: none [32]", take_poll_us },
	{ "bw-size", "BYTES", "limit of bytes in bw-refill-time", take_bw_size },
	{ "bw-one-time-burst", "BYTES", "extra credit at the start", take_bw_burst },
	{ "bw-refill-time", "MS", "milliseconds", take_bw_refill },
	{ "ops-size", "N", "limit of requests in ops-refill-time", take_ops_size },
	{ "ops-one-time-burst", "N", "extra credit at the start", take_ops_burst },
	{ "ops-refill-time", "MS", "milliseconds", take_ops_refill },
	{ 0 },
};

/* --- opening -------------------------------------------------------------------------------------------------- */

void blk_alone_init(struct blk *b)
{
	b->disk.image = (struct blk_image){ .fd = -1, .shape.sparse = true };
	b->setup.use_io_uring = true;
	b->setup.image_type = IMAGE_TYPE_UNKNOWN;
	b->n_queues_wanted = 1;
	b->queue_size = ALONE_QUEUE_SIZE;
	b->poll_us = BLK_POLL_US;
}

/* An image served by two at once is lost. The lock is the open file's; it ends with its holder's last I/O, which
 * may be a moment after the holder itself: so this waits a bit. */
static int lock_image(int fd, bool readonly, struct err *e)
{
	struct flock lock = { .l_type = readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };
	int64_t until = clock_mono_ms() + LOCK_WAIT_MS;

	while (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		static const struct timespec moment = { .tv_nsec = 2000000 };

		if (errno != EAGAIN && errno != EACCES)
			return err_sys(e, -errno, "lock");
		if (clock_mono_ms() > until)
			return err_set(e, -EBUSY, "in use by another process");
		(void)nanosleep(&moment, NULL);
	}
	return 0;
}

static int open_image(struct blk *b, struct err *e)
{
	bool readonly = b->disk.image.shape.readonly;
	int flags = (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | (b->disk.image.direct ? O_DIRECT : 0);
	struct stat st;

	/* Opening a pipe would wait for its other end. */
	if (stat(b->path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, -EINVAL, "neither a file nor a block device");
	_cleanup_(fd_closep) int fd = open(b->path, flags);
	if (fd < 0)
		return err_sys(e, -errno, "open");
	int r = lock_image(fd, readonly, e);
	if (r == 0)
		r = vdevice_own_fd(b->vd, &fd, FD_blk_alone_IMAGE, e);
	b->disk.image.fd = FD_blk_alone_IMAGE;
	return r;
}

int blk_open_alone(void *dev, struct jail_limits *lim, struct err *e)
{
	struct blk *b = dev;

	if (b->path == NULL)
		return err_set(e, -EINVAL, "--path is missing");
	vdevice_set_queues(b->vd, (unsigned)b->n_queues_wanted);
	b->setup.serial = b->serial;
	int r = open_image(b, e);
	if (r == 0)
		r = blk_own_limits(b, &b->setup.limits, e);
	if (r == 0)
		r = blk_prepare(b, lim, e);
	return r < 0 ? err_wrap(e, r, "%s", b->path) : 0;
}
