/* SPDX-License-Identifier: ISC */
/* The handshake, and the life of the device around it. */
#include "tests/backend/vu/vu.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "common/fd.h"
#include "tests/backend/vu/tests.h"

/* What a device declares below bit 24 is its own; LOG_ALL only for whoever asks. */
#define FEATURES_KNOWN \
	(UINT64_C(0xffffff) | VHOST_USER_BIT(VIRTIO_RING_F_INDIRECT_DESC) | VHOST_USER_BIT(VIRTIO_RING_F_EVENT_IDX) | \
	 VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES) | VHOST_USER_BIT(VIRTIO_F_VERSION_1))
#define PROTOCOL_KNOWN \
	(VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_MQ) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) | \
	 VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) | \
	 VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIG) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) | \
	 VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) | \
	 VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_STATUS))
enum { STATUS_DRIVER_UP = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER, STATS_BYTES = STATS_PAGE_BYTES,
       SIGNAL_BASE = 128 };

static bool is_preset(const struct vu *v)
{
	return v->cfg.mode == VU_PRESET;
}

/* A refusal is a failure here. */
static int must(int r, const char *what)
{
	if (r == 0)
		return 0;
	vu_diag("%s: %s", what, r > 0 ? "refused" : strerror(-r));
	return r > 0 ? -EPROTO : r;
}

/* --- first part: who are you ----------------------------------------------------------------------------------------------------------- */

static int offer_backend_channel(struct vu *v)
{
	int pair[2];

	if (!vu_has(v, VHOST_USER_PROTOCOL_F_BACKEND_REQ))
		return 0;
	if (is_preset(v))
		return must(vu_tell(v, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, NULL, 0), "SET_BACKEND_REQ_FD");
	if (fd_socketpair(SOCK_STREAM, pair) < 0)
		return -errno;
	fd_closep(&v->backend);
	v->backend = pair[0];
	int r = must(vu_tell(v, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), "SET_BACKEND_REQ_FD");

	(void)close(pair[1]);
	return r;
}

static int agree_protocol(struct vu *v)
{
	uint64_t want = v->cfg.protocol != 0 ? v->cfg.protocol : PROTOCOL_KNOWN;
	int r = must(vu_ask_u64(v, VHOST_USER_GET_PROTOCOL_FEATURES, &v->protocol_offered), "GET_PROTOCOL_FEATURES");

	if (r < 0)
		return r;
	v->protocol = 0;
	uint64_t choice = v->protocol_offered & want;

	r = vu_send(v, VHOST_USER_SET_PROTOCOL_FEATURES, 0, &choice, sizeof(choice), NULL, 0);
	v->protocol = choice;
	return must(r, "SET_PROTOCOL_FEATURES");
}

int vu_hello(struct vu *v)
{
	uint64_t want = v->cfg.features != 0 ? v->cfg.features : FEATURES_KNOWN;

	v->protocol = 0;
	int r = must(vu_ask_u64(v, VHOST_USER_GET_FEATURES, &v->offered), "GET_FEATURES");

	if (r == 0 && (v->offered & VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES)) != 0)
		r = agree_protocol(v);
	if (r == 0)
		r = must(vu_tell(v, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0), "SET_OWNER");
	v->queues_max = v->n_queues;
	if (r == 0 && vu_has(v, VHOST_USER_PROTOCOL_F_MQ))
		r = must(vu_ask_u64(v, VHOST_USER_GET_QUEUE_NUM, &v->queues_max), "GET_QUEUE_NUM");
	if (r == 0)
		r = offer_backend_channel(v);
	v->acked = v->offered & (want | VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES));
	return r;
}

/* --- second part: memory, regions, rings ------------------------------------------------------------------------------------------------- */

