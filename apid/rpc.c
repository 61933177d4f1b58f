/* SPDX-License-Identifier: ISC */
#include "apid/rpc.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/log.h"
#include "proto/msg.h"

enum { MESSAGES_PER_WAKE = 64 };

struct call {
	TAILQ_ENTRY(call) link;
	struct rpc *rpc;
	struct event *timer;
	uint32_t id;
	unsigned timeout_ms;
	rpc_done_fn *fn;
	void *arg;
};
TAILQ_HEAD(calls, call);

struct rpc {
	struct event_base *base;
	struct chan *chan;
	const char *name;
	const struct rpc_ops *ops;
	void *arg;
	struct event *ev_read, *ev_write, *ev_lost;
	struct calls calls;
	uint32_t next_id;
	int lost;
};

/* Report from the loop, as the caller may be in the middle of something. */
static void lose(struct rpc *p, int code)
{
	if (p->lost != 0)
		return;
	p->lost = code;
	(void)event_del(p->ev_read);
	(void)event_del(p->ev_write);
	event_active(p->ev_lost, EV_TIMEOUT, 0);
}

static void on_lost(evutil_socket_t fd, short what, void *arg)
{
	struct rpc *p = arg;

	(void)fd;
	(void)what;
	p->ops->lost(p->arg, p->lost);
}

static void after_send(struct rpc *p, int r)
{
	if (r < 0)
		lose(p, r);
	else if (chan_wants_write(p->chan) && p->lost == 0)
		(void)event_add(p->ev_write, NULL);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct rpc *p = arg;

	(void)fd;
	(void)what;
	after_send(p, chan_flush(p->chan));
}

/* --- answers -------------------------------------------------------------------------------------------------- */

static struct call *find_call(struct rpc *p, uint32_t id)
{
	struct call *c;

	TAILQ_FOREACH(c, &p->calls, link)
	{
		if (c->id == id)
			return c;
	}
	return NULL;
}

static void call_free(struct call *c)
{
	TAILQ_REMOVE(&c->rpc->calls, c, link);
	if (c->timer != NULL)
		event_free(c->timer);
	free(c);
}

static void call_finish(struct call *c, struct chan_msg *m, const struct err *e)
{
	rpc_done_fn *fn = c->fn;
	void *arg = c->arg;

	call_free(c);
	fn(arg, m, e);
}

static void finish_by_result(struct call *c, struct chan_msg *m)
{
	struct msg_result res;
	struct err e;
	int r = chan_decode(m, &desc_msg_result, &res, &e);

	if (r < 0) {
		(void)err_wrap(&e, r, "bad answer from %s", c->rpc->name);
	} else if (res.code != 0) {
		err_clear(&e);
		msg_result_err(&res, &e);
	}
	bool ok = r == 0 && res.code == 0;
	if (r == 0)
		obj_fini(&desc_msg_result, &res);
	call_finish(c, NULL, ok ? NULL : &e);
}

static bool is_request_id(const struct chan_msg *m)
{
	return m->id != 0 && m->type != MSG_CMD_EVENT;
}

static void handle(struct rpc *p, struct chan_msg *m)
{
	struct call *c = is_request_id(m) ? find_call(p, m->id) : NULL;
	bool answer = c != NULL || m->type == MSG_RESULT;

	if (answer && p->ops->answered != NULL)
		p->ops->answered(p->arg, m->id);
	if (c == NULL && !answer)
		p->ops->message(p->arg, m);
	else if (c == NULL)
		log_debug("%s answered request %u, which nobody waits for", p->name, m->id);
	else if (m->type == MSG_RESULT)
		finish_by_result(c, m);
	else
		call_finish(c, m, NULL);
}

static void pump(struct rpc *p, unsigned budget)
{
	for (unsigned i = 0; i < budget && p->lost == 0; i++) {
		struct chan_msg m;
		int r = chan_recv(p->chan, &m);

		if (r < 0)
			lose(p, r);
		if (r <= 0)
			return;
		handle(p, &m);
		chan_msg_fini(&m);
	}
}

