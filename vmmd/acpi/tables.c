/* SPDX-License-Identifier: ISC */
/*
 * Hardware-reduced ACPI (ACPI 6.5 4.1): no SCI, no PM1 blocks, no FACS. Tables lie back to back
 * behind the RSDP, the XSDT last.
 */
#include "vmmd/acpi/tables.h"

#include <inttypes.h>
#include <string.h>

#include "vmmd/acpi/dsdt.h"
#include "vmmd/arch/x86_64/layout.h"

enum {
	HEADER_BYTES = 36,
	HEADER_LENGTH = 4,
	HEADER_CHECKSUM = 9,
	RSDP_BYTES = 36,
	RSDP_V1_BYTES = 20,
	RSDP_CHECKSUM = 8,
	RSDP_EXT_CHECKSUM = 32,

	FADT_BYTES = 276,
	FADT_FLAGS = 112,
	FADT_RESET_REG = 116,
	FADT_RESET_VALUE = 128,
	FADT_MINOR = 131,
	FADT_X_DSDT = 140,
	FADT_X_PM_TMR_BLK = 208,
	FADT_SLEEP_CONTROL = 244,
	FADT_SLEEP_STATUS = 256,
	FADT_HYPERVISOR = 268,
	FADT_HW_REDUCED = 1 << 20,
	FADT_RESET_REG_SUP = 1 << 10,
	FADT_TMR_VAL_EXT = 1 << 8,

	SPACE_IO = 1,
	ACCESS_BYTE = 1,
	ACCESS_QWORD = 4, /* of the timer, though only 32 bits are decoded */

	MADT_ENABLED = 1,
	MADT_ONLINE_CAPABLE = 2,
	MADT_IOAPIC = 1,
	MADT_OVERRIDE = 2,

	TABLES_MAX = 8,
};

/* Starts a table and returns where; table_end() completes it. */
static size_t table_begin(struct wbuf *b, const char *signature, uint8_t revision, const char *id)
{
	size_t at = b->len;

	wbuf_str(b, signature);
	wbuf_le32(b, 0); /* length */
	wbuf_u8(b, revision);
	wbuf_u8(b, 0); /* checksum */
	wbuf_str(b, "CLOUDH");
	wbuf_str(b, id); /* 8 characters */
	wbuf_le32(b, 1);
	wbuf_str(b, "RVAT");
	wbuf_u8(b, 0);
	wbuf_u8(b, 0);
	wbuf_u8(b, 0);
	wbuf_u8(b, 1);
	return at;
}

static uint8_t checksum(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	return (uint8_t)-sum;
}

