/* SPDX-License-Identifier: ISC */
/*
 * Starts the other processors by INIT and SIPI to all but itself, and waits until as many are up as the command line's
 * first digit says. Each writes its APIC id (from CPUID) into a table.
 */
#include "payload.h"

	.set TRAMPOLINE, 0x8000		/* SIPI vector 8 */
	.set COUNT, 0x9000
	.set IDS, 0x9100

start:
	ENTER
	mov 24(%ebx), %esi
	movzbl (%esi), %ebp
	sub $'0', %ebp

	mov $ap, %esi
	mov $TRAMPOLINE, %edi
	mov $ap_end - ap, %ecx
	rep movsb
	movl $0, COUNT

	movl $0x1ff, LAPIC + 0xf0	/* software enable */
	movl $0xc4500, LAPIC + 0x300	/* INIT, all but self */
	movl $0xc4608, LAPIC + 0x300	/* SIPI */

1:	pause
	cmp %ebp, COUNT
	jb 1b
	mov COUNT, %eax
	REPORT "started"
	xor %edi, %edi
2:	mov IDS(, %edi, 4), %eax
	REPORT "apic_id"
	inc %edi
	cmp %ebp, %edi
	jb 2b
	jmp poweroff

	.code16
ap:
	xor %ax, %ax
	mov %ax, %ds
	mov $1, %eax
	cpuid
	shr $24, %ebx
	mov $1, %eax
	lock xadd %eax, COUNT + 8	/* my place */
	mov %ebx, IDS(, %eax, 4)
	lock incl COUNT
3:	hlt
	jmp 3b
ap_end:
