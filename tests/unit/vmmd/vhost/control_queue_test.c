/* SPDX-License-Identifier: ISC */
/* A network device of two back ends: somebody else's has its two pairs, one of ours the control queue. */
#include <linux/virtio_net.h>

#include "device_fixture.h"
#include "vmmd/vhost/device.h"

enum { DATA_QUEUES = 4, CONTROL = DATA_QUEUES, QUEUE_BYTES = 0x1000, PAIRS_AT = 17, CTL_BYTES = 19 };

#define WITHOUT_MQ \
	(VHOST_USER_BIT(VIRTIO_F_VERSION_1) | VHOST_USER_BIT(VIRTIO_NET_F_MAC) | VHOST_USER_BIT(VIRTIO_NET_F_CTRL_VQ) | \
	 VHOST_USER_BIT(VIRTIO_NET_F_STATUS))
#define WITH_MQ (WITHOUT_MQ | VHOST_USER_BIT(VIRTIO_NET_F_MQ))
#define DATA_HAS \
	(VHOST_USER_BIT(VIRTIO_F_VERSION_1) | VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES) | \
	 VHOST_USER_BIT(VIRTIO_NET_F_CTRL_VQ) | VHOST_USER_BIT(VIRTIO_NET_F_MQ))
#define CTL_HAS (DATA_HAS | VHOST_USER_BIT(VIRTIO_NET_F_STATUS) | VHOST_USER_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE))

/* A back end; of @g the sockets are used. */
struct peer {
	struct fixture g;
	enum dev_kind kind;
	uint64_t features, acked;
	bool enabled[QUEUES_ROOM], started[QUEUES_ROOM];
	uint16_t base[QUEUES_ROOM];
	unsigned kicks;
	bool keeps_bases;
	uint8_t config[CTL_BYTES];
};

struct pair {
	struct fixture *f;
	struct peer data, ctl;
	struct vhost_device *c;
};

static void hear(struct peer *p)
{
	struct fake *be = &p->g.be;

	switch (be->h.request) {
	case VHOST_USER_GET_FEATURES:
		fake_reply_u64(be, be->h.request, p->features);
		break;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		fake_reply_u64(be, be->h.request, p->kind == DEV_NET ? PROTO & ~VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIG)
								    : PROTO);
		break;
	case VHOST_USER_GET_QUEUE_NUM:
		fake_reply_u64(be, be->h.request, QUEUES_ROOM);
		break;
	case VHOST_USER_GET_CONFIG:
		fake_reply_config(be, p->config, sizeof(p->config));
		break;
	case VHOST_USER_SET_FEATURES:
		p->acked = fake_u64(be);
		break;
	case VHOST_USER_SET_VRING_BASE:
		p->base[fake_state(be).index] = (uint16_t)fake_state(be).num;
		break;
	case VHOST_USER_SET_VRING_KICK:
		assert_int_equal(be->n_fds, p->kind == DEV_NET);
		p->started[fake_u64(be)] = true;
		break;
	case VHOST_USER_SET_VRING_ENABLE:
		p->enabled[fake_state(be).index] = fake_state(be).num != 0;
		break;
	case VHOST_USER_VRING_KICK:
		p->kicks++;
		break;
	case VHOST_USER_GET_VRING_BASE:
		p->started[fake_state(be).index] = false;
		if (!p->keeps_bases)
			fake_reply(be, be->h.request, be->payload, be->h.size);
		break;
	default:
		break;
	}
}

static void settle(struct pair *p)
{
	turn(p->f);
	for (bool more = true; more; turn(p->f)) {
		more = false;
		for (struct peer *q = &p->data; q != NULL; q = q == &p->data ? &p->ctl : NULL)
			while (q->g.be.sock >= 0 && fake_take(&q->g.be)) {
				hear(q);
				more = true;
			}
	}
}

static struct msg_mon_device message(const struct peer *q)
{
	unsigned n = q->kind == DEV_NET ? DATA_QUEUES : 1;

