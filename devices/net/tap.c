/* SPDX-License-Identifier: ISC */
/*
 * cloister-tap: makes or checks the taps of one network device for the monitor, and is gone before a guest sees them.
 *
 *	monitor		TAP_CONFIG, + the taps that were given, or (where this process can't open anything by name) the
 *			control device opened once for each queue pair
 *	cloister-tap	HLP_HELLO first; then TAP_RESULT, + a descriptor for each queue pair; or RESULT with a chain that
 *			people read
 *
 * It lives in the host's network namespace with CAP_NET_ADMIN and nothing else. Whatever needs a name (the control device)
 * or a new socket comes before its filter, everything that does something to an interface after it.
 *
 * Believed: the monitor. Not believed: the texts in its message, which come from whoever configures the guest.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "devices/net/tapdev.h"
#include "devices/net/tapif.h"
#include "jail/jail.h"
#include "jail/policy/roles.h"
#include "proto/chan.h"
#include "proto/msg.h"

enum {
	MSG_MAX = 8192,
	QUEUED_MAX = 65536,
	VERSION = 1,
	CONFIG_MS = 60000, /* parked for longer: the monitor ends it, or starts another */
};
#define MADE_NAME "vmtap%d" /* the kernel counts */

_Static_assert((int)TAP_PAIRS_MAX <= (int)FD_PASS_MAX, "all taps fit one message");

struct tap_job {
	struct msg_tap_config cfg;
	int fds[TAP_PAIRS_MAX];
	unsigned n_fds;
	int route; /* socket */
	struct msg_tap_result result;
	char name[TAP_NAME_BYTES];
};

/* --- descriptor phase ------------------------------------------------------------------------------------------------- */

static int take_descriptors(struct tap_job *j, struct chan_msg *m, struct err *e)
{
	const struct msg_tap_config *c = &j->cfg;

	if (c->n_fds > 0 && c->n_fds != c->n_pairs)
		return err_set(e, -EINVAL, "%u descriptors for %u queue pairs", c->n_fds, c->n_pairs);
	if (m->nfds == 0 && c->n_fds == 0) {
		int r = tapdev_open_control(j->fds, c->n_pairs, e);

		if (r < 0)
			return r;
	} else if (m->nfds != c->n_pairs) {
		return err_set(e, -EBADMSG, "%u descriptors came", m->nfds);
	}
	for (unsigned i = 0; i < m->nfds; i++)
		j->fds[i] = fd_take(&m->fds[i]);
	j->n_fds = c->n_pairs;
	return 0;
}

static int receive(struct chan *chan, struct tap_job *j, struct chan_msg *m, struct err *e)
{
	int r = chan_recv_timeout(chan, m, CONFIG_MS);

	if (r != 1)
		return err_sys(e, r < 0 ? r : -EBADMSG, "waiting for a request");
	if (m->type != MSG_TAP_CONFIG)
		return err_set(e, -EBADMSG, "unexpected message");
	r = chan_decode(m, &desc_msg_tap_config, &j->cfg, e);
	if (r < 0)
		return r;
	j->route = tapif_open(e);
	return j->route < 0 ? j->route : take_descriptors(j, m, e);
}

/* --- a tap by name ------------------------------------------------------------------------------------------------ */

/* What the configuration wants of an interface that is not ours to change. */
static void warn_unchanged(const struct tap_job *j)
{
	const struct msg_tap_config *c = &j->cfg;

	if (c->ip != NULL || c->host_mac != NULL)
		log_warn("tap \"%s\" exists already: its addresses stay as they are", j->name);
	if (c->mtu != 0 && c->mtu != j->result.mtu)
		log_warn("tap \"%s\" exists already: its MTU stays %u", j->name, j->result.mtu);
}

/* Who may use a tap need not be allowed to bring it up: then that is somebody else's task. */
static void bring_up(const struct tap_job *j)
{
	const struct tap_settings none = { 0 };
	struct err e = { 0 };
	char text[LOG_MSG_MAX];

	if (tapif_set_up(j->route, j->name, &none, &e) == 0)
		return;
	(void)err_join(&e, text, sizeof(text));
	log_warn("tap \"%s\" is down: %s", j->name, text);
}

static int parse_settings(const struct msg_tap_config *c, struct tap_settings *s, uint8_t mac[TAP_MAC_BYTES],
			  struct err *e)
{
	int r = tapif_parse_addr(c->ip, c->mask, &s->addr, e);

	s->mtu = c->mtu;
	if (r < 0 || c->host_mac == NULL)
		return r;
	s->mac = mac;
	return tapif_parse_mac(c->host_mac, mac, e);
}

