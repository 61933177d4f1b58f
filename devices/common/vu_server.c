/* SPDX-License-Identifier: ISC */
#include "devices/common/vu_server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <linux/virtio_config.h>

#include "common/compat_linux.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/ovf.h"
#include "devices/common/vu_internal.h"

enum {
	BUDGET = 32, /* messages for each wake-up */
	U64 = 8,
	STATE = sizeof(struct vhost_user_vring_state),
	CONFIG_HEAD = 12,
	INFLIGHT_PADDED = sizeof(struct vhost_user_inflight), /* QEMU sends the padding too */
	STATUS_NEEDS_RESET = VIRTIO_CONFIG_S_NEEDS_RESET,
};

/* What must be at rest before the message is acted on. */
enum rest { REST_NO, REST_RING, REST_ALL };

struct request {
	uint32_t min, max;      /* bytes of payload */
	unsigned fds_min, fds_max; /* when descriptors are passed at all */
	bool has_ring;          /* the payload's first 32 bits name one */
	bool answers;           /* has an answer of its own */
	enum rest (*rest)(const struct vu_server *s); /* NULL: REST_NO */
	int (*handle)(struct vu_server *s, struct err *e);
};

/* --- the payload ------------------------------------------------------------------------------------------------ */

static uint64_t payload_u64(const struct vu_server *s)
{
	uint64_t v;

	memcpy(&v, s->payload, sizeof(v));
	return v;
}

static struct vhost_user_vring_state payload_state(const struct vu_server *s)
{
	struct vhost_user_vring_state v;

	memcpy(&v, s->payload, sizeof(v));
	return v;
}

static unsigned payload_ring(const struct vu_server *s)
{
	uint32_t v;

	memcpy(&v, s->payload, sizeof(v));
	return v & VHOST_USER_VRING_IDX_MASK;
}

/* --- features --------------------------------------------------------------------------------------------------- */

static uint64_t offered(const struct vu_server *s)
{
	return s->features | VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES) | VHOST_USER_BIT(VHOST_USER_F_LOG_ALL);
}

static uint64_t offered_protocol(const struct vu_server *s)
{
	uint64_t p = VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_MQ) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |
		     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |
		     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |
		     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) |
		     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_STATUS);

	if (s->config_len > 0)
		p |= VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIG);
	if (s->with_inflight)
		p |= VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
	return p;
}

static bool has_protocol(const struct vu_server *s, unsigned bit)
{
	return (s->protocol & VHOST_USER_BIT(bit)) != 0;
}

static int get_features(struct vu_server *s, struct err *e)
{
	(void)e;
	return vu_wire_reply_u64(s, offered(s));
}

/* Only the log may be switched while rings run. */
static enum rest rest_for_features(const struct vu_server *s)
{
	uint64_t differs = payload_u64(s) ^ s->acked;

	return s->has_features && (differs & ~VHOST_USER_BIT(VHOST_USER_F_LOG_ALL)) == 0 ? REST_NO : REST_ALL;
}

static int set_features(struct vu_server *s, struct err *e)
{
	uint64_t want = payload_u64(s);

	if ((want & ~offered(s)) != 0)
		return err_set(e, -EINVAL, "features 0x%llx that are not offered", (unsigned long long)(want & ~offered(s)));
	bool news = !s->has_features || rest_for_features(s) == REST_ALL;
	s->acked = want;
	s->has_features = true;
	s->log.on = (want & VHOST_USER_BIT(VHOST_USER_F_LOG_ALL)) != 0;
	if (news)
		s->ops->set_features(s->arg, want);
	return 0;
}

static int get_protocol(struct vu_server *s, struct err *e)
{
	(void)e;
	return vu_wire_reply_u64(s, offered_protocol(s));
}

static int set_protocol(struct vu_server *s, struct err *e)
{
	uint64_t want = payload_u64(s);

	if ((want & ~offered_protocol(s)) != 0)
		return err_set(e, -EINVAL, "protocol features 0x%llx that are not offered", (unsigned long long)want);
	s->protocol = want;
	return 0;
}

static int get_queue_num(struct vu_server *s, struct err *e)
{
	(void)e;
	return vu_wire_reply_u64(s, s->n_queues);
}

static int nothing(struct vu_server *s, struct err *e)
{
	(void)s;
	(void)e;
	return 0;
}

static enum rest rest_all(const struct vu_server *s)
{
	(void)s;
	return REST_ALL;
}

static int get_max_mem_slots(struct vu_server *s, struct err *e)
{
	(void)e;
	return vu_wire_reply_u64(s, VU_SLOTS_MAX);
}

