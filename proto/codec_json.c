/* SPDX-License-Identifier: ISC */
/*
 * JSON to objects. json_scan() has proven the text and tagged its strings and numbers before cJSON sees it; each node's
 * valueint is then the index of its place in the original text. The walker believes types no more than texts: what
 * the row does not say is refused. Members that no row knows are ignored.
 */
#include "proto/codec_json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "common/log.h"
#include "common/str.h"
#include "proto/json_scan.h"
#include "proto/text_form.h"

enum { PATH_MAX_PARTS = 2 * DESC_NEST_MAX + 2, PATH_TEXT = 256, FOUND_TEXT = 96 };

struct part {
	const char *name; /* NULL: an element */
	size_t index;
};

struct ctx {
	const char *text;
	const struct json_scan *scan;
	struct part path[PATH_MAX_PARTS];
	unsigned n_path;
	struct err *e;
};

static int get_object(struct ctx *c, const struct desc *d, void *obj, const cJSON *n, bool strict);

/* --- nodes ----------------------------------------------------------------------------------------------------------- */

static bool is_null(const cJSON *n)
{
	return (n->type & 0xff) == cJSON_NULL;
}

static bool is_bool(const cJSON *n)
{
	return (n->type & (cJSON_True | cJSON_False)) != 0;
}

static bool is_array(const cJSON *n)
{
	return (n->type & 0xff) == cJSON_Array;
}

static bool is_object(const cJSON *n)
{
	return (n->type & 0xff) == cJSON_Object;
}

static bool is_tagged(const cJSON *n, char tag)
{
	return (n->type & 0xff) == cJSON_String && n->valuestring[0] == tag;
}

static bool is_string(const cJSON *n)
{
	return is_tagged(n, JSON_TAG_STRING);
}

static bool is_number(const cJSON *n)
{
	return is_tagged(n, JSON_TAG_NUMBER);
}

/* Of a string or number, without the tag. */
static const char *node_text(const cJSON *n)
{
	return n->valuestring + 1;
}

/* --- what went wrong ------------------------------------------------------------------------------------------------- */

static void push(struct ctx *c, const char *name, size_t index)
{
	if (c->n_path < PATH_MAX_PARTS)
		c->path[c->n_path] = (struct part){ name, index };
	c->n_path++;
}

static void pop(struct ctx *c)
{
	c->n_path--;
}

/* "memory.zones[2].size"; "" for the document. */
static const char *path_text(const struct ctx *c, char out[PATH_TEXT])
{
	size_t at = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < c->n_path && i < PATH_MAX_PARTS; i++) {
		const struct part *p = &c->path[i];
		bool ok = p->name != NULL ? str_fmt(out + at, PATH_TEXT - at, "%s%s", at > 0 ? "." : "", p->name)
					  : str_fmt(out + at, PATH_TEXT - at, "[%zu]", p->index);
		if (!ok)
			break;
		at += strlen(out + at);
	}
	return out;
}

/* What a person calls the value: "string \"4\"", "number 1.5", "null". */
static const char *found_text(const cJSON *n, char out[FOUND_TEXT])
{
	int cut = 48;

	if (is_null(n)) {
		(void)str_fmt(out, FOUND_TEXT, "null");
	} else if (is_bool(n)) {
		(void)str_fmt(out, FOUND_TEXT, "boolean %s", (n->type & cJSON_True) != 0 ? "true" : "false");
	} else if (is_number(n)) {
		(void)str_fmt(out, FOUND_TEXT, "number %.*s", cut, node_text(n));
	} else if (is_string(n)) {
		size_t len = strnlen(node_text(n), (size_t)cut);

		if (len == (size_t)cut)
			len = str_utf8_cut(node_text(n), len);
		(void)str_fmt(out, FOUND_TEXT, "string \"%.*s\"", (int)len, node_text(n));
	} else {
		(void)str_fmt(out, FOUND_TEXT, "%s", is_array(n) ? "an array" : "an object");
	}
	return out;
}

