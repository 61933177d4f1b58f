/* SPDX-License-Identifier: ISC */
/*
 * Error chains: what people read about a failure, inner specific, outer general, nothing said twice.
 *
 * A chain is a bounded value (no allocation), safe to copy with '=' and to send to another process. Link 0 is
 * the outermost. Functions take "struct err *e"; NULL means that the caller does not want the text. Every
 * failing function that takes an err fills it.
 */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

enum {
	ERR_LINKS_MAX = 10,
	ERR_TEXT_MAX = 6144, /* room for one path of 4096 bytes and its context */
	ERR_LINK_TEXT_MAX = 4608, /* of which one link gets at most this, so that outer links have room */
};

/* Codes that decide the HTTP status of a refused action (apid/routes.c has the one table). They are errno
 * values that no system call of ours returns. */
#define ERR_NOT_FOUND ENODATA /* no VM, no such id: 404 */
#define ERR_INVALID EDOM      /* configuration refused by schema or rule: 400 */
#define ERR_CONFLICT ENOTUNIQ /* identifier not unique: 409 */
#define ERR_PENDING EUSERS    /* earlier removal not finished: 429 */

struct err {
	uint8_t n;                        /* links in use */
	uint16_t used;                    /* bytes of text in use */
	int32_t code[ERR_LINKS_MAX];      /* in order of adding: [0] is the innermost; negative errno */
	uint16_t off[ERR_LINKS_MAX];
	char text[ERR_TEXT_MAX];
};

/* Forget all links. */
void err_clear(struct err *e);

/* Start a chain with its root cause. Returns @code, so that "return err_set(...)" reads well. Text that does
 * not fit is cut. @code must be a negative errno. */
int err_set(struct err *e, int code, const char *fmt, ...) __printf(3, 4);

/* Add an outer link. Returns @code. Without an inner link it acts as err_set(). When the chain is full the
 * second-outermost links are kept and the new one replaces the outermost. */
int err_wrap(struct err *e, int code, const char *fmt, ...) __printf(3, 4);

/* err_set() for a system call that just failed with @code: the text is "<what>: <description of the errno>". */
int err_sys(struct err *e, int code, const char *fmt, ...) __printf(3, 4);

unsigned err_count(const struct err *e);
/* Link @i, 0 = outermost; "" beyond the end. */
const char *err_text(const struct err *e, unsigned i);
/* Code of link @i, 0 beyond the end. */
int err_code(const struct err *e, unsigned i);

/* "outer: inner: root" into @buf, always terminated. Returns the length without the terminator. */
size_t err_join(const struct err *e, char *buf, size_t cap);

/* The block that ends a run with status 1 on stderr, terminated; returns its length. */
size_t err_exit_block(const struct err *e, char *buf, size_t cap);

#endif
