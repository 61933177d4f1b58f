/* SPDX-License-Identifier: ISC */
/*
 * HTTP/1.x requests out of a byte stream: pure, no descriptors, no clock. One struct http_in reads one request; what
 * follows it in the stream stays with the caller.
 *
 * The library (http-parser) reads header lines, lengths and chunks. Debian builds it without its strict mode, so
 * everything in which two readers of the same bytes could disagree about where a request ends is checked here first:
 * the request line, bare CR or LF, folded lines, blanks before a colon, the line ends between chunks.
 */
#ifndef APID_HTTP_H
#define APID_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

enum {
	HTTP_HEAD_MAX = 16384, /* request line and header lines */
	HTTP_BODY_MAX = 4194304,
	HTTP_BODY_UNKNOWN = HTTP_BODY_MAX + 1, /* http_in_announced() of a chunked body */
};

enum http_verb { HTTP_VERB_GET, HTTP_VERB_PUT, HTTP_VERB_PATCH, HTTP_VERB_DELETE };

enum http_step {
	HTTP_IN_MORE, /* took everything, waits for more */
	HTTP_IN_HEAD, /* the head is complete and a body follows: said once, go on feeding */
	HTTP_IN_DONE, /* the request is complete */
	HTTP_IN_BAD,  /* where this request ends is not known: answer http_in_error(), then close */
};

struct http_in;

struct http_in *http_in_new(void); /* NULL when out of memory */
void http_in_free(struct http_in *h);

/* Read on. *@used says how many of the @len bytes belong to this request; after HTTP_IN_DONE and HTTP_IN_BAD no further call
 * is allowed. Empty lines and a lone chunk terminator in front of a request are swallowed (curl sends the latter long
 * after the answer to a bodyless chunked request). */
enum http_step http_in_feed(struct http_in *h, const void *p, size_t len, size_t *used);

/* No byte of a request was seen yet (swallowed ones do not count): the connection is idle. */
bool http_in_is_empty(const struct http_in *h);

/* What is wrong, in a few words; NULL when nothing is. After HTTP_IN_DONE it may be set as well: the request cannot be
 * served (method, version, target), but its end is known, so the connection goes on. */
const char *http_in_error(const struct http_in *h);

/* Valid from HTTP_IN_HEAD or HTTP_IN_DONE on, as long as @h lives. */
enum http_verb http_in_verb(const struct http_in *h);
const char *http_in_target(const struct http_in *h); /* origin form, terminated */
unsigned http_in_minor(const struct http_in *h);     /* of HTTP/1.minor */
bool http_in_wants_close(const struct http_in *h);
bool http_in_wants_continue(const struct http_in *h);
size_t http_in_announced(const struct http_in *h); /* body bytes to come, or HTTP_BODY_UNKNOWN */

/* Valid after HTTP_IN_DONE. */
const uint8_t *http_in_body(const struct http_in *h, size_t *len);

/* Pure helpers, for tests. */
bool http_encoding_allows_identity(const char *value);
bool http_list_has(const char *value, const char *token); /* comma-separated, case-insensitive */

#endif
