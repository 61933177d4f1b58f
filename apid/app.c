/* SPDX-License-Identifier: ISC */
/*
 * What ties the parts together: the messages of the two channels, the command line's start, the successor's start, the
 * orderly end.
 */
#include "apid/app.h"

#include <errno.h>
#include <string.h>

#include "apid/cli.h"
#include "apid/routes.h"
#include "common/fd.h"
#include "common/log.h"
#include "proto/dispatch.h"
#include "proto/version.h"

enum {
	VMM_QUEUE_MAX = 2 * CHAN_COMMAND_MAX,
	FLUSH_EVERY_MS = 10,
	FLUSH_TRIES = 50, /* then the end does not wait for slow readers any more */
};

/* --- results that clients wait for ---------------------------------------------------------------------------- */

void app_hold(struct app *a, uint32_t id)
{
	if (a->n_held < HELD_MAX)
		a->held[a->n_held++] = id;
}

static bool is_held(const struct app *a, uint32_t id)
{
	for (unsigned i = 0; i < a->n_held; i++) {
		if (a->held[i] == id)
			return true;
	}
	return false;
}

void app_release(struct app *a, uint32_t id)
{
	struct msg_cmd_ack_result ack = { .id = id };

	for (unsigned i = 0; i < a->n_held; i++) {
		if (a->held[i] == id)
			a->held[i--] = a->held[--a->n_held];
	}
	rpc_tell(a->vmm, MSG_CMD_ACK_RESULT, 0, &ack, NULL, 0);
}

/* --- connections ---------------------------------------------------------------------------------------------- */

static void on_request(void *arg, struct exchange *x)
{
	struct app *a = arg;

	routes_handle(a, x);
}

static void on_opened(void *arg, unsigned slot, int fd)
{
	struct app *a = arg;
	struct msg_mon_keep_conn keep = { .slot = slot };

	rpc_tell(a->mon, MSG_MON_KEEP_CONN, 0, &keep, &fd, 1);
}

static void on_closed(void *arg, unsigned slot)
{
	struct app *a = arg;
	struct msg_mon_drop_conn drop = { .slot = slot };

	rpc_tell(a->mon, MSG_MON_DROP_CONN, 0, &drop, NULL, 0);
}

static void on_delivered(void *arg, uint32_t id)
{
	struct app *a = arg;

	app_release(a, id);
}

static const struct server_ops server_ops = {
	.request = on_request,
	.opened = on_opened,
	.closed = on_closed,
	.delivered = on_delivered,
};

/* The connections that the monitor kept through our predecessor's death. */
static void adopt_conns(struct app *a, uint32_t next_id)
{
	struct app_start *s = &a->start;

	for (unsigned i = 0; i < s->msg.n_conn_slots && s->conns + i < s->m.nfds; i++) {
		unsigned slot = s->msg.conn_slots[i];
		struct slot_info info = { .state = SLOT_FREE };

		if (slot < CONN_MAX)
			info = connpage_get(a->page, slot);
		struct exchange *x = server_adopt(a->server, slot, fd_take(&s->m.fds[s->conns + i]));
		if (x != NULL)
			routes_adopt(a, x, info.route, info.id < next_id);
	}
}

/* --- vmmd ----------------------------------------------------------------------------------------------------- */

/* Once the API socket is there and, for a successor, the connections and the state. */
static void serve(struct app *a)
{
	int fd;

	if (a->serving || !a->listen_known || (a->successor && !a->hello_done))
		return;
	a->serving = true;
	fd = fd_take(&a->start.listen_fd);
	if (fd >= 0 && server_listen(a->server, fd) < 0)
		log_error("cannot listen on the API socket");
	cli_run_vm(a, a->state_at_hello);
}

static void on_hello(struct app *a, const struct msg_cmd_hello_reply *h)
{
	if (h->version != PROTO_VERSION) {
		log_error("vmmd speaks version %u, not %u", h->version, PROTO_VERSION);
		(void)event_base_loopbreak(a->base);
		return;
	}
	if (a->hello_done || !a->successor)
		return;
	a->hello_done = true;
	a->state_at_hello = h->state;
	log_info("a new apid takes over, VM state %s", enum_vm_state.names[h->state].json);
	rpc_set_next_id(a->vmm, h->next_id);
	commands_clean_up(a->commands, h->state);
	adopt_conns(a, h->next_id);
	serve(a);
}

