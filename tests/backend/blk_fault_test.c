/* SPDX-License-Identifier: ISC */
/* cloister-blk over storage that fails: the guest hears of it, nothing dies, nothing false is said of durability. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/backend/vu/disk.h"
#include "tests/backend/vu/fuse.h"
#include "tests/backend/vu/tests.h"

enum { OK = VIRTIO_BLK_S_OK, IOERR = VIRTIO_BLK_S_IOERR, IMAGE_MIB = 4, SLOW_US = 300000 };

/* Flags of a test's argument beside the mode. */
enum { SYNC = 8 };

static struct vu_fuse fuse;

static struct vu_disk *disk_on_fuse(int arg)
{
	if (vu_fuse_start(&fuse, IMAGE_MIB << 20) < 0)
		return NULL;
	return vu_disk_new(&(struct vu_disk_opts){ .mode = arg & 7, .path = fuse.path, .no_uring = (arg & SYNC) != 0 });
}

static bool end(struct vu_disk *d)
{
	WANT(vu_proc_alive(d->v), "the helper has died");
	bool good = vu_disk_free(d);

	vu_fuse_stop(&fuse);
	return good;
}

#define ON_FUSE(d, arg) \
	struct vu_disk *d = disk_on_fuse(arg); \
	if (d == NULL && fuse.server == 0) \
		return vu_skip("no /dev/fuse to be had"); \
	WANT(d != NULL, "no disk")

static bool a_read_error_is_told_once(int arg)
{
	ON_FUSE(d, arg);
	WANT(vu_disk_write(d, 0, 0, 64, 1), "write");
	vu_fuse_fail(&fuse, VU_FUSE_READ, EIO, 1, 1);
	WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_IN, 0, 4096) == IOERR, "no error");
	WANT(vu_disk_check(d, 0, 0, 64, 1), "afterwards");
	WANT(!vu_needs_reset(d->v, 0), "no reason for a reset");
	return end(d);
}

static bool write_errors_are_told(int arg)
{
	static const int errors[] = { EIO, ENOSPC, EDQUOT, EROFS };

	ON_FUSE(d, arg);
	for (unsigned i = 0; i < nitems(errors); i++) {
		vu_fuse_fail(&fuse, VU_FUSE_WRITE, errors[i], 1, 1);
		WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_OUT, 8, 4096) == IOERR, "%s is not told", strerror(errors[i]));
		WANT(vu_disk_write(d, 0, 8, 8, i + 1) && vu_disk_check(d, 0, 8, 8, i + 1), "after %s", strerror(errors[i]));
	}
	return end(d);
}

static bool interruptions_are_not_told(int arg)
{
	static const int errors[] = { EINTR, EAGAIN };

	ON_FUSE(d, arg);
	for (unsigned i = 0; i < nitems(errors); i++) {
		vu_fuse_fail(&fuse, VU_FUSE_WRITE, errors[i], 1, 2);
		WANT(vu_disk_write(d, 0, 8, 8, i + 1), "%s", strerror(errors[i]));
		vu_fuse_fail(&fuse, VU_FUSE_READ, errors[i], 1, 2);
		WANT(vu_disk_check(d, 0, 8, 8, i + 1), "%s", strerror(errors[i]));
	}
	return end(d);
}

static bool short_reads_and_writes_are_not_told(int arg)
{
	static const uint32_t by[] = { 1, 511, 512, 4096, 60000 };

	ON_FUSE(d, arg);
	for (unsigned i = 0; i < nitems(by); i++) {
		/* The kernel makes EIO of a FUSE server's short answer to an asynchronous write. */
		atomic_store(&fuse.faults->short_by, (arg & SYNC) != 0 ? by[i] : 0);
		WANT(vu_disk_write(d, 0, 16, 128, i + 1), "writes %u bytes short", by[i]);
		atomic_store(&fuse.faults->short_by, by[i]);
		WANT(vu_disk_check(d, 0, 16, 128, i + 1), "reads %u bytes short", by[i]);
	}
	return end(d);
}

/* After a failed flush nobody knows what is on the disk: no later one may succeed before the driver has begun anew. */
static bool a_failed_flush_fails_until_a_reset(int arg)
{
	ON_FUSE(d, arg);
	struct vu_blk *b = &d->b[0];

	WANT(vu_disk_write(d, 0, 0, 8, 1) && vu_blk_do(b, VIRTIO_BLK_T_FLUSH, 0, 0) == OK, "a flush to begin with");
	vu_fuse_fail(&fuse, VU_FUSE_FSYNC, EIO, 1, 1);
	WANT(vu_blk_do(b, VIRTIO_BLK_T_FLUSH, 0, 0) == IOERR, "no error");
	for (unsigned i = 0; i < 5; i++)
		WANT(vu_blk_do(b, VIRTIO_BLK_T_FLUSH, 0, 0) == IOERR, "flush %u after it says that all is well", i);
	WANT(vu_disk_check(d, 0, 0, 8, 1), "reading goes on");
	WANT(vu_reset(d->v) == 0, "no reset");
	WANT(vu_blk_do(b, VIRTIO_BLK_T_FLUSH, 0, 0) == OK, "after a reset");
	return end(d);
}

