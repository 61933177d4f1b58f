/* SPDX-License-Identifier: ISC */
/* Start and stop of the rings. */
#include <linux/virtio_config.h>

#include "common/fd.h"
#include "vmmd/vhost/front_internal.h"

enum {
	STATUS_RUNNING = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
			 VIRTIO_CONFIG_S_DRIVER_OK
};

/* Bits that belong to us, not to a driver. */
#define VHOST_BITS (VHOST_USER_BIT(VHOST_USER_F_LOG_ALL) | VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES))

/* --- memory ----------------------------------------------------------------------------------------------------------- */

static struct vhost_user_mem_region region_of(const struct memmap_ram *run)
{
	return (struct vhost_user_mem_region){
		.guest_addr = run->gpa,
		.size = run->size,
		.user_addr = run->gpa,
		.mmap_offset = run->file_off,
	};
}

static void put_table(struct vhost_front *f)
{
	struct vhost_user_mem_table t = { .n = f->ram->n };
	int fds[VHOST_USER_MEM_REGIONS_MAX];

	for (unsigned i = 0; i < t.n; i++) {
		t.region[i] = region_of(&f->ram->run[i]);
		fds[i] = f->ram->fd;
	}
	uint32_t len = (uint32_t)(sizeof(t) - sizeof(t.region) + t.n * sizeof(t.region[0]));

	vhost_put_acked(f, VHOST_USER_SET_MEM_TABLE, &t, len, fds, t.n);
}

static void add_regions(struct vhost_front *f)
{
	for (unsigned i = 0; i < f->ram->n; i++) {
		const struct vhost_user_single_region s = { .region = region_of(&f->ram->run[i]) };

		vhost_put_acked(f, VHOST_USER_ADD_MEM_REG, &s, sizeof(s), &f->ram->fd, 1);
	}
}

/* RAM stays where it is for as long as a connection lasts, so it is told once. */
static void put_memory(struct vhost_front *f)
{
	if (f->mem_set)
		return;
	f->mem_set = true;
	if (vhost_has(f, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) && f->max_slots >= f->ram->n)
		add_regions(f);
	else
		put_table(f);
}

/* --- in-flight region ------------------------------------------------------------------------------------------------- */

static void ask_inflight(struct vhost_front *f)
{
	const struct vhost_user_inflight want = {
		.num_queues = (uint16_t)f->cfg.n_queues,
		.queue_size = f->cfg.queue_size,
	};

	f->waits_inflight = true;
	vhost_ask(f, VHOST_USER_GET_INFLIGHT_FD, &want, sizeof(want),
		  (struct vhost_expect){ .answer = VHOST_ANSWER_INFLIGHT, .fd = !f->cfg.ours },
		  f->cfg.timeouts.answer_ms);
}

static void put_inflight(struct vhost_front *f)
{
	if (f->has_inflight)
		vhost_put_acked(f, VHOST_USER_SET_INFLIGHT_FD, &f->inflight, sizeof(f->inflight), &f->inflight_fd, 1);
}

void vhost_front_forget(struct vhost_front *f)
{
	f->has_inflight = false;
	fd_closep(&f->inflight_fd);
}

/* --- start ------------------------------------------------------------------------------------------------------------ */

static void put_event(struct vhost_front *f, uint32_t type, unsigned q, const int *fd)
{
	uint64_t v = q;
	const struct vhost_request rq = {
		.type = type,
		.payload = &v,
		.len = sizeof(v),
		.fds = fd,
		.n_fds = f->cfg.ours ? 0 : 1,
		.timeout_ms = f->cfg.timeouts.answer_ms,
	};

	vhost_link_send(&f->link, &rq);
}

static void put_state(struct vhost_front *f, uint32_t type, unsigned q, uint32_t num)
{
	const struct vhost_user_vring_state s = { q, num };

	vhost_put(f, type, &s, sizeof(s));
}

