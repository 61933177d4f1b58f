/* SPDX-License-Identifier: ISC */
/*
 * Walking over descriptors: defaults, freeing, copying, comparing. Recursion follows the tables, which nest at most
 * DESC_NEST_MAX deep (a unit test walks them all), never the input.
 */
#include "proto/desc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool field_is_list(const struct field_desc *f)
{
	return f->pres == FP_LIST || f->pres == FP_OPTLIST || f->pres == FP_UNSTORED_LIST;
}

bool field_is_stored(const struct field_desc *f)
{
	return f->pres != FP_UNSTORED && f->pres != FP_UNSTORED_LIST;
}

const struct field_desc *desc_find(const struct desc *d, const char *name)
{
	for (unsigned i = 0; i < d->n; i++)
		if (strcmp(d->f[i].name, name) == 0)
			return &d->f[i];
	return NULL;
}

/* --- parts of a row -------------------------------------------------------------------------------------------------- */

bool field_has(const struct field_desc *f, const void *obj)
{
	bool has = true;

	if (f->pres == FP_OPT || f->pres == FP_OPTLIST)
		memcpy(&has, (const char *)obj + f->has_off, sizeof(has));
	else if (f->pres == FP_NULLABLE)
		has = field_str(f, obj) != NULL;
	return has;
}

void field_set_has(const struct field_desc *f, void *obj, bool has)
{
	if (f->pres == FP_OPT || f->pres == FP_OPTLIST)
		memcpy((char *)obj + f->has_off, &has, sizeof(has));
}

size_t field_count(const struct field_desc *f, const void *obj)
{
	size_t n;

	memcpy(&n, (const char *)obj + f->n_off, sizeof(n));
	return n;
}

void field_set_count(const struct field_desc *f, void *obj, size_t n)
{
	memcpy((char *)obj + f->n_off, &n, sizeof(n));
}

void *field_list(const struct field_desc *f, const void *obj)
{
	void *p;

	memcpy(&p, field_at_const(f, obj), sizeof(p));
	return p;
}

char *field_str(const struct field_desc *f, const void *obj)
{
	return field_list(f, obj);
}

void field_set_ptr(const struct field_desc *f, void *obj, void *p)
{
	memcpy(field_at(f, obj), &p, sizeof(p));
}

/* --- numbers --------------------------------------------------------------------------------------------------------- */

uint64_t field_load(enum field_kind kind, const void *p)
{
	uint64_t u64;
	uint32_t u32;
	uint16_t u16;
	uint8_t u8;
	bool b;

	switch (kind) {
	case FK_BOOL:
		memcpy(&b, p, sizeof(b));
		return b ? 1 : 0;
	case FK_U8:
		memcpy(&u8, p, sizeof(u8));
		return u8;
	case FK_U16:
		memcpy(&u16, p, sizeof(u16));
		return u16;
	case FK_U32:
	case FK_ENUM:
		memcpy(&u32, p, sizeof(u32));
		return u32;
	case FK_I32:
		memcpy(&u32, p, sizeof(u32));
		return (uint64_t)(int64_t)(int32_t)u32;
	case FK_U64:
		memcpy(&u64, p, sizeof(u64));
		return u64;
	case FK_STR:
	case FK_OBJ:
	case FK_ANY:
		break;
	}
	return 0;
}

/* The caller has checked the range: what does not fit cannot arrive here. */
void field_store(enum field_kind kind, void *p, uint64_t v)
{
	uint32_t u32 = (uint32_t)v;
	uint16_t u16 = (uint16_t)v;
	uint8_t u8 = (uint8_t)v;
	bool b = v != 0;

	switch (kind) {
	case FK_BOOL:
		memcpy(p, &b, sizeof(b));
		break;
	case FK_U8:
		memcpy(p, &u8, sizeof(u8));
		break;
	case FK_U16:
		memcpy(p, &u16, sizeof(u16));
		break;
	case FK_U32:
	case FK_ENUM:
	case FK_I32:
		memcpy(p, &u32, sizeof(u32));
		break;
	case FK_U64:
		memcpy(p, &v, sizeof(v));
		break;
	case FK_STR:
	case FK_OBJ:
	case FK_ANY:
		break;
	}
}

_Static_assert(sizeof(enum field_kind) == sizeof(uint32_t), "enumerations are stored as 32 bits");

