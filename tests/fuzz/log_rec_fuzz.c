/* SPDX-License-Identifier: ISC */
/* Log records of a taken-over process, as apid decodes them: what is accepted is clean text and encodes again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *s)
{
	if (!str_is_utf8(s, strlen(s)))
		abort();
	for (; *s != '\0'; s++)
		if ((uint8_t)*s < 0x20 || *s == 0x7f)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t wire[LOG_REC_MAX];
	struct log_rec rec;

	if (log_rec_decode(&rec, data, size) < 0)
		return 0;
	check_text(rec.thread);
	check_text(rec.loc);
	check_text(rec.msg);
	if (log_rec_encode(&rec, wire, sizeof(wire)) != size)
		abort();
	return 0;
}
