/* SPDX-License-Identifier: ISC */
/*
 * What every helper has in common: how it gives up its rights, and its control socket.
 *
 *	BLANK		jailed by its parent, waiting for a configuration; nothing of a VM is in it
 *	CONFIGURED	has taken every descriptor it will ever have (the descriptor phase)
 *	LOCKED		exact limits and its filter are in force; only now it looks at what a guest or a client sends
 *
 * The parent does not believe the READY: it looks at the process from outside first.
 */
#ifndef DEVICES_COMMON_DEVICE_H
#define DEVICES_COMMON_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include <event2/event.h>

#include "common/err.h"
#include "jail/jail.h"
#include "proto/chan.h"
#include "proto/desc.h"
#include "proto/msg.h"

/* Called back once when a drain ends. */
typedef void (*device_drained_fn)(void *arg, bool complete);

struct device_ops {
	const char *name; /* of its log lines */
	enum jail_role role;
	enum msg_type config_type;
	const struct desc *config_desc;

	/* Descriptor phase, once: take what @m carries, put it where the role's table says, map and allocate. Fills @lim,
	 * which starts as "keep". On failure the process ends. */
	int (*configure)(void *dev, struct event_base *base, const void *config, struct chan_msg *m,
			 struct jail_limits *lim, struct err *e);
	/* Locked: begin to serve. Absent: nothing to begin. */
	int (*start)(void *dev, struct err *e);
	void (*stats)(const void *dev, struct msg_hlp_stats_result *out);
	/* Bring out what is in flight, for at most @timeout_ms, then call @done once. Not called again before that. */
	void (*drain)(void *dev, uint32_t timeout_ms, device_drained_fn done, void *arg);
	/* The parent is gone: leave nothing behind on what others share. */
	void (*stop)(void *dev);
};

/* The whole life of a helper whose control socket and log socket are descriptors 3 and 4. Returns its exit status. */
int device_main(const struct device_ops *ops, void *dev, int argc, char **argv);

#endif
