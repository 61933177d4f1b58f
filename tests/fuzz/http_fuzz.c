/* SPDX-License-Identifier: ISC */
/*
 * A client's byte stream. It is read twice: whole, and in pieces whose sizes the input chooses. Both must see the same
 * requests, end at the same places and come to the same verdict; each request goes through the router.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "apid/http.h"
#include "apid/routes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(x) ((x) ? (void)0 : abort())

enum { REQUESTS_MAX = 64 };

struct seen {
	enum http_step last;
	size_t end;
	uint64_t what; /* hash of target, verb, body */
	bool refused;
};

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ b[i]) * UINT64_C(1099511628211);
	return h;
}

static uint64_t describe(const struct http_in *h)
{
	enum http_verb verb = http_in_verb(h);
	size_t len = 0;
	const uint8_t *body = http_in_body(h, &len);
	uint64_t v = mix(UINT64_C(14695981039346656037), http_in_target(h), strlen(http_in_target(h)));

	CHECK(len <= HTTP_BODY_MAX);
	CHECK(http_in_announced(h) == len || http_in_announced(h) == HTTP_BODY_UNKNOWN);
	if (http_in_error(h) == NULL) {
		unsigned index = 9999;

		CHECK(http_in_target(h)[0] == '/');
		CHECK(routes_find(verb, http_in_target(h), len, &index) != ROUTE_OK || index < routes_count());
	}
	v = mix(v, &verb, sizeof(verb));
	v = mix(v, &(uint8_t){ http_in_wants_close(h) }, 1);
	return len > 0 ? mix(v, body, len) : v;
}

/* One request from @p; pieces from @cuts. */
static struct seen read_one(const uint8_t *p, size_t len, const uint8_t *cuts, size_t n_cuts)
{
	struct http_in *h = http_in_new();
	struct seen s = { .last = HTTP_IN_MORE };
	unsigned heads = 0;

	CHECK(h != NULL);
	for (size_t i = 0; s.end < len && s.last != HTTP_IN_DONE && s.last != HTTP_IN_BAD; i++) {
		size_t n = len - s.end, used = 0;

		if (n_cuts > 0 && n > cuts[i % n_cuts] % 32U + 1U)
			n = cuts[i % n_cuts] % 32U + 1U;
		/* from a block of exactly that size, so that no byte beyond is looked at */
		uint8_t *piece = malloc(n);
		CHECK(piece != NULL);
		memcpy(piece, p + s.end, n);
		s.last = http_in_feed(h, piece, n, &used);
		free(piece);
		CHECK(used <= n && (used == n || s.last != HTTP_IN_MORE));
		heads += s.last == HTTP_IN_HEAD;
		s.end += used;
	}
	CHECK(heads <= 1);
	CHECK(s.last != HTTP_IN_BAD || http_in_error(h) != NULL);
	if (s.last == HTTP_IN_DONE)
		s.what = describe(h);
	if (s.last == HTTP_IN_HEAD)
		s.last = HTTP_IN_MORE;
	s.refused = http_in_error(h) != NULL;
	http_in_free(h);
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *cuts = data;
	size_t n_cuts = size < 4 ? size : 4;

	data += n_cuts;
	size -= n_cuts;
	for (unsigned i = 0; i < REQUESTS_MAX && size > 0; i++) {
		struct seen whole = read_one(data, size, NULL, 0), cut = read_one(data, size, cuts, n_cuts);

		CHECK(whole.last == cut.last);
		if (whole.last != HTTP_IN_DONE)
			return 0;
		CHECK(whole.end == cut.end && whole.what == cut.what && whole.refused == cut.refused);
		CHECK(whole.end > 0);
		data += whole.end;
		size -= whole.end;
	}
	return 0;
}