/* "<path>: <what> at line L column C": where a value ends, or a container of the wrong kind begins. */
static int bad(const struct ctx *c, const cJSON *n, bool at_start, const char *what)
{
	const struct json_span *span = &c->scan->spans[n->valueint];
	char path[PATH_TEXT];
	unsigned line, column;

	json_place(c->text, at_start ? span->start : span->end, &line, &column);
	if (c->n_path == 0)
		return err_set(c->e, -EINVAL, "%s at line %u column %u", what, line, column);
	return err_set(c->e, -EINVAL, "\"%s\": %s at line %u column %u", path_text(c, path), what, line, column);
}

static int wrong_type(const struct ctx *c, const cJSON *n, const char *want)
{
	char what[FOUND_TEXT + 64], found[FOUND_TEXT];

	(void)str_fmt(what, sizeof(what), "expected %s, found %s", want, found_text(n, found));
	return bad(c, n, is_array(n) || is_object(n), what);
}

static int not_supported(const struct ctx *c, const struct field_desc *f, const cJSON *n)
{
	char path[PATH_TEXT], found[FOUND_TEXT];

	/* where "off" would be the refused value, the member's name alone would mislead */
	if (f->kind == FK_ENUM || (f->def != 0 && f->kind != FK_OBJ && f->kind != FK_ANY))
		return err_set(c->e, -ERR_INVALID, "\"%s\": %s is not supported by this build", path_text(c, path),
			       found_text(n, found));
	return err_set(c->e, -ERR_INVALID, "\"%s\" is not supported by this build", path_text(c, path));
}

static int no_memory(const struct ctx *c)
{
	return err_set(c->e, -ENOMEM, "out of memory");
}

/* --- values ---------------------------------------------------------------------------------------------------------- */

static int out_of_range(const struct ctx *c, const struct field_desc *f, const cJSON *n)
{
	char what[FOUND_TEXT + 96], found[FOUND_TEXT];

	(void)str_fmt(what, sizeof(what), "%s is out of range for %s", found_text(n, found), field_type_name(f));
	return bad(c, n, false, what);
}

static int get_number(struct ctx *c, const struct field_desc *f, void *p, const cJSON *n)
{
	bool minus;
	uint64_t v;
	int r;

	if (!is_number(n) || strpbrk(node_text(n), ".eE") != NULL)
		return wrong_type(c, n, field_type_name(f));
	minus = node_text(n)[0] == '-';
	if (f->kind != FK_I32) {
		if (minus)
			return out_of_range(c, f, n);
		r = str_to_u64(node_text(n), field_value_min(f), field_value_max(f), &v);
	} else {
		r = str_to_u64(node_text(n) + (minus ? 1 : 0), 0, (uint64_t)INT32_MAX + (minus ? 1 : 0), &v);
		if (r == 0 && minus)
			v = 0 - v;
	}
	if (r < 0)
		return out_of_range(c, f, n);
	field_store(f->kind, p, v);
	return 0;
}

/* "Variant", or {"Variant":null} as some serialisers write it. */
static int get_enum(struct ctx *c, const struct field_desc *f, void *p, const cJSON *n)
{
	char what[FOUND_TEXT + 96], found[FOUND_TEXT];
	const char *name;

	if (is_object(n) && n->child != NULL && n->child->next == NULL && is_null(n->child))
		name = n->child->string;
	else if (is_string(n))
		name = node_text(n);
	else
		return wrong_type(c, n, "a string");
	for (unsigned i = 0; i < f->en->n; i++) {
		if (strcmp(f->en->names[i].json, name) == 0) {
			field_store(f->kind, p, i);
			return 0;
		}
	}
	(void)str_fmt(what, sizeof(what), "%s is not a %s", found_text(n, found), f->en->name);
	return bad(c, n, false, what);
}

static int not_of_form(const struct ctx *c, const struct field_desc *f, const cJSON *n)
{
	char what[FOUND_TEXT + 64], found[FOUND_TEXT];

	(void)str_fmt(what, sizeof(what), "%s is not %s", found_text(n, found), text_form_name(f->form));
	return bad(c, n, false, what);
}

