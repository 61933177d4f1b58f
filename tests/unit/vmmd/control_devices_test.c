/* SPDX-License-Identifier: ISC */
/* What the monitor tells of devices, up to what needs KVM; and what it is told. */
#include "vmmd/control.h"

#include <signal.h>
#include <sys/eventfd.h>

#include "control_fixture.h"
#include "proto/stats_page.h"
#include "proto/vhost_user.h"

struct back_end {
	int sock, own; /* the vhost-user socket's and its own channel's other ends */
};

static struct msg_mon_device a_disk(void)
{
	return (struct msg_mon_device){
		.kind = DEV_DISK,
		.generation = 1,
		.ours = true,
		.n_queues = 1,
		.queue_size = 128,
		.n_events = 2,
	};
}

/* All that MON_DEVICE carries, @drop of it left out. */
static void send_device(struct fixture *f, const struct msg_mon_device *m, unsigned drop, struct back_end *be)
{
	int pair[2], fds[6];
	unsigned n = 0;

	assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
	be->sock = pair[0];
	fds[n++] = pair[1];
	assert_int_equal(fd_socketpair(SOCK_STREAM, pair), 0);
	be->own = pair[0];
	fds[n++] = pair[1];
	fds[n++] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	fds[n++] = memfd_create("stats", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fds[3], STATS_PAGE_BYTES), 0);
	fds[n++] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	fds[n++] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	while (drop-- > 0)
		fd_closep(&fds[--n]);
	mon_send(f, MSG_MON_DEVICE, m, fds, n);
	turn(f);
}

static void end_back_end(struct back_end *be)
{
	fd_closep(&be->sock);
	fd_closep(&be->own);
}

static void expect_kill(struct fixture *f, uint32_t generation)
{
	struct msg_vmm_device_kill k;
	struct chan_msg m;

	assert_int_equal(chan_recv(f->mon, &m), 1);
	assert_int_equal(m.type, MSG_VMM_DEVICE_KILL);
	assert_int_equal(chan_decode(&m, &desc_msg_vmm_device_kill, &k, NULL), 0);
	assert_int_equal(k.kind, DEV_DISK);
	assert_int_equal(k.index, 0);
	assert_int_equal(k.generation, generation);
	chan_msg_fini(&m);
}

static void a_device_of_the_monitors_is_greeted(void **state)
{
	struct fixture *f = *state;
	struct back_end be;
	const struct msg_mon_device m = a_disk();
	struct vhost_user_header h;

	create(f);
	hand_over(f, "/dev/null", 1);
	send_device(f, &m, 0, &be);
	assert_int_equal(recv(be.sock, &h, sizeof(h), MSG_DONTWAIT), sizeof(h));
	assert_int_equal(h.request, VHOST_USER_SET_OWNER);
	assert_int_equal(f->ctl->vm.devices.n, 1);
	mon_expect_nothing(f);
	end_back_end(&be);
}

static void a_broken_back_end_is_reported_with_its_generation(void **state)
{
	struct fixture *f = *state;
	struct back_end be;
	const struct msg_mon_device m = a_disk();
	const struct vhost_user_header junk = { 4711, 0, UINT32_MAX };

	create(f);
	hand_over(f, "/dev/null", 1);
	send_device(f, &m, 0, &be);
	assert_int_equal(send(be.sock, &junk, sizeof(junk), 0), sizeof(junk));
	turn(f);
	expect_kill(f, 1);
	mon_expect_nothing(f);
	end_back_end(&be);
}

static void a_device_without_its_descriptors_is_told_at_the_boot(void **state)
{
	struct fixture *f = *state;
	struct back_end be;
	const struct msg_mon_device m = a_disk();

	create(f);
	hand_over(f, "/dev/null", 1);
	send_device(f, &m, 1, &be);
	assert_int_equal(boot(f), -EBADMSG);
	assert_string_equal(f->text, "5 descriptors for a device");
	assert_int_equal(f->ctl->vm.devices.n, 0);
	assert_int_equal(f->ctl->vm.state, VM_STATE_CREATED);
	end_back_end(&be);
}

