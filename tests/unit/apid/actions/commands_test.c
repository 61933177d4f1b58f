/* SPDX-License-Identifier: ISC */
/* The multi-step commands against a monitor and a vmmd that the test plays: which requests come, in which order, and
 * what is undone when one of them is refused. The boot has commands_boot_test.c. */
#include "tests/unit/apid/actions/commands_util.h"

/* --- create --- */

static void create_asks_then_opens_then_creates(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);
	struct msg_mon_open_console open;
	struct msg_cmd_vm_create create;

	(void)state;
	ask(0, COMMAND_CREATE, &c);
	refuse(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_INFO, NULL), -ERR_NOT_FOUND, "none");
	reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, &open), "/dev/pts/77");
	assert_int_equal(open.mode, CONSOLE_MODE_PTY);
	uint32_t id = take(f.as_vmm, MSG_CMD_VM_CREATE, &create);
	assert_string_equal(create.config.serial.file, "/dev/pts/77");
	assert_int_equal(f.out[0].sent_id, id);
	assert_int_equal(f.out[0].ended, 0);
	succeed(f.as_vmm, id);
	assert_ok(0);
	assert_silent(f.as_mon);
	obj_fini(&desc_msg_mon_open_console, &open);
	obj_fini(&desc_msg_cmd_vm_create, &create);
	obj_fini(&desc_cfg_vm, &c);
}

static void create_without_other_end_opens_nothing(void **state)
{
	static const enum console_mode modes[] = { CONSOLE_MODE_OFF, CONSOLE_MODE_NULL };

	(void)state;
	for (unsigned i = 0; i < nitems(modes); i++) {
		struct cfg_vm c = config_with(modes[i], NULL);

		ask(i, COMMAND_CREATE, &c);
		refuse(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_INFO, NULL), -ERR_NOT_FOUND, "none");
		succeed(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_CREATE, NULL));
		assert_ok(i);
		assert_silent(f.as_mon);
		obj_fini(&desc_cfg_vm, &c);
	}
}

static void create_over_a_vm_is_refused_before_anything_is_opened(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);

	(void)state;
	ask(0, COMMAND_CREATE, &c);
	reply_info(take(f.as_vmm, MSG_CMD_VM_INFO, NULL), &c, VM_STATE_CREATED);
	assert_failed(0, -EEXIST, "VM is already created");
	assert_silent(f.as_mon);
	obj_fini(&desc_cfg_vm, &c);
}

static void create_without_the_path_its_console_needs_is_refused(void **state)
{
	static const enum console_mode modes[] = { CONSOLE_MODE_FILE, CONSOLE_MODE_SOCKET };

	(void)state;
	for (unsigned i = 0; i < nitems(modes); i++) {
		struct cfg_vm c = config_with(modes[i], NULL);

		ask(i, COMMAND_CREATE, &c);
		refuse(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_INFO, NULL), -ERR_NOT_FOUND, "none");
		assert_int_equal(f.out[i].ended, 1);
		assert_int_equal(err_code(&f.out[i].e, 0), -EINVAL);
		assert_silent(f.as_mon);
		obj_fini(&desc_cfg_vm, &c);
	}
}

static void console_is_closed_when_the_create_fails(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);

	(void)state;
	ask(0, COMMAND_CREATE, &c);
	refuse(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_INFO, NULL), -ERR_NOT_FOUND, "none");
	reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, NULL), "/dev/pts/1");
	refuse(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_CREATE, NULL), -ENOMEM, "no room");
	assert_int_equal(f.out[0].ended, 0); /* not told before it is undone */
	succeed(f.as_mon, take(f.as_mon, MSG_MON_CLOSE_CONSOLE, NULL));
	assert_failed(0, -ENOMEM, "no room");
	obj_fini(&desc_cfg_vm, &c);
}

static void create_opens_both_consoles_and_closes_both_when_it_fails(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);
	struct msg_mon_open_console open;
	struct msg_mon_close_console close;
	struct msg_cmd_vm_create create;

	(void)state;
	c.console.mode = CONSOLE_MODE_PTY;
	ask(0, COMMAND_CREATE, &c);
	refuse(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_INFO, NULL), -ERR_NOT_FOUND, "none");
	reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, &open), "/dev/pts/7");
	assert_int_equal(open.which, CONSOLE_ID_SERIAL);
	reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, &open), "/dev/pts/8");
	assert_int_equal(open.which, CONSOLE_ID_VIRTIO);
	assert_int_equal(open.mode, CONSOLE_MODE_PTY);
	uint32_t id = take(f.as_vmm, MSG_CMD_VM_CREATE, &create);
	assert_string_equal(create.config.serial.file, "/dev/pts/7");
	assert_string_equal(create.config.console.file, "/dev/pts/8");
	refuse(f.as_vmm, id, -ENOMEM, "no room");
	succeed(f.as_mon, take(f.as_mon, MSG_MON_CLOSE_CONSOLE, &close));
	assert_int_equal(close.which, CONSOLE_ID_SERIAL);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_CLOSE_CONSOLE, &close));
	assert_int_equal(close.which, CONSOLE_ID_VIRTIO);
	assert_failed(0, -ENOMEM, "no room");
	assert_silent(f.as_mon);
	obj_fini(&desc_msg_cmd_vm_create, &create);
	obj_fini(&desc_cfg_vm, &c);
}

