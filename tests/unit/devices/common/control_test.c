/* SPDX-License-Identifier: ISC */
#include "devices/common/control.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "common/fd.h"

struct device {
	unsigned configured, locked, started, drains;
	int fail_configure, fail_lock, fail_start;
	uint64_t nofile_at_lock;
	device_drained_fn done;
	void *arg;
};

struct fixture {
	struct device dev;
	struct control c;
	struct chan *ours, *parents;
};

static int configure(void *dev, struct event_base *base, const void *config, struct chan_msg *m, struct jail_limits *lim,
		     struct err *e)
{
	struct device *d = dev;
	const struct msg_con_config *cfg = config;

	(void)base;
	(void)m;
	if (d->fail_configure < 0)
		return err_set(e, d->fail_configure, "as asked");
	assert_int_equal(cfg->target, CON_TARGET_FILE);
	assert_int_equal(lim->nofile, JAIL_KEEP);
	lim->nofile = 7;
	d->configured++;
	return 0;
}

static int lock(struct control *c, struct err *e)
{
	struct device *d = c->dev;

	if (d->fail_lock < 0)
		return err_set(e, d->fail_lock, "as asked");
	d->nofile_at_lock = c->lim.nofile;
	d->locked++;
	return 0;
}

static int start(void *dev, struct err *e)
{
	struct device *d = dev;

	assert_int_equal(d->locked, 1); /* nothing of a guest is touched before */
	if (d->fail_start < 0)
		return err_set(e, d->fail_start, "as asked");
	d->started++;
	return 0;
}

static void stats(const void *dev, struct msg_hlp_stats_result *out)
{
	(void)dev;
	*out = (struct msg_hlp_stats_result){ .bytes_in = 3, .bytes_out = 2, .dropped = 1 };
}

static void drain(void *dev, uint32_t timeout_ms, device_drained_fn done, void *arg)
{
	struct device *d = dev;

	assert_int_equal(timeout_ms, 1234);
	d->drains++;
	d->done = done;
	d->arg = arg;
}

static const struct device_ops ops = {
	.name = "test",
	.config_type = MSG_CON_CONFIG,
	.config_desc = &desc_msg_con_config,
	.configure = configure,
	.start = start,
	.stats = stats,
	.drain = drain,
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int pair[2];

	if (f == NULL || fd_socketpair(SOCK_SEQPACKET, pair) < 0)
		return -1;
	f->ours = chan_new(pair[0], 8192, 65536);
	f->parents = chan_new(pair[1], 8192, 65536);
	control_init(&f->c, &ops, &f->dev, NULL, f->ours);
	f->c.lock = lock;
	*state = f;
	return f->ours != NULL && f->parents != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	chan_free(f->ours);
	chan_free(f->parents);
	free(f);
	return 0;
}

static int ask(struct fixture *f, enum msg_type type, uint32_t id, const struct desc *d, const void *obj)
{
	struct chan_msg m;
	struct err e = { 0 };

	assert_int_equal(chan_send(f->parents, type, id, d, obj, NULL, 0), 0);
	assert_int_equal(chan_recv(f->ours, &m), 1);
	int r = control_handle(&f->c, &m, &e);
	if (r < 0)
		assert_true(err_count(&e) > 0);
	return r;
}

static int config(struct fixture *f)
{
	struct msg_con_config cfg = { .target = CON_TARGET_FILE };

	return ask(f, MSG_CON_CONFIG, 1, &desc_msg_con_config, &cfg);
}

static int ask_drain(struct fixture *f, uint32_t id)
{
	struct msg_hlp_drain d = { .timeout_ms = 1234 };

	return ask(f, MSG_HLP_DRAIN, id, &desc_msg_hlp_drain, &d);
}

static void expect_answer(struct fixture *f, enum msg_type type, uint32_t id, const struct desc *d, void *obj)
{
	struct chan_msg m;

	assert_int_equal(chan_recv(f->parents, &m), 1);
	assert_int_equal(m.type, type);
	assert_int_equal(m.id, id);
	if (d != NULL)
		assert_int_equal(chan_decode(&m, d, obj, NULL), 0);
	else
		assert_int_equal(m.len, 0);
	chan_msg_fini(&m);
}

static void expect_ready(struct fixture *f, uint32_t id)
{
	struct msg_hlp_ready ready;

	expect_answer(f, MSG_HLP_READY, id, &desc_msg_hlp_ready, &ready);
	assert_int_equal(ready.detail, 0);
}

static void expect_silence(struct fixture *f)
{
	struct chan_msg m;

	assert_int_equal(chan_recv(f->parents, &m), 0);
}

static void lock_down(struct fixture *f)
{
	assert_int_equal(config(f), 0);
	assert_int_equal(ask(f, MSG_HLP_LOCKDOWN, 2, NULL, NULL), 0);
	expect_ready(f, 2);
}

