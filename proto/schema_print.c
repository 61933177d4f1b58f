/* SPDX-License-Identifier: ISC */
/*
 * Host tool: documents printed from the tables, so that they cannot drift from what is parsed.
 *
 *	schema_print man-options	mdoc list of the options that this build serves
 *	schema_print openapi		schemas of the configuration objects, as OpenAPI writes them (JSON)
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/units.h"
#include "proto/codec_json.h"
#include "proto/codec_kv.h"
#include "proto/opts_table.h"

/* --- mdoc ------------------------------------------------------------------------------------------------------------ */

/* Running text in lines of man-page width: no control line by accident, no escape. */
static void put_text(const char *s)
{
	size_t column = 0;

	while (*s != '\0') {
		size_t len = strcspn(s, " ");

		if (column > 0 && column + 1 + len > 76) {
			putchar('\n');
			column = 0;
		} else if (column > 0) {
			putchar(' ');
			column++;
		}
		if (column == 0 && (*s == '.' || *s == '\''))
			fputs("\\&", stdout);
		for (size_t i = 0; i < len; i++) {
			if (s[i] == '\\')
				fputs("\\e", stdout);
			else
				putchar(s[i]);
		}
		column += len;
		s += len;
		s += strspn(s, " ");
	}
}

static const char *value_name(const struct field_desc *f)
{
	switch (f->kv) {
	case KV_INT:
		return "number";
	case KV_SIZE:
		return "size";
	case KV_HEX:
		return "hex";
	case KV_TOGGLE:
		return "on|off";
	case KV_STR:
		return "text";
	case KV_MODE_PATH:
		return "path";
	case KV_INTS:
	case KV_STRS:
	case KV_NAMES:
	case KV_TUPLES:
		return "list";
	case KV_COLONS:
		return "parts";
	case KV_LIMITER:
		return "number";
	case KV_NONE:
	case KV_ENUM:
	case KV_ENUM_CASE:
	case KV_MODE:
	case KV_IGNORED:
		break;
	}
	return "name";
}

static void put_value(const struct field_desc *f)
{
	bool first = true;

	if (f->en == NULL) {
		fputs(value_name(f), stdout);
		return;
	}
	for (unsigned i = 0; i < f->en->n; i++) {
		if (f->en->names[i].kv == NULL)
			continue;
		printf("%s%s", first ? "" : "|", f->en->names[i].kv);
		first = false;
	}
}

static void put_default(const struct field_desc *f)
{
	if (f->def_str != NULL && *f->def_str != '\0')
		printf(" (default %s)", f->def_str);
	if (f->kv_like_prev || (f->pres != FP_REQ && f->pres != FP_DEF))
		return;
	if (f->kv == KV_TOGGLE)
		printf(" (default %s)", f->def != 0 ? "on" : "off");
	else if (f->kv == KV_SIZE && f->def % MIB == 0)
		printf(" (default %" PRIu64 "M)", f->def / MIB);
	else if (f->en != NULL && f->en->names[f->def].kv != NULL)
		printf(" (default %s)", f->en->names[f->def].kv);
	else if (f->en == NULL)
		printf(" (default %" PRIu64 ")", f->def);
}

static void man_modes(const struct field_desc *f, const struct desc *d)
{
	for (unsigned i = 0; i < f->en->n; i++) {
		const struct field_desc *path = desc_find(d, f->en->names[i].kv);

		if (f->served == FS_LATER && i != f->def && (f->accept >> i & 1) == 0)
			continue;
		if (path != NULL && path->kv == KV_MODE_PATH)
			printf(".It Cm %s Ns = Ns Ar path\n", f->en->names[i].kv);
		else
			printf(".It Cm %s\n", f->en->names[i].kv);
	}
}

static void man_limiter(void)
{
#define LIMITER_KEY(bkt, mem, key, text) { key, text },
	static const char *const keys[][2] = { LIMITER_KEYS(LIMITER_KEY) };
#undef LIMITER_KEY

	for (size_t i = 0; i < nitems(keys); i++)
		printf(".It Cm %s Ns = Ns Ar number\n%s\n", keys[i][0], keys[i][1]);
}

static void man_keys(const struct desc *d)
{
	printf(".Bl -tag -width Ds -compact\n");
	for (unsigned i = 0; i < d->n; i++) {
		const struct field_desc *f = &d->f[i];

		if (f->kv == KV_MODE) {
			man_modes(f, d);
			continue;
		}
		if (f->kv == KV_LIMITER) {
			man_limiter();
			continue;
		}
		if (f->kv == KV_NONE || f->kv == KV_MODE_PATH || f->served != FS_SERVED)
			continue;
		printf(".It Cm %s Ns = Ns Ar ", f->key != NULL ? f->key : f->name);
		put_value(f);
		putchar('\n');
		put_text(f->help);
		if (f->kv != KV_IGNORED)
			put_default(f);
		putchar('\n');
	}
	printf(".El\n");
}

static void man_option(const struct opt_desc *o, enum opt_id id)
{
	if (id == OPT_VERBOSE)
		printf(".It Fl v\n");
	else if (id == OPT_HELP)
		printf(".It Fl h , Fl -help\n");
	else if (id == OPT_VERSION)
		printf(".It Fl V , Fl -version\n");
	else if (o->arg == OA_FLAG)
		printf(".It Fl -%s\n", o->name);
	else
		printf(".It Fl -%s Ar %s%s\n", o->name, o->name, o->arg == OA_MULTI ? " ..." : "");
	put_text(o->help);
	printf("%s\n", o->def != NULL || o->kv != NULL ? "." : "");
	if (o->def != NULL)
		printf("The default is\n.Ql %s .\n", o->def);
	if (o->kv != NULL)
		man_keys(o->kv);
}

