/* SPDX-License-Identifier: ISC */
/*
 * The API's listening socket. In path mode a lock file beside it, never deleted, tells whether another instance serves
 * it; a socket left behind by a dead one is replaced. In fd mode it is inherited, and neither locked nor unlinked.
 */
#ifndef JAIL_API_SOCKET_H
#define JAIL_API_SOCKET_H

#include <stdbool.h>

#include "common/err.h"

enum { API_SOCKET_PATH_MAX = 4096 };

struct api_socket {
	int listen_fd; /* -1: none */
	int lock_fd;   /* path mode: kept until the end */
	char path[API_SOCKET_PATH_MAX]; /* "" in fd mode */
};
#define API_SOCKET_NONE ((struct api_socket){ .listen_fd = -1, .lock_fd = -1 })

/* @arg: the value of --api-socket as written. From success on connections are answered or wait. Needs umask 077. */
int api_socket_open(struct api_socket *s, const char *arg, struct err *e) __must_check;

/* Close; @unlink_path after a run that ended with status 0. */
void api_socket_close(struct api_socket *s, bool unlink_path);

/* Bind and listen at @path, which must be free. Shared with the consoles' socket mode. */
int api_socket_listen(const char *path, int backlog, struct err *e) __must_check;

#endif
