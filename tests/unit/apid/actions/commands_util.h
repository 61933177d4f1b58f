/* SPDX-License-Identifier: ISC */
/* A monitor and a vmmd that the test plays: it takes each request in turn and answers as it likes. */
#ifndef TESTS_UNIT_APID_ACTIONS_COMMANDS_UTIL_H
#define TESTS_UNIT_APID_ACTIONS_COMMANDS_UTIL_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "apid/actions/commands.h"
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

static inline void on_message(void *arg, struct chan_msg *m)
{
	(void)arg;
	(void)m;
	fail_msg("a message that answers nothing");
}

static inline void on_lost(void *arg, int code)
{
	(void)arg;
	(void)code;
	fail_msg("channel lost");
}

static const struct rpc_ops ops = { .message = on_message, .lost = on_lost };

static inline struct rpc *open_pair(struct chan **mine, const char *name, size_t max)
{
	int pair[2];

	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, pair), 0);
	*mine = chan_new(pair[1], max, CHAN_COMMAND_MAX);
	assert_non_null(*mine);
	return rpc_new(f.base, chan_new(pair[0], max, CHAN_COMMAND_MAX), name, &ops, NULL);
}

static inline int setup(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	f.base = ev_new(EV_BACKEND_EPOLL);
	f.mon = open_pair(&f.as_mon, "the monitor", CHAN_MONITOR_MAX);
	f.vmm = open_pair(&f.as_vmm, "vmmd", CHAN_COMMAND_MAX);
	f.commands = commands_new(f.base, f.mon, f.vmm);
	return f.commands == NULL;
}

static inline int teardown(void **state)
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

static inline void turn(void)
{
	for (int i = 0; i < 4; i++)
		(void)event_base_loop(f.base, EVLOOP_NONBLOCK);
}

static inline void on_done(void *arg, const struct err *e)
{
	struct outcome *o = arg;

	o->ended++;
	o->failed = e != NULL;
	if (e != NULL)
		o->e = *e;
}

static inline void on_sent(void *arg, uint32_t id)
{
	struct outcome *o = arg;

	o->sent_id = id;
}

static inline void ask(unsigned i, enum command what, const struct cfg_vm *config)
{
	struct command_request req = { .what = what, .status = 7, .done = on_done, .sent = on_sent, .arg = &f.out[i] };

	if (config != NULL)
		assert_int_equal(obj_copy(&desc_cfg_vm, &req.config, config), 0);
	assert_int_equal(commands_queue(f.commands, &req), 0);
	turn();
}

/* The next request on @c must be @type; returns its id. With @obj its body is decoded there. */
static inline uint32_t take(struct chan *c, enum msg_type type, void *obj)
{
	static const struct timeval longest = { .tv_sec = 3 };
	struct chan_msg m;
	int r;

	turn();
	r = chan_recv(c, &m);
	if (r == 0) { /* requests to the monitor are paced */
		(void)event_base_loopexit(f.base, &longest);
		while (r == 0 && !event_base_got_exit(f.base)) {
			(void)event_base_loop(f.base, EVLOOP_ONCE);
			r = chan_recv(c, &m);
		}
	}
	assert_int_equal(r, 1);
	assert_string_equal(msg_type_name(m.type), msg_type_name(type));
	uint32_t id = m.id;
	if (obj != NULL)
		assert_int_equal(chan_decode(&m, msg_type_desc(type), obj, NULL), 0);
	chan_msg_fini(&m);
	return id;
}

static inline void assert_silent(struct chan *c)
{
	struct chan_msg m;

	turn();
	assert_int_equal(chan_recv(c, &m), 0);
}

static inline void reply(struct chan *c, uint32_t id, enum msg_type type, const void *obj)
{
	assert_int_equal(chan_send(c, type, id, msg_type_desc(type), obj, NULL, 0), 0);
	turn();
}

static inline void succeed(struct chan *c, uint32_t id)
{
	struct msg_result res = { 0 };

	reply(c, id, MSG_RESULT, &res);
}

static inline void refuse(struct chan *c, uint32_t id, int code, const char *text)
{
	struct msg_result res;
	struct err e;

	(void)err_set(&e, code, "%s", text);
	assert_int_equal(msg_result_set(&res, code, &e), 0);
	reply(c, id, MSG_RESULT, &res);
	obj_fini(&desc_msg_result, &res);
}

static inline void reply_info(uint32_t id, const struct cfg_vm *config, enum vm_state state)
{
	struct msg_cmd_vm_info_result info = { .config = *config, .state = state, .memory_actual_size = 1 };

	reply(f.as_vmm, id, MSG_CMD_VM_INFO_RESULT, &info);
}

static inline void reply_pty(uint32_t id, const char *pty)
{
	struct msg_mon_open_console_result res = { .pty = pty != NULL ? strdup(pty) : NULL };

	reply(f.as_mon, id, MSG_MON_OPEN_CONSOLE_RESULT, &res);
	obj_fini(&desc_msg_mon_open_console_result, &res);
}

static inline void reply_file(uint32_t id)
{
	struct msg_mon_open_file_result res = { .size = 4096 };

	reply(f.as_mon, id, MSG_MON_OPEN_FILE_RESULT, &res);
}

/* A configuration that passes every rule, without a virtio console. */
static inline struct cfg_vm config_with(enum console_mode mode, const char *initramfs)
{
	struct cfg_vm c;

	obj_init(&desc_cfg_vm, &c);
	c.has_payload = true;
	c.payload.kernel = strdup("/k");
	c.payload.initramfs = initramfs != NULL ? strdup(initramfs) : NULL;
	c.serial.mode = mode;
	c.console.mode = CONSOLE_MODE_OFF;
	return c;
}

static inline void assert_ok(unsigned i)
{
	assert_int_equal(f.out[i].ended, 1);
	assert_false(f.out[i].failed);
}

static inline void assert_failed(unsigned i, int code, const char *text)
{
	assert_int_equal(f.out[i].ended, 1);
	assert_true(f.out[i].failed);
	assert_int_equal(err_code(&f.out[i].e, 0), code);
	assert_string_equal(err_text(&f.out[i].e, 0), text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