static int get_string(struct ctx *c, const struct field_desc *f, void *p, const cJSON *n)
{
	char canon[TEXT_FORM_MAX];
	size_t len;
	char *s;

	if (!is_string(n))
		return wrong_type(c, n, "a string");
	len = strlen(node_text(n));
	if (len < field_value_min(f))
		return bad(c, n, false, "text too short");
	if (len > field_value_max(f))
		return bad(c, n, false, "text too long");
	if (f->form != TF_ANY && text_form_canon(f->form, node_text(n), canon) < 0)
		return not_of_form(c, f, n);
	s = strdup(f->form != TF_ANY ? canon : node_text(n));
	if (s == NULL)
		return no_memory(c);
	memcpy(p, &s, sizeof(s));
	return 0;
}

static int get_bool(struct ctx *c, const struct field_desc *f, void *p, const cJSON *n)
{
	if (!is_bool(n))
		return wrong_type(c, n, "a boolean");
	field_store(f->kind, p, (n->type & cJSON_True) != 0 ? 1 : 0);
	return 0;
}

/* @p is zeroed, or an object that owns nothing yet. */
static int get_value(struct ctx *c, const struct field_desc *f, void *p, const cJSON *n)
{
	switch (f->kind) {
	case FK_BOOL:
		return get_bool(c, f, p, n);
	case FK_U8:
	case FK_U16:
	case FK_U32:
	case FK_U64:
	case FK_I32:
		return get_number(c, f, p, n);
	case FK_ENUM:
		return get_enum(c, f, p, n);
	case FK_STR:
		return get_string(c, f, p, n);
	case FK_OBJ:
		return get_object(c, f->obj, p, n, f->strict);
	case FK_ANY:
		break;
	}
	return not_supported(c, f, n);
}

static size_t array_length(const cJSON *n)
{
	size_t count = 0;

	for (const cJSON *k = n->child; k != NULL; k = k->next)
		count++;
	return count;
}