/* The same through a restart: a successor cannot know better. */
static bool a_failed_flush_fails_in_the_successor(int arg)
{
	ON_FUSE(d, arg);
	if (d->v->cfg.mode != VU_PRESET)
		return end(d);
	vu_fuse_fail(&fuse, VU_FUSE_FSYNC, EIO, 1, 1);
	WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_FLUSH, 0, 0) == IOERR, "no error");
	WANT(vu_restart(d->v) == 0, "no successor");
	WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_FLUSH, 0, 0) == IOERR, "the successor says that all is well");
	return end(d);
}

static bool without_a_write_cache_each_write_is_flushed(int arg)
{
	uint8_t off = 0;

	ON_FUSE(d, arg);
	uint32_t before = atomic_load(&fuse.faults->op[VU_FUSE_FSYNC].count);

	WANT(vu_disk_write(d, 0, 0, 8, 1), "write");
	WANT(atomic_load(&fuse.faults->op[VU_FUSE_FSYNC].count) == before, "flushed with the cache on");
	WANT(vu_set_config(d->v, offsetof(struct virtio_blk_config, wce), &off, 1) == 0, "the cache cannot be turned off");
	for (unsigned i = 0; i < 3; i++)
		WANT(vu_disk_write(d, 0, 8 * i, 8, 2), "write");
	WANT(atomic_load(&fuse.faults->op[VU_FUSE_FSYNC].count) >= before + 3, "%u flushes for 3 writes",
	     atomic_load(&fuse.faults->op[VU_FUSE_FSYNC].count) - before);
	vu_fuse_fail(&fuse, VU_FUSE_FSYNC, EIO, 1, 1);
	WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_OUT, 0, 512) == IOERR, "a write that is not safe says that it is");
	return end(d);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* A stop is answered when nothing is under way any more: what comes later would land in memory that has another owner. */
static bool nothing_is_written_after_a_stop(int arg)
{
	ON_FUSE(d, arg);
	struct vu_blk *b = &d->b[0];
	uint8_t *p = vu_blk_data(b, 0);

	atomic_store(&fuse.faults->op[VU_FUSE_READ].delay_us, SLOW_US);
	uint32_t before = atomic_load(&fuse.faults->op[VU_FUSE_READ].count);

	WANT(vu_blk_add(b, 0, VIRTIO_BLK_T_IN, 0, 4096) == 0, "no room");
	vu_ring_kick(b->r);
	for (unsigned i = 0; i < 1000 && atomic_load(&fuse.faults->op[VU_FUSE_READ].count) == before; i++)
		(void)poll(NULL, 0, 1);
	uint64_t from = now_ms();

	WANT(vu_stop_ring(d->v, 0) >= 0, "no stop");
	WANT(now_ms() - from > SLOW_US / 2000, "the stop took %llu ms, the request is not done", (unsigned long long)(now_ms() - from));
	memset(p, 0xab, 4096);
	(void)poll(NULL, 0, 2 * SLOW_US / 1000);
	for (unsigned i = 0; i < 4096; i++)
		WANT(p[i] == 0xab, "byte %u was written after the stop", i);
	return end(d);
}

static bool a_full_file_system_is_told(int arg)
{
	char dir[] = "/tmp/vufullXXXXXX", path[64];

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mkdtemp(dir) == NULL ||
	    mount("vu", dir, "tmpfs", 0, "size=1m") < 0)
		return vu_skip("no tmpfs can be mounted");
	(void)snprintf(path, sizeof(path), "%s/img", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), errors = 0;

	WANT(fd >= 0 && ftruncate(fd, 4 << 20) == 0, "no image");
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = arg & 7, .path = path, .no_uring = (arg & SYNC) != 0 });

	WANT(d != NULL, "no disk");
	for (uint64_t at = 0; at < d->sectors; at += 128) {
		int r = vu_blk_do(&d->b[0], VIRTIO_BLK_T_OUT, at, 65536);

		WANT(r == OK || r == IOERR, "status %d", r);
		errors += r == IOERR;
	}
	WANT(errors > 0 && errors < 64, "%d errors", errors);
	WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_IN, 0, 4096) == OK, "reading goes on");
	WANT(vu_proc_alive(d->v), "the helper has died");
	bool good = vu_disk_free(d);

	(void)close(fd);
	(void)umount2(dir, MNT_DETACH);
	(void)rmdir(dir);
	return good;
}

