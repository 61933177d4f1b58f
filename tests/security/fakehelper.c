/* SPDX-License-Identifier: ISC */
/*
 * A helper that does what the monitor must be able to live with. It stands for cloister-blk, -rng, ... in the tests of the
 * monitor; the serial number of a disk says how it behaves (other devices: ok):
 *
 *	ok	locks itself and says so	refuse	says why it cannot serve
 *	lie	says that it is locked		silent	takes its configuration and never answers
 *	die	exits before it is ready	crash	is ready, then killed by its own filter
 *	noise	sends what nobody understands
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/str.h"
#include "jail/jail.h"
#include "proto/chan.h"
#include "proto/msg.h"

enum { FD_CONTROL = 3, FD_LOG = 4, FD_FIRST = 5, MSG_MAX = 8192, WAIT_MS = 20000 };

struct fake {
	struct chan *c;
	int next; /* number of the next descriptor */
	char serial[32];
};

static void say_hello(struct fake *f)
{
	const struct msg_hlp_hello hello = { .version = 1 };

	if (chan_send(f->c, MSG_HLP_HELLO, 0, &desc_msg_hlp_hello, &hello, NULL, 0) < 0)
		_exit(3);
}

static void say_ready(struct fake *f, uint32_t detail)
{
	const struct msg_hlp_ready ready = { .detail = detail };

	if (chan_send(f->c, MSG_HLP_READY, 0, &desc_msg_hlp_ready, &ready, NULL, 0) < 0)
		_exit(3);
}

static void refuse(struct fake *f)
{
	struct msg_result res = { 0 };
	struct err e;

	(void)err_set(&e, -EINVAL, "inner reason");
	(void)err_wrap(&e, -EINVAL, "outer reason");
	(void)msg_result_set(&res, -EINVAL, &e);
	if (chan_send(f->c, MSG_RESULT, 0, &desc_msg_result, &res, NULL, 0) < 0)
		_exit(3);
	_exit(1);
}

static void take(struct fake *f, struct chan_msg *m)
{
	struct msg_blk_config cfg;

	/* Of what every device gets, three stay: the others would be mapped and closed. */
	for (unsigned i = 0; i < m->nfds && (m->type != MSG_HLP_VHOST || i < 3); i++) {
		int fd = fd_take(&m->fds[i]);

		if (fd_move(&fd, f->next++, true) < 0)
			_exit(4);
	}
	if (m->type != MSG_BLK_CONFIG)
		return;
	if (chan_decode(m, &desc_msg_blk_config, &cfg, NULL) < 0)
		_exit(5);
	if (cfg.serial != NULL)
		(void)str_fmt(f->serial, sizeof(f->serial), "%s", cfg.serial);
	obj_fini(&desc_msg_blk_config, &cfg);
}

/* The console's filter has what this needs. */
static void lock(struct fake *f)
{
	const struct jail_limits lim = { .nofile = (uint64_t)f->next, .fsize = JAIL_KEEP, .as_bytes = JAIL_KEEP, .nproc = 0 };
	struct jail_missing missing = { 0 };
	struct err e;

	if (jail_lock(JAIL_CONSOLE, &lim, &missing, &e) < 0)
		_exit(6);
}

static void wait_for_ever(void)
{
	struct pollfd p = { .fd = FD_CONTROL, .events = 0 };

	while (poll(&p, 1, -1) != 1)
		continue;
	_exit(0);
}

static bool is(const struct fake *f, const char *what)
{
	return strcmp(f->serial, what) == 0;
}

static void behave(struct fake *f)
{
	if (is(f, "refuse"))
		refuse(f);
	if (is(f, "die"))
		_exit(7);
	if (is(f, "noise") && chan_send(f->c, MSG_HLP_DRAIN, 0, NULL, NULL, NULL, 0) < 0)
		_exit(3);
	if (!is(f, "lie") && !is(f, "silent"))
		lock(f);
	if (!is(f, "silent"))
		say_ready(f, IMAGE_TYPE_QCOW2);
	if (is(f, "crash"))
		(void)syscall(SYS_getppid);
	wait_for_ever();
}

int main(int argc, char **argv)
{
	struct fake f = { .c = chan_new(FD_CONTROL, MSG_MAX, MSG_MAX), .next = FD_FIRST };
	struct chan_msg m;

	jail_post_exec(argc > 0 ? argv[0] : "fake");
	log_open(FD_LOG, "fake", LOG_INFO);
	say_hello(&f);
	while (chan_recv_timeout(f.c, &m, WAIT_MS) == 1) {
		if (m.type == MSG_HLP_LOCKDOWN)
			behave(&f);
		take(&f, &m);
		chan_msg_fini(&m);
	}
	return 1;
}
