/* SPDX-License-Identifier: ISC */
/* ELF kernels: the first byte picks the guest's RAM, the rest is the file. image_mem.h checks the
 * loader's promises. */
#include <stdint.h>

#include "common/units.h"
#include "tests/unit/vmmd/boot/image_mem.h"
#include "vmmd/boot/elf.h"
#include "vmmd/boot/loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void load(const struct memmap *map, const uint8_t *file, size_t size)
{
	struct boot_kernel kernel;
	struct image_mem m;
	struct err e;

	err_clear(&e);
	image_mem_init(&m, map, file, size);
	int r = loader_load_kernel(&m.img, map, &kernel, &e);
	image_promise((r < 0) == (err_count(&e) > 0));
	if (r < 0 || kernel.proto != BOOT_PVH)
		return;
	image_promise(kernel.start < kernel.end && kernel.entry >= kernel.start &&
		      kernel.entry < kernel.end);
	image_promise(memmap_is_ram(map, kernel.entry, 1) && m.n_loads > 0);
}

static void notes(const uint8_t *data, size_t size)
{
	uint32_t entry;

	for (uint64_t align = 4; align <= 4096; align *= 4)
		image_promise(elf_find_pvh_entry(data, size, align, &entry) <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t ram[] = { 2 * MIB, 64 * MIB, 3 * GIB, 5 * GIB };
	struct memmap map;

	if (size < 1 || memmap_init(&map, ram[data[0] % nitems(ram)], 46, NULL) < 0)
		return 0;
	load(&map, data + 1, size - 1);
	notes(data + 1, size - 1);
	return 0;
}
