/* SPDX-License-Identifier: ISC */
/*
 * key=value options to objects. The text is split into pieces once; each piece is found in the rows by its key and
 * remembered, so that the last of a key wins; then every row reads its piece. Work is done in one private copy.
 */
#include "proto/codec_kv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/str.h"
#include "common/units.h"
#include "proto/config.h"
#include "proto/kv_text.h"
#include "proto/text_form.h"

static const struct limiter_key {
	const char *name;
	size_t bucket, member; /* offsets */
} limiter_keys[] = {
#define LIMITER_KEY(bkt, mem, key, text) \
	{ key, offsetof(struct cfg_rate_limiter, bkt), offsetof(struct cfg_token_bucket, mem) },
	LIMITER_KEYS(LIMITER_KEY)
#undef LIMITER_KEY
};

struct kv {
	const struct desc *d;
	char *given[DESC_FIELDS_MAX]; /* the text behind "=", of the row's last piece; NULL: not given */
	char *limits[nitems(limiter_keys)]; /* the same for those */
	uint32_t modes;               /* console mode keys that occurred, a bit each */
	struct err *e;
};

static const char *key_of(const struct field_desc *f)
{
	return f->key != NULL ? f->key : f->name;
}

static int bad(const struct kv *k, const struct field_desc *f, const char *what)
{
	return err_set(k->e, -EINVAL, "%s: %s", key_of(f), what);
}

static int bad_value(const struct kv *k, const struct field_desc *f, int r, const char *text)
{
	if (r == -ENOMEM)
		return err_set(k->e, r, "out of memory");
	return err_set(k->e, -EINVAL, "%s: \"%s\" is %s", key_of(f), text,
		       r == -ERANGE || r == -E2BIG ? "out of range" : "not valid");
}

static int not_supported(const struct kv *k, const struct field_desc *f, const char *value)
{
	if (f->kv == KV_MODE || f->kv == KV_ENUM || f->kv == KV_ENUM_CASE || f->def != 0)
		return err_set(k->e, -ERR_INVALID, "\"%s\": \"%s\" is not supported by this build", key_of(f), value);
	return err_set(k->e, -ERR_INVALID, "\"%s\" is not supported by this build", key_of(f));
}

/* --- pieces to rows -------------------------------------------------------------------------------------------------- */

/* The mode that a key chooses: flag keys by their own name, file and socket where the object has them. */
static int mode_of_key(const struct desc *d, const char *key)
{
	const struct field_desc *path;

	for (unsigned i = 0; i < enum_console_mode.n; i++) {
		if (strcmp(enum_console_mode.names[i].kv, key) != 0)
			continue;
		if (i != CONSOLE_MODE_FILE && i != CONSOLE_MODE_SOCKET)
			return (int)i;
		path = desc_find(d, key);
		return path != NULL && path->kv == KV_MODE_PATH ? (int)i : -1;
	}
	return -1;
}

static bool has_kind(const struct desc *d, enum kv_kind kind)
{
	for (unsigned i = 0; i < d->n; i++)
		if (d->f[i].kv == kind)
			return true;
	return false;
}

static char **find_limit(struct kv *k, const char *key)
{
	if (!has_kind(k->d, KV_LIMITER))
		return NULL;
	for (size_t i = 0; i < nitems(limiter_keys); i++)
		if (strcmp(limiter_keys[i].name, key) == 0)
			return &k->limits[i];
	return NULL;
}

/* Where the text of a key goes; NULL: no such key. */
static char **find_key(struct kv *k, const char *key)
{
	for (unsigned i = 0; i < k->d->n; i++) {
		const struct field_desc *f = &k->d->f[i];

		if (f->kv != KV_NONE && f->kv != KV_MODE && f->kv != KV_LIMITER && strcmp(key_of(f), key) == 0)
			return &k->given[i];
	}
	return find_limit(k, key);
}

static int take_piece(struct kv *k, char *piece)
{
	char *eq = strchr(piece, '=');
	int mode = -1;

	if (eq != NULL)
		*eq = '\0';
	if (has_kind(k->d, KV_MODE))
		mode = mode_of_key(k->d, piece);
	if (mode >= 0)
		k->modes |= 1u << mode;
	if (mode >= 0 && mode != CONSOLE_MODE_FILE && mode != CONSOLE_MODE_SOCKET)
		return 0; /* a flag: whatever stands behind "=" does not count */
	char **where = find_key(k, piece);
	if (where == NULL)
		return err_set(k->e, -EINVAL, "unknown key \"%s\"", piece);
	if (eq == NULL)
		return err_set(k->e, -EINVAL, "%s: value missing", piece);
	*where = kv_trim(eq + 1);
	return 0;
}

