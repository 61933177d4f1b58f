/* SPDX-License-Identifier: ISC */
/*
 * What the payloads share. A payload is an ELF file with a PVH note, so it boots the way a kernel does: 32-bit protected
 * mode, paging off, flat segments, EBX = start info. Two rules come from the slowest KVM that they run on, which
 * interprets ring 0 at about 5 us per instruction: a few thousand instructions at most, no delay loops.
 *
 * Output is lines of "name value" on COM1. Every byte waits for THRE, so nothing is lost when the host is behind.
 */
	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 4, 18		/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start

	.text
	.code32
	.globl start

	.set COM1, 0x3f8
	.set LAPIC, 0xfee00000
	.set IOAPIC, 0xfec00000

/* AL to COM1; keeps all registers. */
putc:
	push %edx
	push %eax
	mov $COM1 + 5, %edx
1:	in (%dx), %al
	test $0x20, %al
	jz 1b
	pop %eax
	push %eax
	mov $COM1, %edx
	out %al, (%dx)
	pop %eax
	pop %edx
	ret

/* The string at ESI, up to its NUL. */
puts:
	push %eax
	push %esi
2:	mov (%esi), %al
	test %al, %al
	jz 3f
	call putc
	inc %esi
	jmp 2b
3:	pop %esi
	pop %eax
	ret

/* EAX as 8 hexadecimal digits. */
puthex:
	push %ecx
	push %eax
	push %ebx
	mov %eax, %ebx
	mov $8, %ecx
4:	rol $4, %ebx
	mov %bl, %al
	and $15, %al
	cmp $10, %al
	jb 5f
	add $39, %al		/* 'a' - '0' - 10 */
5:	add $48, %al
	call putc
	loop 4b
	pop %ebx
	pop %eax
	pop %ecx
	ret

newline:
	push %eax
	mov $10, %al
	call putc
	pop %eax
	ret

/* Power off by the sleep control register; nothing may run after the OUT. */
poweroff:
	mov $0x600, %edx
	mov $0x34, %al
	out %al, (%dx)
	mov $alive, %esi
	call puts
	jmp park
park:
	pause
	jmp park
alive:	.asciz "ALIVE after the write that ends the run\n"

.macro SAY text
	jmp 11f
10:	.asciz "\text"
11:	push %esi
	mov $10b, %esi
	call puts
	pop %esi
.endm

/* "text xxxxxxxx\n" with the value of EAX. */
.macro REPORT text
	SAY "\text "
	call puthex
	call newline
.endm

/* A stack below the boot protocol's own pages. */
.macro ENTER
	mov $0x5000, %esp
	cld
.endm
