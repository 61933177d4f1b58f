/* SPDX-License-Identifier: ISC */
/*
 * Linux x86 boot protocol (Documentation/arch/x86/boot.rst). Offsets below are those of the file
 * and of the zero page alike: the setup header lies at 0x1F1 in both.
 */
#include "vmmd/boot/bzimage.h"

#include <inttypes.h>
#include <string.h>

#include "common/ovf.h"
#include "vmmd/arch/x86_64/layout.h"

enum {
	ZP_ACPI_RSDP = 0x070,
	ZP_E820_ENTRIES = 0x1E8,
	HDR_START = 0x1F1,
	HDR_SETUP_SECTS = 0x1F1,
	HDR_SYSSIZE = 0x1F4, /* payload in units of 16 bytes */
	HDR_JUMP_LEN = 0x201, /* the header ends this many bytes after 0x202 */
	HDR_MAGIC = 0x202,
	HDR_VERSION = 0x206,
	HDR_LOADER_TYPE = 0x210,
	HDR_LOADFLAGS = 0x211,
	HDR_CODE32_START = 0x214,
	HDR_RAMDISK_IMAGE = 0x218,
	HDR_RAMDISK_SIZE = 0x21C,
	HDR_CMD_LINE_PTR = 0x228,
	HDR_CMDLINE_SIZE = 0x238,
	HDR_PREF_ADDRESS = 0x258,
	HDR_INIT_SIZE = 0x260,
	HDR_MIN_END = 0x218, /* all that version 2.00 has and we need */
	HDR_MAX_END = 0x290,
	ZP_E820_TABLE = 0x2D0,
	ZP_SIZE = 4096,

	SECTOR = 512,
	SETUP_SECTS_DEFAULT = 4, /* what 0 means */
	MAGIC_HDRS = 0x53726448,
	VERSION_MIN = 0x0200,
	VERSION_SYSSIZE = 0x0204, /* a full 32 bits, and right for images that are loaded high */
	VERSION_INIT_SIZE = 0x020A,
	LOADED_HIGH = 1,
	LOADER_UNDEFINED = 0xFF,
	E820_ENTRY = 20,
};
_Static_assert(HDR_MAX_END - HDR_START == BOOT_SETUP_HEADER_MAX, "loader.h");