	return (struct msg_mon_device){
		.kind = q->kind,
		.generation = 1,
		.ours = q->kind != DEV_NET,
		.n_queues = n,
		.queue_size = QUEUE_SIZE,
		.n_events = 0,
	};
}

static void hand_over(struct pair *p, struct peer *q)
{
	const struct msg_mon_device m = message(q);
	struct msg_mon_device_events ev = { .kind = q->kind, .n = 2 * m.n_queues };
	int fds[16], events[2 * DATA_QUEUES];
	unsigned n = make_fds(&q->g, m.ours, fds);

	assert_int_equal(vhost_devices_add(&p->f->ds, &m, fds, n - 2 * QUEUES, NULL), 0);
	fd_close_all(fds, n);
	for (unsigned i = 0; i < ev.n; i++)
		events[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(vhost_devices_add_events(&p->f->ds, &ev, events, ev.n, NULL), 0);
}

static void on_progress(void *arg)
{
	settle(arg);
}

static int prepare(struct pair *p, struct err *e)
{
	struct fixture *f = p->f;

	return vhost_devices_prepare(&f->ds, &f->cfg, &f->gmem, &f->map, f->ram_fd, on_progress, p, e);
}

static struct pair *begin(uint64_t data_features)
{
	struct pair *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->f = make();
	p->f->cfg.has_net = true;
	p->f->cfg.n_net = 1;
	p->f->cfg.net = calloc(1, sizeof(*p->f->cfg.net));
	obj_init(&desc_cfg_net, &p->f->cfg.net[0]);
	p->f->cfg.net[0].id = strdup("_net0");
	p->f->cfg.net[0].mac = strdup("2e:00:00:00:00:01");
	p->data.kind = DEV_NET;
	p->data.features = data_features;
	p->ctl.kind = DEV_NET_CTL;
	p->ctl.features = CTL_HAS;
	p->ctl.config[6] = VIRTIO_NET_S_LINK_UP;
	for (struct peer *q = &p->data; q != NULL; q = q == &p->data ? &p->ctl : NULL)
		q->g.be.sock = q->g.backend = q->g.err = -1;
	for (unsigned i = 0; i < QUEUES_ROOM; i++)
		p->f->v.q[i] = (struct virtio_queue){
			.enabled = i <= CONTROL,
			.size = RING,
			.desc = 0x1000 + QUEUE_BYTES * i,
			.driver = 0x1800 + QUEUE_BYTES * i,
			.device = 0x1a00 + QUEUE_BYTES * i,
		};
	return p;
}

static struct pair *make_net(uint64_t data_features)
{
	struct pair *p = begin(data_features);
	struct fixture *f = p->f;

	hand_over(p, &p->ctl);
	hand_over(p, &p->data);
	f->d = f->ds.v[0];
	p->c = f->ds.v[1];
	for (unsigned i = 0; i < 2; i++)
		f->ds.v[i]->front.cfg.timeouts =
			(struct vhost_timeouts){ .answer_ms = 100, .stop_ms = 20, .death_ms = 40 };
	assert_int_equal(prepare(p, NULL), 0);
	assert_int_equal(vhost_devices_visible(&f->ds), 1);
	assert_ptr_equal(vhost_devices_list(&f->ds)[0].cfg, &f->d->cfg);
	*vhost_devices_list(&f->ds)[0].out = &f->v;
	return p;
}

static void close_peer(struct peer *q)
{
	fd_closep(&q->g.be.sock);
	fd_closep(&q->g.backend);
	fd_closep(&q->g.err);
	if (q->g.stats != NULL)
		(void)munmap(q->g.stats, STATS_PAGE_BYTES);
	q->g.stats = NULL;
}

static void finish(struct pair *p)
{
	close_peer(&p->data);
	close_peer(&p->ctl);
	end(p->f);
	free(p);
}

static void start(struct pair *p, uint64_t acked)
{
	p->f->d->cfg.ops->start(p->f->d->cfg.be, acked);
	settle(p);
}

static void stop(struct pair *p)
{
	p->f->d->cfg.ops->stop(p->f->d->cfg.be);
	settle(p);
}

/* The driver has said so to the control queue. */
static void say_pairs(struct pair *p, uint8_t n)
{
	const struct vhost_user_header h = { VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, VHOST_USER_VERSION, 0 };

	p->ctl.config[PAIRS_AT] = n;
	assert_int_equal(send(p->ctl.g.backend, &h, sizeof(h), 0), sizeof(h));
	settle(p);
}

static void lose(struct pair *p, struct peer *q, bool final)
{
	char reason[] = "killed";
	const struct msg_mon_device_gone m = { .kind = q->kind, .generation = 1, .final = final, .reason = reason };

	memset(q->enabled, 0, sizeof(q->enabled));
	memset(q->started, 0, sizeof(q->started));
	vhost_devices_gone(&p->f->ds, &m);
	settle(p);
}

static void replace(struct pair *p, struct peer *q)
{
	const struct msg_mon_device_up m = { .kind = q->kind, .generation = 2 };
	int fds[16];

	if (q->g.stats != NULL)
		(void)munmap(q->g.stats, STATS_PAGE_BYTES);
	unsigned n = make_fds(&q->g, q->kind != DEV_NET, fds);

	assert_int_equal(vhost_devices_up(&p->f->ds, &m, fds, q->kind == DEV_NET ? 1 : 2, NULL), 0);
	fd_close_all(fds, n);
	settle(p);
}

static void expect_enabled(const struct pair *p, unsigned n)
{
	for (unsigned i = 0; i < DATA_QUEUES; i++)
		assert_int_equal(p->data.enabled[i], i < n);
}

/* --- boot ------------------------------------------------------------------------------------------------------------- */

static void guest_finds_one_device_with_a_queue_more(void **state)
{
	struct pair *p = make_net(DATA_HAS);
	const struct virtio_dev_cfg *c = &p->f->d->cfg;

	(void)state;
	assert_string_equal(c->id, "_net0");
	assert_int_equal(c->n_queues, DATA_QUEUES + 1);
	assert_int_equal(c->kick[CONTROL], p->c->kick[0]);
	assert_int_equal(c->call[CONTROL], p->c->call[0]);
	assert_int_equal(c->features, WITH_MQ | VHOST_USER_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE));
	const uint8_t *config = c->config;

	assert_int_equal(config[5], 1); /* the configuration's, not the helper's */
	assert_int_equal(config[6], VIRTIO_NET_S_LINK_UP);
	assert_int_equal(config[8], DATA_QUEUES / 2);
	finish(p);
}

