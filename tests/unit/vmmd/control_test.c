/* SPDX-License-Identifier: ISC */
/* The control loop between a made-up monitor and a made-up apid; nothing here needs KVM. */
#include "vmmd/control.h"

#include "control_fixture.h"

/* --- states ----------------------------------------------------------------------------------------------------------- */

static void without_a_vm_commands_are_refused_by_kind(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(run(f, MSG_CMD_VM_INFO, NULL), -ERR_NOT_FOUND);
	assert_string_equal(f->text, "VM is not created");
	assert_int_equal(boot(f), -ERR_NOT_FOUND);
	assert_int_equal(run(f, MSG_CMD_VM_SHUTDOWN, NULL), -EINVAL);
	assert_int_equal(run(f, MSG_CMD_VM_COUNTERS, NULL), -EINVAL);
	assert_int_equal(run(f, MSG_CMD_VM_DELETE, NULL), 0);
}

static void create_info_delete(void **state)
{
	struct fixture *f = *state;
	struct msg_cmd_vm_info_result info;
	struct msg_cmd_vm_create again;
	struct chan_msg m;

	create(f);
	cmd(f, MSG_CMD_VM_INFO, NULL);
	apid_next(f, &m);
	assert_int_equal(m.type, MSG_CMD_VM_INFO_RESULT);
	assert_int_equal(chan_decode(&m, &desc_msg_cmd_vm_info_result, &info, NULL), 0);
	assert_int_equal(info.state, VM_STATE_CREATED);
	assert_string_equal(info.config.payload.kernel, "/kernel");
	assert_int_equal(info.memory_actual_size, 64 << 20);
	assert_int_equal(info.n_nodes, 0);
	obj_fini(&desc_msg_cmd_vm_info_result, &info);
	chan_msg_fini(&m);

	memset(&again, 0, sizeof(again));
	obj_init(&desc_cfg_vm, &again.config);
	assert_int_equal(run(f, MSG_CMD_VM_CREATE, &again), -EEXIST);
	assert_string_equal(f->text, "VM is already created");
	obj_fini(&desc_msg_cmd_vm_create, &again);
	assert_int_equal(run(f, MSG_CMD_VM_SHUTDOWN, NULL), -EINVAL);
	assert_string_equal(f->text, "VM is not booted");
	assert_int_equal(run(f, MSG_CMD_VM_DELETE, NULL), 0);
	assert_int_equal(run(f, MSG_CMD_VM_INFO, NULL), -ERR_NOT_FOUND);
	create(f);
}

/* --- boot ------------------------------------------------------------------------------------------------------------- */

static void boot_without_parts_fails_and_stays_created(void **state)
{
	struct fixture *f = *state;

	create(f);
	assert_int_equal(boot(f), -EINVAL);
	assert_int_equal(f->ctl->vm.state, VM_STATE_CREATED);
}

/* The monitor takes the end of a lifeline for our death, so it has to hear first that it is an orderly end. */
static void failed_boot_gives_everything_back_and_says_so_first(void **state)
{
	struct fixture *f = *state;

	create(f);
	hand_over(f, "/dev/null", 1);
	assert_true(boot(f) < 0);
	assert_non_null(strstr(f->text, "/dev/kvm answers API version"));
	mon_expect(f, MSG_VMM_STOPPING);
	mon_expect_nothing(f);
	assert_true(lifeline_ended(f));
	assert_int_equal(f->ctl->vm.parts.memory, -1);
	assert_int_equal(f->ctl->vm.parts.kernel.fd, -1);
	assert_int_equal(f->ctl->vm.link.fd, -1);
	assert_int_equal(f->ctl->vm.memory.gmem.n, 0);
	assert_int_equal(f->ctl->vm.state, VM_STATE_CREATED);
}

static void wrong_number_of_lifelines_fails_the_boot(void **state)
{
	struct fixture *f = *state;

	create(f);
	hand_over(f, "/dev/null", 2);
	assert_int_equal(boot(f), -EINVAL);
	assert_string_equal(f->text, "2 lifelines for 1 vCPUs");
}

static void missing_descriptors_are_told_at_the_boot(void **state)
{
	struct fixture *f = *state;
	struct msg_mon_boot_fds m = { .memory_size = 4096, .has_kvm = true, .n_lifelines = 1 };
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	create(f);
	mon_send(f, MSG_MON_BOOT_FDS, &m, &fd, 1);
	assert_int_equal(boot(f), -EBADMSG);
	assert_string_equal(f->text, "1 descriptors for a boot instead of 4");
	assert_int_equal(boot(f), -EINVAL);
}

