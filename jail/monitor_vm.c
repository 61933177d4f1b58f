/* SPDX-License-Identifier: ISC */
/*
 * What a boot needs: opened or made here, one request after the other, and handed to vmmd in one message. The monitor
 * maps none of it. It keeps the guest's memory until the VM has stopped: a restarted helper may need it again.
 *
 * Lifelines: one pipe for each vCPU thread. Only that thread holds the writing end, so the first end of file tells of
 * vmmd's death long before its gigabytes are given back.
 */
#include "jail/monitor_dev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/compat_linux.h"
#include "common/fd.h"
#include "common/log.h"
#include "jail/jail_cgroup.h"
#include "jail/monitor_ops.h"
#include "jail/open_policy.h"

enum {
	DRAIN_MS = 1000,       /* a console's last output */
	LIFELINES_FIRST = 200, /* beside the other descriptors of MON_BOOT_FDS */
	PAGE = 4096,
};
#define MEMORY_MAX (UINT64_C(1) << 52)

/* --- files and memory -------------------------------------------------------------------------------------------- */

int op_open_file(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_open_file *o = msg;
	struct monitor *mon = ctx;
	bool kernel = o->kind == MON_FILE_KERNEL;
	struct msg_mon_open_file_result res = { 0 };
	int fd = open_policy_image(o->path, &res.size, e);

	if (fd < 0)
		return err_wrap(e, fd, kernel ? "kernel" : "initramfs");
	if (kernel) {
		fd_closep(&mon->kernel_fd);
		mon->kernel_fd = fd;
		mon->kernel_size = res.size;
	} else {
		fd_closep(&mon->initramfs_fd);
		mon->initramfs_fd = fd;
		mon->initramfs_size = res.size;
	}
	return link_send(&mon->apid_link, MSG_MON_OPEN_FILE_RESULT, m->id, &desc_msg_mon_open_file_result, &res, NULL,
			 0);
}

/* Sealed: nobody who gets it can pull pages from under the others; where the kernel knows that, nothing in it can be
 * executed as a program.
 * #syscalls monitor: memfd_create ftruncate fcntl(F_ADD_SEALS)
 */
static int make_ram(uint64_t size, struct err *e)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	_cleanup_(fd_closep) int fd = memfd_create("guest-ram", flags | COMPAT_MFD_NOEXEC_SEAL);
	int r;

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("guest-ram", flags);
	if (fd < 0)
		return err_sys(e, -errno, "memfd");
	if (ftruncate(fd, (off_t)size) < 0)
		return err_sys(e, -errno, "cannot make %llu bytes of memory", (unsigned long long)size);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return err_sys(e, -errno, "sealing memory");
	r = fd;
	fd = -1;
	return r;
}

int op_make_memory(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_make_memory *a = msg;
	struct monitor *mon = ctx;

	(void)m;
	if (a->size == 0)
		return err_set(e, -EINVAL, "memory size is 0");
	if (a->size % PAGE != 0)
		return err_set(e, -EINVAL, "memory size %llu is not a multiple of the page size",
			       (unsigned long long)a->size);
	size_t i = 0;
	if (dev_next(mon, &i) != NULL)
		return err_set(e, -EBUSY, "devices have the memory that is there");
	if (a->size > MEMORY_MAX)
		return err_set(e, -EINVAL, "memory size %llu is too large", (unsigned long long)a->size);
	int fd = make_ram(a->size, e);
	if (fd < 0)
		return fd;
	fd_closep(&mon->memory_fd);
	mon->memory_fd = fd;
	mon->memory_size = a->size;
	return 0;
}

/* Unless vmmd runs with it, what was collected for a boot is given up. */
void vm_release(struct monitor *mon)
{
	fd_closep(&mon->kernel_fd);
	fd_closep(&mon->initramfs_fd);
	fd_closep(&mon->memory_fd);
	mon->handover_waits = false;
}

int op_release(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct monitor *mon = ctx;

	(void)msg;
	(void)m;
	(void)e;
	vm_release(mon);
	dev_release_all(mon, 0);
	for (size_t i = 0; i < MON_CONSOLES; i++)
		con_renew_stream(&mon->consoles[i]);
	return 0;
}