static int attach(struct tap_job *j, struct err *e)
{
	struct tap_found found = { .kind = TAP_ABSENT };
	struct tap_settings settings = { 0 };
	uint8_t mac[TAP_MAC_BYTES];
	int r = parse_settings(&j->cfg, &settings, mac, e);

	if (r == 0 && j->cfg.name != NULL)
		r = tapif_find(j->route, j->name, &found, e);
	if (r == 0)
		r = tapdev_attach(j->fds, j->n_fds, j->name, &found, &j->result.made, e);
	if (r == 0 && j->result.made)
		r = tapif_set_up(j->route, j->name, &settings, e);
	if (r == 0)
		r = tapif_find(j->route, j->name, &found, e);
	if (r < 0)
		return r;
	j->result.mtu = found.mtu <= UINT16_MAX ? (uint16_t)found.mtu : UINT16_MAX;
	if (!j->result.made) {
		warn_unchanged(j);
		if (!found.is_up)
			bring_up(j);
	}
	return 0;
}

static int by_name(struct tap_job *j, struct err *e)
{
	const char *name = j->cfg.name != NULL ? j->cfg.name : MADE_NAME;
	int r = j->cfg.name != NULL ? tapdev_check_name(name, e) : 0;

	if (r == 0) {
		memcpy(j->name, name, strlen(name) + 1);
		r = attach(j, e);
	}
	return r < 0 ? err_wrap(e, r, "tap \"%s\"", name) : 0;
}

/* --- taps that were given ----------------------------------------------------------------------------------------- */

/* The interface may be in another network namespace: only one of the same name and address is believed to be it. */
static int look_at_given(struct tap_job *j, const uint8_t mac[TAP_MAC_BYTES], struct err *e)
{
	struct tap_found found;

	if (tapif_find(j->route, j->name, &found, NULL) < 0 || found.kind == TAP_ABSENT ||
	    memcmp(found.mac, mac, TAP_MAC_BYTES) != 0)
		return 0;
	if (found.packet_info)
		return tapdev_refuse_pi(j->name, e);
	j->result.mtu = found.mtu <= UINT16_MAX ? (uint16_t)found.mtu : UINT16_MAX;
	warn_unchanged(j);
	return 0;
}

static int given(struct tap_job *j, struct err *e)
{
	uint8_t mac[TAP_MAC_BYTES];

	for (unsigned i = 0; i < j->n_fds; i++) {
		char name[TAP_NAME_BYTES] = { 0 };
		int r = tapdev_check_given(j->fds[i], j->n_fds, name, mac, e);

		if (r < 0)
			return err_wrap(e, r, "descriptor %u of the %u that were given", i + 1, j->n_fds);
		if (i > 0 && strcmp(name, j->name) != 0)
			return err_set(e, -EINVAL, "the descriptors that were given belong to different taps, \"%s\" and "
						   "\"%s\"", j->name, name);
		memcpy(j->name, name, sizeof(j->name));
	}
	return look_at_given(j, mac, e);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static int say_hello(struct chan *chan, const struct jail_missing *missing)
{
	const struct msg_hlp_hello hello = {
		.version = VERSION,
		.missing_perm = missing->perm,
		.missing_old = missing->old,
	};

	return chan_send(chan, MSG_HLP_HELLO, 0, &desc_msg_hlp_hello, &hello, NULL, 0);
}

/* #syscalls tap: sendmsg(fd=CONTROL) brk -- an answer, and memory for it: nothing is kept for later in so short a life */
static int answer(struct chan *chan, uint32_t id, struct tap_job *j, int code, const struct err *e)
{
	if (code == 0) {
		j->result.name = j->name;
		return chan_send(chan, MSG_TAP_RESULT, id, &desc_msg_tap_result, &j->result, j->fds, j->n_fds);
	}
	struct msg_result result = { 0 };
	int r = msg_result_set(&result, code, e);

	if (r == 0)
		r = chan_send(chan, MSG_RESULT, id, &desc_msg_result, &result, NULL, 0);
	obj_fini(&desc_msg_result, &result);
	return r;
}

static int run(struct chan *chan, struct tap_job *j)
{
	const struct jail_limits keep = { JAIL_KEEP, JAIL_KEEP, JAIL_KEEP, JAIL_KEEP };
	struct jail_missing missing = { 0 };
	struct chan_msg m = { 0 };
	struct err e = { 0 };

	if (say_hello(chan, &missing) < 0)
		return 1;
	int r = receive(chan, j, &m, &e);
	if (r == -EPIPE)
		return 0; /* the monitor is gone, or needs none after all */
	if (r == 0)
		r = jail_lock(JAIL_TAP, &keep, &missing, &e);
	if (r == 0)
		r = j->cfg.n_fds > 0 ? given(j, &e) : by_name(j, &e);
	return answer(chan, m.id, j, r, &e) < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
	static struct tap_job job = { .route = -1 };

	jail_post_exec(argc > 0 ? argv[0] : "cloister-tap");
	(void)signal(SIGPIPE, SIG_IGN);
	log_open(FD_tap_LOG, "tap", LOG_DEBUG);
	struct chan *chan = chan_new(FD_tap_CONTROL, MSG_MAX, QUEUED_MAX);
	return chan == NULL ? 1 : run(chan, &job);
}
