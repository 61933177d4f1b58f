/* SPDX-License-Identifier: ISC */
/* cloister-blk in its less common lives: limits, buffers that direct I/O cannot take, file systems that cannot do
 * all, processors. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/le.h"
#include "devices/common/ratelimit.h"
#include "tests/backend/vu/disk.h"
#include "tests/backend/vu/tests.h"

enum { SYNC = 8, OK = VIRTIO_BLK_S_OK, HEAD = 16, BIG = 300 * 1024, WRITES = 16 };

/* Start the helper of a disk whose configuration was changed. */
static bool warm(struct vu_disk *d)
{
	d->v = vu_new(&d->cfg);
	WANT(d->v != NULL, "no helper");
	d->b = calloc(d->v->n_queues, sizeof(*d->b));
	WANT(d->b != NULL && vu_blk_init(&d->b[0], d->v, 0, 32, 65536) == 0, "no memory");
	d->sectors = 16 << 11;
	return true;
}

/* --- limits --------------------------------------------------------------------------------------------------- */

/* Four times what the bucket holds, so it has to be filled three times. */
static bool takes_three_refills(struct vu_disk *d, unsigned n, uint32_t bytes, int64_t so_far)
{
	int64_t start = clock_mono_ms();

	for (unsigned i = 0; i < n; i++)
		WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_IN, i, bytes) == OK, "request %u", i);
	int64_t took = clock_mono_ms() - start + so_far;

	WANT(took >= 280 && took < 3000, "%lld ms", (long long)took);
	WANT(vu_stat(d->v, STATS_LIMITED) >= 3, "it was never held back");
	return true;
}

static bool requests_are_held_to_their_limit(int arg)
{
	struct vu_disk *d = vu_disk_new_cold(&(struct vu_disk_opts){ .mode = VU_PRESET, .no_uring = (arg & SYNC) != 0 });

	WANT(d != NULL, "no disk");
	d->config.limits.has_ops = true;
	d->config.limits.ops = (struct cfg_token_bucket){ .size = 10, .refill_time = 100 };
	WANT(warm(d) && takes_three_refills(d, 40, 512, 0), "requests");
	return vu_disk_free(d);
}

static bool bytes_are_held_to_their_limit(int arg)
{
	struct vu_disk *d = vu_disk_new_cold(&(struct vu_disk_opts){ .mode = VU_PRESET, .no_uring = (arg & SYNC) != 0 });

	WANT(d != NULL, "no disk");
	d->config.limits.has_bandwidth = true;
	d->config.limits.bandwidth = (struct cfg_token_bucket){ .size = 65536, .refill_time = 100 };
	WANT(warm(d) && takes_three_refills(d, 32, 8192, 0), "bytes");
	return vu_disk_free(d);
}

static bool a_group_shares_one_limit(int arg)
{
	struct cfg_rate_limiter limits = { .has_ops = true, .ops = { .size = 10, .refill_time = 100 } };
	int fd = vu_memfd("group", 4096), fds[2][2];
	struct vu_disk *d[2];

	(void)arg;
	WANT(fd >= 0, "no page");
	struct ratelimit_shared *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	WANT(page != MAP_FAILED && ratelimit_shared_init(page, &limits, clock_mono_ns()) == 0, "no limiter");
	for (unsigned i = 0; i < 2; i++) {
		d[i] = vu_disk_new_cold(&(struct vu_disk_opts){ .mode = VU_PRESET });
		WANT(d[i] != NULL, "no disk");
		fds[i][0] = d[i]->fd;
		fds[i][1] = fd;
		d[i]->config.has_group = true;
		d[i]->cfg.fds = fds[i];
		d[i]->cfg.n_fds = 2;
		WANT(warm(d[i]), "disk %u", i);
	}
	int64_t start = clock_mono_ms();

	for (unsigned i = 0; i < 40; i++)
		WANT(vu_blk_do(&d[i % 2]->b[0], VIRTIO_BLK_T_IN, i, 512) == OK, "request %u", i);
	int64_t took = clock_mono_ms() - start;

	WANT(took >= 280 && took < 3000, "%lld ms", (long long)took);
	return vu_disk_free(d[0]) && vu_disk_free(d[1]);
}

/* --- direct I/O ----------------------------------------------------------------------------------------------- */

