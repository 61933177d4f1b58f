/* SPDX-License-Identifier: ISC */
#include "apid/routes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "apid/reply.h"
#include "apid/vminfo.h"
#include "common/log.h"
#include "proto/codec_json.h"

enum body_rule {
	BODY_IGNORED,
	BODY_NONE,
	BODY_NEEDED,
};

/* The status while no VM is created. (UNSERVED: the reference would succeed, this build says what it lacks.) */
enum without_vm {
	WITHOUT_VM_404,
	WITHOUT_VM_500,
	WITHOUT_VM_UNSERVED,
};

struct request;

struct route {
	const char *name; /* below the prefix */
	enum http_verb verb;
	enum body_rule body;
	const char *action; /* what failed, for people */
	void (*serve)(struct request *r, const struct exchange *x);
	const char *what; /* not served: what isn't supported */
	enum without_vm without_vm;
};

static const char prefix[] = "/api/v1/";

static void serve_ping(struct request *r, const struct exchange *x);
static void serve_info(struct request *r, const struct exchange *x);
static void serve_counters(struct request *r, const struct exchange *x);
static void serve_create(struct request *r, const struct exchange *x);
static void serve_boot(struct request *r, const struct exchange *x);
static void serve_shutdown(struct request *r, const struct exchange *x);
static void serve_delete(struct request *r, const struct exchange *x);
static void serve_vmm_shutdown(struct request *r, const struct exchange *x);
static void serve_unsupported(struct request *r, const struct exchange *x);

#define SERVED(name, verb, body, action, fn, without) \
	{ \
		name, HTTP_VERB_##verb, body, action, fn, NULL, WITHOUT_VM_##without \
	}
#define UNSERVED(name, body, action, what, without) \
	{ \
		name, HTTP_VERB_PUT, body, action, serve_unsupported, what, WITHOUT_VM_##without \
	}

/* A slot of the shared page keeps an index: append only, in any one version. */
static const struct route routes[] = {
	SERVED("vmm.ping", GET, BODY_IGNORED, "VMM cannot be pinged", serve_ping, 500),
	SERVED("vmm.shutdown", PUT, BODY_IGNORED, "VMM cannot be shut down", serve_vmm_shutdown, 500),
	SERVED("vm.create", PUT, BODY_NEEDED, "VM cannot be created", serve_create, 500),
	SERVED("vm.delete", PUT, BODY_NONE, "VM cannot be deleted", serve_delete, 500),
	SERVED("vm.boot", PUT, BODY_NONE, "VM cannot be booted", serve_boot, 404),
	SERVED("vm.shutdown", PUT, BODY_NONE, "VM cannot be shut down", serve_shutdown, 500),
	SERVED("vm.info", GET, BODY_IGNORED, "VM information is not available", serve_info, 404),
	SERVED("vm.counters", GET, BODY_IGNORED, "VM counters are not available", serve_counters, 500),
	UNSERVED("vm.reboot", BODY_NONE, "VM cannot be rebooted", "vm.reboot", 404),
	UNSERVED("vm.pause", BODY_NONE, "VM cannot be paused", "vm.pause", 500),
	UNSERVED("vm.resume", BODY_NONE, "VM cannot be resumed", "vm.resume", 500),
	UNSERVED("vm.power-button", BODY_NONE, "power button cannot be pressed", "vm.power-button", 500),
	UNSERVED("vm.nmi", BODY_NONE, "NMI cannot be sent", "vm.nmi", 500),
	UNSERVED("vmm.nmi", BODY_NONE, "NMI cannot be sent", "vmm.nmi", 500),
	UNSERVED("vm.resize", BODY_NEEDED, "VM cannot be resized", "vm.resize", 404),
	UNSERVED("vm.resize-disk", BODY_NEEDED, "disk cannot be resized", "vm.resize-disk", 404),
	UNSERVED("vm.resize-zone", BODY_NEEDED, "memory zone cannot be resized", "vm.resize-zone", 404),
	UNSERVED("vm.add-device", BODY_NEEDED, "device cannot be added", "vm.add-device", 404),
	UNSERVED("vm.add-user-device", BODY_NEEDED, "user device cannot be added", "vm.add-user-device", 404),
	UNSERVED("vm.add-disk", BODY_NEEDED, "disk cannot be added", "vm.add-disk", 404),
	UNSERVED("vm.add-fs", BODY_NEEDED, "file system cannot be added", "vm.add-fs", 404),
	UNSERVED("vm.add-generic-vhost-user", BODY_NEEDED, "vhost-user device cannot be added",
		 "vm.add-generic-vhost-user", 404),
	UNSERVED("vm.add-pmem", BODY_NEEDED, "persistent memory cannot be added", "vm.add-pmem", 404),
	UNSERVED("vm.add-net", BODY_NEEDED, "network device cannot be added", "vm.add-net", 404),
	UNSERVED("vm.add-vdpa", BODY_NEEDED, "vDPA device cannot be added", "vm.add-vdpa", 404),
	UNSERVED("vm.add-vsock", BODY_NEEDED, "vsock device cannot be added", "vm.add-vsock", 404),
	UNSERVED("vm.remove-device", BODY_NEEDED, "device cannot be removed", "vm.remove-device", 404),
	UNSERVED("vm.snapshot", BODY_NEEDED, "VM cannot be snapshotted", "vm.snapshot", 500),
	UNSERVED("vm.restore", BODY_NEEDED, "VM cannot be restored", "vm.restore", UNSERVED),
	UNSERVED("vm.coredump", BODY_NEEDED, "VM cannot be dumped", "vm.coredump", 500),
	UNSERVED("vm.receive-migration", BODY_NEEDED, "VM cannot be received", "vm.receive-migration", UNSERVED),
	UNSERVED("vm.send-migration", BODY_NEEDED, "VM cannot be sent", "vm.send-migration", 500),
};

