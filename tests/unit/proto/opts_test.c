/* SPDX-License-Identifier: ISC */
/* Command lines: what parses, what it means, what is said about the rest. */
#include "proto/opts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/opts_table.h"

#define ARGS_MAX 32

/* A command line as one text: arguments separated by '|'. The program's name comes first by itself. */
struct line {
	char text[1024];
	char *argv[ARGS_MAX + 1];
	int argc;
};

static void cut(struct line *l, const char *text)
{
	char name[] = "/usr/bin/cloister", *p = l->text;

	memset(l, 0, sizeof(*l));
	assert_true(snprintf(l->text, sizeof(l->text), "%s|%s", name, text) < (int)sizeof(l->text));
	while (p != NULL && *text != '\0' && l->argc < ARGS_MAX) {
		l->argv[l->argc++] = p;
		p = strchr(p, '|');
		if (p != NULL)
			*p++ = '\0';
	}
	if (*text == '\0') {
		*strchr(l->text, '|') = '\0';
		l->argv[l->argc++] = l->text;
	}
}

static void parse(const char *text, struct line *l, struct opts *o)
{
	struct err e = { 0 };

	cut(l, text);
	if (opts_parse(l->argc, l->argv, o, &e) != 0)
		fail_msg("%s: %s", text, err_text(&e, 0));
}

static void refuse(const char *text, const char *want)
{
	struct err e = { 0 };
	struct line l;
	struct opts o;

	cut(&l, text);
	if (opts_parse(l.argc, l.argv, &o, &e) != -EINVAL)
		fail_msg("%s: taken", text);
	if (want != NULL && strcmp(err_text(&e, 0), want) != 0)
		fail_msg("%s: \"%s\", expected \"%s\"", text, err_text(&e, 0), want);
	assert_int_equal(opts_parse(l.argc, l.argv, &o, NULL), -EINVAL);
}

static void opts_values_are_taken_with_and_without_equals_sign(void **state)
{
	struct line l;
	struct opts o;

	(void)state;
	parse("--api-socket|/a|--kernel=/k|--cmdline=--x=y -z|--memory|size=1G", &l, &o);
	assert_string_equal(opts_value(&o, OPT_API_SOCKET), "/a");
	assert_string_equal(opts_value(&o, OPT_KERNEL), "/k");
	assert_string_equal(opts_value(&o, OPT_CMDLINE), "--x=y -z");
	assert_string_equal(opts_value(&o, OPT_MEMORY), "size=1G");
	assert_true(opts_given(&o, OPT_MEMORY));
	assert_false(opts_given(&o, OPT_CPUS));
	assert_null(opts_value(&o, OPT_CPUS));
	opts_fini(&o);
	parse("--kernel|/k|--cmdline=|--initramfs|", &l, &o); /* empty is a value */
	assert_string_equal(opts_value(&o, OPT_CMDLINE), "");
	assert_string_equal(opts_value(&o, OPT_INITRAMFS), "");
	opts_fini(&o);
	parse("--api-socket|-", &l, &o); /* a lone minus is one as well */
	assert_string_equal(opts_value(&o, OPT_API_SOCKET), "-");
	opts_fini(&o);
}

static void opts_multi_values_add_up_in_order(void **state)
{
	struct line l;
	struct opts o;

	(void)state;
	parse("--kernel|/k|--disk|path=a|path=b|--net|tap=x|--disk|path=c|--disk=path=d", &l, &o);
	assert_int_equal(o.o[OPT_DISK].n, 4);
	assert_string_equal(o.o[OPT_DISK].v[0], "path=a");
	assert_string_equal(o.o[OPT_DISK].v[1], "path=b");
	assert_string_equal(o.o[OPT_DISK].v[2], "path=c");
	assert_string_equal(o.o[OPT_DISK].v[3], "path=d");
	assert_int_equal(o.o[OPT_NET].n, 1);
	opts_fini(&o);
	refuse("--kernel|/k|--disk=path=a|path=b", "unexpected argument 'path=b' found");
	refuse("--kernel|/k|--disk", "a value is required for '--disk <disk>' but none was supplied");
	refuse("--disk|--kernel|/k", "a value is required for '--disk <disk>' but none was supplied");
}

static void opts_optional_value_may_be_left_out(void **state)
{
	struct line l;
	struct opts o;

	(void)state;
	parse("--kernel|/k|--rtc|-v", &l, &o);
	assert_true(opts_given(&o, OPT_RTC));
	assert_null(opts_value(&o, OPT_RTC));
	opts_fini(&o);
	parse("--kernel|/k|--rtc|id=r", &l, &o);
	assert_string_equal(opts_value(&o, OPT_RTC), "id=r");
	opts_fini(&o);
	parse("--kernel|/k|--rtc=id=r|--pvpanic", &l, &o);
	assert_string_equal(opts_value(&o, OPT_RTC), "id=r");
	opts_fini(&o);
	refuse("--kernel|/k|--rtc|a|b", "unexpected argument 'b' found");
	refuse("--kernel|/k|--rtc|--rtc", NULL);
}

static void opts_repeats_are_refused(void **state)
{
	(void)state;
	refuse("--kernel|/a|--kernel|/b", "the argument '--kernel <kernel>' cannot be used multiple times");
	refuse("--kernel=/a|--kernel=/a", NULL);
	refuse("--no-shutdown|--no-shutdown", "the argument '--no-shutdown' cannot be used multiple times");
	refuse("--kernel|/k|--memory|size=1M|--memory=size=2M", NULL);
	refuse("-V|--version", NULL);
	refuse("-VV", NULL);
	refuse("--seccomp|true|--seccomp|true", NULL);
}

static void opts_verbosity_counts(void **state)
{
	static const struct {
		const char *text;
		unsigned n;
	} lines[] = { { "--no-shutdown", 0 }, { "-v", 1 }, { "-vv", 2 }, { "-vvv", 3 }, { "-v|-v", 2 }, { "-vV", 1 }, { "-Vvv", 2 } };
	struct line l;
	struct opts o;

	(void)state;
	for (size_t i = 0; i < nitems(lines); i++) {
		parse(lines[i].text, &l, &o);
		assert_int_equal(o.verbosity, lines[i].n);
		opts_fini(&o);
	}
}

static void opts_usage_errors(void **state)
{
	static const char *const lines[] = {
		"--nosuch", "--Kernel|/k", "--kern|/k", "-x", "-vx", "-k|/k", "/k", "--kernel", "--kernel|--cmdline=x", "--|x",
		"--kernel|/k|--|--cmdline|x", "--no-shutdown=true", "--version=1", "--verbose", "--v", "-v=1", "--api-socket|/a|b",
		"--seccomp|maybe", "--seccomp=", "---kernel|/k", "-", "--=x", "--help=1",
	};

	(void)state;
	for (size_t i = 0; i < nitems(lines); i++)
		refuse(lines[i], NULL);
	refuse("--nosuch=x", "unexpected argument '--nosuch' found");
	refuse("-x", "unexpected argument '-x' found");
	refuse("stray", "unexpected argument 'stray' found");
	refuse("--no-shutdown=1", "unexpected value '1' for '--no-shutdown' found; no more were expected");
	refuse("--seccomp|maybe", "invalid value 'maybe' for '--seccomp <seccomp>'");
	refuse("--kernel|/\xff", "invalid UTF-8 was detected in argument 2");
}

static void opts_features_that_are_not_compiled_in_are_unknown(void **state)
{
	static const char *const names[] = { "dbus-service-name", "dbus-object-path", "dbus-system-bus", "gdb", "fw-cfg-config",
					     "igvm",		   "host-data",	       "ivshmem",	  "pvmemcontrol" };
	char text[64];

	(void)state;
	for (size_t i = 0; i < nitems(names); i++) {
		(void)snprintf(text, sizeof(text), "--kernel|/k|--%s=x", names[i]);
		refuse(text, NULL);
	}
}

static void opts_double_dash_may_end_the_line(void **state)
{
	struct line l;
	struct opts o;

	(void)state;
	parse("-v|--", &l, &o);
	assert_int_equal(o.verbosity, 1);
	opts_fini(&o);
	parse("--disk|a|--kernel|/k|--", &l, &o);
	opts_fini(&o);
}

static void opts_no_arguments_print_the_help(void **state)
{
	struct err e;
	struct line l;
	struct opts o;
	struct wbuf usage, help;

	(void)state;
	cut(&l, "");
	assert_int_equal(l.argc, 1);
	assert_int_equal(opts_parse(l.argc, l.argv, &o, &e), -ENOMSG);
	wbuf_init(&usage, 1 << 16);
	wbuf_init(&help, 1 << 16);
	assert_int_equal(opts_usage(&usage, l.argv[0], &e), 0);
	assert_int_equal(opts_help(&help, l.argv[0]), 0);
	assert_int_equal(usage.len, help.len);
	assert_memory_equal(usage.p, help.p, help.len);
	wbuf_fini(&usage);
	wbuf_fini(&help);
}

