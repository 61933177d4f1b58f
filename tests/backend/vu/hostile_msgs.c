/* SPDX-License-Identifier: ISC */
/* A front end that breaks the protocol. */
#include "tests/backend/vu/hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"
#include "tests/backend/vu/tests.h"

enum {
	ANSWER_MS = 3000,
	SIGNAL_BASE = 128,
	NO_PROGRAM = 127,
	SPARE_ROUNDS = 500,
	RANDOM_A_LIFE = 40,
};

/* --- what is sent --------------------------------------------------------------------------------------------------------------------- */

struct wrong {
	const char *name;
	uint32_t request, flags, size;
	uint32_t sent; /* bytes of payload that really follow */
	union {
		uint64_t u64[40];
		struct vhost_user_vring_state state;
		struct vhost_user_vring_addr addr;
		struct vhost_user_mem_table table;
		struct vhost_user_single_region single;
		struct vhost_user_log log;
		struct vhost_user_config config;
		struct vhost_user_inflight inflight;
	} p;
	unsigned n_fds;
};

#define F VHOST_USER_VERSION
#define U64(req, v) .request = (req), .flags = F, .size = 8, .sent = 8, .p.u64 = { v }
#define STATE(req, i, n) .request = (req), .flags = F, .size = 8, .sent = 8, .p.state = { i, n }
#define ADDR(...) .request = VHOST_USER_SET_VRING_ADDR, .flags = F, .size = 40, .sent = 40, .p.addr = { __VA_ARGS__ }
#define TABLE(count, bytes, fds, ...) \
	.request = VHOST_USER_SET_MEM_TABLE, .flags = F, .size = (bytes), .sent = (bytes), .n_fds = (fds), \
	.p.table = { .n = (count), .region = { __VA_ARGS__ } }
#define CONFIG(req, off, len, bytes) \
	.request = (req), .flags = F, .size = (bytes), .sent = (bytes), .p.config = { off, len, 0, { 0 } }
#define INFLIGHT(req, msize, moff, nq, qs, fds) \
	.request = (req), .flags = F, .size = 20, .sent = 20, .n_fds = (fds), .p.inflight = { msize, moff, nq, qs }

