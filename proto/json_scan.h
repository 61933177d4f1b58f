/* SPDX-License-Identifier: ISC */
/*
 * The validating pre-scan. cJSON alone bends 2^64-1 into a double, cuts texts at \u0000, takes "01", "1." and trailing
 * text, and checks neither UTF-8 nor surrogates. So nothing reaches it before this scan has proven the whole document,
 * and numbers reach it only as strings.
 */
#ifndef PROTO_JSON_SCAN_H
#define PROTO_JSON_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

/* First byte of every string value in the rewritten text. Names of members are as they were. */
#define JSON_TAG_NUMBER 'n'
#define JSON_TAG_STRING 's'

/* Where a value stands in the original text. */
struct json_span {
	uint32_t start; /* offset of its first byte */
	uint32_t end;   /* offset of its last byte */
};

struct json_scan {
	struct wbuf text; /* the document for cJSON */
	struct json_span *spans; /* of each value, in the order of their beginnings */
	size_t n_values;
	size_t cap;
};

/* 0, -EINVAL (text says what and where), -ENOMEM. json_scan_fini() in every case. */
int json_scan(struct json_scan *s, const char *text, size_t len, struct err *e) __must_check;
void json_scan_fini(struct json_scan *s);

/* Line and column of a byte, both from 1; the column counts bytes. */
void json_place(const char *text, size_t off, unsigned *line, unsigned *column);

#endif
