/* SPDX-License-Identifier: ISC */
/*
 * cloister-blk killed under a load of writes that is verified: at any moment, and at every boundary of a system call. Its
 * successor takes over the rings and the in-flight region. What must hold:
 *
 *	every request ends, once			the driver's side of the ring sees to that
 *	a block that is read holds what was acknowledged last for it: no write is lost, and none is applied after a later one
 *	that overlaps it was acknowledged		every block says where it belongs and when it was written
 *	an acknowledged flush covers what was acknowledged before it	the ledger, held against the file itself
 *
 * The blocks are few, so that writes to the same one follow each other closely, also while there is no helper at all.
 * VU_KILLS=N makes it N kills each.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/backend/vu/disk.h"
#include "tests/backend/vu/hostile.h"
#include "tests/backend/vu/tests.h"

enum {
	BLOCKS = 40,
	SLOTS = 16,
	BLOCK = 8192,
	SECTORS = BLOCK / VU_SECTOR,
	KILLS = 300,
	QUEUES_MAX = 4,
	NAP_US_MAX = 1500,
	STOPS_MAX = 4000,
	BATCH = 24,
};

/* --- the load ------------------------------------------------------------------------------------------------------------------------- */

enum kind { IDLE, READING, WRITING, FLUSHING };

struct slot {
	enum kind kind;
	unsigned block;
	uint64_t sequence;
	uint64_t ledger[BLOCKS]; /* of a flush: what it must cover */
};

struct load {
	struct vu_disk *d;
	unsigned n_queues;
	uint32_t seed;
	uint64_t sequence, acked[BLOCKS];
	bool busy[BLOCKS];
	struct slot slot[QUEUES_MAX][SLOTS];
	unsigned in_flight;
	uint64_t done, flushes;
	int file; /* the image, looked at from outside */
};

static unsigned pick_block(struct load *l)
{
	for (unsigned tries = 0; tries < 64; tries++) {
		unsigned b = vu_random(&l->seed) % BLOCKS;

		if (!l->busy[b])
			return b;
	}
	return BLOCKS;
}

static void begin(struct load *l, unsigned q, unsigned s)
{
	static const enum kind kinds[] = { WRITING, WRITING, WRITING, WRITING, READING, READING, READING, FLUSHING };
	struct slot *slot = &l->slot[q][s];
	struct vu_blk *b = &l->d->b[q];
	int r = -ENOSPC;

	slot->kind = kinds[vu_random(&l->seed) % nitems(kinds)];
	slot->block = slot->kind == FLUSHING ? 0 : pick_block(l);
	if (slot->block == BLOCKS) {
		slot->kind = IDLE;
		return;
	}
	switch (slot->kind) {
	case WRITING:
		slot->sequence = ++l->sequence;
		for (unsigned i = 0; i < SECTORS; i++)
			vu_blk_stamp((uint8_t *)vu_blk_data(b, s) + (size_t)i * VU_SECTOR, VU_SECTOR, slot->block * SECTORS + i,
				     slot->sequence);
		r = vu_blk_add(b, s, VIRTIO_BLK_T_OUT, slot->block * SECTORS, BLOCK);
		break;
	case READING:
		memset(vu_blk_data(b, s), 0xcc, BLOCK);
		r = vu_blk_add(b, s, VIRTIO_BLK_T_IN, slot->block * SECTORS, BLOCK);
		break;
	case FLUSHING:
		memcpy(slot->ledger, l->acked, sizeof(slot->ledger));
		r = vu_blk_add(b, s, VIRTIO_BLK_T_FLUSH, 0, 0);
		break;
	case IDLE:
		break;
	}
	if (r < 0) {
		slot->kind = IDLE;
		return;
	}
	if (slot->kind != FLUSHING)
		l->busy[slot->block] = true;
	l->in_flight++;
}

static void fill(struct load *l)
{
	for (unsigned q = 0; q < l->n_queues; q++) {
		for (unsigned s = 0; s < SLOTS; s++)
			if (l->slot[q][s].kind == IDLE)
				begin(l, q, s);
		vu_ring_kick(l->d->b[q].r);
	}
}

/* All of a block, or the first sector that is not right. */
static bool holds(const void *data, unsigned block, uint64_t sequence, const char *where)
{
	for (unsigned i = 0; i < SECTORS; i++) {
		uint64_t got = vu_blk_read_stamp((const uint8_t *)data + (size_t)i * VU_SECTOR, VU_SECTOR, block * SECTORS + i);

		WANT(got == sequence, "%s: block %u sector %u has %lld, acknowledged was %lld", where, block, i, (long long)got,
		     (long long)sequence);
	}
	return true;
}

static bool flush_is_kept(struct load *l, const struct slot *slot)
{
	_Alignas(4096) static uint8_t data[BLOCK];

	l->flushes++;
	for (unsigned tries = 0; tries < 3; tries++) {
		unsigned b = pick_block(l);

		if (b == BLOCKS)
			continue;
		WANT(pread(l->file, data, BLOCK, (off_t)b * BLOCK) == BLOCK, "the file: %s", strerror(errno));
		WANT(l->acked[b] >= slot->ledger[b], "the model itself");
		if (!holds(data, b, l->acked[b], "the file after a flush"))
			return false;
	}
	return true;
}

static bool finish(struct load *l, unsigned q, unsigned s)
{
	struct slot *slot = &l->slot[q][s];
	uint8_t status = vu_blk_status(&l->d->b[q], s);
	bool good = true;

	WANT(slot->kind != IDLE, "slot %u of queue %u was not under way", s, q);
	WANT(status == VIRTIO_BLK_S_OK, "status %u of request kind %d", status, (int)slot->kind);
	switch (slot->kind) {
	case WRITING:
		l->acked[slot->block] = slot->sequence;
		break;
	case READING:
		good = holds(vu_blk_data(&l->d->b[q], s), slot->block, l->acked[slot->block], "read");
		break;
	case FLUSHING:
		good = flush_is_kept(l, slot);
		break;
	case IDLE:
		break;
	}
	if (slot->kind != FLUSHING)
		l->busy[slot->block] = false;
	slot->kind = IDLE;
	l->in_flight--;
	l->done++;
	return good;
}

static bool reap(struct load *l)
{
	for (unsigned q = 0; q < l->n_queues; q++) {
		int s;

		while ((s = vu_blk_take(&l->d->b[q], NULL)) >= 0)
			if (!finish(l, q, (unsigned)s))
				return false;
		WANT(s == -EAGAIN, "queue %u: %s", q, strerror(-s));
	}
	return true;
}

/* Until nothing is under way. */
static bool settle(struct load *l)
{
	struct timespec from, now;

	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	while (l->in_flight > 0) {
		if (!reap(l))
			return false;
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
		WANT(now.tv_sec - from.tv_sec < VU_TIMEOUT_MS / 1000 + 1, "%u requests never end", l->in_flight);
		if (l->in_flight > 0)
			(void)poll(NULL, 0, 1);
	}
	return true;
}

/* Every block at last, through the device and in the file. */
static bool check_all(struct load *l)
{
	_Alignas(4096) static uint8_t data[BLOCK];

	for (unsigned b = 0; b < BLOCKS; b++) {
		int r = vu_blk_do(&l->d->b[0], VIRTIO_BLK_T_IN, b * SECTORS, BLOCK);

		WANT(r == VIRTIO_BLK_S_OK, "read: %d", r);
		if (!holds(vu_blk_data(&l->d->b[0], 0), b, l->acked[b], "at the end"))
			return false;
		WANT(pread(l->file, data, BLOCK, (off_t)b * BLOCK) == BLOCK, "the file: %s", strerror(errno));
		if (!holds(data, b, l->acked[b], "the file at the end"))
			return false;
	}
	return true;
}

/* --- variants ---------------------------------------------------------------------------------------------------------------------------- */

enum { SYNC = 8, DIRECT = 16, TWO_QUEUES = 32, DIRECT_DESCRIPTORS = 64, SMALL = 128 };

static bool load_init(struct load *l, int variant)
{
	struct vu_disk_opts o = { .mode = variant & 7, .dir = "/var/tmp", .no_uring = (variant & SYNC) != 0,
				  .direct = (variant & DIRECT) != 0, .n_queues = variant & TWO_QUEUES ? 2 : 1,
				  .queue_size = variant & SMALL ? 16 : 128, .slots = SLOTS, .buffer = BLOCK,
				  .bytes = (uint64_t)BLOCKS * BLOCK,
				  .without = variant & DIRECT_DESCRIPTORS ? VHOST_USER_BIT(28) | VHOST_USER_BIT(29) : 0 };

	*l = (struct load){ .n_queues = o.n_queues, .seed = (uint32_t)variant * 97 + 1, .file = -1 };
	l->d = vu_disk_new(&o);
	if (l->d == NULL)
		return false;
	l->file = open(l->d->path, O_RDONLY | O_CLOEXEC | (o.direct ? O_DIRECT : 0));
	return l->file >= 0;
}

static unsigned kills_wanted(void)
{
	const char *n = getenv("VU_KILLS");

	return n != NULL && *n != '\0' ? (unsigned)strtoul(n, NULL, 10) : KILLS;
}

static void nap(struct load *l)
{
	struct timespec t = { .tv_nsec = (long)(vu_random(&l->seed) % NAP_US_MAX) * 1000 };

	(void)nanosleep(&t, NULL);
}

/* Fill, reap and fill for a while, so that the kill meets any state. */
static bool work(struct load *l)
{
	for (unsigned n = vu_random(&l->seed) % 20; n > 0; n--) {
		fill(l);
		if (!reap(l))
			return false;
	}
	fill(l);
	if (vu_random(&l->seed) % 2 == 0)
		nap(l);
	return true;
}

static bool killed_at_any_moment(int variant)
{
	static struct load l;
	unsigned kills = kills_wanted();

	WANT(load_init(&l, variant), "no disk");
	WANT(vu_has(l.d->v, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD), "requests in flight are not tracked");
	for (unsigned k = 0; k < kills; k++) {
		WANT(work(&l), "before kill %u", k);
		vu_proc_kill(l.d->v);
		/* A guest sees what is done and goes on asking while there is nobody. */
		if (vu_random(&l.seed) % 4 != 0) {
			WANT(reap(&l), "after kill %u", k);
			fill(&l);
		}
		WANT(vu_succeed(l.d->v) == 0, "no successor after kill %u", k);
		WANT(k % 16 != 15 || settle(&l), "after kill %u", k);
	}
	WANT(settle(&l) && check_all(&l), "at the end");
	WANT(l.flushes > 0 && l.done > kills, "%llu requests, %llu flushes", (unsigned long long)l.done,
	     (unsigned long long)l.flushes);
	vu_diag("%u kills, %llu requests, %llu flushes", kills, (unsigned long long)l.done, (unsigned long long)l.flushes);
	(void)close(l.file);
	return vu_disk_free(l.d);
}

/* --- at every system call ------------------------------------------------------------------------------------------------------------------ */

/* A thread that lets the helper run from one system call boundary to the next, and kills it at the @kill_at'th. */
struct tracer {
	pid_t pid;
	unsigned kill_at;
	_Atomic unsigned stops;
	_Atomic bool attached, dead, failed;
};

static void *trace(void *arg)
{
	struct tracer *t = arg;
	int status;

	if (ptrace(PTRACE_SEIZE, t->pid, NULL, (void *)(uintptr_t)PTRACE_O_TRACESYSGOOD) < 0 ||
	    ptrace(PTRACE_INTERRUPT, t->pid, NULL, NULL) < 0) {
		atomic_store(&t->failed, true);
		atomic_store(&t->attached, true);
		return NULL;
	}
	while (waitpid(t->pid, &status, __WALL) == t->pid && WIFSTOPPED(status)) {
		int signo = WSTOPSIG(status) == (SIGTRAP | 0x80) || WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);

		atomic_store(&t->attached, true);
		if (WSTOPSIG(status) == (SIGTRAP | 0x80) && atomic_fetch_add(&t->stops, 1) + 1 == t->kill_at)
			(void)kill(t->pid, SIGKILL);
		else if (ptrace(PTRACE_SYSCALL, t->pid, NULL, (void *)(uintptr_t)signo) < 0)
			break;
	}
	atomic_store(&t->dead, true);
	return NULL;
}

/* The same work each time, so that the boundaries are the same. False in *@more: it was done before stop @kill_at came. */
static bool die_at(struct load *l, unsigned kill_at, bool *more)
{
	struct tracer t = { .pid = l->d->v->pid, .kill_at = kill_at };
	pthread_t thread;

	l->seed = 4711;
	WANT(pthread_create(&thread, NULL, trace, &t) == 0, "no thread");
	while (!atomic_load(&t.attached))
		(void)poll(NULL, 0, 1);
	if (atomic_load(&t.failed))
		(void)pthread_join(thread, NULL);
	WANT(!atomic_load(&t.failed), "ptrace: it cannot be traced");
	for (unsigned s = 0; s < BATCH && s < SLOTS; s++) {
		begin(l, 0, s);
		vu_ring_kick(l->d->b[0].r);
	}
	for (unsigned waited = 0; l->in_flight > 0 && !atomic_load(&t.dead) && waited < VU_TIMEOUT_MS; waited++) {
		if (!reap(l))
			return false;
		(void)poll(NULL, 0, 1);
	}
	*more = atomic_load(&t.dead);
	if (!*more)
		(void)kill(t.pid, SIGKILL);
	(void)pthread_join(thread, NULL);
	l->d->v->pid = 0; /* the thread has collected it */
	return true;
}

static bool killed_at_every_system_call(int variant)
{
	static struct load l;
	bool more = true;
	unsigned at = 0;

	WANT(load_init(&l, variant), "no disk");
	while (more && at < STOPS_MAX) {
		at++;
		WANT(die_at(&l, at, &more), "stop %u", at);
		WANT(vu_succeed(l.d->v) == 0, "no successor after stop %u", at);
		WANT(settle(&l), "after stop %u", at);
	}
	WANT(!more, "it never got through");
	WANT(at > 4, "%u boundaries only", at);
	WANT(check_all(&l), "at the end");
	vu_diag("%u boundaries", at - 1);
	(void)close(l.file);
	return vu_disk_free(l.d);
}

#define KILLED(text, how, bits) \
	{ .name = #how, .run = (how), .arg = (bits), .suffix = ", " text, .seconds = 600 }

static const struct vu_test tests[] = {
	KILLED("jailed, io_uring", killed_at_any_moment, VU_PRESET),
	KILLED("jailed, io_uring, O_DIRECT", killed_at_any_moment, VU_PRESET | DIRECT),
	KILLED("jailed, pread and pwrite", killed_at_any_moment, VU_PRESET | SYNC),
	KILLED("jailed, two queues", killed_at_any_moment, VU_PRESET | TWO_QUEUES),
	KILLED("jailed, small ring without indirect", killed_at_any_moment, VU_PRESET | SMALL | DIRECT_DESCRIPTORS),
	KILLED("alone, io_uring", killed_at_any_moment, VU_ALONE),
	KILLED("jailed, io_uring", killed_at_every_system_call, VU_PRESET),
	KILLED("jailed, io_uring, O_DIRECT", killed_at_every_system_call, VU_PRESET | DIRECT),
	KILLED("jailed, pread and pwrite", killed_at_every_system_call, VU_PRESET | SYNC),
};

int main(int argc, char **argv)
{
	return vu_tests_main(tests, nitems(tests), argc, argv);
}
