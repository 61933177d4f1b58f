/* SPDX-License-Identifier: ISC */
#include "apid/reply.h"

#include "proto/codec_json.h"

/* The parser's own replies name another server: clients were written against both. */
static const char api_server[] = "Cloud Hypervisor API";
static const char parser_server[] = "Firecracker API";

const char reply_busy[] = "HTTP/1.1 503\r\n"
			  "Server: Firecracker API\r\n"
			  "Connection: close\r\n"
			  "Content-Length: 40\r\n"
			  "\r\n"
			  "{ \"error\": \"Too many open connections\" }";
const size_t reply_busy_len = sizeof(reply_busy) - 1;

static int put_head(struct wbuf *out, unsigned status, const char *server, bool close)
{
	return wbuf_printf(out, "HTTP/1.1 %u \r\nServer: %s\r\nConnection: %s\r\n", status, server,
			   close ? "close" : "keep-alive");
}

static int put_body(struct wbuf *out, const void *body, size_t len)
{
	(void)wbuf_printf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", len);
	return len == 0 ? out->error : wbuf_put(out, body, len);
}

int reply_put(struct wbuf *out, unsigned status, const void *body, size_t len, bool close)
{
	(void)put_head(out, status, api_server, close);
	return status == 204 ? wbuf_str(out, "\r\n") : put_body(out, body, len);
}

int reply_put_parse_error(struct wbuf *out, const char *reason, bool close)
{
	struct wbuf text, body;
	int r;

	wbuf_init(&text, 1024);
	wbuf_init(&body, 4096);
	(void)wbuf_printf(&text, "%s\nAll previous unanswered requests will be dropped.", reason);
	(void)wbuf_u8(&text, '\0');
	(void)wbuf_str(&body, "{ \"error\": ");
	if (text.error == 0)
		(void)json_put_string(&body, (const char *)text.p);
	r = wbuf_str(&body, " }");
	if (text.error == 0 && r == 0) {
		(void)put_head(out, 400, parser_server, close);
		r = put_body(out, body.p, body.len);
	}
	r = text.error != 0 ? text.error : r;
	wbuf_fini(&text);
	wbuf_fini(&body);
	return r;
}

int reply_put_continue(struct wbuf *out, unsigned minor)
{
	return wbuf_printf(out, "HTTP/1.%u 100 \r\nServer: %s\r\nConnection: keep-alive\r\n\r\n", minor, parser_server);
}

int reply_body_error(struct wbuf *body, const char *first, const struct err *e)
{
	(void)wbuf_str(body, "[");
	(void)json_put_string(body, first);
	for (unsigned i = 0; i < err_count(e); i++) {
		(void)wbuf_str(body, ",");
		(void)json_put_string(body, err_text(e, i));
	}
	return wbuf_str(body, "]");
}
