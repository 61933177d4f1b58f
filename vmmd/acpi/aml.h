/* SPDX-License-Identifier: ISC */
/*
 * Writer for ACPI machine language (ACPI 6.5 chapter 20). Terms are emitted in the order they stand
 * in the byte stream: operators before their operands. Containers (device, method, if, package,
 * buffer) are opened by their function and closed by aml_end(), which puts in the length. Errors
 * stick to the wbuf; look at aml_finish()'s result once.
 *
 * Names are segments of four characters separated by '.', after an optional '\'. They are ours,
 * never a guest's or client's: a wrong one is a bug and asserted.
 */
#ifndef VMMD_ACPI_AML_H
#define VMMD_ACPI_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

enum { AML_DEPTH_MAX = 16 };

struct aml {
	struct wbuf *out; /* borrowed */
	unsigned depth;
	size_t open[AML_DEPTH_MAX]; /* where the length of each open container belongs */
};

void aml_init(struct aml *a, struct wbuf *out);
/* The wbuf's error; every container must be closed. */
int aml_finish(struct aml *a) __must_check;
void aml_end(struct aml *a);

/* Data */
void aml_int(struct aml *a, uint64_t v); /* shortest form */
void aml_string(struct aml *a, const char *s);
void aml_eisa_id(struct aml *a, const char *id); /* "PNP0A03" */
/* A buffer in the mixed order of ToUUID; @uuid as printed. */
void aml_uuid(struct aml *a, const uint8_t uuid[16]);
void aml_buffer(struct aml *a, const void *p, size_t n);
void aml_package(struct aml *a, uint8_t elements); /* container */

/* Named objects */
void aml_name(struct aml *a, const char *name); /* Name(name, <term>): the term follows */
void aml_name_int(struct aml *a, const char *name, uint64_t v);
void aml_name_string(struct aml *a, const char *name, const char *s);
void aml_name_eisa_id(struct aml *a, const char *name, const char *id);
void aml_device(struct aml *a, const char *name);                                /* container */
void aml_method(struct aml *a, const char *name, uint8_t args, bool serialized); /* container */
void aml_region_memory(struct aml *a, const char *name, uint64_t addr, uint64_t len);

enum aml_access { AML_ACCESS_BYTE = 1, AML_ACCESS_WORD = 2, AML_ACCESS_DWORD = 3 };
enum aml_update { AML_PRESERVE = 0, AML_WRITE_AS_ZEROS = 2 };
/* Container of units. */
void aml_field(struct aml *a, const char *region, enum aml_access access, enum aml_update update);
void aml_field_unit(struct aml *a, const char *name, uint8_t bits); /* in a field; below 64 bits */

/* Resource templates: between aml_resources() and aml_resources_end() */
void aml_resources(struct aml *a, const char *name);
void aml_resources_end(struct aml *a);
void aml_res_bus(struct aml *a, uint16_t min, uint16_t max);
void aml_res_io(struct aml *a, uint16_t port, uint8_t align, uint8_t len);
void aml_res_io_range(struct aml *a, uint16_t min, uint16_t max);
void aml_res_memory32(struct aml *a, uint32_t base, uint32_t len);
void aml_res_memory64(struct aml *a, uint64_t base, uint64_t len); /* not cacheable, read-write */
void aml_res_irq(struct aml *a, uint32_t gsi); /* edge, active high, exclusive */

/* Terms of methods */
void aml_path(struct aml *a, const char *name); /* a reference, or a call when arguments follow */
void aml_arg(struct aml *a, unsigned n);
void aml_local(struct aml *a, unsigned n);
void aml_store(struct aml *a);  /* source, target */
void aml_and(struct aml *a);    /* two operands, target */
void aml_equal(struct aml *a);  /* two operands */
void aml_if(struct aml *a);     /* container: predicate, terms */
void aml_return(struct aml *a); /* value */
void aml_notify(struct aml *a, const char *object, uint8_t value);

#endif