int vu_set_memory(struct vu *v)
{
	struct vhost_user_mem_table t = { .n = v->n_regions };
	uint32_t size = 8 + v->n_regions * (uint32_t)sizeof(t.region[0]);
	int fds[2] = { v->ram_fd, v->ram_fd };

	for (unsigned i = 0; i < v->n_regions; i++)
		t.region[i] = (struct vhost_user_mem_region){ .guest_addr = v->region[i].gpa, .size = v->region[i].size,
							      .user_addr = v->region[i].gpa, .mmap_offset = v->region[i].off };
	return must(vu_tell(v, VHOST_USER_SET_MEM_TABLE, &t, size, fds, is_preset(v) ? 0 : v->n_regions), "SET_MEM_TABLE");
}

static int ask_inflight(struct vu *v)
{
	struct vhost_user_inflight d = { .num_queues = (uint16_t)v->n_queues, .queue_size = v->queue_size };
	int fd = -1;
	int r = vu_send(v, VHOST_USER_GET_INFLIGHT_FD, 0, &d, VHOST_USER_INFLIGHT_BYTES, NULL, 0);

	if (r == 0)
		r = vu_reply(v, VHOST_USER_GET_INFLIGHT_FD, &d, VHOST_USER_INFLIGHT_BYTES, &fd);
	if (r < 0 || is_preset(v)) {
		if (r == 0 && fd >= 0)
			vu_diag("a preset region was sent nevertheless");
		r = r == 0 && fd >= 0 ? -EBADMSG : r;
		fd_closep(&fd);
		return r;
	}
	if (fd < 0)
		return -EBADMSG;
	if (v->inflight != NULL)
		(void)munmap(v->inflight, v->inflight_bytes);
	fd_closep(&v->inflight_fd);
	v->inflight_fd = fd;
	v->inflight_bytes = d.mmap_size;
	v->inflight_off = d.mmap_offset;
	void *p = mmap(NULL, d.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)d.mmap_offset);

	v->inflight = p == MAP_FAILED ? NULL : p;
	return p == MAP_FAILED ? -errno : 0;
}

int vu_set_inflight(struct vu *v, bool fresh)
{
	if (!vu_has(v, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD))
		return 0;
	int r = fresh ? must(ask_inflight(v), "GET_INFLIGHT_FD") : 0;
	struct vhost_user_inflight d = { .mmap_size = v->inflight_bytes, .mmap_offset = v->inflight_off,
					 .num_queues = (uint16_t)v->n_queues, .queue_size = v->queue_size };

	if (r < 0)
		return r;
	return must(vu_tell(v, VHOST_USER_SET_INFLIGHT_FD, &d, VHOST_USER_INFLIGHT_BYTES, &v->inflight_fd, is_preset(v) ? 0 : 1),
		    "SET_INFLIGHT_FD");
}

int vu_set_log(struct vu *v)
{
	struct vhost_user_log d = { .size = v->log_bytes, .offset = 0 };
	uint64_t zero;

	if (!vu_has(v, VHOST_USER_PROTOCOL_F_LOG_SHMFD) || (v->acked & VHOST_USER_BIT(VHOST_USER_F_LOG_ALL)) == 0)
		return 0;
	int r = vu_send(v, VHOST_USER_SET_LOG_BASE, 0, &d, sizeof(d), &v->log_fd, is_preset(v) ? 0 : 1);

	return must(r < 0 ? r : vu_reply(v, VHOST_USER_SET_LOG_BASE, &zero, sizeof(zero), NULL), "SET_LOG_BASE");
}

static int set_eventfd(struct vu *v, uint32_t request, unsigned i, int fd, const char *what)
{
	uint64_t index = i;

	return must(vu_tell(v, request, &index, sizeof(index), &fd, is_preset(v) ? 0 : 1), what);
}

