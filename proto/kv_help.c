/* SPDX-License-Identifier: ISC */
/* Help on a key=value option, from its rows. */
#include <inttypes.h>
#include <string.h>

#include "common/units.h"
#include "proto/codec_kv.h"
#include "proto/config.h"

static const char *placeholder(const struct field_desc *f)
{
	switch (f->kv) {
	case KV_INT:
		return "<number>";
	case KV_SIZE:
		return "<size>";
	case KV_HEX:
		return "0x<hex>";
	case KV_TOGGLE:
		return "on|off";
	case KV_STR:
		return "<text>";
	case KV_MODE_PATH:
		return "<path>";
	case KV_INTS:
		return "[<number>,<from>-<to>]";
	case KV_STRS:
	case KV_NAMES:
		return "[<name>]";
	case KV_TUPLES:
		return "[<key>@<value>]";
	case KV_COLONS:
		return "<a>:<b>:<c>:<d>";
	case KV_LIMITER:
	case KV_NONE:
	case KV_ENUM:
	case KV_ENUM_CASE:
	case KV_MODE:
	case KV_IGNORED:
		break;
	}
	return "";
}

static void put_default(const struct field_desc *f, struct wbuf *out)
{
	if (f->def_str != NULL && *f->def_str != '\0')
		(void)wbuf_printf(out, " (%s)", f->def_str);
	if (f->pres != FP_REQ && f->pres != FP_DEF)
		return;
	if (f->kv == KV_TOGGLE)
		(void)wbuf_printf(out, " (%s)", f->def != 0 ? "on" : "off");
	else if (f->kv == KV_SIZE && f->def % MIB == 0)
		(void)wbuf_printf(out, " (%" PRIu64 "M)", f->def / MIB);
	else if (f->kv_like_prev)
		(void)wbuf_printf(out, " (%s)", f[-1].key != NULL ? f[-1].key : f[-1].name);
	else if (f->kind != FK_OBJ && f->kind != FK_ENUM && f->kind != FK_STR)
		(void)wbuf_printf(out, " (%" PRIu64 ")", f->def);
}

static void put_modes(const struct desc *d, const struct field_desc *f, struct wbuf *out)
{
	bool first = true;

	for (unsigned i = 0; i < f->en->n; i++) {
		const char *name = f->en->names[i].kv;
		const struct field_desc *path = desc_find(d, name);
		bool takes_path = i == CONSOLE_MODE_FILE || i == CONSOLE_MODE_SOCKET;

		if (f->served == FS_LATER && i != f->def && (f->accept >> i & 1) == 0)
			continue;
		if (takes_path && (path == NULL || path->kv != KV_MODE_PATH))
			continue;
		(void)wbuf_printf(out, "%s%s%s", first ? "" : "|", name, takes_path ? "=<path>" : "");
		first = false;
	}
}

static void put_enum(const struct field_desc *f, struct wbuf *out)
{
	bool first = true;

	for (unsigned i = 0; i < f->en->n; i++) {
		if (f->en->names[i].kv == NULL)
			continue;
		(void)wbuf_printf(out, "%s%s", first ? "" : "|", f->en->names[i].kv);
		first = false;
	}
}

static void put_limiter(struct wbuf *out)
{
#define LIMITER_KEY(bkt, mem, key, text) key "=<number>",
	static const char *const keys[] = { LIMITER_KEYS(LIMITER_KEY) };
#undef LIMITER_KEY

	for (size_t i = 0; i < nitems(keys); i++)
		(void)wbuf_printf(out, "%s%s", i > 0 ? ", " : "", keys[i]);
}

/* Is there a key that this build takes something for? */
static bool is_told(const struct field_desc *f)
{
	if (f->kv == KV_MODE)
		return true; /* its paths are told with it */
	return f->kv != KV_NONE && f->kv != KV_IGNORED && f->kv != KV_MODE_PATH && f->served == FS_SERVED;
}

int kv_help(const struct desc *d, struct wbuf *out)
{
	bool first = true;

	for (unsigned i = 0; i < d->n; i++) {
		const struct field_desc *f = &d->f[i];

		if (!is_told(f))
			continue;
		(void)wbuf_str(out, first ? "" : ", ");
		first = false;
		if (f->kv == KV_MODE) {
			put_modes(d, f, out);
			continue;
		}
		if (f->kv == KV_LIMITER) {
			put_limiter(out);
			continue;
		}
		(void)wbuf_printf(out, "%s=%s", f->key != NULL ? f->key : f->name, placeholder(f));
		if (f->en != NULL)
			put_enum(f, out);
		put_default(f, out);
	}
	return out->error;
}