static void put_ring(struct vhost_front *f, unsigned q)
{
	const struct vhost_ring *ring = &f->rings[q];
	const struct vhost_user_vring_addr a = {
		.index = q,
		.descriptor = ring->desc,
		.used = ring->used,
		.available = ring->avail,
		.log = ring->used,
	};

	vhost_put_acked(f, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	put_state(f, VHOST_USER_SET_VRING_BASE, q, ring->base);
	put_event(f, VHOST_USER_SET_VRING_CALL, q, &f->cfg.call[q]);
	put_event(f, VHOST_USER_SET_VRING_KICK, q, &f->cfg.kick[q]);
	put_event(f, VHOST_USER_SET_VRING_ERR, q, &f->cfg.err);
	f->kicked[q] = true;
}

static void put_status(struct vhost_front *f, uint64_t status)
{
	if (vhost_has(f, VHOST_USER_PROTOCOL_F_STATUS))
		vhost_put_u64(f, VHOST_USER_SET_STATUS, status);
}

/* Rings from @from up to @to. */
static void put_enable(struct vhost_front *f, unsigned from, unsigned to, bool on)
{
	for (unsigned q = from; vhost_has_enable(f) && q < to && q < f->cfg.n_queues; q++)
		if (f->kicked[q])
			put_state(f, VHOST_USER_SET_VRING_ENABLE, q, on);
}

static void start_rings(struct vhost_front *f)
{
	put_inflight(f);
	for (unsigned q = 0; q < f->cfg.n_queues; q++)
		if (f->rings[q].enabled)
			put_ring(f, q);
	if (vhost_has(f, VHOST_USER_PROTOCOL_F_BACKEND_REQ))
		vhost_put(f, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0);
	put_status(f, STATUS_RUNNING);
	put_enable(f, 0, f->active, true);
}

void vhost_run_inflight(struct vhost_front *f, const struct vhost_reply *r, int *fd)
{
	if (!f->waits_inflight)
		return; /* stopped meanwhile */
	f->waits_inflight = false;
	vhost_front_forget(f);
	f->has_inflight = !r->failed;
	f->inflight = r->inflight;
	f->inflight.num_queues = (uint16_t)f->cfg.n_queues;
	f->inflight.queue_size = f->cfg.queue_size;
	f->inflight_fd = fd_take(fd);
	start_rings(f);
}

void vhost_front_start(struct vhost_front *f, uint64_t acked, const struct vhost_ram *ram, bool resume)
{
	if (f->state != VHOST_READY)
		return;
	f->state = VHOST_RUNNING;
	f->acked = acked;
	f->ram = ram;
	if (!resume)
		vhost_front_forget(f);
	if (f->set_again) /* written while there was nobody to tell */
		vhost_config_set_done(f);
	vhost_put_u64(f, VHOST_USER_SET_FEATURES,
		      (acked & ~VHOST_BITS) | (f->features & VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES)));
	put_memory(f);
	for (unsigned q = 0; q < f->cfg.n_queues; q++)
		if (f->rings[q].enabled)
			put_state(f, VHOST_USER_SET_VRING_NUM, q, f->rings[q].size);
	if (vhost_has(f, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) && !f->has_inflight)
		ask_inflight(f);
	else
		start_rings(f);
}

void vhost_front_set_active(struct vhost_front *f, unsigned n)
{
	unsigned was = f->active;

	f->active = n;
	if (f->state != VHOST_RUNNING)
		return;
	put_enable(f, was, n, true);
	put_enable(f, n, was, false);
}

/* --- stop ------------------------------------------------------------------------------------------------------------- */

static void end_stop(struct vhost_front *f)
{
	vhost_front_forget(f);
	if (f->state == VHOST_STOPPING) {
		f->state = VHOST_READY;
		if (vhost_has(f, VHOST_USER_PROTOCOL_F_RESET_DEVICE))
			vhost_put(f, VHOST_USER_RESET_DEVICE, NULL, 0);
		else
			put_status(f, 0);
	}
	vhost_config_forget(f);
	f->cfg.ops->stopped(f->cfg.arg);
}

void vhost_run_base(struct vhost_front *f)
{
	if (f->bases_due > 0 && --f->bases_due == 0)
		end_stop(f);
}

static void ask_base(struct vhost_front *f, unsigned q)
{
	const struct vhost_user_vring_state s = { q, 0 };

	vhost_ask(f, VHOST_USER_GET_VRING_BASE, &s, sizeof(s),
		  (struct vhost_expect){ .answer = VHOST_ANSWER_STATE, .index = q }, f->cfg.timeouts.stop_ms);
	f->kicked[q] = false;
	f->bases_due++;
}

void vhost_front_stop(struct vhost_front *f)
{
	if (f->state == VHOST_STOPPING)
		return; /* its end will be told */
	f->waits_inflight = false;
	if (f->state == VHOST_RUNNING) {
		f->state = VHOST_STOPPING;
		put_enable(f, 0, f->active, false);
		for (unsigned q = 0; q < f->cfg.n_queues; q++)
			if (f->kicked[q])
				ask_base(f, q);
	}
	if (f->bases_due == 0)
		end_stop(f);
}

/* --- doorbells -------------------------------------------------------------------------------------------------------- */

void vhost_front_kick(struct vhost_front *f, unsigned q)
{
	if (f->state != VHOST_RUNNING || q >= f->cfg.n_queues || !f->kicked[q])
		return;
	if (!vhost_link_is_unsent(&f->link, VHOST_USER_VRING_KICK, q))
		put_state(f, VHOST_USER_VRING_KICK, q, 0);
}

void vhost_front_set_kick(struct vhost_front *f, unsigned q, const int *fd)
{
	if (f->state == VHOST_RUNNING && q < f->cfg.n_queues && f->kicked[q])
		put_event(f, VHOST_USER_SET_VRING_KICK, q, fd);
}
