/* SPDX-License-Identifier: ISC */
/*
 * How it ends.
 *
 *	in order	vmmd has stopped the VM, answered apid and says END: consoles drain and close (terminals get their
 *			settings back), the API socket goes, apid flushes the log and its connections, all children are
 *			killed, END_OK; vmmd exits with the status, and its end is ours
 *	failed start	the reason is logged, apid flushes, the text goes to stderr, vmmd is told to quit
 *	vmmd died	everything is killed at once, terminals get their settings back
 *	monitor died	the kernel's part: parent-death signals, ends of channels; cloister-console restores the terminal
 */
#include "jail/monitor_dev.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/compat_linux.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/str.h"
#include "jail/monitor_ops.h"

enum {
	DRAIN_MS = 1000,
	FLUSH_MS = 1000,
	TEXT_TIMEOUT_MS = 2000,
};

static void kill_children(struct monitor *mon)
{
	monitor_apid_kill(mon);
	dev_kill_all(mon);
	for (size_t i = 0; i < MON_CONSOLES; i++)
		con_kill(&mon->consoles[i]);
}

/* Last step of the orderly ends. Nothing of the VM but vmmd and this process is left afterwards. */
static void finish(struct monitor *mon)
{
	struct msg_mon_quit quit = { .status = mon->status };

	if (mon->quitting)
		(void)fd_write_all(STDERR_FILENO, mon->quit_text, strlen(mon->quit_text), TEXT_TIMEOUT_MS);
	kill_children(mon);
	if (mon->quitting)
		(void)link_send(&mon->vmmd, MSG_MON_QUIT, 0, &desc_msg_mon_quit, &quit, NULL, 0);
	else
		(void)link_send(&mon->vmmd, MSG_MON_END_OK, 0, NULL, NULL, NULL, 0);
	mon->flush_asked = false;
	mon->finished = true;
}

static void on_end_timer(evutil_socket_t fd, short what, void *arg)
{
	struct monitor *mon = arg;

	(void)fd;
	(void)what;
	/* Believed after one more look. */
	if (link_is_open(&mon->apid_link))
		link_drain(&mon->apid_link);
	if (mon->flush_asked)
		finish(mon);
}

static void ask_flush(struct monitor *mon)
{
	mon->flush_asked = true;
	if (mon->on_end_timer == NULL)
		mon->on_end_timer = event_new(mon->base, -1, 0, on_end_timer, mon);
	if (mon->apid.pid <= 0 || mon->on_end_timer == NULL ||
	    link_send(&mon->apid_link, MSG_APID_FLUSH, 0, NULL, NULL, NULL, 0) < 0) {
		finish(mon);
		return;
	}
	monitor_after(mon->on_end_timer, FLUSH_MS);
}

int op_flushed(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct monitor *mon = ctx;

	(void)msg;
	(void)m;
	(void)e;
	if (mon->flush_asked)
		finish(mon);
	return 0;
}

void end_apid_gone(struct monitor *mon)
{
	if (mon->flush_asked)
		finish(mon);
}

/* --- in order ---------------------------------------------------------------------------------------------------- */

static bool parts_closed(const struct monitor *mon)
{
	if (!dev_all_closed(mon))
		return false;
	for (size_t i = 0; i < MON_CONSOLES; i++)
		if (mon->consoles[i].state != CON_CLOSED)
			return false;
	return true;
}

static void close_rest(struct monitor *mon)
{
	mon->rest_closed = true;
	api_socket_close(&mon->api, mon->status == 0 && !mon->quitting);
	ask_flush(mon);
}

static void begin_end(struct monitor *mon)
{
	mon->phase = MON_ENDING;
	vm_release(mon);
	dev_release_all(mon, DRAIN_MS);
	for (size_t i = 0; i < MON_CONSOLES; i++)
		con_shut(&mon->consoles[i], DRAIN_MS);
	end_part_closed(mon);
}

/* Comes once for each of them. */
void end_part_closed(struct monitor *mon)
{
	if (mon->phase != MON_ENDING || mon->rest_closed || !parts_closed(mon))
		return;
	close_rest(mon);
}

int op_vmm_end(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_vmm_end *end = msg;
	struct monitor *mon = ctx;

	(void)m;
	(void)e;
	if (mon->phase == MON_ENDING)
		return 0;
	mon->status = end->status;
	begin_end(mon);
	return 0;
}

/* --- failed start ------------------------------------------------------------------------------------------------ */

void end_quit(struct monitor *mon, uint8_t status, const struct err *e)
{
	char text[LOG_MSG_MAX];

	if (mon->phase == MON_ENDING)
		return;
	(void)err_join(e, text, sizeof(text));
	log_error("%s", text);
	(void)err_exit_block(e, mon->quit_text, sizeof(mon->quit_text));
	mon->status = status;
	mon->quitting = true;
	begin_end(mon);
}

/* --- death of vmmd ----------------------------------------------------------------------------------------------- */

/* It is our parent, so no wait tells how it died; newer kernels say it by the pidfd.
 * #syscalls monitor: ioctl(ANY: PIDFD_GET_INFO)
 */
static void report_death(struct monitor *mon)
{
	struct compat_pidfd_info info = { .mask = COMPAT_PIDFD_INFO_EXIT };
	double seconds = (double)(clock_mono_ns() - mon->start.start_mono_ns) / 1e9;
	char how[80] = "died", line[256];

	if (ioctl(mon->vmmd_pidfd, COMPAT_PIDFD_GET_INFO, &info) == 0 && (info.mask & COMPAT_PIDFD_INFO_EXIT) != 0 &&
	    WIFSIGNALED(info.exit_code))
		(void)str_fmt(how, sizeof(how), "was killed by signal %d (%s)", WTERMSIG(info.exit_code),
			      strsignal(WTERMSIG(info.exit_code)));
	(void)str_fmt(line, sizeof(line),
		      "cloud-hypervisor: %10.6fs: <monitor> ERROR:%s:%d -- the process of the VM %s\r\n", seconds,
		      __FILE__, __LINE__, how);
	/* apid, which would log it, is dead by now. A reader that is behind must not hold us up. */
	if (mon->log_out >= 0 && fd_wait(mon->log_out, POLLOUT, 0) == 1)
		(void)fd_write_all(mon->log_out, line, strlen(line), 0);
}

void end_vmmd_gone(struct monitor *mon)
{
	bool in_order = mon->phase == MON_ENDING;

	kill_children(mon);
	if (!in_order)
		report_death(mon);
	monitor_leave(mon);
}
