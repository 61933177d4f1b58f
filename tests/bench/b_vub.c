/* SPDX-License-Identifier: ISC */
/*
 * Block requests without a guest: b_vub IMAGE ROUNDS [CONTENDER...]. The driver runs on core 0, back ends on core 1; all are up
 * at once and take turns, so that a bad minute of the machine hits all alike. One line for each turn:
 *
 *	contender case iops p50_ns p99_ns cpu_ns kicks calls syscalls	(the last four for each request)
 *
 * b_vub.py makes ratios and verdicts of them; with DEEP_ONLY in the environment there is no depth but 32. Contenders:
 *
 *	ours		cloister-blk as a jailed parent starts it: its own process, filter and limits
 *	ours-thread	the same code as a thread of the driver's process, without the filter
 *	ours-sync	a process again, with pread and pwrite
 *	pread		floor: a loop around pread() that serves the same rings in a process of its own
 *	pread-spin	the same, looking at the ring for 50 us before it sleeps
 *	memcpy		floor: the same as pread with the image mapped
 *	memcpy-spin
 *	qsd		qemu-storage-daemon, raw file, io_uring
 */
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <linux/perf_event.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/backend/vu/blk.h"
#include "tests/backend/vu/tests.h"
#include "tests/backend/vu/vu.h"

