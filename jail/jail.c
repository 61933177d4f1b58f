/* SPDX-License-Identifier: ISC */
#include "jail/jail.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/str.h"
#include "jail/jail_internal.h"
#include "jail/uids.h"

static const char *const layer_names[] = {
#define JAIL_LAYER_NAME(name, text) [JAIL_LAYER_##name] = text,
	JAIL_LAYERS(JAIL_LAYER_NAME)
#undef JAIL_LAYER_NAME
};
_Static_assert(JAIL_LAYER_COUNT <= 32, "struct jail_missing has 32 bits");

const char *jail_layer_name(enum jail_layer layer)
{
	return (unsigned)layer < JAIL_LAYER_COUNT ? layer_names[layer] : "unknown layer";
}

void jail_note(struct jail_missing *m, enum jail_layer layer, int err)
{
	uint32_t bit = UINT32_C(1) << layer;

	switch (err < 0 ? -err : err) {
	case ENOSYS:
	case EINVAL:
	case EOPNOTSUPP:
	case ENODEV:
	case ENOPROTOOPT:
		m->old |= bit;
		break;
	default:
		m->perm |= bit;
		break;
	}
}

/* #syscalls monitor: prctl(PR_SET_DUMPABLE, PR_SET_NAME) -- of a child before its own filter */
void jail_post_exec(const char *name)
{
	const char *slash = strrchr(name, '/');
	char comm[16];

	/* LeakSanitizer attaches to its own process. */
	if (!JAIL_SANITIZER)
		(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	(void)str_fmt(comm, sizeof(comm), "%s", slash != NULL ? slash + 1 : name);
	(void)prctl(PR_SET_NAME, comm, 0, 0, 0);
}

/* #syscalls monitor: getuid -- of a child before its own filter */
bool jail_has_own_uid(void)
{
	return getuid() >= UIDS_FIRST;
}

void jail_lock_landlock(struct jail_missing *m)
{
	jail_landlock_deny_all(m);
}

int jail_lock_rest(enum jail_role role, const struct jail_limits *lim, struct jail_missing *m, struct err *e)
{
	int r;

	jail_limits_exact(lim, m);
	r = jail_seccomp_install(role, true, m, e);
	return r < 0 ? err_wrap(e, r, "locking the process") : 0;
}

int jail_lock(enum jail_role role, const struct jail_limits *lim, struct jail_missing *m, struct err *e)
{
	jail_lock_landlock(m);
	return jail_lock_rest(role, lim, m, e);
}

#ifdef CLOISTER_SANITIZER
/* A process that cannot be traced cannot be searched for leaks either: LeakSanitizer would end it with a status of its
 * own. (The environment, where this is usually said, is empty.) */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif
