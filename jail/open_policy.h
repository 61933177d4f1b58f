/* SPDX-License-Identifier: ISC */
/*
 * Names become descriptors here and nowhere else. Everything that the operator's own uid can open may be opened; what
 * a name leads to is checked before it is opened for real, and a path can be refused, never "fixed". Relative names
 * are relative to the directory in which the program was started, which the monitor never leaves.
 */
#ifndef JAIL_OPEN_POLICY_H
#define JAIL_OPEN_POLICY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "common/err.h"

/* A regular file or block device, found but not opened (opening a device can have effects: a watchdog starts; and a FIFO
 * waits). An O_PATH descriptor for open_policy_again(), *@st what it is. */
int open_policy_look(const char *path, struct stat *st, struct err *e) __must_check;
/* The size of the file or block device that @fd and @st are. */
int open_policy_size(int fd, const struct stat *st, uint64_t *size) __must_check;

/* A source of random bytes, not blocking. *@is_stream: no file of a fixed size. */
int open_policy_source(const char *path, bool *is_stream, struct err *e) __must_check;

/* A kernel or initramfs for reading: regular file or block device. Returns the descriptor, *@size its bytes. */
int open_policy_image(const char *path, uint64_t *size, struct err *e) __must_check;

/* A console's output file: made (0600) or truncated; an existing FIFO or character device is opened as it is.
 * *@mode gets its type. Not blocking. */
int open_policy_console(const char *path, mode_t *mode, struct err *e) __must_check;

/* The log file: made (0600), truncated, appending. */
int open_policy_log(const char *path, struct err *e) __must_check;

/* A new file description of one of the monitor's own descriptors: O_NONBLOCK on the inherited one would hit the user's
 * shell. -errno when the object allows none. */
int open_policy_again(int fd, int flags) __must_check;

#endif
