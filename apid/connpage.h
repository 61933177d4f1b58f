/* SPDX-License-Identifier: ISC */
/*
 * One page shared with this process's successor: what each API connection was doing. The monitor keeps the page (it
 * never reads it) and a duplicate of every connection; when apid dies, the next one adopts what it can.
 *
 * A slot is written so that death between two stores is harmless: first what a state needs, then the state.
 */
#ifndef APID_CONNPAGE_H
#define APID_CONNPAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"

enum { CONN_MAX = 128 };

enum slot_state {
	SLOT_FREE,
	SLOT_IDLE,     /* between requests, or the whole reply is going out now: can be adopted */
	SLOT_READING,  /* part of a request was read, or it waits here: is lost */
	SLOT_SENT,     /* command id went to vmmd, its result is the answer */
	SLOT_REPLYING, /* part of the answer is out, or it is the last: is lost */
	SLOT_STATES,
};

struct slot_info {
	enum slot_state state;
	uint32_t id;    /* SENT: the command */
	uint32_t route; /* SENT: index of the route, for the reply */
	bool close;     /* SENT: the client asked for it */
};

struct connpage;

/* Map the page of @fd (stays the caller's). 0 or -errno. */
int connpage_map(int fd, struct connpage **out) __must_check;
/* A page of this process's own, for when there is none to share. */
int connpage_private(struct connpage **out) __must_check;
void connpage_unmap(struct connpage *p);
/* Forget all slots: the first apid of a VM. */
void connpage_clear(struct connpage *p);

void connpage_set(struct connpage *p, unsigned slot, enum slot_state state);
void connpage_set_sent(struct connpage *p, unsigned slot, const struct slot_info *i);
/* A predecessor that was taken over may have left anything: what makes no sense reads as READING. */
struct slot_info connpage_get(const struct connpage *p, unsigned slot);

/* The VM of the command line was created and booted, once for all apids. */
void connpage_set_started(struct connpage *p);
bool connpage_started(const struct connpage *p);

#endif