/* --- rings ------------------------------------------------------------------------------------------------------ */

static enum rest rest_ring(const struct vu_server *s)
{
	(void)s;
	return REST_RING;
}

static struct vu_ring *ring(struct vu_server *s)
{
	return &s->rings[payload_ring(s)]; /* the index was checked before any handler */
}

static int set_vring_num(struct vu_server *s, struct err *e)
{
	struct vhost_user_vring_state v = payload_state(s);

	if (ring(s)->started)
		return err_set(e, -EBUSY, "ring %u runs", v.index);
	if (!is_pow2_u64(v.num) || v.num > s->queue_size || (s->has_inflight && v.num > s->inflight_queue_size))
		return err_set(e, -EINVAL, "ring %u of %u descriptors", v.index, v.num);
	ring(s)->num = (uint16_t)v.num;
	return 0;
}

static bool same_place(const struct vhost_user_vring_addr *a, const struct vhost_user_vring_addr *b)
{
	return a->descriptor == b->descriptor && a->used == b->used && a->available == b->available && a->log == b->log;
}

static int set_vring_addr(struct vu_server *s, struct err *e)
{
	struct vu_ring *r = ring(s);
	struct vhost_user_vring_addr a;

	memcpy(&a, s->payload, sizeof(a));
	if (r->started && !same_place(&a, &r->addr))
		return err_set(e, -EBUSY, "ring %u runs", a.index);
	r->addr = a;
	r->has_addr = true;
	s->ops->queue_log(s->arg, a.index, (a.flags & VHOST_USER_VRING_F_LOG) != 0);
	return 0;
}

static int set_vring_base(struct vu_server *s, struct err *e)
{
	struct vhost_user_vring_state v = payload_state(s);

	if (ring(s)->started)
		return err_set(e, -EBUSY, "ring %u runs", v.index);
	if (v.num > UINT16_MAX)
		return err_set(e, -EINVAL, "ring %u at index %u", v.index, v.num);
	ring(s)->base = (uint16_t)v.num;
	return 0;
}

static int get_vring_base(struct vu_server *s, struct err *e)
{
	struct vhost_user_vring_state v = payload_state(s);

	(void)e;
	ring(s)->started = false;
	v.num = ring(s)->base;
	return vu_wire_reply(s, &v, sizeof(v), -1);
}

/* The descriptor of a kick, call or err message, taken; -1: none. */
static int ring_fd(struct vu_server *s, int *fd, struct err *e)
{
	bool none = (payload_u64(s) & VHOST_USER_VRING_NOFD) != 0;

	*fd = -1;
	if (s->preset)
		return 0;
	if (none != (s->n_fds == 0))
		return err_set(e, -EPROTO, "%u descriptors for a ring", s->n_fds);
	if (!none)
		*fd = fd_take(&s->fds[0]);
	return 0;
}

static int set_vring_kick(struct vu_server *s, struct err *e)
{
	struct vu_ring *r = ring(s);
	int fd, bad = ring_fd(s, &fd, e);

	if (bad < 0)
		return bad;
	if (!s->preset)
		s->ops->set_kick(s->arg, payload_ring(s), fd);
	if (!s->has_features || !r->has_addr || r->num == 0)
		return err_set(e, -EINVAL, "ring %u is started too early", payload_ring(s));
	r->started = true;
	/* "Vhost-user Protocol", Ring states */
	if ((s->acked & VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES)) == 0)
		r->enabled = true;
	return 0;
}

static int set_vring_call(struct vu_server *s, struct err *e)
{
	int fd, bad = ring_fd(s, &fd, e);

	if (bad == 0 && !s->preset)
		s->ops->set_call(s->arg, payload_ring(s), fd);
	return bad;
}

static int set_vring_err(struct vu_server *s, struct err *e)
{
	int fd, bad = ring_fd(s, &fd, e);

	if (bad == 0 && !s->preset)
		s->ops->set_err(s->arg, payload_ring(s), fd);
	return bad;
}

static enum rest rest_for_enable(const struct vu_server *s)
{
	return payload_state(s).num == 0 ? REST_RING : REST_NO;
}

static int set_vring_enable(struct vu_server *s, struct err *e)
{
	struct vhost_user_vring_state v = payload_state(s);

	if (v.num > 1)
		return err_set(e, -EINVAL, "ring %u enabled with %u", v.index, v.num);
	ring(s)->enabled = v.num != 0;
	return 0;
}

