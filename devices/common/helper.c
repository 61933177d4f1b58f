/* SPDX-License-Identifier: ISC */
#include "devices/common/helper.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { HEAP_KEPT = 512 * 1024, CONTROL_VERSION = 1 };

int helper_keep_heap(void)
{
	(void)mallopt(M_ARENA_MAX, 1);
	(void)mallopt(M_MMAP_MAX, 0);
	(void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
	(void)mallopt(M_TOP_PAD, HEAP_KEPT);
	void *p = malloc(HEAP_KEPT);
	free(p);
	return p != NULL ? 0 : -ENOMEM;
}

void helper_forget_start(void)
{
	extern const char __executable_start[], etext[];
	uintptr_t begin = (uintptr_t)__executable_start, end = (uintptr_t)etext & ~(uintptr_t)4095;

	if (end > begin)
		(void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void helper_ignore_signals(void)
{
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
}

int helper_say_hello(struct chan *chan, const struct jail_missing *missing)
{
	struct msg_hlp_hello hello = {
		.version = CONTROL_VERSION,
		.missing_perm = missing->perm,
		.missing_old = missing->old,
	};

	return chan_send(chan, MSG_HLP_HELLO, 0, &desc_msg_hlp_hello, &hello, NULL, 0);
}