void rpc_pump(struct rpc *p)
{
	pump(p, 4 * MESSAGES_PER_WAKE);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	pump(arg, MESSAGES_PER_WAKE);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct call *c = arg;
	struct rpc *p = c->rpc;
	uint32_t id = c->id;
	struct err e;

	(void)fd;
	(void)what;
	rpc_pump(p); /* this process may have been the one that slept */
	c = find_call(p, id);
	if (c == NULL)
		return;
	(void)err_set(&e, -ETIMEDOUT, "no answer from %s within %u s", p->name, c->timeout_ms / 1000);
	call_finish(c, NULL, &e);
}

/* --- requests ------------------------------------------------------------------------------------------------- */

static int call_add(struct rpc *p, uint32_t id, unsigned timeout_ms, rpc_done_fn *fn, void *arg)
{
	struct timeval tv = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	struct call *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return -ENOMEM;
	*c = (struct call){ .rpc = p, .id = id, .timeout_ms = timeout_ms, .fn = fn, .arg = arg };
	TAILQ_INSERT_TAIL(&p->calls, c, link);
	c->timer = evtimer_new(p->base, on_deadline, c);
	if (c->timer == NULL || event_add(c->timer, &tv) < 0) {
		call_free(c);
		return -ENOMEM;
	}
	return 0;
}

void rpc_drop(struct rpc *p, uint32_t id)
{
	struct call *c = find_call(p, id);

	if (c != NULL)
		call_free(c);
}

int rpc_call(struct rpc *p, enum msg_type type, const void *obj, unsigned timeout_ms, rpc_done_fn *fn, void *arg,
	     uint32_t *id, struct err *e)
{
	uint32_t this_id = p->next_id;
	int r = p->lost != 0 ? -EPIPE : call_add(p, this_id, timeout_ms, fn, arg);

	if (r < 0)
		return err_sys(e, r, "sending to %s", p->name);
	r = chan_send(p->chan, type, this_id, msg_type_desc(type), obj, NULL, 0);
	if (r < 0) {
		rpc_drop(p, this_id);
		if (r == -EPIPE || r == -EBADMSG)
			lose(p, r);
		return err_sys(e, r, "sending to %s", p->name);
	}
	p->next_id = this_id == UINT32_MAX ? 1 : this_id + 1; /* 0 answers nothing */
	after_send(p, 0);
	if (id != NULL)
		*id = this_id;
	return 0;
}

int rpc_expect(struct rpc *p, uint32_t id, unsigned timeout_ms, rpc_done_fn *fn, void *arg)
{
	if (id == 0 || find_call(p, id) != NULL)
		return -EEXIST;
	return call_add(p, id, timeout_ms, fn, arg);
}

void rpc_tell(struct rpc *p, enum msg_type type, uint32_t id, const void *obj, const int *fds, unsigned nfds)
{
	if (p->lost == 0)
		after_send(p, chan_send(p->chan, type, id, msg_type_desc(type), obj, fds, nfds));
}

/* --- life ----------------------------------------------------------------------------------------------------- */

struct rpc *rpc_new(struct event_base *base, struct chan *chan, const char *name, const struct rpc_ops *ops, void *arg)
{
	struct rpc *p = chan == NULL ? NULL : calloc(1, sizeof(*p));

	if (p == NULL) {
		chan_free(chan);
		return NULL;
	}
	*p = (struct rpc){ .base = base, .chan = chan, .name = name, .ops = ops, .arg = arg, .next_id = 1 };
	TAILQ_INIT(&p->calls);
	p->ev_read = event_new(base, chan_fd(chan), EV_READ | EV_PERSIST, on_readable, p);
	p->ev_write = event_new(base, chan_fd(chan), EV_WRITE, on_writable, p);
	p->ev_lost = event_new(base, -1, 0, on_lost, p);
	if (p->ev_read == NULL || p->ev_write == NULL || p->ev_lost == NULL || event_add(p->ev_read, NULL) < 0) {
		rpc_free(p);
		return NULL;
	}
	return p;
}

void rpc_free(struct rpc *p)
{
	struct event **events[] = { &p->ev_read, &p->ev_write, &p->ev_lost };

	if (p == NULL)
		return;
	while (!TAILQ_EMPTY(&p->calls))
		call_free(TAILQ_FIRST(&p->calls));
	for (size_t i = 0; i < nitems(events); i++) {
		if (*events[i] != NULL)
			event_free(*events[i]);
	}
	chan_free(p->chan);
	free(p);
}

void rpc_set_next_id(struct rpc *p, uint32_t id)
{
	p->next_id = id == 0 ? 1 : id;
}
