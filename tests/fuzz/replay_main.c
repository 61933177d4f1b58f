/* SPDX-License-Identifier: ISC */
/*
 * Runs a fuzz target over kept inputs, without a fuzzer: each argument is a file or a folder of files. TAP, one test a
 * file; a target that crashes takes the plan down with it, which the runner counts as failures.
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUTS_MAX = 4096 };

static struct {
	char *path[INPUTS_MAX];
	size_t n;
} inputs;

static void add_path(const char *path)
{
	struct dirent **names = NULL;
	struct stat st;

	if (stat(path, &st) < 0 || inputs.n == INPUTS_MAX) {
		fprintf(stderr, "%s: %s\n", path, inputs.n == INPUTS_MAX ? "too many inputs" : strerror(errno));
		exit(1);
	}
	if (!S_ISDIR(st.st_mode)) {
		inputs.path[inputs.n++] = strdup(path);
		return;
	}
	int count = scandir(path, &names, NULL, alphasort);
	for (int i = 0; i < count; i++) {
		char below[4096];

		if (names[i]->d_name[0] != '.') {
			(void)snprintf(below, sizeof(below), "%s/%s", path, names[i]->d_name);
			add_path(below);
		}
		free(names[i]);
	}
	free(names);
}

/* The input lies in a block of exactly its size, so that ASan sees a read behind it. */
static uint8_t *read_all(const char *path, size_t *size)
{
	FILE *f = fopen(path, "rb");
	struct stat st;
	uint8_t *data = NULL;

	if (f == NULL)
		return NULL;
	if (fstat(fileno(f), &st) == 0) {
		*size = (size_t)st.st_size;
		data = malloc(*size > 0 ? *size : 1);
		if (data != NULL && fread(data, 1, *size, f) != *size) {
			free(data);
			data = NULL;
		}
	}
	(void)fclose(f);
	return data;
}

int main(int argc, char **argv)
{
	bool failed = false;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++)
		add_path(argv[i]);
	printf("1..%zu\n", inputs.n);
	for (size_t i = 0; i < inputs.n; i++) {
		size_t size = 0;
		uint8_t *data = read_all(inputs.path[i], &size);
		const char *base = strrchr(inputs.path[i], '/');

		printf("# %s\n", inputs.path[i]);
		if (data != NULL)
			(void)LLVMFuzzerTestOneInput(data, size);
		printf("%s %zu - %s\n", data != NULL ? "ok" : "not ok", i + 1,
		       base != NULL ? base + 1 : inputs.path[i]);
		failed = failed || data == NULL;
		free(data);
		free(inputs.path[i]);
	}
	return failed ? 1 : 0;
}
