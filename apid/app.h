/* SPDX-License-Identifier: ISC */
/* What the front ends share: one of these in a process. */
#ifndef APID_APP_H
#define APID_APP_H

#include <stdbool.h>
#include <stdint.h>

#include "apid/actions/commands.h"
#include "apid/conn.h"
#include "apid/connpage.h"
#include "apid/logsink.h"
#include "apid/rpc.h"
#include "common/ev.h"
#include "proto/opts.h"

enum { HELD_MAX = CONN_MAX + 32 };

/* How the command line wants the run to go on (cli.c). */
struct cli_verdict {
	bool ends;      /* with @text on @stream and @status */
	bool silent;    /* the log is not shown: help, version, usage */
	uint8_t stream; /* 1 or 2 */
	uint8_t status;
	struct wbuf text;
};

/* What came with the start message. */
struct app_start {
	struct msg_apid_start msg;
	int vmm_fd, log_fd, out_fd, page_fd, listen_fd;
	struct chan_msg m; /* has the kept connections' descriptors, from @conns on */
	unsigned conns;
};

struct app {
	struct event_base *base;
	struct rpc *mon, *vmm;
	struct connpage *page;
	struct server *server;
	struct commands *commands;
	struct logsink *log;
	struct event *ev_flush; /* the deadline of an orderly end */
	struct app_start start;
	struct cli_verdict verdict;
	int status; /* of this process */

	/* [const] after the start message */
	int32_t vmmd_pid;
	bool successor;
	struct opts opts;
	bool has_opts;

	bool hello_done, listen_known, serving;
	enum vm_state state_at_hello;
	unsigned flush_tries;
	bool flushed; /* the last words are out */

	/* Results that a client waits for: acknowledged when it has them. */
	uint32_t held[HELD_MAX];
	unsigned n_held;
};

/* Make the parts. @a->base and @a->start are there; takes @mon, the channel to the monitor. */
int app_init(struct app *a, struct chan *mon, struct err *e) __must_check;
/* Read the command line (the original one), have the API socket opened. A successor finds it open. */
void app_begin(struct app *a, int argc, char *const *argv);
void app_fini(struct app *a);

void app_hold(struct app *a, uint32_t id);
/* Not held any more, acknowledge. */
void app_release(struct app *a, uint32_t id);

#endif
