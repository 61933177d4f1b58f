/* SPDX-License-Identifier: ISC */
#include "vmmd/boot/loader.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/units.h"
#include "tests/unit/vmmd/boot/image_mem.h"

enum { LOW = 0x40000 };

static struct memmap map;
static uint8_t ram[LOW];
static struct gmem gm;

static int setup(void **state)
{
	(void)state;
	memset(ram, 0xEE, sizeof(ram));
	gm.n = 0;
	if (gmem_add(&gm, 0, sizeof(ram), ram) < 0)
		return -1;
	return memmap_init(&map, 5 * GIB, 46, NULL);
}

static uint64_t get(unsigned at, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)ram[at + i] << (8 * i);
	return v;
}

static void refuse(const char *file, uint64_t size, const char *text)
{
	struct boot_kernel out;
	struct image_mem m;
	struct err e;

	err_clear(&e);
	image_mem_init(&m, &map, file, size);
	assert_int_equal(loader_load_kernel(&m.img, &map, &out, &e), -ENOEXEC);
	if (strstr(err_text(&e, 0), text) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", err_text(&e, 0), text);
}

static void files_that_are_no_kernel_are_told_apart(void **state)
{
	static char garbage[0x1000];

	(void)state;
	memset(garbage, 0xA5, sizeof(garbage));
	refuse("", 0, "empty");
	refuse("\x7F", 1, "neither");
	refuse("\x7F"
	       "ELF",
	       4, "ELF file of 4 bytes");
	refuse(garbage, sizeof(garbage), "neither an ELF file nor a bzImage");
	memcpy(garbage,
	       "\x7F"
	       "ELF",
	       4);
	refuse(garbage, sizeof(garbage), "not 64-bit");
}

static int place(uint64_t size, const struct boot_kernel *k, uint64_t *gpa, struct err *e)
{
	struct image_mem m;

	err_clear(e);
	image_mem_init(&m, &map, NULL, size);
	return loader_load_initramfs(&m.img, &map, k, gpa, e);
}

static void initramfs_lies_at_the_end_of_low_ram(void **state)
{
	const struct boot_kernel k = { .start = 0x1000000, .end = 0x3000000 };
	uint64_t gpa = 0;
	struct err e;

	(void)state;
	assert_int_equal(place(0x1000, &k, &gpa, &e), 0);
	assert_true(gpa == 0xBFFFF000);
	assert_int_equal(place(0x1001, &k, &gpa, &e), 0);
	assert_true(gpa == 0xBFFFE000);
	assert_int_equal(place(1, &k, &gpa, &e), 0);
	assert_true(gpa == 0xBFFFF000);
	assert_int_equal(memmap_init(&map, 512 * MIB, 46, NULL), 0);
	assert_int_equal(place(0x5432, &k, &gpa, &e), 0);
	assert_true(gpa == 0x20000000 - 0x6000);
}

static void initramfs_without_room_is_refused(void **state)
{
	const struct boot_kernel k = { .start = 0x1000000, .end = 0x3000000 };
	uint64_t gpa = 0;
	struct err e;

	(void)state;
	assert_int_equal(memmap_init(&map, 64 * MIB, 46, NULL), 0);
	assert_int_equal(place(16 * MIB, &k, &gpa, &e), 0);
	assert_true(gpa == 0x3000000);
	assert_int_equal(place(16 * MIB + 1, &k, &gpa, &e), -ENOSPC);
	assert_non_null(strstr(err_text(&e, 0), "beside the kernel"));
	assert_int_equal(place(64 * MIB, &k, &gpa, &e), -ENOSPC);
	assert_int_equal(place(UINT64_MAX, &k, &gpa, &e), -ENOSPC);
	assert_int_equal(place(0, &k, &gpa, &e), -EINVAL);
}

static void initramfs_fits_below_a_high_kernel(void **state)
{
	const struct boot_kernel above = { .start = 0x100000000, .end = 0x101000000 };
	uint64_t gpa = 0;
	struct err e;

	(void)state;
	assert_int_equal(place(MIB, &above, &gpa, &e), 0);
	assert_int_equal(place(3 * GIB - MIB, &above, &gpa, &e), 0);
	assert_true(gpa == MIB);
	assert_int_equal(place(3 * GIB - MIB + 1, &above, &gpa, &e), -ENOSPC);
}

static void initramfs_that_cannot_be_read_is_an_error(void **state)
{
	const struct boot_kernel k = { .start = 0x1000000, .end = 0x3000000 };
	struct image_mem m;
	uint64_t gpa = 0;

	(void)state;
	image_mem_init(&m, &map, NULL, 4096);
	m.fail_load = -EIO;
	assert_int_equal(loader_load_initramfs(&m.img, &map, &k, &gpa, NULL), -EIO);
}

static void cmdline_has_room_for_64_kib_with_its_end(void **state)
{
	static char text[0x10001];
	struct boot_kernel k = { .proto = BOOT_PVH };
	struct boot_params p = { .map = &map, .kernel = &k, .cmdline = text };
	struct err e;

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	err_clear(&e);
	assert_int_equal(loader_check_cmdline(text, &e), -EINVAL);
	assert_non_null(strstr(err_text(&e, 0), "65536 bytes is longer than 65535"));
	assert_int_equal(loader_write_params(&gm, &p, NULL), -EINVAL);
	text[0xFFFF] = '\0';
	assert_int_equal(loader_write_params(&gm, &p, NULL), 0);
	assert_int_equal(ram[0x20000], 'a');
	assert_int_equal(ram[0x2FFFE], 'a');
	assert_int_equal(ram[0x2FFFF], 0);
	assert_int_equal(ram[0x30000], 0xEE);
}

static void absent_cmdline_is_not_written(void **state)
{
	struct boot_kernel k = { .proto = BOOT_PVH };
	struct boot_params p = { .map = &map, .kernel = &k };

	(void)state;
	assert_int_equal(loader_write_params(&gm, &p, NULL), 0);
	assert_int_equal(ram[0x20000], 0xEE);
}

static void check_pvh_map(void)
{
	static const uint64_t want[4][3] = {
		{ 0, 0xA0000, 1 },
		{ 0x100000, 0xBFF00000, 1 },
		{ 0x100000000, 0x80000000, 1 },
		{ 0xE8000000, 0x10000000, 2 },
	};

	assert_int_equal(get(0x6030, 4), 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(get(0x7000 + i * 24, 8) == want[i][0]);
		assert_true(get(0x7008 + i * 24, 8) == want[i][1]);
		assert_true(get(0x7010 + i * 24, 8) == want[i][2]); /* with the reserved word */
	}
}

static void pvh_start_info_is_as_documented(void **state)
{
	struct boot_kernel k = { .proto = BOOT_PVH };
	struct boot_params p = { .map = &map,
				 .kernel = &k,
				 .cmdline = "quiet",
				 .initramfs_gpa = 0xBFFFF000,
				 .initramfs_size = 0x123 };

	(void)state;
	assert_int_equal(loader_write_params(&gm, &p, NULL), 0);
	assert_true(get(0x6000, 4) == 0x336EC578);
	assert_true(get(0x6004, 4) == 1);
	assert_true(get(0x6008, 4) == 0);
	assert_true(get(0x600C, 4) == 1);
	assert_true(get(0x6010, 8) == 0x6040);
	assert_true(get(0x6018, 8) == 0x20000);
	assert_true(get(0x6020, 8) == 0xA0000);
	assert_true(get(0x6028, 8) == 0x7000);
	assert_true(get(0x6034, 4) == 0);
	assert_true(get(0x6040, 8) == 0xBFFFF000);
	assert_true(get(0x6048, 8) == 0x123);
	assert_true(get(0x6050, 8) == 0 && get(0x6058, 8) == 0);
	check_pvh_map();
	assert_string_equal((const char *)ram + 0x20000, "quiet");
}

static void pvh_without_initramfs_has_no_module(void **state)
{
	struct boot_kernel k = { .proto = BOOT_PVH };
	struct boot_params p = { .map = &map, .kernel = &k };

	(void)state;
	assert_int_equal(loader_write_params(&gm, &p, NULL), 0);
	assert_true(get(0x600C, 4) == 0);
	assert_true(get(0x6010, 8) == 0);
	assert_true(get(0x6018, 8) == 0x20000);
	assert_int_equal(ram[0x6040], 0xEE);
}

static void zero_page_is_as_documented(void **state)
{
	struct boot_kernel k = {
		.proto = BOOT_BZIMAGE, .start = 0x100000, .entry = 0x100000, .header_len = 123
	};
	struct boot_params p = { .map = &map,
				 .kernel = &k,
				 .cmdline = "quiet",
				 .initramfs_gpa = 0xBFFFF000,
				 .initramfs_size = 0x123 };

	(void)state;
	memset(k.header, 0x5A, k.header_len);
	k.header[0x210 - 0x1F1] = 0;
	assert_int_equal(loader_write_params(&gm, &p, NULL), 0);
	assert_int_equal(ram[0x7000], 0);
	assert_true(get(0x7070, 8) == 0xA0000);
	assert_int_equal(ram[0x71E8], 4);
	assert_int_equal(ram[0x71F0], 0);
	assert_int_equal(ram[0x71F1], 0x5A);
	assert_int_equal(ram[0x7210], 0xFF);
	assert_true(get(0x7214, 4) == 0x100000);
	assert_true(get(0x7218, 4) == 0xBFFFF000);
	assert_true(get(0x721C, 4) == 0x123);
	assert_true(get(0x7228, 4) == 0x20000);
	assert_true(get(0x7238, 4) == 0x10000);
	assert_int_equal(ram[0x71F1 + 122], 0x5A);
	assert_int_equal(ram[0x71F1 + 123], 0);
	assert_true(get(0x72D0 + 20, 8) == 0x100000 && get(0x72D8 + 20, 8) == 0xBFF00000 &&
		    get(0x72E0 + 20, 4) == 1);
	assert_true(get(0x72D0 + 60, 8) == 0xE8000000 && get(0x72E0 + 60, 4) == 2);
	assert_int_equal(ram[0x7FFF], 0);
	assert_int_equal(ram[0x8000], 0xEE);
	k.header[0x210 - 0x1F1] = 0x21; /* a loader that has a number keeps it */
	assert_int_equal(loader_write_params(&gm, &p, NULL), 0);
	assert_int_equal(ram[0x7210], 0x21);
}

static void parameters_without_ram_are_an_error(void **state)
{
	struct boot_kernel k = { .proto = BOOT_PVH };
	struct boot_params p = { .map = &map, .kernel = &k };

	(void)state;
	gm.n = 0;
	assert_int_equal(loader_write_params(&gm, &p, NULL), -EFAULT);
	k.proto = BOOT_BZIMAGE;
	assert_int_equal(loader_write_params(&gm, &p, NULL), -EFAULT);
	p.cmdline = "x";
	assert_int_equal(loader_write_params(&gm, &p, NULL), -EFAULT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		T(files_that_are_no_kernel_are_told_apart),
		T(initramfs_lies_at_the_end_of_low_ram),
		T(initramfs_without_room_is_refused),
		T(initramfs_fits_below_a_high_kernel),
		T(initramfs_that_cannot_be_read_is_an_error),
		T(cmdline_has_room_for_64_kib_with_its_end),
		T(absent_cmdline_is_not_written),
		T(pvh_start_info_is_as_documented),
		T(pvh_without_initramfs_has_no_module),
		T(zero_page_is_as_documented),
		T(parameters_without_ram_are_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
