/* SPDX-License-Identifier: ISC */
#include "jail/monitor_ops.h"

#include <errno.h>

#include "common/clock.h"
#include "common/log.h"
#include "jail/monitor_dev.h"
#include "proto/dispatch.h"

enum {
	NONE = 0,
	FDS = DISPATCH_FDS,
	RESULT = 1 << 8,
	TYPED = 1 << 9,
	COSTLY = 1 << 10,

	INIT = MON_INIT,
	UP = MON_STARTING | MON_SERVING,
	SERVING = MON_SERVING,
	ENDING = MON_ENDING,
	ANY = MON_STARTING | MON_SERVING | MON_ENDING,
	ALWAYS = 1,
};

#define ROW(name, body, phases, answer, fn) { MSG_##name, phases, answer, body, fn },
#define SKIP(name, body, phases, answer, fn)
static const struct dispatch_entry starter_ops[] = { MONITOR_OPS(ROW, SKIP, SKIP, SKIP, SKIP) };
static const struct dispatch_entry vmmd_ops[] = { MONITOR_OPS(SKIP, ROW, SKIP, SKIP, SKIP) };
static const struct dispatch_entry apid_ops[] = { MONITOR_OPS(SKIP, SKIP, ROW, SKIP, SKIP) };
static const struct dispatch_entry helper_ops[] = { MONITOR_OPS(SKIP, SKIP, SKIP, ROW, SKIP) };
static const struct dispatch_entry tap_ops[] = { MONITOR_OPS(SKIP, SKIP, SKIP, SKIP, ROW) };

static void log_refusal(const char *who, enum msg_type type, const struct err *e)
{
	const char *name = msg_type_name(type);
	char text[LOG_MSG_MAX];

	(void)err_join(e, text, sizeof(text));
	log_warn_rl("%s: %s: %s", who, name != NULL ? name : "unknown message", text);
}

/* The answer of the dispatcher itself to what it does not even decode. */
static bool is_violation(int r)
{
	return r == -ENOTSUP || r == -EPROTO || r == -EBADMSG;
}

/* --- the starter, then vmmd ------------------------------------------------------------------------------------- */

int monitor_take_start(struct monitor *mon, struct chan_msg *m, struct err *e)
{
	return dispatch(starter_ops, nitems(starter_ops), mon->phase, mon, m, e);
}

/* vmmd and the monitor never die of a message. */
static void on_vmmd_msg(void *arg, struct chan_msg *m)
{
	struct monitor *mon = arg;
	enum msg_type type = m->type;
	struct err e;
	int r;

	if (mon->is_starter)
		r = dispatch(starter_ops, nitems(starter_ops), mon->phase, mon, m, &e);
	else
		r = dispatch(vmmd_ops, nitems(vmmd_ops), mon->phase, mon, m, &e);
	if (r < 0)
		log_refusal("vmmd", type, &e);
}

static void on_vmmd_gone(void *arg, int why)
{
	(void)why;
	end_vmmd_gone(arg);
}

const struct link_ops monitor_vmmd_ops = { .on_msg = on_vmmd_msg, .on_gone = on_vmmd_gone };

/* --- apid ------------------------------------------------------------------------------------------------------- */

void monitor_answer(struct monitor *mon, uint32_t id, int code, const struct err *e)
{
	struct msg_result res = { 0 };

	/* Without memory for the chain the code alone goes. */
	(void)msg_result_set(&res, code, e);
	(void)link_send(&mon->apid_link, MSG_RESULT, id, &desc_msg_result, &res, NULL, 0);
	obj_fini(&desc_msg_result, &res);
}

static uint32_t answer_of(enum msg_type type)
{
	for (size_t i = 0; i < nitems(apid_ops); i++)
		if (apid_ops[i].type == type)
			return apid_ops[i].flags;
	return NONE;
}

static bool take_costly_token(struct monitor *mon)
{
	int64_t now = clock_mono_ms();

	if (now - mon->costly_refilled_ms >= 1000) {
		mon->costly_tokens = MON_COSTLY_PER_SECOND;
		mon->costly_refilled_ms = now;
	}
	if (mon->costly_tokens == 0)
		return false;
	mon->costly_tokens--;
	return true;
}

static int take_apid_msg(struct monitor *mon, struct chan_msg *m, uint32_t flags, struct err *e)
{
	if ((flags & COSTLY) != 0 && !take_costly_token(mon)) {
		chan_msg_fini(m);
		return err_set(e, -EBUSY, "more than %d requests a second to the monitor", MON_COSTLY_PER_SECOND);
	}
	return dispatch(apid_ops, nitems(apid_ops), mon->phase, mon, m, e);
}

static void on_apid_msg(void *arg, struct chan_msg *m)
{
	struct monitor *mon = arg;
	enum msg_type type = m->type;
	uint32_t id = m->id, flags = answer_of(type);
	struct err e;

	/* What vmmd said before comes first: a console must be closed before it is opened again. */
	link_drain(&mon->vmmd);
	err_clear(&e);
	int r = take_apid_msg(mon, m, flags, &e);
	if (r == -EINPROGRESS)
		return;
	if ((flags & (RESULT | TYPED)) != 0 && (r < 0 || (flags & RESULT) != 0))
		monitor_answer(mon, id, r, r < 0 ? &e : NULL);
	else if (r < 0)
		log_refusal("apid", type, &e);
	/* One that does not keep to the rules is not one of ours any more. */
	if (is_violation(r) && mon->phase != MON_ENDING)
		monitor_apid_kill(mon);
}

static void on_apid_gone(void *arg, int why)
{
	(void)why;
	monitor_apid_gone(arg);
}

const struct link_ops monitor_apid_ops = { .on_msg = on_apid_msg, .on_gone = on_apid_gone };

/* --- helpers ---------------------------------------------------------------------------------------------------- */

static void on_helper_msg(void *arg, struct chan_msg *m)
{
	struct helper *h = arg;
	enum msg_type type = m->type;
	struct err e;

	if (dispatch(helper_ops, nitems(helper_ops), h->state, h, m, &e) < 0) {
		log_refusal(h->name, type, &e);
		helper_kill(h);
	}
}

static void on_helper_gone(void *arg, int why)
{
	(void)why;
	helper_kill(arg);
}

const struct link_ops monitor_helper_ops = { .on_msg = on_helper_msg, .on_gone = on_helper_gone };

static void on_tap_msg(void *arg, struct chan_msg *m)
{
	enum msg_type type = m->type;
	struct err e;

	if (dispatch(tap_ops, nitems(tap_ops), ALWAYS, arg, m, &e) < 0) {
		log_refusal("cloister-tap", type, &e);
		tap_broken(arg);
	}
}

static void on_tap_gone(void *arg, int why)
{
	(void)why;
	tap_broken(arg);
}

const struct link_ops monitor_tap_ops = { .on_msg = on_tap_msg, .on_gone = on_tap_gone };