static void opts_vm_options_need_something_to_boot(void **state)
{
	struct line l;
	struct opts o;

	(void)state;
	refuse("--cpus|boot=1", "'--cpus' needs one of '--kernel <kernel>', '--firmware <firmware>'");
	refuse("--cmdline|x", NULL);
	refuse("--initramfs|/i", NULL);
	refuse("--disk|path=a", NULL);
	refuse("--watchdog", NULL);
	refuse("--api-socket|/a|--rng|src=/dev/urandom", NULL);
	parse("--api-socket|/a|--log-file|/l|--no-shutdown|--event-monitor|path=/e|--seccomp|true", &l, &o);
	assert_false(opts_wants_vm(&o));
	opts_fini(&o);
	parse("--firmware|/f|--cpus|boot=1", &l, &o);
	assert_true(opts_wants_vm(&o));
	opts_fini(&o);
}

static void opts_help_and_version(void **state)
{
	struct line l;
	struct opts o;

	(void)state;
	parse("-h|--nosuch|stray", &l, &o); /* whatever follows */
	assert_true(o.help);
	opts_fini(&o);
	parse("--help|--kernel", &l, &o);
	assert_true(o.help);
	opts_fini(&o);
	parse("-vh|--nosuch", &l, &o);
	assert_true(o.help);
	opts_fini(&o);
	parse("--version|--cpus|boot=1", &l, &o); /* wins over what is missing */
	assert_true(o.version);
	opts_fini(&o);
	refuse("--nosuch|--help", NULL); /* not over what is malformed before it */
	refuse("--version|--nosuch", NULL);
}

/* --- the starter's look ---------------------------------------------------------------------------------------------- */

static void scan(const char *text, struct start_opts *s)
{
	struct line l;

	cut(&l, text);
	assert_int_equal(opts_scan_start(l.argc, l.argv, s), 0);
	/* borrowed from the line, which goes: keep what the test compares */
	static char socket[128], file[128];
	if (s->api_socket != NULL)
		s->api_socket = strcpy(socket, s->api_socket);
	if (s->log_file != NULL)
		s->log_file = strcpy(file, s->log_file);
}

static void opts_scan_start_picks_what_the_starter_needs(void **state)
{
	struct start_opts s;

	(void)state;
	scan("--kernel|/k|--disk|a|b|--api-socket|path=/a|-vv|--log-file=/l|-v", &s);
	assert_string_equal(s.api_socket, "path=/a");
	assert_string_equal(s.log_file, "/l");
	assert_int_equal(s.verbosity, 3);
	assert_false(s.help_or_version);
	scan("--kernel|/k", &s);
	assert_null(s.api_socket);
	assert_null(s.log_file);
	scan("-V", &s);
	assert_true(s.help_or_version);
	scan("--kernel|/k|-vh", &s);
	assert_true(s.help_or_version);
	scan("", &s);
	assert_true(s.help_or_version);
}

static void opts_scan_start_is_not_fooled_by_values(void **state)
{
	struct start_opts s;

	(void)state;
	scan("--cmdline=--api-socket=/evil|--kernel|/k", &s);
	assert_null(s.api_socket);
	scan("--kernel|/k|--|--api-socket|/evil", &s);
	assert_null(s.api_socket);
}

static void opts_scan_start_survives_what_is_wrong(void **state)
{
	struct start_opts s;

	(void)state;
	scan("--nosuch|stray|--kernel|--api-socket|/a|-xv|--log-file", &s);
	assert_string_equal(s.api_socket, "/a");
	assert_null(s.log_file);
	assert_false(s.help_or_version);
}

/* --- what is not served ---------------------------------------------------------------------------------------------- */

static void opts_known_options_that_are_not_served_are_refused_by_name(void **state)
{
	struct line l;
	struct opts o;
	struct err e;
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < OPT_COUNT; i++) {
		const struct opt_desc *d = &opt_table[i];
		char text[128], want[128];

		if (d->served == FS_SERVED)
			continue;
		(void)snprintf(text, sizeof(text), "--kernel|/k|--%s%s", d->name, d->arg == OA_FLAG ? "" : "=x");
		(void)snprintf(want, sizeof(want), "--%s is not supported by this build", d->name);
		parse(text, &l, &o);
		assert_int_equal(opts_check_served(&o, &e), -EINVAL);
		assert_string_equal(err_text(&e, 0), want);
		opts_fini(&o);
		n++;
	}
	assert_int_equal(n, 22);
	assert_int_equal(OPT_COUNT, 41);
}

