/* SPDX-License-Identifier: ISC */
#include "vmmd/memory.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/units.h"
#include "vmmd/arch/x86_64/layout.h"

/* As the monitor makes it. */
static int ram_fd(uint64_t size)
{
	int fd = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
	return fd;
}

static uint64_t blocks_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks;
}

static void memory_maps_both_sides_of_the_hole(void **state)
{
	const uint64_t size = 4 * GIB;
	int fd = ram_fd(size);
	struct memory m = { 0 };
	struct memmap map;
	uint8_t byte = 0;

	(void)state;
	assert_int_equal(memmap_init(&map, size, 46, NULL), 0);
	assert_int_equal(memory_map(&m, fd, &map, NULL), 0);
	assert_int_equal(gmem_total(&m.gmem), size);
	assert_int_equal(gmem_write(&m.gmem, LAYOUT_RAM_HOLE - 1, "L", 1), 0);
	assert_int_equal(gmem_write(&m.gmem, LAYOUT_RAM_ABOVE, "H", 1), 0);
	assert_true(gmem_write(&m.gmem, LAYOUT_RAM_HOLE, "x", 1) < 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)(LAYOUT_RAM_HOLE - 1)), 1);
	assert_int_equal(byte, 'L');
	assert_int_equal(pread(fd, &byte, 1, (off_t)LAYOUT_RAM_HOLE), 1);
	assert_int_equal(byte, 'H');
	memory_unmap(&m);
	assert_int_equal(m.gmem.n, 0);
	memory_unmap(&m);
	close(fd);
}

static void on_progress(void *arg)
{
	++*(unsigned *)arg;
}

static void memory_clear_gives_zeros_and_pages_back(void **state)
{
	int fd = ram_fd(8 * MIB);
	struct memory m = { 0 };
	struct memmap map;
	uint8_t data[4096];
	unsigned pieces = 0;

	(void)state;
	memset(data, 0x5a, sizeof(data));
	assert_int_equal(memmap_init(&map, 8 * MIB, 46, NULL), 0);
	assert_int_equal(memory_map(&m, fd, &map, NULL), 0);
	for (uint64_t gpa = 0; gpa < 8 * MIB; gpa += MIB)
		assert_int_equal(gmem_write(&m.gmem, gpa, data, sizeof(data)), 0);
	assert_true(blocks_of(fd) > 0);
	assert_int_equal(memory_clear(&m, on_progress, &pieces, NULL), 0);
	assert_int_equal(blocks_of(fd), 0);
	assert_int_equal(pieces, 1);
	for (uint64_t gpa = 0; gpa < 8 * MIB; gpa += MIB) {
		assert_int_equal(gmem_read(&m.gmem, gpa, data, sizeof(data)), 0);
		assert_int_equal(data[0], 0);
		assert_int_equal(data[4095], 0);
	}
	memory_unmap(&m);
	close(fd);
}

static void memory_map_failure_leaves_nothing(void **state)
{
	struct memory m = { 0 };
	struct memmap map;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(memmap_init(&map, 8 * MIB, 46, NULL), 0);
	assert_int_equal(memory_map(&m, -1, &map, &e), -EBADF);
	assert_string_equal(err_text(&e, 0), "cannot map 8 MiB of guest RAM: Bad file descriptor");
	assert_int_equal(m.gmem.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_maps_both_sides_of_the_hole),
		cmocka_unit_test(memory_clear_gives_zeros_and_pages_back),
		cmocka_unit_test(memory_map_failure_leaves_nothing),
	};

	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
