/* SPDX-License-Identifier: ISC */
/* ACPICA's own compiler reads each table, and compiles again what it read, without an error. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/str.h"
#include "vmmd/acpi/tables.h"

enum { BASE = 0xA0000, OUTPUT_MAX = 1 << 20 };

static char dir[] = "/tmp/cloister-iasl-XXXXXX";
static char output[OUTPUT_MAX];

static int setup(void **state)
{
	(void)state;
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	static const char *const files[] = { "t.dat", "t.dsl", "t.aml" };
	char path[128];

	(void)state;
	for (unsigned i = 0; i < nitems(files); i++) {
		(void)str_fmt(path, sizeof(path), "%s/%s", dir, files[i]);
		(void)unlink(path);
	}
	return rmdir(dir);
}

static void in_child(const char *const argv[])
{
	if (chdir(dir) < 0)
		_exit(126);
	(void)execvp(argv[0], (char *const *)(uintptr_t)argv);
	_exit(errno == ENOENT ? 127 : 126);
}

/* Runs iasl in the folder; its text is in output. The exit status, 127 when there is no iasl. */
static int iasl(const char *option, const char *file)
{
	const char *const with[] = { "iasl", option, file, NULL }, *const without[] = { "iasl",
											file,
											NULL };
	int pipefd[2], status = 0;
	size_t len = 0;

	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)dup2(pipefd[1], 1);
		(void)dup2(pipefd[1], 2);
		in_child(option != NULL ? with : without);
	}
	close(pipefd[1]);
	for (;;) {
		ssize_t n = read(pipefd[0], output + len, sizeof(output) - 1 - len);

		if (n <= 0)
			break;
		len += (size_t)n;
	}
	output[len] = '\0';
	close(pipefd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void write_file(const uint8_t *p, size_t len)
{
	char path[128];

	(void)str_fmt(path, sizeof(path), "%s/t.dat", dir);
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

/* 0 when there is no iasl. */
static int round_trip(const uint8_t *p, size_t len)
{
	write_file(p, len);
	int r = iasl("-d", "t.dat");
	if (r == 127)
		return 0;
	if (r != 0 || strstr(output, "Error") != NULL)
		fail_msg("%.4s is not read: %s", (const char *)p, output);
	r = iasl(NULL, "t.dsl");
	if (r != 0 || strstr(output, " 0 Errors") == NULL)
		fail_msg("%.4s is not compiled again: %s", (const char *)p, output);
	return 1;
}

static void check(uint32_t vcpus, bool serial)
{
	const struct acpi_cfg cfg = {
		.topo = cpuid_topology_default(vcpus),
		.boot_vcpus = vcpus,
		.max_vcpus = vcpus,
		.serial = serial,
		.mmio32 = 0xC0000000,
		.mmio32_size = 0x28000000,
		.mmio64 = 0x100000000,
		.mmio64_size = 0x3FFEFFEF0000,
		.ged = 0x3FFFFFFED000,
	};
	struct wbuf b;

	wbuf_init(&b, 1 << 20);
	assert_int_equal(acpi_build(BASE, &cfg, &b, NULL), 0);
	for (size_t at = 36; at < b.len;) {
		uint32_t len;

		memcpy(&len, b.p + at + 4, sizeof(len));
		if (!round_trip(b.p + at, len)) {
			wbuf_fini(&b);
			skip(); /* no iasl: make deps */
		}
		at += len;
	}
	wbuf_fini(&b);
}

static void tables_of_one_vcpu(void **state)
{
	(void)state;
	check(1, true);
}

static void tables_of_two_vcpus(void **state)
{
	(void)state;
	check(2, true);
}

static void tables_without_serial_port(void **state)
{
	(void)state;
	check(2, false);
}

static void tables_of_eight_vcpus(void **state)
{
	(void)state;
	check(8, true);
}

static void tables_of_254_vcpus(void **state)
{
	(void)state;
	check(254, true);
}

static void tables_of_254_vcpus_without_serial_port(void **state)
{
	(void)state;
	check(254, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_of_one_vcpu),
		cmocka_unit_test(tables_of_two_vcpus),
		cmocka_unit_test(tables_without_serial_port),
		cmocka_unit_test(tables_of_eight_vcpus),
		cmocka_unit_test(tables_of_254_vcpus),
		cmocka_unit_test(tables_of_254_vcpus_without_serial_port),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