/* Fields by their offset in the file. Callers see to it that they lie in the header. */
static uint16_t hdr_u16(const struct boot_kernel *k, unsigned off)
{
	const uint8_t *p = &k->header[off - HDR_START];

	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t hdr_u32(const struct boot_kernel *k, unsigned off)
{
	return hdr_u16(k, off) | (uint32_t)hdr_u16(k, off + 2) << 16;
}

static uint64_t hdr_u64(const struct boot_kernel *k, unsigned off)
{
	return hdr_u32(k, off) | (uint64_t)hdr_u32(k, off + 4) << 32;
}

static uint8_t hdr_u8(const struct boot_kernel *k, unsigned off)
{
	return k->header[off - HDR_START];
}

static int read_header(const struct boot_image *img, struct boot_kernel *k, struct err *e)
{
	uint64_t len = img->size < HDR_MAX_END ? img->size : HDR_MAX_END;

	if (img->size < HDR_MIN_END)
		return err_set(e, -ENOEXEC,
			       "neither an ELF file nor a bzImage: only %" PRIu64 " bytes",
			       img->size);
	len -= HDR_START;
	int r = img->read_at(img->ctx, HDR_START, k->header, len);
	if (r < 0)
		return err_sys(e, r, "cannot read the setup header");
	if (hdr_u32(k, HDR_MAGIC) != MAGIC_HDRS)
		return err_set(e, -ENOEXEC, "neither an ELF file nor a bzImage");
	uint64_t end = (uint64_t)HDR_MAGIC + hdr_u8(k, HDR_JUMP_LEN);
	if (end < HDR_MIN_END || end - HDR_START > len)
		return err_set(e, -ENOEXEC, "bzImage setup header ends at 0x%" PRIx64, end);
	k->header_len = end - HDR_START;
	/* What lies behind the header is code, not fields. */
	memset(&k->header[k->header_len], 0, sizeof(k->header) - k->header_len);
	return 0;
}

static int check_header(const struct boot_kernel *k, struct err *e)
{
	if (hdr_u16(k, HDR_VERSION) < VERSION_MIN)
		return err_set(e, -ENOEXEC, "bzImage boot protocol 0x%04x is older than 2.00",
			       hdr_u16(k, HDR_VERSION));
	if ((hdr_u8(k, HDR_LOADFLAGS) & LOADED_HIGH) == 0)
		return err_set(e, -ENOEXEC, "kernel is a zImage, made to be loaded below 1 MiB");
	if (hdr_u32(k, HDR_CODE32_START) < LAYOUT_HIGH_RAM)
		return err_set(e, -ENOEXEC, "bzImage load address 0x%" PRIx32 " is below 1 MiB",
			       hdr_u32(k, HDR_CODE32_START));
	return 0;
}

/* The kernel unpacks itself into init_size bytes at its preferred address before it looks at any
 * memory map. Sets k->end to what must be RAM and free; k->start and the loaded length are
 * known. */
static int reserve_run_time(const struct memmap *map, uint64_t loaded, struct boot_kernel *k,
			    struct err *e)
{
	uint64_t pref, size, end;

	k->end = k->start + loaded;
	if (hdr_u16(k, HDR_VERSION) < VERSION_INIT_SIZE ||
	    k->header_len < HDR_INIT_SIZE + 4 - HDR_START)
		return 0;
	pref = hdr_u64(k, HDR_PREF_ADDRESS);
	size = hdr_u32(k, HDR_INIT_SIZE);
	if (size == 0)
		return 0;
	if (pref < k->start) /* it moves up from where it was loaded, never down */
		pref = k->start;
	if (ovf_add_u64(pref, size, &end) < 0 || !memmap_is_ram(map, pref, size))
		return err_set(e, -ENOSPC,
			       "bzImage needs 0x%" PRIx64 " bytes at 0x%" PRIx64
			       " to unpack, which is not guest RAM",
			       size, pref);
	if (end > k->end)
		k->end = end;
	return 0;
}

static int load_payload(const struct boot_image *img, const struct memmap *map,
			struct boot_kernel *k, struct err *e)
{
	unsigned sects =
		hdr_u8(k, HDR_SETUP_SECTS) != 0 ? hdr_u8(k, HDR_SETUP_SECTS) : SETUP_SECTS_DEFAULT;
	uint64_t off = (uint64_t)(sects + 1) * SECTOR;

	if (off >= img->size)
		return err_set(e, -ENOEXEC,
			       "bzImage claims %u setup sectors but ends after %" PRIu64 " bytes",
			       sects, img->size);
	uint64_t len = img->size - off;
	/* There may be more (a signature), never less. */
	if (hdr_u16(k, HDR_VERSION) >= VERSION_SYSSIZE && len / 16 < hdr_u32(k, HDR_SYSSIZE))
		return err_set(e, -ENOEXEC,
			       "bzImage is truncated: 0x%" PRIx64 " of 0x%" PRIx64 " bytes are there",
			       len, (uint64_t)hdr_u32(k, HDR_SYSSIZE) * 16);
	k->start = k->entry = hdr_u32(k, HDR_CODE32_START);
	if (!memmap_is_ram(map, k->start, len))
		return err_set(e, -ENOSPC,
			       "kernel of 0x%" PRIx64 " bytes at 0x%" PRIx64
			       " does not fit into guest RAM",
			       len, k->start);
	int r = reserve_run_time(map, len, k, e);
	if (r < 0)
		return r;
	r = img->load(img->ctx, off, k->start, len);
	return r < 0 ? err_sys(e, r, "cannot load the kernel") : 0;
}

int bzimage_load(const struct boot_image *img, const struct memmap *map, struct boot_kernel *out,
		 struct err *e)
{
	int r;

	*out = (struct boot_kernel){ .proto = BOOT_BZIMAGE };
	r = read_header(img, out, e);
	if (r == 0)
		r = check_header(out, e);
	if (r == 0)
		r = load_payload(img, map, out, e);
	return r;
}

static void put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static void put_e820(uint8_t *zp, const struct memmap *map)
{
	struct memmap_e820 e820[MEMMAP_E820_MAX];
	unsigned n = memmap_e820(map, e820);

	zp[ZP_E820_ENTRIES] = (uint8_t)n;
	for (unsigned i = 0; i < n; i++) {
		uint8_t *p = &zp[ZP_E820_TABLE + i * E820_ENTRY];

		put_le(p, e820[i].addr, 8);
		put_le(p + 8, e820[i].size, 8);
		put_le(p + 16, e820[i].type, 4);
	}
}

int bzimage_write_params(const struct gmem *gm, const struct boot_params *p, struct err *e)
{
	uint8_t zp[ZP_SIZE] = { 0 };

	memcpy(&zp[HDR_START], p->kernel->header, p->kernel->header_len);
	if (zp[HDR_LOADER_TYPE] == 0)
		zp[HDR_LOADER_TYPE] = LOADER_UNDEFINED;
	put_le(&zp[HDR_CODE32_START], p->kernel->start, 4);
	put_le(&zp[HDR_CMD_LINE_PTR], LAYOUT_CMDLINE, 4);
	put_le(&zp[HDR_CMDLINE_SIZE], LAYOUT_CMDLINE_CAP, 4);
	/* Below 3 GiB, as loader_load_initramfs() places it. */
	put_le(&zp[HDR_RAMDISK_IMAGE], p->initramfs_size > 0 ? p->initramfs_gpa : 0, 4);
	put_le(&zp[HDR_RAMDISK_SIZE], p->initramfs_size, 4);
	put_le(&zp[ZP_ACPI_RSDP], LAYOUT_RSDP, 8);
	put_e820(zp, p->map);
	int r = gmem_write(gm, LAYOUT_ZERO_PAGE, zp, sizeof(zp));
	return r < 0 ? err_sys(e, r, "cannot write the zero page") : 0;
}