static int transfer(struct vu_blk *b, uint32_t type, uint64_t sector, uint64_t gpa, uint32_t len)
{
	struct vu_buf data = { gpa, len }, status = { b->status, 1 }, out[2] = { { b->head, HEAD }, data }, in[2] = { data, status };
	bool reads = type == VIRTIO_BLK_T_IN;

	le32_put(b->head_p, type);
	le64_put(b->head_p + 8, sector);
	b->status_p[0] = VU_BLK_NO_STATUS;
	int r = vu_ring_do(b->r, out, reads ? 1 : 2, reads ? in : &in[1], reads ? 2 : 1);

	return r < 0 ? r : b->status_p[0];
}

static bool odd_buffers_do_for_direct_io(int arg)
{
	static const uint32_t shifts[] = { 0, 1, 7, 512, 4095 };
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = arg & 7, .no_uring = (arg & SYNC) != 0, .direct = true,
								.dir = "/var/tmp" });

	WANT(d != NULL, "no disk");
	uint64_t from = vu_alloc(d->v, BIG + 4096, 4096), to = vu_alloc(d->v, BIG + 4096, 4096);
	struct virtio_blk_config c;

	WANT(from != 0 && to != 0 && vu_get_config(d->v, &c, sizeof(c)) == 0, "no memory");
	for (unsigned i = 0; i < nitems(shifts); i++) {
		uint64_t a = from + shifts[i], z = to + shifts[nitems(shifts) - 1 - i];
		uint8_t *p = vu_ptr(d->v, a, BIG);

		for (uint32_t k = 0; k < BIG; k++)
			p[k] = (uint8_t)(k * 31 + k / 4096 + i);
		WANT(transfer(&d->b[0], VIRTIO_BLK_T_OUT, 8, a, BIG) == OK, "write, %u bytes off", shifts[i]);
		memset(vu_ptr(d->v, z, BIG), 0xee, BIG);
		WANT(transfer(&d->b[0], VIRTIO_BLK_T_IN, 8, z, BIG) == OK, "read, %u bytes off", shifts[i]);
		WANT(memcmp(p, vu_ptr(d->v, z, BIG), BIG) == 0, "what comes back, %u bytes off", shifts[i]);
		/* A single sector, whatever the unit is, and nothing behind it. */
		memset(vu_ptr(d->v, z, 1024), 0xee, 1024);
		WANT(transfer(&d->b[0], VIRTIO_BLK_T_IN, 9, z, 512) == OK, "a sector");
		WANT(memcmp(p + 512, vu_ptr(d->v, z, 512), 512) == 0, "a sector's contents");
		WANT(*(uint8_t *)vu_ptr(d->v, z + 512, 1) == 0xee, "more than a sector");
	}
	if (c.blk_size > 512)
		WANT(transfer(&d->b[0], VIRTIO_BLK_T_OUT, 9, from, 512) == VIRTIO_BLK_S_IOERR, "part of a unit is written");
	return vu_disk_free(d);
}

/* --- order ---------------------------------------------------------------------------------------------------- */

/* All at once to the same place: the driver gets them back in the order in which it gave them, and the last one
 * stays. */
static bool writes_to_one_place_keep_their_order(int arg)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = arg & 7, .no_uring = (arg & SYNC) != 0,
								.direct = (arg & 16) != 0, .dir = "/var/tmp" });

	WANT(d != NULL, "no disk");
	struct vu_blk *b = &d->b[0];

	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < WRITES; i++) {
			vu_blk_stamp(vu_blk_data(b, i), 4096, 2, round * WRITES + i + 1);
			WANT(vu_blk_add(b, i, VIRTIO_BLK_T_OUT, 16, 4096) == 0, "no room");
		}
		vu_ring_kick(b->r);
		for (unsigned i = 0; i < WRITES; i++) {
			int slot;

			while ((slot = vu_blk_take(b, NULL)) == -EAGAIN)
				WANT(vu_ring_wait(b->r, VU_TIMEOUT_MS) == 1, "%u of %u came back", i, WRITES);
			WANT(slot == (int)i && vu_blk_status(b, i) == OK, "%d came back as number %u", slot, i);
		}
		WANT(vu_blk_do(b, VIRTIO_BLK_T_IN, 16, 4096) == OK, "read");
		WANT(vu_blk_read_stamp(vu_blk_data(b, 0), 4096, 2) == (round + 1) * WRITES, "not the last one");
	}
	return vu_disk_free(d);
}

/* --- what the file system can --------------------------------------------------------------------------------- */

