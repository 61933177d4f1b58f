/* SPDX-License-Identifier: ISC */
/* Resource descriptors (ACPI 6.5 6.4), in a buffer whose size is only known at its end. */
#include <assert.h>
#include <string.h>

#include "vmmd/acpi/aml.h"

enum {
	RES_IO = 0x47,
	RES_END = 0x79,
	RES_MEMORY32_FIXED = 0x86,
	RES_WORD_SPACE = 0x88,
	RES_IRQ = 0x89,
	RES_QWORD_SPACE = 0x8A,

	SPACE_MEMORY = 0,
	SPACE_IO = 1,
	SPACE_BUS = 2,
	SPACE_FIXED = 1 << 2 | 1 << 3, /* minimum and maximum are given */
	MEMORY_READ_WRITE = 1,         /* and not cacheable */
	IO_ENTIRE_RANGE = 3,
	IO_DECODE_16 = 1,
	IRQ_CONSUMER = 1 << 0,
	IRQ_EDGE = 1 << 1,

	OP_BUFFER = 0x11,
	OP_WORD = 0x0B,
	SIZE_BYTES = 3, /* the buffer's size as a word constant */
};

/* A buffer is "op length size bytes"; the size is patched in when the bytes are there. */
void aml_resources(struct aml *a, const char *name)
{
	aml_name(a, name);
	wbuf_u8(a->out, OP_BUFFER);
	assert(a->depth < AML_DEPTH_MAX);
	a->open[a->depth++] = a->out->len;
	wbuf_u8(a->out, OP_WORD);
	wbuf_le16(a->out, 0);
}

void aml_resources_end(struct aml *a)
{
	struct wbuf *b = a->out;

	wbuf_u8(b, RES_END);
	wbuf_u8(b, 0); /* no checksum */
	assert(a->depth > 0);
	size_t at = a->open[a->depth - 1];
	if (b->error == 0) {
		size_t bytes = b->len - at - SIZE_BYTES;

		assert(bytes <= UINT16_MAX);
		b->p[at + 1] = (uint8_t)bytes;
		b->p[at + 2] = (uint8_t)(bytes >> 8);
	}
	aml_end(a);
}

static void word_space(struct aml *a, uint8_t type, uint8_t flags, uint16_t min, uint16_t max)
{
	wbuf_u8(a->out, RES_WORD_SPACE);
	wbuf_le16(a->out, 13);
	wbuf_u8(a->out, type);
	wbuf_u8(a->out, SPACE_FIXED);
	wbuf_u8(a->out, flags);
	wbuf_le16(a->out, 0); /* granularity */
	wbuf_le16(a->out, min);
	wbuf_le16(a->out, max);
	wbuf_le16(a->out, 0); /* translation */
	wbuf_le16(a->out, (uint16_t)(max - min + 1));
}

void aml_res_bus(struct aml *a, uint16_t min, uint16_t max)
{
	word_space(a, SPACE_BUS, 0, min, max);
}

void aml_res_io_range(struct aml *a, uint16_t min, uint16_t max)
{
	word_space(a, SPACE_IO, IO_ENTIRE_RANGE, min, max);
}

void aml_res_io(struct aml *a, uint16_t port, uint8_t align, uint8_t len)
{
	wbuf_u8(a->out, RES_IO);
	wbuf_u8(a->out, IO_DECODE_16);
	wbuf_le16(a->out, port);
	wbuf_le16(a->out, port);
	wbuf_u8(a->out, align);
	wbuf_u8(a->out, len);
}

void aml_res_memory32(struct aml *a, uint32_t base, uint32_t len)
{
	wbuf_u8(a->out, RES_MEMORY32_FIXED);
	wbuf_le16(a->out, 9);
	wbuf_u8(a->out, MEMORY_READ_WRITE);
	wbuf_le32(a->out, base);
	wbuf_le32(a->out, len);
}

void aml_res_memory64(struct aml *a, uint64_t base, uint64_t len)
{
	wbuf_u8(a->out, RES_QWORD_SPACE);
	wbuf_le16(a->out, 43);
	wbuf_u8(a->out, SPACE_MEMORY);
	wbuf_u8(a->out, SPACE_FIXED);
	wbuf_u8(a->out, MEMORY_READ_WRITE);
	wbuf_le64(a->out, 0); /* granularity */
	wbuf_le64(a->out, base);
	wbuf_le64(a->out, base + len - 1);
	wbuf_le64(a->out, 0); /* translation */
	wbuf_le64(a->out, len);
}

void aml_res_irq(struct aml *a, uint32_t gsi)
{
	wbuf_u8(a->out, RES_IRQ);
	wbuf_le16(a->out, 6);
	wbuf_u8(a->out, IRQ_CONSUMER | IRQ_EDGE);
	wbuf_u8(a->out, 1); /* one interrupt follows */
	wbuf_le32(a->out, gsi);
}