static int vring_kick(struct vu_server *s, struct err *e)
{
	(void)e;
	if (ring(s)->state == VU_RUNNING)
		s->ops->queue_kick(s->arg, payload_ring(s));
	return 0;
}

/* --- configuration space ---------------------------------------------------------------------------------------- */

static struct vhost_user_config payload_config(const struct vu_server *s)
{
	struct vhost_user_config c = { 0 };

	memcpy(&c, s->payload, s->head.size < sizeof(c) ? s->head.size : sizeof(c));
	return c;
}

/* Behind the device's own fields there are zeros: front ends ask for what they know, which may be more. An answer without
 * payload is the refusal. */
static int get_config(struct vu_server *s, struct err *e)
{
	struct vhost_user_config c = payload_config(s);

	(void)e;
	if (s->config_len == 0 || c.size > VHOST_USER_CONFIG_MAX || c.offset > VHOST_USER_CONFIG_MAX - c.size)
		return vu_wire_reply(s, NULL, 0, -1);
	memcpy(c.data, s->config + c.offset, c.size);
	return vu_wire_reply(s, &c, CONFIG_HEAD + c.size, -1);
}

static int set_config(struct vu_server *s, struct err *e)
{
	struct vhost_user_config c = payload_config(s);

	if (c.size > VHOST_USER_CONFIG_MAX || s->head.size != CONFIG_HEAD + c.size)
		return err_set(e, -EPROTO, "%u bytes of configuration in %u", c.size, s->head.size);
	if (c.size == 0 || c.offset < s->w_off || c.size > s->w_len || c.offset - s->w_off > s->w_len - c.size)
		return err_set(e, -EACCES, "configuration at %u is read-only", c.offset);
	memcpy(s->config + c.offset, c.data, c.size);
	s->ops->config_written(s->arg, c.offset, c.size);
	return 0;
}

static int set_backend_req_fd(struct vu_server *s, struct err *e)
{
	(void)e;
	if (!s->preset) {
		fd_closep(&s->backend_fd);
		s->backend_fd = fd_take(&s->fds[0]);
	}
	return 0;
}

/* --- status and reset ------------------------------------------------------------------------------------------- */

static void reset(struct vu_server *s)
{
	for (unsigned i = 0; i < s->n_queues; i++)
		s->rings[i].started = s->rings[i].enabled = false;
	s->status = 0;
	s->needs_reset = false;
	s->ops->reset(s->arg);
}

static int reset_device(struct vu_server *s, struct err *e)
{
	(void)e;
	reset(s);
	return 0;
}

static enum rest rest_for_status(const struct vu_server *s)
{
	return payload_u64(s) == 0 ? REST_ALL : REST_NO;
}

/* virtio v1.2 2.1: writing 0 is the driver's reset. */
static int set_status(struct vu_server *s, struct err *e)
{
	uint64_t v = payload_u64(s);

	if (v > UINT8_MAX)
		return err_set(e, -EINVAL, "status 0x%llx", (unsigned long long)v);
	if (v == 0)
		reset(s);
	s->status = (uint8_t)v;
	return 0;
}

static int get_status(struct vu_server *s, struct err *e)
{
	(void)e;
	return vu_wire_reply_u64(s, s->status | (s->needs_reset ? STATUS_NEEDS_RESET : 0u));
}

/* --- the table -------------------------------------------------------------------------------------------------- */