static int take_pieces(struct kv *k, char *text)
{
	char *rest = kv_trim(text), *piece;
	int r = 0;

	if (*rest == '\0')
		return 0;
	if (!kv_is_balanced(rest))
		return err_set(k->e, -EINVAL, "quotes or brackets are not closed");
	while (r == 0 && (piece = kv_next(&rest, ',')) != NULL)
		r = take_piece(k, piece);
	return r;
}

/* --- values ---------------------------------------------------------------------------------------------------------- */

static int read_enum(const struct field_desc *f, void *p, const char *text)
{
	for (unsigned i = 0; i < f->en->n; i++) {
		const char *name = f->en->names[i].kv;

		if (name == NULL || (f->kv == KV_ENUM_CASE ? strcmp(name, text) : strcasecmp(name, text)) != 0)
			continue;
		field_store(f->kind, p, i);
		return 0;
	}
	return -EINVAL;
}

static int read_string(const struct field_desc *f, void *p, const char *text)
{
	char canon[TEXT_FORM_MAX];
	size_t len = strlen(text);
	char *s;

	if (len < field_value_min(f) || len > field_value_max(f))
		return -ERANGE;
	if (f->form != TF_ANY && text_form_canon(f->form, text, canon) < 0)
		return -EINVAL;
	s = strdup(f->form != TF_ANY ? canon : text);
	if (s == NULL)
		return -ENOMEM;
	memcpy(p, &s, sizeof(s));
	return 0;
}

/* A number, toggle, enum or string; quotes are gone. */
static int read_scalar(const struct field_desc *f, void *p, const char *text)
{
	uint64_t v = 0;
	bool on = false;
	int r = -EINVAL;

	switch (f->kv) {
	case KV_INT:
		r = kv_int(text, field_value_min(f), field_value_max(f), &v);
		break;
	case KV_SIZE:
		r = size_parse(text, &v);
		if (r == 0 && (v < field_value_min(f) || v > field_value_max(f)))
			r = -ERANGE;
		break;
	case KV_HEX:
		r = kv_hex(text, field_value_max(f), &v);
		break;
	case KV_TOGGLE:
		r = kv_toggle(text, &on);
		v = on ? 1 : 0;
		break;
	case KV_ENUM:
	case KV_ENUM_CASE:
		return read_enum(f, p, text);
	case KV_STR:
	case KV_MODE_PATH:
		return read_string(f, p, text);
	case KV_NONE:
	case KV_MODE:
	case KV_INTS:
	case KV_STRS:
	case KV_TUPLES:
	case KV_COLONS:
	case KV_NAMES:
	case KV_LIMITER:
	case KV_IGNORED:
		break;
	}
	if (r == 0)
		field_store(f->kind, p, v);
	return r;
}

/* Numbers into a list row of any number kind. */
static int read_ints(const struct field_desc *f, void *obj, char *text)
{
	uint64_t *v = NULL;
	size_t n = 0;
	char *list;
	int r = kv_ints(text, field_value_max(f), field_max(f), &v, &n);

	if (r < 0)
		return r;
	list = calloc(n, f->elem);
	if (list == NULL) {
		free(v);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++)
		field_store(f->kind, list + i * f->elem, v[i]);
	free(v);
	field_set_ptr(f, obj, list);
	field_set_count(f, obj, n);
	field_set_has(f, obj, true);
	return 0;
}

/* One more zeroed element at the end of a list row. */
static void *list_grow(const struct field_desc *f, void *obj, int *r)
{
	size_t n = field_count(f, obj);
	char *list;

	if (n >= field_max(f)) {
		*r = -E2BIG;
		return NULL;
	}
	list = realloc(field_list(f, obj), (n + 1) * f->elem);
	if (list == NULL) {
		*r = -ENOMEM;
		return NULL;
	}
	memset(list + n * f->elem, 0, f->elem);
	field_set_ptr(f, obj, list);
	field_set_count(f, obj, n + 1);
	field_set_has(f, obj, true);
	return list + n * f->elem;
}

/* Elements keep their quotes and blanks. */
static int read_strings(const struct field_desc *f, void *obj, char *text)
{
	char *rest = kv_strip_brackets(text), *piece;
	int r = 0;

	while (r == 0 && (piece = kv_next(&rest, ',')) != NULL) {
		void *p = list_grow(f, obj, &r);

		if (p != NULL)
			r = read_string(f, p, piece);
	}
	return r;
}