static void second_console_that_cannot_be_opened_closes_the_first(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);
	struct msg_mon_open_console open;
	struct msg_mon_close_console close;

	(void)state;
	c.console.mode = CONSOLE_MODE_FILE;
	c.console.file = strdup("/out");
	ask(0, COMMAND_CREATE, &c);
	refuse(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_INFO, NULL), -ERR_NOT_FOUND, "none");
	reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, NULL), "/dev/pts/7");
	uint32_t id = take(f.as_mon, MSG_MON_OPEN_CONSOLE, &open);
	assert_string_equal(open.path, "/out");
	refuse(f.as_mon, id, -EACCES, "not allowed");
	succeed(f.as_mon, take(f.as_mon, MSG_MON_CLOSE_CONSOLE, &close));
	assert_int_equal(close.which, CONSOLE_ID_SERIAL);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_CLOSE_CONSOLE, NULL));
	assert_failed(0, -EACCES, "not allowed");
	assert_silent(f.as_vmm);
	obj_fini(&desc_msg_mon_open_console, &open);
	obj_fini(&desc_cfg_vm, &c);
}

/* Its queues are served even when nobody is to see what they bring. */
static void virtio_console_of_mode_null_is_opened(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_NULL, NULL);
	struct msg_mon_open_console open;

	(void)state;
	c.console.mode = CONSOLE_MODE_NULL;
	ask(0, COMMAND_CREATE, &c);
	refuse(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_INFO, NULL), -ERR_NOT_FOUND, "none");
	reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, &open), NULL);
	assert_int_equal(open.which, CONSOLE_ID_VIRTIO);
	assert_int_equal(open.mode, CONSOLE_MODE_NULL);
	succeed(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_CREATE, NULL));
	assert_ok(0);
	ask(1, COMMAND_DELETE, NULL);
	succeed(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_DELETE, NULL));
	succeed(f.as_mon, take(f.as_mon, MSG_MON_CLOSE_CONSOLE, NULL));
	assert_ok(1);
	assert_silent(f.as_mon);
	obj_fini(&desc_cfg_vm, &c);
}

static void virtio_console_that_cannot_be_is_refused_before_anything_is_opened(void **state)
{
	static const struct {
		enum console_mode mode;
		const char *why;
	} bad[] = {
		{ CONSOLE_MODE_FILE, "console: mode File needs a path" },
		{ CONSOLE_MODE_SOCKET, "console: mode Socket is possible for the serial port only" },
	};

	(void)state;
	for (unsigned i = 0; i < nitems(bad); i++) {
		struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);

		c.console.mode = bad[i].mode;
		c.console.socket = strdup("/s");
		ask(i, COMMAND_CREATE, &c);
		refuse(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_INFO, NULL), -ERR_NOT_FOUND, "none");
		assert_failed(i, -EINVAL, bad[i].why);
		assert_silent(f.as_mon);
		obj_fini(&desc_cfg_vm, &c);
	}
}

/* --- the others --- */

static void short_commands_go_to_vmmd_alone(void **state)
{
	struct msg_cmd_vmm_shutdown end;

	(void)state;
	ask(0, COMMAND_SHUTDOWN, NULL);
	succeed(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_SHUTDOWN, NULL));
	assert_ok(0);
	ask(1, COMMAND_DELETE, NULL);
	succeed(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_DELETE, NULL));
	assert_ok(1);
	ask(2, COMMAND_VMM_SHUTDOWN, NULL);
	refuse(f.as_vmm, take(f.as_vmm, MSG_CMD_VMM_SHUTDOWN, &end), -EIO, "stuck");
	assert_int_equal(end.status, 7);
	assert_failed(2, -EIO, "stuck");
	assert_silent(f.as_mon);
}

