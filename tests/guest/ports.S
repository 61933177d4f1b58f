/* SPDX-License-Identifier: ISC */
/* Reads registers that need no set-up, claimed and unclaimed ones, in all widths, and prints what came. */
#include "payload.h"

	.set NOBODY, 0x1230		/* a port nobody decodes */
	.set NOBODY_MMIO, 0xd0000000
	.set ECAM, 0xe8000000
	.set BUFFER, 0x200000

/* "name value" of CMOS register n. */
.macro CMOS name, n
	mov $\n, %al
	out %al, $0x70
	xor %eax, %eax
	in $0x71, %al
	REPORT "\name"
.endm

start:
	ENTER
	/* Unclaimed: all ones, writes dropped. */
	mov $NOBODY, %edx
	xor %eax, %eax
	in (%dx), %al
	REPORT "pio1"
	xor %eax, %eax
	in (%dx), %ax
	REPORT "pio2"
	in (%dx), %eax
	REPORT "pio4"
	mov $0x12345678, %eax
	out %eax, (%dx)
	in (%dx), %eax
	REPORT "pio_written"
	xor %eax, %eax
	movb NOBODY_MMIO, %al
	REPORT "mmio1"
	xor %eax, %eax
	movw NOBODY_MMIO, %ax
	REPORT "mmio2"
	mov NOBODY_MMIO, %eax
	REPORT "mmio4"
	movl $0x12345678, NOBODY_MMIO
	mov NOBODY_MMIO, %eax
	REPORT "mmio_written"

	/* String instructions, both directions. */
	movl $0, BUFFER + 4
	mov $BUFFER, %edi
	mov $5, %ecx
	rep insb
	mov BUFFER, %eax
	REPORT "ins_0"
	mov BUFFER + 4, %eax
	REPORT "ins_4"
	mov $COM1, %edx
	mov $sent, %esi
	mov $sent_end - sent, %ecx
	rep outsb

	/* Legacy devices. */
	xor %eax, %eax
	in $0x61, %al
	REPORT "port61"
	xor %eax, %eax
	in $0x64, %al
	REPORT "port64"
	mov $0x402, %edx
	xor %eax, %eax
	in (%dx), %al
	REPORT "port402"
	xor %eax, %eax
	mov $0x600, %edx
	in (%dx), %al
	REPORT "sleep"
	CMOS cmos_b, 0x0b
	CMOS cmos_d, 0x0d
	CMOS cmos_century, 0x32
	CMOS cmos_34, 0x34
	CMOS cmos_35, 0x35
	CMOS cmos_5b, 0x5b
	CMOS cmos_5c, 0x5c
	CMOS cmos_5d, 0x5d
	mov $0x42, %al
	out %al, $0x80

	/* The timer counts. */
	mov $0x608, %edx
	in (%dx), %eax
	mov %eax, %ebx
	in (%dx), %eax
	sub %ebx, %eax
	REPORT "pm_timer_step"

	/* The host bridge, by both ways; the entropy device in slot 1, as there is no console; and nobody in slot 31. */
	mov $0xcf8, %edx
	mov $0x80000000, %eax
	out %eax, (%dx)
	mov $0xcfc, %edx
	in (%dx), %eax
	REPORT "cf8_slot0"
	mov $0xcf8, %edx
	mov $0x80000800, %eax
	out %eax, (%dx)
	mov $0xcfc, %edx
	in (%dx), %eax
	REPORT "cf8_slot1"
	mov $0xcf8, %edx
	mov $0x8000f800, %eax
	out %eax, (%dx)
	mov $0xcfc, %edx
	in (%dx), %eax
	REPORT "cf8_slot31"
	mov ECAM, %eax
	REPORT "ecam_slot0"
	mov ECAM + 8, %eax
	REPORT "ecam_class"
	mov ECAM + 0x8000, %eax
	REPORT "ecam_slot1"
	mov ECAM + 31 * 0x8000, %eax
	REPORT "ecam_slot31"

	/* IOAPIC version, and what a wrong width does. */
	movl $1, IOAPIC
	mov IOAPIC + 0x10, %eax
	REPORT "ioapic_version"
	jmp poweroff

sent:	.ascii "outs every byte of a string\n"
sent_end:
