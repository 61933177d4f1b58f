/* SPDX-License-Identifier: ISC */
/* The multi-step commands against a monitor and a vmmd that the test plays: which requests come, in which order, and
 * what is undone when one of them is refused. */
#include "apid/actions/commands.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "common/fd.h"

struct outcome {
	unsigned ended; /* how many times */
	bool failed;
	struct err e;
	uint32_t sent_id;
};

struct fixture {
	struct event_base *base;
	struct rpc *mon, *vmm;
	struct commands *commands;
	struct chan *as_mon, *as_vmm; /* our ends */
	struct outcome out[4];
};

static struct fixture f;

static void on_message(void *arg, struct chan_msg *m)
{
	(void)arg;
	(void)m;
	fail_msg("a message that answers nothing");
}

static void on_lost(void *arg, int code)
{
	(void)arg;
	(void)code;
	fail_msg("channel lost");
}

static const struct rpc_ops ops = { .message = on_message, .lost = on_lost };

static struct rpc *open_pair(struct chan **mine, const char *name)
{
	int pair[2];

	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, pair), 0);
	*mine = chan_new(pair[1], CHAN_COMMAND_MAX, CHAN_COMMAND_MAX);
	assert_non_null(*mine);
	return rpc_new(f.base, chan_new(pair[0], CHAN_COMMAND_MAX, CHAN_COMMAND_MAX), name, &ops, NULL);
}

static int setup(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	f.base = ev_new(EV_BACKEND_EPOLL);
	f.mon = open_pair(&f.as_mon, "the monitor");
	f.vmm = open_pair(&f.as_vmm, "vmmd");
	f.commands = commands_new(f.base, f.mon, f.vmm);
	return f.commands == NULL;
}

static int teardown(void **state)
{
	(void)state;
	commands_free(f.commands);
	rpc_free(f.mon);
	rpc_free(f.vmm);
	chan_free(f.as_mon);
	chan_free(f.as_vmm);
	ev_free(f.base);
	return 0;
}

static void turn(void)
{
	for (int i = 0; i < 4; i++)
		(void)event_base_loop(f.base, EVLOOP_NONBLOCK);
}

static void on_done(void *arg, const struct err *e)
{
	struct outcome *o = arg;

	o->ended++;
	o->failed = e != NULL;
	if (e != NULL)
		o->e = *e;
}

static void on_sent(void *arg, uint32_t id)
{
	struct outcome *o = arg;

	o->sent_id = id;
}

static void ask(unsigned i, enum command what, const struct cfg_vm *config)
{
	struct command_request req = { .what = what, .status = 7, .done = on_done, .sent = on_sent, .arg = &f.out[i] };

	if (config != NULL)
		assert_int_equal(obj_copy(&desc_cfg_vm, &req.config, config), 0);
	assert_int_equal(commands_queue(f.commands, &req), 0);
	turn();
}

/* The next request on @c must be @type; returns its id. With @obj its body is decoded there. */
static uint32_t take(struct chan *c, enum msg_type type, void *obj)
{
	struct chan_msg m;

	turn();
	assert_int_equal(chan_recv(c, &m), 1);
	assert_string_equal(msg_type_name(m.type), msg_type_name(type));
	uint32_t id = m.id;
	if (obj != NULL)
		assert_int_equal(chan_decode(&m, msg_type_desc(type), obj, NULL), 0);
	chan_msg_fini(&m);
	return id;
}

static void assert_silent(struct chan *c)
{
	struct chan_msg m;

	turn();
	assert_int_equal(chan_recv(c, &m), 0);
}

static void reply(struct chan *c, uint32_t id, enum msg_type type, const void *obj)
{
	assert_int_equal(chan_send(c, type, id, msg_type_desc(type), obj, NULL, 0), 0);
	turn();
}

static void succeed(struct chan *c, uint32_t id)
{
	struct msg_result res = { 0 };

	reply(c, id, MSG_RESULT, &res);
}

static void refuse(struct chan *c, uint32_t id, int code, const char *text)
{
	struct msg_result res;
	struct err e;

	(void)err_set(&e, code, "%s", text);
	assert_int_equal(msg_result_set(&res, code, &e), 0);
	reply(c, id, MSG_RESULT, &res);
	obj_fini(&desc_msg_result, &res);
}

static void reply_info(uint32_t id, const struct cfg_vm *config, enum vm_state state)
{
	struct msg_cmd_vm_info_result info = { .config = *config, .state = state, .memory_actual_size = 1 };

	reply(f.as_vmm, id, MSG_CMD_VM_INFO_RESULT, &info);
}

static void reply_pty(uint32_t id, const char *pty)
{
	struct msg_mon_open_console_result res = { .pty = pty != NULL ? strdup(pty) : NULL };

	reply(f.as_mon, id, MSG_MON_OPEN_CONSOLE_RESULT, &res);
	obj_fini(&desc_msg_mon_open_console_result, &res);
}

static void reply_file(uint32_t id)
{
	struct msg_mon_open_file_result res = { .size = 4096 };

	reply(f.as_mon, id, MSG_MON_OPEN_FILE_RESULT, &res);
}

/* A configuration that passes every rule. */
static struct cfg_vm config_with(enum console_mode mode, const char *initramfs)
{
	struct cfg_vm c;

	obj_init(&desc_cfg_vm, &c);
	c.has_payload = true;
	c.payload.kernel = strdup("/k");
	c.payload.initramfs = initramfs != NULL ? strdup(initramfs) : NULL;
	c.serial.mode = mode;
	return c;
}

static void assert_ok(unsigned i)
{
	assert_int_equal(f.out[i].ended, 1);
	assert_false(f.out[i].failed);
}

static void assert_failed(unsigned i, int code, const char *text)
{
	assert_int_equal(f.out[i].ended, 1);
	assert_true(f.out[i].failed);
	assert_int_equal(err_code(&f.out[i].e, 0), code);
	assert_string_equal(err_text(&f.out[i].e, 0), text);
}

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

/* --- boot --- */

static void boot_to(const struct cfg_vm *c)
{
	ask(0, COMMAND_BOOT, NULL);
	reply_info(take(f.as_vmm, MSG_CMD_VM_INFO, NULL), c, VM_STATE_CREATED);
}

static void boot_collects_everything_then_boots(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_NULL, "/i");
	struct msg_mon_open_file file;
	struct msg_mon_make_memory memory;
	struct msg_mon_handover handover;
	struct msg_cmd_vm_boot boot;

	(void)state;
	c.cpus.boot_vcpus = c.cpus.max_vcpus = 3;
	boot_to(&c);
	reply_file(take(f.as_mon, MSG_MON_OPEN_FILE, &file));
	assert_int_equal(file.kind, MON_FILE_KERNEL);
	assert_string_equal(file.path, "/k");
	obj_fini(&desc_msg_mon_open_file, &file);
	reply_file(take(f.as_mon, MSG_MON_OPEN_FILE, &file));
	assert_int_equal(file.kind, MON_FILE_INITRAMFS);
	assert_string_equal(file.path, "/i");
	obj_fini(&desc_msg_mon_open_file, &file);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_MAKE_MEMORY, &memory));
	assert_int_equal(memory.size, 536870912);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_HANDOVER, &handover));
	assert_int_equal(handover.vcpus, 3);
	succeed(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_BOOT, &boot));
	assert_null(boot.serial_file);
	assert_ok(0);
	assert_silent(f.as_mon);
	obj_fini(&desc_cfg_vm, &c);
}

static void boot_tells_vmmd_of_a_new_pty(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);
	struct msg_cmd_vm_boot boot;

	(void)state;
	c.serial.file = strdup("/dev/pts/1");
	boot_to(&c);
	reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, NULL), "/dev/pts/2");
	reply_file(take(f.as_mon, MSG_MON_OPEN_FILE, NULL));
	succeed(f.as_mon, take(f.as_mon, MSG_MON_MAKE_MEMORY, NULL));
	succeed(f.as_mon, take(f.as_mon, MSG_MON_HANDOVER, NULL));
	uint32_t id = take(f.as_vmm, MSG_CMD_VM_BOOT, &boot);
	assert_string_equal(boot.serial_file, "/dev/pts/2");
	succeed(f.as_vmm, id);
	assert_ok(0);
	obj_fini(&desc_msg_cmd_vm_boot, &boot);
	obj_fini(&desc_cfg_vm, &c);
}

/* At each step of the boot in turn the request is refused. */
static void boot_that_fails_anywhere_releases_what_it_took(void **state)
{
	enum { STEPS = 5 };

	(void)state;
	for (unsigned fail_at = 0; fail_at < STEPS; fail_at++) {
		static const enum msg_type steps[STEPS] = { MSG_MON_OPEN_FILE, MSG_MON_OPEN_FILE, MSG_MON_MAKE_MEMORY,
							    MSG_MON_HANDOVER, MSG_CMD_VM_BOOT };
		struct cfg_vm c = config_with(CONSOLE_MODE_NULL, "/i");

		memset(f.out, 0, sizeof(f.out));
		boot_to(&c);
		for (unsigned i = 0; i <= fail_at; i++) {
			struct chan *whose = steps[i] == MSG_CMD_VM_BOOT ? f.as_vmm : f.as_mon;
			uint32_t id = take(whose, steps[i], NULL);

			if (i == fail_at)
				refuse(whose, id, -EIO, "broken");
			else if (steps[i] == MSG_MON_OPEN_FILE)
				reply_file(id);
			else
				succeed(whose, id);
		}
		assert_int_equal(f.out[0].ended, 0);
		succeed(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL));
		assert_failed(0, -EIO, "broken");
		assert_silent(f.as_mon);
		assert_silent(f.as_vmm);
		obj_fini(&desc_cfg_vm, &c);
	}
}

static void failed_boot_closes_a_pty_that_it_opened(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);

	(void)state;
	c.serial.file = strdup("/dev/pts/1");
	boot_to(&c);
	reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, NULL), "/dev/pts/2");
	refuse(f.as_mon, take(f.as_mon, MSG_MON_OPEN_FILE, NULL), -ENOENT, "missing");
	succeed(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL));
	succeed(f.as_mon, take(f.as_mon, MSG_MON_CLOSE_CONSOLE, NULL));
	assert_failed(0, -ENOENT, "missing");
	obj_fini(&desc_cfg_vm, &c);
}

static void failed_boot_keeps_the_pty_of_the_create(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);

	(void)state;
	c.serial.file = strdup("/dev/pts/1");
	boot_to(&c);
	reply_pty(take(f.as_mon, MSG_MON_OPEN_CONSOLE, NULL), "/dev/pts/1");
	refuse(f.as_mon, take(f.as_mon, MSG_MON_OPEN_FILE, NULL), -ENOENT, "missing");
	succeed(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL));
	assert_failed(0, -ENOENT, "missing");
	assert_silent(f.as_mon);
	obj_fini(&desc_cfg_vm, &c);
}

static void boot_by_rules_or_state_asks_the_monitor_for_nothing(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_PTY, NULL);

	(void)state;
	ask(0, COMMAND_BOOT, NULL);
	refuse(f.as_vmm, take(f.as_vmm, MSG_CMD_VM_INFO, NULL), -ERR_NOT_FOUND, "nothing here");
	assert_failed(0, -ERR_NOT_FOUND, "VM is not created");
	ask(1, COMMAND_BOOT, NULL);
	reply_info(take(f.as_vmm, MSG_CMD_VM_INFO, NULL), &c, VM_STATE_RUNNING);
	assert_failed(1, -EBUSY, "VM is already running");
	c.cpus.max_vcpus = 0;
	ask(2, COMMAND_BOOT, NULL);
	reply_info(take(f.as_vmm, MSG_CMD_VM_INFO, NULL), &c, VM_STATE_CREATED);
	assert_int_equal(f.out[2].ended, 1);
	assert_int_equal(err_code(&f.out[2].e, 0), -ERR_INVALID);
	assert_silent(f.as_mon);
	obj_fini(&desc_cfg_vm, &c);
}

static void answer_of_the_wrong_kind_fails_the_step(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_NULL, NULL);

	(void)state;
	boot_to(&c);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_OPEN_FILE, NULL)); /* a size was due */
	succeed(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL));
	assert_int_equal(f.out[0].ended, 1);
	assert_int_equal(err_code(&f.out[0].e, 0), -EPROTO);
	obj_fini(&desc_cfg_vm, &c);
}

static void undoing_that_fails_itself_ends_all_the_same(void **state)
{
	struct cfg_vm c = config_with(CONSOLE_MODE_NULL, NULL);

	(void)state;
	boot_to(&c);
	refuse(f.as_mon, take(f.as_mon, MSG_MON_OPEN_FILE, NULL), -ENOENT, "missing");
	refuse(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL), -EIO, "cannot");
	assert_failed(0, -ENOENT, "missing");
	obj_fini(&desc_cfg_vm, &c);
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
	(void)state;
	commands_clean_up(f.commands, VM_STATE_NONE);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL));
	succeed(f.as_mon, take(f.as_mon, MSG_MON_CLOSE_CONSOLE, NULL));
	commands_clean_up(f.commands, VM_STATE_CREATED);
	succeed(f.as_mon, take(f.as_mon, MSG_MON_RELEASE, NULL));
	commands_clean_up(f.commands, VM_STATE_RUNNING);
	assert_silent(f.as_mon);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(create_asks_then_opens_then_creates),
		TEST(create_without_other_end_opens_nothing),
		TEST(create_over_a_vm_is_refused_before_anything_is_opened),
		TEST(create_without_the_path_its_console_needs_is_refused),
		TEST(console_is_closed_when_the_create_fails),
		TEST(boot_collects_everything_then_boots),
		TEST(boot_tells_vmmd_of_a_new_pty),
		TEST(boot_that_fails_anywhere_releases_what_it_took),
		TEST(failed_boot_closes_a_pty_that_it_opened),
		TEST(failed_boot_keeps_the_pty_of_the_create),
		TEST(boot_by_rules_or_state_asks_the_monitor_for_nothing),
		TEST(answer_of_the_wrong_kind_fails_the_step),
		TEST(undoing_that_fails_itself_ends_all_the_same),
		TEST(short_commands_go_to_vmmd_alone),
		TEST(delete_closes_the_console_of_a_vm_that_never_ran),
		TEST(delete_is_done_even_if_the_console_cannot_be_closed),
		TEST(commands_run_one_at_a_time_in_order),
		TEST(costly_requests_are_paced),
		TEST(successor_tidies_up_what_may_be_half_built),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
