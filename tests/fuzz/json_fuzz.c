/* SPDX-License-Identifier: ISC */
/*
 * The JSON reader: the first byte chooses the object. What it accepts must be written as plain ASCII that reads back
 * as an equal object, and pass the binary form's ranges. A configuration is put before the rules too.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/codec_bin.h"
#include "proto/codec_json.h"
#include "proto/msg.h"
#include "proto/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct desc *const chosen[] = {
	&desc_cfg_vm,	   &desc_cfg_memory_zone, &desc_cfg_affinity,	       &desc_cfg_serial,
	&desc_cfg_console, &desc_msg_result,	  &desc_msg_cmd_vm_info_result, &desc_cfg_platform,
	&desc_cfg_disk,	   &desc_cfg_net,	  &desc_cfg_rng,	       &desc_cfg_rate_limit_group,
};

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_rules(struct cfg_vm *cfg)
{
	struct err e = { 0 };
	int r = rules_check_boot(cfg, &e);

	must(r == 0 || r == -ERR_INVALID || r == -ERR_CONFLICT);
	if (r == 0)
		r = rules_check_runtime(cfg, &e);
	must((r == 0) == (err_count(&e) == 0));
	rules_complete(cfg);
}

static void check_accepted(const struct desc *d, void *obj, void *again)
{
	struct wbuf text, bin;

	wbuf_init(&text, 1 << 26);
	must(json_encode(d, obj, &text) == 0);
	for (size_t i = 0; i < text.len; i++)
		must(text.p[i] >= 0x20 && text.p[i] < 0x7f);
	must(json_decode(d, again, (const char *)text.p, text.len, NULL) == 0);
	must(obj_equal(d, obj, again));
	wbuf_init(&bin, 1 << 26);
	must(bin_encode(d, obj, &bin) == 0);
	wbuf_fini(&text);
	wbuf_fini(&bin);
	if (d == &desc_cfg_vm)
		check_rules(obj);
	obj_fini(d, again);
	obj_fini(d, obj);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = { 0 };

	if (size == 0)
		return 0;
	const struct desc *d = chosen[data[0] % nitems(chosen)];
	void *obj = malloc(d->size), *again = malloc(d->size);
	must(obj != NULL && again != NULL);
	int r = json_decode(d, obj, (const char *)data + 1, size - 1, &e);
	if (r == 0)
		check_accepted(d, obj, again);
	else
		must(r == -EINVAL || r == -ERR_INVALID);
	must(r == 0 || (err_count(&e) == 1 && err_code(&e, 0) == r));
	free(obj);
	free(again);
	return 0;
}
