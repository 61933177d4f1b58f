/* SPDX-License-Identifier: ISC */
/*
 * Resets the machine in the way that the command line's first letter names, for ever. RAM and devices start over, so
 * every run prints the same: two witnesses that must be zero again, and never the line after the reset.
 */
#include "payload.h"

	.set WITNESS, 0x200000

start:
	ENTER
	mov WITNESS, %eax
	REPORT "witness"
	movl $0x600d, WITNESS
	mov $0x30, %al
	out %al, $0x70
	xor %eax, %eax
	in $0x71, %al
	REPORT "cmos"
	mov $0x55, %al
	out %al, $0x71

	mov 24(%ebx), %esi
	mov (%esi), %al
	cmp $'a', %al
	je acpi
	cmp $'k', %al
	je keyboard
	cmp $'c', %al
	je cmos
	cmp $'t', %al
	je triple
	SAY "which reset\n"
	jmp poweroff

acpi:
	SAY "reset acpi\n"
	mov $0x600, %edx
	mov $1, %al
	out %al, (%dx)
	jmp survived
keyboard:
	SAY "reset keyboard\n"
	mov $0xfe, %al
	out %al, $0x64
	jmp survived
cmos:
	SAY "reset cmos\n"
	mov $0x8f, %al
	out %al, $0x70
	xor %al, %al
	out %al, $0x71
	jmp survived
triple:
	SAY "reset triple\n"
	lidt noidt		/* no gate for the exception, nor for the one that follows */
	ud2
survived:
	mov $alive, %esi
	call puts
	jmp park

noidt:	.word 0
	.long 0
