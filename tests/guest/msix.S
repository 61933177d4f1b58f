/* SPDX-License-Identifier: ISC */
/*
 * A disk's BAR and its interrupts: the size of the BAR, a move of it and one that cannot be, a request whose doorbell lies where
 * the BAR went, its interrupt by MSI-X, and one that comes while the vector is masked.
 *
 * The interrupts are taken in real mode, as in irq.S. Elsewhere they wait in the local APIC.
 *
 * With a command line that begins with "n" it reads and reads instead, a line for each BATCH of requests.
 */
#include "payload.h"

	.set ECAM, 0xe8000000
	.set PLACE, 0xd0000000		/* where the BAR goes */
	.set VECTOR, 0x31
	.set REAL, 0x8000		/* where the 16-bit part runs */
	.set COUNT, 0x9000		/* interrupts taken */
	.set LOOKS, 2000		/* that wait for one */
	.set OLD, 0x9004		/* where the BAR was */
	.set CONFIG, 0x9008		/* configuration space */
	.set DESC, 0x210000
	.set AVAIL, 0x211000
	.set USED, 0x212000
	.set BUFFER, 0x220000
	.set HEADER, 0x221000
	.set STATUS, 0x221100
	.set SIZE, 16
	.set BATCH, 500
	.set LETTER, 0x900c		/* of the command line */
	.set MSIX, 0x98			/* the capability */
	.set TABLE, PLACE + 0x8000
	.set PENDING, PLACE + 0x48000

start:
	ENTER
	mov 24(%ebx), %esi
	mov (%esi), %al
	mov %al, LETTER
	mov $real, %esi
	mov $REAL, %edi
	mov $real_end - real, %ecx
	rep movsb
	movl $REAL + (handler - real), 4 * VECTOR	/* segment 0 */
	movl $0, COUNT
	lgdt gdtr
	lidt idtr
	movl $0x1ff, LAPIC + 0xf0	/* software enable */

	mov $ECAM, %edi
	mov $32, %ecx
1:	cmpl $0x10421af4, (%edi)
	je 2f
	add $0x8000, %edi
	loop 1b
	SAY "no disk\n"
	jmp poweroff
2:	mov %edi, CONFIG
	call move_bar
	call set_up
	cmpb $'n', LETTER
	je many
	call request
	call take
	REPORT "irqs"

	/* Masked: counted by the device, kept for later. */
	movl $1, TABLE + 12
	call request
	mov PENDING, %eax
	REPORT "pending"
	call take
	REPORT "irqs_masked"
	movl $0, TABLE + 12
	call take
	REPORT "irqs_unmasked"
	mov PENDING, %eax
	REPORT "pending_after"

	/* No vector: nobody is told. */
	movw $0, PLACE + 0x16
	movw $0xffff, PLACE + 0x1a
	call request
	call take
	REPORT "irqs_without_vector"

	/* The configuration's: a device that gives up tells so. */
	movb $0, PLACE + 0x14
	call set_up
	movw $SIZE, AVAIL + 4		/* a descriptor that cannot be */
	movw $1, AVAIL + 2
	movw $0, PLACE + 0x6000
3:	pause
	movzbl PLACE + 0x14, %eax
	test $0x40, %al
	jz 3b
	REPORT "status"
	call take
	REPORT "irqs_of_configuration"
	jmp poweroff

many:
	mov $BATCH, %ebp
5:	call request
	dec %ebp
	jnz 5b
	movzwl USED + 2, %eax
	REPORT "used"
	jmp many

move_bar:
	mov CONFIG, %edi
	mov 0x10(%edi), %eax
	mov %eax, OLD
	movl $-1, 0x10(%edi)
	mov 0x10(%edi), %eax
	REPORT "size"
	mov OLD, %eax
	mov %eax, 0x10(%edi)
	movzwl 0x12(%eax), %eax
	REPORT "queues_before"
	movl $PLACE, 0x10(%edi)		/* decoding is off: later */
	mov OLD, %eax
	movzwl 0x12(%eax), %eax
	REPORT "queues_meanwhile"
	movw $6, 4(%edi)
	mov OLD, %eax
	mov 0x10(%eax), %eax
	REPORT "old_place"
	movzwl PLACE + 0x12, %eax
	REPORT "queues_after"
	movl $IOAPIC, 0x10(%edi)
	mov 0x10(%edi), %eax
	REPORT "refused"
	ret

/* virtio v1.2 3.1.1, up to DRIVER_OK; vector 0 for the queue and the configuration. */
set_up:
	mov CONFIG, %edi
	movl $LAPIC, TABLE
	movl $0, TABLE + 4
	movl $VECTOR, TABLE + 8
	movl $0, TABLE + 12
	movw $0x8000, MSIX + 2(%edi)
	movb $1, PLACE + 0x14
	movb $3, PLACE + 0x14
	movl $1, PLACE + 0x08
	movl $1, PLACE + 0x0c		/* VIRTIO_F_VERSION_1 */
	movb $11, PLACE + 0x14
	movw $0, PLACE + 0x10
	movw $0, PLACE + 0x16
	movw $SIZE, PLACE + 0x18
	movw $0, PLACE + 0x1a
	movl $DESC, PLACE + 0x20
	movl $0, PLACE + 0x24
	movl $AVAIL, PLACE + 0x28
	movl $0, PLACE + 0x2c
	movl $USED, PLACE + 0x30
	movl $0, PLACE + 0x34
	movl $0, AVAIL
	movl $0, USED
	movw $1, PLACE + 0x1c
	movb $15, PLACE + 0x14
	ret

.macro DESCRIPTOR n, addr, len, flags, next
	movl $\addr, DESC + 16 * \n
	movl $0, DESC + 16 * \n + 4
	movl $\len, DESC + 16 * \n + 8
	movl $\flags + (\next << 16), DESC + 16 * \n + 12
.endm

/* Read sector 0, and wait for the answer in the used ring. */
request:
	DESCRIPTOR 0, HEADER, 16, 1, 1
	DESCRIPTOR 1, BUFFER, 512, 3, 2
	DESCRIPTOR 2, STATUS, 1, 2, 0
	movl $0, HEADER
	movl $0, HEADER + 4
	movl $0, HEADER + 8
	movl $0, HEADER + 12
	movzwl AVAIL + 2, %eax
	mov %eax, %ecx
	and $SIZE - 1, %ecx
	movw $0, AVAIL + 4(, %ecx, 2)
	inc %eax
	mov %ax, AVAIL + 2
	movw $0, PLACE + 0x6000
4:	pause
	cmp %ax, USED + 2
	jne 4b
	ret

/* Take what waits in the local APIC; EAX = how many were taken since the beginning. It comes at once or, when it has to come by
 * another process still, within some looks. */
take:
	ljmp $8, $REAL
taken:
	mov $16, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov COUNT, %eax
	ret

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
1:	mov COUNT, %ebx
	mov $LOOKS, %ecx
	sti
2:	pause
	cmp COUNT, %ebx
	jne 3f
	decl %ecx
	jnz 2b
3:	cli
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmpl $24, $taken

handler:
	push %ebx
	incl COUNT
	mov $LAPIC + 0xb0, %ebx
	movl $0, (%ebx)			/* end of interrupt */
	pop %ebx
	iret
real_end:
