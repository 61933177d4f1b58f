/* SPDX-License-Identifier: ISC */
/*
 * The host side of a console, opened for cloister-console: null device, terminal or whatever stdout is, pty, file,
 * listening socket. What has to be undone at the end (terminal settings, the socket's name) is remembered here.
 */
#ifndef JAIL_CON_OPEN_H
#define JAIL_CON_OPEN_H

#include <stdbool.h>
#include <termios.h>

#include "common/err.h"
#include "proto/msg.h"

enum {
	CON_OPEN_FDS_MAX = 2,
	CON_OPEN_PATH_MAX = 4096,
};

struct con_host {
	enum con_target kind;
	int fds[CON_OPEN_FDS_MAX]; /* as they go to the helper, stream and ring left out; -1: none */
	unsigned n_fds;
	bool has_input;
	bool is_tty;               /* fds[0] is a terminal ... */
	bool raw;                  /* ... and we made it raw */
	struct termios saved;      /* how it was */
	char path[CON_OPEN_PATH_MAX]; /* pty: the slave's name; socket: what to unlink; else "" */
	bool unlink_path;
};
#define CON_HOST_NONE ((struct con_host){ .fds = { -1, -1 } })

/* @mode not OFF. @path for FILE and SOCKET. Fills *@t, or leaves nothing behind. */
int con_open(struct con_host *t, enum console_mode mode, const char *path, struct err *e) __must_check;

/* The terminal is the guest's now. Once a helper that will give it back, should we be killed, is up: not before. 0 or
 * -errno; nothing to do when it is no terminal, or raw already. */
int con_make_raw(struct con_host *t) __must_check;

/* Give the terminal its settings back, remove the socket, close. Accepts CON_HOST_NONE. */
void con_close(struct con_host *t);

#endif
