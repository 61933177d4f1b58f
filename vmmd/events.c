/* SPDX-License-Identifier: ISC */
#include "vmmd/events.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/str.h"

void events_init(struct events *ev)
{
	memset(ev, 0, sizeof(*ev));
	ev->next = 1;
}

static void drop_first(struct events *ev)
{
	free(ev->v[ev->first].id);
	ev->v[ev->first].id = NULL;
	ev->first = (ev->first + 1) % EVENTS_MAX;
	ev->n--;
}

void events_fini(struct events *ev)
{
	while (ev->n > 0)
		drop_first(ev);
}

const struct event_rec *events_add(struct events *ev, const char *source, const char *name, const char *id)
{
	if (ev->n == EVENTS_MAX) {
		drop_first(ev);
		ev->lost++;
	}
	struct event_rec *rec = &ev->v[(ev->first + ev->n) % EVENTS_MAX];

	ev->n++;
	*rec = (struct event_rec){
		.seq = ev->next++,
		.mono_ns = clock_mono_ns(),
		.source = source,
		.name = name,
		.id = id != NULL ? strdup(id) : NULL, /* without memory it is an event all the same */
	};
	return rec;
}

void events_ack(struct events *ev, uint64_t seq)
{
	while (ev->n > 0 && ev->v[ev->first].seq <= seq)
		drop_first(ev);
}

int events_send(const struct event_rec *rec, struct chan *c)
{
	char source[32], name[64], prop[] = "id";
	struct msg_prop id = { .name = prop, .value = rec->id };
	struct msg_cmd_event m = { .seq = rec->seq, .mono_ns = rec->mono_ns };

	/* Message structs own their strings; this one is only read. */
	(void)str_fmt(source, sizeof(source), "%s", rec->source);
	(void)str_fmt(name, sizeof(name), "%s", rec->name);
	m.source = source;
	m.event = name;
	if (rec->id != NULL) {
		m.n_props = 1;
		m.props = &id;
	}
	return chan_send(c, MSG_CMD_EVENT, 0, &desc_msg_cmd_event, &m, NULL, 0);
}

int events_resend(const struct events *ev, struct chan *c)
{
	for (size_t i = 0; i < ev->n; i++) {
		int r = events_send(&ev->v[(ev->first + i) % EVENTS_MAX], c);

		if (r < 0)
			return r;
	}
	return 0;
}
