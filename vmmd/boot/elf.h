/* SPDX-License-Identifier: ISC */
/* ELF64 kernels and firmware with a PVH entry point. */
#ifndef VMMD_BOOT_ELF_H
#define VMMD_BOOT_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmmd/boot/loader.h"

/* Does a file that starts with these 4 bytes want to be an ELF file? */
bool elf_has_magic(const uint8_t magic[4]);

/* As loader_load_kernel(), for a file with ELF's magic. Nothing is loaded before all headers and
 * notes are checked. */
int elf_load(const struct boot_image *img, const struct memmap *map, struct boot_kernel *out,
	     struct err *e) __must_check;

/* Look for XEN_ELFNOTE_PHYS32_ENTRY in the @len bytes of a note segment. 1 found (*@entry), 0 not
 * there, -EBADMSG: a note runs over the end. Pure. */
int elf_find_pvh_entry(const uint8_t *notes, size_t len, uint64_t align,
		       uint32_t *entry) __must_check;

#endif