/* "key@value" into an object of two rows. */
static int read_tuple(const struct field_desc *f, void *elem, char *text)
{
	const struct field_desc *key = &f->obj->f[0], *value = &f->obj->f[1];
	char *rest = text, *left = kv_next(&rest, '@'), *right = rest;
	uint64_t v = 0;
	int r;

	if (right == NULL)
		return -EINVAL;
	(void)kv_next(&rest, '@');
	if (rest != NULL)
		return -EINVAL; /* a second @ */
	kv_dequote(left);
	if (*left == '\0')
		return -EINVAL;
	if (key->kind == FK_STR) {
		r = read_string(key, field_at(key, elem), left);
	} else {
		r = kv_int(left, 0, field_value_max(key), &v);
		if (r == 0)
			field_store(key->kind, field_at(key, elem), v);
	}
	if (r < 0)
		return r;
	if (field_is_list(value))
		return read_ints(value, elem, right);
	kv_dequote(right);
	r = kv_int(right, 0, field_value_max(value), &v);
	if (r == 0)
		field_store(value->kind, field_at(value, elem), v);
	return r;
}

static int read_tuples(const struct field_desc *f, void *obj, char *text)
{
	size_t len = strlen(text);
	char *rest = text + 1, *piece;
	int r = 0;

	if (len < 3 || text[0] != '[' || text[len - 1] != ']')
		return -EINVAL;
	text[len - 1] = '\0';
	while (r == 0 && (piece = kv_next(&rest, ',')) != NULL) {
		void *p = list_grow(f, obj, &r);

		if (p != NULL)
			r = read_tuple(f, p, kv_trim(piece));
	}
	return r;
}

/* "a:b:c:d" into an object of as many numbers. */
static int read_colons(const struct field_desc *f, void *obj, char *text)
{
	char *inner = field_at(f, obj), *rest = text;

	for (unsigned i = 0; i < f->obj->n; i++) {
		const struct field_desc *g = &f->obj->f[i];
		char *piece = kv_next(&rest, ':');
		uint64_t v;

		if (piece == NULL)
			return -EINVAL;
		int r = kv_int(piece, field_value_min(g), field_value_max(g), &v);
		if (r < 0)
			return r;
		field_store(g->kind, field_at(g, inner), v);
	}
	if (rest != NULL)
		return -EINVAL;
	field_set_has(f, obj, true);
	return 0;
}

/* "[a,b]" into an object of bools. */
static int read_names(const struct field_desc *f, void *obj, char *text)
{
	char *rest = kv_strip_brackets(text), *piece;

	while ((piece = kv_next(&rest, ',')) != NULL) {
		const struct field_desc *g = desc_find(f->obj, piece);

		if (g == NULL || g->kind != FK_BOOL)
			return -EINVAL;
		field_store(FK_BOOL, field_at(g, field_at(f, obj)), 1);
	}
	return 0;
}

static int read_field(const struct field_desc *f, void *obj, char *text)
{
	int r;

	switch (f->kv) {
	case KV_INTS:
		return read_ints(f, obj, text);
	case KV_STRS:
		return read_strings(f, obj, text);
	case KV_TUPLES:
		return read_tuples(f, obj, text);
	case KV_COLONS:
		return read_colons(f, obj, text);
	case KV_NAMES:
		return read_names(f, obj, text);
	case KV_NONE:
	case KV_INT:
	case KV_SIZE:
	case KV_HEX:
	case KV_TOGGLE:
	case KV_STR:
	case KV_ENUM:
	case KV_ENUM_CASE:
	case KV_MODE:
	case KV_MODE_PATH:
	case KV_LIMITER:
	case KV_IGNORED:
		break;
	}
	if (f->kv != KV_TOGGLE)
		kv_dequote(text);
	r = read_scalar(f, field_at(f, obj), text);
	if (r == 0)
		field_set_has(f, obj, true);
	return r;
}

/* An object row that is served may hold rows that aren't. */
static const struct field_desc *not_plain(const struct field_desc *f, const void *obj)
{
	if (f->served == FS_LATER)
		return field_is_plain(f, obj) ? NULL : f;
	if (f->kind != FK_OBJ || field_is_list(f))
		return NULL;
	for (unsigned i = 0; i < f->obj->n; i++) {
		const struct field_desc *g = &f->obj->f[i];

		if (g->served == FS_LATER && !field_is_plain(g, field_at_const(f, obj)))
			return g;
	}
	return NULL;
}

static int read_given(const struct kv *k, const struct field_desc *f, void *obj, char *text)
{
	_cleanup_(freep) char *whole = strdup(text); /* reading takes the text apart */
	const struct field_desc *refused;
	int r;

	if (whole == NULL)
		return bad_value(k, f, -ENOMEM, "");
	if (!field_is_stored(f))
		return f->kv == KV_IGNORED ? 0 : not_supported(k, f, text);
	r = read_field(f, obj, text);
	if (r < 0)
		return bad_value(k, f, r, whole);
	refused = not_plain(f, obj);
	return refused != NULL ? not_supported(k, refused, whole) : 0;
}

/* --- limits ---------------------------------------------------------------------------------------------------------- */

