/* SPDX-License-Identifier: ISC */
/*
 * A driver of one virtio device, as small as one can be: one request at a time, the used ring polled. The first letter of
 * the command line says which device: r the entropy device, of which it wants 64 bytes; d a disk, of which it reads the
 * first sector; n a network card, over which it sends a frame and waits for one; c the control queue of a network card with
 * one pair, which it tells to pass every frame; a first starts n and r, e only r, then they go on as d. Registers that lie
 * above 4 GiB, where paging would be needed, are reached through the configuration access window (virtio v1.2 4.1.4.9),
 * doorbells included; a disk's lie below and are reached as they are.
 *
 * The second letter says what follows the first answer:
 *
 *	o	one is enough: power off
 *	l	goes on for ever, a line for each answer
 *	d	resets the device and begins again, for ever
 *	m	resets the machine
 *	p	stops the processor
 *	b	(instead) offers a descriptor that cannot be, waits for NEEDS_RESET, resets and works after all
 */
#include "payload.h"

	.set ECAM, 0xe8000000
	.set NOTIFY, 0x6000
	.set DESC, 0x210000
	.set AVAIL, 0x211000
	.set USED, 0x212000
	.set BUFFER, 0x220000
	.set HEADER, 0x221000
	.set STATUS, 0x221100
	.set NEXT, 0x3000		/* from a ring of queue 0 to the same of queue 1 */
	.set SIZE, 16
	.set VARS, 0x230000		/* the next are dwords there */
	.set CONFIG, VARS + 0		/* its configuration space in ECAM */
	.set WINDOW, VARS + 4		/* the capability; 0: registers are at BAR */
	.set BAR, VARS + 8
	.set DEVICE, VARS + 12		/* first letter */
	.set MODE, VARS + 16		/* second */
	.set IDLE, VARS + 20		/* not 0: a device is only started; its ring is another and stays empty */

.macro WRITE width, off, value
	mov $\off, %edx
	mov $\value, %eax
	mov $\width, %ecx
	call write
.endm
.macro READ1 off
	mov $\off, %edx
	call read1
.endm
.macro REPORT_STATUS name
	READ1 0x14
	REPORT "\name"
.endm

start:
	ENTER
	mov 24(%ebx), %esi
	movzbl (%esi), %eax
	mov %eax, DEVICE
	movzbl 1(%esi), %eax
	mov %eax, MODE
	movl $1, IDLE
	cmpl $'e', DEVICE
	je 2f
	cmpl $'a', DEVICE
	jne 1f
	movl $'n', DEVICE
	call find
	call begin
2:	movl $'r', DEVICE
	call find
	call begin
	movl $'d', DEVICE
1:	movl $0, IDLE
	call find
	call begin
	cmpl $'b', MODE
	je broken
	call request
	cmpl $'o', MODE
	je poweroff
	cmpl $'m', MODE
	je machine
	cmpl $'p', MODE
	je park
forever:
	cmpl $'d', MODE
	jne 1f
	WRITE 1, 0x14, 0
	REPORT_STATUS "status_again"
	call begin
1:	call request
	jmp forever

machine:
	SAY "reset machine\n"
	mov $0xfe, %al
	out %al, $0x64
	mov $alive, %esi
	call puts
	jmp park

broken:
	call ring
2:	pause
	READ1 0x14
	test $0x40, %al
	jz 2b
	REPORT "status_broken"
	WRITE 1, 0x14, 0
	movl $'o', MODE
	call begin
	call request
	jmp poweroff

/* --- registers ------------------------------------------------------------------------------------------------------ */

/* ECX bytes of EAX to register EDX. */
write:
	push %edi
	cmpl $0, WINDOW
	je 1f
	call aim
	mov WINDOW, %edi
	cmp $4, %ecx
	je 4f
	cmp $2, %ecx
	je 2f
	mov %al, 16(%edi)
	jmp 9f
2:	mov %ax, 16(%edi)
	jmp 9f
4:	mov %eax, 16(%edi)
	jmp 9f
1:	mov BAR, %edi
	add %edx, %edi
	cmp $4, %ecx
	je 4f
	cmp $2, %ecx
	je 2f
	mov %al, (%edi)
	jmp 9f
2:	mov %ax, (%edi)
	jmp 9f
4:	mov %eax, (%edi)
9:	pop %edi
	ret

/* EAX = the byte at EDX. */
read1:
	push %edi
	cmpl $0, WINDOW
	je 1f
	mov $1, %ecx
	call aim
	mov WINDOW, %edi
	movzbl 16(%edi), %eax
	pop %edi
	ret
1:	mov BAR, %edi
	movzbl (%edi,%edx), %eax
	pop %edi
	ret

/* The window at BAR 0, offset EDX, length ECX. */
aim:
	push %edi
	mov WINDOW, %edi
	movb $0, 4(%edi)
	mov %edx, 8(%edi)
	mov %ecx, 12(%edi)
	pop %edi
	ret

/* --- the device ----------------------------------------------------------------------------------------------------- */

find:
	mov $0x10441af4, %ebx
	cmpl $'r', DEVICE
	je 1f
	mov $0x10421af4, %ebx
	cmpl $'d', DEVICE
	je 1f
	mov $0x10411af4, %ebx
1:	mov $ECAM, %edi
	mov $32, %ecx
2:	cmp %ebx, (%edi)
	je 3f
	add $0x8000, %edi
	loop 2b
	SAY "no such device\n"
	jmp poweroff
3:	mov %edi, CONFIG
	mov %edi, %eax
	sub $ECAM, %eax
	shr $15, %eax
	REPORT "slot"
	movw $6, 4(%edi)		/* memory, bus master */
	movl $0, WINDOW
	mov 0x10(%edi), %eax
	REPORT "bar"
	mov %eax, %ebx
	and $~15, %ebx
	mov %ebx, BAR
	test $4, %al
	jz 9f
	/* 64 bits: look for the window. */
	movzbl 0x34(%edi), %eax
4:	add %edi, %eax
	cmpb $9, (%eax)
	jne 5f
	cmpb $5, 3(%eax)
	je 6f
5:	movzbl 1(%eax), %eax
	test %eax, %eax
	jnz 4b
	SAY "no window\n"
	jmp poweroff
6:	mov %eax, WINDOW
9:	ret

/* Queue n, its rings @off behind those of queue 0. */
.macro QUEUE n, off
	WRITE 2, 0x16, \n
	WRITE 2, 0x18, SIZE
	WRITE 4, 0x20, DESC + \off
	WRITE 4, 0x24, 0
	WRITE 4, 0x28, AVAIL + \off
	WRITE 4, 0x2c, 0
	WRITE 4, 0x30, USED + \off
	WRITE 4, 0x34, 0
	WRITE 2, 0x1c, 1
.endm

/* virtio v1.2 3.1.1, up to DRIVER_OK. The rings' indices start at 0. */
begin:
	WRITE 1, 0x14, 0
	REPORT_STATUS "status_reset"
	WRITE 1, 0x14, 1
	WRITE 1, 0x14, 3
	WRITE 4, 0x08, 1		/* VIRTIO_F_VERSION_1, in the upper half */
	WRITE 4, 0x0c, 1
	cmpl $'c', DEVICE
	jne 4f
	WRITE 4, 0x08, 0
	WRITE 4, 0x0c, 0x20000		/* VIRTIO_NET_F_CTRL_VQ */
4:	WRITE 1, 0x14, 11
	REPORT_STATUS "status_features"
	cmpl $'c', DEVICE
	je 3f
	cmpl $0, IDLE
	je 5f
	QUEUE 0, 2*NEXT
	jmp 6f
5:	QUEUE 0, 0
6:	cmpl $'n', DEVICE
	jne 2f
	QUEUE 1, NEXT
	movl $0, AVAIL + NEXT
	movl $0, USED + NEXT
	jmp 2f
