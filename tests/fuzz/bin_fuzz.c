/* SPDX-License-Identifier: ISC */
/*
 * The binary decoder, over every message and configuration object: the first byte chooses which. What it accepts must
 * encode to the very same bytes, and its copy must be equal.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/codec_bin.h"
#include "proto/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CFG_NAME(S, ver, FIELDS) &desc_##S,
#define MSG_PART(S, ver, FIELDS) &desc_##S,
#define MSG_BODY(T, S, num, ver, FIELDS) &desc_##S,
#define MSG_NONE(T, num)
static const struct desc *const all[] = { CFG_OBJECTS(CFG_NAME) ALL_MESSAGES(MSG_PART, MSG_BODY, MSG_NONE) };

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_accepted(const struct desc *d, void *obj, void *copy, const uint8_t *data, size_t size)
{
	struct wbuf w;

	wbuf_init(&w, size + 1);
	must(bin_encode(d, obj, &w) == 0);
	must(w.len == size && memcmp(w.p, data, size) == 0);
	wbuf_fini(&w);
	must(obj_copy(d, copy, obj) == 0);
	must(obj_equal(d, obj, copy));
	obj_fini(d, copy);
	obj_fini(d, obj);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t zero[4096];
	struct err e = { 0 };

	if (size == 0)
		return 0;
	const struct desc *d = all[data[0] % nitems(all)];
	void *obj = malloc(d->size), *copy = malloc(d->size);
	must(obj != NULL && copy != NULL && d->size <= sizeof(zero));
	if (bin_decode(d, obj, data + 1, size - 1, &e) == 0) {
		check_accepted(d, obj, copy, data + 1, size - 1);
	} else {
		must(err_count(&e) == 1 && err_code(&e, 0) < 0);
		must(memcmp(obj, zero, d->size) == 0);
	}
	free(obj);
	free(copy);
	return 0;
}
