/* SPDX-License-Identifier: ISC */
#include "jail/jail_cgroup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"

static const char mounts[] =
	"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
	"29 25 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:5 - cgroup2 cgroup rw\n"
	"30 25 0:27 / /sys/fs/cgroup/systemd rw,nosuid shared:6 master:2 - cgroup cgroup rw,xattr,name=systemd\n"
	"31 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:7 - cgroup cgroup rw,cpu,cpuacct\n"
	"32 25 0:29 /machine/pod\\040one /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n"
	"33 25 0:30 / /odd\\040place rw - cgroup cgroup rw,pids\n";

static void expect(const char *controllers, const char *path, const char *dir)
{
	char out[256] = "";
	int r = jail_cgroup_locate(mounts, controllers, path, out, sizeof(out));

	if (dir == NULL) {
		assert_int_equal(r, -ENOENT);
		return;
	}
	assert_int_equal(r, 0);
	assert_string_equal(out, dir);
}

static void each_hierarchy_is_found(void **state)
{
	(void)state;
	expect("", "/a/b", "/sys/fs/cgroup/unified/a/b");
	expect("", "/", "/sys/fs/cgroup/unified");
	expect("name=systemd", "/x", "/sys/fs/cgroup/systemd/x");
	expect("cpu,cpuacct", "/x", "/sys/fs/cgroup/cpu,cpuacct/x");
	expect("cpuacct,cpu", "/x", "/sys/fs/cgroup/cpu,cpuacct/x");
	expect("pids", "/x", "/odd place/x");
}

static void root_of_the_mount_is_taken_off(void **state)
{
	(void)state;
	expect("memory", "/machine/pod one/vm", "/sys/fs/cgroup/memory/vm");
	expect("memory", "/machine/pod one", "/sys/fs/cgroup/memory");
	/* Not below what the mount shows. */
	expect("memory", "/machine/pod onetwo", NULL);
	expect("memory", "/other", NULL);
}

static void other_hierarchies_do_not_match(void **state)
{
	(void)state;
	expect("blkio", "/x", NULL);
	expect("cp", "/x", NULL);
	expect("cpu,memory", "/x", NULL);
}

static void odd_lines_are_passed_over(void **state)
{
	char out[64];

	(void)state;
	assert_int_equal(jail_cgroup_locate("", "", "/x", out, sizeof(out)), -ENOENT);
	assert_int_equal(jail_cgroup_locate("1 2 3\n\n - - -\n", "", "/x", out, sizeof(out)), -ENOENT);
	assert_int_equal(jail_cgroup_locate("29 25 0:26 / /sys - cgroup2\n", "", "/x", out, sizeof(out)), -ENOENT);
}

static void a_path_that_does_not_fit_is_not_cut(void **state)
{
	char out[24];

	(void)state;
	assert_int_equal(jail_cgroup_locate(mounts, "", "/a/b", out, sizeof(out)), -ENOENT);
}

static void following_oneself_changes_nothing(void **state)
{
	pid_t self = getpid();
	struct err e;

	(void)state;
	err_clear(&e);
	assert_int_equal(jail_cgroup_follow(self, &self, 1, &e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_hierarchy_is_found),
		cmocka_unit_test(root_of_the_mount_is_taken_off),
		cmocka_unit_test(other_hierarchies_do_not_match),
		cmocka_unit_test(odd_lines_are_passed_over),
		cmocka_unit_test(a_path_that_does_not_fit_is_not_cut),
		cmocka_unit_test(following_oneself_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
