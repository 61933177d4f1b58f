/* SPDX-License-Identifier: ISC */
/* What the JSON tests share: a configuration taken or refused. */
#ifndef TESTS_UNIT_PROTO_JSON_UTIL_H
#define TESTS_UNIT_PROTO_JSON_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/codec_json.h"
#include "proto/config.h"

/* Decode @text into @cfg and expect success. */
static inline void take(const char *text, struct cfg_vm *cfg)
{
	struct err e = { 0 };

	if (json_decode(&desc_cfg_vm, cfg, text, strlen(text), &e) != 0)
		fail_msg("%s: %s", text, err_text(&e, 0));
}

static inline void accept_doc(const char *text)
{
	struct cfg_vm cfg;

	take(text, &cfg);
	obj_fini(&desc_cfg_vm, &cfg);
}

/* Expect a refusal with @code whose text is exactly @want (NULL: any), and an object that owns nothing. */
static inline void refuse(const char *text, int code, const char *want)
{
	static const struct cfg_vm zero;
	struct err e = { 0 };
	struct cfg_vm cfg;
	int r = json_decode(&desc_cfg_vm, &cfg, text, strlen(text), &e);

	if (r != code || err_code(&e, 0) != code)
		fail_msg("%s: %d (%s), expected %d", text, r, err_text(&e, 0), code);
	if (want != NULL && strcmp(err_text(&e, 0), want) != 0)
		fail_msg("%s: \"%s\", expected \"%s\"", text, err_text(&e, 0), want);
	assert_memory_equal(&cfg, &zero, sizeof(cfg));
	assert_int_equal(json_decode(&desc_cfg_vm, &cfg, text, strlen(text), NULL), code);
}

static inline char *encode(const struct desc *d, const void *obj)
{
	struct wbuf w;

	wbuf_init(&w, 1 << 20);
	assert_int_equal(json_encode(d, obj, &w), 0);
	assert_int_equal(wbuf_u8(&w, 0), 0);
	return (char *)w.p;
}

#endif