/* --- lifelines --------------------------------------------------------------------------------------------------- */

static void drop_lifeline(struct lifeline *l)
{
	if (l->on_end != NULL)
		event_free(l->on_end);
	l->on_end = NULL;
	fd_closep(&l->fd);
}

static void drop_lifelines(struct monitor *mon)
{
	for (size_t i = 0; i < mon->n_lifelines; i++)
		drop_lifeline(&mon->lifelines[i]);
	mon->n_lifelines = 0;
}

/* #syscalls monitor: read */
static void on_lifeline_end(evutil_socket_t fd, short what, void *arg)
{
	struct lifeline *l = arg;
	struct monitor *mon = l->mon;
	char byte;

	(void)what;
	if (read(fd, &byte, 1) != 0)
		return; /* nothing is ever written to it */
	/* An orderly stop is announced before the first one ends; then all of them are dropped by now. */
	link_drain(&mon->vmmd);
	if (l->fd >= 0)
		end_vmmd_gone(mon);
}

/* Add @n; their writing ends go to @out.
 * #syscalls monitor: pipe2
 */
static int add_lifelines(struct monitor *mon, unsigned n, int *out, struct err *e)
{
	for (unsigned i = 0; i < n; i++) {
		int pair[2];

		if (mon->n_lifelines == MON_LIFELINES_MAX)
			return err_set(e, -EUSERS, "too many lifelines");
		if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
			return err_sys(e, -errno, "lifeline %u", i);
		struct lifeline *l = &mon->lifelines[mon->n_lifelines++];
		*l = (struct lifeline){ .mon = mon, .fd = pair[0] };
		out[i] = pair[1];
		l->on_end = event_new(mon->base, l->fd, EV_READ, on_lifeline_end, l);
		if (l->on_end == NULL || event_add(l->on_end, NULL) < 0)
			return err_sys(e, -ENOMEM, "lifeline %u", i);
	}
	return 0;
}

static int room_for_lifelines(struct monitor *mon, struct err *e)
{
	if (mon->lifelines == NULL)
		mon->lifelines = calloc(MON_LIFELINES_MAX, sizeof(*mon->lifelines));
	return mon->lifelines == NULL ? err_sys(e, -ENOMEM, "lifelines") : 0;
}

/* A reset's new vCPU threads. Without lifelines vmmd must not start them, and a guest that hangs in the middle of a reset
 * helps nobody: the VM ends. */
int op_vmm_lifelines(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_vmm_lifelines *want = msg;
	struct msg_mon_lifelines reply = { .n = want->n };
	struct msg_mon_quit quit = { .status = 1 };
	struct monitor *mon = ctx;
	int fds[FD_PASS_MAX];

	memset(fds, -1, sizeof(fds));
	int r = room_for_lifelines(mon, e);
	if (r == 0)
		r = add_lifelines(mon, want->n, fds, e);
	if (r == 0)
		r = link_send(&mon->vmmd, MSG_MON_LIFELINES, m->id, &desc_msg_mon_lifelines, &reply, fds, want->n);
	else
		(void)link_send(&mon->vmmd, MSG_MON_QUIT, 0, &desc_msg_mon_quit, &quit, NULL, 0);
	fd_close_all(fds, FD_PASS_MAX);
	return r;
}

int op_vmm_stopping(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	(void)msg;
	(void)m;
	(void)e;
	drop_lifelines(ctx);
	return 0;
}

int op_vmm_stopped(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	struct monitor *mon = ctx;

	(void)msg;
	(void)m;
	(void)e;
	drop_lifelines(mon);
	vm_release(mon);
	dev_release_all(mon, DRAIN_MS);
	for (size_t i = 0; i < MON_CONSOLES; i++)
		con_shut(&mon->consoles[i], DRAIN_MS);
	return 0;
}

/* --- hand-over --------------------------------------------------------------------------------------------------- */