static void back_end_that_knows_no_control_queue_has_none(void **state)
{
	struct pair *p = make_net(DATA_HAS & ~VHOST_USER_BIT(VIRTIO_NET_F_CTRL_VQ));
	const struct virtio_dev_cfg *c = &p->f->d->cfg;

	(void)state;
	assert_int_equal(c->n_queues, DATA_QUEUES);
	assert_int_equal(c->features, VHOST_USER_BIT(VIRTIO_F_VERSION_1) | VHOST_USER_BIT(VIRTIO_NET_F_MAC));
	start(p, c->features);
	expect_enabled(p, DATA_QUEUES);
	assert_false(p->ctl.started[0]);
	stop(p);
	assert_int_equal(p->f->v.stopped, 1);
	assert_int_equal(p->f->stopped, 1);
	finish(p);
}

static void control_queue_of_no_device_fails_the_boot(void **state)
{
	struct pair *p = begin(DATA_HAS);

	(void)state;
	hand_over(p, &p->ctl);
	assert_int_equal(prepare(p, NULL), -EINVAL);
	finish(p);
}

/* --- run -------------------------------------------------------------------------------------------------------------- */

static void one_pair_is_enabled_until_the_driver_says_more(void **state)
{
	struct pair *p = make_net(DATA_HAS);

	(void)state;
	start(p, WITH_MQ);
	assert_true(p->data.started[3]);
	assert_true(p->ctl.started[0]);
	assert_true(p->ctl.enabled[0]);
	assert_int_equal(p->data.acked & WITH_MQ, WITH_MQ & DATA_HAS);
	assert_int_equal(p->ctl.acked & WITH_MQ, WITH_MQ & CTL_HAS);
	assert_int_equal(p->c->front.rings[0].desc, 0x1000 + QUEUE_BYTES * CONTROL);
	expect_enabled(p, 2);
	say_pairs(p, 2);
	expect_enabled(p, 4);
	say_pairs(p, 1);
	expect_enabled(p, 2);
	assert_int_equal(p->f->v.needs_reset, 0);
	finish(p);
}

