/* SPDX-License-Identifier: ISC */
#include "vmmd/results.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/desc.h"

struct result {
	uint32_t id;
	enum msg_type type;
	const struct desc *desc;
	max_align_t body[]; /* desc->size bytes */
};

void results_init(struct results *rs)
{
	memset(rs, 0, sizeof(*rs));
	rs->next_id = 1;
}

static void result_free(struct result *r)
{
	obj_fini(r->desc, r->body);
	free(r);
}

void results_fini(struct results *rs)
{
	for (size_t i = 0; i < rs->n; i++)
		result_free(rs->v[i]);
	rs->n = 0;
}

int results_begin(struct results *rs, uint32_t id)
{
	if (id < rs->next_id)
		return -EALREADY;
	if (id == UINT32_MAX)
		return -ERANGE; /* there has to be a next one */
	rs->next_id = id + 1;
	return 0;
}

int results_add(struct results *rs, uint32_t id, enum msg_type type, const void *body)
{
	const struct desc *d = msg_type_desc(type);

	if (d == NULL)
		return -EINVAL;
	if (rs->n == RESULTS_MAX)
		return -ENOBUFS;
	struct result *r = calloc(1, sizeof(*r) + d->size);

	if (r == NULL)
		return -ENOMEM;
	*r = (struct result){ .id = id, .type = type, .desc = d };
	if (obj_copy(d, r->body, body) < 0) {
		free(r);
		return -ENOMEM;
	}
	rs->v[rs->n++] = r;
	return 0;
}

void results_ack(struct results *rs, uint32_t id)
{
	for (size_t i = 0; i < rs->n; i++) {
		if (rs->v[i]->id != id)
			continue;
		result_free(rs->v[i]);
		rs->n--;
		memmove(&rs->v[i], &rs->v[i + 1], (rs->n - i) * sizeof(rs->v[0]));
		return;
	}
}

int results_resend(struct results *rs, struct chan *c)
{
	for (size_t i = 0; i < rs->n; i++) {
		const struct result *r = rs->v[i];
		int err = chan_send(c, r->type, r->id, r->desc, r->body, NULL, 0);

		if (err < 0)
			return err;
	}
	return 0;
}