/* A bucket without size or refill time limits nothing and is not there. */
static bool bucket_set(struct cfg_token_bucket *b)
{
	if (b->size == 0 || b->refill_time == 0) {
		*b = (struct cfg_token_bucket){ 0 };
		return false;
	}
	b->has_one_time_burst = true;
	return true;
}

static int read_limiter(const struct kv *k, const struct field_desc *f, void *obj)
{
	struct cfg_rate_limiter l;

	obj_init(&desc_cfg_rate_limiter, &l); /* owns nothing */
	for (size_t i = 0; i < nitems(limiter_keys); i++) {
		char *text = k->limits[i];
		uint64_t v;

		if (text == NULL || *text == '\0')
			continue;
		kv_dequote(text);
		int r = kv_int(text, 0, UINT64_MAX, &v);
		if (r < 0)
			return err_set(k->e, -EINVAL, "%s: \"%s\" is %s", limiter_keys[i].name, text,
				       r == -ERANGE ? "out of range" : "not valid");
		memcpy((char *)&l + limiter_keys[i].bucket + limiter_keys[i].member, &v, sizeof(v));
	}
	l.has_bandwidth = bucket_set(&l.bandwidth);
	l.has_ops = bucket_set(&l.ops);
	if (!l.has_bandwidth && !l.has_ops)
		return 0;
	memcpy(field_at(f, obj), &l, sizeof(l));
	field_set_has(f, obj, true);
	return 0;
}

/* --- consoles -------------------------------------------------------------------------------------------------------- */

static int choose_mode(const struct kv *k, const struct field_desc *f, void *obj)
{
	static const enum console_mode order[] = { CONSOLE_MODE_OFF,  CONSOLE_MODE_PTY,	 CONSOLE_MODE_TTY,
						   CONSOLE_MODE_NULL, CONSOLE_MODE_FILE, CONSOLE_MODE_SOCKET };

	for (size_t i = 0; i < nitems(order); i++) {
		if ((k->modes >> order[i] & 1) == 0)
			continue;
		field_store(f->kind, field_at(f, obj), order[i]);
		if (f->served == FS_LATER && !field_is_plain(f, obj))
			return not_supported(k, f, enum_console_mode.names[order[i]].kv);
		return 0;
	}
	return err_set(k->e, -EINVAL, "no mode given");
}

/* Only the path that belongs to the mode is kept. */
static bool path_counts(const struct desc *d, const struct field_desc *f, const void *obj)
{
	for (unsigned i = 0; i < d->n; i++) {
		if (d->f[i].kv != KV_MODE)
			continue;
		uint64_t mode = field_load(d->f[i].kind, field_at_const(&d->f[i], obj));

		return mode < enum_console_mode.n && strcmp(enum_console_mode.names[mode].kv, f->name) == 0;
	}
	return false;
}

static int read_row(struct kv *k, unsigned i, void *obj)
{
	const struct field_desc *f = &k->d->f[i];
	char *text = k->given[i];
	bool empty = text == NULL || *text == '\0'; /* "key=" counts as not given */

	if (f->kv == KV_NONE || f->kv == KV_MODE)
		return 0;
	if (f->kv == KV_LIMITER)
		return read_limiter(k, f, obj);
	if (f->kv == KV_MODE_PATH) {
		if (!path_counts(k->d, f, obj))
			return 0;
		if (empty || strcmp(text, "\"\"") == 0)
			return bad(k, f, "path missing");
	}
	if (!empty)
		return read_given(k, f, obj, text);
	if (f->kv_req)
		return bad(k, f, "must be given");
	if (f->kv_like_prev && i > 0)
		field_store(f->kind, field_at(f, obj), field_load(f[-1].kind, field_at_const(f - 1, obj)));
	return 0;
}

static int read_rows(struct kv *k, void *obj)
{
	int r = 0;

	for (unsigned i = 0; i < k->d->n && r == 0; i++) /* paths depend on it */
		if (k->d->f[i].kv == KV_MODE)
			r = choose_mode(k, &k->d->f[i], obj);
	for (unsigned i = 0; i < k->d->n && r == 0; i++)
		r = read_row(k, i, obj);
	return r;
}

int kv_decode(const struct desc *d, void *obj, const char *text, struct err *e)
{
	struct kv k = { .d = d, .e = e };
	_cleanup_(freep) char *copy = strdup(text);
	int r;

	memset(obj, 0, d->size);
	if (copy == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	r = take_pieces(&k, copy);
	if (r < 0)
		return r;
	obj_init(d, obj);
	for (unsigned i = 0; i < d->n; i++) /* those defaults are of an option that is left out */
		if (d->f[i].def_has)
			field_set_has(&d->f[i], obj, false);
	r = read_rows(&k, obj);
	if (r < 0)
		obj_fini(d, obj);
	return r;
}
