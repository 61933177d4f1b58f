/* SPDX-License-Identifier: ISC */
/*
 * bzImages, an initramfs beside them and the zero page that follows. The first byte picks the
 * guest's RAM, the next four are the size of the initramfs, the rest is the file.
 */
#include <stdint.h>

#include "common/units.h"
#include "tests/unit/vmmd/boot/image_mem.h"
#include "vmmd/boot/bzimage.h"
#include "vmmd/boot/loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void place_initramfs(const struct memmap *map, const struct boot_kernel *kernel,
			    uint64_t bytes, uint64_t *gpa)
{
	struct image_mem m;

	image_mem_init(&m, map, NULL, bytes);
	if (loader_load_initramfs(&m.img, map, kernel, gpa, NULL) < 0)
		return;
	image_promise(*gpa + bytes <= 3 * GIB &&
		      (*gpa >= kernel->end || *gpa + bytes <= kernel->start));
}

static void write_params(const struct memmap *map, const struct boot_kernel *kernel, uint64_t gpa,
			 uint64_t bytes)
{
	static uint8_t ram[0x30000];
	struct gmem gm = { 0 };
	const struct boot_params p = {
		.map = map,
		.kernel = kernel,
		.cmdline = "fuzz",
		.initramfs_gpa = gpa,
		.initramfs_size = bytes,
	};

	image_promise(gmem_add(&gm, 0, sizeof(ram), ram) == 0);
	image_promise(loader_write_params(&gm, &p, NULL) == 0);
	image_promise(ram[0x7000 + 0x1E8] >= 3 && ram[0x7000 + 0x210] != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t ram[] = { 2 * MIB, 64 * MIB, 3 * GIB, 5 * GIB };
	struct boot_kernel kernel;
	struct image_mem m;
	struct memmap map;
	struct err e;
	uint64_t gpa = 0;
	uint32_t bytes;

	if (size < 5 || memmap_init(&map, ram[data[0] % nitems(ram)], 46, NULL) < 0)
		return 0;
	memcpy(&bytes, data + 1, sizeof(bytes));
	err_clear(&e);
	image_mem_init(&m, &map, data + 5, size - 5);
	int r = bzimage_load(&m.img, &map, &kernel, &e);
	image_promise((r < 0) == (err_count(&e) > 0));
	if (r < 0)
		return 0;
	image_promise(m.n_loads == 1 && kernel.entry == m.load[0].gpa &&
		      kernel.end >= kernel.start + m.load[0].len);
	place_initramfs(&map, &kernel, bytes, &gpa);
	write_params(&map, &kernel, gpa, gpa != 0 ? bytes : 0);
	return 0;
}
