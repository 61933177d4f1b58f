/* SPDX-License-Identifier: ISC */
/* Hand-over, boot, and what is told of devices. */
#include "vmmd/vhost/devices.h"

#include "device_fixture.h"

static int add(struct fixture *f, const struct msg_mon_device *m, unsigned drop, struct err *e)
{
	int fds[16];
	unsigned n = make_fds(f, m->ours, fds);
	int r = vhost_devices_add(&f->ds, m, fds, n - drop, e);

	fd_close_all(fds, n);
	return r;
}

static void progress(void *arg)
{
	play(arg, FEATURES, 7);
}

static int prepare(struct fixture *f, struct err *e)
{
	return vhost_devices_prepare(&f->ds, &f->cfg, &f->gmem, &f->map, f->ram_fd, progress, f, e);
}

static const char *text(const struct err *e)
{
	static char buf[512];

	(void)err_join(e, buf, sizeof(buf));
	return buf;
}

static void boot_waits_for_the_handshake(void **state)
{
	struct fixture *f = make();
	const struct msg_mon_device m = device_message(true);

	(void)state;
	assert_int_equal(add(f, &m, 0, NULL), 0);
	assert_int_equal(prepare(f, NULL), 0); /* answers come only while it waits */
	const struct virtio_dev_cfg *c = vhost_devices_list(&f->ds)[0].cfg;

	assert_string_equal(c->id, "_disk0");
	assert_int_equal(c->n_queues, QUEUES);
	assert_int_equal(c->queue_size, QUEUE_SIZE);
	assert_int_equal(c->features, ACKED);
	assert_int_equal(c->config_len, 60);
	assert_int_equal(((const uint8_t *)c->config)[0], 7);
	assert_true(c->bar32);
	assert_int_equal(c->slot, -1);
	assert_int_equal(f->restarted, 0);
	end(f);
}

static void boot_fails_when_a_back_end_is_silent(void **state)
{
	struct fixture *f = make();
	const struct msg_mon_device m = device_message(true);
	struct err e = { 0 };

	(void)state;
	assert_int_equal(add(f, &m, 0, NULL), 0);
	vhost_front_close(&f->ds.v[0]->front);
	f->ds.v[0]->front.cfg.timeouts.answer_ms = 30;
	f->ds.boot_ms = 200;
	int pair[2];

	assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
	assert_int_equal(vhost_front_open(&f->ds.v[0]->front, &pair[1]), 0);
	assert_true(vhost_devices_prepare(&f->ds, &f->cfg, &f->gmem, &f->map, f->ram_fd, no_progress, NULL, &e) < 0);
	assert_non_null(strstr(text(&e), "disk \"_disk0\""));
	assert_non_null(strstr(text(&e), "does not answer"));
	assert_int_equal(f->kills, 1);
	fd_closep(&pair[0]);
	end(f);
}

/* The monitor's news come while the boot waits. */
static void successor_comes(void *arg)
{
	struct fixture *f = arg;

	if (f->d->generation == 1)
		up(f, 2);
	play(f, FEATURES, 7);
}

static void boot_waits_for_the_successor_of_a_dead_back_end(void **state)
{
	struct fixture *f = make();
	const struct msg_mon_device m = device_message(true);

	(void)state;
	assert_int_equal(add(f, &m, 0, NULL), 0);
	f->d = f->ds.v[0];
	gone(f, 1, false);
	assert_int_equal(vhost_devices_prepare(&f->ds, &f->cfg, &f->gmem, &f->map, f->ram_fd, successor_comes, f, NULL),
			 0);
	assert_int_equal(f->d->front.state, VHOST_READY);
	end(f);
}

static void boot_waits_for_a_successor_only_so_long(void **state)
{
	struct fixture *f = make();
	const struct msg_mon_device m = device_message(true);
	struct err e = { 0 };

	(void)state;
	assert_int_equal(add(f, &m, 0, NULL), 0);
	gone(f, 1, false);
	f->ds.boot_ms = 30;
	assert_true(vhost_devices_prepare(&f->ds, &f->cfg, &f->gmem, &f->map, f->ram_fd, no_progress, NULL, &e) < 0);
	assert_non_null(strstr(text(&e), "killed"));
	end(f);
}

static void boot_fails_when_a_back_end_has_gone_for_good(void **state)
{
	struct fixture *f = make();
	const struct msg_mon_device m = device_message(true);
	struct err e = { 0 };

	(void)state;
	assert_int_equal(add(f, &m, 0, NULL), 0);
	gone(f, 1, true);
	assert_true(prepare(f, &e) < 0);
	assert_non_null(strstr(text(&e), "killed"));
	end(f);
}

