/* SPDX-License-Identifier: ISC */
/*
 * The floor of a start: floor_start SOCKET. The same processes as a real one's (started process, monitor, broker), put
 * into the same jails in the same order by the same library, which then do nothing but answer on the socket. What a
 * real start takes beyond this is Cloister's own work.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/err.h"
#include "common/fd.h"
#include "jail/jail.h"
#include "jail/jail_internal.h"
#include "jail/spawn.h"
#include "jail/uids.h"

#define REPLY "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nfloor"

/* What the real one keeps. */
#define CAP_BIT(name) (UINT64_C(1) << CAP_##name)
#define MONITOR_CAPS \
	(CAP_BIT(SYS_ADMIN) | CAP_BIT(SETUID) | CAP_BIT(SETGID) | CAP_BIT(SETPCAP) | CAP_BIT(NET_ADMIN) | \
	 CAP_BIT(SYS_CHROOT) | CAP_BIT(KILL) | CAP_BIT(CHOWN) | CAP_BIT(BPF) | CAP_BIT(DAC_OVERRIDE))

enum { FD_CHANNEL = 3, FD_EXE = 4, FD_LISTEN = 5 };

static const struct jail_limits keep = { JAIL_KEEP, JAIL_KEEP, JAIL_KEEP, JAIL_KEEP };
static char *const no_env[] = { NULL };

static void __attribute__((noreturn)) die(const char *what, const struct err *e)
{
	char text[1024] = "";

	if (e != NULL)
		(void)err_join(e, text, sizeof(text));
	(void)dprintf(STDERR_FILENO, "floor_start: %s: %s\n", what, text);
	_exit(1);
}

/* --- the broker ------------------------------------------------------------------------------------------------------- */

static void serve(int conn)
{
	char buf[2048];
	unsigned nfds;

	for (;;) {
		(void)fd_wait(conn, POLLIN, -1);
		ssize_t n = fd_recvmsg(conn, buf, sizeof(buf) - 1, NULL, 0, &nfds);

		if (n <= 0)
			break;
		buf[n] = '\0';
		if (strstr(buf, "vmm.shutdown") != NULL)
			_exit(0);
		(void)fd_sendmsg(conn, REPLY, sizeof(REPLY) - 1, NULL, 0);
	}
	(void)close(conn);
}

static void __attribute__((noreturn)) broker(void)
{
	struct jail_missing m = { 0, 0 };
	struct err e;

	err_clear(&e);
	if (jail_self(FD_CHANNEL, "floor-apid", &m, &e) < 0 || jail_lock(JAIL_APID, &keep, &m, &e) < 0)
		die("broker", &e);
	for (;;) {
		struct pollfd p = { .fd = FD_LISTEN, .events = POLLIN };

		(void)poll(&p, 1, -1);
		int conn = accept4(FD_LISTEN, NULL, NULL, SOCK_CLOEXEC);

		if (conn >= 0)
			serve(conn);
	}
}

/* --- the monitor ------------------------------------------------------------------------------------------------------ */

static int make_listener(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 128) < 0)
		die(strerror(errno), NULL);
	return fd;
}

