/* SPDX-License-Identifier: ISC */
/* The fixed part of the x86_64 machine: guest physical addresses, ports and interrupt lines. */
#ifndef VMMD_ARCH_X86_64_LAYOUT_H
#define VMMD_ARCH_X86_64_LAYOUT_H

#include <stdint.h>

#include "common/units.h"

/* Low RAM: what the boot protocols read */
#define LAYOUT_LOW_RAM_END    UINT64_C(0xA0000)
#define LAYOUT_EBDA_POINTER   UINT64_C(0x40E) /* u16: segment of the RSDP, for guests that scan */
#define LAYOUT_GDT            UINT64_C(0x500)
#define LAYOUT_IDT            UINT64_C(0x520)
#define LAYOUT_PVH_START_INFO UINT64_C(0x6000)
#define LAYOUT_PVH_MODLIST    UINT64_C(0x6040)
#define LAYOUT_PVH_MEMMAP     UINT64_C(0x7000)
#define LAYOUT_ZERO_PAGE      UINT64_C(0x7000) /* either a PVH map or a zero page, never both */
#define LAYOUT_BOOT_STACK     UINT64_C(0x8FF0)
#define LAYOUT_CMDLINE        UINT64_C(0x20000)
#define LAYOUT_CMDLINE_CAP    UINT64_C(0x10000) /* with its terminator */

/* RAM that no memory map lists: firmware tables */
#define LAYOUT_RSDP                UINT64_C(0xA0000)
#define LAYOUT_ACPI_END            UINT64_C(0xF0000)
#define LAYOUT_SMBIOS              UINT64_C(0xF0000)
#define LAYOUT_FIRMWARE_TABLES_END UINT64_C(0x100000)

#define LAYOUT_HIGH_RAM  UINT64_C(0x100000)
#define LAYOUT_RAM_HOLE  UINT64_C(0xC0000000) /* RAM ends here and goes on at 4 GiB */
#define LAYOUT_RAM_ABOVE UINT64_C(0x100000000)

/* Below 4 GiB */
#define LAYOUT_MMIO32           UINT64_C(0xC0000000)
#define LAYOUT_MMIO32_SIZE      UINT64_C(0x28000000)
#define LAYOUT_ECAM             UINT64_C(0xE8000000)
#define LAYOUT_ECAM_SIZE        UINT64_C(0x10000000) /* reserved; one MiB per segment is used */
#define LAYOUT_KVM_TSS          UINT64_C(0xF8000000)
#define LAYOUT_KVM_TSS_SIZE     UINT64_C(0x3000)
#define LAYOUT_KVM_IDENTITY_MAP UINT64_C(0xF8003000)
#define LAYOUT_IOAPIC           UINT64_C(0xFEC00000)
#define LAYOUT_IOAPIC_SIZE      UINT64_C(0x20)
#define LAYOUT_LAPIC            UINT64_C(0xFEE00000)

/* Top of the guest physical space */
#define LAYOUT_TOP_GAP       UINT64_C(0x10000) /* Linux and Windows stumble there */
#define LAYOUT_PLATFORM_SIZE MIB

/* Ports */
enum {
	PORT_I8042 = 0x61,
	PORT_CMOS = 0x70,
	PORT_DEBUG = 0x80,
	PORT_COM1 = 0x3F8,
	PORT_FW_DEBUG = 0x402,
	PORT_ACPI_SLEEP = 0x600,
	PORT_ACPI_PM_TIMER = 0x608,
	PORT_PCI_MECH1 = 0xCF8,
};

/* Interrupt lines (IOAPIC pins) */
enum {
	IRQ_COM1 = 4,
	IRQ_PCI_FIRST = 5, /* 5..12, slot modulo 8 */
	IRQ_PCI_COUNT = 8,
	IRQ_GED = 13,
	GSI_MSI_FIRST = 24,
	GSI_MSI_END = 4096,
};

/* Above this id an APIC needs 32-bit destination ids (KVM_CAP_X2APIC_API) and starts in x2APIC
 * mode. */
#define LAYOUT_XAPIC_ID_MAX 254u

#endif
