/* SPDX-License-Identifier: ISC */
#include "apid/vminfo.h"

#include <inttypes.h>
#include <string.h>

#include "proto/codec_json.h"
#include "proto/version.h"

static const char *const features[] = {
#define FEATURE(name) name,
	CLOISTER_FEATURES(FEATURE)
#undef FEATURE
};

int vminfo_ping(struct wbuf *out, int32_t pid)
{
	(void)wbuf_printf(out, "{\"build_version\":\"%s\",\"version\":\"%s\",\"pid\":%" PRId32 ",\"features\":[",
			  CLOISTER_BUILD, CLOISTER_VERSION, pid);
	for (size_t i = 0; i < nitems(features); i++) {
		if (i > 0)
			(void)wbuf_str(out, ",");
		(void)json_put_string(out, features[i]);
	}
	return wbuf_str(out, "]}");
}

static void put_member(struct wbuf *out, const char *name, const char *value)
{
	(void)wbuf_printf(out, ",\"%s\":", name);
	(void)json_put_string(out, value);
}

static void put_bars(struct wbuf *out, const struct msg_dev_node *n)
{
	(void)wbuf_str(out, ",\"resources\":[");
	for (size_t i = 0; i < n->n_bars; i++) {
		const struct msg_pci_bar *b = &n->bars[i];

		(void)wbuf_printf(out,
				  "%s{\"PciBar\":{\"index\":%" PRIu32 ",\"base\":%" PRIu64 ",\"size\":%" PRIu64
				  ",\"type_\":\"%s\",\"prefetchable\":%s}}",
				  i > 0 ? "," : "", b->index, b->base, b->size, enum_pci_bar_type.names[b->type].json,
				  b->prefetchable ? "true" : "false");
	}
	(void)wbuf_str(out, "]");
}

static void put_node(struct wbuf *out, const struct msg_dev_node *n)
{
	(void)json_put_string(out, n->id);
	(void)wbuf_str(out, ":{\"id\":");
	(void)json_put_string(out, n->id);
	put_bars(out, n);
	if (n->parent != NULL)
		put_member(out, "parent", n->parent);
	(void)wbuf_str(out, ",\"children\":[");
	for (size_t i = 0; i < n->n_children; i++) {
		if (i > 0)
			(void)wbuf_str(out, ",");
		(void)json_put_string(out, n->children[i]);
	}
	(void)wbuf_str(out, "]");
	if (n->pci_bdf != NULL)
		put_member(out, "pci_bdf", n->pci_bdf);
	(void)wbuf_str(out, "}");
}

/* There is a VM object exactly in these states. */
static bool has_vm(enum vm_state s)
{
	return s == VM_STATE_RUNNING || s == VM_STATE_PAUSED;
}

int vminfo_info(struct wbuf *out, const struct msg_cmd_vm_info_result *r)
{
	(void)wbuf_str(out, "{\"config\":");
	(void)json_encode(&desc_cfg_vm, &r->config, out);
	(void)wbuf_printf(out, ",\"state\":\"%s\",\"memory_actual_size\":%" PRIu64, enum_vm_state.names[r->state].json,
			  r->memory_actual_size);
	if (has_vm(r->state)) {
		(void)wbuf_str(out, ",\"device_tree\":{");
		for (size_t i = 0; i < r->n_nodes; i++) {
			if (i > 0)
				(void)wbuf_str(out, ",");
			put_node(out, &r->nodes[i]);
		}
		(void)wbuf_str(out, "}");
	}
	return wbuf_str(out, "}");
}

/* vmmd tells a device's counters one behind the other. */
int vminfo_counters(struct wbuf *out, const struct msg_cmd_vm_counters_result *r)
{
	const char *device = NULL;

	(void)wbuf_str(out, "{");
	for (size_t i = 0; i < r->n_counters; i++) {
		const struct msg_counter *c = &r->counters[i];
		bool same = device != NULL && strcmp(device, c->device) == 0;

		if (!same) {
			(void)wbuf_str(out, device == NULL ? "" : "},");
			(void)json_put_string(out, c->device);
			(void)wbuf_str(out, ":{");
		} else {
			(void)wbuf_str(out, ",");
		}
		(void)json_put_string(out, c->name);
		(void)wbuf_printf(out, ":%" PRIu64, c->value);
		device = c->device;
	}
	return wbuf_str(out, device == NULL ? "}" : "}}");
}
