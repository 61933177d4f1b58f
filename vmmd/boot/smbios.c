/* SPDX-License-Identifier: ISC */
/* DMTF DSP0134 3.2: 5.2.2 entry point, 7.1 BIOS, 7.2 System, 7.45 End of table. */
#include "vmmd/boot/smbios.h"

#include <stddef.h>

enum {
	ENTRY_BYTES = 24,
	ENTRY_CHECKSUM = 5,
	TYPE_BIOS = 0,
	TYPE_SYSTEM = 1,
	TYPE_END = 127,
	BIOS_BYTES = 20,
	SYSTEM_BYTES = 27,
	END_BYTES = 4,
	BIOS_HAS_PCI = 1 << 7,
	BIOS_EXT2_VIRTUAL_MACHINE = 1 << 4,
	UUID_BYTES = 16,
	WAKE_UP_UNKNOWN = 2,
	STRINGS_MAX = 4096,
};

static void header(struct wbuf *b, uint8_t type, uint8_t len, uint16_t handle)
{
	wbuf_u8(b, type);
	wbuf_u8(b, len);
	wbuf_le16(b, handle);
}

/* A string of a structure's set; the set ends with an empty one. */
static void string(struct wbuf *b, const char *s)
{
	wbuf_str(b, s);
	wbuf_u8(b, 0);
}

static void bios(struct wbuf *b, uint16_t handle)
{
	header(b, TYPE_BIOS, BIOS_BYTES, handle);
	wbuf_u8(b, 1);   /* vendor: first string */
	wbuf_u8(b, 2);   /* version: second */
	wbuf_le16(b, 0); /* segment */
	wbuf_u8(b, 0);   /* release date: none */
	wbuf_u8(b, 0);   /* ROM size */
	wbuf_le64(b, BIOS_HAS_PCI);
	wbuf_u8(b, 0);
	wbuf_u8(b, BIOS_EXT2_VIRTUAL_MACHINE);
	string(b, "cloud-hypervisor");
	string(b, "0");
	string(b, "");
}

static void system_info(struct wbuf *b, uint16_t handle)
{
	header(b, TYPE_SYSTEM, SYSTEM_BYTES, handle);
	wbuf_u8(b, 1); /* manufacturer */
	wbuf_u8(b, 2); /* product */
	wbuf_u8(b, 0); /* version */
	wbuf_u8(b, 0); /* serial number */
	wbuf_zero(b, UUID_BYTES);
	wbuf_u8(b, WAKE_UP_UNKNOWN);
	wbuf_u8(b, 0); /* SKU */
	wbuf_u8(b, 0); /* family */
	string(b, "Cloud Hypervisor");
	string(b, "cloud-hypervisor");
	string(b, "");
}

static void end(struct wbuf *b, uint16_t handle)
{
	header(b, TYPE_END, END_BYTES, handle);
	string(b, "");
	string(b, "");
}

static void entry_point(struct wbuf *b, uint64_t gpa, size_t table_len)
{
	size_t at = b->len;
	uint8_t sum = 0;

	wbuf_str(b, "_SM3_");
	wbuf_u8(b, 0); /* checksum, below */
	wbuf_u8(b, ENTRY_BYTES);
	wbuf_u8(b, 3); /* version 3.2.0 */
	wbuf_u8(b, 2);
	wbuf_u8(b, 0);
	wbuf_u8(b, 1); /* entry point revision */
	wbuf_u8(b, 0);
	wbuf_le32(b, (uint32_t)table_len);
	wbuf_le64(b, gpa + ENTRY_BYTES);
	if (b->error != 0)
		return;
	for (size_t i = at; i < b->len; i++)
		sum = (uint8_t)(sum + b->p[i]);
	b->p[at + ENTRY_CHECKSUM] = (uint8_t)-sum;
}

int smbios_build(uint64_t gpa, struct wbuf *out)
{
	_cleanup_(wbuf_fini) struct wbuf table;
	uint16_t handle = 1;

	wbuf_init(&table, STRINGS_MAX);
	bios(&table, handle++);
	system_info(&table, handle++);
	end(&table, handle++);
	if (table.error != 0)
		return table.error;
	entry_point(out, gpa, table.len);
	wbuf_put(out, table.p, table.len);
	return out->error;
}
