/* SPDX-License-Identifier: ISC */
#include "vmmd/boot/loader.h"

#include <inttypes.h>
#include <string.h>

#include "vmmd/arch/x86_64/layout.h"
#include "vmmd/boot/bzimage.h"
#include "vmmd/boot/elf.h"
#include "vmmd/boot/pvh.h"

enum { PAGE = 4096 };

int loader_load_kernel(const struct boot_image *img, const struct memmap *map,
		       struct boot_kernel *out, struct err *e)
{
	uint8_t magic[4] = { 0 };

	memset(out, 0, sizeof(*out));
	if (img->size == 0)
		return err_set(e, -ENOEXEC, "the file is empty");
	if (img->size >= sizeof(magic)) {
		int r = img->read_at(img->ctx, 0, magic, sizeof(magic));

		if (r < 0)
			return err_sys(e, r, "cannot read the file");
	}
	/* An ELF file that can't be loaded gets its own reason, not "not a bzImage". */
	return elf_has_magic(magic) ? elf_load(img, map, out, e) : bzimage_load(img, map, out, e);
}

int loader_load_initramfs(const struct boot_image *img, const struct memmap *map,
			  const struct boot_kernel *kernel, uint64_t *gpa, struct err *e)
{
	uint64_t ram = map->ram[0].size;

	if (img->size == 0)
		return err_set(e, -EINVAL, "the file is empty");
	if (img->size > ram - LAYOUT_HIGH_RAM)
		return err_set(e, -ENOSPC,
			       "%" PRIu64 " bytes do not fit into the %" PRIu64
			       " bytes of guest RAM below 3 GiB",
			       img->size, ram);
	uint64_t at = (ram - img->size) & ~(uint64_t)(PAGE - 1);
	/* The kernel may lie above it: then only its start counts. */
	if (at < LAYOUT_HIGH_RAM || (at < kernel->end && at + img->size > kernel->start))
		return err_set(e, -ENOSPC,
			       "%" PRIu64 " bytes do not fit beside the kernel, which ends at "
			       "0x%" PRIx64,
			       img->size, kernel->end);
	int r = img->load(img->ctx, 0, at, img->size);
	if (r < 0)
		return err_sys(e, r, "cannot load it");
	*gpa = at;
	return 0;
}

int loader_check_cmdline(const char *cmdline, struct err *e)
{
	size_t len = strlen(cmdline);

	if (len >= LAYOUT_CMDLINE_CAP)
		return err_set(e, -EINVAL, "command line of %zu bytes is longer than %" PRIu64, len,
			       LAYOUT_CMDLINE_CAP - 1);
	return 0;
}

int loader_write_params(const struct gmem *gm, const struct boot_params *p, struct err *e)
{
	int r;

	if (p->cmdline != NULL) {
		r = loader_check_cmdline(p->cmdline, e);
		if (r < 0)
			return r;
		r = gmem_write(gm, LAYOUT_CMDLINE, p->cmdline, strlen(p->cmdline) + 1);
		if (r < 0)
			return err_sys(e, r, "cannot write the command line");
	}
	switch (p->kernel->proto) {
	case BOOT_PVH:
		return pvh_write_params(gm, p, e);
	case BOOT_BZIMAGE:
		return bzimage_write_params(gm, p, e);
	}
	return err_set(e, -EINVAL, "unknown boot protocol");
}
