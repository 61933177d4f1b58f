/* SPDX-License-Identifier: ISC */
#include "vmmd/vhost/backend.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "common/ev.h"
#include "common/fd.h"
#include "common/log.h"

enum {
	READ_BUDGET = 32,
	SECOND_MAX = 1000, /* messages: a window that is being dragged makes some hundred */
};

void vhost_backend_init(struct vhost_backend *b, const struct vhost_backend_ops *ops, void *arg)
{
	*b = (struct vhost_backend){ .fd = -1, .ops = ops, .arg = arg };
}

static void break_off(struct vhost_backend *b, const char *why)
{
	vhost_backend_close(b);
	b->ops->broken(b->arg, why);
}

static bool is_flood(struct vhost_backend *b)
{
	uint64_t second = ev_now_ns() / UINT64_C(1000000000);

	if (second != b->second) {
		b->second = second;
		b->in_second = 0;
	}
	return ++b->in_second > SECOND_MAX;
}

/* There is room, or it goes without: whoever doesn't read his answers can't need them. */
static void acknowledge(struct vhost_backend *b, uint64_t result)
{
	struct {
		struct vhost_user_header h;
		uint8_t result[sizeof(result)];
	} m = { .h = { b->in.m.h.request, VHOST_USER_VERSION | VHOST_USER_REPLY, sizeof(result) } };

	memcpy(m.result, &result, sizeof(result));
	if (fd_sendmsg(b->fd, &m, sizeof(m), NULL, 0) != (ssize_t)sizeof(m))
		log_debug("a back end does not take an answer");
}

static void handle(struct vhost_backend *b)
{
	bool known = b->in.m.h.request == VHOST_USER_BACKEND_CONFIG_CHANGE_MSG && b->in.m.h.size == 0;

	if (vhost_backend_request_check(&b->in.m) < 0) {
		break_off(b, "no request on its own channel");
		return;
	}
	if (is_flood(b)) {
		break_off(b, "too many requests of its own");
		return;
	}
	if (!known)
		log_debug_rl("a back end asks for %u, which is refused", b->in.m.h.request);
	if ((b->in.m.h.flags & VHOST_USER_NEED_REPLY) != 0)
		acknowledge(b, !known);
	vhost_in_next(&b->in);
	if (known)
		b->ops->config_changed(b->arg);
}

/* One piece. True: go on. */
static bool read_piece(struct vhost_backend *b)
{
	size_t want;
	void *p = vhost_in_space(&b->in, &want);
	ssize_t got = recv(b->fd, p, want, MSG_DONTWAIT);

	if (got < 0)
		return errno == EINTR;
	if (got == 0) {
		vhost_backend_close(b); /* its death is noticed elsewhere */
		return false;
	}
	int r = vhost_in_got(&b->in, (size_t)got);

	if (r < 0)
		break_off(b, "it breaks the protocol on its own channel");
	else if (r > 0)
		handle(b);
	return b->fd >= 0;
}

/*
 * #syscalls vmmd: recvfrom
 */
void vhost_backend_pump(struct vhost_backend *b)
{
	for (int i = 0; i < 2 * READ_BUDGET && b->fd >= 0 && read_piece(b); i++)
		;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	vhost_backend_pump(arg);
}

int vhost_backend_open(struct vhost_backend *b, struct event_base *base, int *fd)
{
	vhost_backend_close(b);
	b->fd = fd_take(fd);
	b->on_read = event_new(base, b->fd, EV_READ | EV_PERSIST, on_event, b);
	if (b->on_read != NULL && event_add(b->on_read, NULL) == 0)
		return 0;
	vhost_backend_close(b);
	return -ENOMEM;
}

void vhost_backend_close(struct vhost_backend *b)
{
	if (b->on_read != NULL)
		event_free(b->on_read);
	b->on_read = NULL;
	fd_closep(&b->fd);
	vhost_in_next(&b->in);
}
