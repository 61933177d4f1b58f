/* SPDX-License-Identifier: ISC */
/*
 * A request passes three phases: its head is collected until the empty line, judged as a whole, then the body runs
 * through the library as it comes.
 *
 * The request line is ours alone, the library gets a fixed one instead: so a bad method or version leaves the length
 * of the request known, and the connection usable after the error (RFC 9112 2.2, 6.3).
 */
#include "apid/http.h"

#include <errno.h>
#include <http_parser.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/buf.h"
#include "common/str.h"

enum phase { PHASE_HEAD, PHASE_BODY, PHASE_END };

struct text {
	const char *p;
	size_t len;
};

struct http_in {
	enum phase phase;
	struct wbuf head; /* terminated once complete */
	size_t scanned;   /* bytes of head in which no end was found */
	bool line_ok;     /* the request line was looked at */
	const char *error;

	enum http_verb verb;
	bool has_target;
	size_t target_at; /* in head */
	unsigned minor;
	bool wants_close, wants_continue, chunked;
	size_t announced;

	http_parser parser;
	struct text name; /* of the header line being read */
	bool stopped;     /* a callback asked to look at the line end that was just read */
	bool in_size_line;
	bool complete;
	uint8_t last[2]; /* the last two bytes taken of the body */
	struct wbuf body;
};

static const char fixed_line[] = "PUT / HTTP/1.1\r\n";
static const char lone_terminator[] = "0\r\n\r\n";

static enum http_step bad(struct http_in *h, const char *why)
{
	h->error = why;
	h->phase = PHASE_END;
	return HTTP_IN_BAD;
}

struct http_in *http_in_new(void)
{
	struct http_in *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return NULL;
	wbuf_init(&h->head, HTTP_HEAD_MAX + 1);
	wbuf_init(&h->body, HTTP_BODY_MAX);
	http_parser_init(&h->parser, HTTP_REQUEST);
	h->parser.data = h;
	return h;
}

void http_in_free(struct http_in *h)
{
	if (h == NULL)
		return;
	wbuf_fini(&h->head);
	wbuf_fini(&h->body);
	free(h);
}

/* --- request line --------------------------------------------------------------------------------------------- */

static bool text_is(struct text t, const char *s)
{
	return t.len == strlen(s) && memcmp(t.p, s, t.len) == 0;
}

static bool verb_from(struct text t, enum http_verb *out)
{
	static const struct {
		const char *name;
		enum http_verb verb;
	} verbs[] = {
		{ "GET", HTTP_VERB_GET },
		{ "PUT", HTTP_VERB_PUT },
		{ "PATCH", HTTP_VERB_PATCH },
		{ "DELETE", HTTP_VERB_DELETE },
	};

	for (size_t i = 0; i < nitems(verbs); i++) {
		if (text_is(t, verbs[i].name)) {
			*out = verbs[i].verb;
			return true;
		}
	}
	return false;
}

/* Absolute form loses its host. NULL when it is neither form. */
static const char *target_from(struct text t)
{
	static const char scheme[] = "http://";

	if (t.len > 0 && t.p[0] == '/')
		return t.p;
	if (t.len < sizeof(scheme) - 1 || strncasecmp(t.p, scheme, sizeof(scheme) - 1) != 0)
		return NULL;
	return memchr(t.p + sizeof(scheme) - 1, '/', t.len - (sizeof(scheme) - 1));
}

static bool is_plain(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((uint8_t)p[i] <= 0x20 || p[i] == 0x7f)
			return false;
	}
	return true;
}

/* Look at the request line, @len bytes at the start of the head without its line end. False: not even three words,
 * so nothing is known about what follows. Other defects are only noted. */
static bool read_request_line(struct http_in *h, size_t len)
{
	char *line = (char *)h->head.p;
	const char *sp1 = memchr(line, ' ', len);
	const char *sp2 = sp1 == NULL ? NULL : memchr(sp1 + 1, ' ', len - (size_t)(sp1 + 1 - line));

	if (sp2 == NULL)
		return false;
	struct text method = { line, (size_t)(sp1 - line) };
	struct text target = { sp1 + 1, (size_t)(sp2 - sp1 - 1) };
	struct text version = { sp2 + 1, len - (size_t)(sp2 + 1 - line) };
	if (!is_plain(method.p, method.len) || !is_plain(target.p, target.len) || !is_plain(version.p, version.len) ||
	    method.len == 0 || target.len == 0 || version.len == 0)
		return false;
	h->minor = text_is(version, "HTTP/1.0") ? 0 : 1;
	if (!text_is(version, "HTTP/1.0") && !text_is(version, "HTTP/1.1"))
		h->error = "Unsupported HTTP version.";
	if (!str_is_utf8(target.p, target.len))
		h->error = "Invalid URI: not UTF-8.";
	const char *path = target_from(target);
	if (path == NULL)
		h->error = "Invalid URI: neither a path nor an http:// address.";
	h->has_target = path != NULL;
	h->target_at = path != NULL ? (size_t)(path - line) : 0;
	if (!verb_from(method, &h->verb))
		h->error = "Unsupported HTTP method.";
	line[sp2 - line] = '\0'; /* ends the target */
	return true;
}

