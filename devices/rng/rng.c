/* SPDX-License-Identifier: ISC */
/*
 * cloister-rng: entropy for a guest (virtio v1.2 5.4). One queue; each chain's writable part is filled from the source by
 * one read straight into guest memory, so no random byte ever lies in this process.
 *
 * Descriptors held: the source (a character device, a file, a pipe or a socket). Believed: nothing of the chain but that it
 * lies in guest memory (vq.c). A request of any size costs one read of at most 64 KiB; the driver asks again.
 *
 * A source that has nothing to give now is waited for; one that ended, or fails, is tried again every second.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/ev.h"
#include "common/fd.h"
#include "common/log.h"
#include "devices/common/vdevice.h"
#include "jail/policy/roles.h"

enum {
	SOURCE = FD_rng_SOURCE,
	READ_MAX = 64 * 1024, /* for one request */
	IOVS = 64,
	BUDGET = 64,          /* requests for each wake-up */
	RETRY_MS = 1000,
};

struct rng {
	struct vdevice *vd;
	const char *src;         /* alone; option */
	struct event *ev_source; /* armed while the source is dry */
	bool waits;
	bool failed;             /* said so */
};

static void wait_for_source(struct rng *r)
{
	if (!r->waits)
		r->waits = event_add(r->ev_source, NULL) == 0;
	if (!r->waits)
		vdevice_again(r->vd, 0, RETRY_MS);
}

static void source_failed(struct rng *r, int error)
{
	if (!r->failed)
		log_error("entropy source: %s", error != 0 ? strerror(error) : "it has ended");
	r->failed = true;
	vdevice_again(r->vd, 0, RETRY_MS);
}

/* From the source into the chain. Bytes, or -errno.
 * #syscalls rng: readv(fd=SOURCE)
 * #syscalls rng_alone: readv
 */
static ssize_t fill(const struct vq_chain *c)
{
	struct iovec iov[IOVS];
	uint32_t len = c->in_bytes < READ_MAX ? c->in_bytes : READ_MAX;
	int n = vq_chain_iov(c, true, 0, len, iov, IOVS);
	ssize_t got;

	if (n == -E2BIG)
		n = IOVS; /* the first ones are a request too */
	if (n <= 0)
		return n;
	do {
		got = readv(SOURCE, iov, n);
	} while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

/* False: stop popping. */
static bool serve_chain(struct rng *r, struct vq *vq, const struct vq_chain *c)
{
	if (c->in_bytes == 0) { /* nothing was asked for */
		vq_push(vq, c->head, 0);
		return true;
	}
	ssize_t n = fill(c);
	if (n <= 0) {
		vq_unpop(vq, c);
		if (n == -EAGAIN)
			wait_for_source(r);
		else
			source_failed(r, (int)-n);
		return false;
	}
	r->failed = false;
	vq_chain_dirty(vq, c, 0, (uint32_t)n);
	vq_push(vq, c->head, (uint32_t)n);
	return true;
}

static void rng_on_queue(void *dev, struct vq *vq)
{
	struct rng *r = dev;
	struct iovec iov[IOVS];
	struct vq_chain c;
	int popped = 0;

	if (r->waits)
		return;
	for (; popped < BUDGET; popped++) {
		if (vq_pop(vq, &c, iov, IOVS) != 1 || !serve_chain(r, vq, &c))
			break;
	}
	vq_flush(vq);
	if (popped == BUDGET)
		vdevice_again(r->vd, 0, 0);
}

static void on_source(evutil_socket_t fd, short what, void *arg)
{
	struct rng *r = arg;

	(void)fd;
	(void)what;
	r->waits = false;
	vdevice_serve(r->vd, 0);
}

/* --- two lives -------------------------------------------------------------------------------------------------- */

static int rng_configure(void *dev, const void *config, struct chan_msg *m, struct jail_limits *lim, struct err *e)
{
	struct rng *r = dev;

	(void)config;
	(void)lim;
	if (m->nfds != 1)
		return err_set(e, -EBADMSG, "%u descriptors instead of a source", m->nfds);
	int bad = fd_set_nonblock(m->fds[0], true);
	if (bad < 0)
		return err_sys(e, bad, "entropy source");
	return vdevice_take_fd(r->vd, m, 0, SOURCE, e);
}

static int take_src(void *dev, const char *value, struct err *e)
{
	struct rng *r = dev;

	if (*value == '\0')
		return err_set(e, -EINVAL, "a path is missing");
	r->src = value;
	return 0;
}

static const struct vdevice_option rng_options[] = {
	{ "src", "PATH", "where entropy comes from (default /dev/urandom)", take_src },
	{ 0 },
};

static int rng_open_alone(void *dev, struct jail_limits *lim, struct err *e)
{
	struct rng *r = dev;
	const char *path = r->src != NULL ? r->src : "/dev/urandom";
	struct stat st;
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	(void)lim;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, -errno, "\"%s\"", path);
	if (S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode))
		return err_set(e, -EINVAL, "\"%s\" is no source of entropy", path);
	return vdevice_own_fd(r->vd, &fd, SOURCE, e);
}

static int rng_start(void *dev, uint32_t *detail, struct err *e)
{
	struct rng *r = dev;

	(void)detail;
	r->ev_source = event_new(vdevice_base(r->vd, 0), SOURCE, EV_READ, on_source, r);
	if (r->ev_source == NULL)
		return err_set(e, -ENOMEM, "events");
	vdevice_set_features(r->vd, 0, 0);
	return 0;
}

static void rng_queue_stop(void *dev, struct vq *vq)
{
	struct rng *r = dev;

	if (r->waits)
		(void)event_del(r->ev_source);
	r->waits = false;
	vdevice_queue_idle(r->vd, vq_index(vq));
}

static const struct vdevice_ops rng_ops = {
	.name = "rng",
	.role = JAIL_RNG,
	.role_alone = JAIL_RNG_ALONE,
	.fd_events = FD_rng_EVENTS,
	.queues_max = 1,
	.config_type = MSG_RNG_CONFIG,
	.config_desc = &desc_msg_rng_config,
	.configure = rng_configure,
	.options = rng_options,
	.open_alone = rng_open_alone,
	.start = rng_start,
	.on_queue = rng_on_queue,
	.queue_stop = rng_queue_stop,
};

int main(int argc, char **argv)
{
	static struct rng rng;

	return vdevice_main(&rng_ops, &rng, &rng.vd, argc, argv);
}