static void put_le(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static void table_end(struct wbuf *b, size_t at)
{
	if (b->error != 0)
		return;
	put_le(b->p + at + HEADER_LENGTH, b->len - at, 4);
	b->p[at + HEADER_CHECKSUM] = checksum(b->p + at, b->len - at);
}

int acpi_build_dsdt(const struct acpi_cfg *cfg, struct wbuf *out)
{
	size_t at = table_begin(out, "DSDT", 6, "CHDSDT  ");
	int r = acpi_put_dsdt_objects(cfg, out);

	table_end(out, at);
	return r;
}

/* Generic address structure (5.2.3.2) in I/O space. */
static void put_gas_io(uint8_t *p, uint8_t bits, uint8_t access, uint64_t port)
{
	p[0] = SPACE_IO;
	p[1] = bits;
	p[2] = 0;
	p[3] = access;
	put_le(p + 4, port, 8);
}

static void build_fadt(struct wbuf *b, uint64_t dsdt)
{
	size_t at = table_begin(b, "FACP", 6, "CHFACP  ");

	wbuf_zero(b, FADT_BYTES - HEADER_BYTES);
	if (b->error != 0)
		return;
	uint8_t *t = b->p + at;
	put_le(t + FADT_FLAGS, FADT_HW_REDUCED | FADT_RESET_REG_SUP | FADT_TMR_VAL_EXT, 4);
	put_gas_io(t + FADT_RESET_REG, 8, ACCESS_BYTE, PORT_ACPI_SLEEP);
	t[FADT_RESET_VALUE] = 1;
	t[FADT_MINOR] = 3;
	put_le(t + FADT_X_DSDT, dsdt, 8);
	put_gas_io(t + FADT_X_PM_TMR_BLK, 32, ACCESS_QWORD, PORT_ACPI_PM_TIMER);
	put_gas_io(t + FADT_SLEEP_CONTROL, 8, ACCESS_BYTE, PORT_ACPI_SLEEP);
	put_gas_io(t + FADT_SLEEP_STATUS, 8, ACCESS_BYTE, PORT_ACPI_SLEEP);
	memcpy(t + FADT_HYPERVISOR, "CLOUDHYP", 8);
	table_end(b, at);
}

/* All processors as x2APIC entries, whatever their id. */
static void build_madt(struct wbuf *b, const struct acpi_cfg *cfg)
{
	size_t at = table_begin(b, "APIC", 5, "CHMADT  ");

	wbuf_le32(b, (uint32_t)LAYOUT_LAPIC);
	wbuf_le32(b, 0); /* no 8259 */
	for (uint32_t i = 0; i < cfg->max_vcpus && b->error == 0; i++)
		acpi_put_x2apic(b, cpuid_x2apic_id(&cfg->topo, i),
				(i < cfg->boot_vcpus ? MADT_ENABLED : 0) | MADT_ONLINE_CAPABLE, i);
	wbuf_u8(b, MADT_IOAPIC);
	wbuf_u8(b, 12);
	wbuf_le16(b, 0); /* id 0 */
	wbuf_le32(b, (uint32_t)LAYOUT_IOAPIC);
	wbuf_le32(b, 0); /* first GSI */
	/* COM1's line goes to the pin of the same number, polarity and trigger as on ISA. */
	wbuf_u8(b, MADT_OVERRIDE);
	wbuf_u8(b, 10);
	wbuf_u8(b, 0);
	wbuf_u8(b, IRQ_COM1);
	wbuf_le32(b, IRQ_COM1);
	wbuf_le16(b, 0);
	table_end(b, at);
}

/* Segment 0, bus 0 only: a guest that is told of more buses refuses a window of one MiB. */
static void build_mcfg(struct wbuf *b)
{
	size_t at = table_begin(b, "MCFG", 1, "CHMCFG  ");

	wbuf_zero(b, 8);
	wbuf_le64(b, LAYOUT_ECAM);
	wbuf_le16(b, 0); /* segment */
	wbuf_u8(b, 0);   /* first and last bus */
	wbuf_u8(b, 0);
	wbuf_le32(b, 0);
	table_end(b, at);
}

static void build_rsdp(struct wbuf *b)
{
	wbuf_str(b, "RSD PTR ");
	wbuf_u8(b, 0);
	wbuf_str(b, "CLOUDH");
	wbuf_u8(b, 2);
	wbuf_le32(b, 0); /* no RSDT */
	wbuf_le32(b, RSDP_BYTES);
	wbuf_le64(b, 0); /* XSDT, known at the end */
	wbuf_zero(b, 4);
}

static void complete_rsdp(struct wbuf *b, size_t at, uint64_t xsdt)
{
	uint8_t *p = b->p + at;

	put_le(p + 24, xsdt, 8);
	p[RSDP_CHECKSUM] = checksum(p, RSDP_V1_BYTES);
	p[RSDP_EXT_CHECKSUM] = checksum(p, RSDP_BYTES);
}

static int check_cfg(const struct acpi_cfg *cfg, struct err *e)
{
	if (cfg->boot_vcpus == 0 || cfg->boot_vcpus > cfg->max_vcpus)
		return err_set(e, -EINVAL, "%" PRIu32 " boot vCPUs of %" PRIu32 " at most",
			       cfg->boot_vcpus, cfg->max_vcpus);
	if (cfg->max_vcpus > ACPI_VCPUS_MAX)
		return err_set(e, -EINVAL,
			       "%" PRIu32 " vCPUs are more than ACPI names provide for (%d)",
			       cfg->max_vcpus, ACPI_VCPUS_MAX);
	return 0;
}

int acpi_build(uint64_t gpa, const struct acpi_cfg *cfg, struct wbuf *out, struct err *e)
{
	uint64_t list[TABLES_MAX];
	unsigned n = 0;
	size_t base = out->len;
	int r = check_cfg(cfg, e);

	if (r < 0)
		return r;
#define HERE() (gpa + (out->len - base))
	build_rsdp(out);
	uint64_t dsdt = HERE();
	r = acpi_build_dsdt(cfg, out);
	if (r < 0)
		return err_sys(e, r, "cannot build the DSDT");
	list[n++] = HERE();
	build_fadt(out, dsdt);
	list[n++] = HERE();
	build_madt(out, cfg);
	list[n++] = HERE();
	build_mcfg(out);
	uint64_t xsdt = HERE();
#undef HERE
	size_t at = table_begin(out, "XSDT", 1, "CHXSDT  ");
	for (unsigned i = 0; i < n; i++)
		wbuf_le64(out, list[i]);
	table_end(out, at);
	if (out->error != 0)
		return err_sys(e, out->error, "cannot build the ACPI tables");
	complete_rsdp(out, base, xsdt);
	return 0;
}