static int get_list(struct ctx *c, const struct field_desc *f, void *obj, const cJSON *n)
{
	size_t count, i = 0;
	char *list;

	if (!is_array(n))
		return wrong_type(c, n, "an array");
	count = array_length(n);
	if (count < f->min || count > field_max(f))
		return bad(c, n, true, count < f->min ? "too few elements" : "too many elements");
	if (count == 0)
		return 0; /* empty and optional is absent */
	list = calloc(count, f->elem);
	if (list == NULL)
		return no_memory(c);
	field_set_ptr(f, obj, list);
	field_set_count(f, obj, count); /* zeroed elements are free to fini */
	field_set_has(f, obj, true);
	for (const cJSON *k = n->child; k != NULL; k = k->next, i++) {
		push(c, NULL, i);
		int r = get_value(c, f, list + i * f->elem, k);
		pop(c);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- rows without a place -------------------------------------------------------------------------------------------- */

static int get_unstored_object(struct ctx *c, const struct field_desc *f, const cJSON *n)
{
	void *tmp = malloc(f->obj->size);
	int r;

	if (tmp == NULL)
		return no_memory(c);
	memset(tmp, 0, f->obj->size);
	r = get_object(c, f->obj, tmp, n, f->strict); /* its rows are LATER: each refuses all but its default */
	obj_fini(f->obj, tmp);
	free(tmp);
	return r;
}

static int get_unstored(struct ctx *c, const struct field_desc *f, const cJSON *n)
{
	uint64_t v = 0;
	int r;

	if (is_null(n))
		return 0;
	if (f->pres == FP_UNSTORED_LIST) {
		if (!is_array(n))
			return wrong_type(c, n, "an array");
		return n->child == NULL ? 0 : not_supported(c, f, n);
	}
	if (f->kind == FK_OBJ)
		return get_unstored_object(c, f, n);
	if (f->kind == FK_ANY)
		return not_supported(c, f, n);
	r = get_value(c, f, &v, n);
	if (r == 0 && field_load(f->kind, &v) != f->def)
		r = not_supported(c, f, n);
	return r;
}

/* The string row that a legacy row fills ("object.member" of @d) and where it lies. Makes the object present. */
static const struct field_desc *legacy_target(const struct desc *d, void *obj, const char *to, void **at)
{
	const char *dot = strchr(to, '.');

	for (unsigned i = 0; dot != NULL && i < d->n; i++) {
		const struct field_desc *f = &d->f[i];

		if (f->kind != FK_OBJ || strncmp(f->name, to, (size_t)(dot - to)) != 0 ||
		    f->name[dot - to] != '\0')
			continue;
		const struct field_desc *inner = desc_find(f->obj, dot + 1);
		if (inner == NULL)
			break;
		field_set_has(f, obj, true);
		*at = field_at(inner, field_at(f, obj));
		return inner;
	}
	return NULL;
}

/* Old clients write {"kernel":{"path":"..."}} at the top. What the new form says wins. */
static int get_legacy(struct ctx *c, const struct desc *d, void *obj, const struct field_desc *f, const cJSON *n)
{
	const cJSON *member = NULL;
	const struct field_desc *target;
	void *at;

	if (is_null(n))
		return 0;
	if (!is_object(n))
		return wrong_type(c, n, "an object");
	for (const cJSON *k = n->child; k != NULL; k = k->next)
		if (strcmp(k->string, f->legacy_member) == 0)
			member = k;
	if (member == NULL || is_null(member))
		return 0;
	if (!is_string(member))
		return wrong_type(c, member, "a string");
	log_warn("configuration: \"%s\" is the old form of \"%s\"", f->name, f->legacy_to);
	target = legacy_target(d, obj, f->legacy_to, &at);
	if (target == NULL || *(char *const *)at != NULL)
		return 0;
	return get_string(c, target, at, member);
}

/* --- objects --------------------------------------------------------------------------------------------------------- */

static int get_null(struct ctx *c, const struct field_desc *f, const cJSON *n)
{
	switch (f->pres) {
	case FP_OPT:
	case FP_OPTLIST:
		return 0; /* absent already */
	case FP_NULLABLE:
		if (f->def_str == NULL)
			return 0;
		break;
	case FP_DEF:
		if (f->served == FS_LATER)
			return 0; /* what isn't served may be nothing in any way */
		break;
	case FP_REQ:
	case FP_LIST:
	case FP_UNSTORED:
	case FP_UNSTORED_LIST:
		break;
	}
	return wrong_type(c, n, field_is_list(f) ? "an array" : field_type_name(f));
}

/* Descriptors come beside a request, never as numbers in it. */
static void forget_list(const struct ctx *c, const struct field_desc *f, void *obj)
{
	char path[PATH_TEXT];

	log_warn("configuration: \"%s\" is not taken from a request", path_text(c, path));
	free(field_list(f, obj)); /* of numbers */
	field_set_ptr(f, obj, NULL);
	field_set_count(f, obj, 0);
	field_set_has(f, obj, false);
}

static int get_field(struct ctx *c, const struct field_desc *f, void *obj, const cJSON *n)
{
	int r;

	if (!field_is_stored(f))
		return get_unstored(c, f, n);
	if (is_null(n))
		return get_null(c, f, n);
	if (field_is_list(f)) {
		r = get_list(c, f, obj, n);
		if (r == 0 && f->distrust && field_count(f, obj) > 0)
			forget_list(c, f, obj);
	} else {
		r = get_value(c, f, field_at(f, obj), n);
		if (r == 0)
			field_set_has(f, obj, true);
	}
	if (r == 0 && f->served == FS_LATER && !field_is_plain(f, obj))
		r = not_supported(c, f, n);
	return r;
}

/* Row of a member name; rows that exist for key=value or for ourselves only have none. */
static const struct field_desc *row_of(const struct desc *d, const char *name)
{
	const struct field_desc *f = desc_find(d, name);

	return f != NULL && f->kv != KV_IGNORED && !f->internal ? f : NULL;
}

static int check_required(struct ctx *c, const struct desc *d, uint64_t seen, const cJSON *n)
{
	char what[128];

	for (unsigned i = 0; i < d->n; i++) {
		const struct field_desc *f = &d->f[i];

		if ((f->pres != FP_REQ && f->pres != FP_LIST && !f->must) || (seen >> i & 1) != 0)
			continue;
		(void)str_fmt(what, sizeof(what), "missing member \"%s\"", f->name);
		return bad(c, n, false, what);
	}
	return 0;
}

static int unknown_member(struct ctx *c, const cJSON *n)
{
	char what[FOUND_TEXT];
	size_t len = strnlen(n->string, 48);

	if (len == 48)
		len = str_utf8_cut(n->string, len);
	(void)str_fmt(what, sizeof(what), "unknown member \"%.*s\"", (int)len, n->string);
	return bad(c, n, true, what);
}

static int get_member(struct ctx *c, const struct desc *d, void *obj, const struct field_desc *f, const cJSON *n,
		      uint64_t *seen)
{
	int r;

	push(c, f->name, 0);
	if ((*seen >> (f - d->f) & 1) != 0)
		r = bad(c, n, true, "given twice");
	else if (f->legacy_member != NULL)
		r = 0; /* once all the others are known */
	else
		r = get_field(c, f, obj, n);
	*seen |= UINT64_C(1) << (f - d->f);
	pop(c);
	return r;
}

static int get_legacy_members(struct ctx *c, const struct desc *d, void *obj, const cJSON *n)
{
	int r = 0;

	for (const cJSON *k = n->child; k != NULL && r == 0; k = k->next) {
		const struct field_desc *f = row_of(d, k->string);

		if (f == NULL || f->legacy_member == NULL)
			continue;
		push(c, f->name, 0);
		r = get_legacy(c, d, obj, f, k);
		pop(c);
	}
	return r;
}

static int get_object(struct ctx *c, const struct desc *d, void *obj, const cJSON *n, bool strict)
{
	uint64_t seen = 0;
	int r = 0;

	if (!is_object(n))
		return wrong_type(c, n, "an object");
	obj_init(d, obj);
	for (unsigned i = 0; i < d->n; i++) /* those defaults are of an object that is left out */
		if (d->f[i].def_has)
			field_set_has(&d->f[i], obj, false);
	for (const cJSON *k = n->child; k != NULL && r == 0; k = k->next) {
		const struct field_desc *f = row_of(d, k->string);

		if (f != NULL)
			r = get_member(c, d, obj, f, k, &seen);
		else if (strict)
			r = unknown_member(c, k);
	}
	if (r == 0)
		r = check_required(c, d, seen, n);
	return r < 0 ? r : get_legacy_members(c, d, obj, n);
}

/* Number the nodes as the scan numbered the values: in the order of their beginnings. At most JSON_DEPTH_MAX deep. */
static void number_nodes(cJSON *n, size_t *next)
{
	n->valueint = (int)(*next)++; /* at most JSON_VALUES_MAX */
	for (cJSON *k = n->child; k != NULL; k = k->next)
		number_nodes(k, next);
}

int json_decode(const struct desc *d, void *obj, const char *text, size_t len, struct err *e)
{
	struct json_scan scan;
	struct ctx c = { .text = text, .scan = &scan, .e = e };
	cJSON *root = NULL;
	size_t n = 0;
	int r;

	memset(obj, 0, d->size);
	r = json_scan(&scan, text, len, e);
	if (r == 0) {
		root = cJSON_ParseWithLengthOpts((const char *)scan.text.p, scan.text.len, NULL, 0);
		if (root == NULL)
			r = no_memory(&c);
	}
	if (r == 0) {
		number_nodes(root, &n);
		r = n == scan.n_values ? get_object(&c, d, obj, root, false)
				       : err_set(e, -EINVAL, "JSON document: %zu values, %zu expected", n, scan.n_values);
	}
	if (r < 0)
		obj_fini(d, obj);
	cJSON_Delete(root);
	json_scan_fini(&scan);
	return r;
}