/* "floor-monitor CHANNEL UID_BASE SOCKET" */
static void __attribute__((noreturn)) monitor(char **argv)
{
	int channel = atoi(argv[1]), base = atoi(argv[2]), pair[2], namespaces[2], shared[2] = { -1, -1 };
	int exe = open("/proc/self/exe", O_PATH | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct jail_missing m = { 0, 0 };
	char *const args[] = { (char *)(uintptr_t)"floor-apid", NULL };
	struct spawn_child child;
	unsigned n = 0;
	struct err e;
	char byte;

	err_clear(&e);
	jail_post_exec("floor-monitor");
	int listener = make_listener(argv[3]);

	jail_caps_cut_bounding(MONITOR_CAPS, &m);
	if (jail_caps_reduce(MONITOR_CAPS) < 0 || jail_misc_harden(&m, &e) < 0 ||
	    jail_seccomp_install(JAIL_MONITOR, false, &m, &e) < 0 || fd_socketpair(SOCK_SEQPACKET, pair) < 0 ||
	    fd_socketpair(SOCK_SEQPACKET, namespaces) < 0)
		die("monitor", &e);
	struct spawn_req req = {
		.role = JAIL_APID, .self_jailing = true, .exe_fd = exe, .argv = args,
		.id = base < 0 ? (uid_t)-1 : (uid_t)base + UIDS_SLOT_APID, .ns = { .net = -1, .mnt = -1 }, .ns_rx = namespaces[1],
		.null_fd = null, .fds = { pair[1], listener }, .n_fds = 2, .peer_fd = pair[0],
	};
	if (spawn_start(&req, &child, &e) < 0)
		die("spawn", &e);
	(void)close(pair[1]);
	(void)fd_wait(channel, POLLIN, -1);
	if (fd_recvmsg(channel, &byte, 1, shared, 2, &n) < 0)
		die("namespaces", NULL);
	struct spawn_ns ns = { .net = n == 2 ? shared[0] : -1, .mnt = n == 2 ? shared[1] : -1 };

	if (spawn_send_namespaces(namespaces[0], &ns) < 0)
		die("namespaces", NULL);
	/* The end of the broker is the end of all. */
	(void)fd_wait(child.pidfd, POLLIN, -1);
	_exit(0);
}

/* --- the started process ------------------------------------------------------------------------------------------------ */

static void __attribute__((noreturn)) vmmd(void)
{
	struct jail_missing m = { 0, 0 };
	unsigned n = 0;
	struct err e;
	char byte;

	err_clear(&e);
	jail_post_exec("floor_start");
	if (jail_lock(JAIL_VMMD, &keep, &m, &e) < 0)
		die("vmmd", &e);
	struct pollfd p = { .fd = FD_CHANNEL, .events = POLLIN };

	(void)poll(&p, 1, -1);
	_exit(fd_recvmsg(FD_CHANNEL, &byte, 1, NULL, 0, &n) == 0 ? 0 : 1);
}

static void become_vmmd(int channel, int exe, int base)
{
	char *const args[] = { (char *)(uintptr_t)"floor-vmmd", NULL };
	struct jail_missing m = { 0, 0 };
	enum jail_ns_mode mode = jail_ns_mode();
	uint64_t flags = jail_ns_flags(mode) | CLONE_NEWNET, ns = 0;
	struct jail_pre drop = { .role = JAIL_VMMD, .id = base < 0 ? JAIL_UID_KEEP : (uid_t)base + UIDS_SLOT_VMMD, .alive_fd = -1 };
	int shared[2] = { -1, -1 };
	struct err e;

	err_clear(&e);
	if (mode != JAIL_NS_NONE)
		ns = jail_ns_unshare(flags, &m);
	if (mode == JAIL_NS_PRIVILEGED && (ns & flags) == flags) {
		shared[0] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		shared[1] = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	}
	jail_pre_root(ns, &m);
	if (fd_sendmsg(channel, "n", 1, shared, shared[1] >= 0 ? 2 : 0) < 0)
		die("the monitor is gone", NULL);
	if (jail_pre_drop(&drop, &m, &e) < 0)
		die("jail", &e);
	(void)dup3(channel, 64, O_CLOEXEC);
	(void)dup3(exe, 65, O_CLOEXEC);
	(void)dup2(64, FD_CHANNEL);
	(void)dup3(65, FD_EXE, O_CLOEXEC);
	(void)close_range(FD_EXE + 1, ~0U, 0);
	(void)syscall(SYS_execveat, FD_EXE, "", args, no_env, AT_EMPTY_PATH);
	die("execveat", NULL);
}

static void __attribute__((noreturn)) become_monitor(int channel, int exe, int base, char *path)
{
	char number[16], uid[16];
	char *const args[] = { (char *)(uintptr_t)"floor-monitor", number, uid, path, NULL };

	(void)snprintf(number, sizeof(number), "%d", channel);
	(void)snprintf(uid, sizeof(uid), "%d", base);
	jail_pre_ignore_signals();
	(void)fcntl(channel, F_SETFD, 0);
	(void)syscall(SYS_execveat, exe, "", args, no_env, AT_EMPTY_PATH);
	die("execveat", NULL);
}

int main(int argc, char **argv)
{
	int pair[2], lock = -1, base = -1;
	struct err e;

	if (strcmp(argv[0], "floor-monitor") == 0 && argc == 4)
		monitor(argv);
	if (strcmp(argv[0], "floor-apid") == 0)
		broker();
	if (strcmp(argv[0], "floor-vmmd") == 0)
		vmmd();
	if (argc != 2)
		die("usage: floor_start SOCKET", NULL);
	err_clear(&e);
	int exe = open("/proc/self/exe", O_PATH | O_CLOEXEC);

	if (geteuid() == 0)
		base = uids_claim("/run/cloister", &lock, &e);
	if (base < 0)
		base = -1;
	if (exe < 0 || fd_socketpair(SOCK_SEQPACKET, pair) < 0)
		die("socket pair", NULL);
	pid_t pid = fork();

	if (pid == 0)
		become_monitor(pair[1], exe, base, argv[1]);
	(void)close(pair[1]);
	become_vmmd(pair[0], exe, base);
}