static uint64_t kind_max(const struct field_desc *f)
{
	switch (f->kind) {
	case FK_BOOL:
		return 1;
	case FK_U8:
		return UINT8_MAX;
	case FK_U16:
		return UINT16_MAX;
	case FK_U32:
		return UINT32_MAX;
	case FK_I32:
		return INT32_MAX;
	case FK_U64:
		return UINT64_MAX;
	case FK_ENUM:
		return f->en->n - 1;
	case FK_STR:
		return DESC_STR_MAX;
	case FK_OBJ:
	case FK_ANY:
		break;
	}
	return 0;
}

uint64_t field_value_max(const struct field_desc *f)
{
	return field_is_list(f) || f->max == 0 ? kind_max(f) : f->max;
}

uint64_t field_value_min(const struct field_desc *f)
{
	return field_is_list(f) ? 0 : f->min;
}

uint64_t field_max(const struct field_desc *f)
{
	if (!field_is_list(f))
		return field_value_max(f);
	return f->max == 0 ? DESC_LIST_MAX : f->max;
}

const char *field_type_name(const struct field_desc *f)
{
	switch (f->kind) {
	case FK_BOOL:
		return "a boolean";
	case FK_U8:
		return "u8";
	case FK_U16:
		return "u16";
	case FK_U32:
		return "u32";
	case FK_U64:
		return "u64";
	case FK_I32:
		return "i32";
	case FK_ENUM:
	case FK_STR:
		return "a string";
	case FK_OBJ:
		return "an object";
	case FK_ANY:
		break;
	}
	return "a value";
}

/* --- whole objects --------------------------------------------------------------------------------------------------- */

static void init_field(const struct field_desc *f, void *obj)
{
	switch (f->pres) {
	case FP_OPT:
		if (!f->def_has)
			break;
		field_set_has(f, obj, true);
		__attribute__((fallthrough));
	case FP_REQ:
	case FP_DEF:
		if (f->kind == FK_OBJ)
			obj_init(f->obj, field_at(f, obj));
		else
			field_store(f->kind, field_at(f, obj), f->def);
		break;
	case FP_NULLABLE:
	case FP_LIST:
	case FP_OPTLIST:
	case FP_UNSTORED:
	case FP_UNSTORED_LIST:
		break;
	}
}

void obj_init(const struct desc *d, void *obj)
{
	memset(obj, 0, d->size);
	for (unsigned i = 0; i < d->n; i++)
		init_field(&d->f[i], obj);
}

static void fini_value(const struct field_desc *f, void *p)
{
	char *s;

	if (f->kind == FK_OBJ) {
		obj_fini(f->obj, p);
	} else if (f->kind == FK_STR) {
		memcpy(&s, p, sizeof(s));
		free(s);
	}
}

void obj_fini(const struct desc *d, void *obj)
{
	for (unsigned i = 0; i < d->n; i++) {
		const struct field_desc *f = &d->f[i];

		if (!field_is_stored(f))
			continue;
		if (!field_is_list(f)) {
			fini_value(f, field_at(f, obj));
			continue;
		}
		char *list = field_list(f, obj);
		for (size_t k = 0; list != NULL && k < field_count(f, obj); k++)
			fini_value(f, list + k * f->elem);
		free(list);
	}
	memset(obj, 0, d->size);
}

/* @dst already holds the bytes of @src: replace what they point to. On failure @dst points to nothing. */
static int dup_value(const struct field_desc *f, void *dst, const void *src)
{
	const char *s;
	char *copy = NULL;

	if (f->kind == FK_OBJ)
		return obj_copy(f->obj, dst, src);
	if (f->kind != FK_STR)
		return 0;
	memcpy(&s, src, sizeof(s));
	if (s != NULL)
		copy = strdup(s);
	memcpy(dst, &copy, sizeof(copy));
	return s != NULL && copy == NULL ? -ENOMEM : 0;
}

static int dup_list(const struct field_desc *f, void *dst, const void *src)
{
	const char *from = field_list(f, src);
	size_t n = field_count(f, src);
	char *to;

	field_set_count(f, dst, 0);
	field_set_ptr(f, dst, NULL);
	if (n == 0)
		return 0;
	to = calloc(n, f->elem);
	if (to == NULL)
		return -ENOMEM;
	field_set_ptr(f, dst, to);
	field_set_count(f, dst, n);
	if (f->kind != FK_OBJ && f->kind != FK_STR) {
		memcpy(to, from, n * f->elem);
		return 0;
	}
	for (size_t k = 0; k < n; k++) {
		int r = dup_value(f, to + k * f->elem, from + k * f->elem);

		if (r < 0)
			return r;
	}
	return 0;
}

