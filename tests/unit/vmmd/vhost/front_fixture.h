/* SPDX-License-Identifier: ISC */
/* A front end with a back end that is played by hand. */
#ifndef TESTS_UNIT_VMMD_VHOST_FRONT_FIXTURE_H
#define TESTS_UNIT_VMMD_VHOST_FRONT_FIXTURE_H

#include <errno.h>
#include <linux/virtio_config.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>

#include "common/ev.h"
#include "fake_backend.h"
#include "vmmd/vhost/front.h"

#define PROTO_ALL \
	(VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_MQ) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) | \
	 VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) | \
	 VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIG) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) | \
	 VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) | \
	 VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_STATUS))
#define FEATURES \
	(VHOST_USER_BIT(VIRTIO_F_VERSION_1) | VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES) | \
	 VHOST_USER_BIT(VHOST_USER_F_LOG_ALL) | 0x40)

enum { QUEUES = 2, CONFIG = 60, TIMEOUT_MS = 40 };

struct fixture {
	struct event_base *base;
	struct vhost_front front;
	struct fake be;
	int kick[QUEUES], call[QUEUES], err;
	struct vhost_ram ram;
	unsigned ready, config, stopped, refused, broken;
	const char *why;
};

static inline void on_ready(void *arg)
{
	((struct fixture *)arg)->ready++;
}

static inline void on_config(void *arg)
{
	((struct fixture *)arg)->config++;
}

static inline void on_stopped(void *arg)
{
	((struct fixture *)arg)->stopped++;
}

static inline void on_refused(void *arg, const char *what)
{
	(void)what;
	((struct fixture *)arg)->refused++;
}

static inline void on_broken(void *arg, const char *why)
{
	struct fixture *f = arg;

	f->broken++;
	f->why = why;
}

static const struct vhost_front_ops ops = { on_ready, on_config, on_stopped, on_refused, on_broken };

static inline void turn(struct fixture *f)
{
	for (int i = 0; i < 4; i++)
		assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
}

static inline void connect_again(struct fixture *f)
{
	int pair[2];

	fd_closep(&f->be.sock);
	assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
	f->be.sock = pair[0];
	assert_int_equal(vhost_front_open(&f->front, &pair[1]), 0);
	assert_int_equal(pair[1], -1);
}

