/* SPDX-License-Identifier: ISC */
#include "jail/monitor_adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "common/str.h"

enum { NUMBERS = 6, NUMBER_PID = 3 };

static void collect(const struct monitor_adopt *a, int start, int *v)
{
	v[0] = start;
	v[1] = a->channel;
	v[2] = a->exe;
	v[NUMBER_PID] = (int)a->child.pid;
	v[4] = a->child.pidfd;
	v[5] = a->child.report_fd;
}

static void set_cloexec(const int *v, bool on)
{
	for (int i = 0; i < NUMBERS; i++)
		if (i != NUMBER_PID && v[i] >= 0)
			(void)fcntl(v[i], F_SETFD, on ? FD_CLOEXEC : 0);
}

void monitor_adopt_write(const struct monitor_adopt *a, int start, char *buf, size_t cap)
{
	int v[NUMBERS];

	collect(a, start, v);
	set_cloexec(v, false);
	(void)str_fmt(buf, cap, "%d,%d,%d,%d,%d,%d", v[0], v[1], v[2], v[3], v[4], v[5]);
}

int monitor_adopt_read(struct monitor_adopt *a, int *start, const char *word)
{
	int v[NUMBERS], n = 0;

	if (sscanf(word, "%d,%d,%d,%d,%d,%d%n", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &n) != NUMBERS ||
	    word[n] != '\0' || v[0] < 3 || (v[1] >= 0 && (v[NUMBER_PID] <= 0 || v[4] < 3 || v[5] < 3)))
		return -EINVAL;
	set_cloexec(v, true);
	*start = v[0];
	*a = (struct monitor_adopt){ .channel = v[1], .exe = v[2], .child = SPAWN_CHILD_NONE };
	if (a->channel >= 0) {
		a->child.pid = v[NUMBER_PID];
		a->child.pidfd = v[4];
		a->child.report_fd = v[5];
	}
	return 0;
}
