/* SPDX-License-Identifier: ISC */
/*
 * The objects of the DSDT. What has no registers behind it yet (PCI, CPU and memory hot-plug) isn't
 * published: a guest would poke at addresses that nobody answers.
 */
#include "vmmd/acpi/dsdt.h"

#include <assert.h>

#include "common/str.h"
#include "vmmd/acpi/aml.h"
#include "vmmd/arch/x86_64/layout.h"
#include "vmmd/legacy/acpi_pm.h"
#include "vmmd/pci/pci.h"

enum {
	PCI_DSM_FUNCTIONS = 0x21, /* 0 (this mask) and 5 */
	PCI_DSM_BOOT_CONFIG = 5,
	NOTIFY_BUTTON = 0x80,
	STA_PRESENT = 0xF,
	MADT_X2APIC = 9,
	MADT_X2APIC_BYTES = 16,
	S5_TYPE = 5,
};

/* PCI Firmware 3.3 4.6: E5C937D0-3553-4D7A-9117-EA4D19C3434D */
static const uint8_t pci_dsm_uuid[16] = {
	0xE5, 0xC9, 0x37, 0xD0, 0x35, 0x53, 0x4D, 0x7A,
	0x91, 0x17, 0xEA, 0x4D, 0x19, 0xC3, 0x43, 0x4D,
};

/* Method(name) { Return(v) } */
static void method_int(struct aml *a, const char *name, uint64_t v)
{
	aml_method(a, name, 0, false);
	aml_return(a);
	aml_int(a, v);
	aml_end(a);
}

/* Function 5 answers "don't keep the boot configuration": the guest may assign BARs anew. */
static void pci_dsm(struct aml *a)
{
	const uint8_t functions = PCI_DSM_FUNCTIONS, none = 0;

	aml_method(a, "_DSM", 4, false);
	aml_if(a);
	aml_equal(a);
	aml_arg(a, 0);
	aml_uuid(a, pci_dsm_uuid);
	{
		aml_if(a);
		aml_equal(a);
		aml_arg(a, 2);
		aml_int(a, 0);
		aml_return(a);
		aml_buffer(a, &functions, 1);
		aml_end(a);

		aml_if(a);
		aml_equal(a);
		aml_arg(a, 2);
		aml_int(a, PCI_DSM_BOOT_CONFIG);
		aml_return(a);
		aml_int(a, 0);
		aml_end(a);
	}
	aml_end(a);
	aml_return(a);
	aml_buffer(a, &none, 1);
	aml_end(a);
}

static void pci_resources(struct aml *a, const struct acpi_cfg *cfg)
{
	aml_resources(a, "_CRS");
	aml_res_bus(a, 0, 0);
	aml_res_io(a, PORT_PCI_MECH1, 1, PCI_MECH1_PORTS);
	aml_res_memory32(a, (uint32_t)LAYOUT_ECAM, PCI_ECAM_BYTES);
	aml_res_memory64(a, cfg->mmio32, cfg->mmio32_size);
	aml_res_memory64(a, cfg->mmio64, cfg->mmio64_size);
	aml_res_io_range(a, 0, PORT_PCI_MECH1 - 1);
	aml_res_io_range(a, PORT_PCI_MECH1 + PCI_MECH1_PORTS, UINT16_MAX);
	aml_resources_end(a);
}

/* INTA of each slot, straight to an IOAPIC pin. */
static void pci_routing(struct aml *a)
{
	aml_name(a, "_PRT");
	aml_package(a, PCI_SLOTS);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		aml_package(a, 4);
		aml_int(a, slot << 16 | 0xFFFF); /* all functions */
		aml_int(a, 0);
		aml_int(a, 0);
		aml_int(a, IRQ_PCI_FIRST + slot % IRQ_PCI_COUNT);
		aml_end(a);
	}
	aml_end(a);
}

static void pci_segment(struct aml *a, const struct acpi_cfg *cfg)
{
	aml_device(a, "_SB_.PC00");
	aml_name_eisa_id(a, "_HID", "PNP0A08");
	aml_name_eisa_id(a, "_CID", "PNP0A03");
	aml_name_int(a, "_ADR", 0);
	aml_name_int(a, "_SEG", 0);
	aml_name_int(a, "_UID", 0);
	aml_name_int(a, "_CCA", 1);
	aml_name_int(a, "SUPP", 0);
	method_int(a, "_PXM", 0);
	pci_dsm(a);
	pci_resources(a, cfg);
	pci_routing(a);
	aml_end(a);
}

/* The configuration window belongs to the board, or Linux doesn't trust MCFG. */
static void motherboard(struct aml *a)
{
	aml_device(a, "_SB_.MBRD");
	aml_name_eisa_id(a, "_HID", "PNP0C02");
	aml_name_int(a, "_UID", 0);
	aml_resources(a, "_CRS");
	aml_res_memory32(a, (uint32_t)LAYOUT_ECAM, PCI_ECAM_BYTES);
	aml_resources_end(a);
	aml_end(a);
}

static void serial_port(struct aml *a)
{
	aml_device(a, "_SB_.COM1");
	aml_name_eisa_id(a, "_HID", "PNP0501");
	aml_name_int(a, "_UID", 0);
	aml_name_string(a, "_DDN", "COM1");
	aml_resources(a, "_CRS");
	aml_res_irq(a, IRQ_COM1);
	aml_res_io(a, PORT_COM1, 0, 8);
	aml_resources_end(a);
	aml_end(a);
}

