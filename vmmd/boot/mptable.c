/* SPDX-License-Identifier: ISC */
/* MultiProcessor Specification 1.4, chapter 4. */
#include "vmmd/boot/mptable.h"

#include <stddef.h>

#include "vmmd/arch/x86_64/layout.h"

enum {
	SPEC_1_4 = 4,
	FLOATING_BYTES = 16,
	FLOATING_CHECKSUM = 10,
	TABLE_LENGTH = 4,
	TABLE_CHECKSUM = 7,
	TABLE_COUNT = 34,
	ENTRY_PROCESSOR = 0,
	ENTRY_BUS = 1,
	ENTRY_IOAPIC = 2,
	ENTRY_IO_INTERRUPT = 3,
	ENTRY_LOCAL_INTERRUPT = 4,
	APIC_VERSION = 0x14,
	CPU_ENABLED = 1,
	CPU_BOOT = 2,
	CPU_SIGNATURE = 0x600,
	CPU_FEATURES = 0x201, /* FPU and APIC on chip */
	IOAPIC_ID = 255,
	IOAPIC_USABLE = 1,
	INT_VECTORED = 0,
	INT_NMI = 1,
	INT_EXTINT = 3,
	ISA_IRQS = 16,
	ALL_LAPICS = 0xFF,
};

static void processor(struct wbuf *b, uint8_t apic_id, bool boot)
{
	wbuf_u8(b, ENTRY_PROCESSOR);
	wbuf_u8(b, apic_id);
	wbuf_u8(b, APIC_VERSION);
	wbuf_u8(b, boot ? CPU_ENABLED | CPU_BOOT : CPU_ENABLED);
	wbuf_le32(b, CPU_SIGNATURE);
	wbuf_le32(b, CPU_FEATURES);
	wbuf_zero(b, 8);
}

static void isa_bus(struct wbuf *b)
{
	wbuf_u8(b, ENTRY_BUS);
	wbuf_u8(b, 0);
	wbuf_str(b, "ISA   ");
}

static void ioapic(struct wbuf *b)
{
	wbuf_u8(b, ENTRY_IOAPIC);
	wbuf_u8(b, IOAPIC_ID);
	wbuf_u8(b, APIC_VERSION);
	wbuf_u8(b, IOAPIC_USABLE);
	wbuf_le32(b, (uint32_t)LAYOUT_IOAPIC);
}

/* From bus 0, polarity and trigger mode as the bus has them. */
static void interrupt(struct wbuf *b, uint8_t entry, uint8_t type, uint8_t irq, uint8_t apic,
		      uint8_t pin)
{
	wbuf_u8(b, entry);
	wbuf_u8(b, type);
	wbuf_le16(b, 0);
	wbuf_u8(b, 0);
	wbuf_u8(b, irq);
	wbuf_u8(b, apic);
	wbuf_u8(b, pin);
}

static uint8_t checksum(const uint8_t *p, size_t len)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	return (uint8_t)-sum;
}

static void floating_pointer(struct wbuf *b, uint64_t table_gpa)
{
	size_t at = b->len;

	wbuf_str(b, "_MP_");
	wbuf_le32(b, (uint32_t)table_gpa);
	wbuf_u8(b, FLOATING_BYTES / 16);
	wbuf_u8(b, SPEC_1_4);
	wbuf_zero(b, 6);
	if (b->error == 0)
		b->p[at + FLOATING_CHECKSUM] = checksum(b->p + at, FLOATING_BYTES);
}

static void table_header(struct wbuf *b)
{
	wbuf_str(b, "PCMP");
	wbuf_le16(b, 0); /* length, below */
	wbuf_u8(b, SPEC_1_4);
	wbuf_u8(b, 0); /* checksum, below */
	wbuf_str(b, "FC      ");
	wbuf_str(b, "000000000000");
	wbuf_le32(b, 0); /* no OEM table */
	wbuf_le16(b, 0);
	wbuf_le16(b, 0); /* number of entries, below */
	wbuf_le32(b, (uint32_t)LAYOUT_LAPIC);
	wbuf_le32(b, 0); /* no extended table */
}

static unsigned entries(struct wbuf *b, const struct cpuid_topology *topo, uint32_t boot_vcpus)
{
	for (uint32_t i = 0; i < boot_vcpus; i++)
		processor(b, (uint8_t)cpuid_x2apic_id(topo, i), i == 0);
	isa_bus(b);
	ioapic(b);
	for (uint8_t i = 0; i < ISA_IRQS; i++)
		interrupt(b, ENTRY_IO_INTERRUPT, INT_VECTORED, i, IOAPIC_ID, i);
	interrupt(b, ENTRY_LOCAL_INTERRUPT, INT_EXTINT, 0, 0, 0);
	interrupt(b, ENTRY_LOCAL_INTERRUPT, INT_NMI, 0, ALL_LAPICS, 1);
	return boot_vcpus + 2 + ISA_IRQS + 2;
}

int mptable_build(uint64_t gpa, const struct cpuid_topology *topo, uint32_t boot_vcpus,
		  struct wbuf *out)
{
	floating_pointer(out, gpa + FLOATING_BYTES);
	size_t at = out->len;
	table_header(out);
	unsigned n = entries(out, topo, boot_vcpus);
	if (out->error != 0)
		return out->error;
	uint8_t *t = out->p + at;
	size_t len = out->len - at;
	t[TABLE_LENGTH] = (uint8_t)len;
	t[TABLE_LENGTH + 1] = (uint8_t)(len >> 8);
	t[TABLE_COUNT] = (uint8_t)n;
	t[TABLE_COUNT + 1] = (uint8_t)(n >> 8);
	t[TABLE_CHECKSUM] = checksum(t, len);
	return 0;
}
