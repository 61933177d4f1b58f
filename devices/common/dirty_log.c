/* SPDX-License-Identifier: ISC */
#include "devices/common/dirty_log.h"

#include "common/ovf.h"
#include "proto/vhost_user.h"

void dirty_log_mark(struct dirty_log *log, uint64_t gpa, uint64_t len)
{
	uint64_t last;

	if (!dirty_log_is_on(log) || log->map == NULL || len == 0 || ovf_add_u64(gpa, len - 1, &last) < 0)
		return;
	for (uint64_t page = gpa / VHOST_USER_LOG_PAGE; page <= last / VHOST_USER_LOG_PAGE; page++) {
		if (page / 8 >= log->bytes)
			return;
		/* The data is written before its mark is set: a reader that fetches the mark and then the page sees both,
		 * or finds the mark again. */
		(void)__atomic_fetch_or(&log->map[page / 8], (uint8_t)(1u << (page % 8)), __ATOMIC_RELEASE);
	}
}

void dirty_log_mark_iov(struct dirty_log *log, const struct gmem *gm, const struct iovec *iov)
{
	uint64_t gpa;

	if (dirty_log_is_on(log) && gmem_gpa_of(gm, iov->iov_base, &gpa) == 0)
		dirty_log_mark(log, gpa, iov->iov_len);
}
