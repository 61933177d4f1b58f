/* SPDX-License-Identifier: ISC */
/* The handshake, and which answer belongs to what. */
#include "vmmd/vhost/front.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>

#include "common/fd.h"
#include "vmmd/vhost/front_internal.h"

/* A helper answers in microseconds; on a host that is short of everything, and from somebody else's back end that is
 * only starting, it takes its time. A guest's reset does not have that time. */
const struct vhost_timeouts vhost_timeouts = { .answer_ms = 5000, .stop_ms = 50, .death_ms = 5000 };

#define PROTO_FEATURES \
	(VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_MQ) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) | \
	 VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIG) | \
	 VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) | \
	 VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_STATUS))
/* A channel for its requests is among what our helpers have; others get none. */
#define PROTO_FEATURES_OURS VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ)

/* --- requests --------------------------------------------------------------------------------------------------------- */

void vhost_put(struct vhost_front *f, uint32_t type, const void *payload, uint32_t len)
{
	const struct vhost_request rq = {
		.type = type,
		.payload = payload,
		.len = len,
		.timeout_ms = f->cfg.timeouts.answer_ms,
	};

	vhost_link_send(&f->link, &rq);
}

void vhost_put_u64(struct vhost_front *f, uint32_t type, uint64_t v)
{
	vhost_put(f, type, &v, sizeof(v));
}

void vhost_put_acked(struct vhost_front *f, uint32_t type, const void *payload, uint32_t len, const int *fds,
		     unsigned n_fds)
{
	bool acks = vhost_has(f, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	const struct vhost_request rq = {
		.type = type,
		.payload = payload,
		.len = len,
		.fds = fds,
		.n_fds = f->cfg.ours ? 0 : n_fds,
		.expect.answer = acks ? VHOST_ANSWER_ACK : VHOST_ANSWER_NONE,
		.timeout_ms = f->cfg.timeouts.answer_ms,
	};

	vhost_link_send(&f->link, &rq);
}

void vhost_ask(struct vhost_front *f, uint32_t type, const void *payload, uint32_t len, struct vhost_expect expect,
	       uint32_t timeout_ms)
{
	const struct vhost_request rq = {
		.type = type,
		.payload = payload,
		.len = len,
		.expect = expect,
		.timeout_ms = timeout_ms,
	};

	vhost_link_send(&f->link, &rq);
}

static void ask_u64(struct vhost_front *f, uint32_t type)
{
	vhost_ask(f, type, NULL, 0, (struct vhost_expect){ .answer = VHOST_ANSWER_U64 }, f->cfg.timeouts.answer_ms);
}

/* --- handshake -------------------------------------------------------------------------------------------------------- */

static void on_features(struct vhost_front *f, uint64_t features)
{
	f->features = features;
	if ((features & VHOST_USER_BIT(VIRTIO_F_VERSION_1)) == 0)
		vhost_front_protocol_error(f, "it does not know virtio 1");
	else if (vhost_has_enable(f))
		ask_u64(f, VHOST_USER_GET_PROTOCOL_FEATURES);
	else if (f->cfg.ours || f->cfg.config_needed)
		vhost_front_protocol_error(f, "it has no protocol features");
}

static void on_proto(struct vhost_front *f, uint64_t proto)
{
	f->proto = proto & (PROTO_FEATURES | (f->cfg.ours ? PROTO_FEATURES_OURS : 0));
	vhost_put_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES, f->proto);
	if (vhost_has(f, VHOST_USER_PROTOCOL_F_MQ))
		ask_u64(f, VHOST_USER_GET_QUEUE_NUM);
	if (vhost_has(f, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) && !f->cfg.ours)
		ask_u64(f, VHOST_USER_GET_MAX_MEM_SLOTS);
	if (f->cfg.config_len == 0)
		return;
	if (vhost_has(f, VHOST_USER_PROTOCOL_F_CONFIG))
		vhost_config_ask(f);
	else if (f->cfg.config_needed)
		vhost_front_protocol_error(f, "it does not tell its configuration space");
}

static void on_queue_num(struct vhost_front *f, uint64_t n)
{
	f->max_queues = n;
	if (n < f->cfg.n_queues)
		vhost_front_protocol_error(f, "it has fewer queues than the device");
}

