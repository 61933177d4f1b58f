/* SPDX-License-Identifier: ISC */
/*
 * Where a character device leads on the host: nowhere, a file, a pipe, a terminal, a pty's master, or whoever connects
 * to a listening socket. All descriptors are at the numbers of jail/policy/roles.def; those that were not needed stay
 * empty, or are /dev/null where accept() must find no lower number.
 */
#ifndef DEVICES_CONSOLE_CONSOLE_TARGET_H
#define DEVICES_CONSOLE_CONSOLE_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <termios.h>

#include "common/err.h"
#include "proto/msg.h"

struct console_target {
	enum con_target kind;
	int out; /* where output goes now: TARGET_OUT, CLIENT, or -1 */
	int in;  /* where input comes from now: TARGET_IN, CLIENT, or -1 */
	bool out_is_socket;
	bool restore;
	struct termios termios;
};

/* How many descriptors go with @cfg, stream and ring included; -EINVAL when it contradicts itself. */
int console_target_count(const struct msg_con_config *cfg, struct err *e);

/* Descriptor phase: take @fds (those after stream and ring, console_target_count() - 2 of them; above all fixed
 * numbers), check what they are and put them in place. */
int console_target_place(struct console_target *t, const struct msg_con_config *cfg, int *fds, struct err *e);

/* Never waits. Bytes written, -EAGAIN when the target is behind, -EPIPE when nobody can read it (any more, or yet). */
ssize_t console_target_write(struct console_target *t, const void *p, size_t n);

/* Never waits. Bytes read, 0 when there will be no more, -EAGAIN. */
ssize_t console_target_read(struct console_target *t, void *p, size_t n);

/* A newer client replaces the older one. 0, -EAGAIN: nobody waits any more. */
int console_target_accept(struct console_target *t);
void console_target_hang_up(struct console_target *t);

/* Give the terminal back as it was found. */
void console_target_restore(struct console_target *t);

#endif
