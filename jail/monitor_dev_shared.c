/* SPDX-License-Identifier: ISC */
#include "jail/monitor_dev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/units.h"
#include "proto/stats_page.h"
#include "proto/vhost_user.h"

enum {
	EVENTS_FIRST = 240, /* beside the other descriptors of MON_DEVICE */
	EVENTS_MORE = 252,
};

/* #syscalls monitor: memfd_create ftruncate fcntl(F_ADD_SEALS) */
int dev_make_page(const char *name, uint64_t bytes, struct err *e)
{
	_cleanup_(fd_closep) int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return err_sys(e, -errno, "shared page \"%s\"", name);
	return fd_take(&fd);
}

static int make_pages(struct dev_shared *s, uint32_t n_queues, uint32_t queue_size, uint64_t memory_size, struct err *e)
{
	s->inflight_bytes = vhost_user_inflight_bytes(n_queues, queue_size);
	/* Guest memory has a hole of 1 GiB below 4 GiB. */
	s->log_bytes = vhost_user_log_bytes(memory_size + GIB);
	s->inflight_fd = dev_make_page("inflight", s->inflight_bytes, e);
	if (s->inflight_fd < 0)
		return s->inflight_fd;
	s->log_fd = dev_make_page("dirty-log", s->log_bytes, e);
	if (s->log_fd < 0)
		return s->log_fd;
	s->stats_fd = dev_make_page("statistics", STATS_PAGE_BYTES, e);
	return s->stats_fd < 0 ? s->stats_fd : 0;
}

/* #syscalls monitor: eventfd2 */
static int make_event(int *fd, struct err *e)
{
	*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return *fd < 0 ? err_sys(e, -errno, "eventfd") : 0;
}

int dev_shared_make(struct dev_shared *s, uint32_t n_queues, uint32_t queue_size, uint64_t memory_size, bool ours,
		    struct err *e)
{
	int r;

	*s = DEV_SHARED_NONE;
	s->events = calloc(n_queues, 2 * sizeof(int));
	if (s->events == NULL)
		return err_sys(e, -ENOMEM, "queues");
	r = make_event(&s->err_fd, e);
	while (r == 0 && s->n_events < 2 * n_queues) {
		r = make_event(&s->events[s->n_events], e);
		s->n_events += r == 0;
	}
	if (r == 0 && ours)
		r = make_pages(s, n_queues, queue_size, memory_size, e);
	return r;
}

void dev_shared_close(struct dev_shared *s)
{
	fd_close_all(s->events, s->n_events);
	freep(&s->events);
	fd_closep(&s->err_fd);
	fd_closep(&s->inflight_fd);
	fd_closep(&s->log_fd);
	fd_closep(&s->stats_fd);
	*s = DEV_SHARED_NONE;
}

int dev_wire_make(struct dev_wire *w, struct err *e)
{
	dev_wire_close(w);
	int r = fd_socketpair(SOCK_STREAM, w->vhost);
	if (r == 0)
		r = fd_socketpair(SOCK_STREAM, w->backend);
	return r < 0 ? err_sys(e, r, "sockets of a device") : 0;
}

void dev_wire_close(struct dev_wire *w)
{
	fd_close_all(w->vhost, 2);
	fd_close_all(w->backend, 2);
	*w = DEV_WIRE_NONE;
}

/* --- to the helper ---------------------------------------------------------------------------------------------- */

static int send_events(struct dev *d)
{
	const struct dev_shared *s = &d->shared;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < s->n_events; i += EVENTS_MORE) {
		struct msg_hlp_events m = { .n = s->n_events - i < EVENTS_MORE ? s->n_events - i : EVENTS_MORE };

		r = link_send(&d->helper.link, MSG_HLP_EVENTS, 0, &desc_msg_hlp_events, &m, s->events + i, m.n);
	}
	return r;
}

int dev_send_vhost(struct dev *d, struct err *e)
{
	const struct dev_shared *s = &d->shared;
	const struct msg_hlp_vhost m = {
		.n_queues = d->n_queues,
		.queue_size = d->queue_size,
		.ram_bytes = d->mon->memory_size,
		.inflight_bytes = s->inflight_bytes,
		.log_bytes = s->log_bytes,
	};
	int r = dev_wire_make(&d->wire, e);

	if (r < 0)
		return r;
	const int fds[] = { d->wire.vhost[0], d->wire.backend[0], s->err_fd, d->mon->memory_fd, s->inflight_fd, s->log_fd,
			    s->stats_fd };
	r = link_send(&d->helper.link, MSG_HLP_VHOST, 0, &desc_msg_hlp_vhost, &m, fds, nitems(fds));
	if (r == 0)
		r = send_events(d);
	/* Only the process has its ends, so that vmmd sees its death. */
	fd_closep(&d->wire.vhost[0]);
	fd_closep(&d->wire.backend[0]);
	return r < 0 ? err_sys(e, r, "its descriptors") : 0;
}

/* --- to vmmd ---------------------------------------------------------------------------------------------------- */

int dev_send_device(struct dev *d, struct err *e)
{
	const struct dev_shared *s = &d->shared;
	struct msg_mon_device m = {
		.kind = d->kind,
		.index = d->index,
		.generation = d->generation,
		.ours = d->ours,
		.n_queues = d->n_queues,
		.queue_size = d->queue_size,
		.n_events = s->n_events < EVENTS_FIRST ? s->n_events : EVENTS_FIRST,
	};
	int fds[4 + EVENTS_FIRST];
	unsigned n = 0, sent = m.n_events;

	fds[n++] = d->ours ? d->wire.vhost[1] : d->foreign.socket;
	if (d->ours)
		fds[n++] = d->wire.backend[1];
	fds[n++] = s->err_fd;
	if (d->ours)
		fds[n++] = s->stats_fd;
	memcpy(fds + n, s->events, m.n_events * sizeof(int));
	int r = link_send(&d->mon->vmmd, MSG_MON_DEVICE, 0, &desc_msg_mon_device, &m, fds, n + m.n_events);
	while (r == 0 && sent < s->n_events) {
		struct msg_mon_device_events more = { .kind = d->kind, .index = d->index };

		more.n = s->n_events - sent < EVENTS_MORE ? s->n_events - sent : EVENTS_MORE;
		r = link_send(&d->mon->vmmd, MSG_MON_DEVICE_EVENTS, 0, &desc_msg_mon_device_events, &more, s->events + sent,
			      more.n);
		sent += more.n;
	}
	return r < 0 ? err_sys(e, r, "handing it over") : 0;
}
