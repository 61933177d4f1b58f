/* SPDX-License-Identifier: ISC */
/*
 * Bytes to messages and back. One message is read at a time, and one answer waits at most: while it does, nothing is
 * read. A peer that does not read its answers stops itself.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "common/fd.h"
#include "devices/common/vu_internal.h"

enum { HEADER = sizeof(struct vhost_user_header) };

/* Where the next bytes go, and how many are missing there. */
static uint8_t *room(struct vu_server *s, size_t *n)
{
	if (s->have < HEADER) {
		*n = HEADER - s->have;
		return (uint8_t *)&s->head + s->have;
	}
	*n = HEADER + s->head.size - s->have;
	return s->payload + (s->have - HEADER);
}

/* Without descriptors: those that a peer sends all the same are dropped by the kernel.
 * #syscalls blk blk_uring net rng vconsole: recvfrom(fd=VHOST)
 * #syscalls blk_alone net_alone rng_alone vconsole_alone: recvfrom
 */
static ssize_t read_plain(int fd, void *p, size_t n)
{
	ssize_t r;

	do {
		r = recv(fd, p, n, MSG_DONTWAIT);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

/* Descriptors come with the header's first bytes.
 * #syscalls blk_alone net_alone rng_alone vconsole_alone: recvmsg
 */
static ssize_t read_header(struct vu_server *s, void *p, size_t n)
{
	unsigned got = 0;

	if (s->preset)
		return read_plain(s->fd, p, n);
	ssize_t r = fd_recvmsg(s->fd, p, n, s->fds + s->n_fds, VU_FDS_MAX - s->n_fds, &got);
	s->n_fds += got;
	return r;
}

static bool header_is_sound(const struct vhost_user_header *h)
{
	return (h->flags & VHOST_USER_VERSION_MASK) == VHOST_USER_VERSION && (h->flags & VHOST_USER_REPLY) == 0 &&
	       h->size <= VHOST_USER_PAYLOAD_MAX;
}

int vu_wire_read(struct vu_server *s)
{
	size_t want;

	for (;;) {
		uint8_t *p = room(s, &want);
		if (want == 0)
			return 1;
		ssize_t n = s->have < HEADER ? read_header(s, p, want) : read_plain(s->fd, p, want);
		if (n == -EAGAIN)
			return 0;
		if (n == 0 || n == -ECONNRESET)
			return -EPIPE;
		if (n < 0)
			return -EPROTO;
		s->have += (size_t)n;
		if (s->have == HEADER && !header_is_sound(&s->head))
			return -EPROTO;
	}
}

void vu_wire_drop(struct vu_server *s)
{
	fd_close_all(s->fds, s->n_fds);
	s->n_fds = 0;
	s->have = 0;
	s->held = false;
}

/* #syscalls blk blk_uring net rng vconsole: sendto(fd=VHOST|BACKEND)
 * #syscalls blk_alone net_alone rng_alone vconsole_alone: sendto
 */
static ssize_t send_plain(int fd, const void *p, size_t n)
{
	ssize_t r;

	do {
		r = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

/* #syscalls blk_alone net_alone rng_alone vconsole_alone: sendmsg */
int vu_wire_flush(struct vu_server *s)
{
	while (s->out_at < s->out_len) {
		const uint8_t *p = s->out + s->out_at;
		size_t n = s->out_len - s->out_at;
		ssize_t r = s->out_with_fd ? fd_sendmsg(s->fd, p, n, &s->out_fd, 1) : send_plain(s->fd, p, n);

		if (r == -EAGAIN)
			return 0;
		if (r < 0)
			return -EPIPE;
		s->out_at += (size_t)r;
		s->out_with_fd = false;
	}
	return 0;
}

int vu_wire_reply(struct vu_server *s, const void *p, size_t len, int fd)
{
	struct vhost_user_header h = {
		.request = s->head.request,
		.flags = VHOST_USER_VERSION | VHOST_USER_REPLY,
		.size = (uint32_t)len,
	};

	memcpy(s->out, &h, HEADER);
	if (len > 0)
		memcpy(s->out + HEADER, p, len);
	s->out_len = HEADER + len;
	s->out_at = 0;
	s->out_fd = fd;
	s->out_with_fd = fd >= 0;
	return vu_wire_flush(s);
}

int vu_wire_reply_u64(struct vu_server *s, uint64_t v)
{
	return vu_wire_reply(s, &v, sizeof(v), -1);
}

int vu_wire_tell(struct vu_server *s)
{
	struct vhost_user_header h = { VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, VHOST_USER_VERSION, 0 };

	if (!vu_server_wants_tell(s))
		return 0;
	/* 12 bytes go whole or not at all: the socket's buffers are larger, and nothing else is sent there. */
	ssize_t r = send_plain(s->backend_fd, &h, HEADER);
	if (r == -EAGAIN)
		return -EAGAIN;
	s->config_changed = false; /* said, or nobody listens */
	return 0;
}