static void opts_that_ask_for_nothing_are_accepted(void **state)
{
	struct line l;
	struct opts o;
	struct err e;

	(void)state;
	parse("--kernel|/k|--balloon|size=0|--seccomp|true", &l, &o);
	assert_int_equal(opts_check_served(&o, &e), 0);
	opts_fini(&o);
	parse("--kernel|/k|--balloon|size=1M", &l, &o);
	assert_int_equal(opts_check_served(&o, &e), -EINVAL);
	opts_fini(&o);
	parse("--kernel|/k|--seccomp|log", &l, &o);
	assert_int_equal(opts_check_served(&o, &e), -EINVAL);
	assert_string_equal(err_text(&e, 0), "--seccomp log is not supported by this build");
	opts_fini(&o);
}

/* --- the VM ---------------------------------------------------------------------------------------------------------- */

static void opts_make_a_config(void **state)
{
	struct line l;
	struct opts o;
	struct cfg_vm c, want;
	struct err e;

	(void)state;
	parse("--kernel|/k|--cmdline|console=ttyS0 \"x\"|--initramfs|/i|--cpus|boot=2|--memory|size=1G,shared=on|--serial|tty|"
	      "--console|off", &l, &o);
	assert_int_equal(opts_to_config(&o, &c, &e), 0);
	assert_true(c.has_payload);
	assert_string_equal(c.payload.kernel, "/k");
	assert_string_equal(c.payload.cmdline, "console=ttyS0 \"x\""); /* not parsed */
	assert_string_equal(c.payload.initramfs, "/i");
	assert_int_equal(c.cpus.boot_vcpus, 2);
	assert_int_equal(c.cpus.max_vcpus, 2);
	assert_true(c.memory.size == UINT64_C(1) << 30);
	assert_true(c.memory.shared);
	assert_int_equal(c.serial.mode, CONSOLE_MODE_TTY);
	obj_fini(&desc_cfg_vm, &c);
	opts_fini(&o);

	/* what is not given is as JSON's default */
	parse("--kernel|/k", &l, &o);
	assert_int_equal(opts_to_config(&o, &c, &e), 0);
	free(c.payload.kernel);
	c.payload.kernel = NULL;
	obj_init(&desc_cfg_vm, &want);
	want.has_payload = true;
	assert_true(obj_equal(&desc_cfg_vm, &c, &want));
	obj_fini(&desc_cfg_vm, &c);
	obj_fini(&desc_cfg_vm, &want);
	opts_fini(&o);
}

static void opts_devices_are_lists_in_order(void **state)
{
	struct line l;
	struct opts o;
	struct cfg_vm c;
	struct err e;

	(void)state;
	parse("--kernel|/k|--disk|path=/a,rate_limit_group=g|path=/b,readonly=on|--net|tap=t0|--disk|path=/c,socket=/s,"
	      "vhost_user=on,image_type=raw|--rate-limit-group|id=g,ops_size=1,ops_refill_time=2|--net|fd=[5,6],num_queues=4|"
	      "--rng|src=/dev/hwrng,id=r|--console|pty,id=c", &l, &o);
	assert_int_equal(opts_check_served(&o, &e), 0);
	if (opts_to_config(&o, &c, &e) != 0)
		fail_msg("%s", err_text(&e, 2));
	assert_int_equal(c.n_disks, 3);
	assert_true(c.has_disks && c.has_net && c.has_rate_limit_groups);
	assert_string_equal(c.disks[0].path, "/a");
	assert_string_equal(c.disks[1].path, "/b");
	assert_true(c.disks[1].readonly);
	assert_string_equal(c.disks[2].path, "/c");
	assert_int_equal(c.disks[2].image_type, IMAGE_TYPE_UNKNOWN); /* not for somebody else's back end */
	assert_int_equal(c.n_net, 2);
	assert_string_equal(c.net[0].tap, "t0");
	assert_int_equal(c.net[1].n_fds, 2);
	assert_int_equal(c.net[1].fds[1], 6);
	assert_int_equal(c.n_rate_limit_groups, 1);
	assert_int_equal(c.rate_limit_groups[0].rate_limiter_config.ops.size, 1);
	assert_string_equal(c.rng.src, "/dev/hwrng");
	assert_int_equal(c.console.mode, CONSOLE_MODE_PTY);
	obj_fini(&desc_cfg_vm, &c);
	opts_fini(&o);
}