static void on_event(struct app *a, const struct msg_cmd_event *e)
{
	struct msg_cmd_ack_event ack = { .seq = e->seq };

	if (e->n_props > 0)
		log_info("event: %s %s (%s %s)", e->source, e->event, e->props[0].name, e->props[0].value);
	else
		log_info("event: %s %s", e->source, e->event);
	rpc_tell(a->vmm, MSG_CMD_ACK_EVENT, 0, &ack, NULL, 0);
}

static int handle_hello(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	(void)m;
	(void)e;
	on_hello(ctx, msg);
	return 0;
}

static int handle_event(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct app *a = ctx;

	(void)m;
	(void)e;
	on_event(a, msg);
	return 0;
}

/* A result for a client of our predecessor's that is gone. */
static int handle_stale(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct app *a = ctx;

	(void)msg;
	(void)e;
	app_release(a, m->id);
	return 0;
}

static const struct dispatch_entry vmm_messages[] = {
	{ MSG_CMD_HELLO_REPLY, DISPATCH_ANY_STATE, 0, &desc_msg_cmd_hello_reply, handle_hello },
	{ MSG_CMD_EVENT, DISPATCH_ANY_STATE, 0, &desc_msg_cmd_event, handle_event },
	{ MSG_CMD_VM_INFO_RESULT, DISPATCH_ANY_STATE, 0, &desc_msg_cmd_vm_info_result, handle_stale },
	{ MSG_CMD_VM_COUNTERS_RESULT, DISPATCH_ANY_STATE, 0, &desc_msg_cmd_vm_counters_result, handle_stale },
};

static void on_vmm_message(void *arg, struct chan_msg *m)
{
	struct err e;

	if (dispatch(vmm_messages, nitems(vmm_messages), 1, arg, m, &e) < 0)
		log_warn_rl("message from vmmd: %s", err_text(&e, 0));
}

static void on_vmm_answered(void *arg, uint32_t id)
{
	struct app *a = arg;

	if (!is_held(a, id))
		app_release(a, id);
}

static void on_vmm_lost(void *arg, int code)
{
	struct app *a = arg;

	if (!a->flushed) { /* else the run ends, and vmmd is the first to go */
		log_error("vmmd's channel: %s", strerror(-code));
		a->status = 1;
	}
	(void)event_base_loopbreak(a->base);
}

static const struct rpc_ops vmm_ops = {
	.message = on_vmm_message,
	.answered = on_vmm_answered,
	.lost = on_vmm_lost,
};

/* --- monitor -------------------------------------------------------------------------------------------------- */

static int handle_listen(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct app *a = ctx;
	const struct msg_apid_listen *l = msg;

	(void)e;
	if (l->has_listen && m->nfds == 1 && a->start.listen_fd < 0)
		a->start.listen_fd = fd_take(&m->fds[0]);
	a->listen_known = true;
	serve(a);
	return 0;
}

/* The run ends: everything that was said has to be out first, for as long as somebody takes it. */
static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval again = { .tv_usec = FLUSH_EVERY_MS * 1000 };
	struct app *a = arg;

	(void)fd;
	(void)what;
	rpc_pump(a->vmm); /* the answer to whoever asked for the end is there */
	bool done = logsink_flush(a->log) && !server_has_output(a->server);
	if (!done && a->flush_tries++ < FLUSH_TRIES) {
		(void)event_add(a->ev_flush, &again);
		return;
	}
	a->flushed = true;
	rpc_tell(a->mon, MSG_MON_FLUSHED, 0, NULL, NULL, 0);
}

static int handle_flush(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct app *a = ctx;

	(void)msg;
	(void)m;
	(void)e;
	a->flush_tries = 0;
	on_flush(-1, 0, a);
	return 0;
}

