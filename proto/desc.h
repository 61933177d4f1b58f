/* SPDX-License-Identifier: ISC */
/*
 * Descriptors: what the tables (*.def) say about an object, in a form that one generic walker can follow.
 *
 * Every configuration object and every message is declared once, as a list of rows. A row is expanded twice:
 * DESC_STRUCT() makes the member of a C struct, DESC_DEFINE() its struct field_desc. Nothing else in the tree knows
 * a field's name, range or default.
 *
 *	#define CFG_X_FIELDS(F, S) \
 *		F(S, KIND, name, PRESENCE, default, RANGE, SERVED, "help", designated initialisers of the rest...)
 *
 * KIND      BOOL U8 U16 U32 U64 I32 STR ENUM(type) OBJ(type), or ANY (never stored, never looked into)
 * PRESENCE  what the member looks like in C and whether input may leave it out:
 *	     REQ      T x;                            must be given
 *	     DEF      T x;                            may be left out, then the default
 *	     OPT      bool has_x; T x;                may be left out or null
 *	     NULLABLE char *x;                        a string, NULL when left out or null
 *	     LIST     size_t n_x; T *x;               must be given
 *	     OPTLIST  bool has_x; size_t n_x; T *x;   may be left out, null or empty: then absent
 *	     UNSTORED, UNSTORED_LIST                  no member: known by name, refused unless default or empty
 * RANGE     ANY (what the type holds) or R(min, max): of a number its value, of a string its bytes, of a list its count
 * SERVED    or LATER: this build takes nothing but the default (or one of .accept) and says so by name
 */
#ifndef PROTO_DESC_H
#define PROTO_DESC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

enum field_kind { FK_BOOL, FK_U8, FK_U16, FK_U32, FK_U64, FK_I32, FK_ENUM, FK_STR, FK_OBJ, FK_ANY };

enum presence {
	FP_REQ,
	FP_DEF,
	FP_OPT,
	FP_NULLABLE,
	FP_LIST,
	FP_OPTLIST,
	FP_UNSTORED,
	FP_UNSTORED_LIST,
};

enum served { FS_SERVED, FS_LATER };

/* What a string has to look like; it is stored in its one canonical spelling (proto/text_form.h). */
enum text_form { TF_ANY, TF_MAC, TF_IP };

/* How the field is written as a key=value option. */
enum kv_kind {
	KV_NONE,      /* no key */
	KV_INT,       /* decimal */
	KV_SIZE,      /* decimal with K, M, G */
	KV_HEX,       /* 0x... */
	KV_TOGGLE,    /* on, off, true, false */
	KV_STR,       /* text */
	KV_ENUM,      /* one of the enum's key=value names, any case */
	KV_ENUM_CASE, /* one of them, exactly */
	KV_MODE,      /* flag keys off, pty, tty, null: the field is an enum console_mode */
	KV_MODE_PATH, /* file= or socket=, which also choose the mode */
	KV_INTS,      /* [1,3-5] */
	KV_STRS,      /* [a,b] */
	KV_TUPLES,    /* [key@value,...]: list of objects with two fields */
	KV_COLONS,    /* a:b:c:d: object of numbers */
	KV_NAMES,     /* [a,b]: object of bools, those named are true */
	KV_LIMITER,   /* bw_size=, ...: a cfg_rate_limiter, in the keys of LIMITER_KEYS */
	KV_IGNORED,   /* accepted and dropped; the row has no storage and no JSON member */
};

enum {
	DESC_NEST_MAX = 6,        /* objects within objects */
	DESC_FIELDS_MAX = 64,     /* rows of one object */
	DESC_LIST_MAX = 65536,    /* list length when the row says ANY */
	DESC_STR_MAX = 65535,     /* string bytes when the row says ANY */
};

struct desc;

struct enum_name {
	const char *json; /* as in JSON */
	const char *kv;   /* as in key=value, NULL = not a value there */
};

/* Values are 0..n-1. */
struct enum_desc {
	const char *name;
	unsigned n;
	const struct enum_name *names;
};

struct field_desc {
	const char *name; /* JSON member and C member */
	const char *help;
	enum field_kind kind;
	enum presence pres;
	enum served served;
	uint32_t off;     /* of x */
	uint32_t has_off; /* of has_x (OPT, OPTLIST) */
	uint32_t n_off;   /* of n_x (LIST, OPTLIST) */
	uint32_t elem;    /* bytes of one x, or of one element */
	uint64_t def;     /* numbers, bools, enums */
	uint64_t min, max;
	const struct enum_desc *en;
	const struct desc *obj;