static void boot_fails_when_events_are_missing(void **state)
{
	struct fixture *f = make();
	struct msg_mon_device m = device_message(true);
	struct err e = { 0 };

	(void)state;
	m.n_events = 2 * QUEUES - 2;
	assert_int_equal(add(f, &m, 2, NULL), 0);
	assert_true(prepare(f, &e) < 0);
	assert_non_null(strstr(text(&e), "2 of 4 events"));
	end(f);
}

static void events_may_come_later(void **state)
{
	struct fixture *f = make();
	struct msg_mon_device m = device_message(true);
	struct msg_mon_device_events ev = { .kind = DEV_DISK, .n = 4 };
	int fds[6];

	(void)state;
	m.n_events = 0;
	assert_int_equal(add(f, &m, 4, NULL), 0);
	for (int i = 0; i < 6; i++)
		fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(vhost_devices_add_events(&f->ds, &ev, fds, 3, NULL), -EBADMSG);
	assert_int_equal(vhost_devices_add_events(&f->ds, &ev, fds, 4, NULL), 0);
	assert_int_equal(fds[0], -1);
	ev.n = 2;
	assert_int_equal(vhost_devices_add_events(&f->ds, &ev, fds + 4, 2, NULL), -EBADMSG); /* too many */
	assert_int_equal(prepare(f, NULL), 0);
	fd_close_all(fds + 4, 2);
	end(f);
}

static void hand_over_of_wrong_descriptors_is_refused(void **state)
{
	struct fixture *f = make();
	struct msg_mon_device m = device_message(true);

	(void)state;
	assert_true(add(f, &m, 1, NULL) < 0);
	assert_true(add(f, &m, 7, NULL) < 0);
	m.n_events = 240;
	assert_true(add(f, &m, 0, NULL) < 0);
	assert_int_equal(f->ds.n, 0);
	end(f);
}

static void the_same_device_twice_is_refused(void **state)
{
	struct fixture *f = make();
	const struct msg_mon_device m = device_message(true);

	(void)state;
	assert_int_equal(add(f, &m, 0, NULL), 0);
	assert_int_equal(add(f, &m, 0, NULL), -EINVAL);
	end(f);
}

static void devices_come_in_the_order_of_their_slots(void **state)
{
	static const struct {
		enum dev_kind kind;
		uint32_t index;
	} come[] = { { DEV_RNG, 0 }, { DEV_DISK, 1 }, { DEV_NET, 0 }, { DEV_DISK, 0 }, { DEV_CONSOLE, 0 } },
	  want[] = { { DEV_CONSOLE, 0 }, { DEV_DISK, 0 }, { DEV_DISK, 1 }, { DEV_NET, 0 }, { DEV_RNG, 0 } };
	struct fixture *f = make();

	(void)state;
	for (size_t i = 0; i < nitems(come); i++) {
		struct msg_mon_device m = device_message(true);

		m.kind = come[i].kind;
		m.index = come[i].index;
		assert_int_equal(add(f, &m, 0, NULL), 0);
	}
	for (size_t i = 0; i < nitems(want); i++) {
		assert_int_equal(f->ds.v[i]->kind, want[i].kind);
		assert_int_equal(f->ds.v[i]->index, want[i].index);
	}
	end(f);
}

static void a_device_that_is_not_configured_fails_the_boot(void **state)
{
	struct fixture *f = make();
	struct msg_mon_device m = device_message(true);

	(void)state;
	m.index = 1;
	assert_int_equal(add(f, &m, 0, NULL), 0);
	assert_true(prepare(f, NULL) < 0);
	end(f);
}

static void news_of_unknown_devices_is_ignored(void **state)
{
	struct fixture *f = make();
	const struct msg_mon_device_up m = { .kind = DEV_NET, .generation = 2 };

	(void)state;
	gone(f, 1, true);
	assert_int_equal(vhost_devices_up(&f->ds, &m, NULL, 0, NULL), 0);
	assert_int_equal(f->failed, 0);
	end(f);
}

static void waiting_for_stops_is_bounded(void **state)
{
	struct fixture *f = make_disk(true);

	(void)state;
	driver_ok(f);
	f->d->cfg.ops->stop(f->d->cfg.be);
	vhost_devices_wait_stopped(&f->ds);
	assert_int_equal(f->kills, 1);
	assert_false(vhost_devices_are_idle(&f->ds));
	gone(f, 1, false);
	assert_true(vhost_devices_are_idle(&f->ds));
	end(f);
}

