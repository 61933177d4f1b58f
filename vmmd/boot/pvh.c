/* SPDX-License-Identifier: ISC */
/* Layout: Xen's "x86/HVM direct boot ABI", start info version 1. */
#include "vmmd/boot/pvh.h"

#include "common/buf.h"
#include "vmmd/arch/x86_64/layout.h"

enum {
	START_INFO_VERSION = 1,
	START_INFO_BYTES = 56,
	MODULE_BYTES = 32,
	MEMMAP_ENTRY_BYTES = 24,
};
#define START_INFO_MAGIC UINT32_C(0x336EC578)

static void build_start_info(struct wbuf *b, const struct boot_params *p, unsigned n_memmap)
{
	unsigned modules = p->initramfs_size > 0 ? 1 : 0;

	wbuf_le32(b, START_INFO_MAGIC);
	wbuf_le32(b, START_INFO_VERSION);
	wbuf_le32(b, 0); /* flags */
	wbuf_le32(b, modules);
	wbuf_le64(b, modules > 0 ? LAYOUT_PVH_MODLIST : 0);
	wbuf_le64(b, LAYOUT_CMDLINE);
	wbuf_le64(b, LAYOUT_RSDP);
	wbuf_le64(b, LAYOUT_PVH_MEMMAP);
	wbuf_le32(b, n_memmap);
	wbuf_le32(b, 0);
}

static void build_module(struct wbuf *b, const struct boot_params *p)
{
	wbuf_le64(b, p->initramfs_gpa);
	wbuf_le64(b, p->initramfs_size);
	wbuf_le64(b, 0); /* no command line of its own */
	wbuf_le64(b, 0);
}

/* Write what @b holds and empty it. A failure to build shows here too. */
static int flush(const struct gmem *gm, uint64_t gpa, struct wbuf *b)
{
	int r = b->error != 0 ? b->error : gmem_write(gm, gpa, b->p, b->len);

	wbuf_reset(b);
	return r;
}

int pvh_write_params(const struct gmem *gm, const struct boot_params *p, struct err *e)
{
	struct memmap_e820 map[MEMMAP_E820_MAX];
	unsigned n = memmap_e820(p->map, map);
	_cleanup_(wbuf_fini) struct wbuf b;
	int r;

	wbuf_init(&b, 4096);
	build_start_info(&b, p, n);
	r = flush(gm, LAYOUT_PVH_START_INFO, &b);
	if (r == 0 && p->initramfs_size > 0) {
		build_module(&b, p);
		r = flush(gm, LAYOUT_PVH_MODLIST, &b);
	}
	for (unsigned i = 0; i < n; i++) {
		wbuf_le64(&b, map[i].addr);
		wbuf_le64(&b, map[i].size);
		wbuf_le32(&b, map[i].type);
		wbuf_le32(&b, 0);
	}
	if (r == 0)
		r = flush(gm, LAYOUT_PVH_MEMMAP, &b);
	return r < 0 ? err_sys(e, r, "cannot write the PVH start info") : 0;
}

_Static_assert(LAYOUT_PVH_START_INFO + START_INFO_BYTES <= LAYOUT_PVH_MODLIST, "start info");
_Static_assert(LAYOUT_PVH_MODLIST + MODULE_BYTES <= LAYOUT_PVH_MEMMAP, "module list");
_Static_assert(LAYOUT_PVH_MEMMAP + MEMMAP_E820_MAX * MEMMAP_ENTRY_BYTES <= LAYOUT_CMDLINE,
	       "memory map");
