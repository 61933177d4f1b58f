/* SPDX-License-Identifier: ISC */
/* What the starter's child has begun when it becomes the monitor by exec: numbers in one word of the command line. */
#ifndef JAIL_MONITOR_ADOPT_H
#define JAIL_MONITOR_ADOPT_H

#include <stddef.h>

#include "jail/spawn.h"

enum { MONITOR_ADOPT_MAX = 80 };

struct monitor_adopt {
	int channel;              /* to apid, -1: it was not started */
	int exe;                  /* its program */
	struct spawn_child child; /* the report stays in its pipe */
};

/* Write @start (the channel to the starter) and @a to @buf, and let their descriptors survive exec. */
void monitor_adopt_write(const struct monitor_adopt *a, int start, char *buf, size_t cap);

/* The other way; descriptors are close-on-exec again. 0 or -EINVAL. */
int monitor_adopt_read(struct monitor_adopt *a, int *start, const char *word) __must_check;

#endif
