/* SPDX-License-Identifier: ISC */
/* Several vCPUs at one device, and a back end that takes its time: what a guest sees of a reset, and that nobody waits for ever. */
#include "vmmd/virtio/virtio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/vmmd/virtio/device.h"

enum { VCPUS = 3, ROUNDS = 400 };

struct vcpu {
	struct machine_without_kvm *m;
	pthread_t thread;
	unsigned index, wrong;
	_Atomic bool ended;
};

static int setup(void **state)
{
	struct machine_without_kvm *m = calloc(1, sizeof(*m));

	*state = m;
	if (m == NULL)
		return -1;
	m->stops_late = true;
	return machine_without_kvm_init(m, &(struct virtio_dev_cfg){ .type = VIRTIO_ID_BLOCK,
								     .config_len = SPACE,
								     .writable_off = 32,
								     .writable_len = 4,
								     .bar32 = true });
}

static int teardown(void **state)
{
	machine_without_kvm_fini(*state);
	assert_int_equal(fake.n_irqfds + fake.n_bells + fake.wrong_order, 0);
	free(*state);
	return 0;
}

static void await_wake(struct machine_without_kvm *m)
{
	struct pollfd p = { .fd = m->wake.fd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, 20000), 1);
	wake_take(&m->wake);
}

static void start(struct vcpu *v, struct machine_without_kvm *m, unsigned index, void *(*run)(void *))
{
	*v = (struct vcpu){ .m = m, .index = index };
	assert_int_equal(pthread_create(&v->thread, NULL, run, v), 0);
}

/* The control thread's loop until all are through; the back end confirms a round later than it is asked. */
static void serve(struct machine_without_kvm *m, struct vcpu *v, unsigned n)
{
	unsigned confirmed = 0, ended = 0;

	while (ended < n) {
		await_wake(m);
		if (m->stops != confirmed) {
			confirmed++;
			virtio_dev_stopped(m->dev);
		}
		errands_serve(&m->es);
		if (m->stops != confirmed)
			wake_signal(&m->wake);
		virtio_dev_needs_reset(m->dev);
		ended = 0;
		for (unsigned i = 0; i < n; i++)
			ended += atomic_load(&v[i].ended);
	}
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(pthread_join(v[i].thread, NULL), 0);
		assert_int_equal(v[i].wrong, 0);
	}
}

static void leave(struct vcpu *v)
{
	atomic_store(&v->ended, true);
	wake_signal(&v->m->wake);
}

/* --- one driver: the reset is over when the write returns ------------------------------------------------------------------- */

static bool nothing(void *arg)
{
	(void)arg;
	return true;
}

static void *drive(void *arg)
{
	struct vcpu *v = arg;
	struct machine_without_kvm *m = v->m;

	for (unsigned i = 0; i < ROUNDS; i++) {
		negotiate(m, UINT64_MAX);
		enable_queue(m, 0, 0);
		set_status(m, 0xF);
		out(m, 0x6000, 0, 2);
		v->wrong += (status(m) & 0xF) != 0xF;
		/* Errands are served in order: now and then the start has been, before the reset takes it back. */
		if (i % 2 == 0)
			errand_call(&m->es, nothing, NULL);
		set_status(m, 0);
		v->wrong += status(m) != 0;
	}
	leave(v);
	return NULL;
}

static void reset_is_over_when_the_write_returns(void **state)
{
	struct machine_without_kvm *m = *state;
	struct vcpu v[1];

	start(&v[0], m, 0, drive);
	serve(m, v, 1);
	assert_int_equal(m->starts, m->stops);
	assert_true(m->starts > 0);
}

/* --- many: everything at once ------------------------------------------------------------------------------------------------- */

static void *storm(void *arg)
{
	struct vcpu *v = arg;
	struct machine_without_kvm *m = v->m;
	unsigned seed = v->index + 1;

	for (unsigned i = 0; i < ROUNDS; i++) {
		seed = seed * 1103515245 + 12345;
		switch (seed >> 16 & 7) {
		case 0:
			negotiate(m, UINT64_MAX);
			break;
		case 1:
			enable_queue(m, (uint16_t)(i % QUEUES), (uint16_t)(i % 5));
			set_status(m, 0xF);
			break;
		case 2:
			set_status(m, 0);
			break;
		case 3:
			cfg_out(m, 0x9A, i % 2 != 0 ? 0x8000 : 0xC000, 2);
			break;
		case 4:
			out(m, 0x800C + 16 * (i % (QUEUES + 1)), i % 3 == 0, 4);
			out(m, 0x8000 + 16 * (i % (QUEUES + 1)), 0xFEE00000 | (i % 7) << 12, 4);
			break;
		case 5:
			out(m, 0x4020, i, 4);
			(void)in(m, 0x4000, 8);
			break;
		case 6:
			cfg_out(m, 4, 2, 2);
			cfg_out(m, 0x10, 0xC0000000 + (i % 64) * 0x100000, 4);
			break;
		default:
			out(m, 0x6000 + 4 * (i % QUEUES), 0, 2);
			(void)in(m, 0x48000, 8);
		}
	}
	leave(v);
	return NULL;
}

static void storm_of_several_vcpus_ends(void **state)
{
	struct machine_without_kvm *m = *state;
	struct vcpu v[VCPUS];

	for (unsigned i = 0; i < VCPUS; i++)
		start(&v[i], m, i, storm);
	serve(m, v, VCPUS);
	/* Whatever went on: the doorbells are where the BAR is, and a driver finds a device that works. */
	assert_int_equal(fake_bell(bar_base(m) + 0x6000), m->kick[0]);
	m->stops_late = false;
	set_status(m, 0);
	virtio_dev_stopped(m->dev);
	assert_int_equal(status(m), 0);
	m->starts = 0;
	bring_up(m);
	assert_int_equal(m->starts, 1);
	assert_int_equal(fake.n_irqfds, QUEUES);
}

/* --- the machine is halted in the middle -------------------------------------------------------------------------------------- */

static void *reset_once(void *arg)
{
	struct vcpu *v = arg;

	set_status(v->m, 0);
	v->wrong = status(v->m) != 0xF;
	atomic_store(&v->ended, true);
	return NULL;
}

static void halt_ends_the_wait_and_the_status_stays(void **state)
{
	struct machine_without_kvm *m = *state;
	struct vcpu v[VCPUS];

	bring_up(m);
	for (unsigned i = 0; i < VCPUS; i++)
		start(&v[i], m, i, reset_once);
	while (m->stops == 0) {
		await_wake(m);
		errands_serve(&m->es);
	}
	errands_close(&m->es);
	for (unsigned i = 0; i < VCPUS; i++) {
		assert_int_equal(pthread_join(v[i].thread, NULL), 0);
		assert_int_equal(v[i].wrong, 0);
	}
	assert_int_equal(m->stops, 1);
	virtio_dev_stopped(m->dev);
	assert_true(virtio_dev_is_idle(m->dev));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(reset_is_over_when_the_write_returns),
		T(storm_of_several_vcpus_ends),
		T(halt_ends_the_wait_and_the_status_stays),
	};

	return cmocka_run_group_tests_name("virtio threads", tests, NULL, NULL);
}
