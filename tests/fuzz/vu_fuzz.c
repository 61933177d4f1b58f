/* SPDX-License-Identifier: ISC */
/*
 * A front end that says anything to the vhost-user server: bytes as they are, or messages with a sound header, with any
 * descriptors, while queues take their time to stop. Byte 0: preset mode or not. At the end no descriptor is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "devices/common/vu_server.h"
#include "tests/fuzz/ops.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { QUEUES = 2, SIZE = 64, RAM = 65536, KINDS = 4 };

static struct {
	bool running[QUEUES], busy[QUEUES];
	int kick[QUEUES], call[QUEUES];
	uint8_t slow; /* bit per queue: stops only when told */
} stub;

static void check_setup(const struct vq_setup *s)
{
	ops_promise(s->num > 0 && s->num <= SIZE && (s->num & (s->num - 1)) == 0);
	if (s->inflight.queue != NULL)
		ops_promise(s->inflight.num == s->num);
	for (unsigned i = 0; i < s->gm->n; i++) {
		uint8_t byte = 0;

		/* each region is there from its first to its last byte */
		ops_promise(gmem_read(s->gm, s->gm->r[i].gpa, &byte, 1) == 0);
		ops_promise(gmem_write(s->gm, s->gm->r[i].gpa + s->gm->r[i].size - 1, &byte, 1) == 0);
	}
}

static void on_start(void *arg, unsigned q, const struct vq_setup *s)
{
	(void)arg;
	ops_promise(q < QUEUES && !stub.running[q] && !stub.busy[q]);
	check_setup(s);
	stub.running[q] = true;
}

static void on_stop(void *arg, unsigned q)
{
	(void)arg;
	ops_promise(q < QUEUES && stub.running[q]);
	stub.running[q] = false;
	stub.busy[q] = (stub.slow >> q & 1) != 0;
}

static bool is_idle(void *arg, unsigned q)
{
	(void)arg;
	return !stub.busy[q];
}

static uint16_t base(void *arg, unsigned q)
{
	(void)arg;
	return (uint16_t)q;
}

static void on_kick(void *arg, unsigned q)
{
	(void)arg;
	ops_promise(q < QUEUES && stub.running[q]);
}

static void on_log(void *arg, unsigned q, bool on)
{
	(void)arg;
	(void)on;
	ops_promise(q < QUEUES);
}

static void keep_kick(void *arg, unsigned q, int fd)
{
	(void)arg;
	ops_promise(q < QUEUES && !stub.running[q] && !stub.busy[q]);
	fd_closep(&stub.kick[q]);
	stub.kick[q] = fd;
}

static void keep_call(void *arg, unsigned q, int fd)
{
	(void)arg;
	ops_promise(q < QUEUES);
	fd_closep(&stub.call[q]);
	stub.call[q] = fd;
}

static void on_features(void *arg, uint64_t acked)
{
	(void)arg;
	(void)acked;
	for (unsigned i = 0; i < QUEUES; i++)
		ops_promise(!stub.running[i] && !stub.busy[i]);
}

static void on_config(void *arg, uint32_t off, uint32_t len)
{
	(void)arg;
	ops_promise(off >= 8 && len <= 4 && off + len <= 12);
}

static void on_reset(void *arg)
{
	on_features(arg, 0);
}

static const struct vu_ops stub_ops = {
	on_start, on_stop, is_idle, base, on_kick, on_log, keep_kick, keep_call, keep_call, on_features, on_config, on_reset,
};

static int descriptors[KINDS]; /* memory, a short file, an event, a folder */

static void make_descriptors(void)
{
	if (descriptors[0] > 0)
		return;
	descriptors[0] = memfd_create("ram", MFD_CLOEXEC);
	descriptors[1] = memfd_create("short", MFD_CLOEXEC);
	descriptors[2] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	descriptors[3] = open("/", O_RDONLY | O_CLOEXEC);
	ops_promise(ftruncate(descriptors[0], RAM) == 0 && ftruncate(descriptors[1], 100) == 0);
}

