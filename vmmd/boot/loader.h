/* SPDX-License-Identifier: ISC */
/*
 * From a kernel file to a machine that can start: find out what it is (ELF64 with a PVH note, or
 * bzImage), load it, place the initramfs, write the command line and what the boot protocol wants
 * to find.
 */
#ifndef VMMD_BOOT_LOADER_H
#define VMMD_BOOT_LOADER_H

#include <stdint.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "common/gmem.h"
#include "vmmd/arch/x86_64/memmap.h"
#include "vmmd/arch/x86_64/regs.h"
#include "vmmd/boot/image.h"

enum { BOOT_SETUP_HEADER_MAX = 0x290 - 0x1F1 };

/* A loaded kernel. */
struct boot_kernel {
	enum boot_protocol proto;
	uint64_t entry; /* first instruction, physical */
	/* What it occupies, and needs free before it reads its memory map; end exclusive. */
	uint64_t start, end;
	size_t header_len; /* bzImage: its setup header, from file offset 0x1F1 */
	uint8_t header[BOOT_SETUP_HEADER_MAX];
};

/* Parse and load. -ENOEXEC (not a kernel, or a broken one), -ENOSPC (too little RAM) or what the
 * callbacks said, with the reason in @e; guest memory may hold parts of the file then. Work is
 * bounded by the file's size and RAM. */
int loader_load_kernel(const struct boot_image *img, const struct memmap *map,
		       struct boot_kernel *out, struct err *e) __must_check;

/* Place (and load) an initramfs at the end of the RAM below 3 GiB. -EINVAL: empty; -ENOSPC: it
 * doesn't fit there beside the kernel. Sets *@gpa. */
int loader_load_initramfs(const struct boot_image *img, const struct memmap *map,
			  const struct boot_kernel *kernel, uint64_t *gpa,
			  struct err *e) __must_check;

/* -EINVAL when the text and its terminator don't fit. */
int loader_check_cmdline(const char *cmdline, struct err *e) __must_check;

struct boot_params {
	const struct memmap *map;
	const struct boot_kernel *kernel;
	const char *cmdline;                    /* NULL: not written, reads as "" */
	uint64_t initramfs_gpa, initramfs_size; /* size 0: none */
};
/* Command line and PVH start info or zero page. */
int loader_write_params(const struct gmem *gm, const struct boot_params *p,
			struct err *e) __must_check;

#endif