static void a_device_that_is_not_configured_fails_the_boot(void **state)
{
	struct fixture *f = *state;
	struct back_end be;
	const struct msg_mon_device m = a_disk();

	create(f);
	hand_over(f, "/dev/null", 1);
	send_device(f, &m, 0, &be);
	end_back_end(&be); /* so that its handshake is over */
	assert_int_equal(boot(f), -EINVAL);
	assert_string_equal(f->text, "the configuration has no disk 0");
	assert_int_equal(f->ctl->vm.devices.n, 0);
}

static void a_new_set_of_parts_takes_old_devices_along(void **state)
{
	struct fixture *f = *state;
	struct back_end be;
	const struct msg_mon_device m = a_disk();

	create(f);
	hand_over(f, "/dev/null", 1);
	send_device(f, &m, 0, &be);
	hand_over(f, "/dev/null", 1);
	turn(f);
	assert_int_equal(f->ctl->vm.devices.n, 0);
	end_back_end(&be);
	turn(f);
	mon_expect_nothing(f); /* nobody is left to complain about */
}

static void delete_drops_devices(void **state)
{
	struct fixture *f = *state;
	struct back_end be;
	const struct msg_mon_device m = a_disk();

	create(f);
	hand_over(f, "/dev/null", 1);
	send_device(f, &m, 0, &be);
	assert_int_equal(run(f, MSG_CMD_VM_DELETE, NULL), 0);
	assert_int_equal(f->ctl->vm.devices.n, 0);
	end_back_end(&be);
}

static void devices_of_nobody_are_ignored(void **state)
{
	struct fixture *f = *state;
	char reason[] = "x";
	const struct msg_mon_device_gone gone = { .kind = DEV_NET, .generation = 1, .final = true, .reason = reason };
	const struct msg_mon_device_up up = { .kind = DEV_NET, .generation = 2 };

	mon_send(f, MSG_MON_DEVICE_GONE, &gone, NULL, 0);
	mon_send(f, MSG_MON_DEVICE_UP, &up, NULL, 0);
	turn(f);
	mon_expect_nothing(f);
	create(f); /* it serves on */
}

static void in_the_middle_of_a_boot_only_news_of_devices_are_heard(void **state)
{
	struct fixture *f = *state;
	struct back_end be;
	const struct msg_mon_device m = a_disk();
	char reason[] = "x";
	const struct msg_mon_device_gone gone = { .kind = DEV_DISK, .generation = 1, .reason = reason };
	struct msg_mon_quit q = { .status = 3 };

	create(f);
	hand_over(f, "/dev/null", 1);
	send_device(f, &m, 0, &be);
	mon_send(f, MSG_MON_DEVICE_GONE, &gone, NULL, 0);
	mon_send(f, MSG_MON_QUIT, &q, NULL, 0);
	control_hear_of_devices(f->ctl);
	control_hear_of_devices(f->ctl);
	assert_true(f->ctl->vm.devices.v[0]->gone);
	assert_int_equal(f->ctl->vm.state, VM_STATE_CREATED);
	/* back in the loop, without another byte on the channel */
	assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
	assert_int_equal(f->ctl->vm.state, VM_STATE_NONE);
	assert_int_equal(f->ctl->status, 3);
	end_back_end(&be);
}

static void a_window_that_changes_is_the_monitors(void **state)
{
	struct fixture *f = *state;
	const struct signalfd_siginfo si = { .ssi_signo = SIGWINCH };

	assert_int_equal(write(f->signals, &si, sizeof(si)), sizeof(si));
	turn(f);
	mon_expect(f, MSG_VMM_WINSIZE);
	mon_expect_nothing(f);
	assert_false(f->ctl->ending);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_device_of_the_monitors_is_greeted),
		T(a_broken_back_end_is_reported_with_its_generation),
		T(a_device_without_its_descriptors_is_told_at_the_boot),
		T(a_device_that_is_not_configured_fails_the_boot),
		T(a_new_set_of_parts_takes_old_devices_along),
		T(delete_drops_devices),
		T(devices_of_nobody_are_ignored),
		T(in_the_middle_of_a_boot_only_news_of_devices_are_heard),
		T(a_window_that_changes_is_the_monitors),
	};

	return cmocka_run_group_tests_name("control_devices", tests, NULL, NULL);
}
