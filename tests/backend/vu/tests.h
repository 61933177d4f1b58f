/* SPDX-License-Identifier: ISC */
/*
 * TAP for test programs in C that drive processes. Each test runs in a child with a process group and a time limit of its own,
 * so that one that dies or hangs takes nothing but itself along. Arguments choose tests whose name contains one.
 *
 *	static bool random_bytes_come(int mode) { ...; WANT(n == 16, "%d bytes", n); return true; }
 *	static const struct vu_test tests[] = { TEST(random_bytes_come, VU_ALONE), ... };
 *	int main(int argc, char **argv) { return vu_tests_main(tests, nitems(tests), argc, argv); }
 */
#ifndef TESTS_BACKEND_VU_TESTS_H
#define TESTS_BACKEND_VU_TESTS_H

#include <stdbool.h>

#include "common/cleanup.h"

struct vu_test {
	const char *name;
	bool (*run)(int arg);
	int arg;
	const char *suffix;
	unsigned seconds; /* 0: 60 */
};
#define TEST(fn, a) { .name = #fn, .run = (fn), .arg = (a), .suffix = "" }
/* Once with the helper alone, once as a jailed parent starts it. */
#define TEST_BOTH(fn) \
	{ .name = #fn, .run = (fn), .arg = VU_ALONE, .suffix = ", alone" }, \
	{ .name = #fn, .run = (fn), .arg = VU_PRESET, .suffix = ", jailed" }

void vu_diag(const char *fmt, ...) __printf(1, 2);
#define WANT(cond, ...) \
	do { \
		if (!(cond)) { \
			vu_diag("%s:%d: %s", __FILE__, __LINE__, #cond); \
			vu_diag("  " __VA_ARGS__); \
			return false; \
		} \
	} while (0)
/* This test cannot run here. */
bool vu_skip(const char *why);

int vu_tests_main(const struct vu_test *tests, unsigned n, int argc, char **argv);

#endif
