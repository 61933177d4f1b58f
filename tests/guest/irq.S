/* SPDX-License-Identifier: ISC */
/*
 * The serial port's interrupt through IOAPIC pin 4, edge-triggered and then level-triggered. A level-triggered entry has
 * its Remote IRR bit set until the local APIC's end of interrupt comes back to the IOAPIC.
 *
 * The interrupts are taken in real mode (with 4 GiB segments left over from protected mode), because a KVM without
 * hardware help can deliver them there and nowhere else in ring 0.
 */
#include "payload.h"

	.set VECTOR, 0x30
	.set REAL, 0x8000		/* where the 16-bit part runs */
	.set RESULTS, 0x9000		/* edge, level, entry in the handler, entry after: a dword each */
	.set COUNT, 0x9020
	.set ENTRY, 0x9024		/* low half of pin 4's entry, as the last handler saw it */

start:
	ENTER
	mov $real, %esi
	mov $REAL, %edi
	mov $real_end - real, %ecx
	rep movsb
	movl $REAL + (handler - real), 4 * VECTOR	/* segment 0 */
	lgdt gdtr
	lidt idtr
	ljmp $8, $REAL

	/* Back in protected mode. */
done:
	mov $16, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov RESULTS + 0, %eax
	REPORT "edge"
	mov RESULTS + 4, %eax
	REPORT "level"
	mov RESULTS + 8, %eax
	REPORT "in_handler"
	mov RESULTS + 12, %eax
	REPORT "after_eoi"
	jmp poweroff

gdt:	.quad 0
	.quad 0x00009b000000ffff	/* 16-bit code */
	.quad 0x00cf93000000ffff	/* flat data */
	.quad 0x00cf9b000000ffff	/* 32-bit code */
gdtr:	.word . - gdt - 1
	.long gdt
idtr:	.word 0x3ff
	.long 0

	.code16
real:
	mov %cr0, %eax
	and $0xfe, %al
	mov %eax, %cr0
	ljmp $0, $REAL + (1f - real)
1:	mov $LAPIC + 0xf0, %ebx
	movl $0x1ff, (%ebx)		/* software enable */

	mov $VECTOR, %eax
	call one
	mov %ecx, RESULTS + 0
	mov $0x8000 + VECTOR, %eax	/* level-triggered */
	call one
	mov %ecx, RESULTS + 4
	mov ENTRY, %eax
	mov %eax, RESULTS + 8
	call read_entry
	mov %eax, RESULTS + 12

	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmpl $24, $done

/* Program pin 4 with EAX, make the transmitter interrupt once; ECX = how many came. */
one:
	mov $IOAPIC, %ebx
	movl $0x19, (%ebx)
	movl $0, 0x10(%ebx)		/* to APIC id 0 */
	movl $0x18, (%ebx)
	mov %eax, 0x10(%ebx)
	movl $0, COUNT
	sti
	mov $COM1 + 1, %dx
	mov $2, %al
	out %al, %dx			/* interrupt when the transmitter is empty */
	mov $COM1, %dx
	mov $10, %al
	out %al, %dx
2:	pause
	cmpl $0, COUNT
	je 2b
	cli
	mov $COM1 + 1, %dx
	xor %al, %al
	out %al, %dx
	mov COUNT, %ecx
	ret

/* EAX = low half of pin 4's entry; EBX is lost. */
read_entry:
	mov $IOAPIC, %ebx
	movl $0x18, (%ebx)
	mov 0x10(%ebx), %eax
	ret

handler:
	push %eax
	push %ebx
	push %edx
	incl COUNT
	mov $COM1 + 2, %dx
	in %dx, %al			/* identifies and clears */
	call read_entry
	mov %eax, ENTRY
	mov $LAPIC + 0xb0, %ebx
	movl $0, (%ebx)			/* end of interrupt */
	pop %edx
	pop %ebx
	pop %eax
	iret
real_end:
