/* SPDX-License-Identifier: ISC */
/* Which rings run. The front end says what it wants (started, enabled); this brings the queues there. */
#include <string.h>

#include "devices/common/vu_internal.h"

enum { NOWHERE_SHIFT = 63 }; /* an aligned address that is never memory */

static uint64_t guest_address(const struct vu_server *s, uint64_t user)
{
	uint64_t gpa;

	return vu_mem_from_user(&s->mem, user, &gpa) == 0 ? gpa : UINT64_C(1) << NOWHERE_SHIFT;
}

static void track(const struct vu_server *s, unsigned q, struct vq_setup *setup)
{
	/* One that has no room in the region goes without; SET_VRING_NUM checked the size against it, so there is. */
	if (s->has_inflight &&
	    inflight_attach(&setup->inflight, s->inflight.at, s->inflight.bytes, s->inflight_queue_size, q, setup->num) < 0)
		setup->inflight = (struct inflight){ 0 };
}

static void start(struct vu_server *s, unsigned q)
{
	struct vu_ring *r = &s->rings[q];
	struct vq_setup setup = {
		.gm = &s->mem.gm,
		.log = &s->log,
		.num = r->num,
		.base = r->base,
		.desc = guest_address(s, r->addr.descriptor),
		.avail = guest_address(s, r->addr.available),
		.used = guest_address(s, r->addr.used),
		.log_used = r->addr.log,
		.log_ring = (r->addr.flags & VHOST_USER_VRING_F_LOG) != 0,
		.features = s->acked,
	};

	track(s, q, &setup);
	r->state = VU_RUNNING;
	r->has_run = true;
	s->ops->queue_start(s->arg, q, &setup);
}

static bool should_run(const struct vu_server *s, const struct vu_ring *r)
{
	return !s->closing && r->started && r->enabled;
}

/* True when it is idle now. */
static bool rest(struct vu_server *s, unsigned q)
{
	struct vu_ring *r = &s->rings[q];

	if (r->state == VU_RUNNING) {
		r->state = VU_STOPPING;
		s->ops->queue_stop(s->arg, q);
	}
	if (r->state == VU_STOPPING && s->ops->queue_is_idle(s->arg, q)) {
		r->state = VU_IDLE;
		r->base = s->ops->queue_base(s->arg, q);
	}
	return r->state == VU_IDLE;
}

bool vu_rings_rest(struct vu_server *s, int q)
{
	bool all = true;

	if (q >= 0)
		return rest(s, (unsigned)q);
	for (unsigned i = 0; i < s->n_queues; i++)
		all = rest(s, i) && all;
	return all;
}

void vu_rings_settle(struct vu_server *s)
{
	for (unsigned i = 0; i < s->n_queues; i++) {
		struct vu_ring *r = &s->rings[i];

		if (!should_run(s, r) || r->state == VU_STOPPING)
			(void)rest(s, i);
		if (should_run(s, r) && r->state == VU_IDLE)
			start(s, i);
	}
}

void vu_rings_forget(struct vu_server *s)
{
	memset(s->rings, 0, s->n_queues * sizeof(*s->rings));
}
