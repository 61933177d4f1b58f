/* SPDX-License-Identifier: ISC */
/*
 * Numbered events, kept until apid acknowledges them. Bounded: an apid that never does loses the oldest, counted.
 */
#ifndef VMMD_EVENTS_H
#define VMMD_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "proto/chan.h"

enum { EVENTS_MAX = 1024 };

struct event_rec {
	uint64_t seq, mono_ns;
	const char *source, *name; /* static text */
	char *id;                  /* of what it is about, NULL: of nothing in particular */
};

struct events {
	uint64_t next; /* number of the next one, from 1 */
	uint64_t lost; /* dropped unacknowledged */
	size_t first, n;
	struct event_rec v[EVENTS_MAX]; /* ring */
};

void events_init(struct events *ev);
void events_fini(struct events *ev);
/* @source and @name are static; @id, which may be NULL, is copied and becomes a property of that name. Returns the record,
 * which stays until it is acknowledged or pushed out. */
const struct event_rec *events_add(struct events *ev, const char *source, const char *name, const char *id);
/* Everything up to and including @seq. */
void events_ack(struct events *ev, uint64_t seq);

int events_send(const struct event_rec *rec, struct chan *c) __must_check;
/* All that are kept, in order. */
int events_resend(const struct events *ev, struct chan *c) __must_check;

#endif