static void send_some(int peer, struct ops *o)
{
	uint8_t msg[12 + 256] = { 0 };
	uint8_t how = (uint8_t)ops_take(o, 1);
	size_t n = ops_take(o, 1), at = 0;
	int fds[9];
	unsigned n_fds = how >> 4 < 9 ? how >> 4 : 0;

	if ((how & 1) == 0) {
		uint32_t h[3] = { (uint32_t)ops_take(o, 1), (how & 2) != 0 ? 9 : 1, (uint32_t)n };

		memcpy(msg, h, sizeof(h));
		at = sizeof(h);
	}
	for (size_t i = 0; i < n; i++)
		msg[at++] = (uint8_t)ops_take(o, 1);
	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = descriptors[(how >> 2 & 3) == 3 ? i % KINDS : (how >> 2 & 3)];
	if (at > 0)
		(void)fd_sendmsg(peer, msg, at, fds, n_fds);
}

static int settle(struct vu_server *s, struct ops *o)
{
	uint8_t what = (uint8_t)ops_take(o, 1);

	stub.slow = what >> 4;
	for (unsigned i = 0; i < QUEUES; i++)
		stub.busy[i] = stub.busy[i] && (what >> i & 1) != 0;
	return vu_server_settle(s, NULL);
}

static void talk(struct vu_server *s, int peer, struct ops *o)
{
	uint8_t answer[1024];
	struct err e = { 0 };
	int r = 0;

	while (o->left > 0 && r == 0) {
		send_some(peer, o);
		r = vu_server_readable(s, &e);
		if (r == 0)
			r = settle(s, o);
		if (r == 0)
			r = vu_server_writable(s);
		while (recv(peer, answer, sizeof(answer), MSG_DONTWAIT) > 0)
			continue;
		vu_server_config_changed(s);
	}
}

static void finish(struct vu_server *s)
{
	if (!vu_server_disconnect(s)) {
		memset(stub.busy, 0, sizeof(stub.busy));
		ops_promise(vu_server_disconnect(s));
	}
	vu_server_fini(s);
	for (unsigned i = 0; i < QUEUES; i++) {
		fd_closep(&stub.kick[i]);
		fd_closep(&stub.call[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t ram[RAM], region[8192], log_bytes[64];
	struct ops o = { data, size };
	struct vu_server s;
	int pair[2], probe, again;
	bool preset = (ops_take(&o, 1) & 1) != 0;

	make_descriptors();
	memset(&stub, 0, sizeof(stub));
	for (unsigned i = 0; i < QUEUES; i++)
		stub.kick[i] = stub.call[i] = -1;
	probe = dup(descriptors[2]);
	(void)close(probe);
	ops_promise(fd_socketpair(SOCK_STREAM, pair) == 0);
	ops_promise(vu_server_init(&s, &stub_ops, NULL, preset, QUEUES, SIZE) == 0);
	s.features = UINT64_C(1) << 32 | UINT64_C(1) << 28 | UINT64_C(1) << 29;
	s.with_inflight = true;
	s.config_len = 60;
	s.w_off = 8;
	s.w_len = 4;
	if (preset) {
		s.mem.ram = ram;
		s.mem.ram_bytes = RAM;
		s.inflight = (struct vu_shared){ .at = region, .bytes = sizeof(region) };
		s.log_map = (struct vu_shared){ .at = log_bytes, .bytes = sizeof(log_bytes) };
	}
	vu_server_connect(&s, pair[0]);
	talk(&s, pair[1], &o);
	finish(&s);
	if (preset)
		(void)close(pair[0]);
	(void)close(pair[1]);
	again = dup(descriptors[2]); /* the lowest free number is what it was */
	ops_promise(again == probe);
	(void)close(again);
	return 0;
}
