/* SPDX-License-Identifier: ISC */
/* Queue, running and undoing; what the steps are stands in steps.c. */
#include "apid/actions/commands_internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"

enum {
	MONITOR_TIMEOUT_MS = 20000,
	/* The monitor refuses more than 100 costly requests in a second. Half of it in a second of ours is never more,
	 * wherever its seconds begin: clients that create and delete in a loop are slowed down, not refused. */
	MONITOR_PER_SECOND = 50,
};

int commands_no_vm(struct err *e)
{
	return err_set(e, -ERR_NOT_FOUND, "VM is not created");
}

/* --- sending -------------------------------------------------------------------------------------------------- */

static void on_answer(void *arg, struct chan_msg *m, const struct err *e);

static bool pace(struct commands *cs)
{
	uint64_t now_ms = ev_now_ns() / 1000000, left = 1000 - now_ms % 1000;
	struct timeval tv = { .tv_usec = (suseconds_t)(left * 1000 - 1) };

	if (cs->second != now_ms / 1000)
		cs->in_second = 0;
	cs->second = now_ms / 1000;
	if (cs->in_second < MONITOR_PER_SECOND) {
		cs->in_second++;
		return true;
	}
	(void)event_add(cs->ev_pace, &tv);
	return false;
}

int command_ask_monitor(struct run *r, enum msg_type type, const void *obj, struct err *e)
{
	if (!pace(r->cs))
		return STEP_POSTPONED;
	unsigned timeout_ms = r->step->timeout_ms != 0 ? r->step->timeout_ms : (unsigned)MONITOR_TIMEOUT_MS;

	return rpc_call(r->cs->mon, type, obj, timeout_ms, on_answer, r, NULL, e);
}

int command_ask_vmmd(struct run *r, enum msg_type type, const void *obj, unsigned timeout_ms, uint32_t *id,
		     struct err *e)
{
	return rpc_call(r->cs->vmm, type, obj, timeout_ms, on_answer, r, id, e);
}

/* --- running -------------------------------------------------------------------------------------------------- */

static void start_next(struct commands *cs)
{
	if (!cs->running && !TAILQ_EMPTY(&cs->queue))
		event_active(cs->ev_next, EV_TIMEOUT, 0);
}

static void run_free(struct run *r)
{
	obj_fini(&desc_cfg_vm, &r->req.config);
	free(r);
}

static void run_end(struct run *r)
{
	struct commands *cs = r->cs;

	TAILQ_REMOVE(&cs->queue, r, link);
	cs->running = false;
	r->req.done(r->req.arg, r->undoing ? &r->e : NULL);
	run_free(r);
	start_next(cs);
}

static void step_next(struct run *r)
{
	if (r->step->times != NULL) {
		r->index++; /* whether that was the last time is looked at before the next */
		return;
	}
	r->step++;
}

static void start_undoing(struct run *r)
{
	r->undoing = true;
	r->step = r->flow->undo;
	r->index = 0;
}

/* Undoing never stops half way. */
static bool goes_on_regardless(const struct run *r)
{
	return r->undoing || r->step->may_fail;
}

static void log_failure(const struct run *r, const struct err *e)
{
	char chain[LOG_MSG_MAX];

	(void)err_join(e, chain, sizeof(chain));
	log_error("%s%s: %s: %s", r->undoing ? "undoing a failed " : "", r->flow->name, r->step->name, chain);
}

/* Who asked knows which device it was about; unless the answer has said so. */
static void add_about(struct run *r)
{
	char text[STEP_NAME];
	const char *about = r->step->about != NULL ? r->step->about(r, text) : NULL;

	if (about != NULL && strcmp(err_text(&r->e, 0), about) != 0)
		(void)err_wrap(&r->e, err_code(&r->e, 0), "%s", about);
}

/* Ask the current step, or the next that has something to ask. */
static void run_go(struct run *r)
{
	for (;;) {
		struct err e;
		int res;

		if (r->step->ask == NULL) {
			run_end(r);
			return;
		}
		if (r->step->times != NULL && r->index >= r->step->times(r)) {
			r->step++;
			r->index = 0;
			continue;
		}
		res = r->step->ask(r, &e);
		if (res == STEP_SENT || res == STEP_POSTPONED)
			return;
		if (res < 0 && goes_on_regardless(r)) {
			log_failure(r, &e);
		} else if (res < 0) {
			r->e = e;
			add_about(r);
			start_undoing(r);
			continue;
		}
		step_next(r);
	}
}

static bool no_vm_is_fine(const struct run *r, const struct err *e)
{
	return r->step->got == step_got_info_for_create && err_code(e, 0) == -ERR_NOT_FOUND;
}