static void opts_config_errors_are_a_chain(void **state)
{
	static const struct {
		const char *text, *middle, *inner;
		int code;
	} lines[] = {
		{ "--kernel|/k|--cpus|boot=x", "parsing --cpus", "boot: \"x\" is not valid", -EINVAL },
		{ "--kernel|/k|--cpus|nested=off", "parsing --cpus", "\"nested\": \"off\" is not supported by this build",
		  -ERR_INVALID },
		{ "--kernel|/k|--memory|size", "parsing --memory", "size: value missing", -EINVAL },
		{ "--kernel|/k|--serial|file=", "parsing --serial", "file: path missing", -EINVAL },
		{ "--kernel|/k|--console|id=x", "parsing --console", "no mode given", -EINVAL },
		{ "--kernel|/k|--rng|src", "parsing --rng", "src: value missing", -EINVAL },
		{ "--kernel|/k|--disk|path=/a|path=/b,nosuch=1", "parsing --disk", "unknown key \"nosuch\"", -EINVAL },
		{ "--kernel|/k|--disk|path=/a|--disk|iommu=on", "parsing --disk", "\"iommu\" is not supported by this build",
		  -ERR_INVALID },
		{ "--kernel|/k|--net|mac=1", "parsing --net", "mac: \"1\" is not valid", -EINVAL },
		{ "--kernel|/k|--rate-limit-group|id=g,bw_size=x", "parsing --rate-limit-group",
		  "bw_size: \"x\" is not valid", -EINVAL },
		{ "--kernel|/k|--debug-console|pty", "parsing --debug-console",
		  "\"mode\": \"pty\" is not supported by this build", -ERR_INVALID },
	};

	(void)state;
	for (size_t i = 0; i < nitems(lines); i++) {
		static const struct cfg_vm zero;
		struct line l;
		struct opts o;
		struct cfg_vm c;
		struct err e;

		parse(lines[i].text, &l, &o);
		assert_int_equal(opts_to_config(&o, &c, &e), lines[i].code);
		assert_int_equal(err_count(&e), 3);
		assert_string_equal(err_text(&e, 0), "parsing config");
		assert_string_equal(err_text(&e, 1), lines[i].middle);
		assert_string_equal(err_text(&e, 2), lines[i].inner);
		assert_memory_equal(&c, &zero, sizeof(c));
		opts_fini(&o);
	}
}

/* --- --api-socket ---------------------------------------------------------------------------------------------------- */

static void opts_api_socket_forms(void **state)
{
	static const struct {
		const char *text, *path;
		int r, fd;
	} forms[] = {
		{ "/run/a.sock", "/run/a.sock", 0, -1 },
		{ "path=/run/a.sock", "/run/a.sock", 0, -1 },
		{ "fd=3", "", 0, 3 },
		{ "fd=3,path=/a", "", 0, 3 },
		{ "path=/a,fd=7", "", 0, 7 },
		{ "path=\"/a,b\"", "/a,b", 0, -1 },
		{ "/a,b", "/a,b", 0, -1 },
		{ "/odd=name", "/odd=name", 0, -1 },
		{ "relative", "relative", 0, -1 },
		{ "fd=x", NULL, -EINVAL, -1 },
		{ "fd=-1", NULL, -EINVAL, -1 },
		{ "fd=2147483648", NULL, -EINVAL, -1 },
		{ "", NULL, -EINVAL, -1 },
		{ "path=\"\"", NULL, -EINVAL, -1 },
	};

	(void)state;
	for (size_t i = 0; i < nitems(forms); i++) {
		struct api_socket_arg a;
		struct err e;

		assert_int_equal(opts_parse_api_socket(forms[i].text, &a, &e), forms[i].r);
		assert_int_equal(a.fd, forms[i].fd);
		if (forms[i].path != NULL)
			assert_string_equal(a.path, forms[i].path);
	}
}

static void opts_api_socket_path_has_a_length(void **state)
{
	char path[5000];
	struct api_socket_arg a;

	(void)state;
	memset(path, '/', sizeof(path));
	path[4095] = '\0';
	assert_int_equal(opts_parse_api_socket(path, &a, NULL), 0);
	path[4095] = '/';
	path[4096] = '\0';
	assert_int_equal(opts_parse_api_socket(path, &a, NULL), -EINVAL);
}

/* --- texts ----------------------------------------------------------------------------------------------------------- */