enum {
	BLOCK = 4096,
	SECTORS = BLOCK / VU_SECTOR,
	DEPTH = 32,
	QUEUE_SIZE = 128,
	DEEP_OPS = 40000,
	SINGLE_OPS = 5000,
	DRIVER_CPU = 0,
	BACKEND_CPU = 1,
	SPIN_NS = 50000,
	CONTENDERS_MAX = 16,
	TASKS_MAX = 32,
	HEAD = 16,
};

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void pin(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

/* --- floors ------------------------------------------------------------------------------------------------------------------------- */

struct floor {
	struct vu *v;
	struct vu_ring *r;
	int fd;
	const uint8_t *map; /* NULL: pread */
	uint64_t spin_ns;
	uint16_t last, used;
};

/* One chain as our driver makes them: header, data, status, by an indirect table or not. */
static void floor_serve(struct floor *f, uint16_t head)
{
	const struct vu_desc *d = &f->r->d[head], *t = f->r->d;
	uint64_t sector;

	if ((d->flags & VU_INDIRECT) != 0)
		t = d = vu_ptr(f->v, d->addr, d->len);
	memcpy(&sector, (uint8_t *)vu_ptr(f->v, d->addr, HEAD) + 8, sizeof(sector));
	d = &t[d->next];
	void *to = vu_ptr(f->v, d->addr, d->len);

	if (f->map != NULL)
		memcpy(to, f->map + sector * VU_SECTOR, d->len);
	else if (pread(f->fd, to, d->len, (off_t)(sector * VU_SECTOR)) != (ssize_t)d->len)
		_exit(1);
	uint32_t len = d->len + 1;

	d = &t[d->next];
	*(uint8_t *)vu_ptr(f->v, d->addr, 1) = VIRTIO_BLK_S_OK;
	memcpy(&f->r->used[2 + 4 * (f->used % f->r->size)], (uint32_t[]){ head, len }, 8);
	f->used++;
}

static void floor_flush(struct floor *f, uint16_t before)
{
	uint64_t one = 1;

	__atomic_store_n(&f->r->used[1], f->used, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	uint16_t event = __atomic_load_n(&f->r->avail[2 + f->r->size], __ATOMIC_ACQUIRE);

	if ((uint16_t)(f->used - event - 1) < (uint16_t)(f->used - before))
		(void)!write(f->r->call, &one, sizeof(one));
}

static bool floor_round(struct floor *f)
{
	uint16_t idx = __atomic_load_n(&f->r->avail[1], __ATOMIC_ACQUIRE), before = f->used;

	if (idx == f->last)
		return false;
	for (; f->last != idx; f->last++)
		floor_serve(f, f->r->avail[2 + f->last % f->r->size]);
	floor_flush(f, before);
	return true;
}

static void __attribute__((noreturn)) floor_main(struct floor *f)
{
	struct pollfd p = { .fd = f->r->kick, .events = POLLIN };
	uint64_t n;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(BACKEND_CPU);
	for (;;) {
		uint64_t from = f->spin_ns > 0 ? now_ns() : 0;

		while (floor_round(f) || (f->spin_ns > 0 && now_ns() - from < f->spin_ns))
			from = f->spin_ns > 0 && f->last != f->used ? now_ns() : from;
		__atomic_store_n(&f->r->used[2 + 4 * f->r->size], f->last, __ATOMIC_RELEASE);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (floor_round(f))
			continue;
		(void)poll(&p, 1, -1);
		(void)!read(f->r->kick, &n, sizeof(n));
	}
}

/* --- contenders ----------------------------------------------------------------------------------------------------------------------- */

struct contender {
	const char *name;
	struct vu *v;
	struct vu_blk b;
	pid_t pid;
	bool is_thread;
};

static struct contender list[CONTENDERS_MAX];
static unsigned n_list;
static const char *image;
static uint64_t blocks;

static bool start_floor(struct contender *c, bool map, uint64_t spin_ns)
{
	struct vu_cfg cfg = { .queue_size = QUEUE_SIZE, .features = VHOST_USER_BIT(VIRTIO_F_VERSION_1) |
			      VHOST_USER_BIT(VIRTIO_RING_F_INDIRECT_DESC) | VHOST_USER_BIT(VIRTIO_RING_F_EVENT_IDX) };
	struct floor f = { .spin_ns = spin_ns, .fd = open(image, O_RDONLY | O_CLOEXEC) };

	c->v = f.v = vu_new_bare(&cfg);
	if (c->v == NULL || f.fd < 0)
		return false;
	f.r = c->v->ring[0];
	if (map) {
		void *p = mmap(NULL, blocks * BLOCK, PROT_READ, MAP_SHARED | MAP_POPULATE, f.fd, 0);

		if (p == MAP_FAILED)
			return false;
		f.map = p;
	}
	c->pid = fork();
	if (c->pid == 0)
		floor_main(&f);
	(void)close(f.fd);
	return c->pid > 0;
}

int cloister_blk_main(int argc, char **argv);
int __wrap_jail_lock_rest(void);

/* In the thread: what would be locked is the driver too. */
int __wrap_jail_lock_rest(void)
{
	return 0;
}

static bool start_ours(struct contender *c, bool io_uring, bool thread)
{
	int fd = open(image, O_RDWR | O_CLOEXEC);
	struct msg_blk_config blk = { .sparse = true, .use_io_uring = io_uring, .image_type = IMAGE_TYPE_RAW };
	struct vu_cfg cfg = { .mode = VU_PRESET, .program = "cloister-blk", .queue_size = QUEUE_SIZE, .cpu = BACKEND_CPU + 1,
			      .config_type = MSG_BLK_CONFIG, .config_desc = &desc_msg_blk_config, .config = &blk, .fds = &fd,
			      .n_fds = 1, .thread_main = thread ? cloister_blk_main : NULL };

	c->v = vu_new(&cfg);
	(void)close(fd);
	c->pid = c->v == NULL ? 0 : thread ? c->v->tid : c->v->pid;
	c->is_thread = thread;
	return c->v != NULL;
}

static bool start_qsd(struct contender *c)
{
	static char node[512];
	static const char *const args[] = {
		"--blockdev", node, "--export",
		"type=vhost-user-blk,id=e,node-name=n,writable=on,addr.type=unix,addr.path=%s", NULL
	};
	struct vu_cfg cfg = { .mode = VU_FOREIGN, .program = "qemu-storage-daemon", .args = args, .queue_size = QUEUE_SIZE,
			      .cpu = BACKEND_CPU + 1 };

	(void)snprintf(node, sizeof(node), "driver=file,node-name=n,aio=io_uring,filename=%s", image);
	c->v = vu_new(&cfg);
	c->pid = c->v != NULL ? c->v->pid : 0;
	return c->v != NULL;
}

static bool start(struct contender *c, const char *name)
{
	c->name = name;
	if (strcmp(name, "ours") == 0)
		return start_ours(c, true, false);
	if (strcmp(name, "ours-sync") == 0)
		return start_ours(c, false, false);
	if (strcmp(name, "ours-thread") == 0)
		return start_ours(c, true, true);
	if (strcmp(name, "qsd") == 0)
		return start_qsd(c);
	return start_floor(c, strncmp(name, "memcpy", 6) == 0, strstr(name, "-spin") != NULL ? SPIN_NS : 0);
}

/* --- counting system calls, by a tracepoint -------------------------------------------------------------------------------------------- */

struct counter {
	int fd[TASKS_MAX];
	unsigned n;
};

static long tracepoint_id(void)
{
	static const char *const paths[] = { "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id",
					     "/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id" };
	char text[32] = "";

	for (unsigned i = 0; i < nitems(paths); i++) {
		int fd = open(paths[i], O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			continue;
		(void)!read(fd, text, sizeof(text) - 1);
		(void)close(fd);
		return strtol(text, NULL, 10);
	}
	return -1;
}

static void count_from_now(struct counter *c, pid_t pid, bool thread)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .config = (uint64_t)tracepoint_id() };
	char path[64];
	DIR *d;

	c->n = 0;
	if (thread) {
		c->fd[c->n++] = (int)syscall(SYS_perf_event_open, &attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
		return;
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL && c->n < TASKS_MAX;) {
		long tid = strtol(e->d_name, NULL, 10);
		int fd = tid > 0 ? (int)syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC) : -1;

		if (fd >= 0)
			c->fd[c->n++] = fd;
	}
	if (d != NULL)
		(void)closedir(d);
}

static uint64_t counted(struct counter *c)
{
	uint64_t sum = 0, n;

	for (unsigned i = 0; i < c->n; i++) {
		if (read(c->fd[i], &n, sizeof(n)) == sizeof(n))
			sum += n;
		(void)close(c->fd[i]);
	}
	return sum;
}

static uint64_t cpu_ns(const struct contender *c)
{
	struct timespec t;
	clockid_t clock;

	if (c->is_thread) /* as pthread_getcpuclockid() makes it */
		clock = (clockid_t)(~(unsigned)c->pid << 3 | 6);
	else if (clock_getcpuclockid(c->pid, &clock) != 0)
		return 0;
	if (clock_gettime(clock, &t) < 0)
		return 0;
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* --- a turn -------------------------------------------------------------------------------------------------------------------------------- */

static uint32_t latency[DEEP_OPS];

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t random_sector(void)
{
	static uint64_t x = 88172645463325252;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x % blocks * SECTORS;
}

static bool drive(struct vu_blk *b, unsigned depth, unsigned ops)
{
	unsigned submitted = 0, done = 0, free_slots[DEPTH], n_free = 0;
	uint64_t begun = 0;

	while (n_free < depth) {
		free_slots[n_free] = n_free;
		n_free++;
	}
	while (done < ops) {
		while (n_free > 0 && submitted < ops) {
			if (vu_blk_add(b, free_slots[--n_free], VIRTIO_BLK_T_IN, random_sector(), BLOCK) < 0)
				return false;
			submitted++;
		}
		if (depth == 1)
			begun = now_ns();
		vu_ring_kick(b->r);
		if (vu_ring_wait(b->r, VU_TIMEOUT_MS) == 0)
			return false;
		for (int slot; (slot = vu_blk_take(b, NULL)) >= 0;) {
			if (vu_blk_status(b, (unsigned)slot) != VIRTIO_BLK_S_OK)
				return false;
			free_slots[n_free++] = (unsigned)slot;
			done++;
		}
		if (depth == 1)
			latency[done - 1] = (uint32_t)(now_ns() - begun);
	}
	return true;
}

static bool turn(struct contender *c, unsigned depth, bool polls, bool count)
{
	unsigned ops = depth == 1 ? SINGLE_OPS : DEEP_OPS;
	struct counter counter = { .n = 0 };

	c->b.r->no_interrupts = polls;
	if (!drive(&c->b, depth, ops / 20)) /* warm again after the others */
		return false;
	uint64_t kicks = c->b.r->kicks, calls = c->b.r->calls;

	if (count)
		count_from_now(&counter, c->pid, c->is_thread);
	uint64_t cpu = cpu_ns(c), from = now_ns();

	if (!drive(&c->b, depth, ops))
		return false;
	uint64_t took = now_ns() - from;

	cpu = cpu_ns(c) - cpu;
	double n = ops, calls_made = count && counter.n > 0 ? (double)counted(&counter) / n : -1;

	if (depth == 1)
		qsort(latency, ops, sizeof(latency[0]), by_value);
	(void)printf("%s qd%u-%s%s %.0f %u %u %.0f %.4f %.4f %.4f\n", c->name, depth, polls ? "poll" : "irq", count ? "-count" : "",
		     n * 1e9 / (double)took, depth == 1 ? latency[ops / 2] : 0, depth == 1 ? latency[ops * 99 / 100] : 0,
		     (double)cpu / n, (double)(c->b.r->kicks - kicks) / n, (double)(c->b.r->calls - calls) / n, calls_made);
	(void)fflush(stdout);
	return true;
}

static bool all_turns(unsigned depth, bool polls, unsigned rounds, bool count)
{
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned i = 0; i < n_list; i++)
			if (!turn(&list[i], depth, polls, count)) {
				(void)fprintf(stderr, "%s: a request failed\n", list[i].name);
				vu_proc_text(list[i].v);
				return false;
			}
	return true;
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	struct stat st;
	bool good = true;

	if (rounds == 0 || argc < 4 || argc - 3 > CONTENDERS_MAX || stat(argv[1], &st) < 0) {
		(void)fprintf(stderr, "usage: b_vub IMAGE ROUNDS CONTENDER...\n");
		return 2;
	}
	image = argv[1];
	blocks = (uint64_t)st.st_size / BLOCK;
	pin(DRIVER_CPU);
	for (int i = 3; i < argc; i++) {
		struct contender *c = &list[n_list];

		if (!start(c, argv[i]) || vu_blk_init(&c->b, c->v, 0, DEPTH, BLOCK) < 0) {
			(void)fprintf(stderr, "%s is left out\n", argv[i]);
			continue;
		}
		n_list++;
	}
	for (unsigned depth = getenv("DEEP_ONLY") != NULL ? DEPTH : 1; depth <= DEPTH && good; depth += DEPTH - 1)
		for (unsigned polls = 0; polls < 2 && good; polls++)
			good = all_turns(depth, polls != 0, rounds, false) && all_turns(depth, polls != 0, 1, true);
	/* The floors first: they have copies of the others' sockets. */
	for (unsigned i = 0; i < n_list; i++)
		if (list[i].v->cfg.program == NULL) {
			(void)kill(list[i].pid, SIGKILL);
			(void)vu_wait_for(list[i].pid);
		}
	for (unsigned i = 0; i < n_list; i++)
		good = vu_free(list[i].v) && good;
	return good ? 0 : 1;
}