static void delete_drops_parts_that_never_booted(void **state)
{
	struct fixture *f = *state;

	create(f);
	hand_over(f, "/dev/null", 1);
	assert_int_equal(run(f, MSG_CMD_VM_DELETE, NULL), 0);
	turn(f);
	mon_expect(f, MSG_VMM_STOPPING);
	assert_true(lifeline_ended(f));
}

static void parts_are_replaced_by_newer_ones(void **state)
{
	struct fixture *f = *state;

	create(f);
	hand_over(f, "/dev/null", 1);
	turn(f);
	int first = fd_take(&f->lifeline);

	hand_over(f, "/dev/null", 1);
	turn(f);
	struct pollfd p = { .fd = first, .events = POLLIN };

	assert_int_equal(poll(&p, 1, 0), 1);
	assert_false(lifeline_ended(f));
	mon_expect_nothing(f); /* the monitor gave the first ones up itself */
	close(first);
}

static void queue_cmd(struct fixture *f, enum msg_type type)
{
	assert_int_equal(chan_send(f->apid, type, ++f->id, NULL, NULL, NULL, 0), 0);
}

/* As in the middle of a long load: who only asks is answered, the rest waits and stays in order. */
static void queries_are_answered_while_a_boot_is_under_way(void **state)
{
	struct fixture *f = *state;
	struct chan_msg m;

	create(f);
	queue_cmd(f, MSG_CMD_VM_INFO);
	queue_cmd(f, MSG_CMD_VM_DELETE);
	queue_cmd(f, MSG_CMD_VM_INFO);
	control_answer_queries(f->ctl);
	control_answer_queries(f->ctl);
	apid_next(f, &m);
	assert_int_equal(m.type, MSG_CMD_VM_INFO_RESULT);
	assert_int_equal(m.id, f->id - 2);
	chan_msg_fini(&m);
	assert_int_equal(chan_recv(f->apid, &m), 0);
	assert_int_equal(f->ctl->vm.state, VM_STATE_CREATED);
	turn(f);
	assert_int_equal(expect_result(f, f->id - 1), 0);
	assert_int_equal(expect_result(f, f->id), -ERR_NOT_FOUND);
}

static void channel_that_ends_while_a_message_waits_leaks_nothing(void **state)
{
	struct fixture *f = *state;

	create(f);
	queue_cmd(f, MSG_CMD_VM_DELETE);
	control_answer_queries(f->ctl);
	attach_apid(f);
	turn(f);
	(void)hello(f, 0);
}

/* --- the conversation ------------------------------------------------------------------------------------------------- */

static void successor_gets_unacknowledged_results(void **state)
{
	struct fixture *f = *state;

	create(f);
	assert_int_equal(run(f, MSG_CMD_VM_SHUTDOWN, NULL), -EINVAL);
	struct msg_cmd_ack_result ack = { .id = 1 };

	cmd_with_id(f, MSG_CMD_ACK_RESULT, 0, &ack);
	attach_apid(f);
	struct msg_cmd_hello_reply r = hello(f, UINT64_MAX);

	assert_int_equal(r.next_id, f->id + 1);
	assert_int_equal(r.state, VM_STATE_CREATED);
	assert_int_equal(expect_result(f, 2), -EINVAL);
}

/* A command whose apid died before the answer is carried out, and answered to the successor. */
static void command_of_a_dead_apid_is_answered_to_its_successor(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(chan_send(f->apid, MSG_CMD_VM_DELETE, ++f->id, NULL, NULL, NULL, 0), 0);
	attach_apid(f);
	turn(f);
	struct msg_cmd_hello_reply r = hello(f, 0);

	/* Either it was read before the channel was replaced, or it never happened; the id tells which. */
	if (r.next_id == f->id + 1)
		assert_int_equal(expect_result(f, f->id), 0);
	else
		assert_int_equal(r.next_id, f->id);
}

static void successor_gets_unacknowledged_events(void **state)
{
	struct fixture *f = *state;
	struct chan_msg m;

	control_event(f->ctl, "vm", "booting");
	control_event(f->ctl, "vm", "booted");
	attach_apid(f);
	struct msg_cmd_hello_reply r = hello(f, 1);

	assert_int_equal(r.next_event, 3);
	expect_event(f, "booted");
	assert_int_equal(chan_recv(f->apid, &m), 0);
	struct msg_cmd_ack_event ack = { .seq = 2 };

	cmd_with_id(f, MSG_CMD_ACK_EVENT, 0, &ack);
	attach_apid(f);
	(void)hello(f, 0);
	assert_int_equal(chan_recv(f->apid, &m), 0);
}

static void used_id_costs_the_channel(void **state)
{
	struct fixture *f = *state;

	create(f);
	cmd_with_id(f, MSG_CMD_VM_DELETE, 1, NULL);
	assert_true(apid_dropped(f));
	assert_int_equal(f->ctl->vm.state, VM_STATE_CREATED);
}

