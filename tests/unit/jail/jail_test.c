/* SPDX-License-Identifier: ISC */
/* What can be told without rights: each step runs in a child of its own, and what it left is looked at from inside. */
#include "jail/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "jail/jail_internal.h"

/* Runs @fn in a child; returns its exit code, or 1000 + the signal that killed it. */
static int in_child(int (*fn)(void))
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void errors_are_told_apart(void **state)
{
	static const int perm[] = { EPERM, EACCES, ENOSPC, EUSERS, EBUSY }, old[] = { ENOSYS, EINVAL, EOPNOTSUPP };
	struct jail_missing m;

	(void)state;
	for (size_t i = 0; i < nitems(perm); i++) {
		m = (struct jail_missing){ 0 };
		jail_note(&m, JAIL_LAYER_NETNS, perm[i]);
		assert_int_equal(m.perm, 1u << JAIL_LAYER_NETNS);
		assert_int_equal(m.old, 0);
	}
	for (size_t i = 0; i < nitems(old); i++) {
		m = (struct jail_missing){ 0 };
		jail_note(&m, JAIL_LAYER_MDWE, -old[i]);
		assert_int_equal(m.perm, 0);
		assert_int_equal(m.old, 1u << JAIL_LAYER_MDWE);
	}
}

static void each_layer_has_a_name_of_its_own(void **state)
{
	(void)state;
	for (int i = 0; i < JAIL_LAYER_COUNT; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(jail_layer_name((enum jail_layer)i), jail_layer_name((enum jail_layer)j));
}

static int check_post_exec(void)
{
	char comm[17] = "";

	jail_post_exec("/some/where/cloister-with-a-long-name");
	if (prctl(PR_GET_NAME, comm, 0, 0, 0) < 0 || strcmp(comm, "cloister-with-a") != 0)
		return 1;
	return JAIL_SANITIZER || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : 2;
}

static void post_exec_sets_the_name_and_hides_memory(void **state)
{
	(void)state;
	assert_int_equal(in_child(check_post_exec), 0);
}

static int check_landlock(void)
{
	struct jail_missing m = { 0 };

	jail_landlock_deny_all(&m);
	if (((m.old | m.perm) >> JAIL_LAYER_LANDLOCK & 1) != 0)
		return 77;
	return open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES ? 0 : 1;
}

static void landlock_closes_the_file_system(void **state)
{
	(void)state;
	/* Needs no_new_privs without CAP_SYS_ADMIN. */
	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	int r = in_child(check_landlock);
	if (r == 77)
		print_message("# this kernel has no Landlock\n");
	else
		assert_int_equal(r, 0);
}

static int check_limits(void)
{
	const struct jail_limits lim = { .nofile = 20, .fsize = 0, .as_bytes = JAIL_KEEP, .nproc = JAIL_KEEP };
	struct jail_missing m = { 0 };
	struct rlimit r;

	jail_limits_base(JAIL_CONSOLE, &m);
	jail_limits_exact(&lim, &m);
	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur != 20 || r.rlim_max != 20)
		return 1;
	if (getrlimit(RLIMIT_FSIZE, &r) < 0 || r.rlim_max != 0)
		return 2;
	if (getrlimit(RLIMIT_CORE, &r) < 0 || r.rlim_max != 0)
		return 3;
	if (getrlimit(RLIMIT_MEMLOCK, &r) < 0 || r.rlim_max != 0)
		return 4;
	return (m.perm | m.old) == 0 ? 0 : 5;
}

static void limits_are_lowered(void **state)
{
	(void)state;
	assert_int_equal(in_child(check_limits), 0);
}

static int check_filter(void)
{
	const struct jail_limits keep = { JAIL_KEEP, JAIL_KEEP, JAIL_KEEP, JAIL_KEEP };
	struct jail_missing m = { 0 };
	struct err e;

	if (jail_lock(JAIL_CONSOLE, &keep, &m, &e) < 0)
		return 1;
	return socket(AF_UNIX, SOCK_STREAM, 0) >= 0 ? 2 : 3;
}

static void the_filter_kills(void **state)
{
	(void)state;
	if (!JAIL_SANITIZER)
		assert_int_equal(in_child(check_filter), 1000 + SIGSYS);
}

static int check_hardening(void)
{
	struct jail_missing m = { 0 };
	struct err e;

	if (jail_misc_harden(&m, &e) < 0)
		return 1;
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 2;
}

static void hardening_sets_no_new_privs(void **state)
{
	(void)state;
	assert_int_equal(in_child(check_hardening), 0);
}

static int check_caps(void)
{
	struct jail_missing m = { 0 };
	struct err e;

	/* Whatever was held before: a result of 0 was read back. */
	if (jail_caps_drop_all(JAIL_UID_KEEP, &m, &e) < 0)
		return 1;
	return setuid(geteuid() + 1) < 0 ? 0 : 2;
}

static void capabilities_are_gone(void **state)
{
	(void)state;
	assert_int_equal(in_child(check_caps), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_are_told_apart),
		cmocka_unit_test(each_layer_has_a_name_of_its_own),
		cmocka_unit_test(post_exec_sets_the_name_and_hides_memory),
		cmocka_unit_test(landlock_closes_the_file_system),
		cmocka_unit_test(limits_are_lowered),
		cmocka_unit_test(the_filter_kills),
		cmocka_unit_test(hardening_sets_no_new_privs),
		cmocka_unit_test(capabilities_are_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