/* Timed out, it may still happen. */
static bool changes_vm(const struct step *s)
{
	return s->ask == step_ask_create || s->ask == step_ask_boot;
}

/* Whether the answer lets the run go on. Else r->e says why not. */
static bool accept_answer(struct run *r, struct chan_msg *m, const struct err *e)
{
	if (e != NULL && no_vm_is_fine(r, e))
		return true;
	if (e != NULL && r->step->ask == step_ask_info && err_code(e, 0) == -ERR_NOT_FOUND) {
		(void)commands_no_vm(&r->e);
		return false;
	}
	if (e != NULL) {
		r->e = *e;
		r->unknown = changes_vm(r->step) && err_code(e, 0) == -ETIMEDOUT;
		add_about(r);
		return false;
	}
	if ((m != NULL ? m->type : MSG_RESULT) != r->step->answer) {
		(void)err_set(&r->e, -EPROTO, "unexpected answer to \"%s\"", r->step->name);
		return false;
	}
	return r->step->got == NULL || r->step->got(r, m, &r->e) >= 0;
}

static void on_answer(void *arg, struct chan_msg *m, const struct err *e)
{
	struct run *r = arg;

	if (goes_on_regardless(r)) {
		if (e != NULL)
			log_failure(r, e);
		step_next(r);
	} else if (accept_answer(r, m, e)) {
		step_next(r);
	} else {
		log_debug("%s failed at \"%s\"", r->flow->name, r->step->name);
		start_undoing(r);
	}
	run_go(r);
}

static void on_pace(evutil_socket_t fd, short what, void *arg)
{
	struct commands *cs = arg;

	(void)fd;
	(void)what;
	if (cs->running)
		run_go(TAILQ_FIRST(&cs->queue));
}

static void on_next(evutil_socket_t fd, short what, void *arg)
{
	struct commands *cs = arg;
	struct run *r = TAILQ_FIRST(&cs->queue);

	(void)fd;
	(void)what;
	if (cs->running || r == NULL)
		return;
	cs->running = true;
	log_debug("command %s", r->flow->name);
	run_go(r);
}

int commands_queue(struct commands *cs, const struct command_request *req)
{
	struct run *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return -ENOMEM;
	r->cs = cs;
	r->req = *req;
	r->flow = &command_flows[req->what];
	r->step = r->flow->steps;
	TAILQ_INSERT_TAIL(&cs->queue, r, link);
	start_next(cs);
	return 0;
}

/* --- after a predecessor -------------------------------------------------------------------------------------- */

static void on_tidied(void *arg, struct chan_msg *m, const struct err *e)
{
	(void)arg;
	(void)m;
	if (e != NULL)
		log_error("tidying up after the last apid: %s", err_text(e, 0));
}

static void tidy(struct commands *cs, enum msg_type type, const void *obj)
{
	struct err e;

	if (rpc_call(cs->mon, type, obj, MONITOR_TIMEOUT_MS, on_tidied, cs, NULL, &e) < 0)
		on_tidied(cs, NULL, &e);
}

void commands_undo_boot(struct commands *cs)
{
	tidy(cs, MSG_MON_RELEASE, NULL);
}

void commands_clean_up(struct commands *cs, enum vm_state state)
{
	if (state == VM_STATE_NONE || state == VM_STATE_CREATED)
		tidy(cs, MSG_MON_RELEASE, NULL);
	for (unsigned i = 0; i < CONSOLES; i++) {
		struct msg_mon_close_console c = { .which = (enum console_id)i };

		if (state == VM_STATE_NONE)
			tidy(cs, MSG_MON_CLOSE_CONSOLE, &c);
		else
			cs->console_open[i] = true;
	}
}

/* --- life ----------------------------------------------------------------------------------------------------- */

struct commands *commands_new(struct event_base *base, struct rpc *mon, struct rpc *vmm)
{
	struct commands *cs = calloc(1, sizeof(*cs));

	if (cs == NULL)
		return NULL;
	*cs = (struct commands){ .base = base, .mon = mon, .vmm = vmm };
	TAILQ_INIT(&cs->queue);
	cs->ev_next = event_new(base, -1, 0, on_next, cs);
	cs->ev_pace = evtimer_new(base, on_pace, cs);
	if (cs->ev_next != NULL && cs->ev_pace != NULL)
		return cs;
	commands_free(cs);
	return NULL;
}

void commands_free(struct commands *cs)
{
	struct run *r;

	if (cs == NULL)
		return;
	while ((r = TAILQ_FIRST(&cs->queue)) != NULL) {
		TAILQ_REMOVE(&cs->queue, r, link);
		run_free(r);
	}
	if (cs->ev_next != NULL)
		event_free(cs->ev_next);
	if (cs->ev_pace != NULL)
		event_free(cs->ev_pace);
	free(cs);
}
