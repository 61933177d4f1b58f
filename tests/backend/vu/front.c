/* SPDX-License-Identifier: ISC */
/* Messages of the front end, one by one. */
#include "tests/backend/vu/vu.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/fd.h"
#include "tests/backend/vu/tests.h"

enum { CONNECT_EVERY_MS = 5 };

bool vu_has(const struct vu *v, unsigned protocol_feature)
{
	return (v->protocol & VHOST_USER_BIT(protocol_feature)) != 0;
}

/* --- out ------------------------------------------------------------------------------------------------------------------------- */

int vu_send_raw(struct vu *v, const void *p, size_t len, const int *fds, unsigned n_fds)
{
	const uint8_t *at = p;

	while (len > 0) {
		ssize_t n = fd_sendmsg(v->sock, at, len, fds, n_fds);

		if (n == -EAGAIN && fd_wait(v->sock, POLLOUT, VU_TIMEOUT_MS) > 0)
			continue;
		if (n < 0)
			return n == -ECONNRESET ? -EPIPE : (int)n;
		at += n;
		len -= (size_t)n;
		n_fds = 0;
	}
	return 0;
}

int vu_send(struct vu *v, uint32_t request, uint32_t flags, const void *payload, uint32_t size, const int *fds,
	    unsigned n_fds)
{
	struct vhost_user_header h = { .request = request, .flags = VHOST_USER_VERSION | flags, .size = size };
	uint8_t buf[sizeof(h) + VHOST_USER_PAYLOAD_MAX];

	if (size > VHOST_USER_PAYLOAD_MAX)
		return -EMSGSIZE;
	memcpy(buf, &h, sizeof(h));
	if (size > 0)
		memcpy(buf + sizeof(h), payload, size);
	return vu_send_raw(v, buf, sizeof(h) + size, fds, n_fds);
}

/* --- in -------------------------------------------------------------------------------------------------------------------------- */

/* Exactly @len bytes; descriptors beyond the first are closed. */
static int recv_all(int sock, void *p, size_t len, int *fd, int timeout_ms)
{
	uint8_t *at = p;

	while (len > 0) {
		int fds[8];
		unsigned n_fds = 0;
		int r = fd_wait(sock, POLLIN, timeout_ms);

		if (r <= 0)
			return r < 0 ? r : -ETIMEDOUT;
		ssize_t n = fd_recvmsg(sock, at, len, fds, nitems(fds), &n_fds);

		for (unsigned i = 0; i < n_fds && n > 0; i++) {
			if (fd != NULL && *fd < 0)
				*fd = fds[i];
			else
				(void)close(fds[i]);
		}
		if (n == -EAGAIN)
			continue;
		if (n <= 0)
			return n == 0 || n == -ECONNRESET ? -EPIPE : (int)n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int reply_parts(struct vu *v, uint32_t request, void *payload, uint32_t size, int *fd)
{
	struct vhost_user_header h;
	int r = recv_all(v->sock, &h, sizeof(h), fd, VU_TIMEOUT_MS);

	if (r < 0)
		return r;
	if (h.request != request || h.flags != (VHOST_USER_VERSION | VHOST_USER_REPLY) || h.size != size) {
		vu_diag("reply to %u: request %u flags %#x size %u, not %u bytes", request, h.request, h.flags, h.size, size);
		return -EBADMSG;
	}
	return recv_all(v->sock, payload, size, fd, VU_TIMEOUT_MS);
}

int vu_reply(struct vu *v, uint32_t request, void *payload, uint32_t size, int *fd)
{
	if (fd != NULL)
		*fd = -1;
	int r = reply_parts(v, request, payload, size, fd);

	if (r < 0 && fd != NULL)
		fd_closep(fd);
	return r;
}

int vu_ask_u64(struct vu *v, uint32_t request, uint64_t *value)
{
	int r = vu_send(v, request, 0, NULL, 0, NULL, 0);

	return r < 0 ? r : vu_reply(v, request, value, sizeof(*value), NULL);
}

int vu_tell(struct vu *v, uint32_t request, const void *payload, uint32_t size, const int *fds, unsigned n_fds)
{
	bool ack = vu_has(v, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	uint64_t verdict = 0, features;
	int r = vu_send(v, request, ack ? VHOST_USER_NEED_REPLY : 0, payload, size, fds, n_fds);

	if (r < 0)
		return r;
	r = ack ? vu_reply(v, request, &verdict, sizeof(verdict), NULL) : vu_ask_u64(v, VHOST_USER_GET_FEATURES, &features);
	if (r < 0)
		return r;
	return verdict == 0 ? 0 : 1;
}

int vu_tell_u64(struct vu *v, uint32_t request, uint64_t value)
{
	return vu_tell(v, request, &value, sizeof(value), NULL, 0);
}

bool vu_hung_up(struct vu *v, int timeout_ms)
{
	char byte;

	if (v->sock < 0)
		return true;
	if (fd_wait(v->sock, POLLIN, timeout_ms) <= 0)
		return false;
	ssize_t n = recv(v->sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* --- connection -------------------------------------------------------------------------------------------------------------------- */

static int try_connect(struct vu *v)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	memcpy(a.sun_path, v->socket, strlen(v->socket));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		int r = -errno;

		(void)close(fd);
		return r;
	}
	return fd;
}

/* The back end may still be on its way to its socket. */
int vu_connect(struct vu *v)
{
	int fd = -ENOENT;

	if (v->cfg.mode == VU_PRESET)
		return 0;
	vu_disconnect(v);
	for (int waited = 0; waited < VU_TIMEOUT_MS; waited += CONNECT_EVERY_MS) {
		fd = try_connect(v);
		if (fd >= 0 || (fd != -ENOENT && fd != -ECONNREFUSED))
			break;
		if (v->pid != 0 && !vu_proc_alive(v))
			break;
		(void)poll(NULL, 0, CONNECT_EVERY_MS);
	}
	if (fd < 0) {
		vu_diag("%s: %s", v->socket, strerror(-fd));
		vu_proc_text(v);
		return fd;
	}
	v->sock = fd;
	return 0;
}

void vu_disconnect(struct vu *v)
{
	fd_closep(&v->sock);
	fd_closep(&v->backend);
	fd_closep(&v->their_sock);
	fd_closep(&v->their_backend);
	v->running = false;
}

/* --- the other direction ------------------------------------------------------------------------------------------------------------- */

int vu_backend_request(struct vu *v, int timeout_ms)
{
	struct vhost_user_header h;
	uint8_t payload[VHOST_USER_PAYLOAD_MAX];
	uint64_t ok = 0;
	int r = v->backend >= 0 ? fd_wait(v->backend, POLLIN, timeout_ms) : -ENOTCONN;

	if (r <= 0)
		return r;
	r = recv_all(v->backend, &h, sizeof(h), NULL, timeout_ms);
	if (r == 0 && h.size > sizeof(payload))
		r = -EBADMSG;
	if (r == 0)
		r = recv_all(v->backend, payload, h.size, NULL, timeout_ms);
	if (r < 0)
		return r;
	if ((h.flags & VHOST_USER_NEED_REPLY) != 0) {
		struct vhost_user_header answer = { h.request, VHOST_USER_VERSION | VHOST_USER_REPLY, sizeof(ok) };
		uint8_t buf[sizeof(answer) + sizeof(ok)];

		memcpy(buf, &answer, sizeof(answer));
		memcpy(buf + sizeof(answer), &ok, sizeof(ok));
		if (fd_sendmsg(v->backend, buf, sizeof(buf), NULL, 0) < 0)
			return -EPIPE;
	}
	return (int)h.request;
}
