/* SPDX-License-Identifier: ISC */
/*
 * A debugger's hand inside another process, for tests (as root):
 *
 *	ptool inject TID NR [ARG...]	make the thread call NR; "killed SIGNAL" or "returned VALUE"
 *	ptool filters TID		its seccomp filters, oldest first, a line of hex each
 *	ptool kill-at TID N		SIGKILL at its N-th stop from now (a call's entry and its return are stops);
 *					prints "killed at NR entry|return", or "ended STATUS"
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#if !defined(__x86_64__)
#error "registers of this architecture are not known here yet"
#endif

static void die(const char *what)
{
	fprintf(stderr, "ptool: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* ptrace(2) wants numbers in pointers' clothes. */
static long trace(int request, pid_t tid, uintptr_t addr, uintptr_t data)
{
	return ptrace((enum __ptrace_request)request, tid, (void *)addr, (void *)data); /* NOLINT */
}

static int wait_stop(pid_t tid)
{
	int status;

	if (waitpid(tid, &status, __WALL) != tid)
		die("waitpid");
	return status;
}

static void attach(pid_t tid)
{
	if (trace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD) < 0 || trace(PTRACE_INTERRUPT, tid, 0, 0) < 0)
		die("attach");
	if (!WIFSTOPPED(wait_stop(tid))) {
		errno = ESRCH;
		die("attach");
	}
}

static void get_regs(pid_t tid, struct user_regs_struct *regs)
{
	struct iovec iov = { regs, sizeof(*regs) };

	if (trace(PTRACE_GETREGSET, tid, NT_PRSTATUS, (uintptr_t)&iov) < 0)
		die("registers");
}

static void set_regs(pid_t tid, struct user_regs_struct *regs)
{
	struct iovec iov = { regs, sizeof(*regs) };

	if (trace(PTRACE_SETREGSET, tid, NT_PRSTATUS, (uintptr_t)&iov) < 0)
		die("registers");
}

static bool is_syscall_at(pid_t tid, uint64_t addr)
{
	errno = 0;
	long word = trace(PTRACE_PEEKTEXT, tid, addr, 0);

	return errno == 0 && (word & 0xffff) == 0x050f;
}

/* Some "syscall" instruction in code that the process has mapped. */
static uint64_t find_syscall(pid_t tid)
{
	char path[64], line[512];
	uint64_t found = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)tid);
	FILE *f = fopen(path, "re");
	while (f != NULL && found == 0 && fgets(line, sizeof(line), f) != NULL) {
		unsigned long from, to;
		char prot[8];

		if (sscanf(line, "%lx-%lx %7s", &from, &to, prot) != 3 || prot[2] != 'x' || strstr(line, "[v") != NULL)
			continue;
		for (unsigned long a = from; a < to && found == 0; a++)
			if (is_syscall_at(tid, a))
				found = a;
	}
	if (f != NULL)
		fclose(f);
	return found;
}

static void print_end(int status)
{
	if (WIFSIGNALED(status))
		printf("killed %d\n", WTERMSIG(status));
	else
		printf("ended %d\n", WEXITSTATUS(status));
}

/* Go on until the call has returned or the process is gone. Other stops (a signal) are passed on. */
static int run_to_return(pid_t tid)
{
	for (int stops = 0;;) {
		if (trace(PTRACE_SYSCALL, tid, 0, 0) < 0 && errno != ESRCH)
			die("syscall");
		int status = wait_stop(tid);
		if (!WIFSTOPPED(status))
			return status;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80) && ++stops == 2)
			return status;
	}
}

static int cmd_inject(pid_t tid, int n, char **args)
{
	struct user_regs_struct regs, saved;
	unsigned long long *slot[] = { &regs.rax, &regs.rdi, &regs.rsi, &regs.rdx, &regs.r10, &regs.r8, &regs.r9 };

	attach(tid);
	get_regs(tid, &saved);
	regs = saved;
	regs.rip = is_syscall_at(tid, saved.rip - 2) ? saved.rip - 2 : find_syscall(tid);
	for (int i = 0; i < 7; i++)
		*slot[i] = i < n ? strtoull(args[i], NULL, 0) : 0;
	regs.orig_rax = (unsigned long long)-1; /* nothing to restart */
	set_regs(tid, &regs);
	int status = run_to_return(tid);
	if (!WIFSTOPPED(status)) {
		print_end(status);
		return 0;
	}
	get_regs(tid, &regs);
	/* As before; a call that we interrupted (-ERESTARTSYS and its like) starts again. */
	if ((long long)saved.orig_rax >= 0 && (long long)saved.rax <= -512 && (long long)saved.rax >= -516) {
		saved.rip -= 2;
		saved.rax = saved.orig_rax;
		saved.orig_rax = (unsigned long long)-1;
	}
	set_regs(tid, &saved);
	/* A call that the filter kills for shows a return too, with the death behind it. Otherwise the next stop is the
	 * entry of a call of the process's own. */
	if (trace(PTRACE_SYSCALL, tid, 0, 0) < 0 && errno != ESRCH)
		die("continue");
	status = wait_stop(tid);
	if (!WIFSTOPPED(status)) {
		print_end(status);
		return 0;
	}
	printf("returned %lld\n", (long long)regs.rax);
	(void)trace(PTRACE_DETACH, tid, 0, 0);
	return 0;
}

static int cmd_filters(pid_t tid)
{
	static struct sock_filter prog[BPF_MAXINSNS];

	attach(tid);
	for (unsigned i = 0;; i++) {
		long n = trace(PTRACE_SECCOMP_GET_FILTER, tid, i, (uintptr_t)prog);

		if (n < 0 && (errno == ENOENT || (errno == EINVAL && i == 0)))
			break; /* no more; or none at all */
		if (n < 0)
			die("filter");
		for (size_t k = 0; k < (size_t)n * sizeof(prog[0]); k++)
			printf("%02x", ((const uint8_t *)prog)[k]);
		printf("\n");
	}
	(void)trace(PTRACE_DETACH, tid, 0, 0);
	return 0;
}

static int cmd_kill_at(pid_t tid, unsigned long n)
{
	attach(tid);
	printf("attached\n");
	fflush(stdout);
	for (unsigned long i = 0; i < n;) {
		if (trace(PTRACE_SYSCALL, tid, 0, 0) < 0)
			die("syscall");
		int status = wait_stop(tid);
		if (!WIFSTOPPED(status)) {
			print_end(status);
			return 0;
		}
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			i++;
	}
	struct user_regs_struct regs;
	get_regs(tid, &regs);
	if (kill(tid, SIGKILL) < 0)
		die("kill");
	(void)wait_stop(tid);
	printf("killed at %lld %s\n", (long long)regs.orig_rax, (long long)regs.rax == -ENOSYS ? "entry" : "return");
	return 0;
}

int main(int argc, char **argv)
{
	pid_t tid = argc > 2 ? (pid_t)atoi(argv[2]) : 0;

	if (argc > 3 && strcmp(argv[1], "inject") == 0)
		return cmd_inject(tid, argc - 3, argv + 3);
	if (argc == 3 && strcmp(argv[1], "filters") == 0)
		return cmd_filters(tid);
	if (argc == 4 && strcmp(argv[1], "kill-at") == 0)
		return cmd_kill_at(tid, strtoul(argv[3], NULL, 0));
	fprintf(stderr, "usage: ptool inject TID NR [ARG...] | filters TID | kill-at TID N\n");
	return 2;
}