/* --- header lines --------------------------------------------------------------------------------------------- */

/* Next comma-separated element without its surrounding blanks. False at the end. */
static bool list_next(const char **p, struct text *out)
{
	const char *s = *p;

	if (s == NULL)
		return false;
	const char *comma = strchr(s, ',');
	size_t len = comma == NULL ? strlen(s) : (size_t)(comma - s);
	*p = comma == NULL ? NULL : comma + 1;
	while (len > 0 && (*s == ' ' || *s == '\t')) {
		s++;
		len--;
	}
	while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
		len--;
	*out = (struct text){ s, len };
	return true;
}

bool http_list_has(const char *value, const char *token)
{
	struct text t;

	while (list_next(&value, &t)) {
		if (t.len == strlen(token) && strncasecmp(t.p, token, t.len) == 0)
			return true;
	}
	return false;
}

/* "name ; q=0.000" counts as refused. */
static bool is_refused(struct text t, size_t name_len)
{
	size_t i = name_len;

	while (i < t.len && (t.p[i] == ' ' || t.p[i] == '\t' || t.p[i] == ';'))
		i++;
	if (t.len - i < 3 || (t.p[i] != 'q' && t.p[i] != 'Q') || t.p[i + 1] != '=' || t.p[i + 2] != '0')
		return false;
	for (i += 3; i < t.len; i++) {
		if (t.p[i] != '.' && t.p[i] != '0')
			return false;
	}
	return true;
}

bool http_encoding_allows_identity(const char *value)
{
	bool identity = false, star_refused = false;
	struct text t;

	if (value[strspn(value, " \t")] == '\0')
		return false;
	while (list_next(&value, &t)) {
		size_t name = 0;

		while (name < t.len && strchr(" \t;", t.p[name]) == NULL)
			name++;
		bool refused = is_refused(t, name);
		if (name == strlen("identity") && strncasecmp(t.p, "identity", name) == 0) {
			if (refused)
				return false;
			identity = true;
		} else if (name == 1 && t.p[0] == '*' && refused) {
			star_refused = true;
		}
	}
	return identity || !star_refused;
}

static bool name_is(struct text name, const char *want)
{
	return name.len == strlen(want) && strncasecmp(name.p, want, name.len) == 0;
}

/* One header line; @value is terminated. NULL or what is wrong with it. */
static const char *read_header(struct http_in *h, struct text name, const char *value)
{
	if (!str_is_utf8(value, strlen(value)))
		return "Invalid header: value is not UTF-8.";
	if (name_is(name, "Transfer-Encoding")) {
		if (h->chunked || strcasecmp(value, "chunked") != 0)
			return "Unsupported Transfer-Encoding.";
		h->chunked = true;
	} else if (name_is(name, "Connection")) {
		h->wants_close |= http_list_has(value, "close");
	} else if (name_is(name, "Expect")) {
		h->wants_continue |= strcasecmp(value, "100-continue") == 0;
	} else if (name_is(name, "Accept-Encoding") && !http_encoding_allows_identity(value)) {
		return "Invalid header: Accept-Encoding forbids identity.";
	}
	return NULL;
}

static int on_header_field(http_parser *p, const char *at, size_t len)
{
	struct http_in *h = p->data;

	if (h->phase == PHASE_BODY) {
		h->error = "Trailers after a chunked body are not supported.";
		return -1;
	}
	h->name = (struct text){ at, len };
	return 0;
}

static int on_header_value(http_parser *p, const char *at, size_t len)
{
	struct http_in *h = p->data;
	char *value = (char *)h->head.p + (at - (const char *)h->head.p);
	const char *wrong;

	while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
		len--;
	char after = value[len];
	value[len] = '\0'; /* for the moment: the library still has to see the line end */
	wrong = read_header(h, h->name, value);
	value[len] = after;
	if (wrong == NULL)
		return 0;
	h->error = wrong;
	return -1;
}

