/* SPDX-License-Identifier: ISC */
/*
 * The option list of cloister(1) is made from the option table: this test fails when they differ, and with --update
 * (run in the top folder) writes the list into the page.
 */
#include "proto/opts_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "proto/codec_kv.h"

#define PAGE "man/cloister.1"
#define BEGIN ".\\\" BEGIN options"
#define END ".\\\" END options"

enum { WIDTH = 76 };

/* A paragraph of text, broken before the 80th column; mdoc takes no meaning from where lines end, but a line must not
 * begin with a dot or an apostrophe. */
static void put_text(struct wbuf *out, const char *text)
{
	size_t column = 0;

	while (*text != '\0') {
		size_t n = strcspn(text, " ");

		if (column > 0 && column + 1 + n > WIDTH) {
			(void)wbuf_str(out, "\n");
			column = 0;
		} else if (column > 0) {
			(void)wbuf_str(out, " ");
			column++;
		}
		(void)wbuf_put(out, text, n);
		column += n;
		text += n + (text[n] == ' ' ? 1 : 0);
	}
	(void)wbuf_str(out, "\n");
}

static void put_head(struct wbuf *out, const struct opt_desc *o)
{
	const char *dash = strlen(o->name) == 1 ? "" : "-";

	if (o->arg == OA_FLAG || o->arg == OA_COUNT)
		(void)wbuf_printf(out, ".It Fl %s%s\n", dash, o->name);
	else
		(void)wbuf_printf(out, ".It Fl %s%s Ar %s%s\n", dash, o->name, o->kv != NULL ? "key=value,..." : "value",
				  o->arg == OA_MULTI ? " ..." : "");
}

/* mdoc wants each sentence on a line of its own. */
static void __printf(2, 3) put_sentence(struct wbuf *out, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_text(out, text);
}

static void put_option(struct wbuf *out, const struct opt_desc *o)
{
	struct wbuf keys;

	put_head(out, o);
	put_sentence(out, "%s.", o->help);
	if (o->kv != NULL) {
		wbuf_init(&keys, 65536);
		(void)kv_help(o->kv, &keys);
		(void)wbuf_u8(&keys, 0);
		put_sentence(out, "Keys: %s.", (const char *)keys.p);
		wbuf_fini(&keys);
	}
	if (o->def != NULL)
		put_sentence(out, "Default: %s.", o->def);
}

static void put_later(struct wbuf *out)
{
	struct wbuf names;
	bool first = true;

	wbuf_init(&names, 65536);
	(void)wbuf_str(&names, "Known, and refused by name in this version: ");
	for (unsigned i = 0; i < OPT_COUNT; i++) {
		if (opt_table[i].served == FS_SERVED)
			continue;
		(void)wbuf_printf(&names, "%s\\-\\-%s", first ? "" : ", ", opt_table[i].name);
		first = false;
	}
	(void)wbuf_str(&names, ".");
	(void)wbuf_u8(&names, 0);
	if (!first)
		put_text(out, (const char *)names.p);
	wbuf_fini(&names);
}

static void make_list(struct wbuf *out)
{
	(void)wbuf_str(out, ".Bl -tag -width Ds\n");
	for (unsigned i = 0; i < OPT_COUNT; i++)
		if (opt_table[i].served == FS_SERVED)
			put_option(out, &opt_table[i]);
	(void)wbuf_str(out, ".El\n.Pp\n");
	put_later(out);
	(void)wbuf_u8(out, 0);
}

static char *read_page(void)
{
	FILE *f = fopen(PAGE, "r");
	char *text = calloc(1, 1 << 20);

	if (f == NULL || text == NULL) {
		(void)fprintf(stderr, "cannot read " PAGE "\n");
		exit(1);
	}
	(void)!fread(text, 1, (1 << 20) - 1, f);
	(void)fclose(f);
	return text;
}

/* The part between the two marks: its start, and its length in *@len. */
static char *list_in(char *page, size_t *len)
{
	char *begin = strstr(page, BEGIN);
	char *end = strstr(page, END);

	if (begin == NULL || end == NULL || end < begin) {
		(void)fprintf(stderr, PAGE " has no marks\n");
		exit(1);
	}
	begin = strchr(begin, '\n') + 1;
	*len = (size_t)(end - begin);
	return begin;
}

static void cloister_1_lists_the_options_of_the_table(void **state)
{
	char *page = read_page();
	struct wbuf want;
	size_t len;

	(void)state;
	wbuf_init(&want, 1 << 20);
	make_list(&want);
	char *have = list_in(page, &len);
	have[len] = '\0';
	assert_string_equal(have, (const char *)want.p);
	wbuf_fini(&want);
	free(page);
}

static int update(void)
{
	char *page = read_page();
	struct wbuf list;
	size_t len;
	char *begin = list_in(page, &len);
	FILE *f = fopen(PAGE, "w");

	if (f == NULL)
		return 1;
	wbuf_init(&list, 1 << 20);
	make_list(&list);
	(void)fwrite(page, 1, (size_t)(begin - page), f);
	(void)fputs((const char *)list.p, f);
	(void)fputs(begin + len, f);
	wbuf_fini(&list);
	free(page);
	return fclose(f) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cloister_1_lists_the_options_of_the_table),
	};

	if (argc == 2 && strcmp(argv[1], "--update") == 0)
		return update();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
