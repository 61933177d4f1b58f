/* SPDX-License-Identifier: ISC */
/*
 * What the monitor reads of /proc, and the word that the starter hands it: the first byte chooses. The kernel writes the
 * former; names of cgroups and mount points in it are the operator's.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "jail/jail_cgroup.h"
#include "jail/verify.h"
#include "tests/fuzz/ops.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct verify_want want = { .uid = 1900000002, .gid = 1900000002, .own_uid = true, .nofile = 10 };

static void locate(const char *text)
{
	static const char *const hierarchies[] = { "", "memory", "cpu,cpuacct", "name=systemd" };
	char out[64];

	for (size_t i = 0; i < nitems(hierarchies); i++) {
		memset(out, 'x', sizeof(out));
		if (jail_cgroup_locate(text, hierarchies[i], "/machine/vm", out, sizeof(out)) == 0)
			ops_promise(memchr(out, '\0', sizeof(out)) != NULL);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e;

	if (size == 0)
		return 0;
	char *text = malloc(size);
	ops_promise(text != NULL);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	err_clear(&e);
	switch (data[0] % 3) {
	case 0:
		if (verify_status(text, &want, &e) < 0)
			ops_promise(err_count(&e) == 1);
		break;
	case 1:
		if (verify_limits(text, &want, &e) < 0)
			ops_promise(err_count(&e) == 1);
		break;
	default:
		locate(text);
		break;
	}
	free(text);
	return 0;
}
