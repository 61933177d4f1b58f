/* SPDX-License-Identifier: ISC */
#include "proto/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static char kernel[] = "/k", other[] = "/x", empty[] = "";

/* A configuration that every rule likes. Its texts are not the object's: no fini. */
static struct cfg_vm sane(void)
{
	struct cfg_vm c;

	obj_init(&desc_cfg_vm, &c);
	c.has_payload = true;
	c.payload.kernel = kernel;
	return c;
}

/* 0, or the text that rules_check_boot() gave with -ERR_INVALID. */
static const char *boot(const struct cfg_vm *c)
{
	static struct err e;
	int r = rules_check_boot(c, &e);

	if (r == 0)
		return NULL;
	assert_int_equal(r, -ERR_INVALID);
	assert_int_equal(err_count(&e), 1);
	assert_int_equal(rules_check_boot(c, NULL), -ERR_INVALID);
	return err_text(&e, 0);
}

static void rules_like_a_sane_config(void **state)
{
	struct cfg_vm c = sane();

	(void)state;
	assert_null(boot(&c));
	assert_int_equal(rules_check_runtime(&c, NULL), 0);
	c.cpus.boot_vcpus = c.cpus.max_vcpus = 8192;
	c.cpus.has_topology = true;
	c.cpus.topology = (struct cfg_topology){ 2, 64, 64, 1 };
	c.serial.mode = CONSOLE_MODE_FILE;
	c.serial.file = other;
	assert_null(boot(&c));
}

static void rules_payload(void **state)
{
	struct cfg_vm c = sane();

	(void)state;
	c.has_payload = false;
	assert_non_null(strstr(boot(&c), "nothing to boot"));
	c = sane();
	c.payload.kernel = NULL;
	assert_non_null(strstr(boot(&c), "nothing to boot"));
	c.payload.firmware = other;
	assert_null(boot(&c));
	c.payload.kernel = kernel;
	assert_non_null(strstr(boot(&c), "firmware and kernel"));
	c = sane();
	c.payload.igvm = other;
	c.payload.kernel = NULL;
	assert_null(boot(&c));
	c.payload.firmware = other;
	assert_non_null(strstr(boot(&c), "igvm and firmware"));
}

static void rules_consoles_need_their_paths(void **state)
{
	struct cfg_vm c = sane();

	(void)state;
	c.console.mode = CONSOLE_MODE_FILE;
	assert_non_null(strstr(boot(&c), "console: mode File"));
	c = sane();
	c.serial.mode = CONSOLE_MODE_FILE;
	c.serial.socket = other;
	assert_non_null(strstr(boot(&c), "serial: mode File"));
	c.serial.file = empty;
	assert_non_null(strstr(boot(&c), "serial: mode File"));
	c = sane();
	c.serial.mode = CONSOLE_MODE_SOCKET;
	c.serial.file = other;
	assert_non_null(strstr(boot(&c), "serial: mode Socket"));
	c.serial.socket = other;
	assert_null(boot(&c));
	for (unsigned m = 0; m < enum_console_mode.n; m++) {
		c = sane();
		c.serial.mode = (enum console_mode)m;
		assert_int_equal(boot(&c) == NULL, m != CONSOLE_MODE_FILE && m != CONSOLE_MODE_SOCKET);
	}
}

static void rules_cpu_counts(void **state)
{
	struct cfg_vm c = sane();

	(void)state;
	c.cpus.boot_vcpus = 0;
	assert_string_equal(boot(&c), "cpus: boot_vcpus is 0");
	c.cpus.boot_vcpus = 2;
	assert_string_equal(boot(&c), "cpus: max_vcpus 1 is below boot_vcpus 2");
	c.cpus.max_vcpus = 8192;
	assert_null(boot(&c));
	c.cpus.max_vcpus = 8193;
	assert_string_equal(boot(&c), "cpus: max_vcpus 8193 is above 8192");
	c.cpus.boot_vcpus = c.cpus.max_vcpus = UINT32_MAX;
	assert_non_null(boot(&c));
}