static char *text_of(int (*put)(struct wbuf *out, const char *argv0), const char *argv0)
{
	struct wbuf w;

	wbuf_init(&w, 1 << 16);
	assert_int_equal(put(&w, argv0), 0);
	assert_int_equal(wbuf_u8(&w, 0), 0);
	return (char *)w.p;
}

static void opts_help_lists_every_served_option_in_order(void **state)
{
	char *help = text_of(opts_help, "/usr/bin/cloud-hypervisor"), *at = help;

	(void)state;
	assert_non_null(strstr(help, "\n\nUsage: cloud-hypervisor [OPTIONS]\n\nOptions:\n"));
	for (unsigned i = 0; i < OPT_COUNT; i++) {
		char name[64];
		char *found;

		(void)snprintf(name, sizeof(name), i == OPT_VERBOSE ? " -v..." : " --%s", opt_table[i].name);
		if (opt_table[i].served == FS_SERVED) {
			found = strstr(at, name);
			if (found == NULL)
				fail_msg("%s is missing or out of order", name);
			at = found;
		}
	}
	assert_null(strstr(help, "--pmem"));
	assert_non_null(strstr(help, "--disk <disk>...\n"));
	assert_non_null(strstr(help, "queue_affinity=[<key>@<value>]"));
	assert_non_null(strstr(help, "[default: tty]"));
	assert_non_null(strstr(help, "[default: size=512M]"));
	assert_non_null(strstr(help, "--kernel <kernel>\n"));
	free(help);
}

static void opts_usage_starts_with_error(void **state)
{
	static const char want[] =
		"error: unexpected argument '--x' found\n\nUsage: cloister [OPTIONS]\n\nFor more information, try '--help'.\n";
	struct err e;
	struct wbuf w;

	(void)state;
	(void)err_set(&e, -EINVAL, "unexpected argument '--x' found");
	wbuf_init(&w, 4096);
	assert_int_equal(opts_usage(&w, NULL, &e), 0);
	assert_int_equal(w.len, strlen(want));
	assert_memory_equal(w.p, want, w.len);
	wbuf_fini(&w);
}

static void opts_version_is_what_clients_parse(void **state)
{
	static const char plain[] = "cloud-hypervisor v54.0.0\nMigration Protocol Versions: 0\n";
	struct wbuf w;

	(void)state;
	wbuf_init(&w, 4096);
	assert_int_equal(opts_version(&w, 0), 0);
	assert_int_equal(w.len, strlen(plain));
	assert_memory_equal(w.p, plain, w.len);
	wbuf_reset(&w);
	assert_int_equal(opts_version(&w, 1), 0);
	assert_int_equal(wbuf_u8(&w, 0), 0);
	assert_string_equal((char *)w.p + strlen(plain), "Enabled features: [\"kvm\"]\n");
	assert_null(strchr((char *)w.p, '/'));
	wbuf_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opts_values_are_taken_with_and_without_equals_sign),
		cmocka_unit_test(opts_multi_values_add_up_in_order),
		cmocka_unit_test(opts_optional_value_may_be_left_out),
		cmocka_unit_test(opts_repeats_are_refused),
		cmocka_unit_test(opts_verbosity_counts),
		cmocka_unit_test(opts_usage_errors),
		cmocka_unit_test(opts_features_that_are_not_compiled_in_are_unknown),
		cmocka_unit_test(opts_double_dash_may_end_the_line),
		cmocka_unit_test(opts_no_arguments_print_the_help),
		cmocka_unit_test(opts_vm_options_need_something_to_boot),
		cmocka_unit_test(opts_help_and_version),
		cmocka_unit_test(opts_scan_start_picks_what_the_starter_needs),
		cmocka_unit_test(opts_scan_start_is_not_fooled_by_values),
		cmocka_unit_test(opts_scan_start_survives_what_is_wrong),
		cmocka_unit_test(opts_known_options_that_are_not_served_are_refused_by_name),
		cmocka_unit_test(opts_that_ask_for_nothing_are_accepted),
		cmocka_unit_test(opts_make_a_config),
		cmocka_unit_test(opts_devices_are_lists_in_order),
		cmocka_unit_test(opts_config_errors_are_a_chain),
		cmocka_unit_test(opts_api_socket_forms),
		cmocka_unit_test(opts_api_socket_path_has_a_length),
		cmocka_unit_test(opts_help_lists_every_served_option_in_order),
		cmocka_unit_test(opts_usage_starts_with_error),
		cmocka_unit_test(opts_version_is_what_clients_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
