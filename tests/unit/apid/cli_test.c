/* SPDX-License-Identifier: ISC */
#include "apid/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { ARGS_MAX = 8 };

/* What the command line @args (without argv[0], NULL-terminated) leads to; the text is terminated. */
static struct cli_verdict verdict_of(const char *const args[])
{
	static char name[] = "/usr/bin/cloud-hypervisor";
	char *argv[ARGS_MAX + 2] = { name };
	struct cli_verdict v;
	struct opts o;
	int argc = 1;

	for (; args[argc - 1] != NULL; argc++)
		argv[argc] = strdup(args[argc - 1]);
	if (cli_parse(argc, argv, &o, &v))
		opts_fini(&o);
	assert_int_equal(wbuf_u8(&v.text, '\0'), 0);
	for (int i = 1; i < argc; i++)
		free(argv[i]);
	return v;
}

#define VERDICT(...) verdict_of((const char *const[]){ __VA_ARGS__, NULL })

static void assert_ends(struct cli_verdict *v, uint8_t stream, uint8_t status, bool silent, const char *text)
{
	assert_true(v->ends);
	assert_int_equal(v->stream, stream);
	assert_int_equal(v->status, status);
	assert_int_equal(v->silent, silent);
	assert_true(strncmp((const char *)v->text.p, text, strlen(text)) == 0);
	wbuf_fini(&v->text);
}

static void help_and_version_go_to_stdout_in_silence(void **state)
{
	struct cli_verdict v = VERDICT("--version");

	(void)state;
	assert_ends(&v, 1, 0, true, "cloud-hypervisor v54.0.0\n");
	v = VERDICT("-V", "--kernel", "/k");
	assert_ends(&v, 1, 0, true, "cloud-hypervisor v54.0.0\n");
	v = VERDICT("-h");
	assert_non_null(strstr((const char *)v.text.p, "Usage: cloud-hypervisor [OPTIONS]"));
	assert_ends(&v, 1, 0, true, "");
}

static void misuse_goes_to_stderr_with_status_2(void **state)
{
	struct cli_verdict v = VERDICT("--frob");

	(void)state;
	assert_ends(&v, 2, 2, true, "error: ");
	v = VERDICT("--kernel", "/k", "--kernel", "/k");
	assert_ends(&v, 2, 2, true, "error: ");
}

static void no_argument_at_all_is_misuse_with_the_help(void **state)
{
	struct cli_verdict v = verdict_of((const char *const[]){ NULL });

	(void)state;
	assert_non_null(strstr((const char *)v.text.p, "Options:"));
	assert_ends(&v, 2, 2, true, "");
}

static void what_is_not_served_is_an_error_that_is_logged_too(void **state)
{
	struct cli_verdict v = VERDICT("--kernel", "/k", "--pmem", "file=/d");

	(void)state;
	assert_ends(&v, 2, 1, false, "Error: Cloud Hypervisor exited with the following error:\n  --pmem");
}

static void good_command_line_goes_on(void **state)
{
	struct cli_verdict v = VERDICT("--api-socket", "/s", "-v", "--kernel", "/k", "--cpus", "boot=2");

	(void)state;
	assert_false(v.ends);
	assert_false(v.silent);
	wbuf_fini(&v.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(help_and_version_go_to_stdout_in_silence),
		cmocka_unit_test(misuse_goes_to_stderr_with_status_2),
		cmocka_unit_test(no_argument_at_all_is_misuse_with_the_help),
		cmocka_unit_test(what_is_not_served_is_an_error_that_is_logged_too),
		cmocka_unit_test(good_command_line_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