static const struct request requests[VHOST_USER_REQUEST_END] = {
	[VHOST_USER_GET_FEATURES] = { 0, 0, 0, 0, false, true, NULL, get_features },
	[VHOST_USER_SET_FEATURES] = { U64, U64, 0, 0, false, false, rest_for_features, set_features },
	[VHOST_USER_SET_OWNER] = { 0, 0, 0, 0, false, false, NULL, nothing },
	[VHOST_USER_RESET_OWNER] = { 0, 0, 0, 0, false, false, rest_all, reset_device },
	[VHOST_USER_SET_MEM_TABLE] = { 8, sizeof(struct vhost_user_mem_table), 0, VU_FDS_MAX, false, false, rest_all,
				       vu_set_mem_table },
	[VHOST_USER_SET_LOG_BASE] = { 16, 16, 1, 1, false, true, rest_all, vu_set_log_base },
	[VHOST_USER_SET_LOG_FD] = { 0, U64, 0, 1, false, false, NULL, nothing },
	[VHOST_USER_SET_VRING_NUM] = { STATE, STATE, 0, 0, true, false, NULL, set_vring_num },
	[VHOST_USER_SET_VRING_ADDR] = { 40, 40, 0, 0, true, false, NULL, set_vring_addr },
	[VHOST_USER_SET_VRING_BASE] = { STATE, STATE, 0, 0, true, false, NULL, set_vring_base },
	[VHOST_USER_GET_VRING_BASE] = { STATE, STATE, 0, 0, true, true, rest_ring, get_vring_base },
	[VHOST_USER_SET_VRING_KICK] = { U64, U64, 0, 1, true, false, rest_ring, set_vring_kick },
	[VHOST_USER_SET_VRING_CALL] = { U64, U64, 0, 1, true, false, NULL, set_vring_call },
	[VHOST_USER_SET_VRING_ERR] = { U64, U64, 0, 1, true, false, NULL, set_vring_err },
	[VHOST_USER_GET_PROTOCOL_FEATURES] = { 0, 0, 0, 0, false, true, NULL, get_protocol },
	[VHOST_USER_SET_PROTOCOL_FEATURES] = { U64, U64, 0, 0, false, false, NULL, set_protocol },
	[VHOST_USER_GET_QUEUE_NUM] = { 0, 0, 0, 0, false, true, NULL, get_queue_num },
	[VHOST_USER_SET_VRING_ENABLE] = { STATE, STATE, 0, 0, true, false, rest_for_enable, set_vring_enable },
	[VHOST_USER_SET_BACKEND_REQ_FD] = { 0, U64, 1, 1, false, false, NULL, set_backend_req_fd },
	[VHOST_USER_GET_CONFIG] = { CONFIG_HEAD, CONFIG_HEAD + VHOST_USER_CONFIG_MAX, 0, 0, false, true, NULL, get_config },
	[VHOST_USER_SET_CONFIG] = { CONFIG_HEAD, CONFIG_HEAD + VHOST_USER_CONFIG_MAX, 0, 0, false, false, NULL, set_config },
	[VHOST_USER_GET_INFLIGHT_FD] = { VHOST_USER_INFLIGHT_BYTES, INFLIGHT_PADDED, 0, 0, false, true, rest_all,
					 vu_get_inflight_fd },
	[VHOST_USER_SET_INFLIGHT_FD] = { VHOST_USER_INFLIGHT_BYTES, INFLIGHT_PADDED, 1, 1, false, false, rest_all,
					 vu_set_inflight_fd },
	[VHOST_USER_RESET_DEVICE] = { 0, 0, 0, 0, false, false, rest_all, reset_device },
	[VHOST_USER_VRING_KICK] = { STATE, STATE, 0, 0, true, false, NULL, vring_kick },
	[VHOST_USER_GET_MAX_MEM_SLOTS] = { 0, 0, 0, 0, false, true, NULL, get_max_mem_slots },
	[VHOST_USER_ADD_MEM_REG] = { 40, 40, 1, 1, false, false, rest_all, vu_add_mem_reg },
	[VHOST_USER_REM_MEM_REG] = { 40, 40, 0, 1, false, false, rest_all, vu_rem_mem_reg },
	[VHOST_USER_SET_STATUS] = { U64, U64, 0, 0, false, false, rest_for_status, set_status },
	[VHOST_USER_GET_STATUS] = { 0, 0, 0, 0, false, true, NULL, get_status },
};

/* The table's entry for the message, if it is one that can be. */
static const struct request *admit(struct vu_server *s, struct err *e)
{
	uint32_t n = s->head.request;

	if (n >= VHOST_USER_REQUEST_END || requests[n].handle == NULL) {
		err_set(e, -EPROTO, "message %u is unknown", n);
		return NULL;
	}
	const struct request *t = &requests[n];
	unsigned least = s->preset ? 0 : t->fds_min;
	if (s->head.size < t->min || s->head.size > t->max || s->n_fds < least || s->n_fds > t->fds_max) {
		err_set(e, -EPROTO, "message %u with %u bytes and %u descriptors", n, s->head.size, s->n_fds);
		return NULL;
	}
	/* Only the low bits of a 64-bit argument name a ring; the 32-bit forms have no others. */
	uint32_t index;
	memcpy(&index, s->payload, sizeof(index));
	bool is_u64 = t->max == U64 && t->fds_max == 1;
	if (t->has_ring && (payload_ring(s) >= s->n_queues || (!is_u64 && index > VHOST_USER_VRING_IDX_MASK))) {
		err_set(e, -EPROTO, "message %u for ring %u of %u", n, index, s->n_queues);
		return NULL;
	}
	return t;
}

