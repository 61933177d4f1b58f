/* SPDX-License-Identifier: ISC */
#include "tests/backend/vu/tests.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"

enum { SECONDS = 60, PASSED = 0, FAILED = 1, SKIPPED = 77, NAME_MAX_BYTES = 256 };

static const char *skipped;

void vu_diag(const char *fmt, ...)
{
	char text[4096];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *line = text, *end; line != NULL && *line != '\0'; line = end) {
		end = strchr(line, '\n');
		if (end != NULL)
			*end++ = '\0';
		(void)printf("# %s\n", line);
	}
	(void)fflush(stdout);
}

bool vu_skip(const char *why)
{
	skipped = why;
	return true;
}

static void make_name(const struct vu_test *t, char *name, size_t size)
{
	(void)snprintf(name, size, "%s%s", t->name, t->suffix);
	for (char *p = name; *p != '\0'; p++)
		if (*p == '_')
			*p = ' ';
}

static void __attribute__((noreturn)) run_child(const struct vu_test *t, const char *name, unsigned number)
{
	(void)setpgid(0, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	bool good = t->run(t->arg);

	if (skipped != NULL) {
		(void)printf("ok %u - %s # SKIP %s\n", number, name, skipped);
		(void)fflush(stdout);
		_exit(SKIPPED);
	}
	(void)fflush(stdout);
	_exit(good ? PASSED : FAILED);
}

static bool run_one(const struct vu_test *t, const char *name, unsigned number)
{
	unsigned seconds = t->seconds != 0 ? t->seconds : SECONDS;
	pid_t pid = fork();

	if (pid == 0)
		run_child(t, name, number);
	if (pid < 0)
		return false;
	(void)setpgid(pid, pid);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), status = 0;
	bool late = fd_wait(pidfd, POLLIN, (int)seconds * 1000) <= 0;

	/* What it left behind goes with it. */
	(void)kill(-pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	(void)close(pidfd);
	if (late)
		vu_diag("not done within %u s", seconds);
	else if (WIFSIGNALED(status))
		vu_diag("the test itself was killed by signal %d", WTERMSIG(status));
	if (!late && WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
		return true;
	bool good = !late && WIFEXITED(status) && WEXITSTATUS(status) == PASSED;

	(void)printf("%sok %u - %s\n", good ? "" : "not ", number, name);
	(void)fflush(stdout);
	return good;
}

static bool is_wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strstr(name, argv[i]) != NULL)
			return true;
	return argc < 2;
}

int vu_tests_main(const struct vu_test *tests, unsigned n, int argc, char **argv)
{
	char name[NAME_MAX_BYTES];
	unsigned chosen = 0, number = 0;
	bool good = true;

	(void)signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; i < n; i++) {
		make_name(&tests[i], name, sizeof(name));
		chosen += is_wanted(name, argc, argv);
	}
	(void)printf("1..%u\n", chosen);
	(void)fflush(stdout);
	for (unsigned i = 0; i < n; i++) {
		make_name(&tests[i], name, sizeof(name));
		if (is_wanted(name, argc, argv))
			good = run_one(&tests[i], name, ++number) && good;
	}
	return good ? 0 : 1;
}