static void power(struct aml *a)
{
	aml_name(a, "_S5_");
	aml_package(a, 4);
	aml_int(a, S5_TYPE);
	aml_int(a, S5_TYPE);
	aml_int(a, 0);
	aml_int(a, 0);
	aml_end(a);

	aml_device(a, "_SB_.PWRB");
	aml_name_eisa_id(a, "_HID", "PNP0C0C");
	aml_name_int(a, "_UID", 0);
	aml_end(a);
}

/* If (Local0 & bit) == bit: the terms follow, aml_end() closes. */
static void if_event(struct aml *a, enum ged_bit bit)
{
	aml_and(a);
	aml_local(a, 0);
	aml_int(a, bit);
	aml_local(a, 1);
	aml_if(a);
	aml_equal(a);
	aml_local(a, 1);
	aml_int(a, bit);
}

/* The status byte is cleared by reading it: read once, then look at each bit. */
static void event_scan(struct aml *a)
{
	aml_method(a, "ESCN", 0, true);
	aml_store(a);
	aml_path(a, "GDAT");
	aml_local(a, 0);

	if_event(a, GED_MEMORY);
	aml_path(a, "\\_SB_.MHPC.MSCN");
	aml_end(a);

	if_event(a, GED_POWER_BUTTON);
	aml_notify(a, "\\_SB_.PWRB", NOTIFY_BUTTON);
	aml_end(a);
	aml_end(a);
}

static void event_device(struct aml *a, const struct acpi_cfg *cfg)
{
	aml_device(a, "_SB_.GEC_");
	aml_name_eisa_id(a, "_HID", "PNP0A06");
	aml_name_string(a, "_UID", "Generic Event Controller");
	aml_resources(a, "_CRS");
	aml_res_memory64(a, cfg->ged, GED_MMIO_BYTES);
	aml_resources_end(a);
	aml_region_memory(a, "GDST", cfg->ged, GED_MMIO_BYTES);
	aml_field(a, "GDST", AML_ACCESS_BYTE, AML_WRITE_AS_ZEROS);
	aml_field_unit(a, "GDAT", 8);
	aml_end(a);
	event_scan(a);
	aml_end(a);

	aml_device(a, "_SB_.GED_");
	aml_name_string(a, "_HID", "ACPI0013");
	aml_name_int(a, "_UID", 0);
	aml_resources(a, "_CRS");
	aml_res_irq(a, IRQ_GED);
	aml_resources_end(a);
	aml_method(a, "_EVT", 1, true);
	aml_path(a, "\\_SB_.GEC_.ESCN");
	aml_end(a);
	aml_end(a);
}

static void processor(struct aml *a, const struct acpi_cfg *cfg, uint32_t index)
{
	_cleanup_(wbuf_fini) struct wbuf mat;
	char name[8];

	(void)str_fmt(name, sizeof(name), "C%03X", index);
	aml_device(a, name);
	aml_name_string(a, "_HID", "ACPI0007");
	aml_name_int(a, "_UID", index);
	method_int(a, "_STA", index < cfg->boot_vcpus ? STA_PRESENT : 0);
	wbuf_init(&mat, MADT_X2APIC_BYTES);
	acpi_put_x2apic(&mat, cpuid_x2apic_id(&cfg->topo, index), 1, index);
	aml_name(a, "_MAT");
	aml_buffer(a, mat.p, mat.len);
	method_int(a, "_PXM", 0);
	aml_end(a);
	if (mat.error != 0)
		a->out->error = mat.error;
}

static void processors(struct aml *a, const struct acpi_cfg *cfg)
{
	aml_device(a, "_SB_.CPUS");
	aml_name_string(a, "_HID", "ACPI0010");
	aml_name_eisa_id(a, "_CID", "PNP0A05");
	for (uint32_t i = 0; i < cfg->max_vcpus && a->out->error == 0; i++)
		processor(a, cfg, i);
	aml_end(a);
}

static void memory_hotplug(struct aml *a)
{
	aml_device(a, "_SB_.MHPC");
	aml_name_eisa_id(a, "_HID", "PNP0A06");
	aml_name_string(a, "_UID", "Memory Hotplug Controller");
	aml_method(a, "MSCN", 0, true);
	aml_end(a);
	aml_end(a);
}

void acpi_put_x2apic(struct wbuf *b, uint32_t apic_id, uint32_t flags, uint32_t uid)
{
	wbuf_u8(b, MADT_X2APIC);
	wbuf_u8(b, MADT_X2APIC_BYTES);
	wbuf_le16(b, 0);
	wbuf_le32(b, apic_id);
	wbuf_le32(b, flags);
	wbuf_le32(b, uid);
}

int acpi_put_dsdt_objects(const struct acpi_cfg *cfg, struct wbuf *out)
{
	struct aml a;

	assert(cfg->max_vcpus <= ACPI_VCPUS_MAX);
	aml_init(&a, out);
	pci_segment(&a, cfg);
	motherboard(&a);
	if (cfg->serial)
		serial_port(&a);
	power(&a);
	event_device(&a, cfg);
	processors(&a, cfg);
	memory_hotplug(&a);
	return aml_finish(&a);
}
