/* SPDX-License-Identifier: ISC */
/* The control loop between a made-up monitor and a made-up apid. */
#ifndef TESTS_UNIT_VMMD_CONTROL_FIXTURE_H
#define TESTS_UNIT_VMMD_CONTROL_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/ev.h"
#include "common/fd.h"
#include "proto/chan.h"
#include "proto/version.h"
#include "vmmd/control.h"
#include "vmmd/control_internal.h"

struct fixture {
	struct event_base *base;
	struct control *ctl;
	struct chan *mon, *apid; /* the other ends */
	int signals;             /* the other end of what the loop takes for a signalfd */
	int lifeline;            /* the monitor's end */
	uint32_t id;
	char text[512]; /* joined chain of the last RESULT */
};

static inline void turn(struct fixture *f)
{
	for (int i = 0; i < 5; i++)
		assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
}

/* --- the monitor's side ----------------------------------------------------------------------------------------------- */

static inline void mon_send(struct fixture *f, enum msg_type type, const void *body, int *fds, unsigned nfds)
{
	const struct desc *d = body != NULL ? msg_type_desc(type) : NULL;

	assert_int_equal(chan_send(f->mon, type, 0, d, body, fds, nfds), 0);
	fd_close_all(fds, nfds);
}

static inline void mon_expect(struct fixture *f, enum msg_type type)
{
	struct chan_msg m;

	assert_int_equal(chan_recv(f->mon, &m), 1);
	assert_string_equal(msg_type_name(m.type), msg_type_name(type));
	chan_msg_fini(&m);
}

static inline void mon_expect_nothing(struct fixture *f)
{
	struct chan_msg m;

	assert_int_equal(chan_recv(f->mon, &m), 0);
}

static inline void attach_apid(struct fixture *f)
{
	int pair[2];

	if (f->apid != NULL)
		chan_free(f->apid);
	assert_int_equal(fd_socketpair(SOCK_SEQPACKET, pair), 0);
	f->apid = chan_new(pair[0], CHAN_COMMAND_MAX, CHAN_COMMAND_MAX);
	assert_non_null(f->apid);
	mon_send(f, MSG_MON_ATTACH_APID, NULL, &pair[1], 1);
}

/* Parts for a boot: @kvm is opened, everything else is empty but real. */
static inline void hand_over(struct fixture *f, const char *kvm, uint32_t lifelines)
{
	struct msg_mon_boot_fds m = {
		.memory_size = 64 << 20,
		.kernel_size = 0,
		.has_kvm = true,
		.has_serial = true,
		.n_lifelines = lifelines,
	};
	int serial[2], life[2], fds[8];
	unsigned n = 0;

	fds[n++] = open(kvm, O_RDWR | O_CLOEXEC);
	fds[n++] = memfd_create("ram", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fds[1], 64 << 20), 0);
	fds[n++] = memfd_create("kernel", MFD_CLOEXEC);
	assert_int_equal(fd_socketpair(SOCK_STREAM, serial), 0);
	close(serial[0]);
	fds[n++] = serial[1];
	for (uint32_t i = 0; i < lifelines; i++) {
		assert_int_equal(fd_socketpair(SOCK_STREAM, life), 0);
		fds[n++] = life[1];
		fd_closep(&f->lifeline);
		f->lifeline = life[0];
	}
	mon_send(f, MSG_MON_BOOT_FDS, &m, fds, n);
}

static inline bool lifeline_ended(struct fixture *f)
{
	struct pollfd p = { .fd = f->lifeline, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP) != 0;
}

/* --- apid's side ------------------------------------------------------------------------------------------------------ */

static inline void cmd_with_id(struct fixture *f, enum msg_type type, uint32_t id, const void *body)
{
	const struct desc *d = body != NULL ? msg_type_desc(type) : NULL;

	assert_int_equal(chan_send(f->apid, type, id, d, body, NULL, 0), 0);
	turn(f);
}

static inline void cmd(struct fixture *f, enum msg_type type, const void *body)
{
	cmd_with_id(f, type, ++f->id, body);
}

/* The next message that is not an event. */
static inline void apid_next(struct fixture *f, struct chan_msg *m)
{
	do {
		assert_int_equal(chan_recv(f->apid, m), 1);
		if (m->type == MSG_CMD_EVENT)
			chan_msg_fini(m);
	} while (m->type == MSG_CMD_EVENT);
}

