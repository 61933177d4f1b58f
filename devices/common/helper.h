/* SPDX-License-Identifier: ISC */
/* What every helper process does at its start, whatever it is. */
#ifndef DEVICES_COMMON_HELPER_H
#define DEVICES_COMMON_HELPER_H

#include "common/err.h"
#include "jail/jail.h"
#include "proto/chan.h"

enum { HELPER_FD_CONTROL = 3, HELPER_FD_LOG = 4, HELPER_MSG_MAX = 8192, HELPER_QUEUED_MAX = 65536 };

/* A filter without brk and mmap needs a heap that is already there: grow it once, never give it back; one for all
 * threads. Again before the lock-down: what was taken meanwhile is made up for. 0 or -ENOMEM. */
int helper_keep_heap(void) __must_check;
/* The start is over: pages of the program that were only needed for it are no longer mapped; others come back by
 * themselves from the page cache. */
void helper_forget_start(void);
/* A stop of the unit signals everybody: helpers follow vmmd's orderly end instead. */
void helper_ignore_signals(void);
/* First message to the parent. */
int helper_say_hello(struct chan *chan, const struct jail_missing *missing) __must_check;

#endif
