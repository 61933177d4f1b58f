/* SPDX-License-Identifier: ISC */
/*
 * What a helper for a character device takes from others. First byte even: a ring header left by a taken-over
 * predecessor, then puts and takes. Odd: control messages of a hostile parent.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "devices/common/control.h"
#include "devices/console/console_ring.h"
#include "devices/console/console_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(x) ((x) ? (void)0 : abort())

struct input {
	const uint8_t *p;
	size_t left;
};

static uint8_t next(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->p++;
}

static uint16_t next16(struct input *in)
{
	return (uint16_t)(next(in) | next(in) << 8);
}

/* --- ring ---------------------------------------------------------------------------------------------------------- */

enum { RING_BYTES = CONSOLE_RING_HEADER + 2 * CONSOLE_CHUNK + 77, HEADER_BYTES = 40 };

static void check_ring(const struct console_ring *r)
{
	const uint8_t *p;
	size_t n = console_ring_peek(r, &p);

	CHECK(r->dropped <= r->tail && r->tail <= r->head && r->head - r->tail <= r->cap);
	CHECK(n <= CONSOLE_CHUNK && p >= r->data && p + n <= r->data + r->cap);
	CHECK((n == 0) == (console_ring_used(r) == 0));
}

static void ring_step(struct console_ring *r, struct input *in)
{
	uint8_t chunk[CONSOLE_CHUNK];
	const uint8_t *p;
	uint8_t op = next(in);
	size_t n = next16(in) % (CONSOLE_CHUNK + 1), shown = console_ring_peek(r, &p);

	switch (op % 4) {
	case 0:
		memset(chunk, op, n);
		(void)console_ring_put(r, chunk, n);
		break;
	case 1:
		console_ring_take(r, n < shown ? n : shown);
		break;
	case 2: /* taken, refused in part */
		console_ring_take(r, shown);
		console_ring_put_back(r, n < shown ? n : shown);
		break;
	case 3:
		console_ring_drop(r, n);
		break;
	}
}

static void fuzz_ring(struct input *in)
{
	static _Alignas(4096) uint8_t mem[RING_BYTES];
	struct console_ring r, successor;

	memset(mem, 0, sizeof(mem));
	for (size_t i = 0; i < HEADER_BYTES; i++)
		mem[i] = next(in);
	CHECK(console_ring_attach(&r, mem, sizeof(mem)) >= 0);
	check_ring(&r);
	while (in->left > 0) {
		ring_step(&r, in);
		check_ring(&r);
	}
	CHECK(console_ring_attach(&successor, mem, sizeof(mem)) == 1);
	CHECK(successor.head == r.head && successor.tail == r.tail && successor.dropped == r.dropped);
}

/* --- control ------------------------------------------------------------------------------------------------------- */

struct stub {
	unsigned configured, started, drains;
	device_drained_fn done;
	void *arg;
};

static int stub_configure(void *dev, struct event_base *base, const void *config, struct chan_msg *m,
			  struct jail_limits *lim, struct err *e)
{
	struct stub *s = dev;
	int want = console_target_count(config, e);

	(void)base;
	(void)lim;
	CHECK(s->configured == 0);
	if (want < 0 || m->nfds < (unsigned)want)
		return err_set(e, -EBADMSG, "descriptors");
	s->configured++;
	return 0;
}

static int stub_start(void *dev, struct err *e)
{
	struct stub *s = dev;

	(void)e;
	CHECK(s->configured == 1 && s->started == 0);
	s->started++;
	return 0;
}

static void stub_stats(const void *dev, struct msg_hlp_stats_result *out)
{
	const struct stub *s = dev;

	CHECK(s->started == 1);
	*out = (struct msg_hlp_stats_result){ .bytes_in = UINT64_MAX };
}

static void stub_drain(void *dev, uint32_t timeout_ms, device_drained_fn done, void *arg)
{
	struct stub *s = dev;

	CHECK(s->started == 1);
	s->drains++;
	if (timeout_ms % 2 == 0) {
		done(arg, true);
		return;
	}
	s->done = done;
	s->arg = arg;
}

static int stub_lock(struct control *c, struct err *e)
{
	(void)e;
	CHECK(c->state == CONTROL_CONFIGURED);
	return 0;
}

static const struct device_ops stub_ops = {
	.name = "stub",
	.role = JAIL_CONSOLE,
	.config_type = MSG_CON_CONFIG,
	.config_desc = &desc_msg_con_config,
	.configure = stub_configure,
	.start = stub_start,
	.stats = stub_stats,
	.drain = stub_drain,
};

/* One record as the input says: a well-made header around its bytes, or just its bytes. */
static void send_record(int sock, struct input *in)
{
	uint8_t rec[512] = { 0 };
	uint8_t how = next(in);
	size_t n = next(in), at = 0;
	int null = STDIN_FILENO;

	if ((how & 1) == 0) {
		uint32_t word[6] = { CHAN_MAGIC, next16(in), 7, (uint32_t)n, 0, (uint32_t)n };

		memcpy(rec, word, sizeof(word));
		at = sizeof(word);
	}
	for (size_t i = 0; i < n; i++)
		rec[at++] = next(in);
	(void)fd_sendmsg(sock, rec, at, &null, (how >> 1) % 3 == 2 ? 1 : 0);
}

static void fuzz_control(struct input *in)
{
	int pair[2];
	struct stub stub = { 0 };
	struct control c;
	struct chan_msg m;
	uint8_t answer[512];
	int r = 0;

	CHECK(fd_socketpair(SOCK_SEQPACKET, pair) == 0);
	struct chan *chan = chan_new(pair[0], 8192, 65536);
	CHECK(chan != NULL);
	control_init(&c, &stub_ops, &stub, NULL, chan);
	c.lock = stub_lock;
	while (in->left > 0 && r >= 0 && r != -ECONNABORTED) {
		struct err e = { 0 };
		enum control_state before = c.state;

		send_record(pair[1], in);
		while ((r = c.state == CONTROL_LOCKED ? chan_recv_plain(chan, &m) : chan_recv(chan, &m)) == 1) {
			int h = control_handle(&c, &m, &e);

			if (h < 0)
				CHECK(err_count(&e) > 0);
			err_clear(&e);
			if (h == -ECONNABORTED) {
				r = h;
				break;
			}
		}
		CHECK(c.state >= before);
		while (recv(pair[1], answer, sizeof(answer), MSG_DONTWAIT) > 0)
			continue;
	}
	if (stub.done != NULL && c.draining)
		stub.done(stub.arg, false);
	chan_free(chan);
	(void)close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	if (next(&in) % 2 == 0)
		fuzz_ring(&in);
	else
		fuzz_control(&in);
	return 0;
}