/* A request being served; freed with its answer. */
struct request {
	struct app *app;
	struct exchange *x;
	const struct route *route;
};

/* --- pure ----------------------------------------------------------------------------------------------------- */

unsigned routes_status(int code)
{
	static const struct {
		int code;
		unsigned status;
	} table[] = {
		{ -ERR_NOT_FOUND, 404 },
		{ -ERR_INVALID, 400 },
		{ -ERR_CONFLICT, 409 },
		{ -ERR_PENDING, 429 },
	};

	for (size_t i = 0; i < nitems(table); i++) {
		if (table[i].code == code)
			return table[i].status;
	}
	return 500;
}

enum route_verdict routes_find(enum http_verb verb, const char *target, size_t body_len, unsigned *index)
{
	size_t i = 0;

	if (strncmp(target, prefix, sizeof(prefix) - 1) != 0)
		return ROUTE_NOT_FOUND;
	while (i < nitems(routes) && strcmp(routes[i].name, target + sizeof(prefix) - 1) != 0)
		i++;
	if (i == nitems(routes))
		return ROUTE_NOT_FOUND;
	const struct route *r = &routes[i];
	if (verb != r->verb || (r->body == BODY_NONE && body_len > 0) || (r->body == BODY_NEEDED && body_len == 0))
		return ROUTE_BAD_REQUEST;
	*index = (unsigned)i;
	return ROUTE_OK;
}

unsigned routes_count(void)
{
	return nitems(routes);
}

const char *routes_name(unsigned index)
{
	return routes[index].name;
}

enum http_verb routes_verb(unsigned index)
{
	return routes[index].verb;
}

/* --- answers -------------------------------------------------------------------------------------------------- */

static void answer(struct exchange *x, unsigned status, struct wbuf *body)
{
	if (body->error != 0) {
		log_warn("reply lost: %s", strerror(-body->error));
		wbuf_reset(body);
		(void)reply_body_error(body, "Internal Server Error", NULL);
		status = 500;
	}
	exchange_reply(x, status, body);
	wbuf_fini(body);
}

static void answer_error(struct exchange *x, unsigned status, const char *first, const struct err *e)
{
	char chain[1024];
	struct wbuf body;

	(void)err_join(e, chain, sizeof(chain));
	log_info_rl("%s%s%s", first, err_count(e) > 0 ? ": " : "", chain);
	wbuf_init(&body, REPLY_MAX);
	(void)reply_body_error(&body, first, e);
	answer(x, status, &body);
}

/* The request is answered with @r gone. */
static struct exchange *request_end(struct request *r)
{
	struct exchange *x = r->x;

	free(r);
	return x;
}

