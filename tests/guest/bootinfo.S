/* SPDX-License-Identifier: ISC */
/* Reads back what the PVH start info says: memory map, command line, module, RSDP. */
#include "payload.h"

start:
	ENTER
	mov %ebx, %ebp
	mov %ebx, %eax
	REPORT "start_info"
	mov 0(%ebp), %eax
	REPORT "magic"
	mov 4(%ebp), %eax
	REPORT "version"
	mov 12(%ebp), %eax
	REPORT "modules"
	mov 24(%ebp), %esi
	SAY "cmdline "
	call puts
	call newline

	mov 32(%ebp), %edi
	mov (%edi), %eax
	REPORT "rsdp"
	movzwl 0x40e, %eax
	REPORT "ebda"

	cmpl $0, 12(%ebp)
	je maps
	mov 16(%ebp), %edi
	mov 0(%edi), %eax
	REPORT "module_addr"
	mov 8(%edi), %eax
	REPORT "module_size"
	mov 0(%edi), %edi
	mov (%edi), %eax
	REPORT "module_word"

maps:
	mov 40(%ebp), %edi
	mov 48(%ebp), %ecx
1:	test %ecx, %ecx
	jz 2f
	SAY "map "
	mov 4(%edi), %eax
	call puthex
	mov 0(%edi), %eax
	call puthex
	SAY " "
	mov 12(%edi), %eax
	call puthex
	mov 8(%edi), %eax
	call puthex
	SAY " "
	mov 16(%edi), %eax
	call puthex
	call newline
	add $24, %edi
	dec %ecx
	jmp 1b
2:	jmp poweroff