static inline int expect_result(struct fixture *f, uint32_t id)
{
	struct msg_result r;
	struct chan_msg m;
	struct err e = { 0 };

	apid_next(f, &m);
	assert_int_equal(m.type, MSG_RESULT);
	assert_int_equal(m.id, id);
	assert_int_equal(chan_decode(&m, &desc_msg_result, &r, NULL), 0);
	int code = r.code;

	msg_result_err(&r, &e);
	(void)err_join(&e, f->text, sizeof(f->text));
	obj_fini(&desc_msg_result, &r);
	chan_msg_fini(&m);
	return code;
}

static inline int run(struct fixture *f, enum msg_type type, const void *body)
{
	cmd(f, type, body);
	return expect_result(f, f->id);
}

static inline struct msg_cmd_hello_reply hello(struct fixture *f, uint64_t acked_event)
{
	struct msg_cmd_hello h = { .version = PROTO_VERSION, .acked_event = acked_event };
	struct msg_cmd_hello_reply r;
	struct chan_msg m;

	cmd_with_id(f, MSG_CMD_HELLO, 0, &h);
	apid_next(f, &m);
	assert_int_equal(m.type, MSG_CMD_HELLO_REPLY);
	assert_int_equal(chan_decode(&m, &desc_msg_cmd_hello_reply, &r, NULL), 0);
	chan_msg_fini(&m);
	return r;
}

static inline void fill_config(struct cfg_vm *cfg)
{
	obj_init(&desc_cfg_vm, cfg);
	cfg->cpus.boot_vcpus = cfg->cpus.max_vcpus = 1;
	cfg->memory.size = 64 << 20;
	cfg->has_payload = true;
	cfg->payload.kernel = strdup("/kernel");
}

static inline void create(struct fixture *f)
{
	struct msg_cmd_vm_create c = { 0 };

	fill_config(&c.config);
	assert_int_equal(run(f, MSG_CMD_VM_CREATE, &c), 0);
	obj_fini(&desc_msg_cmd_vm_create, &c);
}

static inline int boot(struct fixture *f)
{
	struct msg_cmd_vm_boot b = { 0 };

	fill_config(&b.config);
	int r = run(f, MSG_CMD_VM_BOOT, &b);

	obj_fini(&desc_msg_cmd_vm_boot, &b);
	return r;
}

static inline bool apid_dropped(struct fixture *f)
{
	struct chan_msg m;
	int r;

	turn(f);
	while ((r = chan_recv(f->apid, &m)) > 0)
		chan_msg_fini(&m);
	return r == -EPIPE;
}

static inline void expect_event(struct fixture *f, const char *name)
{
	struct msg_cmd_event ev;
	struct chan_msg m;

	assert_int_equal(chan_recv(f->apid, &m), 1);
	assert_int_equal(m.type, MSG_CMD_EVENT);
	assert_int_equal(chan_decode(&m, &desc_msg_cmd_event, &ev, NULL), 0);
	assert_string_equal(ev.event, name);
	obj_fini(&desc_msg_cmd_event, &ev);
	chan_msg_fini(&m);
}

/* --- fixture ---------------------------------------------------------------------------------------------------------- */

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int mon[2], sig[2];
	struct err e = { 0 };

	if (f == NULL || fd_socketpair(SOCK_SEQPACKET, mon) < 0 || fd_socketpair(SOCK_STREAM, sig) < 0)
		return -1;
	f->base = ev_new(EV_BACKEND_EPOLL);
	f->lifeline = -1;
	f->signals = sig[0];
	f->mon = chan_new(mon[0], CHAN_MONITOR_MAX, CHAN_MONITOR_MAX);
	f->ctl = control_new(f->base, mon[1], sig[1], &e);
	*state = f;
	if (f->base == NULL || f->mon == NULL || f->ctl == NULL)
		return -1;
	attach_apid(f);
	turn(f);
	(void)hello(f, 0);
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	control_free(f->ctl);
	ev_free(f->base);
	if (f->mon != NULL)
		chan_free(f->mon);
	if (f->apid != NULL)
		chan_free(f->apid);
	fd_closep(&f->signals);
	fd_closep(&f->lifeline);
	free(f);
	return 0;
}

#endif
