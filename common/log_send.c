/* SPDX-License-Identifier: ISC */
#include "common/log.h"

#include <errno.h>
#include <sys/socket.h>

/* Never blocks: a reader that is behind costs records, not time.
 * #syscalls vmmd console: sendto(fd=LOG)
 * #syscalls monitor: sendto -- the monitor's end has no fixed number
 */
int log_rec_send(int sock, const struct log_rec *rec)
{
	uint8_t wire[LOG_REC_MAX];
	size_t len = log_rec_encode(rec, wire, sizeof(wire));

	return send(sock, wire, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}
