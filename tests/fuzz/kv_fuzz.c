/* SPDX-License-Identifier: ISC */
/* The key=value reader: the first byte chooses the option. What it accepts must pass the binary form's ranges. */
#include <stdlib.h>
#include <string.h>

#include "proto/codec_bin.h"
#include "proto/codec_kv.h"
#include "proto/config.h"
#include "proto/kv_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every kind of list. */
#define PAIR_FIELDS(F, S) \
	F(S, STR, key, REQ, 0, R(1, 64), SERVED, "key") \
	F(S, U16, list, LIST, 0, R(0, 64), SERVED, "list")
#define LISTS_FIELDS(F, S) \
	F(S, U8, ints, OPTLIST, 0, R(0, 64), SERVED, "ints", .kv = KV_INTS) \
	F(S, STR, strs, OPTLIST, 0, R(0, 64), SERVED, "strs", .kv = KV_STRS) \
	F(S, OBJ(fuzz_pair), pairs, OPTLIST, 0, R(0, 64), SERVED, "pairs", .kv = KV_TUPLES) \
	F(S, OBJ(cfg_affinity), cpus, OPTLIST, 0, R(0, 64), SERVED, "cpus", .kv = KV_TUPLES) \
	F(S, OBJ(cfg_topology), quad, OPT, 0, ANY, SERVED, "quad", .kv = KV_COLONS) \
	F(S, STR, text, NULLABLE, 0, R(0, 32), SERVED, "text", .kv = KV_STR) \
	F(S, U16, hex, OPT, 0, ANY, SERVED, "hex", .kv = KV_HEX)
DESC_DECLARE(CFG_MEMBER, fuzz_pair, PAIR_FIELDS)
DESC_DECLARE(CFG_MEMBER, fuzz_lists, LISTS_FIELDS)
DESC_DEFINE(CFG_FIELD, fuzz_pair, 1, PAIR_FIELDS)
DESC_DEFINE(CFG_FIELD, fuzz_lists, 1, LISTS_FIELDS)

static const struct desc *const chosen[] = {
	&desc_cfg_cpus,		 &desc_cfg_memory, &desc_cfg_serial, &desc_cfg_console,
	&desc_cfg_debug_console, &desc_cfg_rng,	   &desc_cfg_balloon, &desc_fuzz_lists,
	&desc_cfg_disk,		 &desc_cfg_net,	   &desc_cfg_rate_limit_group,
};

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_accepted(const struct desc *d, void *obj)
{
	struct wbuf bin;

	wbuf_init(&bin, 1 << 24);
	must(bin_encode(d, obj, &bin) == 0);
	wbuf_fini(&bin);
	obj_fini(d, obj);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = { 0 };

	if (size == 0 || size > 65536)
		return 0;
	const struct desc *d = chosen[data[0] % nitems(chosen)];
	char *text = malloc(size);
	void *obj = malloc(d->size);
	must(text != NULL && obj != NULL);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	int r = kv_decode(d, obj, text, &e);
	if (r == 0)
		check_accepted(d, obj);
	else
		must((r == -EINVAL || r == -ERR_INVALID) && err_code(&e, 0) == r);
	kv_dequote(text);
	free(text);
	free(obj);
	return 0;
}
