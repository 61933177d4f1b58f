/* SPDX-License-Identifier: ISC */
#include "vmmd/boot/firmware.h"

#include "common/buf.h"
#include "common/log.h"
#include "vmmd/acpi/tables.h"
#include "vmmd/arch/x86_64/layout.h"
#include "vmmd/arch/x86_64/regs.h"
#include "vmmd/boot/mptable.h"
#include "vmmd/boot/smbios.h"

static int write_acpi(const struct gmem *gm, const struct firmware_cfg *cfg, struct err *e)
{
	const struct acpi_cfg acpi = {
		.topo = cfg->topo,
		.boot_vcpus = cfg->boot_vcpus,
		.max_vcpus = cfg->max_vcpus,
		.serial = cfg->serial,
		.mmio32 = LAYOUT_MMIO32,
		.mmio32_size = LAYOUT_MMIO32_SIZE,
		.mmio64 = cfg->map->device64,
		.mmio64_size = cfg->map->device64_end - cfg->map->device64,
		.ged = cfg->map->ged,
	};
	_cleanup_(wbuf_fini) struct wbuf b;

	wbuf_init(&b, LAYOUT_ACPI_END - LAYOUT_RSDP);
	int r = acpi_build(LAYOUT_RSDP, &acpi, &b, e);
	if (r == -EMSGSIZE)
		return err_wrap(e, -ENOSPC, "ACPI tables for %u vCPUs do not fit", cfg->max_vcpus);
	if (r < 0)
		return r;
	r = gmem_write(gm, LAYOUT_RSDP, b.p, b.len);
	return r < 0 ? err_sys(e, r, "cannot write the ACPI tables") : 0;
}

static int write_smbios(const struct gmem *gm, uint64_t *end, struct err *e)
{
	_cleanup_(wbuf_fini) struct wbuf b;

	wbuf_init(&b, LAYOUT_FIRMWARE_TABLES_END - LAYOUT_SMBIOS);
	int r = smbios_build(LAYOUT_SMBIOS, &b);
	if (r == 0)
		r = gmem_write(gm, LAYOUT_SMBIOS, b.p, b.len);
	if (r < 0)
		return err_sys(e, r, "cannot write the SMBIOS tables");
	*end = LAYOUT_SMBIOS + b.len;
	return 0;
}

/* Guests that have ACPI don't need it, so what it can't tell is no reason to fail. */
static int write_mptable(const struct gmem *gm, const struct firmware_cfg *cfg, uint64_t after,
			 struct err *e)
{
	uint64_t gpa = (after + 16) & ~UINT64_C(15);
	uint32_t highest = cpuid_x2apic_id(&cfg->topo, cfg->max_vcpus - 1);
	_cleanup_(wbuf_fini) struct wbuf b;

	if (highest >= LAYOUT_XAPIC_ID_MAX) {
		log_info("no MP table: APIC id %u is too high for it", highest);
		return 0;
	}
	wbuf_init(&b, LAYOUT_FIRMWARE_TABLES_END - gpa);
	int r = mptable_build(gpa, &cfg->topo, cfg->boot_vcpus, &b);
	if (r == -EMSGSIZE) {
		log_info("no MP table: it does not fit below 1 MiB");
		return 0;
	}
	if (r == 0)
		r = gmem_write(gm, gpa, b.p, b.len);
	return r < 0 ? err_sys(e, r, "cannot write the MP table") : 0;
}

int firmware_write(const struct gmem *gm, const struct firmware_cfg *cfg, struct err *e)
{
	/* Guests that scan for the RSDP look into the segment that this word names. */
	const uint8_t ebda[2] = { (uint8_t)(LAYOUT_RSDP >> 4), (uint8_t)(LAYOUT_RSDP >> 12) };
	uint64_t smbios_end = 0;
	int r = regs_write_tables(gm);

	if (r == 0)
		r = gmem_write(gm, LAYOUT_EBDA_POINTER, ebda, sizeof(ebda));
	if (r < 0)
		return err_sys(e, r, "cannot write the boot tables");
	r = write_acpi(gm, cfg, e);
	if (r == 0)
		r = write_smbios(gm, &smbios_end, e);
	if (r == 0)
		r = write_mptable(gm, cfg, smbios_end, e);
	return r;
}