/* A row of @dst that is not copied yet still holds the pointers of @src: forget them, so that fini can run. */
static void forget_field(const struct field_desc *f, void *dst)
{
	if (!field_is_stored(f))
		return;
	if (field_is_list(f)) {
		field_set_count(f, dst, 0);
		field_set_ptr(f, dst, NULL);
	} else if (f->kind == FK_STR || f->kind == FK_OBJ) {
		memset(field_at(f, dst), 0, f->elem);
	}
}

int obj_copy(const struct desc *d, void *dst, const void *src)
{
	int r = 0;

	memcpy(dst, src, d->size);
	for (unsigned i = 0; i < d->n; i++) {
		const struct field_desc *f = &d->f[i];

		if (r < 0)
			forget_field(f, dst);
		else if (field_is_stored(f))
			r = field_is_list(f) ? dup_list(f, dst, src)
					     : dup_value(f, field_at(f, dst), field_at_const(f, src));
	}
	if (r < 0)
		obj_fini(d, dst);
	return r;
}

static bool equal_value(const struct field_desc *f, const void *a, const void *b)
{
	const char *sa, *sb;

	if (f->kind == FK_OBJ)
		return obj_equal(f->obj, a, b);
	if (f->kind != FK_STR)
		return field_load(f->kind, a) == field_load(f->kind, b);
	memcpy(&sa, a, sizeof(sa));
	memcpy(&sb, b, sizeof(sb));
	if (sa == NULL || sb == NULL)
		return sa == sb;
	return strcmp(sa, sb) == 0;
}

/* A default string is the same as none. */
static const char *text_meant(const struct field_desc *f, const void *obj)
{
	const char *s = field_str(f, obj);

	return s != NULL ? s : f->def_str;
}

static bool equal_list(const struct field_desc *f, const void *a, const void *b)
{
	const char *la = field_list(f, a), *lb = field_list(f, b);
	size_t n = field_count(f, a);

	if (n != field_count(f, b))
		return false;
	for (size_t k = 0; k < n; k++)
		if (!equal_value(f, la + k * f->elem, lb + k * f->elem))
			return false;
	return true;
}

bool obj_equal(const struct desc *d, const void *a, const void *b)
{
	for (unsigned i = 0; i < d->n; i++) {
		const struct field_desc *f = &d->f[i];

		if (!field_is_stored(f))
			continue;
		if (f->def_str != NULL) {
			if (strcmp(text_meant(f, a), text_meant(f, b)) != 0)
				return false;
			continue;
		}
		if (field_has(f, a) != field_has(f, b))
			return false;
		if (!field_has(f, a))
			continue; /* what an absent member holds does not count */
		if (field_is_list(f) ? !equal_list(f, a, b)
				     : !equal_value(f, field_at_const(f, a), field_at_const(f, b)))
			return false;
	}
	return true;
}

static bool object_is_plain(const struct desc *d, const void *obj)
{
	for (unsigned i = 0; i < d->n; i++)
		if (!field_is_plain(&d->f[i], obj))
			return false;
	return true;
}

bool field_is_plain(const struct field_desc *f, const void *obj)
{
	uint64_t v;

	switch (f->pres) {
	case FP_UNSTORED:
	case FP_UNSTORED_LIST:
		return true;
	case FP_LIST:
	case FP_OPTLIST:
		return field_count(f, obj) == 0;
	case FP_NULLABLE:
		if (f->def_str != NULL)
			return strcmp(text_meant(f, obj), f->def_str) == 0;
		return field_str(f, obj) == NULL;
	case FP_OPT:
		if (!field_has(f, obj))
			return true;
		if (!f->def_has)
			return false;
		break;
	case FP_REQ:
	case FP_DEF:
		break;
	}
	if (f->kind == FK_OBJ)
		return object_is_plain(f->obj, field_at_const(f, obj));
	if (f->kind == FK_STR)
		return field_str(f, obj) == NULL;
	v = field_load(f->kind, field_at_const(f, obj));
	return v == f->def || (f->kind == FK_ENUM && (f->accept >> v & 1) != 0);
}