static void man_options(void)
{
	printf(".Bl -tag -width Ds\n");
	for (unsigned i = 0; i < OPT_COUNT; i++)
		if (opt_table[i].served == FS_SERVED)
			man_option(&opt_table[i], (enum opt_id)i);
	printf(".El\n");
}

/* --- OpenAPI --------------------------------------------------------------------------------------------------------- */

/* "cfg_debug_console" is DebugConsole and a "Config" behind it to the world. */
static void schema_name(const struct desc *d, char *out)
{
	const char *s = strchr(d->name, '_');
	bool upper = true;

	for (s = s != NULL ? s + 1 : d->name; *s != '\0'; s++) {
		if (*s == '_') {
			upper = true;
			continue;
		}
		*out++ = (char)(upper && *s >= 'a' && *s <= 'z' ? *s - 'a' + 'A' : *s);
		upper = false;
	}
	*out = '\0';
}

static void put_number_type(const struct field_desc *f)
{
	bool wide = f->kind == FK_U64;

	printf("\"type\":\"integer\",\"format\":\"%s\"", wide ? "int64" : "int32");
	if (f->kind == FK_I32)
		return;
	printf(",\"minimum\":%" PRIu64, field_value_min(f));
	printf(",\"maximum\":%" PRIu64, field_value_max(f));
}

static void put_enum_type(const struct field_desc *f)
{
	bool first = true;

	printf("\"type\":\"string\",\"enum\":[");
	for (unsigned i = 0; i < f->en->n; i++) {
		if (f->served == FS_LATER && i != f->def && (f->accept >> i & 1) == 0)
			continue;
		printf("%s\"%s\"", first ? "" : ",", f->en->names[i].json);
		first = false;
	}
	printf("]");
}

static void put_type(const struct field_desc *f)
{
	char name[64];

	switch (f->kind) {
	case FK_BOOL:
		printf("\"type\":\"boolean\"");
		break;
	case FK_U8:
	case FK_U16:
	case FK_U32:
	case FK_U64:
	case FK_I32:
		put_number_type(f);
		break;
	case FK_ENUM:
		put_enum_type(f);
		break;
	case FK_STR:
		printf("\"type\":\"string\",\"maxLength\":%" PRIu64, field_value_max(f));
		break;
	case FK_OBJ:
		schema_name(f->obj, name);
		printf("\"$ref\":\"#/components/schemas/%sConfig\"", name);
		break;
	case FK_ANY:
		break;
	}
}

static void put_property(const struct field_desc *f)
{
	printf("\"%s\":{", f->name);
	if (field_is_list(f)) {
		printf("\"type\":\"array\",\"maxItems\":%" PRIu64 ",\"items\":{", field_max(f));
		put_type(f);
		printf("}}");
		return;
	}
	put_type(f);
	if (f->kind == FK_OBJ) { /* nothing may stand beside a $ref */
		printf("}");
		return;
	}
	printf(",\"description\":\"%s\"", f->help);
	if (f->pres == FP_DEF && f->kind == FK_BOOL)
		printf(",\"default\":%s", f->def != 0 ? "true" : "false");
	else if (f->pres == FP_DEF && f->kind == FK_ENUM)
		printf(",\"default\":\"%s\"", f->en->names[f->def].json);
	else if (f->pres == FP_DEF)
		printf(",\"default\":%" PRIu64, f->def);
	printf("}");
}

/* A row that a client may write something into. */
static bool is_told(const struct field_desc *f)
{
	return field_is_stored(f) && !f->internal && (f->served == FS_SERVED || f->kind == FK_ENUM);
}

static void put_schema(const struct desc *d)
{
	char name[64];
	bool first = true;

	schema_name(d, name);
	printf("\"%sConfig\":{\"type\":\"object\",\"properties\":{", name);
	for (unsigned i = 0; i < d->n; i++) {
		if (!is_told(&d->f[i]))
			continue;
		printf("%s", first ? "" : ",");
		put_property(&d->f[i]);
		first = false;
	}
	printf("}");
	first = true;
	for (unsigned i = 0; i < d->n; i++) {
		if (d->f[i].pres != FP_REQ && d->f[i].pres != FP_LIST && !d->f[i].must)
			continue;
		printf("%s\"%s\"", first ? ",\"required\":[" : ",", d->f[i].name);
		first = false;
	}
	printf("%s}", first ? "" : "]");
}

/* Every object that can be reached by what is served, inner ones first; @done keeps what was printed. */
static void put_schemas(const struct desc *d, const struct desc **done, size_t *n, size_t max)
{
	for (size_t i = 0; i < *n; i++)
		if (done[i] == d)
			return;
	for (unsigned i = 0; i < d->n; i++)
		if (is_told(&d->f[i]) && d->f[i].kind == FK_OBJ)
			put_schemas(d->f[i].obj, done, n, max);
	if (*n == max)
		exit(1);
	if (*n > 0)
		printf(",");
	done[(*n)++] = d;
	put_schema(d);
}

static void openapi(void)
{
	const struct desc *done[64];
	size_t n = 0;

	printf("{\"components\":{\"schemas\":{");
	put_schemas(&desc_cfg_vm, done, &n, nitems(done));
	printf("}}}\n");
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "man-options") == 0) {
		man_options();
	} else if (argc == 2 && strcmp(argv[1], "openapi") == 0) {
		openapi();
	} else {
		fprintf(stderr, "usage: schema_print man-options|openapi\n");
		return 2;
	}
	return fflush(stdout) == 0 && ferror(stdout) == 0 ? 0 : 1;
}