/* tmpfs can punch holes and has no other way to zero. */
static bool zeroes_where_they_must_be_written(int arg)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = arg & 7, .no_uring = (arg & SYNC) != 0, .dir = "/dev/shm" });

	WANT(d != NULL, "no disk");
	if ((d->v->acked & VHOST_USER_BIT(VIRTIO_BLK_F_WRITE_ZEROES)) == 0)
		return vu_disk_free(d) && vu_skip("no zeroes are offered here");
	for (uint32_t flags = 0; flags < 2; flags++) {
		WANT(vu_disk_write(d, 0, 0, 64, 3) && vu_disk_write(d, 0, 20000, 64, 3), "write");
		WANT(vu_blk_range(&d->b[0], VIRTIO_BLK_T_WRITE_ZEROES, 3, 20000, flags) == OK, "zeroes, flags %u", flags);
		WANT(vu_disk_check(d, 0, 0, 3, 3) && vu_disk_check(d, 0, 3, 61, 0) && vu_disk_check(d, 0, 20000, 3, 0) &&
			     vu_disk_check(d, 0, 20003, 61, 3),
		     "flags %u", flags);
	}
	return vu_disk_free(d);
}

static bool an_image_that_is_not_sparse_keeps_its_blocks(int arg)
{
	struct vu_disk *d = vu_disk_new_cold(&(struct vu_disk_opts){ .mode = VU_PRESET, .no_uring = (arg & SYNC) != 0,
								     .dir = "/var/tmp" });
	struct stat before, after;

	WANT(d != NULL, "no disk");
	d->config.sparse = false;
	WANT(warm(d), "no helper");
	WANT((d->v->offered & VHOST_USER_BIT(VIRTIO_BLK_F_DISCARD)) == 0, "discard is offered");
	WANT((d->v->offered & VHOST_USER_BIT(VIRTIO_BLK_F_WRITE_ZEROES)) != 0, "zeroes are not");
	WANT(vu_disk_write(d, 0, 0, 128, 9) && fsync(d->fd) == 0 && fstat(d->fd, &before) == 0, "write");
	WANT(vu_blk_range(&d->b[0], VIRTIO_BLK_T_DISCARD, 0, 128, 0) == VIRTIO_BLK_S_UNSUPP, "discard");
	WANT(vu_blk_range(&d->b[0], VIRTIO_BLK_T_WRITE_ZEROES, 0, 128, 1) == OK, "zeroes");
	WANT(fsync(d->fd) == 0 && fstat(d->fd, &after) == 0 && after.st_blocks >= before.st_blocks, "blocks were given back");
	WANT(vu_disk_check(d, 0, 0, 128, 0), "no zeroes");
	return vu_disk_free(d);
}

static bool images_of_odd_sizes_are_disks(int arg)
{
	static const uint64_t sizes[] = { 512, 513, 1023, 4097, INT64_MAX / 512 * 512, INT64_MAX };
	char path[] = "/dev/shm/vuoddXXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	WANT(fd >= 0, "no file");
	for (unsigned i = 0; i < nitems(sizes); i++) {
		WANT(ftruncate(fd, (off_t)sizes[i]) == 0, "%s", strerror(errno));
		struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = arg & 7, .no_uring = (arg & SYNC) != 0,
									.path = path, .no_type = true });

		WANT(d != NULL && d->sectors == sizes[i] / 512, "%llu bytes", (unsigned long long)sizes[i]);
		WANT(vu_disk_check(d, 0, 0, 1, 0) && vu_disk_check(d, 0, d->sectors - 1, 1, 0), "what is there");
		WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_IN, d->sectors, 512) == VIRTIO_BLK_S_IOERR, "what is not there");
		WANT(d->sectors == 1 || vu_blk_do(&d->b[0], VIRTIO_BLK_T_OUT, d->sectors - 1, 512) == OK, "the last one");
		WANT(vu_disk_free(d), "its end");
	}
	(void)unlink(path);
	(void)close(fd);
	return true;
}

/* A loop device over a file; its path, "" when there is none to be had. */
static void loop_device(char *out, size_t cap, int *fd)
{
	char path[] = "/var/tmp/vuloopXXXXXX", command[256];

	*out = '\0';
	*fd = mkostemp(path, O_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, 16 << 20) < 0)
		return;
	(void)snprintf(command, sizeof(command), "losetup -f --show %s 2>/dev/null", path);
	FILE *f = popen(command, "re");
	size_t n = f != NULL ? fread(out, 1, cap - 1, f) : 0;

	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	if (f != NULL)
		(void)pclose(f);
	(void)unlink(path);
}