static void info_has_two_nodes_for_a_device(void **state)
{
	struct fixture *f = make_disk(true);
	struct msg_cmd_vm_info_result info = { 0 };

	(void)state;
	assert_int_equal(vhost_devices_info(&f->ds, &info), 0);
	assert_int_equal(info.n_nodes, 2);
	assert_string_equal(info.nodes[0].id, "_disk0");
	assert_string_equal(info.nodes[0].parent, "_virtio-pci-_disk0");
	assert_int_equal(info.nodes[0].n_children, 0);
	assert_null(info.nodes[0].pci_bdf);
	assert_string_equal(info.nodes[1].id, "_virtio-pci-_disk0");
	assert_null(info.nodes[1].parent);
	assert_int_equal(info.nodes[1].n_children, 1);
	assert_string_equal(info.nodes[1].children[0], "_disk0");
	assert_string_equal(info.nodes[1].pci_bdf, "0000:00:02.0");
	assert_int_equal(info.nodes[1].n_bars, 1);
	assert_int_equal(info.nodes[1].bars[0].type, PCI_BAR_MMIO32);
	assert_int_equal(info.nodes[1].bars[0].base, 0xe7f80000);
	assert_int_equal(info.nodes[1].bars[0].size, 0x80000);
	obj_fini(&desc_msg_cmd_vm_info_result, &info);
	f->d->dev = NULL; /* between two runs of a reset */
	assert_int_equal(vhost_devices_info(&f->ds, &info), 0);
	assert_int_equal(info.n_nodes, 0);
	end(f);
}

static uint64_t counter(const struct msg_cmd_vm_counters_result *r, const char *name)
{
	for (size_t i = 0; i < r->n_counters; i++) {
		assert_string_equal(r->counters[i].device, "_disk0");
		if (strcmp(r->counters[i].name, name) == 0)
			return r->counters[i].value;
	}
	fail_msg("no counter %s", name);
	return 0;
}

static void counters_before_the_first_request(void **state)
{
	struct fixture *f = make_disk(true);
	struct msg_cmd_vm_counters_result r = { 0 };

	(void)state;
	assert_int_equal(vhost_devices_counters(&f->ds, &r), 0);
	assert_int_equal(r.n_counters, 10);
	assert_int_equal(counter(&r, "read_bytes"), 0);
	assert_int_equal(counter(&r, "read_latency_min"), UINT64_MAX);
	assert_int_equal(counter(&r, "write_latency_max"), UINT64_MAX);
	assert_int_equal(counter(&r, "write_latency_avg"), UINT64_C(1844674407370955));
	obj_fini(&desc_msg_cmd_vm_counters_result, &r);
	end(f);
}

static void counters_are_those_of_the_page(void **state)
{
	struct fixture *f = make_disk(true);
	struct msg_cmd_vm_counters_result r = { 0 };

	(void)state;
	f->stats->v[STATS_BLK_READ_OPS] = 3;
	f->stats->v[STATS_BLK_READ_BYTES] = 4096;
	f->stats->v[STATS_BLK_READ_LATENCY_MIN] = 5;
	f->stats->v[STATS_BLK_READ_LATENCY_MAX] = 50;
	f->stats->v[STATS_BLK_READ_LATENCY_AVG] = 123456;
	assert_int_equal(vhost_devices_counters(&f->ds, &r), 0);
	assert_int_equal(counter(&r, "read_ops"), 3);
	assert_int_equal(counter(&r, "read_bytes"), 4096);
	assert_int_equal(counter(&r, "read_latency_min"), 5);
	assert_int_equal(counter(&r, "read_latency_max"), 50);
	assert_int_equal(counter(&r, "read_latency_avg"), 12);
	assert_int_equal(counter(&r, "write_latency_min"), UINT64_MAX);
	obj_fini(&desc_msg_cmd_vm_counters_result, &r);
	end(f);
}

static void others_have_no_counters(void **state)
{
	struct fixture *f = make_disk(false);
	struct msg_cmd_vm_counters_result r = { 0 };

	(void)state;
	assert_int_equal(vhost_devices_counters(&f->ds, &r), 0);
	assert_int_equal(r.n_counters, 0);
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(boot_waits_for_the_handshake),
		cmocka_unit_test(boot_fails_when_a_back_end_is_silent),
		cmocka_unit_test(boot_waits_for_the_successor_of_a_dead_back_end),
		cmocka_unit_test(boot_waits_for_a_successor_only_so_long),
		cmocka_unit_test(boot_fails_when_a_back_end_has_gone_for_good),
		cmocka_unit_test(boot_fails_when_events_are_missing),
		cmocka_unit_test(events_may_come_later),
		cmocka_unit_test(hand_over_of_wrong_descriptors_is_refused),
		cmocka_unit_test(the_same_device_twice_is_refused),
		cmocka_unit_test(devices_come_in_the_order_of_their_slots),
		cmocka_unit_test(a_device_that_is_not_configured_fails_the_boot),
		cmocka_unit_test(news_of_unknown_devices_is_ignored),
		cmocka_unit_test(waiting_for_stops_is_bounded),
		cmocka_unit_test(info_has_two_nodes_for_a_device),
		cmocka_unit_test(counters_before_the_first_request),
		cmocka_unit_test(counters_are_those_of_the_page),
		cmocka_unit_test(others_have_no_counters),
	};

	return cmocka_run_group_tests_name("vhost/devices", tests, NULL, NULL);
}
