/* SPDX-License-Identifier: ISC */
/*
 *	exits TID MILLISECONDS
 *
 * How often a vCPU thread enters the guest from user space in that time: prints the number of its KVM_RUN calls. As root.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <linux/elf.h>
#include <linux/kvm.h>
#include <linux/ptrace.h>

static volatile sig_atomic_t over;

static void on_alarm(int sig)
{
	(void)sig;
	over = 1;
}

static void die(const char *what)
{
	fprintf(stderr, "exits: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void set_alarm(long ms)
{
	const struct itimerval t = { .it_value = { ms / 1000, ms % 1000 * 1000 }, .it_interval = { 0, 10000 } };
	const struct sigaction act = { .sa_handler = on_alarm }; /* without SA_RESTART: the wait ends */

	if (sigaction(SIGALRM, &act, NULL) < 0 || setitimer(ITIMER_REAL, &t, NULL) < 0)
		die("alarm");
}

static bool enters_guest(pid_t tid)
{
	struct ptrace_syscall_info info = { 0 };

	if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, (void *)sizeof(info), &info) < 0)
		die("PTRACE_GET_SYSCALL_INFO");
	return info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_ioctl && info.entry.args[1] == KVM_RUN;
}

int main(int argc, char **argv)
{
	pid_t tid = argc == 3 ? (pid_t)strtol(argv[1], NULL, 10) : 0;
	unsigned long runs = 0;
	int status;

	if (tid <= 0)
		return 2;
	if (ptrace(PTRACE_SEIZE, tid, NULL, (void *)PTRACE_O_TRACESYSGOOD) < 0 ||
	    ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0)
		die("ptrace");
	set_alarm(strtol(argv[2], NULL, 10));
	for (bool asked = false;;) {
		if (waitpid(tid, &status, __WALL) < 0) {
			if (errno != EINTR)
				die("wait");
			if (over && !asked && ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0)
				die("PTRACE_INTERRUPT");
			asked = over != 0;
			continue;
		}
		if (!WIFSTOPPED(status))
			break;
		runs += WSTOPSIG(status) == (SIGTRAP | 0x80) && enters_guest(tid);
		if (over)
			break;
		if (ptrace(PTRACE_SYSCALL, tid, NULL, NULL) < 0)
			die("PTRACE_SYSCALL");
	}
	(void)ptrace(PTRACE_DETACH, tid, NULL, NULL);
	printf("%lu\n", runs);
	return 0;
}