static void lockdown_uses_the_limits_of_the_descriptor_phase_and_answers_ready(void **state)
{
	struct fixture *f = *state;

	lock_down(f);
	assert_int_equal(f->dev.nofile_at_lock, 7);
	assert_int_equal(f->dev.started, 1);
	assert_int_equal(f->c.state, CONTROL_LOCKED);
	expect_silence(f);
}

static void blank_helper_refuses_all_but_a_configuration(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, MSG_HLP_LOCKDOWN, 1, NULL, NULL), -EPROTO);
	assert_int_equal(ask(f, MSG_HLP_STATS, 1, NULL, NULL), -EPROTO);
	assert_int_equal(ask_drain(f, 1), -EPROTO);
	assert_int_equal(ask(f, MSG_HLP_READY, 1, NULL, NULL), -ENOTSUP);
	assert_int_equal(f->c.state, CONTROL_BLANK);
	expect_silence(f);
	lock_down(f);
}

static void second_configuration_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(config(f), 0);
	assert_int_equal(config(f), -EPROTO);
	assert_int_equal(ask(f, MSG_HLP_LOCKDOWN, 2, NULL, NULL), 0);
	assert_int_equal(config(f), -EPROTO);
	assert_int_equal(ask(f, MSG_HLP_LOCKDOWN, 2, NULL, NULL), -EPROTO);
	assert_int_equal(f->dev.configured, 1);
	assert_int_equal(f->dev.locked, 1);
}

static void failed_step_ends_the_process_without_ready(void **state)
{
	struct fixture *f = *state;

	f->dev.fail_configure = -EINVAL;
	assert_int_equal(config(f), -ECONNABORTED);
	assert_int_equal(f->c.state, CONTROL_BLANK);
	f->dev.fail_configure = 0;
	assert_int_equal(config(f), 0);
	f->dev.fail_lock = -EINVAL;
	assert_int_equal(ask(f, MSG_HLP_LOCKDOWN, 2, NULL, NULL), -ECONNABORTED);
	assert_int_equal(f->c.state, CONTROL_CONFIGURED);
	f->dev.fail_lock = 0;
	f->dev.fail_start = -EINVAL;
	assert_int_equal(ask(f, MSG_HLP_LOCKDOWN, 2, NULL, NULL), -ECONNABORTED);
	expect_silence(f);
}

static void statistics_are_answered_under_the_requests_id(void **state)
{
	struct fixture *f = *state;
	struct msg_hlp_stats_result s;

	lock_down(f);
	assert_int_equal(ask(f, MSG_HLP_STATS, 99, NULL, NULL), 0);
	expect_answer(f, MSG_HLP_STATS_RESULT, 99, &desc_msg_hlp_stats_result, &s);
	assert_int_equal(s.bytes_in, 3);
	assert_int_equal(s.bytes_out, 2);
	assert_int_equal(s.dropped, 1);
}

static void drain_is_answered_once_when_the_device_says_so(void **state)
{
	struct fixture *f = *state;
	struct msg_hlp_drained d;

	lock_down(f);
	assert_int_equal(ask_drain(f, 5), 0);
	expect_silence(f);
	assert_int_equal(ask_drain(f, 6), -EBUSY);
	f->dev.done(f->dev.arg, true);
	expect_answer(f, MSG_HLP_DRAINED, 5, &desc_msg_hlp_drained, &d);
	assert_true(d.complete);
	expect_silence(f);
	assert_int_equal(ask_drain(f, 7), 0); /* and then again */
	f->dev.done(f->dev.arg, false);
	expect_answer(f, MSG_HLP_DRAINED, 7, &desc_msg_hlp_drained, &d);
	assert_false(d.complete);
	assert_int_equal(f->dev.drains, 2);
}

static void parent_that_reads_no_answers_is_given_up(void **state)
{
	struct fixture *f = *state;
	struct err e = { 0 };
	int r = 0;

	lock_down(f);
	for (int i = 0; i < 100000 && r == 0; i++) {
		struct chan_msg m = { .type = MSG_HLP_STATS };

		r = control_handle(&f->c, &m, &e);
	}
	assert_int_equal(r, -ECONNABORTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lockdown_uses_the_limits_of_the_descriptor_phase_and_answers_ready, setup,
						teardown),
		cmocka_unit_test_setup_teardown(blank_helper_refuses_all_but_a_configuration, setup, teardown),
		cmocka_unit_test_setup_teardown(second_configuration_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(failed_step_ends_the_process_without_ready, setup, teardown),
		cmocka_unit_test_setup_teardown(statistics_are_answered_under_the_requests_id, setup, teardown),
		cmocka_unit_test_setup_teardown(drain_is_answered_once_when_the_device_says_so, setup, teardown),
		cmocka_unit_test_setup_teardown(parent_that_reads_no_answers_is_given_up, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
