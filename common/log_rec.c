/* SPDX-License-Identifier: ISC */
/*
 * Wire form of a log record, little endian, the whole record in one datagram:
 *
 *   0  u8  version   1  u8  level    2  u8  thread length   3  u8  location length
 *   4  u16 message length            6  u16 zero
 *   8  u64 monotonic ns             16  u64 records dropped before this one
 *  24  thread, location, message, without terminators; nothing behind them
 *
 * The reader (apid) believes nothing of it: the writer is a jailed process that may have been taken over.
 */
#include "common/log.h"

#include <errno.h>
#include <string.h>

#include "common/le.h"
#include "common/str.h"

enum { LOG_WIRE_VERSION = 1, LOG_WIRE_HEADER = 24 };

_Static_assert(LOG_WIRE_HEADER + LOG_NAME_MAX + LOG_LOC_MAX + LOG_MSG_MAX <= LOG_REC_MAX, "a record always fits");
_Static_assert(LOG_NAME_MAX <= 256 && LOG_LOC_MAX <= 256, "lengths are bytes");

size_t log_rec_encode(const struct log_rec *rec, uint8_t *out, size_t cap)
{
	size_t thread = strnlen(rec->thread, sizeof(rec->thread) - 1);
	size_t loc = strnlen(rec->loc, sizeof(rec->loc) - 1);
	size_t msg = strnlen(rec->msg, sizeof(rec->msg) - 1);
	size_t len = LOG_WIRE_HEADER + thread + loc + msg;

	if (len > cap)
		return 0;
	out[0] = LOG_WIRE_VERSION;
	out[1] = rec->level;
	out[2] = (uint8_t)thread;
	out[3] = (uint8_t)loc;
	le16_put(out + 4, (uint16_t)msg);
	le16_put(out + 6, 0);
	le64_put(out + 8, rec->mono_ns);
	le64_put(out + 16, rec->dropped);
	memcpy(out + LOG_WIRE_HEADER, rec->thread, thread);
	memcpy(out + LOG_WIRE_HEADER + thread, rec->loc, loc);
	memcpy(out + LOG_WIRE_HEADER + thread + loc, rec->msg, msg);
	return len;
}

void log_clean_text(char *s, size_t len)
{
	bool utf8 = str_is_utf8(s, len);

	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)s[i];

		/* U+0080..U+009F (c2 80..9f) are control characters too, some terminals obey them */
		bool c1 = utf8 && c == 0xc2 && (uint8_t)s[i + 1] < 0xa0;
		if (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8))
			s[i] = '?';
		if (c1) {
			s[i++] = '?';
			s[i] = '?';
		}
	}
}

static void get_text(char *dst, const uint8_t *src, size_t len)
{
	memcpy(dst, src, len);
	dst[len] = '\0';
	log_clean_text(dst, len);
}

int log_rec_decode(struct log_rec *rec, const void *p, size_t len)
{
	const uint8_t *b = p;

	if (len < LOG_WIRE_HEADER || len > LOG_REC_MAX || b[0] != LOG_WIRE_VERSION || b[1] > LOG_TRACE)
		return -EBADMSG;
	size_t thread = b[2], loc = b[3], msg = le16_get(b + 4);
	if (thread >= LOG_NAME_MAX || loc >= LOG_LOC_MAX || msg >= LOG_MSG_MAX || le16_get(b + 6) != 0 ||
	    len != LOG_WIRE_HEADER + thread + loc + msg)
		return -EBADMSG;
	rec->level = b[1];
	rec->mono_ns = le64_get(b + 8);
	rec->dropped = le64_get(b + 16);
	get_text(rec->thread, b + LOG_WIRE_HEADER, thread);
	get_text(rec->loc, b + LOG_WIRE_HEADER + thread, loc);
	get_text(rec->msg, b + LOG_WIRE_HEADER + thread + loc, msg);
	return 0;
}