static void message_that_is_no_command_costs_the_channel(void **state)
{
	struct fixture *f = *state;

	cmd(f, MSG_MON_RELEASE, NULL);
	assert_true(apid_dropped(f));
	attach_apid(f);
	(void)hello(f, 0);
	create(f);
}

static void other_version_costs_the_channel(void **state)
{
	struct fixture *f = *state;
	struct msg_cmd_hello h = { .version = PROTO_VERSION + 1 };

	cmd_with_id(f, MSG_CMD_HELLO, 0, &h);
	assert_true(apid_dropped(f));
}

static void bad_message_of_the_monitor_does_no_harm(void **state)
{
	struct fixture *f = *state;
	struct msg_mon_lifelines l = { .n = 3 };

	mon_send(f, MSG_MON_LIFELINES, &l, NULL, 0);
	mon_send(f, MSG_MON_END_OK, NULL, NULL, 0);
	mon_send(f, MSG_CMD_VM_DELETE, NULL, NULL, 0);
	turn(f);
	create(f);
}

/* --- the end ---------------------------------------------------------------------------------------------------------- */

static bool left_loop(struct fixture *f)
{
	return event_base_got_break(f->base) != 0;
}

static void vmm_shutdown_answers_then_ends_with_its_status(void **state)
{
	struct fixture *f = *state;
	struct msg_cmd_vmm_shutdown s = { .status = 3 };
	struct msg_vmm_end end;
	struct chan_msg m;

	create(f);
	assert_int_equal(run(f, MSG_CMD_VMM_SHUTDOWN, &s), 0);
	assert_int_equal(chan_recv(f->mon, &m), 1);
	assert_int_equal(m.type, MSG_VMM_END);
	assert_int_equal(chan_decode(&m, &desc_msg_vmm_end, &end, NULL), 0);
	assert_int_equal(end.status, 3);
	chan_msg_fini(&m);
	assert_int_equal(run(f, MSG_CMD_VM_DELETE, NULL), -ESHUTDOWN);
	assert_false(left_loop(f));
	mon_send(f, MSG_MON_END_OK, NULL, NULL, 0);
	assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
	assert_true(left_loop(f));
	assert_int_equal(f->ctl->status, 3);
}

static void signal_ends_in_order_with_status_0(void **state)
{
	struct fixture *f = *state;
	struct signalfd_siginfo si = { .ssi_signo = 15 };

	create(f);
	assert_int_equal(write(f->signals, &si, sizeof(si)), sizeof(si));
	turn(f);
	mon_expect(f, MSG_VMM_END);
	assert_int_equal(f->ctl->status, 0);
	assert_int_equal(f->ctl->vm.state, VM_STATE_NONE);
	expect_event(f, "deleted");
	expect_event(f, "shutdown");
	/* Once is enough. */
	assert_int_equal(write(f->signals, &si, sizeof(si)), sizeof(si));
	turn(f);
	mon_expect_nothing(f);
}

static void death_of_the_monitor_ends_with_status_1(void **state)
{
	struct fixture *f = *state;

	create(f);
	chan_free(f->mon);
	f->mon = NULL;
	assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
	assert_true(left_loop(f));
	assert_int_equal(f->ctl->status, 1);
}

static void monitor_may_call_the_start_off(void **state)
{
	struct fixture *f = *state;
	struct msg_mon_quit q = { .status = 1 };

	mon_send(f, MSG_MON_QUIT, &q, NULL, 0);
	assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
	assert_true(left_loop(f));
	assert_int_equal(f->ctl->status, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(without_a_vm_commands_are_refused_by_kind),
		T(create_info_delete),
		T(boot_without_parts_fails_and_stays_created),
		T(failed_boot_gives_everything_back_and_says_so_first),
		T(wrong_number_of_lifelines_fails_the_boot),
		T(missing_descriptors_are_told_at_the_boot),
		T(delete_drops_parts_that_never_booted),
		T(parts_are_replaced_by_newer_ones),
		T(queries_are_answered_while_a_boot_is_under_way),
		T(channel_that_ends_while_a_message_waits_leaks_nothing),
		T(successor_gets_unacknowledged_results),
		T(command_of_a_dead_apid_is_answered_to_its_successor),
		T(successor_gets_unacknowledged_events),
		T(used_id_costs_the_channel),
		T(message_that_is_no_command_costs_the_channel),
		T(other_version_costs_the_channel),
		T(bad_message_of_the_monitor_does_no_harm),
		T(vmm_shutdown_answers_then_ends_with_its_status),
		T(signal_ends_in_order_with_status_0),
		T(death_of_the_monitor_ends_with_status_1),
		T(monitor_may_call_the_start_off),
	};

	return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
