/* SPDX-License-Identifier: ISC */
/*
 * An instruction that a KVM without hardware help cannot emulate (a software interrupt in protected mode), with no
 * descriptor table for it: a hardware KVM turns that into a triple fault, the other into an internal error. Neither may
 * leave the vCPU spinning.
 */
#include "payload.h"

start:
	ENTER
	SAY "stuck\n"
	lidt noidt
	int $0x20
	mov $alive, %esi
	call puts
	jmp park

noidt:	.word 0
	.long 0