static bool on_device(int arg, const char *path, int backing)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = arg & 7, .no_uring = (arg & SYNC) != 0,
								.direct = (arg & 16) != 0, .path = path });
	struct stat before, after;

	WANT(d != NULL, "no disk");
	WANT(d->sectors == 16 << 11, "%llu sectors", (unsigned long long)d->sectors);
	WANT(vu_disk_write(d, 0, 0, 128, 9) && vu_disk_check(d, 0, 0, 128, 9), "what is written");
	WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_FLUSH, 0, 0) == OK, "flush");
	WANT(vu_blk_range(&d->b[0], VIRTIO_BLK_T_WRITE_ZEROES, 8, 16, 0) == OK, "zeroes");
	WANT(vu_disk_check(d, 0, 0, 8, 9) && vu_disk_check(d, 0, 8, 16, 0) && vu_disk_check(d, 0, 24, 104, 9), "what is zero");
	WANT(vu_blk_range(&d->b[0], VIRTIO_BLK_T_WRITE_ZEROES, 32, 16, 1) == OK, "zeroes, may unmap");
	WANT(vu_disk_check(d, 0, 32, 16, 0), "what is zero then");
	if ((d->v->acked & VHOST_USER_BIT(VIRTIO_BLK_F_DISCARD)) != 0) {
		WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_FLUSH, 0, 0) == OK && fstat(backing, &before) == 0, "flush");
		WANT(vu_blk_range(&d->b[0], VIRTIO_BLK_T_DISCARD, 0, 128, 0) == OK, "discard");
		WANT(fstat(backing, &after) == 0 && after.st_blocks < before.st_blocks, "nothing was given back");
	}
	WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_IN, d->sectors, 512) == VIRTIO_BLK_S_IOERR, "behind the end");
	return vu_disk_free(d);
}

static bool block_devices_are_disks(int arg)
{
	char path[64], command[128];
	int backing;

	loop_device(path, sizeof(path), &backing);
	if (path[0] == '\0')
		return vu_skip("no loop device is to be had");
	bool good = on_device(arg, path, backing);

	(void)snprintf(command, sizeof(command), "losetup -d %s", path);
	WANT(system(command) == 0, "losetup -d");
	(void)close(backing);
	return good;
}

/* --- death --------------------------------------------------------------------------------------------------------- */

static bool hangs_up(const struct vu *v, int timeout_ms)
{
	struct pollfd p = { .fd = chan_fd(v->control) };

	return poll(&p, 1, timeout_ms) == 1 && (p.revents & POLLHUP) != 0;
}

/* Kill it in the middle of reads. Whether its control socket hung up with it. */
static int dies_and_hangs_up(bool direct)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = VU_PRESET, .direct = direct, .dir = "/var/tmp" });

	if (d == NULL)
		return -1;
	for (unsigned i = 0; i < 32; i++)
		(void)!vu_blk_add(&d->b[0], i, VIRTIO_BLK_T_IN, i * 256, 65536);
	vu_ring_kick(d->b[0].r);
	/* Not vu_proc_kill(), which waits as a parent must. */
	(void)kill(d->v->pid, SIGKILL);
	bool dead = waitpid(d->v->pid, NULL, 0) == d->v->pid, at_once = hangs_up(d->v, 0);
	d->v->pid = 0;
	bool later = hangs_up(d->v, VU_TIMEOUT_MS);

	(void)vu_disk_free(d);
	return dead && later ? at_once : -1;
}

/* A device goes on with what a dead process gave it to do; only behind that the helper's control socket hangs up. */
static bool direct_io_outlives_the_helper_and_the_parent_knows(int arg)
{
	int at_once = 1;

	(void)arg;
	WANT(dies_and_hangs_up(false) == 1, "without direct I/O");
	/* Where this process does not run for a while there is nothing left to see. */
	for (unsigned i = 0; i < 10 && at_once == 1; i++)
		at_once = dies_and_hangs_up(true);
	WANT(at_once == 0, "with direct I/O: %d", at_once);
	return true;
}

/* --- what the parent asks for --------------------------------------------------------------------------------- */

