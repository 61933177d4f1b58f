/* SPDX-License-Identifier: ISC */
#include "jail/disk_open.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/jail/tmpdir.h"

static struct cfg_disk with_path(const char *path)
{
	struct cfg_disk cfg;

	obj_init(&desc_cfg_disk, &cfg);
	cfg.path = (char *)(uintptr_t)path; /* never freed */
	return cfg;
}

static void make_file(const char *path, off_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(close(fd), 0);
}

static void expect_refused(const char *path, int code, const char *text)
{
	const struct cfg_disk cfg = with_path(path);
	struct disk_image img;
	struct err e;

	err_clear(&e);
	assert_int_equal(disk_open(&img, &cfg, &e), code);
	if (strstr(err_text(&e, 0), text) == NULL)
		fail_msg("%s: %s", path, err_text(&e, 0));
	assert_int_equal(img.image, -1);
	assert_int_equal(img.lock, -1);
}

static struct disk_image opened(const struct cfg_disk *cfg)
{
	struct disk_image img;
	struct err e;

	err_clear(&e);
	if (disk_open(&img, cfg, &e) != 0)
		fail_msg("%s: %s", cfg->path, err_text(&e, 0));
	return img;
}

static int locked(const struct disk_image *img, const struct cfg_disk *cfg, struct err *e)
{
	err_clear(e);
	return disk_lock(img, cfg, e);
}

static void image_and_lock_are_two_descriptions_of_one_file(void **state)
{
	struct cfg_disk cfg = with_path("image");
	struct stat a, b;

	(void)state;
	make_file("image", 4096);
	struct disk_image img = opened(&cfg);
	assert_int_equal(fstat(img.image, &a), 0);
	assert_int_equal(fstat(img.lock, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(img.ino, a.st_ino);
	assert_int_equal(img.size, 4096);
	assert_false(img.is_device);
	/* Their offsets are their own. */
	assert_int_equal(lseek(img.image, 100, SEEK_SET), 100);
	assert_int_equal(lseek(img.lock, 0, SEEK_CUR), 0);
	assert_int_equal(fcntl(img.image, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR);
	disk_close(&img);
}

static void access_is_what_was_asked_for(void **state)
{
	struct cfg_disk cfg = with_path("readonly");

	(void)state;
	make_file("readonly", 512);
	assert_int_equal(chmod("readonly", 0400), 0);
	cfg.readonly = true;
	struct disk_image img = opened(&cfg);
	assert_int_equal(fcntl(img.image, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(fcntl(img.lock, F_GETFL) & O_ACCMODE, O_RDONLY);
	disk_close(&img);
	if (geteuid() != 0)
		expect_refused("readonly", -EACCES, "for writing: Permission denied");
}

static void direct_is_the_helpers_alone(void **state)
{
	struct cfg_disk cfg = with_path("direct");
	struct disk_image img;
	struct err e;

	(void)state;
	make_file("direct", 4096);
	cfg.direct = true;
	int r = disk_open(&img, &cfg, &e);
	if (r == -EINVAL) {
		assert_non_null(strstr(err_text(&e, 0), "without direct I/O"));
		return;
	}
	assert_int_equal(r, 0);
	assert_true((fcntl(img.image, F_GETFL) & O_DIRECT) != 0);
	assert_true((fcntl(img.lock, F_GETFL) & O_DIRECT) == 0);
	disk_close(&img);
}

static void what_is_no_image_is_named(void **state)
{
	(void)state;
	assert_int_equal(mkfifo("a-fifo", 0600), 0);
	make_file("empty", 0);
	make_file("short", 511);
	expect_refused("", -ERR_INVALID, "neither a path nor a socket");
	expect_refused(NULL, -ERR_INVALID, "neither a path nor a socket");
	expect_refused("nothing", -ENOENT, "cannot open \"nothing\"");
	expect_refused(".", -EISDIR, "is a directory");
	expect_refused("a-fifo", -EINVAL, "is a FIFO");
	expect_refused("/dev/null", -EINVAL, "is a character device");
	expect_refused("empty", -EINVAL, "has 0 bytes");
	expect_refused("short", -EINVAL, "has 511 bytes, less than one sector");
}

static void sizes_are_cut_to_sectors(void **state)
{
	static const struct {
		off_t size;
		uint64_t sectors;
		uint32_t odd;
	} sizes[] = { { 512, 1, 0 }, { 513, 1, 1 }, { 1023, 1, 511 }, { 1024, 2, 0 }, { ((off_t)1 << 40) + 5, 1u << 31, 5 } };

	(void)state;
	for (size_t i = 0; i < nitems(sizes); i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "size%zu", i);
		struct cfg_disk cfg = with_path(name);
		make_file(name, sizes[i].size);
		struct disk_image img = opened(&cfg);
		assert_int_equal(img.size, sizes[i].sectors * DISK_SECTOR);
		assert_int_equal(img.odd, sizes[i].odd);
		disk_close(&img);
	}
}

static void serial_is_made_of_the_files_numbers(void **state)
{
	struct cfg_disk cfg = with_path("numbers");
	struct stat st;
	char want[80];

	(void)state;
	make_file("numbers", 512);
	assert_int_equal(stat("numbers", &st), 0);
	(void)snprintf(want, sizeof(want), "%llu%llu%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_rdev,
		       (unsigned long long)st.st_ino);
	want[20] = '\0';
	struct disk_image img = opened(&cfg);
	assert_string_equal(img.serial, want);
	disk_close(&img);
}

static void writers_exclude_everybody_readers_only_writers(void **state)
{
	static const struct {
		bool first_reads, second_reads, works;
	} cases[] = { { false, false, false }, { false, true, false }, { true, false, false }, { true, true, true } };
	struct err e;

	(void)state;
	make_file("shared", 4096);
	for (size_t i = 0; i < nitems(cases); i++) {
		for (int full = 0; full < 4; full++) {
			struct cfg_disk a = with_path("shared"), b = a;

			a.readonly = cases[i].first_reads;
			b.readonly = cases[i].second_reads;
			a.lock_granularity = (full & 1) != 0 ? LOCK_GRANULARITY_FULL : LOCK_GRANULARITY_BYTE_RANGE;
			b.lock_granularity = (full & 2) != 0 ? LOCK_GRANULARITY_FULL : LOCK_GRANULARITY_BYTE_RANGE;
			struct disk_image one = opened(&a), two = opened(&b);
			assert_int_equal(locked(&one, &a, &e), 0);
			assert_int_equal(locked(&two, &b, &e), cases[i].works ? 0 : -EAGAIN);
			if (!cases[i].works)
				assert_non_null(strstr(err_text(&e, 0), "is in use"));
			disk_close(&one);
			/* The lock went with its description. */
			assert_int_equal(locked(&two, &b, &e), 0);
			disk_close(&two);
		}
	}
}

static void the_helpers_description_holds_no_lock(void **state)
{
	struct cfg_disk cfg = with_path("kept");
	struct err e;

	(void)state;
	make_file("kept", 4096);
	struct disk_image one = opened(&cfg), two = opened(&cfg);
	assert_int_equal(locked(&one, &cfg, &e), 0);
	fd_closep(&one.image);
	assert_int_equal(locked(&two, &cfg, &e), -EAGAIN);
	fd_closep(&one.lock);
	assert_int_equal(locked(&two, &cfg, &e), 0);
	disk_close(&one);
	disk_close(&two);
}

static void byte_range_leaves_what_is_beyond_the_end(void **state)
{
	struct cfg_disk cfg = with_path("range");
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1000, .l_len = 1 };
	struct err e;

	(void)state;
	make_file("range", 1001); /* an odd end is locked too */
	for (int full = 0; full < 2; full++) {
		int other = open("range", O_RDWR | O_CLOEXEC);

		cfg.lock_granularity = full != 0 ? LOCK_GRANULARITY_FULL : LOCK_GRANULARITY_BYTE_RANGE;
		struct disk_image img = opened(&cfg);
		assert_int_equal(locked(&img, &cfg, &e), 0);
		l.l_start = 1000;
		assert_int_equal(fcntl(other, F_OFD_SETLK, &l), -1);
		l.l_start = 1001;
		assert_int_equal(fcntl(other, F_OFD_SETLK, &l), full != 0 ? -1 : 0);
		disk_close(&img);
		assert_int_equal(close(other), 0);
	}
}

static void preallocation_gives_every_block(void **state)
{
	struct cfg_disk cfg = with_path("sparse");
	struct stat st;

	(void)state;
	make_file("sparse", 1 << 20);
	struct disk_image img = opened(&cfg);
	int r = disk_preallocate(&img);
	assert_int_equal(fstat(img.lock, &st), 0);
	assert_int_equal(st.st_size, 1 << 20);
	if (r == 0)
		assert_true(st.st_blocks * 512 >= 1 << 20);
	disk_close(&img);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(image_and_lock_are_two_descriptions_of_one_file),
		cmocka_unit_test(access_is_what_was_asked_for),
		cmocka_unit_test(direct_is_the_helpers_alone),
		cmocka_unit_test(what_is_no_image_is_named),
		cmocka_unit_test(sizes_are_cut_to_sectors),
		cmocka_unit_test(serial_is_made_of_the_files_numbers),
		cmocka_unit_test(writers_exclude_everybody_readers_only_writers),
		cmocka_unit_test(the_helpers_description_holds_no_lock),
		cmocka_unit_test(byte_range_leaves_what_is_beyond_the_end),
		cmocka_unit_test(preallocation_gives_every_block),
	};

	return cmocka_run_group_tests(tests, tmpdir_setup, tmpdir_teardown);
}