3:	QUEUE 2, 0
2:	movl $0, AVAIL
	movl $0, USED
	cmpl $'b', MODE
	jne 1f
	movl $1, AVAIL + 2		/* one entry, that names a descriptor that can't be */
	movw $SIZE, AVAIL + 4
	movw $1, AVAIL + 2
1:	WRITE 1, 0x14, 15
	REPORT_STATUS "status_ok"
	ret

ring:
	cmpl $'c', DEVICE
	je 1f
	WRITE 2, NOTIFY, 0
	ret
1:	WRITE 2, NOTIFY + 8, 2
	ret

/* desc[n] = { addr, len, flags, next }. */
.macro DESCRIPTOR n, addr, len, flags, next
	movl $\addr, DESC + 16 * \n
	movl $0, DESC + 16 * \n + 4
	movl $\len, DESC + 16 * \n + 8
	movl $\flags + (\next << 16), DESC + 16 * \n + 12
.endm

/* One request, and what came. */
request:
	movl $0, BUFFER
	movl $0, BUFFER + 4
	cmpl $'r', DEVICE
	je 4f
	cmpl $'d', DEVICE
	je 1f
	cmpl $'c', DEVICE
	je 5f
	/* A buffer to receive in; a frame to send, with 12 bytes in front of it that say nothing. */
	DESCRIPTOR 0, BUFFER, 2048, 2, 0
	DESCRIPTOR NEXT / 16, HEADER, 12 + 60, 0, 0
	movl $0, HEADER
	movl $0, HEADER + 4
	movl $0, HEADER + 8
	movl $0x0101022e, HEADER + 12	/* to 2e:02:01:01:01:01 from 2e:03:02:02:02:02 */
	movl $0x032e0101, HEADER + 16
	movl $0x02020202, HEADER + 20
	movl $0xb588, HEADER + 24
	jmp 2f
4:	DESCRIPTOR 0, BUFFER, 64, 2, 0
	jmp 2f
5:	movl $0x010000, HEADER		/* VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, on */
	movl $0xff, STATUS
	DESCRIPTOR 0, HEADER, 3, 1, 1
	DESCRIPTOR 1, STATUS, 1, 2, 0
	jmp 2f
1:	movl $0, HEADER			/* VIRTIO_BLK_T_IN, of sector 0 */
	movl $0, HEADER + 4
	movl $0, HEADER + 8
	movl $0, HEADER + 12
	movl $0xff, STATUS
	DESCRIPTOR 0, HEADER, 16, 1, 1
	DESCRIPTOR 1, BUFFER, 512, 3, 2
	DESCRIPTOR 2, STATUS, 1, 2, 0
2:	movzwl AVAIL + 2, %ebx
	mov %ebx, %ecx
	and $SIZE - 1, %ecx
	push %ecx
	movw $0, AVAIL + 4(,%ecx,2)
	inc %ebx
	mov %bx, AVAIL + 2
	call ring
	cmpl $'n', DEVICE
	jne 3f
	/* Sent when there is room for the answer: the other side may be looking all the time. */
	movzwl AVAIL + NEXT + 2, %ecx
	and $SIZE - 1, %ecx
	movw $0, AVAIL + NEXT + 4(,%ecx,2)
	incw AVAIL + NEXT + 2
	WRITE 2, NOTIFY + 4, 1
3:	pause
	cmp %bx, USED + 2
	jne 3b
	pop %ecx
	mov USED + 8(,%ecx,8), %eax
	REPORT "got"
	cmpl $'n', DEVICE
	jne 5f
	mov BUFFER + 12, %eax
	REPORT "bytes"
	ret
5:	cmpl $'d', DEVICE
	je 7f
	cmpl $'c', DEVICE
	jne 6f
7:	mov STATUS, %eax
	REPORT "request_status"
6:	mov BUFFER, %eax
	or BUFFER + 4, %eax
	REPORT "bytes"
	ret
