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
#include <stdint.h>
#include <sys/types.h>
#include <termios.h>

#include "common/err.h"
#include "proto/msg.h"

/* The numbers that the process's role has for them. client -1: any, where no filter knows it by its number. */
struct console_numbers {
	int out, in, listen, client;
};

struct console_target {
	enum con_target kind;
	struct console_numbers at;
	int out; /* where output goes now: at.out, at.client, or -1 */
	int in;  /* where input comes from now: at.in, at.client, or -1 */
	bool out_is_socket;
	bool restore;
	struct termios termios;
};

enum { CONSOLE_TARGET_FDS = 2 };

/* How many descriptors the target of @cfg has; -EINVAL when it contradicts itself. */
int console_target_count(const struct msg_con_config *cfg, struct err *e);

/* Descriptor phase: take @fds (console_target_count() of them, above all fixed numbers), check what they are and put them
 * at @at. */
int console_target_place(struct console_target *t, const struct console_numbers *at, const struct msg_con_config *cfg,
			 int *fds, struct err *e);

/* Never waits. Bytes written, -EAGAIN when the target is behind, -EPIPE when nobody can read it (any more, or yet). */
ssize_t console_target_write(struct console_target *t, const void *p, size_t n);

/* Never waits. Bytes read, 0 when there will be no more, -EAGAIN. */
ssize_t console_target_read(struct console_target *t, void *p, size_t n);

/* A newer client replaces the older one. 0, -EAGAIN: nobody waits any more. */
int console_target_accept(struct console_target *t);
void console_target_hang_up(struct console_target *t);

/* How large the terminal is, if it is one: true and *@cols, *@rows. */
bool console_target_size(const struct console_target *t, uint16_t *cols, uint16_t *rows);

/* Give the terminal back as it was found. */
void console_target_restore(struct console_target *t);

#endif
