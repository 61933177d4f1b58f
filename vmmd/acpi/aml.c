/* SPDX-License-Identifier: ISC */
#include "vmmd/acpi/aml.h"

#include <assert.h>
#include <string.h>

/* ACPI 6.5 20.2, 20.3 */
enum {
	OP_ZERO = 0x00,
	OP_ONE = 0x01,
	OP_NAME = 0x08,
	OP_BYTE = 0x0A,
	OP_WORD = 0x0B,
	OP_DWORD = 0x0C,
	OP_STRING = 0x0D,
	OP_QWORD = 0x0E,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_DUAL_NAME = 0x2E,
	OP_MULTI_NAME = 0x2F,
	OP_EXT = 0x5B,
	OP_EXT_REGION = 0x80,
	OP_EXT_FIELD = 0x81,
	OP_EXT_DEVICE = 0x82,
	OP_LOCAL0 = 0x60,
	OP_ARG0 = 0x68,
	OP_STORE = 0x70,
	OP_AND = 0x7B,
	OP_NOTIFY = 0x86,
	OP_EQUAL = 0x93,
	OP_IF = 0xA0,
	OP_RETURN = 0xA4,

	SPACE_SYSTEM_MEMORY = 0,
	METHOD_SERIALIZED = 1 << 3,
	FIELD_UPDATE_SHIFT = 5,
	NAME_SEG = 4,
};

void aml_init(struct aml *a, struct wbuf *out)
{
	*a = (struct aml){ .out = out };
}

int aml_finish(struct aml *a)
{
	assert(a->depth == 0);
	return a->out->error;
}

/* --- containers --- */

static void begin(struct aml *a)
{
	assert(a->depth < AML_DEPTH_MAX);
	a->open[a->depth++] = a->out->len;
}

/* Package length (20.2.4): counts itself. Returns its size for @content bytes after it, and its
 * bytes. */
static unsigned package_length(size_t content, uint8_t enc[4])
{
	unsigned n = 1;

	while (content + n >= (n == 1 ? (size_t)1 << 6 : (size_t)1 << (4 + 8 * (n - 1))))
		n++;
	assert(n <= 4); /* 256 MiB */
	size_t len = content + n;
	if (n == 1) {
		enc[0] = (uint8_t)len;
		return n;
	}
	enc[0] = (uint8_t)((n - 1) << 6 | (len & 0xF));
	for (unsigned i = 1; i < n; i++)
		enc[i] = (uint8_t)(len >> (4 + 8 * (i - 1)));
	return n;
}

void aml_end(struct aml *a)
{
	struct wbuf *b = a->out;
	uint8_t enc[4];

	assert(a->depth > 0);
	size_t at = a->open[--a->depth];
	if (b->error != 0)
		return;
	size_t content = b->len - at;
	unsigned n = package_length(content, enc);
	if (wbuf_zero(b, n) < 0)
		return;
	memmove(b->p + at + n, b->p + at, content);
	memcpy(b->p + at, enc, n);
}

/* --- names --- */

