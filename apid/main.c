/* SPDX-License-Identifier: ISC */
/*
 * apid, the broker: HTTP and the command line on one side, the monitor and vmmd on the other; the log's last station.
 *
 *	own loop - jail - filter - hello - start message with all channels		nothing from outside was read yet
 *	command line - its text and the end of the run, or:
 *	the monitor opens the API socket - requests are served - the command line's VM is created and booted
 *
 * Started as a successor of an apid that died, it first learns from vmmd what is going on, then adopts the connections
 * that the monitor kept. It holds no state that cannot be learned again.
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "apid/app.h"
#include "common/fd.h"
#include "jail/jail.h"

enum {
	MONITOR_FD = 3,
	START_TIMEOUT_MS = 20000,
	MON_QUEUE_MAX = 1024 * 1024,
	LARGE_BLOCK = 128 * 1024,
	NOFILE = 256, /* CONN_MAX clients, CONN_FDS_MAX that come with requests, our own */
};

static int take_start(struct app_start *s, struct err *e)
{
	int *const slots[] = { &s->vmm_fd, &s->log_fd, &s->out_fd, &s->page_fd, &s->listen_fd };
	unsigned want;
	int r;

	if (s->m.type != MSG_APID_START)
		return err_set(e, -EPROTO, "the monitor's first message is not the start");
	r = chan_decode(&s->m, &desc_msg_apid_start, &s->msg, e);
	if (r < 0)
		return r;
	want = 4U + (s->msg.has_listen ? 1 : 0);
	if (s->m.nfds != want + s->msg.n_conn_slots)
		return err_set(e, -EPROTO, "the start message has %u descriptors", s->m.nfds);
	for (unsigned i = 0; i < want; i++)
		*slots[i] = fd_take(&s->m.fds[i]);
	s->conns = want;
	return 0;
}

/* From here on this process has the rights it keeps. */
static int enter(struct app *a, struct chan **chan, struct err *e)
{
	static const struct jail_limits limits = {
		.nofile = NOFILE,
		.fsize = JAIL_KEEP,
		.as_bytes = JAIL_KEEP,
		.nproc = 0,
	};
	struct jail_missing missing = { 0 };
	int res = jail_self(MONITOR_FD, "cloister-apid", &missing, e);

	if (res == 0)
		res = jail_lock(JAIL_APID, &limits, &missing, e);
	if (res < 0)
		return res;
	*chan = chan_new(MONITOR_FD, CHAN_MONITOR_MAX, MON_QUEUE_MAX);
	if (*chan == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	struct msg_apid_hello hello = { .missing_perm = missing.perm, .missing_old = missing.old };
	res = chan_send(*chan, MSG_APID_HELLO, 0, &desc_msg_apid_hello, &hello, NULL, 0);
	if (res == 0)
		res = chan_recv_timeout(*chan, &a->start.m, START_TIMEOUT_MS);
	return res < 0 ? err_sys(e, res, "waiting for the monitor's start") : take_start(&a->start, e);
}

/* #syscalls brk mmap mremap -- malloc (libc, libevent, cJSON) */
int main(int argc, char **argv)
{
	static struct app a = { .start = { .vmm_fd = -1, .log_fd = -1, .out_fd = -1, .page_fd = -1, .listen_fd = -1 } };
	struct chan *mon = NULL;
	struct err e;

	/* Large bodies come and go: without this malloc would keep their memory for the next ones. */
	(void)mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
	(void)mallopt(M_TRIM_THRESHOLD, 2 * LARGE_BLOCK);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* a full log file is an error of a write, no more */
	a.base = ev_new(EV_BACKEND_EPOLL);
	if (a.base == NULL)
		return 1;
	if (enter(&a, &mon, &e) < 0 || app_init(&a, mon, &e) < 0) {
		(void)dprintf(STDERR_FILENO, "cloister-apid: %s\n", err_text(&e, 0)); /* /dev/null unless run by hand */
		return 1;
	}
	app_begin(&a, argc - 1, argv + 1);
	(void)event_base_dispatch(a.base);
	app_fini(&a);
	return a.status;
}
