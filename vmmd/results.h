/* SPDX-License-Identifier: ISC */
/*
 * The answers to apid's commands, kept until apid acknowledges them: an apid that died between command and answer is
 * succeeded by one that gets the answer with its hello.
 */
#ifndef VMMD_RESULTS_H
#define VMMD_RESULTS_H

#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "proto/chan.h"

/* An apid that acknowledges as it should never has more than one or two a connection. */
enum { RESULTS_MAX = 512 };

struct result;
struct results {
	uint32_t next_id; /* above every id that was seen */
	size_t n;
	struct result *v[RESULTS_MAX]; /* in order of answering */
};

void results_init(struct results *rs);
void results_fini(struct results *rs);

/* A request with this id arrives. -EALREADY: it was seen before. */
int results_begin(struct results *rs, uint32_t id) __must_check;
/* Keep a copy of the answer to @id. -ENOBUFS: the peer doesn't acknowledge; -ENOMEM. */
int results_add(struct results *rs, uint32_t id, enum msg_type type, const void *body) __must_check;
void results_ack(struct results *rs, uint32_t id);
/* Send all that are kept. 0 or chan_send()'s error. */
int results_resend(struct results *rs, struct chan *c) __must_check;

#endif