static int on_headers_complete(http_parser *p)
{
	struct http_in *h = p->data;

	p->upgrade = 0; /* we never switch protocols: what follows is a body or the next request */
	h->announced = h->chunked ? HTTP_BODY_UNKNOWN : 0;
	if ((p->flags & F_CONTENTLENGTH) == 0)
		return 0;
	if (p->content_length > HTTP_BODY_MAX) {
		h->error = "Invalid content length: more than 4194304 bytes.";
		return -1;
	}
	h->announced = (size_t)p->content_length;
	return 0;
}

/* --- body ----------------------------------------------------------------------------------------------------- */

static int on_body(http_parser *p, const char *at, size_t len)
{
	struct http_in *h = p->data;

	if (wbuf_put(&h->body, at, len) == 0)
		return 0;
	h->error = h->body.error == -ENOMEM ? "Out of memory." : "Body larger than 4194304 bytes.";
	return -1;
}

static int stop(struct http_in *h)
{
	h->stopped = true;
	http_parser_pause(&h->parser, 1);
	return 0;
}

static int on_chunk_header(http_parser *p)
{
	return stop(p->data);
}

static int on_chunk_complete(http_parser *p)
{
	/* after the last chunk the library calls in the middle of the line end */
	return (p->flags & F_TRAILING) != 0 ? 0 : stop(p->data);
}

static int on_message_complete(http_parser *p)
{
	struct http_in *h = p->data;

	h->complete = true;
	return stop(h);
}

static const http_parser_settings callbacks = {
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
	.on_chunk_header = on_chunk_header,
	.on_chunk_complete = on_chunk_complete,
};

/* The line that @p[0..n) belongs to must end in CR LF where the library stopped and hold no other line feed. */
static bool chunk_line_ok(struct http_in *h, const uint8_t *p, size_t n)
{
	for (size_t i = n > 2 ? n - 2 : 0; i < n; i++) {
		h->last[0] = h->last[1];
		h->last[1] = p[i];
	}
	size_t inner = h->stopped && n > 0 ? n - 1 : n;
	if (h->in_size_line && memchr(p, '\n', inner) != NULL)
		return false;
	return !h->stopped || (h->last[0] == '\r' && h->last[1] == '\n');
}

/* One run of the library, up to a stop or the end of the bytes. Returns bytes taken, or 0 with h->error set. */
static size_t run_library(struct http_in *h, const uint8_t *p, size_t len)
{
	http_parser_pause(&h->parser, 0);
	h->stopped = false;
	size_t n = http_parser_execute(&h->parser, &callbacks, (const char *)p, len);
	enum http_errno no = HTTP_PARSER_ERRNO(&h->parser);

	if (no != HPE_OK && no != HPE_PAUSED) {
		if (h->error == NULL)
			h->error = http_errno_description(no);
		return 0;
	}
	if (!h->chunked || h->phase != PHASE_BODY)
		return n;
	if (!chunk_line_ok(h, p, n)) {
		h->error = "Invalid chunk.";
		return 0;
	}
	if (h->stopped)
		h->in_size_line = !h->in_size_line;
	return n;
}

static enum http_step feed_body(struct http_in *h, const uint8_t *p, size_t len, size_t *used)
{
	const char *line_error = h->error;

	h->error = NULL;
	while (*used < len && !h->complete) {
		size_t n = run_library(h, p + *used, len - *used);

		if (h->error != NULL)
			return bad(h, h->error);
		*used += n;
	}
	h->error = line_error;
	if (!h->complete)
		return HTTP_IN_MORE;
	h->phase = PHASE_END;
	return HTTP_IN_DONE;
}

/* --- head ----------------------------------------------------------------------------------------------------- */

/* Every line ends in CR LF and nothing else does; no folded line; a name is directly followed by its colon. */
static const char *check_lines(const uint8_t *p, size_t len)
{
	bool at_start = true, in_name = true;

	for (size_t i = 0; i < len; i++) {
		if (p[i] == '\r' && i + 1 < len && p[i + 1] == '\n') {
			at_start = in_name = true;
			i++;
			continue;
		}
		if ((p[i] < 0x20 && p[i] != '\t') || p[i] == 0x7f)
			return "Invalid header: control character or bare line end.";
		if (in_name && (p[i] == ' ' || p[i] == '\t'))
			return at_start ? "Invalid header: folded line." : "Invalid header: blank in its name.";
		if (p[i] == ':')
			in_name = false;
		at_start = false;
	}
	return NULL;
}

/* The head is complete: @line_len bytes of request line, then header lines up to and with the empty one. */
static enum http_step judge_head(struct http_in *h, size_t line_len)
{
	const char *line_error = h->error;
	const uint8_t *lines = h->head.p + line_len + 2;
	size_t len = h->head.len - line_len - 2;

