/* SPDX-License-Identifier: ISC */
#include "proto/dispatch.h"

#include <errno.h>
#include <stdlib.h>

static const struct dispatch_entry *find(const struct dispatch_entry *table, size_t n, enum msg_type type)
{
	for (size_t i = 0; i < n; i++)
		if (table[i].type == type)
			return &table[i];
	return NULL;
}

static const char *type_name(const struct chan_msg *m)
{
	const char *name = msg_type_name(m->type);

	return name != NULL ? name : "an unknown message";
}

static const struct dispatch_entry *admit(const struct dispatch_entry *table, size_t n, uint32_t state_bit,
					  const struct chan_msg *m, int *r, struct err *e)
{
	const struct dispatch_entry *t = find(table, n, m->type);

	if (t == NULL)
		*r = err_set(e, -ENOTSUP, "%s (0x%x) is not taken on this channel", type_name(m), (unsigned)m->type);
	else if ((t->states & state_bit) == 0)
		*r = err_set(e, -EPROTO, "%s is not taken in this state", type_name(m));
	else if (m->nfds > 0 && (t->flags & DISPATCH_FDS) == 0)
		*r = err_set(e, -EBADMSG, "%s came with descriptors", type_name(m));
	else if (t->desc == NULL && m->len > 0)
		*r = err_set(e, -EBADMSG, "%s came with a body", type_name(m));
	else
		*r = 0;
	return *r < 0 ? NULL : t;
}

/* What a handler met (a file system that does not know a lock) must not look like a peer that breaks the rules: those
 * codes are this file's. The chain still says what it was. */
static int own_code(int r)
{
	return r == -ENOTSUP || r == -EPROTO || r == -EBADMSG ? -EREMOTEIO : r;
}

static int decode_and_call(const struct dispatch_entry *t, void *ctx, struct chan_msg *m, struct err *e)
{
	_cleanup_(freep) void *obj = NULL;
	int r;

	if (t->desc == NULL)
		return own_code(t->handle(ctx, NULL, m, e));
	obj = malloc(t->desc->size);
	if (obj == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	r = chan_decode(m, t->desc, obj, e);
	if (r < 0)
		return err_wrap(e, r, "%s", type_name(m));
	r = own_code(t->handle(ctx, obj, m, e));
	obj_fini(t->desc, obj);
	return r;
}

int dispatch(const struct dispatch_entry *table, size_t n, uint32_t state_bit, void *ctx, struct chan_msg *m,
	     struct err *e)
{
	int r;
	const struct dispatch_entry *t = admit(table, n, state_bit, m, &r, e);

	if (t != NULL)
		r = decode_and_call(t, ctx, m, e);
	chan_msg_fini(m);
	return r;
}
