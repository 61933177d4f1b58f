/* SPDX-License-Identifier: ISC */
/*
 * The configuration space: f->config is what the guest reads. What a driver writes is in it at once and goes out as one
 * SET_CONFIG of the whole writable part, at most one at a time; an answer to GET_CONFIG that was asked for before such
 * a write is old, and asked for again.
 */
#include "vmmd/vhost/front_internal.h"

#include <stddef.h>
#include <string.h>

enum { CONFIG_HEAD = offsetof(struct vhost_user_config, data) };

void vhost_config_reset(struct vhost_front *f)
{
	f->getting = false;
	f->get_again = false;
	f->set_again = f->written; /* for the next back end */
	f->setting = false;
}

void vhost_config_forget(struct vhost_front *f)
{
	bool was_written = f->written;

	f->written = false;
	f->set_again = false;
	if (was_written)
		vhost_front_refresh_config(f); /* a reset has put it back */
}

void vhost_config_ask(struct vhost_front *f)
{
	const struct vhost_user_config c = { .offset = 0, .size = f->cfg.config_len };
	const struct vhost_expect expect = {
		.answer = VHOST_ANSWER_CONFIG,
		.len = f->cfg.config_len,
		.may_fail = !f->cfg.config_needed,
	};

	f->getting = true;
	f->get_again = false;
	vhost_ask(f, VHOST_USER_GET_CONFIG, &c, CONFIG_HEAD + c.size, expect, f->cfg.timeouts.answer_ms);
}

static bool may_talk(const struct vhost_front *f)
{
	return f->state >= VHOST_READY && vhost_has(f, VHOST_USER_PROTOCOL_F_CONFIG);
}

void vhost_front_refresh_config(struct vhost_front *f)
{
	if (f->getting)
		f->get_again = true;
	else if (may_talk(f) && f->cfg.config_len > 0)
		vhost_config_ask(f);
}

/* What the driver wrote counts more than what a back end started with. */
static void take(struct vhost_front *f, const uint8_t *from)
{
	uint8_t kept[VHOST_USER_CONFIG_MAX];

	memcpy(kept, f->config + f->set_off, f->set_len);
	memcpy(f->config, from, f->cfg.config_len);
	if (f->written && f->has_config)
		memcpy(f->config + f->set_off, kept, f->set_len);
	f->has_config = true;
}

static void send_set(struct vhost_front *f)
{
	struct vhost_user_config c = { .offset = f->set_off, .size = f->set_len };

	if (!may_talk(f) || f->setting || f->set_len == 0)
		return;
	f->set_again = false;
	memcpy(c.data, f->config + f->set_off, f->set_len);
	f->setting = vhost_has(f, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	vhost_put_acked(f, VHOST_USER_SET_CONFIG, &c, CONFIG_HEAD + c.size, NULL, 0);
}

bool vhost_config_got(struct vhost_front *f, const struct vhost_reply *r)
{
	bool old = f->get_again;

	f->getting = false;
	if (r->failed)
		return false;
	if (f->state != VHOST_HANDSHAKE && old) {
		vhost_config_ask(f);
		return false;
	}
	take(f, r->config);
	return true;
}

void vhost_config_set_done(struct vhost_front *f)
{
	f->setting = false;
	if (f->set_again)
		send_set(f);
}

void vhost_front_writable(struct vhost_front *f, uint32_t off, uint32_t len)
{
	bool fits = off <= f->cfg.config_len && len <= f->cfg.config_len - off;

	f->set_off = fits ? off : 0;
	f->set_len = fits ? len : 0;
}

void vhost_front_write_config(struct vhost_front *f, uint32_t off, const void *p, uint32_t len)
{
	if (off < f->set_off || off - f->set_off > f->set_len || len > f->set_len - (off - f->set_off))
		return;
	memcpy(f->config + off, p, len);
	f->written = true;
	f->set_again = true;
	f->get_again = f->getting;
	send_set(f);
}
