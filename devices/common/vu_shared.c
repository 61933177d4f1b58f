/* SPDX-License-Identifier: ISC */
/* Messages about memory that is shared: the guest's, the dirty log, the in-flight region. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/fd.h"
#include "devices/common/vu_internal.h"

/* --- guest memory ----------------------------------------------------------------------------------------------------- */

int vu_set_mem_table(struct vu_server *s, struct err *e)
{
	struct vhost_user_mem_table t = { 0 };

	memcpy(&t, s->payload, s->head.size);
	if (t.n > VHOST_USER_MEM_REGIONS_MAX || s->head.size != 8 + t.n * sizeof(t.region[0]))
		return err_set(e, -EPROTO, "a table of %u regions in %u bytes", t.n, s->head.size);
	if (!s->preset && s->n_fds != t.n)
		return err_set(e, -EPROTO, "%u descriptors for %u regions", s->n_fds, t.n);
	return vu_mem_set(&s->mem, t.region, t.n, s->preset ? NULL : s->fds, e);
}

static struct vhost_user_single_region payload_region(const struct vu_server *s)
{
	struct vhost_user_single_region r;

	memcpy(&r, s->payload, sizeof(r));
	return r;
}

int vu_add_mem_reg(struct vu_server *s, struct err *e)
{
	struct vhost_user_single_region r = payload_region(s);

	return vu_mem_add(&s->mem, &r.region, s->n_fds > 0 ? s->fds[0] : -1, e);
}

int vu_rem_mem_reg(struct vu_server *s, struct err *e)
{
	struct vhost_user_single_region r = payload_region(s);

	return vu_mem_remove(&s->mem, &r.region, e);
}

void vu_shared_clear(struct vu_shared *m)
{
	if (m->map != NULL)
		(void)munmap(m->map, (size_t)m->map_bytes);
	*m = (struct vu_shared){ 0 };
}

static int shared_map(struct vu_shared *m, int fd, uint64_t off, uint64_t bytes, struct err *e)
{
	struct vu_shared new = { .bytes = bytes };

	new.at = vu_mem_map_file(fd, off, bytes, &new.map, &new.map_bytes, e);
	if (new.at == NULL)
		return -EINVAL;
	vu_shared_clear(m);
	*m = new;
	return 0;
}

/* Answered always: that is how a front end knows that no write goes unlogged any more. */
int vu_set_log_base(struct vu_server *s, struct err *e)
{
	struct vhost_user_log l;
	int r = 0;

	memcpy(&l, s->payload, sizeof(l));
	if (!s->preset)
		r = shared_map(&s->log_map, s->fds[0], l.offset, l.size, e);
	else if (l.size > s->log_map.bytes || l.offset > s->log_map.bytes - l.size)
		r = err_set(e, -ERANGE, "a log of %llu bytes", (unsigned long long)l.size);
	if (r < 0)
		return r;
	s->log.map = s->log_map.at + (s->preset ? l.offset : 0);
	s->log.bytes = l.size;
	return vu_wire_reply_u64(s, 0);
}

/* --- in-flight region ------------------------------------------------------------------------------------------- */

static int payload_inflight(const struct vu_server *s, struct vhost_user_inflight *i, struct err *e)
{
	memset(i, 0, sizeof(*i));
	memcpy(i, s->payload, VHOST_USER_INFLIGHT_BYTES);
	if (i->num_queues == 0 || i->num_queues > s->n_queues || i->queue_size == 0 || i->queue_size > s->queue_size)
		return err_set(e, -EINVAL, "an in-flight region for %u queues of %u", i->num_queues, i->queue_size);
	return 0;
}

/* #syscalls blk_alone net_alone rng_alone vconsole_alone: memfd_create ftruncate fcntl(F_ADD_SEALS) */
static int make_inflight(uint64_t bytes, struct err *e)
{
	int fd = memfd_create("inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		int r = err_sys(e, -errno, "in-flight region");

		fd_closep(&fd);
		return r;
	}
	return fd;
}

static int reply_inflight(struct vu_server *s, const struct vhost_user_inflight *i, int fd)
{
	return vu_wire_reply(s, i, s->head.size, fd);
}

/* A fresh region: preset, ours is emptied; else one is made, and the front end keeps its descriptor. */
int vu_get_inflight_fd(struct vu_server *s, struct err *e)
{
	struct vhost_user_inflight i;
	int r = payload_inflight(s, &i, e);

	if (r < 0)
		return r;
	i.mmap_size = vhost_user_inflight_bytes(i.num_queues, i.queue_size);
	i.mmap_offset = 0;
	if (s->preset) {
		if (i.mmap_size > s->inflight.bytes)
			return err_set(e, -ERANGE, "an in-flight region of %llu bytes", (unsigned long long)i.mmap_size);
		memset(s->inflight.at, 0, (size_t)s->inflight.bytes);
	} else {
		_cleanup_(fd_closep) int fd = make_inflight(i.mmap_size, e);

		if (fd < 0)
			return fd;
		r = shared_map(&s->inflight, fd, 0, i.mmap_size, e);
		if (r < 0)
			return r;
		fd_closep(&s->inflight_fd);
		s->inflight_fd = fd_take(&fd);
	}
	s->has_inflight = true;
	s->inflight_queue_size = i.queue_size;
	return reply_inflight(s, &i, s->preset ? -1 : s->inflight_fd);
}

int vu_set_inflight_fd(struct vu_server *s, struct err *e)
{
	struct vhost_user_inflight i;
	int r = payload_inflight(s, &i, e);

	if (r < 0)
		return r;
	uint64_t need = vhost_user_inflight_bytes(i.num_queues, i.queue_size);
	if (s->preset) {
		if (need > s->inflight.bytes)
			return err_set(e, -ERANGE, "an in-flight region of %llu bytes", (unsigned long long)need);
	} else {
		if (i.mmap_size < need || i.mmap_offset % 64 != 0)
			return err_set(e, -ERANGE, "an in-flight region of %llu bytes", (unsigned long long)i.mmap_size);
		r = shared_map(&s->inflight, s->fds[0], i.mmap_offset, i.mmap_size, e);
		if (r < 0)
			return r;
	}
	s->has_inflight = true;
	s->inflight_queue_size = i.queue_size;
	return 0;
}