static bool ready_tells_the_format(int arg)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = arg, .no_type = true });

	WANT(d != NULL, "no disk");
	WANT(d->v->ready_detail == IMAGE_TYPE_RAW, "format %u", d->v->ready_detail);
	return vu_disk_free(d);
}

/* The processors on which @task may run, as /proc has it; "" when there is none with this number. */
static void allowed(pid_t pid, unsigned nth, char *out, size_t cap)
{
	char command[200];

	(void)snprintf(command, sizeof(command),
		       "ls /proc/%d/task | sort -n | sed -n %up | xargs -I T sed -n 's/^Cpus_allowed_list:\\t//p' /proc/%d/task/T/status",
		       (int)pid, nth, (int)pid);
	FILE *f = popen(command, "re");
	size_t n = f != NULL ? fread(out, 1, cap - 1, f) : 0;

	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	if (f != NULL)
		(void)pclose(f);
}

static bool queues_run_where_they_are_told(int arg)
{
	struct vu_disk *d = vu_disk_new_cold(&(struct vu_disk_opts){ .mode = arg, .n_queues = 2 });
	uint64_t cpu[1] = { 0 };
	struct cfg_queue_affinity place = { .queue_index = 1, .host_cpus = cpu, .n_host_cpus = 1 };
	char first[64], second[64];

	WANT(d != NULL, "no disk");
	d->config.affinity = &place;
	d->config.n_affinity = 1;
	WANT(warm(d), "no helper");
	allowed(d->v->pid, 2, first, sizeof(first));
	allowed(d->v->pid, 3, second, sizeof(second));
	WANT(strcmp(second, "0") == 0, "queue 1 may run on \"%s\"", second);
	WANT(sysconf(_SC_NPROCESSORS_ONLN) < 2 || strcmp(first, "0") != 0, "so may queue 0: \"%s\"", first);
	WANT(vu_disk_write(d, 0, 8, 8, 1) && vu_disk_check(d, 0, 8, 8, 1), "requests");
	d->config.affinity = NULL;
	d->config.n_affinity = 0;
	return vu_disk_free(d);
}

static bool processors_that_are_not_there_are_refused(int arg)
{
	struct vu_disk *d = vu_disk_new_cold(&(struct vu_disk_opts){ .mode = arg });
	uint64_t cpu[1] = { 8000 };
	struct cfg_queue_affinity place = { .host_cpus = cpu, .n_host_cpus = 1 };

	WANT(d != NULL, "no disk");
	d->config.affinity = &place;
	d->config.n_affinity = 1;
	d->v = vu_new(&d->cfg);
	WANT(d->v == NULL, "it is served");
	return vu_disk_free(d);
}

#define TEST_ENGINES(fn) \
	{ .name = #fn, .run = (fn), .arg = VU_PRESET, .suffix = ", io_uring" }, \
	{ .name = #fn, .run = (fn), .arg = VU_PRESET | SYNC, .suffix = ", pread and pwrite" }

static const struct vu_test tests[] = {
	TEST_ENGINES(requests_are_held_to_their_limit),
	TEST_ENGINES(bytes_are_held_to_their_limit),
	TEST(a_group_shares_one_limit, VU_PRESET),
	TEST_ENGINES(odd_buffers_do_for_direct_io),
	TEST_ENGINES(writes_to_one_place_keep_their_order),
	{ .name = "writes_to_one_place_keep_their_order", .run = writes_to_one_place_keep_their_order, .arg = VU_PRESET | 16,
	  .suffix = ", io_uring, O_DIRECT" },
	TEST_ENGINES(zeroes_where_they_must_be_written),
	TEST_ENGINES(an_image_that_is_not_sparse_keeps_its_blocks),
	TEST_ENGINES(images_of_odd_sizes_are_disks),
	TEST_ENGINES(block_devices_are_disks),
	{ .name = "block_devices_are_disks", .run = block_devices_are_disks, .arg = VU_PRESET | 16,
	  .suffix = ", io_uring, O_DIRECT" },
	TEST(block_devices_are_disks, VU_ALONE),
	TEST(direct_io_outlives_the_helper_and_the_parent_knows, VU_PRESET),
	TEST(ready_tells_the_format, VU_PRESET),
	TEST(queues_run_where_they_are_told, VU_PRESET),
	TEST(processors_that_are_not_there_are_refused, VU_PRESET),
};

int main(int argc, char **argv)
{
	return vu_tests_main(tests, nitems(tests), argc, argv);
}