static const struct wrong wrongs[] = {
	{ "request 0", 0, F, 0, 0, { { 0 } }, 0 },
	{ "request 200", 200, F, 0, 0, { { 0 } }, 0 },
	{ "request 2^32-1", UINT32_MAX, F, 8, 8, { { 0 } }, 0 },
	{ "version 0", VHOST_USER_GET_FEATURES, 0, 0, 0, { { 0 } }, 0 },
	{ "version 3", VHOST_USER_GET_FEATURES, 3, 0, 0, { { 0 } }, 0 },
	{ "a reply", VHOST_USER_SET_FEATURES, F | VHOST_USER_REPLY, 8, 8, { { 0 } }, 0 },
	{ "all flags", VHOST_USER_SET_FEATURES, 0xfffffffd, 8, 8, { { 0 } }, 0 },
	{ "size 2^32-1", VHOST_USER_SET_FEATURES, F, UINT32_MAX, 0, { { 0 } }, 0 },
	{ "size 513", VHOST_USER_SET_FEATURES, F, 513, 0, { { 0 } }, 0 },
	{ "number of 7 bytes", VHOST_USER_SET_FEATURES, F, 7, 7, { { 0 } }, 0 },
	{ "number of 9 bytes", VHOST_USER_SET_FEATURES, F, 9, 9, { { 0 } }, 0 },
	{ "question with a payload", VHOST_USER_GET_FEATURES, F, 8, 8, { { 0 } }, 0 },
	{ "features never offered", U64(VHOST_USER_SET_FEATURES, UINT64_MAX) },
	{ "no features", U64(VHOST_USER_SET_FEATURES, 0) },
	{ "protocol features never offered", U64(VHOST_USER_SET_PROTOCOL_FEATURES, UINT64_MAX) },
	{ "number of queue 2^32-1", STATE(VHOST_USER_SET_VRING_NUM, UINT32_MAX, 128) },
	{ "number of queue 256", STATE(VHOST_USER_SET_VRING_NUM, 256, 128) },
	{ "queue of 0", STATE(VHOST_USER_SET_VRING_NUM, 0, 0) },
	{ "queue of 3", STATE(VHOST_USER_SET_VRING_NUM, 0, 3) },
	{ "queue of 65536", STATE(VHOST_USER_SET_VRING_NUM, 0, 65536) },
	{ "queue of 2^31", STATE(VHOST_USER_SET_VRING_NUM, 0, 0x80000000) },
	{ "queue of 32768", STATE(VHOST_USER_SET_VRING_NUM, 0, 32768) },
	{ "base of queue 255", STATE(VHOST_USER_SET_VRING_BASE, 255, 0) },
	{ "base 65535", STATE(VHOST_USER_SET_VRING_BASE, 0, 65535) },
	{ "base 2^32-1", STATE(VHOST_USER_SET_VRING_BASE, 0, UINT32_MAX) },
	{ "base asked of queue 999", STATE(VHOST_USER_GET_VRING_BASE, 999, 0) },
	{ "enable queue 64000", STATE(VHOST_USER_SET_VRING_ENABLE, 64000, 1) },
	{ "enable 2", STATE(VHOST_USER_SET_VRING_ENABLE, 0, 2) },
	{ "kick of queue 255", U64(VHOST_USER_SET_VRING_KICK, 255 | VHOST_USER_VRING_NOFD) },
	{ "kick, odd bits", U64(VHOST_USER_SET_VRING_KICK, UINT64_C(0xffffffffffff0000)) },
	{ "kick without a descriptor", U64(VHOST_USER_SET_VRING_KICK, 0) },
	{ "call without a descriptor", U64(VHOST_USER_SET_VRING_CALL, 0) },
	{ "err without a descriptor", U64(VHOST_USER_SET_VRING_ERR, 0) },
	{ "two kicks", U64(VHOST_USER_SET_VRING_KICK, 0), .n_fds = 2 },
	{ "in-band kick of queue 77777", STATE(VHOST_USER_VRING_KICK, 77777, 0) },
	{ "rings at 0", ADDR(0, 0, 0, 0, 0, 0) },
	{ "rings at the end of everything", ADDR(0, 0, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0) },
	{ "rings that wrap", ADDR(0, 0, UINT64_MAX - 15, UINT64_MAX - 3, UINT64_MAX - 1, UINT64_MAX) },
	{ "rings that are not aligned", ADDR(0, 0, 0x1001, 0x2001, 0x3001, 0) },
	{ "rings of queue 300", ADDR(300, 0, 0x1000, 0x2000, 0x3000, 0) },
	{ "rings, odd flags", ADDR(0, UINT32_MAX, 0x1000, 0x2000, 0x3000, 0) },
	{ "no memory", TABLE(0, 8, 0, { 0 }) },
	{ "nine regions", TABLE(9, 264, 8, { 0, 4096, 0, 0 }) },
	{ "2^32-1 regions", TABLE(UINT32_MAX, 40, 1, { 0, 4096, 0, 0 }) },
	{ "more regions than bytes", TABLE(2, 40, 2, { 0, 4096, 0, 0 }) },
	{ "more bytes than regions", TABLE(1, 72, 1, { 0, 4096, 0, 0 }) },
	{ "region without a descriptor", TABLE(1, 40, 0, { 0, 4096, 0, 0 }) },
	{ "more descriptors than regions", TABLE(1, 40, 8, { 0, 4096, 0, 0 }) },
	{ "region of nothing", TABLE(1, 40, 1, { 0, 0, 0, 0 }) },
	{ "region that wraps", TABLE(1, 40, 1, { UINT64_MAX - 4095, 8192, 0, 0 }) },
	{ "user region that wraps", TABLE(1, 40, 1, { 0, 8192, UINT64_MAX - 4095, 0 }) },
	{ "region of 2^64-1", TABLE(1, 40, 1, { 0, UINT64_MAX, 0, 0 }) },
	{ "region behind the file", TABLE(1, 40, 1, { 0, 4096, 0, UINT64_C(1) << 40 }) },
	{ "region longer than the file", TABLE(1, 40, 1, { 0, UINT64_C(1) << 40, 0, 0 }) },
	{ "offset that wraps", TABLE(1, 40, 1, { 0, 8192, 0, UINT64_MAX - 4095 }) },
	{ "regions that overlap", TABLE(2, 72, 2, { 0, 8192, 0, 0 }, { 4096, 8192, 4096, 0 }) },
	{ "odd offset", TABLE(1, 40, 1, { 0, 4096, 0, 1 }) },
	{ "region added of nothing", .request = VHOST_USER_ADD_MEM_REG, .flags = F, .size = 40, .sent = 40, .n_fds = 1 },
	{ "region removed that is not there", .request = VHOST_USER_REM_MEM_REG, .flags = F, .size = 40, .sent = 40 },
	{ "region added in half", .request = VHOST_USER_ADD_MEM_REG, .flags = F, .size = 20, .sent = 20, .n_fds = 1 },
	{ "configuration of nothing", CONFIG(VHOST_USER_GET_CONFIG, 0, 0, 12) },
	{ "configuration behind the end", CONFIG(VHOST_USER_GET_CONFIG, 250, 16, 28) },
	{ "configuration that wraps", CONFIG(VHOST_USER_GET_CONFIG, UINT32_MAX, 2, 14) },
	{ "more configuration than bytes", CONFIG(VHOST_USER_GET_CONFIG, 0, 256, 20) },
	{ "configuration of 2^32-1", CONFIG(VHOST_USER_GET_CONFIG, 0, UINT32_MAX, 268) },
	{ "configuration written behind the end", CONFIG(VHOST_USER_SET_CONFIG, 250, 16, 28) },
	{ "configuration written that wraps", CONFIG(VHOST_USER_SET_CONFIG, UINT32_MAX, 4, 16) },
	{ "configuration written in half", CONFIG(VHOST_USER_SET_CONFIG, 0, 64, 20) },
	{ "configuration in 4 bytes", CONFIG(VHOST_USER_GET_CONFIG, 0, 8, 4) },
	{ "in-flight for 65535 queues", INFLIGHT(VHOST_USER_GET_INFLIGHT_FD, 0, 0, 65535, 65535, 0) },
	{ "in-flight for no queue", INFLIGHT(VHOST_USER_GET_INFLIGHT_FD, 0, 0, 0, 0, 0) },
	{ "in-flight region too small", INFLIGHT(VHOST_USER_SET_INFLIGHT_FD, 16, 0, 1, 128, 1) },
	{ "in-flight region behind its file", INFLIGHT(VHOST_USER_SET_INFLIGHT_FD, 1 << 20, UINT64_C(1) << 50, 1, 128, 1) },
	{ "in-flight region without a descriptor", INFLIGHT(VHOST_USER_SET_INFLIGHT_FD, 4096, 0, 1, 128, 0) },
	{ "in-flight region of 2^64-1", INFLIGHT(VHOST_USER_SET_INFLIGHT_FD, UINT64_MAX, UINT64_MAX, 65535, 65535, 1) },
	{ "log of nothing", .request = VHOST_USER_SET_LOG_BASE, .flags = F, .size = 16, .sent = 16, .n_fds = 1 },
	{ "log of 2^64-1", .request = VHOST_USER_SET_LOG_BASE, .flags = F, .size = 16, .sent = 16,
	  .p.log = { UINT64_MAX, UINT64_MAX }, .n_fds = 1 },
	{ "log without a descriptor", .request = VHOST_USER_SET_LOG_BASE, .flags = F, .size = 16, .sent = 16,
	  .p.log = { 4096, 0 } },
	{ "status 2^64-1", U64(VHOST_USER_SET_STATUS, UINT64_MAX) },
	{ "translation miss", .request = VHOST_USER_IOTLB_MSG, .flags = F, .size = 40, .sent = 40 },
	{ "owner reset", .request = VHOST_USER_RESET_OWNER, .flags = F },
	{ "owner with a payload", .request = VHOST_USER_SET_OWNER, .flags = F, .size = 8, .sent = 8 },
	{ "back end channel without a descriptor", .request = VHOST_USER_SET_BACKEND_REQ_FD, .flags = F },
	{ "four descriptors with a question", .request = VHOST_USER_GET_FEATURES, .flags = F, .n_fds = 4 },
	{ "253 descriptors with a question", .request = VHOST_USER_GET_FEATURES, .flags = F, .n_fds = 253 },
	{ "half a payload", .request = VHOST_USER_SET_FEATURES, .flags = F, .size = 8, .sent = 4 },
};