static void numbers_of_pairs_that_cannot_be_are_ignored(void **state)
{
	struct pair *p = make_net(DATA_HAS);

	(void)state;
	start(p, WITH_MQ);
	say_pairs(p, 3);
	expect_enabled(p, 2);
	say_pairs(p, 0);
	expect_enabled(p, 2);
	stop(p);
	start(p, WITHOUT_MQ);
	say_pairs(p, 1);
	assert_true(p->data.enabled[1]);
	assert_false(p->data.started[2]);
	finish(p);
}

static void next_driver_begins_with_one_pair(void **state)
{
	struct pair *p = make_net(DATA_HAS);

	(void)state;
	start(p, WITH_MQ);
	say_pairs(p, 2);
	stop(p);
	p->ctl.config[PAIRS_AT] = 0;
	start(p, WITH_MQ);
	expect_enabled(p, 2);
	finish(p);
}

static void without_mq_the_control_queue_is_the_third(void **state)
{
	struct pair *p = make_net(DATA_HAS);
	struct virtio_dev *v = &p->f->v;

	(void)state;
	start(p, WITHOUT_MQ);
	assert_int_equal(p->c->front.rings[0].desc, 0x1000 + QUEUE_BYTES * 2);
	assert_int_equal(v->kick[2], p->c->kick[0]);
	assert_int_equal(v->call[2], p->c->call[0]);
	assert_false(p->data.started[2]);
	assert_true(p->data.enabled[0] && p->data.enabled[1]);
	p->f->d->cfg.ops->kick(p->f->d->cfg.be, 2);
	settle(p);
	assert_int_equal(p->ctl.kicks, 1);
	/* a successor of the other one does not take it */
	lose(p, &p->data, false);
	replace(p, &p->data);
	assert_true(p->data.enabled[0]);
	assert_int_equal(v->kick[2], p->c->kick[0]);
	stop(p);
	assert_int_equal(v->kick[2], p->f->d->kick[2]);
	assert_int_equal(v->call[2], p->f->d->call[2]);
	start(p, WITH_MQ);
	assert_true(p->data.started[2]);
	finish(p);
}

static void doorbells_go_to_who_serves_the_queue(void **state)
{
	struct pair *p = make_net(DATA_HAS);

	(void)state;
	start(p, WITH_MQ);
	p->f->d->cfg.ops->kick(p->f->d->cfg.be, CONTROL);
	settle(p);
	assert_int_equal(p->ctl.kicks, 1);
	assert_int_equal(p->f->v.set_kick, 0);
	p->f->d->cfg.ops->kick(p->f->d->cfg.be, 2);
	settle(p);
	assert_int_equal(p->ctl.kicks, 1);
	assert_int_equal(p->f->v.set_kick, 1);
	finish(p);
}

static void reset_is_confirmed_when_both_have_confirmed(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct pair *p = make_net(DATA_HAS);
		struct peer *slow = i == 0 ? &p->data : &p->ctl;

		start(p, WITH_MQ);
		slow->keeps_bases = true;
		stop(p);
		assert_int_equal(p->f->v.stopped, 0);
		assert_int_equal(p->f->stopped, 0);
		assert_false(vhost_devices_are_idle(&p->f->ds));
		run_until(p->f, &p->f->kills, 0);
		lose(p, slow, false);
		assert_int_equal(p->f->v.stopped, 1);
		assert_int_equal(p->f->stopped, 1);
		assert_true(vhost_devices_are_idle(&p->f->ds));
		finish(p);
	}
}