/* Act on a message whose queues are at rest. */
static int act(struct vu_server *s, const struct request *t, struct err *e)
{
	bool wants_ack = (s->head.flags & VHOST_USER_NEED_REPLY) != 0 && has_protocol(s, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	int r = t->handle(s, e);

	if (r == -EPROTO || r == -EPIPE)
		return r;
	if (r < 0) {
		char text[LOG_MSG_MAX];

		(void)err_join(e, text, sizeof(text));
		log_warn_rl("vhost-user message %u refused: %s", s->head.request, text);
		if (!wants_ack)
			return err_wrap(e, -EPROTO, "refused");
		err_clear(e);
		return vu_wire_reply_u64(s, 1);
	}
	return wants_ack && !t->answers ? vu_wire_reply_u64(s, 0) : 0;
}

/* One whole message. 1: done, 0: held. */
static int take(struct vu_server *s, struct err *e)
{
	const struct request *t = admit(s, e);

	if (t == NULL)
		return -EPROTO;
	enum rest rest = t->rest != NULL ? t->rest(s) : REST_NO;
	if (rest != REST_NO && !vu_rings_rest(s, rest == REST_RING ? (int)payload_ring(s) : -1)) {
		s->held = true;
		return 0;
	}
	int r = act(s, t, e);
	vu_wire_drop(s);
	if (r < 0)
		return r;
	vu_rings_settle(s);
	return 1;
}

int vu_server_readable(struct vu_server *s, struct err *e)
{
	int r = 1;

	for (int i = 0; i < BUDGET && r == 1 && vu_server_wants_read(s); i++) {
		r = vu_wire_read(s);
		if (r == 1)
			r = take(s, e);
	}
	return r < 0 ? r : 0;
}

int vu_server_settle(struct vu_server *s, struct err *e)
{
	if (s->fd < 0 || s->closing)
		return 0;
	if (s->held) {
		s->held = false;
		int r = take(s, e);
		if (r <= 0)
			return r;
		return 0;
	}
	vu_rings_settle(s);
	return 0;
}

int vu_server_writable(struct vu_server *s)
{
	return vu_wire_flush(s);
}

bool vu_server_wants_read(const struct vu_server *s)
{
	return s->fd >= 0 && !s->held && !s->closing && s->out_at == s->out_len;
}

bool vu_server_wants_write(const struct vu_server *s)
{
	return s->fd >= 0 && !s->closing && s->out_at < s->out_len;
}

/* --- life ------------------------------------------------------------------------------------------------------- */

int vu_server_init(struct vu_server *s, const struct vu_ops *ops, void *arg, bool preset, unsigned n_queues,
		   uint16_t queue_size)
{
	*s = (struct vu_server){
		.ops = ops,
		.arg = arg,
		.preset = preset,
		.n_queues = n_queues,
		.queue_size = queue_size,
		.fd = -1,
		.backend_fd = -1,
		.inflight_fd = -1,
	};
	s->rings = calloc(n_queues, sizeof(*s->rings));
	return s->rings != NULL ? 0 : -ENOMEM;
}

void vu_server_fini(struct vu_server *s)
{
	free(s->rings);
	s->rings = NULL;
}

void vu_server_connect(struct vu_server *s, int fd)
{
	s->fd = fd;
	s->closing = false;
	s->have = 0;
	s->out_len = s->out_at = 0;
}

bool vu_server_disconnect(struct vu_server *s)
{
	s->closing = true;
	if (!vu_rings_rest(s, -1))
		return false;
	reset(s);
	vu_wire_drop(s);
	vu_rings_forget(s);
	s->acked = s->protocol = 0;
	s->has_features = s->has_inflight = false;
	s->log.on = false;
	s->log.map = NULL;
	vu_mem_clear(&s->mem);
	if (!s->preset) {
		vu_shared_clear(&s->log_map);
		vu_shared_clear(&s->inflight);
		fd_closep(&s->inflight_fd);
		fd_closep(&s->backend_fd);
		fd_closep(&s->fd);
	}
	s->fd = -1;
	s->out_len = s->out_at = 0;
	return true;
}

void vu_server_config_changed(struct vu_server *s)
{
	s->config_changed = true;
	(void)vu_wire_tell(s);
}

bool vu_server_wants_tell(const struct vu_server *s)
{
	return s->config_changed && s->fd >= 0 && s->backend_fd >= 0 && has_protocol(s, VHOST_USER_PROTOCOL_F_BACKEND_REQ);
}

int vu_server_tell(struct vu_server *s)
{
	return vu_wire_tell(s);
}

void vu_server_needs_reset(struct vu_server *s)
{
	s->needs_reset = true;
}
