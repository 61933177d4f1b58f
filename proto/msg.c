/* SPDX-License-Identifier: ISC */
#include "proto/msg.h"

#include <stdlib.h>
#include <string.h>

COMMAND_ENUMS(ENUM_DEFINE)
MONITOR_ENUMS(ENUM_DEFINE)
HELPER_ENUMS(ENUM_DEFINE)

#define MSG_PART(S, ver, FIELDS) DESC_DEFINE(MSG_FIELD, S, ver, FIELDS)
#define MSG_BODY(T, S, num, ver, FIELDS) DESC_DEFINE(MSG_FIELD, S, ver, FIELDS)
#define MSG_NOBODY(T, num)
ALL_MESSAGES(MSG_PART, MSG_BODY, MSG_NOBODY)
#undef MSG_PART
#undef MSG_BODY
#undef MSG_NOBODY

struct msg_entry {
	enum msg_type type;
	const char *name;
	const struct desc *desc;
};

#define MSG_PART(S, ver, FIELDS)
#define MSG_BODY(T, S, num, ver, FIELDS) { MSG_##T, #T, &desc_##S },
#define MSG_NOBODY(T, num) { MSG_##T, #T, NULL },
static const struct msg_entry entries[] = { ALL_MESSAGES(MSG_PART, MSG_BODY, MSG_NOBODY) };

static const struct msg_entry *find(enum msg_type type)
{
	for (size_t i = 0; i < nitems(entries); i++)
		if (entries[i].type == type)
			return &entries[i];
	return NULL;
}

const char *msg_type_name(enum msg_type type)
{
	const struct msg_entry *m = find(type);

	return m != NULL ? m->name : NULL;
}

const struct desc *msg_type_desc(enum msg_type type)
{
	const struct msg_entry *m = find(type);

	return m != NULL ? m->desc : NULL;
}

int msg_result_set(struct msg_result *r, int code, const struct err *e)
{
	unsigned n = e != NULL ? err_count(e) : 0;

	memset(r, 0, sizeof(*r));
	r->code = code;
	if (n == 0)
		return 0;
	r->links = calloc(n, sizeof(*r->links));
	if (r->links == NULL)
		return -ENOMEM;
	r->n_links = n;
	/* err_text() counts from the outermost, the message from the innermost */
	for (unsigned i = 0; i < n; i++) {
		r->links[i].code = err_code(e, n - 1 - i);
		r->links[i].text = strdup(err_text(e, n - 1 - i));
		if (r->links[i].text == NULL) {
			obj_fini(&desc_msg_result, r);
			r->code = code;
			return -ENOMEM;
		}
	}
	return 0;
}

void msg_result_err(const struct msg_result *r, struct err *e)
{
	if (e == NULL)
		return;
	err_clear(e);
	/* A peer's code decides an HTTP status and must be an errno, whatever it sent. */
	for (size_t i = 0; i < r->n_links; i++) {
		int code = r->links[i].code < 0 && r->links[i].code > -4096 ? r->links[i].code : -EPROTO;

		err_wrap(e, code, "%s", r->links[i].text);
	}
	if (r->n_links == 0 && r->code != 0)
		err_set(e, r->code < 0 && r->code > -4096 ? r->code : -EPROTO, "%s",
			r->code < 0 && r->code > -4096 ? strerror(-r->code) : "refused without a reason");
}