/* --- deaths ----------------------------------------------------------------------------------------------------------- */

static void death_of_the_helper_stops_nobody_else(void **state)
{
	struct pair *p = make_net(DATA_HAS);

	(void)state;
	start(p, WITH_MQ);
	say_pairs(p, 2);
	p->f->ram[0x1a02 + QUEUE_BYTES * CONTROL] = 3; /* used.idx: three commands were answered */
	lose(p, &p->ctl, false);
	expect_enabled(p, 4);
	p->ctl.config[PAIRS_AT] = 0; /* until it has looked up what its predecessor was told */
	replace(p, &p->ctl);
	assert_true(p->ctl.started[0]);
	assert_int_equal(p->ctl.base[0], 3);
	expect_enabled(p, 4);
	say_pairs(p, 2);
	expect_enabled(p, 4);
	assert_int_equal(p->f->v.needs_reset, 0);
	assert_int_equal(p->f->v.stopped, 0);
	assert_int_equal(p->f->restarted, 1);
	assert_int_equal(p->f->d->front.state, VHOST_RUNNING);
	finish(p);
}

static void successor_of_the_other_has_the_pairs_that_were_set(void **state)
{
	struct pair *p = make_net(DATA_HAS);

	(void)state;
	start(p, WITH_MQ);
	lose(p, &p->data, false);
	say_pairs(p, 2); /* meanwhile */
	assert_true(p->ctl.started[0]);
	replace(p, &p->data);
	expect_enabled(p, 4);
	assert_int_equal(p->c->kick[0], p->f->d->cfg.kick[CONTROL]);
	assert_int_equal(p->f->v.needs_reset, 0);
	finish(p);
}

static void either_that_stays_dead_needs_a_reset(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct pair *p = make_net(DATA_HAS);

		start(p, WITH_MQ);
		lose(p, i == 0 ? &p->data : &p->ctl, true);
		assert_int_equal(p->f->v.needs_reset, 1);
		assert_int_equal(p->f->failed, 1);
		stop(p);
		assert_int_equal(p->f->v.stopped, 1);
		start(p, WITH_MQ);
		assert_int_equal(p->f->v.needs_reset, 2);
		finish(p);
	}
}

static void broken_control_ring_needs_a_reset(void **state)
{
	struct pair *p = make_net(DATA_HAS);

	(void)state;
	start(p, WITH_MQ);
	assert_int_equal(eventfd_write(p->ctl.g.err, 1), 0);
	settle(p);
	assert_int_equal(p->f->v.needs_reset, 1);
	assert_int_equal(p->f->kills, 0);
	finish(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guest_finds_one_device_with_a_queue_more),
		cmocka_unit_test(back_end_that_knows_no_control_queue_has_none),
		cmocka_unit_test(control_queue_of_no_device_fails_the_boot),
		cmocka_unit_test(one_pair_is_enabled_until_the_driver_says_more),
		cmocka_unit_test(numbers_of_pairs_that_cannot_be_are_ignored),
		cmocka_unit_test(next_driver_begins_with_one_pair),
		cmocka_unit_test(without_mq_the_control_queue_is_the_third),
		cmocka_unit_test(doorbells_go_to_who_serves_the_queue),
		cmocka_unit_test(reset_is_confirmed_when_both_have_confirmed),
		cmocka_unit_test(death_of_the_helper_stops_nobody_else),
		cmocka_unit_test(successor_of_the_other_has_the_pairs_that_were_set),
		cmocka_unit_test(either_that_stays_dead_needs_a_reset),
		cmocka_unit_test(broken_control_ring_needs_a_reset),
	};

	return cmocka_run_group_tests_name("vhost/control_queue", tests, NULL, NULL);
}