static void rules_topology(void **state)
{
	static const struct cfg_topology bad[] = {
		{ 0, 4, 1, 1 }, { 1, 0, 1, 1 }, { 1, 4, 0, 1 }, { 1, 4, 1, 0 }, { 4, 1, 1, 1 }, { 1, 4, 2, 1 }, { 2, 1, 1, 1 },
		{ 2, 65535, 65535, 65535 },
	};
	struct cfg_vm c = sane();

	(void)state;
	c.cpus.max_vcpus = 4;
	c.cpus.has_topology = true;
	for (size_t i = 0; i < nitems(bad); i++) {
		c.cpus.topology = bad[i];
		assert_non_null(boot(&c));
	}
	c.cpus.topology = (struct cfg_topology){ 2, 2, 1, 1 };
	assert_null(boot(&c));
	c.cpus.topology.packages = 0;
	c.cpus.has_topology = false; /* absent: whatever it holds */
	assert_null(boot(&c));
}

static void rules_memory(void **state)
{
	struct cfg_vm c = sane();

	(void)state;
	c.memory.has_hugepage_size = true;
	c.memory.hugepage_size = 2 << 20;
	assert_non_null(strstr(boot(&c), "without hugepages"));
	c.memory.hugepages = true;
	assert_null(boot(&c));
	c.memory.hugepage_size = 3 << 20;
	assert_non_null(strstr(boot(&c), "power of two"));
	c.memory.hugepage_size = 0;
	assert_non_null(boot(&c));
	c = sane();
	c.memory.shared = c.memory.mergeable = true;
	assert_non_null(strstr(boot(&c), "shared and mergeable"));
}

static void rules_first_in_the_documented_order_wins(void **state)
{
	struct cfg_vm c = sane();

	(void)state;
	c.memory.shared = c.memory.mergeable = true;
	c.cpus.max_vcpus = 9000;
	c.serial.mode = CONSOLE_MODE_FILE;
	c.payload.kernel = NULL;
	assert_non_null(strstr(boot(&c), "nothing to boot"));
	c.payload.kernel = kernel;
	assert_non_null(strstr(boot(&c), "serial"));
	c.serial.mode = CONSOLE_MODE_NULL;
	assert_non_null(strstr(boot(&c), "max_vcpus"));
	c.cpus.max_vcpus = 1;
	assert_non_null(strstr(boot(&c), "memory"));
}

static void rules_at_run_time_are_other_errors(void **state)
{
	struct cfg_vm c = sane();
	struct err e;

	(void)state;
	c.memory.size = 0;
	assert_null(boot(&c));
	assert_int_equal(rules_check_runtime(&c, &e), -EINVAL);
	assert_string_equal(err_text(&e, 0), "memory: size is 0");
	c.memory.size = 4097;
	assert_int_equal(rules_check_runtime(&c, &e), -EINVAL);
	c.memory.size = 4096;
	assert_int_equal(rules_check_runtime(&c, &e), 0);
}

/* A warning, no refusal. */
static void rules_several_consoles_on_one_terminal_are_fine(void **state)
{
	struct cfg_vm c = sane();

	(void)state;
	c.console.mode = c.serial.mode = c.debug_console.mode = CONSOLE_MODE_TTY;
	assert_null(boot(&c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_like_a_sane_config),
		cmocka_unit_test(rules_payload),
		cmocka_unit_test(rules_consoles_need_their_paths),
		cmocka_unit_test(rules_cpu_counts),
		cmocka_unit_test(rules_topology),
		cmocka_unit_test(rules_memory),
		cmocka_unit_test(rules_first_in_the_documented_order_wins),
		cmocka_unit_test(rules_at_run_time_are_other_errors),
		cmocka_unit_test(rules_several_consoles_on_one_terminal_are_fine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