static void delete_closes_the_console_of_a_vm_that_never_ran(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);

	(void)state;
	ask(0, COMMAND_CREATE, &c);
	refuse(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_INFO, NULL), -ERR_NOT_FOUND, "none");
	reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, NULL), "/dev/pts/1");
	succeed(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_CREATE, NULL));
	ask(1, COMMAND_DELETE, NULL);
	succeed(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_DELETE, NULL));
	succeed(f.as_mon, take(f.as_mon, MSG_MON_CLOSE_CONSOLE, NULL));
	assert_ok(1);
	obj_fini(&desc_cfg_vm, &c);
}

static void delete_is_done_even_if_the_console_cannot_be_closed(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);

	(void)state;
	ask(0, COMMAND_CREATE, &c);
	refuse(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_INFO, NULL), -ERR_NOT_FOUND, "none");
	reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, NULL), "/dev/pts/1");
	succeed(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_CREATE, NULL));
	ask(1, COMMAND_DELETE, NULL);
	succeed(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_DELETE, NULL));
	refuse(f.as_mon, take(f.as_mon, MSG_MON_CLOSE_CONSOLE, NULL), -EIO, "cannot");
	assert_ok(1);
	obj_fini(&desc_cfg_vm, &c);
}

static void commands_run_one_at_a_time_in_order(void **state)
{
	(void)state;
	ask(0, COMMAND_SHUTDOWN, NULL);
	ask(1, COMMAND_DELETE, NULL);
	ask(2, COMMAND_SHUTDOWN, NULL);
	uint32_t id = take(f.as_vmm, MSG_CMD_VM_SHUTDOWN, NULL);
	assert_silent(f.as_vmm);
	refuse(f.as_vmm, id, -EINVAL, "not running");
	assert_failed(0, -EINVAL, "not running");
	id = take(f.as_vmm, MSG_CMD_VM_DELETE, NULL);
	assert_int_equal(f.out[1].ended, 0);
	assert_silent(f.as_vmm);
	succeed(f.as_vmm, id);
	assert_ok(1);
	succeed(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_SHUTDOWN, NULL));
	assert_ok(2);
}

/* More than the monitor allows in a second: some wait, none is refused. */
static void costly_requests_are_paced(void **state)
{
	enum { MANY = 60 };

	(void)state;
	uint64_t began = ev_now_ns();
	for (unsigned i = 0; i < MANY; i++) {
		struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);
		struct chan_msg m;

		memset(f.out, 0, sizeof(f.out));
		ask(0, COMMAND_CREATE, &c);
		refuse(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_INFO, NULL), -ERR_NOT_FOUND, "none");
		while (chan_recv(f.as_mon, &m) == 0)
			(void)event_base_loop(f.base, EVLOOP_ONCE);
		refuse(f.as_mon, m.id, -EIO, "no console");
		chan_msg_fini(&m);
		/* its undoing may have to wait as well */
		while (chan_recv(f.as_mon, &m) == 0)
			(void)event_base_loop(f.base, EVLOOP_ONCE);
		succeed(f.as_mon, m.id);
		chan_msg_fini(&m);
		assert_failed(0, -EIO, "no console");
		obj_fini(&desc_cfg_vm, &c);
	}
	assert_true(ev_now_ns() - began > UINT64_C(1000000000)); /* 120 requests, at most 50 in a second */
}

static void successor_tidies_up_what_may_be_half_built(void **state)
{
	struct msg_mon_close_console close;

	(void)state;
	commands_clean_up(f.commands, VM_STATE_NONE);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL));
	for (unsigned i = 0; i < enum_console_id.n; i++) {
		succeed(f.as_mon, take(f.as_mon, MSG_MON_CLOSE_CONSOLE, &close));
		assert_int_equal(close.which, i);
	}
	commands_clean_up(f.commands, VM_STATE_CREATED);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL));
	commands_clean_up(f.commands, VM_STATE_RUNNING);
	assert_silent(f.as_mon);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(create_asks_then_opens_then_creates),
		TEST(create_without_other_end_opens_nothing),
		TEST(create_over_a_vm_is_refused_before_anything_is_opened),
		TEST(create_without_the_path_its_console_needs_is_refused),
		TEST(console_is_closed_when_the_create_fails),
		TEST(create_opens_both_consoles_and_closes_both_when_it_fails),
		TEST(second_console_that_cannot_be_opened_closes_the_first),
		TEST(virtio_console_of_mode_null_is_opened),
		TEST(virtio_console_that_cannot_be_is_refused_before_anything_is_opened),
		TEST(short_commands_go_to_vmmd_alone),
		TEST(delete_closes_the_console_of_a_vm_that_never_ran),
		TEST(delete_is_done_even_if_the_console_cannot_be_closed),
		TEST(commands_run_one_at_a_time_in_order),
		TEST(costly_requests_are_paced),
		TEST(successor_tidies_up_what_may_be_half_built),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
