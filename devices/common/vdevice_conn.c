/* SPDX-License-Identifier: ISC */
/* The connection to the front end in the main thread's loop: when to read, write and tell; its end. */
#include <errno.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "devices/common/vdevice_internal.h"

/* Have @ev pending exactly if @on. */
static void arm(struct event *ev, bool on)
{
	bool is = event_pending(ev, EV_READ | EV_WRITE, NULL) != 0;

	if (on && !is)
		(void)event_add(ev, NULL);
	else if (!on && is)
		(void)event_del(ev);
}

static void rearm(struct vdevice *vd)
{
	const struct vu_server *s = &vd->server;

	if (s->fd < 0)
		return;
	arm(vd->ev_vhost, vu_server_wants_read(s));
	arm(vd->ev_vhost_write, vu_server_wants_write(s));
	if (event_get_fd(vd->ev_tell) == s->backend_fd)
		arm(vd->ev_tell, vu_server_wants_tell(s));
}

static void try_disconnect(struct vdevice *vd)
{
	if (!vu_server_disconnect(&vd->server))
		return;
	vd->disconnecting = false;
	for (unsigned i = 0; i < vd->n_queues && vd->alone; i++) {
		struct dqueue *q = &vd->queues[i];

		fd_closep(&q->kick_fd);
		fd_closep(&q->call_number);
		fd_closep(&q->err_number);
		q->vq.call_fd = q->err_fd = -1;
	}
	vd->gone(vd);
}

void vdevice_conn_close(struct vdevice *vd)
{
	if (vd->disconnecting || vd->server.fd < 0)
		return;
	vd->disconnecting = true;
	(void)event_del(vd->ev_vhost);
	(void)event_del(vd->ev_vhost_write);
	(void)event_del(vd->ev_tell);
	try_disconnect(vd);
}

/* After each step: @r < 0 ends the connection. */
static void went(struct vdevice *vd, int r, const struct err *e)
{
	char text[LOG_MSG_MAX];

	if (r == 0) {
		rearm(vd);
		return;
	}
	if (r != -EPIPE) {
		(void)err_join(e, text, sizeof(text));
		log_warn("vhost-user connection ends: %s", err_count(e) > 0 ? text : "broken message");
	} else {
		log_debug("vhost-user connection ends");
	}
	/* Jailed, a socket can't be closed any more: a front end that makes no sense gets a fresh process to talk to. */
	if (!vd->alone && r != -EPIPE)
		vdevice_finish(vd, 1);
	vdevice_conn_close(vd);
}

static void on_vhost(evutil_socket_t fd, short what, void *arg)
{
	struct vdevice *vd = arg;
	struct err e = { 0 };

	(void)fd;
	(void)what;
	went(vd, vu_server_readable(&vd->server, &e), &e);
}

static void on_vhost_write(evutil_socket_t fd, short what, void *arg)
{
	struct vdevice *vd = arg;
	struct err e = { 0 };

	(void)fd;
	(void)what;
	went(vd, vu_server_writable(&vd->server), &e);
}

static void on_tell(evutil_socket_t fd, short what, void *arg)
{
	struct vdevice *vd = arg;

	(void)fd;
	(void)what;
	(void)vu_server_tell(&vd->server);
	rearm(vd);
}

static void on_settle(evutil_socket_t fd, short what, void *arg)
{
	struct vdevice *vd = arg;
	struct err e = { 0 };

	(void)fd;
	(void)what;
	if (vd->disconnecting)
		try_disconnect(vd);
	else if (vd->server.fd >= 0)
		went(vd, vu_server_settle(&vd->server, &e), &e);
}

static void on_main_wake(evutil_socket_t fd, short what, void *arg)
{
	uint64_t count;

	(void)!read(fd, &count, sizeof(count));
	on_settle(fd, what, arg);
}

void vdevice_notify_main(struct vdevice *vd)
{
	static const struct timeval now;
	const uint64_t one = 1;

	if (vd->main_wake >= 0)
		(void)!write(vd->main_wake, &one, sizeof(one));
	else
		(void)event_add(vd->ev_settle, &now); /* whoever asked may be in the middle of it */
}

int vdevice_conn_init(struct vdevice *vd, struct err *e)
{
	static const struct timeval hour = { 3600, 0 };

	vd->ev_vhost = event_new(vd->base, -1, EV_READ | EV_PERSIST, on_vhost, vd);
	vd->ev_vhost_write = event_new(vd->base, -1, EV_WRITE | EV_PERSIST, on_vhost_write, vd);
	vd->ev_tell = event_new(vd->base, -1, EV_WRITE | EV_PERSIST, on_tell, vd);
	vd->ev_settle = event_new(vd->base, -1, 0, on_settle, vd);
	if (vd->ev_vhost == NULL || vd->ev_vhost_write == NULL || vd->ev_tell == NULL || vd->ev_settle == NULL ||
	    event_add(vd->ev_settle, &hour) < 0 || event_del(vd->ev_settle) < 0)
		return err_set(e, -ENOMEM, "events");
	if (vd->main_wake < 0)
		return 0;
	vd->ev_main_wake = event_new(vd->base, vd->main_wake, EV_READ | EV_PERSIST, on_main_wake, vd);
	if (vd->ev_main_wake == NULL || event_add(vd->ev_main_wake, NULL) < 0)
		return err_set(e, -ENOMEM, "events");
	return 0;
}

int vdevice_conn_open(struct vdevice *vd, int fd)
{
	vu_server_connect(&vd->server, fd);
	(void)event_assign(vd->ev_vhost, vd->base, fd, EV_READ | EV_PERSIST, on_vhost, vd);
	(void)event_assign(vd->ev_vhost_write, vd->base, fd, EV_WRITE | EV_PERSIST, on_vhost_write, vd);
	(void)event_assign(vd->ev_tell, vd->base, vd->server.backend_fd, EV_WRITE | EV_PERSIST, on_tell, vd);
	return event_add(vd->ev_vhost, NULL) < 0 ? -ENOMEM : 0;
}