static const struct dispatch_entry mon_messages[] = {
	{ MSG_APID_LISTEN, DISPATCH_ANY_STATE, DISPATCH_FDS, &desc_msg_apid_listen, handle_listen },
	{ MSG_APID_FLUSH, DISPATCH_ANY_STATE, 0, NULL, handle_flush },
};

static void on_mon_message(void *arg, struct chan_msg *m)
{
	struct err e;

	if (dispatch(mon_messages, nitems(mon_messages), 1, arg, m, &e) < 0)
		log_warn_rl("message from the monitor: %s", err_text(&e, 0));
}

static void on_mon_lost(void *arg, int code)
{
	struct app *a = arg;

	(void)code; /* an end like any other: the monitor is what keeps us */
	(void)event_base_loopbreak(a->base);
}

static const struct rpc_ops mon_ops = {
	.message = on_mon_message,
	.lost = on_mon_lost,
};

/* --- life ----------------------------------------------------------------------------------------------------- */

int app_init(struct app *a, struct chan *mon, struct err *e)
{
	struct app_start *s = &a->start;
	enum log_level level = s->msg.verbosity >= LOG_TRACE - LOG_WARN ? LOG_TRACE : LOG_WARN + s->msg.verbosity;

	a->vmmd_pid = s->msg.vmmd_pid;
	a->successor = s->msg.successor;
	a->log = logsink_new(a->base, fd_take(&s->log_fd), fd_take(&s->out_fd), s->msg.start_mono_ns, level);
	a->mon = rpc_new(a->base, mon, "the monitor", &mon_ops, a);
	a->vmm = rpc_new(a->base, chan_new(fd_take(&s->vmm_fd), CHAN_COMMAND_MAX, VMM_QUEUE_MAX), "vmmd", &vmm_ops, a);
	a->ev_flush = evtimer_new(a->base, on_flush, a);
	if (a->log == NULL || a->mon == NULL || a->vmm == NULL || a->ev_flush == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	log_open(-1, "apid", level);
	log_set_process_sink(logsink_put, a->log);
	int res = connpage_map(s->page_fd, &a->page);
	fd_closep(&s->page_fd);
	if (res < 0)
		return err_sys(e, res, "mapping the connection page");
	if (!a->successor)
		connpage_clear(a->page);
	a->server = server_new(a->base, a->page, &server_ops, a);
	a->commands = commands_new(a->base, a->mon, a->vmm);
	return a->server != NULL && a->commands != NULL ? 0 : err_set(e, -ENOMEM, "out of memory");
}

static void say_hello(struct app *a)
{
	struct msg_cmd_hello hello = {
		.version = PROTO_VERSION,
		.no_shutdown = a->has_opts && opts_given(&a->opts, OPT_NO_SHUTDOWN),
	};

	rpc_tell(a->vmm, MSG_CMD_HELLO, 0, &hello, NULL, 0);
}

void app_begin(struct app *a, int argc, char *const *argv)
{
	struct msg_mon_args_ok ok = { 0 };

	a->has_opts = cli_parse(argc, argv, &a->opts, &a->verdict);
	if (!a->verdict.silent)
		logsink_start(a->log);
	say_hello(a);
	if (a->verdict.ends) {
		cli_end(a, &a->verdict);
		return;
	}
	ok.serve_api = opts_given(&a->opts, OPT_API_SOCKET);
	if (!a->successor)
		log_info("cloister %s starting", CLOISTER_BUILD);
	a->listen_known = a->start.msg.has_listen;
	if (!a->listen_known)
		rpc_tell(a->mon, MSG_MON_ARGS_OK, 0, &ok, NULL, 0);
}

void app_fini(struct app *a)
{
	server_free(a->server);
	commands_free(a->commands);
	rpc_free(a->vmm);
	rpc_free(a->mon);
	log_set_process_sink(NULL, NULL);
	logsink_free(a->log);
	connpage_unmap(a->page);
	if (a->ev_flush != NULL)
		event_free(a->ev_flush);
	if (a->has_opts)
		opts_fini(&a->opts);
	wbuf_fini(&a->verdict.text);
	obj_fini(&desc_msg_apid_start, &a->start.msg);
	chan_msg_fini(&a->start.m);
	ev_free(a->base);
}