int vu_start_ring(struct vu *v, unsigned i, uint16_t base)
{
	const struct vu_ring *ring = v->ring[i];
	struct vhost_user_vring_state num = { i, ring->size }, at = { i, base }, on = { i, 1 };
	bool log = (v->acked & VHOST_USER_BIT(VHOST_USER_F_LOG_ALL)) != 0;
	struct vhost_user_vring_addr addr = { .index = i, .flags = log ? VHOST_USER_VRING_F_LOG : 0, .descriptor = ring->desc_gpa,
					      .used = ring->used_gpa, .available = ring->avail_gpa, .log = ring->used_gpa };
	int r = must(vu_tell(v, VHOST_USER_SET_VRING_NUM, &num, sizeof(num), NULL, 0), "SET_VRING_NUM");

	if (r == 0)
		r = must(vu_tell(v, VHOST_USER_SET_VRING_BASE, &at, sizeof(at), NULL, 0), "SET_VRING_BASE");
	if (r == 0)
		r = must(vu_tell(v, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), "SET_VRING_ADDR");
	if (r == 0)
		r = set_eventfd(v, VHOST_USER_SET_VRING_CALL, i, v->call[i], "SET_VRING_CALL");
	if (r == 0)
		r = set_eventfd(v, VHOST_USER_SET_VRING_ERR, i, v->err_fd, "SET_VRING_ERR");
	if (r == 0)
		r = set_eventfd(v, VHOST_USER_SET_VRING_KICK, i, v->kick[i], "SET_VRING_KICK");
	if (r == 0 && (v->acked & VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES)) != 0)
		r = must(vu_tell(v, VHOST_USER_SET_VRING_ENABLE, &on, sizeof(on), NULL, 0), "SET_VRING_ENABLE");
	return r;
}

static int set_status(struct vu *v, uint64_t status)
{
	return vu_has(v, VHOST_USER_PROTOCOL_F_STATUS) ? must(vu_tell_u64(v, VHOST_USER_SET_STATUS, status), "SET_STATUS") : 0;
}