static void request_refuse(struct request *r, const struct err *e)
{
	unsigned status = routes_status(err_code(e, 0));
	if (status == 404 && r->route->without_vm != WITHOUT_VM_404)
		status = 500;
	const char *action = r->route->action;
	struct err chain = *e;

	(void)err_wrap(&chain, err_code(e, 0), "%s", action);
	answer_error(request_end(r), status, "Error from API", &chain);
}

static void request_done(struct request *r)
{
	exchange_reply(request_end(r), 204, NULL);
}

/* --- commands ------------------------------------------------------------------------------------------------- */

static void on_sent(void *arg, uint32_t id)
{
	struct request *r = arg;

	app_hold(r->app, id);
	exchange_sent(r->x, id, (unsigned)(r->route - routes));
}

static void on_command_done(void *arg, const struct err *e)
{
	struct request *r = arg;

	if (e == NULL)
		request_done(r);
	else
		request_refuse(r, e);
}

/* Takes @config on success. */
static void queue(struct request *r, enum command what, struct cfg_vm *config)
{
	struct command_request req = { .what = what, .done = on_command_done, .sent = on_sent, .arg = r };
	struct err e;

	if (config != NULL)
		req.config = *config;
	if (commands_queue(r->app->commands, &req) == 0)
		return;
	if (config != NULL)
		obj_fini(&desc_cfg_vm, config);
	(void)err_set(&e, -ENOMEM, "out of memory");
	request_refuse(r, &e);
}

static void serve_create(struct request *r, const struct exchange *x)
{
	struct cfg_vm config;
	struct err e;
	int res = json_decode(&desc_cfg_vm, &config, (const char *)x->body, x->body_len, &e);

	if (res == 0)
		queue(r, COMMAND_CREATE, &config);
	else if (res == -EINVAL)
		answer_error(request_end(r), 400, "Failed to deserialize JSON", &e);
	else
		request_refuse(r, &e);
}

static void serve_boot(struct request *r, const struct exchange *x)
{
	(void)x;
	queue(r, COMMAND_BOOT, NULL);
}

static void serve_shutdown(struct request *r, const struct exchange *x)
{
	(void)x;
	queue(r, COMMAND_SHUTDOWN, NULL);
}

static void serve_delete(struct request *r, const struct exchange *x)
{
	(void)x;
	queue(r, COMMAND_DELETE, NULL);
}

static void serve_vmm_shutdown(struct request *r, const struct exchange *x)
{
	(void)x;
	queue(r, COMMAND_VMM_SHUTDOWN, NULL);
}

/* --- questions ------------------------------------------------------------------------------------------------ */

static void ask(struct request *r, enum msg_type type, rpc_done_fn *fn)
{
	uint32_t id;
	struct err e;

	if (rpc_call(r->app->vmm, type, NULL, COMMAND_INFO_TIMEOUT_MS, fn, r, &id, &e) < 0)
		request_refuse(r, &e);
	else
		on_sent(r, id);
}

static void serve_ping(struct request *r, const struct exchange *x)
{
	struct wbuf body;
	int32_t pid = r->app->vmmd_pid;

	(void)x;
	wbuf_init(&body, 1024);
	(void)vminfo_ping(&body, pid);
	answer(request_end(r), 200, &body);
}

/* An answer that carries data. Returns false when the request was refused. */
static bool decoded(struct request *r, struct chan_msg *m, const struct err *e, enum msg_type want, void *obj)
{
	struct err why;

	if (e != NULL) {
		why = *e;
		if (err_code(e, 0) == -ERR_NOT_FOUND)
			(void)commands_no_vm(&why);
	} else if (m == NULL || m->type != want) {
		(void)err_set(&why, -EPROTO, "unexpected answer from vmmd");
	} else if (chan_decode(m, msg_type_desc(want), obj, &why) == 0) {
		return true;
	}
	request_refuse(r, &why);
	return false;
}

static void on_info(void *arg, struct chan_msg *m, const struct err *e)
{
	struct request *r = arg;
	struct msg_cmd_vm_info_result info;
	struct wbuf body;

	if (!decoded(r, m, e, MSG_CMD_VM_INFO_RESULT, &info))
		return;
	wbuf_init(&body, REPLY_MAX);
	(void)vminfo_info(&body, &info);
	obj_fini(&desc_msg_cmd_vm_info_result, &info);
	answer(request_end(r), 200, &body);
}

