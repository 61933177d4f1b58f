/* SPDX-License-Identifier: ISC */
/*
 * A driver and a front end that break every rule, for any device. What is asked of the back end each time: it lives; it
 * asks for a reset (err eventfd) where a ring is broken beyond doubt; it answers a stop of the ring; and it serves correctly after the
 * reset. Over broken messages it may also hang up, or end with an ordinary status: its parent starts another.
 */
#ifndef TESTS_BACKEND_VU_HOSTILE_H
#define TESTS_BACKEND_VU_HOSTILE_H

#include "tests/backend/vu/vu.h"

struct vu_hostile {
	struct vu_cfg cfg;
	unsigned queue; /* the one to break */
	/* A correct request on a device that was just started: true when it was served correctly. */
	bool (*good)(struct vu *v);
	/* The first bytes of every readable buffer, so that chains are more than noise; may be NULL. */
	const void *head;
	uint32_t head_len;
};

/* Chains that are wrong one way each. */
bool vu_hostile_chains(const struct vu_hostile *h);
/* Chains of up to six descriptors by chance, from @seed. */
bool vu_hostile_random_chains(const struct vu_hostile *h, unsigned seed, unsigned n);
/* Another thread rewrites descriptors, lengths and indices while the back end reads them. */
bool vu_hostile_flipper(const struct vu_hostile *h, unsigned ms);
/* Resets at any moment, also with requests under way. */
bool vu_hostile_resets(const struct vu_hostile *h, unsigned n);
/* A broken ring and a flood of kicks: few lines of log. */
bool vu_hostile_log_is_short(const struct vu_hostile *h);

/* Messages that are wrong one way each, then @n by chance. */
bool vu_hostile_messages(const struct vu_hostile *h);
bool vu_hostile_random_messages(const struct vu_hostile *h, unsigned seed, unsigned n);
/* Descriptors that nobody asked for do not stay (T: the table of a helper that runs alone). */
bool vu_hostile_spare_fds(const struct vu_hostile *h);

uint32_t vu_random(uint32_t *state);

#endif