/* --- sending --------------------------------------------------------------------------------------------------------------------------------- */

/* Descriptors that are not what is wanted, one of a kind after the other. */
static void odd_fds(int *fds, unsigned n)
{
	static int kinds[5];

	if (kinds[0] == 0) {
		int pair[2];

		kinds[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
		kinds[1] = memfd_create("small", MFD_CLOEXEC);
		kinds[2] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		kinds[3] = fd_socketpair(SOCK_STREAM, pair) == 0 ? pair[0] : kinds[0];
		kinds[4] = open("/dev/zero", O_RDWR | O_CLOEXEC);
	}
	for (unsigned i = 0; i < n; i++)
		fds[i] = kinds[i % nitems(kinds)];
}

static void send_wrong(struct vu *v, const struct wrong *w, uint32_t more_flags)
{
	struct vhost_user_header h = { w->request, w->flags | more_flags, w->size };
	uint8_t buf[sizeof(h) + sizeof(w->p)];
	int fds[VU_FDS_MAX];

	memcpy(buf, &h, sizeof(h));
	memcpy(buf + sizeof(h), &w->p, sizeof(w->p));
	odd_fds(fds, w->n_fds);
	uint32_t sent = w->sent < sizeof(w->p) ? w->sent : (uint32_t)sizeof(w->p);

	if (vu_send_raw(v, buf, sizeof(h) + sent, fds, w->n_fds) < 0)
		return; /* it has hung up: whoever reads next sees that */
}

enum fate { ANSWERS, HUNG_UP, STUCK };

static int read_some(struct vu *v, void *p, size_t len)
{
	uint8_t *at = p;

	while (len > 0) {
		int fds[8];
		unsigned n_fds = 0;

		if (fd_wait(v->sock, POLLIN, ANSWER_MS) <= 0)
			return -ETIMEDOUT;
		ssize_t n = fd_recvmsg(v->sock, at, len, fds, nitems(fds), &n_fds);

		if (n > 0)
			fd_close_all(fds, n_fds);
		if (n == -EAGAIN)
			continue;
		if (n <= 0)
			return -EPIPE;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Ask something harmless and read, past other answers, up to the answer. */
static enum fate look(struct vu *v)
{
	if (vu_send(v, VHOST_USER_GET_PROTOCOL_FEATURES, 0, NULL, 0, NULL, 0) < 0)
		return HUNG_UP;
	for (;;) {
		uint8_t payload[VHOST_USER_PAYLOAD_MAX];
		struct vhost_user_header h;
		int r = read_some(v, &h, sizeof(h));

		if (r == 0 && h.size > sizeof(payload))
			return STUCK;
		if (r == 0)
			r = read_some(v, payload, h.size);
		if (r < 0)
			return r == -EPIPE ? HUNG_UP : STUCK;
		if (h.request == VHOST_USER_GET_PROTOCOL_FEATURES)
			return ANSWERS;
	}
}

/* --- and what has become of it ------------------------------------------------------------------------------------------------------------------- */

/* It may have ended, but not by a signal. */
static bool ended_well(struct vu *v, const char *what)
{
	int status = vu_proc_alive(v) ? vu_proc_wait(v, 0) : vu_proc_wait(v, ANSWER_MS);

	if (status == -ETIMEDOUT || (status >= 0 && status < NO_PROGRAM))
		return true;
	vu_diag("%s: it ended with %d%s", what, status, status > SIGNAL_BASE ? " (a signal)" : "");
	vu_proc_text(v);
	return false;
}

/* One that runs alone waits for the next front end. */
static bool serves_the_next(const struct vu_hostile *h, struct vu *v, const char *what)
{
	WANT(vu_connect(v) == 0, "%s: no other front end is let in", what);
	WANT(vu_hello(v) == 0 && vu_start(v, true) == 0, "%s: the next front end", what);
	WANT(h->good(v), "%s: the next front end is not served", what);
	return true;
}

static bool serves_again(const struct vu_hostile *h, struct vu **at, const char *what)
{
	if (!ended_well(*at, what))
		return false;
	if ((*at)->cfg.mode == VU_ALONE && (*at)->ring[0] != NULL && vu_proc_alive(*at))
		return serves_the_next(h, *at, what);
	WANT(vu_free(*at), "%s: its end", what);
	*at = vu_new(&h->cfg);
	WANT(*at != NULL && h->good(*at), "%s: not served by another", what);
	return true;
}

static bool try_wrong(const struct vu_hostile *h, struct vu **at, const struct wrong *w, uint32_t more_flags)
{
	send_wrong(*at, w, more_flags);
	if (w->sent < w->size) { /* it waits for the rest, which does not come */
		vu_disconnect(*at);
		return serves_again(h, at, w->name);
	}
	switch (look(*at)) {
	case STUCK:
		vu_diag("%s: neither answers nor hangs up", w->name);
		return false;
	case HUNG_UP:
		return serves_again(h, at, w->name);
	case ANSWERS:
		break;
	}
	WANT(vu_proc_alive(*at), "%s: it died", w->name);
	vu_disconnect(*at);
	return serves_again(h, at, w->name);
}

/* Each message three ways: on a running device without and with a wish for an answer, and before the handshake. */
bool vu_hostile_messages(const struct vu_hostile *h)
{
	struct vu *v = vu_new(&h->cfg);
	bool good = true;

	WANT(v != NULL && h->good(v), "no device to begin with");
	for (unsigned i = 0; i < nitems(wrongs) && good; i++) {
		good = try_wrong(h, &v, &wrongs[i], 0) && try_wrong(h, &v, &wrongs[i], VHOST_USER_NEED_REPLY);
		if (!good)
			break;
		WANT(vu_free(v), "its end");
		v = vu_new_mute(&h->cfg);
		WANT(v != NULL, "%s: no device to begin with", wrongs[i].name);
		good = try_wrong(h, &v, &wrongs[i], 0);
	}
	return vu_free(v) && good;
}

static void randomize(struct wrong *w, uint32_t *s)
{
	static const uint64_t words[] = { 0, 1, 2, 7, 127, 128, 255, 256, 4096, 65535, 65536, 1 << 26, UINT32_MAX, UINT64_MAX };
	static const uint32_t sizes[] = { 0, 4, 8, 8, 8, 16, 20, 40, 40, 72, 264, 268 };

	*w = (struct wrong){ .request = vu_random(s) % 44, .flags = F | (vu_random(s) % 2 != 0 ? VHOST_USER_NEED_REPLY : 0) };
	w->size = w->sent = sizes[vu_random(s) % nitems(sizes)];
	for (unsigned i = 0; i < nitems(w->p.u64); i++) {
		uint64_t low = words[vu_random(s) % nitems(words)], high = words[vu_random(s) % nitems(words)];

		w->p.u64[i] = vu_random(s) % 2 != 0 ? low : (low & UINT32_MAX) | high << 32;
	}
	w->n_fds = vu_random(s) % 4 == 0 ? vu_random(s) % 4 : 0;
	w->name = "by chance";
}

bool vu_hostile_random_messages(const struct vu_hostile *h, unsigned seed, unsigned n)
{
	uint32_t s = seed * 2654435761u + 1;
	struct vu *v = vu_new(&h->cfg);
	unsigned age = 0;

	WANT(v != NULL && h->good(v), "no device to begin with");
	for (unsigned i = 0; i < n; i++) {
		struct wrong w;

		randomize(&w, &s);
		send_wrong(v, &w, 0);
		enum fate fate = look(v);

		WANT(fate != STUCK, "seed %u, message %u (request %u): neither answers nor hangs up", seed, i, w.request);
		if (!vu_proc_alive(v)) /* the answer was to an earlier message; how it ended is looked at below */
			fate = HUNG_UP;
		if (fate == ANSWERS && ++age < RANDOM_A_LIFE)
			continue;
		age = 0;
		vu_disconnect(v);
		WANT(serves_again(h, &v, "by chance"), "seed %u, message %u (request %u)", seed, i, w.request);
	}
	return vu_free(v);
}

bool vu_hostile_spare_fds(const struct vu_hostile *h)
{
	struct vu *v = vu_new(&h->cfg);
	int fds[VU_FDS_MAX];

	WANT(v != NULL && h->good(v), "no device to begin with");
	unsigned before = vu_proc_fds(v);

	odd_fds(fds, VU_FDS_MAX);
	for (unsigned i = 0; i < SPARE_ROUNDS; i++) {
		if (vu_send(v, VHOST_USER_GET_FEATURES, 0, NULL, 0, fds, 1 + i % 8) < 0 || look(v) != ANSWERS) {
			vu_disconnect(v);
			WANT(serves_again(h, &v, "spare descriptors"), "round %u", i);
			before = vu_proc_fds(v);
		}
		WANT(vu_proc_fds(v) <= before, "round %u: %u descriptors, %u before", i, vu_proc_fds(v), before);
	}
	return vu_free(v);
}