static void serve_info(struct request *r, const struct exchange *x)
{
	(void)x;
	ask(r, MSG_CMD_VM_INFO, on_info);
}

static void on_counters(void *arg, struct chan_msg *m, const struct err *e)
{
	struct request *r = arg;
	struct msg_cmd_vm_counters_result counters;
	struct wbuf body;

	if (!decoded(r, m, e, MSG_CMD_VM_COUNTERS_RESULT, &counters))
		return;
	wbuf_init(&body, REPLY_MAX);
	(void)vminfo_counters(&body, &counters);
	obj_fini(&desc_msg_cmd_vm_counters_result, &counters);
	answer(request_end(r), 200, &body);
}

static void serve_counters(struct request *r, const struct exchange *x)
{
	(void)x;
	ask(r, MSG_CMD_VM_COUNTERS, on_counters);
}

/* --- what this build does not serve --------------------------------------------------------------------------- */

static void on_unsupported(void *arg, struct chan_msg *m, const struct err *e)
{
	struct request *r = arg;
	struct err why;

	(void)m;
	if (e != NULL && err_code(e, 0) != -ERR_NOT_FOUND)
		why = *e;
	else if (e != NULL && r->route->without_vm == WITHOUT_VM_404)
		(void)commands_no_vm(&why);
	else if (e != NULL && r->route->without_vm == WITHOUT_VM_500)
		(void)err_set(&why, -EINVAL, "VM is not running");
	else
		(void)err_set(&why, -EOPNOTSUPP, "%s is not supported by this build", r->route->what);
	request_refuse(r, &why);
}

static void serve_unsupported(struct request *r, const struct exchange *x)
{
	(void)x;
	ask(r, MSG_CMD_VM_INFO, on_unsupported);
}

/* --- entry ---------------------------------------------------------------------------------------------------- */

static struct request *request_new(struct app *a, struct exchange *x, const struct route *route)
{
	struct request *r = calloc(1, sizeof(*r));

	if (r != NULL)
		*r = (struct request){ .app = a, .x = x, .route = route };
	return r;
}

void routes_handle(struct app *a, struct exchange *x)
{
	unsigned index = 0;
	enum route_verdict v = routes_find(x->verb, x->target, x->body_len, &index);

	if (v == ROUTE_NOT_FOUND) {
		answer_error(x, 404, "Not Found", NULL);
		return;
	}
	if (v == ROUTE_BAD_REQUEST) {
		answer_error(x, 400, "Bad Request", NULL);
		return;
	}
	struct request *r = request_new(a, x, &routes[index]);
	if (r == NULL) {
		answer_error(x, 500, "Internal Server Error", NULL);
		return;
	}
	log_debug("API: %s", routes[index].name);
	routes[index].serve(r, x);
}

/* The result of a predecessor's command, without its undo steps: those a boot needs are made here. */
static void on_adopted(void *arg, struct chan_msg *m, const struct err *e)
{
	struct request *r = arg;

	if (r->route->serve == serve_info) {
		on_info(r, m, e);
	} else if (r->route->serve == serve_counters) {
		on_counters(r, m, e);
	} else if (r->route->serve == serve_unsupported) {
		on_unsupported(r, m, e);
	} else {
		if (e != NULL && r->route->serve == serve_boot)
			commands_undo_boot(r->app->commands);
		on_command_done(r, e);
	}
}

/* A command that never arrived is simply asked for again, but for one whose body is gone. */
void routes_adopt(struct app *a, struct exchange *x, unsigned route, bool arrived)
{
	struct request *r = route < nitems(routes) ? request_new(a, x, &routes[route]) : NULL;
	struct err e;

	if (r == NULL) {
		answer_error(x, 500, "Internal Server Error", NULL);
	} else if (!arrived && r->route->serve != serve_create) {
		r->route->serve(r, x);
	} else if (!arrived) {
		(void)err_set(&e, -ECONNRESET, "the request was lost in a restart of the API process");
		request_refuse(r, &e);
	} else {
		app_hold(a, x->sent_id);
		if (rpc_expect(a->vmm, x->sent_id, COMMAND_LONG_TIMEOUT_MS, on_adopted, r) < 0)
			answer_error(request_end(r), 500, "Internal Server Error", NULL);
	}
}