/* #syscalls monitor: openat */
static int open_kvm(struct err *e)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int r = fd < 0 ? -errno : fd;

	if (r == -ENOENT)
		(void)err_set(e, r, "is virtualization enabled in the firmware, and a kvm module loaded?");
	else if (r == -EACCES || r == -EPERM)
		(void)err_set(e, r, "the user needs access to it, usually by membership in the group \"kvm\"");
	if (r == -ENOENT || r == -EACCES || r == -EPERM)
		return err_wrap(e, r, "cannot open \"/dev/kvm\": %s", strerror(-r));
	return r < 0 ? err_sys(e, r, "cannot open \"/dev/kvm\"") : r;
}

/* Wherever the started process is by now, its helpers follow.
 * #syscalls monitor: getpid
 */
static void join_cgroup(struct monitor *mon)
{
	pid_t pids[2 + MON_CONSOLES + MON_DEVS];
	char text[LOG_MSG_MAX];
	size_t n = 0;
	struct err e;

	pids[n++] = getpid();
	if (mon->apid.pid > 0)
		pids[n++] = mon->apid.pid;
	for (size_t i = 0; i < MON_CONSOLES; i++)
		if (mon->consoles[i].helper.child.pid > 0)
			pids[n++] = mon->consoles[i].helper.child.pid;
	n += dev_pids(mon, pids + n, nitems(pids) - n);
	if (jail_cgroup_follow(mon->start.vmmd_pid, pids, n, &e) == 0)
		return;
	(void)err_join(&e, text, sizeof(text));
	log_debug("%s", text);
	monitor_note_missing(mon, "the VM", (struct jail_missing){ .perm = 1u << JAIL_LAYER_CGROUP });
}

static struct con *serial(struct monitor *mon)
{
	return &mon->consoles[CONSOLE_ID_SERIAL];
}

static bool has_stream(const struct con *con)
{
	return con_is_open(con) && con->mode != CONSOLE_MODE_NULL;
}

struct parcel {
	int kvm;
	int fds[8 + LIFELINES_FIRST];
	unsigned n;
};

static int pack(struct monitor *mon, struct msg_mon_boot_fds *m, struct parcel *p, struct err *e)
{
	struct con *con = serial(mon);
	int lifelines[LIFELINES_FIRST];
	int r;

	if (!mon->kvm_sent) {
		p->kvm = open_kvm(e);
		if (p->kvm < 0)
			return p->kvm;
		p->fds[p->n++] = p->kvm;
	}
	p->fds[p->n++] = mon->memory_fd;
	p->fds[p->n++] = mon->kernel_fd;
	if (m->has_initramfs)
		p->fds[p->n++] = mon->initramfs_fd;
	if (m->has_serial)
		p->fds[p->n++] = con->stream_vmmd;
	r = room_for_lifelines(mon, e);
	if (r < 0)
		return r;
	memset(lifelines, -1, sizeof(lifelines));
	r = add_lifelines(mon, m->n_lifelines, lifelines, e);
	for (unsigned i = 0; i < m->n_lifelines && lifelines[i] >= 0; i++)
		p->fds[p->n++] = lifelines[i];
	return r;
}

/* The rest of the vCPUs' lifelines, when they are more than one message carries. */
static int send_more_lifelines(struct monitor *mon, uint32_t n, struct err *e)
{
	while (n > 0) {
		struct msg_mon_lifelines m = { .n = n < FD_PASS_MAX ? n : FD_PASS_MAX };
		int fds[FD_PASS_MAX];

		memset(fds, -1, sizeof(fds));
		int r = add_lifelines(mon, m.n, fds, e);
		if (r == 0)
			r = link_send(&mon->vmmd, MSG_MON_LIFELINES, 0, &desc_msg_mon_lifelines, &m, fds, m.n);
		fd_close_all(fds, FD_PASS_MAX);
		if (r < 0)
			return r;
		n -= m.n;
	}
	return 0;
}

