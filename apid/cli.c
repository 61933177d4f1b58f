/* SPDX-License-Identifier: ISC */
#include "apid/cli.h"

#include <errno.h>
#include <string.h>

#include "common/log.h"

enum { TEXT_MAX = 64 * 1024, CHUNK_MAX = 4096 };

/* --- texts ---------------------------------------------------------------------------------------------------- */

static void verdict(struct cli_verdict *v, bool silent, uint8_t stream, uint8_t status)
{
	v->ends = true;
	v->silent = silent;
	v->stream = stream;
	v->status = status;
}

static void verdict_failed(struct cli_verdict *v, const struct err *e)
{
	char block[ERR_TEXT_MAX + 512], chain[LOG_MSG_MAX];

	(void)err_join(e, chain, sizeof(chain));
	log_error("%s", chain);
	verdict(v, false, 2, 1);
	(void)wbuf_put(&v->text, block, err_exit_block(e, block, sizeof(block)));
}

/* What ends the run before there is anything to run. */
static void check(const struct opts *o, const char *argv0, struct cli_verdict *v)
{
	struct err e;

	if (o->help) {
		verdict(v, true, 1, 0);
		(void)opts_help(&v->text, argv0);
	} else if (o->version) {
		verdict(v, true, 1, 0);
		(void)opts_version(&v->text, o->verbosity);
	} else if (opts_check_served(o, &e) < 0) {
		verdict_failed(v, &e);
	}
}

bool cli_parse(int argc, char *const *argv, struct opts *o, struct cli_verdict *v)
{
	const char *argv0 = argc > 0 ? argv[0] : NULL;
	struct err e;

	*v = (struct cli_verdict){ .stream = 2, .status = 1 };
	wbuf_init(&v->text, TEXT_MAX);
	if (argc <= 1) {
		verdict(v, true, 2, 2);
		(void)opts_help(&v->text, argv0);
		return false;
	}
	int r = opts_parse(argc, argv, o, &e);
	if (r == -EINVAL) {
		verdict(v, true, 2, 2);
		(void)opts_usage(&v->text, argv0, &e);
	} else if (r < 0) {
		verdict_failed(v, &e);
	}
	if (r < 0)
		return false;
	check(o, argv0, v);
	return true;
}

static void tell_text(struct app *a, uint8_t stream, uint8_t *p, size_t len)
{
	for (size_t off = 0; off < len; off += CHUNK_MAX) {
		struct msg_mon_text t = {
			.stream = stream,
			.n_data = len - off < CHUNK_MAX ? len - off : CHUNK_MAX,
			.data = p + off,
		};

		rpc_tell(a->mon, MSG_MON_TEXT, 0, &t, NULL, 0);
	}
}

static void on_ended(void *arg, const struct err *e)
{
	struct app *a = arg;

	if (e == NULL)
		return;
	log_error("ending the run: %s", err_text(e, 0));
	(void)event_base_loopbreak(a->base);
}

void cli_end(struct app *a, const struct cli_verdict *v)
{
	struct command_request req = {
		.what = COMMAND_VMM_SHUTDOWN,
		.status = v->status,
		.done = on_ended,
		.arg = a,
	};

	tell_text(a, v->stream, v->text.p, v->text.len);
	if (commands_queue(a->commands, &req) < 0)
		(void)event_base_loopbreak(a->base);
}

void cli_fail(struct app *a, const struct err *e)
{
	struct cli_verdict v = { 0 };

	wbuf_init(&v.text, TEXT_MAX);
	verdict_failed(&v, e);
	(void)logsink_flush(a->log);
	cli_end(a, &v);
	wbuf_fini(&v.text);
}

/* --- the VM --------------------------------------------------------------------------------------------------- */

static void on_booted(void *arg, const struct err *e)
{
	struct app *a = arg;
	struct err chain;

	connpage_set_started(a->page);
	if (e == NULL)
		return;
	chain = *e;
	(void)err_wrap(&chain, err_code(e, 0), "VM cannot be booted");
	cli_fail(a, &chain);
}

static void boot(struct app *a)
{
	struct command_request req = { .what = COMMAND_BOOT, .done = on_booted, .arg = a };
	struct err e;

	if (commands_queue(a->commands, &req) < 0) {
		(void)err_set(&e, -ENOMEM, "out of memory");
		cli_fail(a, &e);
	}
}

static void on_created(void *arg, const struct err *e)
{
	struct app *a = arg;
	struct err chain;

	if (e == NULL) {
		boot(a);
		return;
	}
	chain = *e;
	(void)err_wrap(&chain, err_code(e, 0), "VM cannot be created");
	cli_fail(a, &chain);
}

static void create(struct app *a)
{
	struct command_request req = { .what = COMMAND_CREATE, .done = on_created, .arg = a };
	struct err e;

	if (opts_to_config(&a->opts, &req.config, &e) < 0) {
		cli_fail(a, &e);
		return;
	}
	if (commands_queue(a->commands, &req) < 0) {
		obj_fini(&desc_cfg_vm, &req.config);
		(void)err_set(&e, -ENOMEM, "out of memory");
		cli_fail(a, &e);
	}
}

void cli_run_vm(struct app *a, enum vm_state state)
{
	if (!opts_wants_vm(&a->opts) || connpage_started(a->page))
		return;
	switch (state) {
	case VM_STATE_NONE:
		create(a);
		return;
	case VM_STATE_CREATED:
		boot(a);
		return;
	case VM_STATE_RUNNING:
	case VM_STATE_PAUSED:
	case VM_STATE_SHUTDOWN:
		connpage_set_started(a->page);
		return;
	}
}
