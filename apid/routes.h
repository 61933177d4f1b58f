/* SPDX-License-Identifier: ISC */
/*
 * The REST front end: one table says for every documented endpoint which method and body it takes, how its action is
 * called in error messages, and who serves it.
 */
#ifndef APID_ROUTES_H
#define APID_ROUTES_H

#include "apid/app.h"
#include "apid/conn.h"
#include "apid/http.h"

/* Serve a request. */
void routes_handle(struct app *a, struct exchange *x);
/* The answer to @x is the result of a predecessor's command, if that @arrived. */
void routes_adopt(struct app *a, struct exchange *x, unsigned route, bool arrived);

/* The status of a refused action: only the link right below the action's label counts. Pure. */
unsigned routes_status(int code);

enum route_verdict {
	ROUTE_OK,
	ROUTE_NOT_FOUND,
	ROUTE_BAD_REQUEST,
};
/* Find the route of a request. Pure. *@index is valid with ROUTE_OK only. */
enum route_verdict routes_find(enum http_verb verb, const char *target, size_t body_len, unsigned *index);

/* For tests: the table as text. */
unsigned routes_count(void);
const char *routes_name(unsigned index);
enum http_verb routes_verb(unsigned index);

#endif