	/* the rest is given by name in the row */
	const char *def_str; /* NULLABLE: what NULL means; JSON writes that, and does not take null for it */
	bool must;           /* NULLABLE: JSON must give it, as if REQ */
	enum text_form form; /* STR */
	bool def_has;     /* OPT: present when the whole object is left out */
	bool omit_false;  /* BOOL: not written to JSON when false */
	bool put_null;    /* OPT: written to JSON as null when absent */
	bool strict;      /* OBJ: JSON members that it does not know are refused */
	bool distrust;    /* OPTLIST: what JSON says is checked and then forgotten */
	bool internal;    /* no JSON member and no key: between our own processes only */
	uint32_t accept;  /* LATER enums: values taken beside the default, a bit each */
	enum kv_kind kv;
	const char *key;     /* key=value name when it differs from name */
	bool kv_like_prev;   /* key=value default is the value of the row above */
	bool kv_req;         /* key=value must give it */
	const char *legacy_member; /* old top-level object {legacy_member: text}: fills legacy_to */
	const char *legacy_to;     /* "object.member" */
};

struct desc {
	const char *name;
	uint32_t size;
	uint16_t version; /* of the binary form; changed when a row is added, removed or moved */
	uint16_t n;
	const struct field_desc *f;
};

/* Zero, then defaults. Cannot fail: a default string is what NULL means. */
void obj_init(const struct desc *d, void *obj);
/* Free what the object owns and zero it. Accepts zeroed objects. */
void obj_fini(const struct desc *d, void *obj);
/* @dst needs no init; on failure there is nothing to free. 0 or -ENOMEM. */
int obj_copy(const struct desc *d, void *dst, const void *src) __must_check;
bool obj_equal(const struct desc *d, const void *a, const void *b);

/* Largest value of a number row, bytes of a string row, count of a list row. */
uint64_t field_max(const struct field_desc *f);
/* The same for one element: of a list row without the row's own range, which is the count's. */
uint64_t field_value_max(const struct field_desc *f);
uint64_t field_value_min(const struct field_desc *f);
bool field_is_list(const struct field_desc *f);
bool field_is_stored(const struct field_desc *f);
const struct field_desc *desc_find(const struct desc *d, const char *name);

/* Where a stored row's parts lie in @obj. */
static inline void *field_at(const struct field_desc *f, void *obj)
{
	return (char *)obj + f->off;
}
static inline const void *field_at_const(const struct field_desc *f, const void *obj)
{
	return (const char *)obj + f->off;
}
bool field_has(const struct field_desc *f, const void *obj); /* true for rows that are always there */
void field_set_has(const struct field_desc *f, void *obj, bool has);
size_t field_count(const struct field_desc *f, const void *obj);
void field_set_count(const struct field_desc *f, void *obj, size_t n);
void *field_list(const struct field_desc *f, const void *obj); /* the array, NULL when empty */
char *field_str(const struct field_desc *f, const void *obj);
void field_set_ptr(const struct field_desc *f, void *obj, void *p);

/* Is this what the row holds when nobody asked for anything (absent, empty, default, or a value of .accept)? */
bool field_is_plain(const struct field_desc *f, const void *obj);
/* Numbers, bools and enums by width. Signed values are sign-extended. */
uint64_t field_load(enum field_kind kind, const void *p);
void field_store(enum field_kind kind, void *p, uint64_t v);
/* What messages call the kind: "u32", "boolean", "string", ... */
const char *field_type_name(const struct field_desc *f);

/* --- expansion of rows --------------------------------------------------------------------------------------------- */

#define CTYPE_BOOL bool
#define CTYPE_U8 uint8_t
#define CTYPE_U16 uint16_t
#define CTYPE_U32 uint32_t
#define CTYPE_U64 uint64_t
#define CTYPE_I32 int32_t
#define CTYPE_STR char *
#define CTYPE_ENUM(t) enum t
#define CTYPE_OBJ(t) struct t
#define CTYPE_ANY void

#define MEMBER_REQ(ct, name) ct name;
#define MEMBER_DEF(ct, name) ct name;
#define MEMBER_OPT(ct, name) \
	bool has_##name; \
	ct name;
#define MEMBER_NULLABLE(ct, name) ct name;
#define MEMBER_LIST(ct, name) \
	size_t n_##name; \
	ct *name;
