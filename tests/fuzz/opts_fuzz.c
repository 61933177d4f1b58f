/* SPDX-License-Identifier: ISC */
/*
 * The command line: the input is argv, arguments ended by NUL. What the strict parse accepts, the starter's tolerant
 * look must have read the same way; the VM that it describes must pass the binary form's ranges.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/codec_bin.h"
#include "proto/opts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARGS_MAX = 64 };

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_config(const struct opts *o)
{
	struct cfg_vm cfg;
	struct wbuf bin;
	struct err e;

	if (opts_to_config(o, &cfg, &e) < 0) {
		must(err_count(&e) >= 2);
		return;
	}
	wbuf_init(&bin, 1 << 24);
	must(bin_encode(&desc_cfg_vm, &cfg, &bin) == 0);
	wbuf_fini(&bin);
	obj_fini(&desc_cfg_vm, &cfg);
}

static void check_accepted(const struct opts *o, const struct start_opts *s)
{
	struct api_socket_arg arg;
	struct err e;

	must(s->help_or_version == (o->help || o->version));
	must(s->api_socket == opts_value(o, OPT_API_SOCKET));
	must(s->log_file == opts_value(o, OPT_LOG_FILE));
	must(s->verbosity == o->verbosity);
	(void)!opts_check_served(o, &e);
	if (s->api_socket != NULL && opts_parse_api_socket(s->api_socket, &arg, &e) == 0)
		must((arg.fd >= 0) == (arg.path[0] == '\0'));
	if (opts_wants_vm(o))
		check_config(o);
}

static void run(int argc, char **argv)
{
	struct start_opts s;
	struct opts o;
	struct err e = { 0 };
	struct wbuf w;
	int r;

	must(opts_scan_start(argc, argv, &s) == 0);
	r = opts_parse(argc, argv, &o, &e);
	if (r == 0) {
		check_accepted(&o, &s);
		opts_fini(&o);
		return;
	}
	must(r == -EINVAL || (r == -ENOMSG && argc == 1));
	wbuf_init(&w, 1 << 20);
	must(opts_usage(&w, argv[0], &e) == 0);
	wbuf_fini(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *argv[ARGS_MAX + 1] = { 0 };
	char *text = malloc(size + 1), *p = text;
	char name[] = "cloister";
	int argc = 0;

	must(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	argv[argc++] = name;
	while (p < text + size && argc < ARGS_MAX) {
		argv[argc++] = p;
		p += strlen(p) + 1;
	}
	run(argc, argv);
	free(text);
	return 0;
}
