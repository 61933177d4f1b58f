/* SPDX-License-Identifier: ISC */
/* Sends back each byte that comes in, as a line with its value; 'q' powers off. */
#include "payload.h"

start:
	ENTER
	SAY "echo\n"
1:	mov $COM1 + 5, %edx
2:	pause
	in (%dx), %al
	test $1, %al
	jz 2b
	mov $COM1, %edx
	xor %eax, %eax
	in (%dx), %al
	cmp $'q', %al
	je poweroff
	REPORT "got"
	jmp 1b