static bool is_name_char(char c, bool first)
{
	return (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

static void name_segment(struct aml *a, const char *seg)
{
	for (unsigned i = 0; i < NAME_SEG; i++)
		assert(is_name_char(seg[i], i == 0));
	wbuf_put(a->out, seg, NAME_SEG);
}

void aml_path(struct aml *a, const char *name)
{
	if (*name == '\\') {
		wbuf_u8(a->out, '\\');
		name++;
	}
	size_t len = strlen(name);
	assert((len + 1) % (NAME_SEG + 1) == 0);
	size_t segs = (len + 1) / (NAME_SEG + 1);
	assert(segs > 0 && segs < 256);
	if (segs == 2) {
		wbuf_u8(a->out, OP_DUAL_NAME);
	} else if (segs > 2) {
		wbuf_u8(a->out, OP_MULTI_NAME);
		wbuf_u8(a->out, (uint8_t)segs);
	}
	for (size_t i = 0; i < segs; i++) {
		assert(i == 0 || name[i * (NAME_SEG + 1) - 1] == '.');
		name_segment(a, name + i * (NAME_SEG + 1));
	}
}

/* --- data --- */

void aml_int(struct aml *a, uint64_t v)
{
	if (v <= 1) {
		wbuf_u8(a->out, v == 0 ? OP_ZERO : OP_ONE);
	} else if (v <= UINT8_MAX) {
		wbuf_u8(a->out, OP_BYTE);
		wbuf_u8(a->out, (uint8_t)v);
	} else if (v <= UINT16_MAX) {
		wbuf_u8(a->out, OP_WORD);
		wbuf_le16(a->out, (uint16_t)v);
	} else if (v <= UINT32_MAX) {
		wbuf_u8(a->out, OP_DWORD);
		wbuf_le32(a->out, (uint32_t)v);
	} else {
		wbuf_u8(a->out, OP_QWORD);
		wbuf_le64(a->out, v);
	}
}

void aml_string(struct aml *a, const char *s)
{
	wbuf_u8(a->out, OP_STRING);
	wbuf_put(a->out, s, strlen(s) + 1);
}

static unsigned hex_digit(char c)
{
	assert((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'));
	return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* 19.3.4: three letters of five bits and four hexadecimal digits, most significant byte first. */
void aml_eisa_id(struct aml *a, const char *id)
{
	uint8_t b[4];

	assert(strlen(id) == 7);
	unsigned letters = 0;
	for (unsigned i = 0; i < 3; i++)
		letters = letters << 5 | ((unsigned)(id[i] - '@') & 0x1F);
	b[0] = (uint8_t)(letters >> 8);
	b[1] = (uint8_t)letters;
	b[2] = (uint8_t)(hex_digit(id[3]) << 4 | hex_digit(id[4]));
	b[3] = (uint8_t)(hex_digit(id[5]) << 4 | hex_digit(id[6]));
	wbuf_u8(a->out, OP_DWORD);
	wbuf_put(a->out, b, sizeof(b));
}

void aml_buffer(struct aml *a, const void *p, size_t n)
{
	wbuf_u8(a->out, OP_BUFFER);
	begin(a);
	aml_int(a, n);
	wbuf_put(a->out, p, n);
	aml_end(a);
}

void aml_uuid(struct aml *a, const uint8_t uuid[16])
{
	static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
	uint8_t b[16];

	for (unsigned i = 0; i < sizeof(b); i++)
		b[i] = uuid[order[i]];
	aml_buffer(a, b, sizeof(b));
}

void aml_package(struct aml *a, uint8_t elements)
{
	wbuf_u8(a->out, OP_PACKAGE);
	begin(a);
	wbuf_u8(a->out, elements);
}

/* --- named objects --- */

void aml_name(struct aml *a, const char *name)
{
	wbuf_u8(a->out, OP_NAME);
	aml_path(a, name);
}

void aml_name_int(struct aml *a, const char *name, uint64_t v)
{
	aml_name(a, name);
	aml_int(a, v);
}

void aml_name_string(struct aml *a, const char *name, const char *s)
{
	aml_name(a, name);
	aml_string(a, s);
}

void aml_name_eisa_id(struct aml *a, const char *name, const char *id)
{
	aml_name(a, name);
	aml_eisa_id(a, id);
}

static void ext_op(struct aml *a, uint8_t op)
{
	wbuf_u8(a->out, OP_EXT);
	wbuf_u8(a->out, op);
}

void aml_device(struct aml *a, const char *name)
{
	ext_op(a, OP_EXT_DEVICE);
	begin(a);
	aml_path(a, name);
}

void aml_method(struct aml *a, const char *name, uint8_t args, bool serialized)
{
	assert(args <= 7);
	wbuf_u8(a->out, OP_METHOD);
	begin(a);
	aml_path(a, name);
	wbuf_u8(a->out, (uint8_t)(args | (serialized ? METHOD_SERIALIZED : 0)));
}

void aml_region_memory(struct aml *a, const char *name, uint64_t addr, uint64_t len)
{
	ext_op(a, OP_EXT_REGION);
	aml_path(a, name);
	wbuf_u8(a->out, SPACE_SYSTEM_MEMORY);
	aml_int(a, addr);
	aml_int(a, len);
}

void aml_field(struct aml *a, const char *region, enum aml_access access, enum aml_update update)
{
	ext_op(a, OP_EXT_FIELD);
	begin(a);
	aml_path(a, region);
	wbuf_u8(a->out, (uint8_t)((unsigned)access | (unsigned)update << FIELD_UPDATE_SHIFT));
}

void aml_field_unit(struct aml *a, const char *name, uint8_t bits)
{
	assert(bits < 1 << 6); /* the width is a package length of one byte */
	name_segment(a, name);
	wbuf_u8(a->out, bits);
}

/* --- terms --- */

void aml_arg(struct aml *a, unsigned n)
{
	assert(n < 7);
	wbuf_u8(a->out, (uint8_t)(OP_ARG0 + n));
}

void aml_local(struct aml *a, unsigned n)
{
	assert(n < 8);
	wbuf_u8(a->out, (uint8_t)(OP_LOCAL0 + n));
}

void aml_store(struct aml *a)
{
	wbuf_u8(a->out, OP_STORE);
}

void aml_and(struct aml *a)
{
	wbuf_u8(a->out, OP_AND);
}

void aml_equal(struct aml *a)
{
	wbuf_u8(a->out, OP_EQUAL);
}

void aml_if(struct aml *a)
{
	wbuf_u8(a->out, OP_IF);
	begin(a);
}

void aml_return(struct aml *a)
{
	wbuf_u8(a->out, OP_RETURN);
}

void aml_notify(struct aml *a, const char *object, uint8_t value)
{
	wbuf_u8(a->out, OP_NOTIFY);
	aml_path(a, object);
	aml_int(a, value);
}