int vu_start(struct vu *v, bool fresh)
{
	int r = set_status(v, STATUS_DRIVER_UP);

	if (r == 0)
		r = must(vu_tell_u64(v, VHOST_USER_SET_FEATURES, v->acked), "SET_FEATURES");
	if (r == 0)
		r = set_status(v, STATUS_DRIVER_UP | VIRTIO_CONFIG_S_FEATURES_OK);
	if (r == 0)
		r = vu_set_memory(v);
	if (r == 0)
		r = vu_set_inflight(v, fresh);
	if (r == 0)
		r = vu_set_log(v);
	for (unsigned i = 0; i < v->n_queues && r == 0; i++) {
		if (fresh)
			vu_ring_clear(v->ring[i]);
		r = vu_start_ring(v, i, vu_ring_device_idx(v->ring[i]));
	}
	if (r == 0)
		r = set_status(v, STATUS_DRIVER_UP | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	v->running = r == 0;
	return r;
}

/* --- stop and reset ----------------------------------------------------------------------------------------------------------------------- */

int vu_stop_ring(struct vu *v, unsigned i)
{
	struct vhost_user_vring_state s = { i, 0 };
	int r = vu_send(v, VHOST_USER_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);

	if (r == 0)
		r = vu_reply(v, VHOST_USER_GET_VRING_BASE, &s, sizeof(s), NULL);
	if (must(r, "GET_VRING_BASE") < 0)
		return r;
	return (int)(s.num & 0xffff);
}

int vu_stop(struct vu *v)
{
	for (unsigned i = 0; i < v->n_queues; i++) {
		int r = vu_stop_ring(v, i);

		if (r < 0)
			return r;
	}
	v->running = false;
	return 0;
}

int vu_reset(struct vu *v)
{
	int r = vu_stop(v);

	if (r == 0 && vu_has(v, VHOST_USER_PROTOCOL_F_RESET_DEVICE))
		r = must(vu_tell(v, VHOST_USER_RESET_DEVICE, NULL, 0, NULL, 0), "RESET_DEVICE");
	if (r == 0)
		r = set_status(v, 0);
	(void)vu_needs_reset(v, 0);
	return r < 0 ? r : vu_start(v, true);
}

/* --- configuration space, err, statistics ---------------------------------------------------------------------------------------------------- */

int vu_get_config(struct vu *v, void *dst, uint32_t len)
{
	struct vhost_user_config c = { .offset = 0, .size = len, .flags = 0 };
	uint32_t size = 12 + len;

	if (len > sizeof(c.data))
		return -EINVAL;
	int r = vu_send(v, VHOST_USER_GET_CONFIG, 0, &c, size, NULL, 0);

	if (r == 0)
		r = vu_reply(v, VHOST_USER_GET_CONFIG, &c, size, NULL);
	if (must(r, "GET_CONFIG") < 0)
		return r;
	memcpy(dst, c.data, len);
	return 0;
}

int vu_set_config(struct vu *v, uint32_t off, const void *src, uint32_t len)
{
	struct vhost_user_config c = { .offset = off, .size = len, .flags = 0 };

	if (len > sizeof(c.data))
		return -EINVAL;
	memcpy(c.data, src, len);
	return vu_tell(v, VHOST_USER_SET_CONFIG, &c, 12 + len, NULL, 0);
}

bool vu_needs_reset(struct vu *v, int timeout_ms)
{
	uint64_t n;

	return fd_wait(v->err_fd, POLLIN, timeout_ms) > 0 && read(v->err_fd, &n, sizeof(n)) == sizeof(n);
}

uint64_t vu_stat(const struct vu *v, unsigned counter)
{
	return v->stats != NULL ? atomic_load(&v->stats->v[counter]) : 0;
}

/* --- all of it -------------------------------------------------------------------------------------------------------------------------------- */

static void *map_shared(int fd, uint64_t bytes)
{
	void *p = fd >= 0 ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

	return p == MAP_FAILED ? NULL : p;
}

/* What the monitor keeps for a device over all its helpers. */
static int make_kept(struct vu *v)
{
	uint64_t end = v->region[v->n_regions - 1].gpa + v->region[v->n_regions - 1].size;

	v->err_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	for (unsigned i = 0; i < v->n_queues; i++) {
		v->kick[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		v->call[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (v->kick[i] < 0 || v->call[i] < 0)
			return -errno;
	}
	v->log_bytes = vhost_user_log_bytes(end);
	v->log_fd = vu_memfd("log", v->log_bytes);
	v->log = map_shared(v->log_fd, v->log_bytes);
	if (v->err_fd < 0 || v->log == NULL)
		return -ENOMEM;
	if (!is_preset(v))
		return 0;
	v->inflight_bytes = vhost_user_inflight_bytes(v->n_queues, v->queue_size);
	v->inflight_fd = vu_memfd("inflight", v->inflight_bytes);
	v->inflight = map_shared(v->inflight_fd, v->inflight_bytes);
	v->stats_fd = vu_memfd("stats", STATS_BYTES);
	v->stats = map_shared(v->stats_fd, STATS_BYTES);
	return v->inflight == NULL || v->stats == NULL ? -ENOMEM : 0;
}

static int make_rings(struct vu *v)
{
	for (unsigned i = 0; i < v->n_queues; i++) {
		v->ring[i] = calloc(1, sizeof(*v->ring[i]));
		if (v->ring[i] == NULL || vu_ring_init(v->ring[i], v, i, v->queue_size) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int set_up(struct vu *v)
{
	int r = vu_mem_init(v);

	if (r == 0)
		r = make_kept(v);
	if (r == 0)
		r = vu_proc_start(v);
	if (r == 0 && is_preset(v) && v->cfg.program != NULL)
		r = vu_proc_configure(v, true);
	if (r == 0)
		r = vu_connect(v);
	return r;
}

struct vu *vu_new_mute(const struct vu_cfg *cfg)
{
	static unsigned last_id;
	struct vu *v = calloc(1, sizeof(*v));

	if (v == NULL)
		return NULL;
	v->cfg = *cfg;
	v->id = ++last_id;
	v->n_queues = cfg->n_queues != 0 ? cfg->n_queues : 1;
	v->queue_size = cfg->queue_size != 0 ? cfg->queue_size : 128;
	v->ram_fd = v->err_fd = v->inflight_fd = v->log_fd = v->stats_fd = -1;
	v->text_fd = v->sock = v->backend = v->their_sock = v->their_backend = -1;
	for (unsigned i = 0; i < VU_QUEUES; i++)
		v->kick[i] = v->call[i] = -1;
	if (cfg->socket != NULL)
		(void)snprintf(v->socket, sizeof(v->socket), "%s", cfg->socket);
	if (set_up(v) < 0) {
		(void)vu_free(v);
		return NULL;
	}
	return v;
}

struct vu *vu_new_idle(const struct vu_cfg *cfg)
{
	struct vu *v = vu_new_mute(cfg);

	if (v == NULL)
		return NULL;
	if (vu_hello(v) < 0 || make_rings(v) < 0) {
		vu_proc_text(v);
		(void)vu_free(v);
		return NULL;
	}
	return v;
}

struct vu *vu_new_bare(const struct vu_cfg *cfg)
{
	struct vu_cfg bare = *cfg;

	bare.mode = VU_PRESET;
	bare.program = NULL;
	struct vu *v = vu_new_mute(&bare);

	if (v == NULL)
		return NULL;
	v->acked = cfg->features;
	if (make_rings(v) < 0) {
		(void)vu_free(v);
		return NULL;
	}
	return v;
}

struct vu *vu_new(const struct vu_cfg *cfg)
{
	struct vu *v = vu_new_idle(cfg);

	if (v == NULL)
		return NULL;
	if (vu_start(v, true) < 0) {
		vu_proc_text(v);
		(void)vu_free(v);
		return NULL;
	}
	return v;
}

/* A preset one ends by itself when its parent is gone; one alone may wait for another front end, and is told. */
static bool end_process(struct vu *v)
{
	if (v->tid != 0)
		return pthread_join(v->thread, NULL) == 0;
	if (v->pid == 0)
		return true;
	if (v->cfg.mode == VU_FOREIGN) {
		vu_proc_kill(v);
		return true;
	}
	if (v->cfg.mode == VU_ALONE)
		(void)kill(v->pid, SIGTERM);
	int status = vu_proc_wait(v, VU_TIMEOUT_MS);

	if ((status >= 0 && status < SIGNAL_BASE) || (v->cfg.mode == VU_ALONE && status == SIGNAL_BASE + SIGTERM))
		return true;
	if (status < 0)
		vu_diag("%s does not end by itself", v->cfg.program);
	else
		vu_diag("%s ended with %d", v->cfg.program, status);
	vu_proc_text(v);
	vu_proc_kill(v);
	return false;
}

static void free_kept(struct vu *v)
{
	for (unsigned i = 0; i < VU_QUEUES; i++) {
		if (v->ring[i] != NULL)
			vu_ring_fini(v->ring[i]);
		free(v->ring[i]);
		fd_closep(&v->kick[i]);
		fd_closep(&v->call[i]);
	}
	if (v->inflight != NULL)
		(void)munmap(v->inflight, v->inflight_bytes);
	if (v->log != NULL)
		(void)munmap(v->log, v->log_bytes);
	if (v->stats != NULL)
		(void)munmap(v->stats, STATS_BYTES);
	fd_closep(&v->err_fd);
	fd_closep(&v->inflight_fd);
	fd_closep(&v->log_fd);
	fd_closep(&v->stats_fd);
	fd_closep(&v->text_fd);
}

bool vu_free(struct vu *v)
{
	if (v == NULL)
		return true;
	vu_disconnect(v);
	chan_free(v->control);
	v->control = NULL;
	bool good = end_process(v);

	free_kept(v);
	vu_mem_fini(v);
	if (v->dir[0] != '\0') {
		(void)unlink(v->socket);
		(void)rmdir(v->dir);
	}
	free(v);
	return good;
}

int vu_succeed(struct vu *v)
{
	vu_disconnect(v);
	int r = vu_proc_start(v);

	if (r == 0 && is_preset(v))
		r = vu_proc_configure(v, true);
	if (r == 0)
		r = vu_connect(v);
	if (r == 0)
		r = vu_hello(v);
	return r < 0 ? r : vu_start(v, false);
}

int vu_restart(struct vu *v)
{
	vu_proc_kill(v);
	return vu_succeed(v);
}