static int hand_over(struct monitor *mon, uint32_t vcpus, struct err *e)
{
	struct con *con = serial(mon);
	struct msg_mon_boot_fds m = {
		.memory_size = mon->memory_size,
		.kernel_size = mon->kernel_size,
		.initramfs_size = mon->initramfs_size,
		.has_kvm = !mon->kvm_sent,
		.has_initramfs = mon->initramfs_fd >= 0,
		.has_serial = has_stream(con),
		.n_lifelines = vcpus < LIFELINES_FIRST ? vcpus : LIFELINES_FIRST,
	};
	struct parcel p = { .kvm = -1 };

	join_cgroup(mon);
	drop_lifelines(mon); /* of an earlier hand-over that led to nothing */
	int r = pack(mon, &m, &p, e);
	if (r == 0)
		r = link_send(&mon->vmmd, MSG_MON_BOOT_FDS, 0, &desc_msg_mon_boot_fds, &m, p.fds, p.n);
	if (r == 0 && m.has_kvm)
		mon->kvm_sent = true;
	/* Only one holder of each: lifelines and the stream's end tell of vmmd's death by closing. */
	unsigned first = 2u + m.has_kvm + m.has_initramfs + m.has_serial;
	for (unsigned i = first; i < p.n; i++)
		(void)close(p.fds[i]);
	fd_closep(&p.kvm);
	if (r < 0)
		return err_wrap(e, r, "handing over to the virtual machine process");
	if (m.has_serial)
		fd_closep(&con->stream_vmmd);
	r = dev_hand_over(mon, e);
	return r < 0 ? r : send_more_lifelines(mon, vcpus - m.n_lifelines, e);
}

/* 1: go on, 0: wait for the console's helper, -errno. */
static int console_ready(struct monitor *mon, struct err *e)
{
	struct con *con = serial(mon);

	if (!has_stream(con))
		return 1;
	if (con->lost)
		return err_set(e, -EIO, "the process of the serial console has failed");
	if (con->stream_vmmd < 0)
		con_renew_stream(con);
	if (con->stream_vmmd < 0)
		return err_set(e, -EIO, "the serial console has no connection");
	return con_is_up(con);
}

/* The same for all helpers. */
static int helpers_ready(struct monitor *mon, struct err *e)
{
	int console = console_ready(mon, e);
	int devices = console < 0 ? console : dev_all_ready(mon, e);

	return devices < 0 ? devices : console == 1 && devices == 1;
}

int op_handover(void *ctx, const void *msg, struct chan_msg *m, struct err *e)
{
	const struct msg_mon_handover *h = msg;
	struct monitor *mon = ctx;

	if (mon->kernel_fd < 0 || mon->memory_fd < 0)
		return err_set(e, -EINVAL, "kernel and memory come before the hand-over");
	if (mon->handover_waits)
		return err_set(e, -EBUSY, "a hand-over is under way");
	int r = helpers_ready(mon, e);
	if (r < 0) {
		/* The code is a helper's, of whatever failed there: returned, it could look like a fault of apid's. */
		monitor_answer(mon, m->id, r, e);
		return -EINPROGRESS;
	}
	mon->handover_id = m->id;
	mon->handover_vcpus = h->vcpus;
	mon->handover_waits = true;
	if (r == 1)
		vm_helper_changed(mon);
	return -EINPROGRESS;
}

static int answer_handover(struct monitor *mon, struct err *e)
{
	struct msg_mon_handover_result res;
	int r = hand_over(mon, mon->handover_vcpus, e);

	if (r < 0)
		return r;
	if (dev_details(mon, &res) < 0)
		return err_sys(e, -ENOMEM, "telling what the devices found");
	(void)link_send(&mon->apid_link, MSG_MON_HANDOVER_RESULT, mon->handover_id, &desc_msg_mon_handover_result, &res,
			NULL, 0);
	obj_fini(&desc_msg_mon_handover_result, &res);
	return 0;
}

/* Guest data flows only through helpers that are provably locked, so the hand-over waits for them. */
void vm_helper_changed(struct monitor *mon)
{
	struct err e;

	if (!mon->handover_waits)
		return;
	err_clear(&e);
	int r = helpers_ready(mon, &e);
	if (r == 0)
		return;
	mon->handover_waits = false;
	if (r == 1)
		r = answer_handover(mon, &e);
	if (r < 0)
		monitor_answer(mon, mon->handover_id, r, &e);
}