	h->error = check_lines(lines, len);
	if (h->error != NULL)
		return bad(h, h->error);
	(void)run_library(h, (const uint8_t *)fixed_line, sizeof(fixed_line) - 1);
	if (h->error == NULL)
		(void)run_library(h, lines, len);
	if (h->error != NULL)
		return bad(h, h->error);
	h->error = line_error;
	h->phase = h->complete ? PHASE_END : PHASE_BODY;
	h->in_size_line = h->chunked;
	return h->complete ? HTTP_IN_DONE : HTTP_IN_HEAD;
}

/* Empty lines and a lone chunk terminator in front. */
static void swallow_front(struct http_in *h)
{
	const uint8_t *p = h->head.p;
	size_t len = h->head.len, n = 0;

	for (;;) {
		if (len - n >= 2 && memcmp(p + n, "\r\n", 2) == 0)
			n += 2;
		else if (len - n >= 5 && memcmp(p + n, lone_terminator, 5) == 0)
			n += 5;
		else
			break;
	}
	if (n == 0)
		return;
	memmove(h->head.p, h->head.p + n, len - n);
	h->head.len -= n;
	h->scanned = 0;
}

/* Whether more bytes may still make what is there a lone terminator. */
static bool may_be_terminator(const struct http_in *h)
{
	return h->head.len < 5 && memcmp(h->head.p, lone_terminator, h->head.len) == 0;
}

/* Take up to @len bytes into the head. Returns those beyond its end, *@end set when it is there. */
static size_t head_take(struct http_in *h, const uint8_t *p, size_t len, bool *end)
{
	if (wbuf_put(&h->head, p, len) < 0)
		return 0;
	swallow_front(h);
	size_t from = h->scanned > 3 ? h->scanned - 3 : 0;
	const uint8_t *hit = memmem(h->head.p + from, h->head.len - from, "\r\n\r\n", 4);
	h->scanned = h->head.len;
	*end = hit != NULL;
	if (hit == NULL)
		return 0;
	size_t over = h->head.len - (size_t)(hit + 4 - h->head.p);
	h->head.len -= over;
	return over;
}

static enum http_step feed_head(struct http_in *h, const uint8_t *p, size_t len, size_t *used)
{
	size_t room = HTTP_HEAD_MAX - h->head.len, take = len < room ? len : room;
	bool end = false;

	*used += take - head_take(h, p, take, &end);
	if (h->head.error != 0)
		return bad(h, "Out of memory.");
	const uint8_t *eol = memmem(h->head.p, h->head.len, "\r\n", 2);
	size_t line_len = eol == NULL ? 0 : (size_t)(eol - h->head.p);
	if (eol != NULL && !h->line_ok && !may_be_terminator(h)) {
		if (!read_request_line(h, line_len))
			return bad(h, "Invalid request line.");
		h->line_ok = true;
	}
	if (end)
		return judge_head(h, line_len);
	if (h->head.len == HTTP_HEAD_MAX)
		return bad(h, "Request head larger than 16384 bytes.");
	return HTTP_IN_MORE;
}

enum http_step http_in_feed(struct http_in *h, const void *p, size_t len, size_t *used)
{
	const uint8_t *bytes = p;
	enum http_step step = HTTP_IN_MORE;

	*used = 0;
	while (*used < len && step == HTTP_IN_MORE) { /* once more where swallowing made room in a full head */
		if (h->phase == PHASE_HEAD)
			step = feed_head(h, bytes + *used, len - *used, used);
		else
			step = feed_body(h, bytes, len, used);
	}
	return step;
}

/* --- what was read -------------------------------------------------------------------------------------------- */

bool http_in_is_empty(const struct http_in *h)
{
	return h->phase == PHASE_HEAD && h->head.len == 0;
}

const char *http_in_error(const struct http_in *h)
{
	return h->error;
}

enum http_verb http_in_verb(const struct http_in *h)
{
	return h->verb;
}

const char *http_in_target(const struct http_in *h)
{
	return h->has_target ? (const char *)h->head.p + h->target_at : "";
}

unsigned http_in_minor(const struct http_in *h)
{
	return h->minor;
}

bool http_in_wants_close(const struct http_in *h)
{
	return h->wants_close;
}

bool http_in_wants_continue(const struct http_in *h)
{
	return h->wants_continue && h->announced > 0;
}

size_t http_in_announced(const struct http_in *h)
{
	return h->announced;
}

const uint8_t *http_in_body(const struct http_in *h, size_t *len)
{
	*len = h->body.len;
	return h->body.p;
}