static bool an_image_cut_short_underneath_is_an_error(int arg)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = arg & 7, .no_uring = (arg & SYNC) != 0 });

	WANT(d != NULL && vu_disk_write(d, 0, 0, 8, 1), "no disk");
	WANT(truncate(d->path, 8 << 20) == 0, "truncate");
	WANT(vu_disk_check(d, 0, 0, 8, 1), "what is left");
	WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_IN, d->sectors - 8, 4096) == IOERR, "read behind the end");
	int r = vu_blk_do(&d->b[0], VIRTIO_BLK_T_OUT, d->sectors - 8, 4096);

	WANT(r == OK || r == IOERR, "write behind the end: %d", r);
	WANT(truncate(d->path, 0) == 0, "truncate");
	WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_IN, 0, 4096) == IOERR, "read of nothing");
	WANT(truncate(d->path, 64 << 20) == 0, "truncate");
	WANT(vu_disk_write(d, 0, 0, 8, 2) && vu_disk_check(d, 0, 0, 8, 2), "when it is long again");
	WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_IN, d->sectors, 4096) == IOERR, "the disk has grown");
	WANT(vu_proc_alive(d->v), "the helper has died");
	return vu_disk_free(d);
}

static bool an_image_without_a_name_is_still_there(int arg)
{
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = arg & 7 });

	WANT(d != NULL && unlink(d->path) == 0, "no disk");
	WANT(vu_disk_write(d, 0, 0, 8, 1) && vu_disk_check(d, 0, 0, 8, 1), "not served");
	return vu_disk_free(d);
}

static bool a_limit_on_file_sizes_kills_nobody(int arg)
{
	struct rlimit half = { 4 << 20, 4 << 20 };
	struct vu_disk *d = vu_disk_new(&(struct vu_disk_opts){ .mode = arg & 7, .no_uring = (arg & SYNC) != 0 });

	WANT(d != NULL, "no disk");
	WANT(truncate(d->path, 1 << 20) == 0, "truncate");
	WANT(prlimit(d->v->pid, RLIMIT_FSIZE, &half, NULL) == 0, "prlimit");
	int r = vu_blk_do(&d->b[0], VIRTIO_BLK_T_OUT, (8 << 20) / VU_SECTOR, 4096);

	WANT(r == IOERR, "written beyond the limit: %d", r);
	WANT(vu_proc_alive(d->v), "the helper has died");
	WANT(vu_blk_do(&d->b[0], VIRTIO_BLK_T_OUT, 8, 4096) == OK, "within the limit");
	return vu_disk_free(d);
}

/* --- images that are none ----------------------------------------------------------------------------------------------------------------- */

static bool is_refused(const char *head, unsigned n_head, uint64_t bytes, const char *word)
{
	char path[] = "/tmp/vubadXXXXXX", command[512], text[4096] = "";
	int fd = mkostemp(path, O_CLOEXEC);

	WANT(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0 && pwrite(fd, head, n_head, 0) == (ssize_t)n_head, "no file");
	(void)snprintf(command, sizeof(command), "timeout 5 %s/libexec/cloister/cloister-blk --socket-path=%s.s --path=%s 2>&1",
		       vu_build(), path, path);
	FILE *f = popen(command, "re");

	WANT(f != NULL, "not started");
	size_t n = fread(text, 1, sizeof(text) - 1, f);
	int status = pclose(f);

	(void)unlink(path);
	(void)close(fd);
	text[n] = '\0';
	WANT(WIFEXITED(status) && WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 124, "%llu bytes: status %#x",
	     (unsigned long long)bytes, (unsigned)status);
	WANT(strcasestr(text, word) != NULL, "%llu bytes: \"%s\" is not in: %s", (unsigned long long)bytes, word, text);
	return true;
}

static bool images_of_no_use_are_refused_by_name(int arg)
{
	(void)arg;
	return is_refused("", 0, 0, "sector") && is_refused("", 0, 511, "sector") &&
	       is_refused("QFI\xfb\0\0\0\3", 8, 65536, "qcow2") && is_refused("vhdxfile", 8, 65536, "vhdx");
}

#define TEST_ALL(fn) \
	{ .name = #fn, .run = (fn), .arg = VU_ALONE, .suffix = ", alone" }, \
	{ .name = #fn, .run = (fn), .arg = VU_PRESET, .suffix = ", jailed" }, \
	{ .name = #fn, .run = (fn), .arg = VU_PRESET | SYNC, .suffix = ", jailed, pread and pwrite" }

static const struct vu_test tests[] = {
	TEST_ALL(a_read_error_is_told_once),
	TEST_ALL(write_errors_are_told),
	TEST_ALL(interruptions_are_not_told),
	TEST_ALL(short_reads_and_writes_are_not_told),
	TEST_ALL(a_failed_flush_fails_until_a_reset),
	TEST(a_failed_flush_fails_in_the_successor, VU_PRESET),
	TEST_ALL(without_a_write_cache_each_write_is_flushed),
	TEST_ALL(nothing_is_written_after_a_stop),
	TEST_ALL(a_full_file_system_is_told),
	TEST_ALL(an_image_cut_short_underneath_is_an_error),
	TEST_BOTH(an_image_without_a_name_is_still_there),
	TEST_ALL(a_limit_on_file_sizes_kills_nobody),
	TEST(images_of_no_use_are_refused_by_name, VU_ALONE),
};

int main(int argc, char **argv)
{
	return vu_tests_main(tests, nitems(tests), argc, argv);
}
