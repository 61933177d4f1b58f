/* SPDX-License-Identifier: ISC */
#include "devices/common/control.h"

#include <errno.h>

#include "devices/common/helper.h"
#include "proto/dispatch.h"

enum { IN_BLANK = 1u << CONTROL_BLANK, IN_CONFIGURED = 1u << CONTROL_CONFIGURED, IN_LOCKED = 1u << CONTROL_LOCKED };

void control_init(struct control *c, const struct device_ops *ops, void *dev, struct event_base *base,
		  struct chan *chan)
{
	*c = (struct control){
		.ops = ops,
		.dev = dev,
		.base = base,
		.chan = chan,
		.lim = { JAIL_KEEP, JAIL_KEEP, JAIL_KEEP, JAIL_KEEP },
	};
}

/* A parent that reads none of its answers is no parent. */
static int answer(struct control *c, enum msg_type type, uint32_t id, const struct desc *d, const void *obj,
		  struct err *e)
{
	int r = chan_send(c->chan, type, id, d, obj, NULL, 0);

	return r < 0 ? err_set(e, -ECONNABORTED, "answering %s: error %d", msg_type_name(type), -r) : 0;
}

static int handle_config(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *c = ctx;

	if (c->ops->configure(c->dev, c->base, msg, m, &c->lim, e) < 0)
		return err_wrap(e, -ECONNABORTED, "configuration");
	c->state = CONTROL_CONFIGURED;
	return 0;
}

static int handle_lockdown(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *c = ctx;

	(void)msg;
	if (c->lock(c, e) < 0)
		return err_wrap(e, -ECONNABORTED, "lock-down");
	c->state = CONTROL_LOCKED;
	if (c->ops->start != NULL && c->ops->start(c->dev, e) < 0)
		return err_wrap(e, -ECONNABORTED, "start");
	const struct msg_hlp_ready ready = { 0 };
	int r = answer(c, MSG_HLP_READY, m->id, &desc_msg_hlp_ready, &ready, e);

	helper_forget_start();
	return r;
}

static int handle_stats(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *c = ctx;
	struct msg_hlp_stats_result stats = { 0 };

	(void)msg;
	c->ops->stats(c->dev, &stats);
	return answer(c, MSG_HLP_STATS_RESULT, m->id, &desc_msg_hlp_stats_result, &stats, e);
}

static void on_drained(void *arg, bool complete)
{
	struct control *c = arg;
	struct msg_hlp_drained drained = { .complete = complete };

	/* An answer that finds no room is missed by a parent that does not read: its deadline ends this process. */
	c->draining = false;
	(void)answer(c, MSG_HLP_DRAINED, c->drain_id, &desc_msg_hlp_drained, &drained, NULL);
}

static int handle_drain(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct control *c = ctx;
	const struct msg_hlp_drain *d = msg;

	if (c->draining)
		return err_set(e, -EBUSY, "a drain is going on");
	c->draining = true;
	c->drain_id = m->id;
	c->ops->drain(c->dev, d->timeout_ms, on_drained, c);
	return 0;
}

int control_handle(struct control *c, struct chan_msg *m, struct err *e)
{
	const struct dispatch_entry table[] = {
		{ c->ops->config_type, IN_BLANK, DISPATCH_FDS, c->ops->config_desc, handle_config },
		{ MSG_HLP_LOCKDOWN, IN_CONFIGURED, 0, NULL, handle_lockdown },
		{ MSG_HLP_STATS, IN_LOCKED, 0, NULL, handle_stats },
		{ MSG_HLP_DRAIN, IN_LOCKED, 0, &desc_msg_hlp_drain, handle_drain },
	};

	return dispatch(table, nitems(table), 1u << c->state, c, m, e);
}
