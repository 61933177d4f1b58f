/* SPDX-License-Identifier: ISC */
/*
 * A channel's receiving side against a hostile peer, then dispatch of what it takes for messages. The input is a list
 * of records: a kind byte, a length byte or two, bytes. Kind 0 sends the bytes as they are; other kinds put a header
 * in front that is right but for what the kind says, so that the fuzzer gets past the magic and into chunks.
 * What must hold: once broken always broken, no descriptor left behind, no message above the bound.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/buf.h"
#include "proto/dispatch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_MSG = 100 * 1024, CHUNK = CHAN_RECORD_MAX - CHAN_HEADER };

static void must(bool holds)
{
	if (!holds)
		abort();
}

static int take(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	unsigned *calls = ctx;

	(void)e;
	must((msg == NULL) == (msg_type_desc(m->type) == NULL));
	++*calls;
	return 0;
}

#define ENTRY_PART(S, ver, FIELDS)
#define ENTRY_BODY(T, S, num, ver, FIELDS) { MSG_##T, DISPATCH_ANY_STATE, DISPATCH_FDS, &desc_##S, take },
#define ENTRY_NONE(T, num) { MSG_##T, 1, 0, NULL, take },
static const struct dispatch_entry table[] = { ALL_MESSAGES(ENTRY_PART, ENTRY_BODY, ENTRY_NONE) };

/* Records of one input, sent by hand. */
struct peer {
	int sock, null;
	struct rbuf in;
	uint32_t total, offset; /* of the message in progress */
};

static bool send_bytes(const struct peer *p, const struct wbuf *w, unsigned nfds)
{
	int fds[8];

	for (unsigned i = 0; i < nfds; i++)
		fds[i] = p->null;
	return w->len > 0 && fd_sendmsg(p->sock, w->p, w->len, fds, nfds) > 0;
}

static void put_header(struct peer *p, struct wbuf *w, uint8_t kind, uint16_t type, uint32_t chunk)
{
	(void)wbuf_le32(w, kind == 2 ? CHAN_MAGIC ^ 1 : CHAN_MAGIC);
	(void)wbuf_le16(w, type);
	(void)wbuf_le16(w, kind == 3 ? 1 : 0);
	(void)wbuf_le32(w, kind == 4 ? p->offset : 7);
	(void)wbuf_le32(w, kind == 5 ? p->total + 1 : p->total);
	(void)wbuf_le32(w, kind == 6 ? p->offset + 1 : p->offset);
	(void)wbuf_le32(w, kind == 7 ? chunk + 1 : chunk);
}

static bool send_record(struct peer *p)
{
	uint8_t kind = rbuf_u8(&p->in) & 0x0f, nfds = rbuf_u8(&p->in) & 7;
	uint16_t len = rbuf_le16(&p->in), type;
	const uint8_t *bytes;
	struct wbuf w;
	bool ok;

	if (p->in.error < 0)
		return false;
	if (len > rbuf_left(&p->in))
		len = (uint16_t)rbuf_left(&p->in);
	bytes = rbuf_take(&p->in, len);
	wbuf_init(&w, CHAN_RECORD_MAX + 64);
	if (kind == 0) {
		(void)wbuf_put(&w, bytes, len);
	} else {
		type = (uint16_t)(len > 1 ? bytes[0] | bytes[1] << 8 : 1);
		if (p->offset == 0)
			p->total = kind == 8 ? 2 * CHUNK + len : len; /* kind 8 begins a long one */
		uint32_t left = p->total - p->offset;
		uint32_t chunk = left < CHUNK ? left : CHUNK;
		put_header(p, &w, kind, type, chunk);
		(void)wbuf_put(&w, bytes, len < chunk ? len : chunk);
		if (len < chunk)
			(void)wbuf_zero(&w, chunk - len);
		p->offset = p->offset + chunk == p->total ? 0 : p->offset + chunk;
	}
	ok = send_bytes(p, &w, nfds);
	wbuf_fini(&w);
	return ok;
}

static int receive(struct chan *c, bool plain)
{
	unsigned calls = 0;
	struct chan_msg m;
	struct err e = { 0 };
	int r = plain ? chan_recv_plain(c, &m) : chan_recv(c, &m);

	if (r != 1)
		return r;
	must(m.len <= MAX_MSG && (m.len == 0) == (m.data == NULL));
	int d = dispatch(table, nitems(table), 1, &calls, &m, &e);
	must((d == 0) == (calls == 1));
	must(d == 0 || err_count(&e) > 0);
	return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct peer p = { .null = open("/dev/null", O_RDONLY | O_CLOEXEC) };
	bool plain = size > 0 && (data[0] & 1) != 0;
	struct chan *c;
	int sv[2], r = 0, probe;

	must(p.null >= 0 && fd_socketpair(SOCK_SEQPACKET, sv) == 0);
	p.sock = sv[0];
	rbuf_init(&p.in, size > 0 ? data + 1 : data, size > 0 ? size - 1 : 0);
	c = chan_new(sv[1], MAX_MSG, 0);
	must(c != NULL);
	for (unsigned i = 0; i < 64 && r >= 0 && send_record(&p); i++)
		r = receive(c, plain);
	must(r != -EPIPE);
	if (r < 0) {
		must(r == -EBADMSG && receive(c, plain) == -EBADMSG);
		must(chan_send(c, MSG_CMD_VM_INFO, 1, NULL, NULL, NULL, 0) == -EBADMSG);
	}
	(void)close(p.sock);
	(void)receive(c, plain);
	chan_free(c);
	probe = open("/dev/null", O_RDONLY | O_CLOEXEC);
	must(probe == p.null + 1); /* nothing was left open */
	(void)close(probe);
	(void)close(p.null);
	return 0;
}
