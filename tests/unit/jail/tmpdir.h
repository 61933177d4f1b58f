/* SPDX-License-Identifier: ISC */
/* A folder of the test's own as the current directory, removed with all it has. */
#ifndef TESTS_UNIT_JAIL_TMPDIR_H
#define TESTS_UNIT_JAIL_TMPDIR_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char tmpdir_path[] = "/tmp/cloister-unit-XXXXXX";

static inline int tmpdir_setup(void **state)
{
	(void)state;
	(void)snprintf(tmpdir_path, sizeof(tmpdir_path), "/tmp/cloister-unit-XXXXXX");
	return mkdtemp(tmpdir_path) == NULL || chdir(tmpdir_path) < 0 ? -1 : 0;
}

static inline int tmpdir_teardown(void **state)
{
	DIR *d = opendir(".");
	struct dirent *ent;

	(void)state;
	while (d != NULL && (ent = readdir(d)) != NULL)
		if (unlink(ent->d_name) < 0)
			(void)rmdir(ent->d_name); /* also fails for "." and "..", which is well */
	if (d != NULL)
		(void)closedir(d);
	if (chdir("/") < 0)
		return -1;
	return rmdir(tmpdir_path);
}

#endif