#define MEMBER_OPTLIST(ct, name) \
	bool has_##name; \
	size_t n_##name; \
	ct *name;
#define MEMBER_UNSTORED(ct, name)
#define MEMBER_UNSTORED_LIST(ct, name)

#define DKIND_BOOL .kind = FK_BOOL
#define DKIND_U8 .kind = FK_U8
#define DKIND_U16 .kind = FK_U16
#define DKIND_U32 .kind = FK_U32
#define DKIND_U64 .kind = FK_U64
#define DKIND_I32 .kind = FK_I32
#define DKIND_STR .kind = FK_STR
#define DKIND_ENUM(t) .kind = FK_ENUM, .en = &enum_##t
#define DKIND_OBJ(t) .kind = FK_OBJ, .obj = &desc_##t
#define DKIND_ANY .kind = FK_ANY

#define DPLACE(S, name) .off = offsetof(struct S, name), .elem = sizeof(((struct S *)0)->name)
#define DPLACE_LIST(S, name) \
	.off = offsetof(struct S, name), .elem = sizeof(*((struct S *)0)->name), .n_off = offsetof(struct S, n_##name)
#define DPRES_REQ(S, name) .pres = FP_REQ, DPLACE(S, name)
#define DPRES_DEF(S, name) .pres = FP_DEF, DPLACE(S, name)
#define DPRES_OPT(S, name) .pres = FP_OPT, DPLACE(S, name), .has_off = offsetof(struct S, has_##name)
#define DPRES_NULLABLE(S, name) .pres = FP_NULLABLE, DPLACE(S, name)
#define DPRES_LIST(S, name) .pres = FP_LIST, DPLACE_LIST(S, name)
#define DPRES_OPTLIST(S, name) .pres = FP_OPTLIST, DPLACE_LIST(S, name), .has_off = offsetof(struct S, has_##name)
#define DPRES_UNSTORED(S, name) .pres = FP_UNSTORED
#define DPRES_UNSTORED_LIST(S, name) .pres = FP_UNSTORED_LIST

#define DRANGE_ANY .min = 0, .max = 0
#define DRANGE_R(lo, hi) .min = (lo), .max = (hi)

/* A configuration row. */
#define CFG_MEMBER(S, KIND, name, PRES, dflt, RANGE, SRV, txt, ...) MEMBER_##PRES(CTYPE_##KIND, name)
#define CFG_FIELD(S, KIND, fname, PRES, dflt, RANGE, SRV, txt, ...) \
	{ .name = #fname, DKIND_##KIND, DPRES_##PRES(S, fname), .def = (uint64_t)(dflt), DRANGE_##RANGE, \
	  .served = FS_##SRV, .help = txt, __VA_ARGS__ },
/* A message row: F(S, KIND, name, PRESENCE, RANGE). */
#define MSG_MEMBER(S, KIND, name, PRES, RANGE) MEMBER_##PRES(CTYPE_##KIND, name)
#define MSG_FIELD(S, KIND, fname, PRES, RANGE) \
	{ .name = #fname, DKIND_##KIND, DPRES_##PRES(S, fname), DRANGE_##RANGE },

#define DESC_DECLARE(MEMBER, S, FIELDS) \
	struct S { \
		FIELDS(MEMBER, S) \
	}; \
	extern const struct desc desc_##S;
#define DESC_DEFINE(FIELD, S, ver, FIELDS) \
	static const struct field_desc fields_##S[] = { FIELDS(FIELD, S) }; \
	_Static_assert(sizeof(fields_##S) / sizeof(fields_##S[0]) <= DESC_FIELDS_MAX, "too many rows"); \
	const struct desc desc_##S = { .name = #S, .size = sizeof(struct S), .version = (ver), \
				       .n = sizeof(fields_##S) / sizeof(fields_##S[0]), .f = fields_##S };

/* E(CONSTANT, "JsonName", "kv-name" or NULL) */
#define ENUM_CONST(c, json_name, kv_name) c,
#define ENUM_NAME(c, json_name, kv_name) { json_name, kv_name },
#define ENUM_DECLARE(type, LIST) \
	enum type { LIST(ENUM_CONST) }; \
	extern const struct enum_desc enum_##type;
#define ENUM_DEFINE(type, LIST) \
	static const struct enum_name names_##type[] = { LIST(ENUM_NAME) }; \
	const struct enum_desc enum_##type = { #type, sizeof(names_##type) / sizeof(names_##type[0]), names_##type };

#endif
