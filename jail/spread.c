/* SPDX-License-Identifier: ISC */
#include "jail/spread.h"

#include <sched.h>
#include <stdbool.h>
#include <sys/sysinfo.h>

/* Setting an affinity and setting it back leaves a mask with the task, by which later changes of its cpuset are cut:
 * harmless only when the mask has every processor. Looked at once, while there is a /sys to look at. */
static struct {
	bool looked, free;
	cpu_set_t all;
} spread;

static void look(void)
{
	if (spread.looked)
		return;
	spread.looked = true;
	if (sched_getaffinity(0, sizeof(spread.all), &spread.all) < 0)
		CPU_ZERO(&spread.all);
	spread.free = CPU_COUNT(&spread.all) > 1 && CPU_COUNT(&spread.all) == get_nprocs();
}

unsigned spread_width(void)
{
	look();
	int n = CPU_COUNT(&spread.all);
	return n > 0 ? (unsigned)n : 1;
}

/* The present processor, or -1 when nothing is to be done. */
static int here(void)
{
	int cpu = sched_getcpu();

	look();
	return spread.free && cpu < CPU_SETSIZE ? cpu : -1;
}

void spread_away(pid_t child)
{
	cpu_set_t others;
	int cpu = here();

	if (cpu < 0)
		return;
	others = spread.all;
	CPU_CLR((size_t)cpu, &others);
	if (sched_setaffinity(child, sizeof(others), &others) == 0)
		spread_release(child);
}

void spread_pull(pid_t child)
{
	cpu_set_t one;
	int cpu = here();

	if (cpu < 0)
		return;
	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	(void)sched_setaffinity(child, sizeof(one), &one);
}

void spread_release(pid_t child)
{
	if (here() >= 0)
		(void)sched_setaffinity(child, sizeof(spread.all), &spread.all);
}
