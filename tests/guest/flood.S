/* SPDX-License-Identifier: ISC */
/* Numbered lines for ever, as fast as the port takes them. */
#include "payload.h"

start:
	ENTER
	xor %ebp, %ebp
1:	mov %ebp, %eax
	REPORT "line"
	inc %ebp
	jmp 1b
