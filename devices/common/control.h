/* SPDX-License-Identifier: ISC */
/* The helper's end of its control socket: which message is taken when, and the answers. */
#ifndef DEVICES_COMMON_CONTROL_H
#define DEVICES_COMMON_CONTROL_H

#include "devices/common/device.h"

enum control_state { CONTROL_BLANK, CONTROL_CONFIGURED, CONTROL_LOCKED };

struct control {
	const struct device_ops *ops;
	void *dev;
	struct event_base *base;
	struct chan *chan;
	enum control_state state;
	struct jail_limits lim;
	/* Gives up the last rights; device_main's, replaced in tests. */
	int (*lock)(struct control *c, struct err *e);
	bool draining;
	uint32_t drain_id;
};

void control_init(struct control *c, const struct device_ops *ops, void *dev, struct event_base *base,
		  struct chan *chan);

/* Act on one message and free it. 0; -ECONNABORTED: the process must end (it is not what the parent believes it to
 * be, or its answers find no room); any other error: refused, nothing changed. */
int control_handle(struct control *c, struct chan_msg *m, struct err *e);

#endif