static void on_slots(struct vhost_front *f, uint64_t n)
{
	f->max_slots = n;
}

/* The last answer of the handshake is the one behind which nothing is asked. */
static void end_handshake(struct vhost_front *f)
{
	if (f->state != VHOST_HANDSHAKE || !vhost_link_is_idle(&f->link))
		return;
	f->state = VHOST_READY;
	f->cfg.ops->ready(f->cfg.arg);
}

/* --- answers ---------------------------------------------------------------------------------------------------------- */

static void on_number(struct vhost_front *f, const struct vhost_reply *r)
{
	switch (r->request) {
	case VHOST_USER_GET_FEATURES:
		on_features(f, r->number);
		break;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		on_proto(f, r->number);
		break;
	case VHOST_USER_GET_QUEUE_NUM:
		on_queue_num(f, r->number);
		break;
	case VHOST_USER_GET_MAX_MEM_SLOTS:
		on_slots(f, r->number);
		break;
	case VHOST_USER_SET_CONFIG: /* what it thinks of a write is its own business */
		vhost_config_set_done(f);
		break;
	default:
		if (r->failed && f->state == VHOST_RUNNING)
			f->cfg.ops->refused(f->cfg.arg, "it refuses the rings or guest memory");
		break;
	}
}

static void on_reply(void *arg, const struct vhost_reply *r, int *fd)
{
	struct vhost_front *f = arg;

	switch (r->request) {
	case VHOST_USER_GET_CONFIG:
		if (vhost_config_got(f, r) && f->state != VHOST_HANDSHAKE)
			f->cfg.ops->config(f->cfg.arg);
		break;
	case VHOST_USER_GET_INFLIGHT_FD:
		vhost_run_inflight(f, r, fd);
		break;
	case VHOST_USER_GET_VRING_BASE:
		vhost_run_base(f);
		break;
	default:
		on_number(f, r);
		break;
	}
	end_handshake(f);
}

static void on_broken(void *arg, const char *why)
{
	struct vhost_front *f = arg;

	vhost_front_close(f);
	f->cfg.ops->broken(f->cfg.arg, why);
}

/* From within an answer's handler: nothing after it counts. */
void vhost_front_protocol_error(struct vhost_front *f, const char *why)
{
	on_broken(f, why);
}

/* --- life ------------------------------------------------------------------------------------------------------------- */

int vhost_front_init(struct vhost_front *f, const struct vhost_front_cfg *cfg)
{
	static const struct vhost_link_ops ops = { .reply = on_reply, .broken = on_broken };

	*f = (struct vhost_front){ .cfg = *cfg, .active = cfg->n_queues, .inflight_fd = -1 };
	vhost_link_init(&f->link, cfg->base, &ops, f);
	f->rings = calloc(cfg->n_queues, sizeof(*f->rings));
	f->kicked = calloc(cfg->n_queues, sizeof(*f->kicked));
	if (f->rings != NULL && f->kicked != NULL)
		return 0;
	vhost_front_fini(f);
	return -ENOMEM;
}

void vhost_front_fini(struct vhost_front *f)
{
	if (f->rings == NULL && f->kicked == NULL)
		return;
	vhost_front_close(f);
	fd_closep(&f->inflight_fd);
	free(f->rings);
	free(f->kicked);
	f->rings = NULL;
	f->kicked = NULL;
}

int vhost_front_open(struct vhost_front *f, int *fd)
{
	vhost_front_close(f);
	int r = vhost_link_open(&f->link, fd, !f->cfg.ours);

	if (r < 0)
		return r;
	f->state = VHOST_HANDSHAKE;
	vhost_put(f, VHOST_USER_SET_OWNER, NULL, 0);
	ask_u64(f, VHOST_USER_GET_FEATURES);
	return 0;
}

void vhost_front_close(struct vhost_front *f)
{
	vhost_link_close(&f->link);
	f->state = VHOST_DOWN;
	f->features = 0;
	f->proto = 0;
	f->max_queues = 0;
	f->max_slots = 0;
	f->mem_set = false;
	f->waits_inflight = false;
	f->bases_due = 0;
	memset(f->kicked, 0, f->cfg.n_queues * sizeof(*f->kicked));
	vhost_config_reset(f);
}

void vhost_front_pump(struct vhost_front *f)
{
	vhost_link_pump(&f->link);
}