static inline struct fixture *make(bool ours, uint32_t config_len, bool config_needed)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->base = ev_new(EV_BACKEND_EPOLL);
	f->be.sock = -1;
	f->err = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	for (int i = 0; i < QUEUES; i++) {
		f->kick[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		f->call[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
	f->ram = (struct vhost_ram){
		.fd = memfd_create("ram", MFD_CLOEXEC),
		.n = 2,
		.run = { { 0, 0x1000, 0 }, { 0x100000000, 0x2000, 0x1000 } },
	};
	const struct vhost_front_cfg cfg = {
		.base = f->base,
		.ours = ours,
		.n_queues = QUEUES,
		.queue_size = 128,
		.config_len = config_len,
		.config_needed = config_needed,
		.kick = f->kick,
		.call = f->call,
		.err = f->err,
		.timeouts = { .answer_ms = TIMEOUT_MS, .stop_ms = TIMEOUT_MS / 2 },
		.ops = &ops,
		.arg = f,
	};

	assert_int_equal(vhost_front_init(&f->front, &cfg), 0);
	vhost_front_writable(&f->front, 32, 1);
	connect_again(f);
	return f;
}

static inline void end(struct fixture *f)
{
	vhost_front_fini(&f->front);
	ev_free(f->base);
	fd_closep(&f->be.sock);
	fd_close_all(f->kick, QUEUES);
	fd_close_all(f->call, QUEUES);
	fd_closep(&f->err);
	fd_closep(&f->ram.fd);
	free(f);
}

/* --- steps ------------------------------------------------------------------------------------------------------------ */

static inline void to_protocol(struct fixture *f, uint64_t proto)
{
	fake_expect(&f->be, VHOST_USER_SET_OWNER);
	fake_expect(&f->be, VHOST_USER_GET_FEATURES);
	fake_reply_u64(&f->be, VHOST_USER_GET_FEATURES, FEATURES);
	turn(f);
	fake_expect(&f->be, VHOST_USER_GET_PROTOCOL_FEATURES);
	fake_reply_u64(&f->be, VHOST_USER_GET_PROTOCOL_FEATURES, proto);
	turn(f);
	fake_expect(&f->be, VHOST_USER_SET_PROTOCOL_FEATURES);
}

static inline void answer_config(struct fixture *f, uint8_t first, uint8_t wce)
{
	uint8_t config[CONFIG] = { [0] = first, [32] = wce };

	fake_expect(&f->be, VHOST_USER_GET_CONFIG);
	fake_reply_config(&f->be, config, CONFIG);
	turn(f);
}

static inline void shake_hands(struct fixture *f)
{
	to_protocol(f, PROTO_ALL);
	fake_expect(&f->be, VHOST_USER_GET_QUEUE_NUM);
	fake_reply_u64(&f->be, VHOST_USER_GET_QUEUE_NUM, QUEUES);
	if (!f->front.cfg.ours) {
		fake_expect(&f->be, VHOST_USER_GET_MAX_MEM_SLOTS);
		fake_reply_u64(&f->be, VHOST_USER_GET_MAX_MEM_SLOTS, 8);
	}
	answer_config(f, 7, 1);
	assert_int_equal(f->front.state, VHOST_READY);
}

static inline void enable(struct fixture *f, unsigned q, uint16_t base)
{
	f->front.rings[q] = (struct vhost_ring){
		.enabled = true,
		.size = 64,
		.base = base,
		.desc = 0x100 + q,
		.avail = 0x200 + q,
		.used = 0x300 + q,
	};
}

static inline void ack(struct fixture *f)
{
	assert_true(fake_wants_reply(&f->be));
	fake_reply_u64(&f->be, f->be.h.request, 0);
}

static inline void expect_num(struct fixture *f, unsigned q)
{
	fake_expect(&f->be, VHOST_USER_SET_VRING_NUM);
	assert_int_equal(fake_state(&f->be).index, q);
	assert_int_equal(fake_state(&f->be).num, 64);
}

static inline void expect_event(struct fixture *f, uint32_t request, unsigned q)
{
	fake_expect(&f->be, request);
	assert_int_equal(fake_u64(&f->be), q);
	assert_int_equal(f->be.n_fds, f->front.cfg.ours ? 0 : 1);
}

static inline void expect_ring(struct fixture *f, unsigned q, uint32_t base)
{
	struct vhost_user_vring_addr a;

	fake_expect(&f->be, VHOST_USER_SET_VRING_ADDR);
	memcpy(&a, f->be.payload, sizeof(a));
	assert_int_equal(a.index, q);
	assert_int_equal(a.descriptor, 0x100 + q); /* guest physical addresses, nothing else */
	assert_int_equal(a.available, 0x200 + q);
	assert_int_equal(a.used, 0x300 + q);
	ack(f);
	fake_expect(&f->be, VHOST_USER_SET_VRING_BASE);
	assert_int_equal(fake_state(&f->be).index, q);
	assert_int_equal(fake_state(&f->be).num, base);
	expect_event(f, VHOST_USER_SET_VRING_CALL, q);
	expect_event(f, VHOST_USER_SET_VRING_KICK, q);
	expect_event(f, VHOST_USER_SET_VRING_ERR, q);
}

static inline void expect_enable(struct fixture *f, unsigned q, bool on)
{
	fake_expect(&f->be, VHOST_USER_SET_VRING_ENABLE);
	assert_int_equal(fake_state(&f->be).index, q);
	assert_int_equal(fake_state(&f->be).num, on);
}

static inline void expect_ram(struct fixture *f)
{
	struct vhost_user_mem_table t = { 0 };

	fake_expect(&f->be, VHOST_USER_SET_MEM_TABLE);
	assert_int_equal(f->be.h.size, 8 + 2 * 32);
	memcpy(&t, f->be.payload, f->be.h.size);
	assert_int_equal(t.n, 2);
	assert_int_equal(t.region[1].guest_addr, 0x100000000);
	assert_int_equal(t.region[1].user_addr, 0x100000000);
	assert_int_equal(t.region[1].size, 0x2000);
	assert_int_equal(t.region[1].mmap_offset, 0x1000);
	assert_int_equal(f->be.n_fds, f->front.cfg.ours ? 0 : 2);
	ack(f);
}

static inline void answer_inflight(struct fixture *f, int fd)
{
	struct vhost_user_inflight i = { .mmap_size = 4096, .num_queues = QUEUES, .queue_size = 128 };

	fake_expect(&f->be, VHOST_USER_GET_INFLIGHT_FD);
	fake_send(&f->be, VHOST_USER_GET_INFLIGHT_FD, VHOST_USER_VERSION | VHOST_USER_REPLY, &i, sizeof(i), &fd,
		  fd >= 0);
	turn(f);
}

static inline void expect_inflight(struct fixture *f)
{
	struct vhost_user_inflight i;

	fake_expect(&f->be, VHOST_USER_SET_INFLIGHT_FD);
	memcpy(&i, f->be.payload, sizeof(i));
	assert_int_equal(i.mmap_size, 4096);
	assert_int_equal(i.num_queues, QUEUES);
	assert_int_equal(i.queue_size, 128);
	assert_int_equal(f->be.n_fds, f->front.cfg.ours ? 0 : 1);
	ack(f);
}

static inline void expect_status(struct fixture *f, uint64_t status)
{
	fake_expect(&f->be, VHOST_USER_SET_STATUS);
	assert_int_equal(fake_u64(&f->be), status);
}

/* Both rings of ours, from scratch. */
static inline void start_ours(struct fixture *f)
{
	enable(f, 0, 0);
	enable(f, 1, 0);
	vhost_front_start(&f->front, FEATURES, &f->ram, false);
	fake_expect(&f->be, VHOST_USER_SET_FEATURES);
	/* neither the log nor anything else of vhost's own is a driver's to take */
	assert_int_equal(fake_u64(&f->be), FEATURES & ~VHOST_USER_BIT(VHOST_USER_F_LOG_ALL));
	expect_ram(f);
	expect_num(f, 0);
	expect_num(f, 1);
	answer_inflight(f, -1);
	expect_inflight(f);
	expect_ring(f, 0, 0);
	expect_ring(f, 1, 0);
	fake_expect(&f->be, VHOST_USER_SET_BACKEND_REQ_FD);
	assert_int_equal(f->be.n_fds, 0);
	expect_status(f, 15);
	expect_enable(f, 0, true);
	expect_enable(f, 1, true);
	fake_expect_nothing(&f->be);
	turn(f);
	assert_int_equal(f->front.state, VHOST_RUNNING);
}

static inline void answer_base(struct fixture *f, unsigned q)
{
	struct vhost_user_vring_state s = { q, 4711 };

	fake_expect(&f->be, VHOST_USER_GET_VRING_BASE);
	assert_int_equal(fake_state(&f->be).index, q);
	fake_reply(&f->be, VHOST_USER_GET_VRING_BASE, &s, sizeof(s));
	turn(f);
}

static inline void nap(unsigned ms)
{
	struct timespec t = { 0, (long)ms * 1000000 };

	(void)nanosleep(&t, NULL);
}

/* Until it is broken, for at most 2 s: deadlines of these tests are far below. */
static inline void run_until_broken(struct fixture *f)
{
	for (int i = 0; i < 2000 && f->broken == 0; i++) {
		turn(f);
		nap(1);
	}
	assert_int_equal(f->broken, 1);
	assert_int_equal(f->front.state, VHOST_DOWN);
}

#endif
