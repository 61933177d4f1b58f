/* SPDX-License-Identifier: ISC */
#include "jail/verify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/str.h"

enum { TEXT_MAX = 8192 };

/* The rest of the line "Key:<tab>rest", or NULL. */
static const char *line_of(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *p = text; p != NULL; p = strchr(p, '\n')) {
		if (*p == '\n')
			p++;
		if (strncmp(p, key, n) == 0 && p[n] == ':')
			return p + n + 1 + strspn(p + n + 1, " \t");
	}
	return NULL;
}

/* A process that is being ended by its filter shows a mode of its own (Linux: SECCOMP_MODE_DEAD). */
enum { SECCOMP_DEAD = 3 };

static bool demanded(const struct verify_want *w, enum jail_layer layer)
{
	return ((w->missing.perm | w->missing.old) >> layer & 1) == 0;
}

static int check_ids(const char *text, const char *key, unsigned want, struct err *e)
{
	const char *line = line_of(text, key);
	unsigned id[4];

	if (line == NULL || sscanf(line, "%u %u %u %u", &id[0], &id[1], &id[2], &id[3]) != 4)
		return err_set(e, -EPERM, "%s cannot be told", key);
	for (int i = 0; i < 4; i++)
		if (id[i] != want)
			return err_set(e, -EPERM, "%s is %u instead of %u", key, id[i], want);
	return 0;
}

static int check_number(const char *text, const char *key, int base, uint64_t want, struct err *e)
{
	const char *line = line_of(text, key);
	uint64_t v;

	if (line == NULL || sscanf(line, base == 16 ? "%" SCNx64 : "%" SCNu64, &v) != 1)
		return err_set(e, -EPERM, "%s cannot be told", key);
	if (v != want)
		return err_set(e, -EPERM, "%s is %" PRIx64 " instead of %" PRIx64, key, v, want);
	return 0;
}

static int check_groups(const char *text, struct err *e)
{
	const char *line = line_of(text, "Groups");

	if (line == NULL)
		return err_set(e, -EPERM, "Groups cannot be told");
	return *line == '\n' || *line == '\0' ? 0 : err_set(e, -EPERM, "Groups are left");
}

static int check_threads(const char *text, const struct verify_want *w, struct err *e)
{
	const char *line = line_of(text, "Threads");
	unsigned n;

	if (line == NULL || sscanf(line, "%u", &n) != 1)
		return err_set(e, -EPERM, "Threads cannot be told");
	return n <= w->threads ? 0 : err_set(e, -EPERM, "Threads is %u instead of at most %u", n, w->threads);
}

bool verify_fd_is_planned(const struct verify_want *w, uint64_t n)
{
	return n < w->fds_below || (n < 64 && (w->fds >> n & 1) != 0);
}

int verify_status(const char *text, const struct verify_want *w, struct err *e)
{
	static const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapAmb" };
	int r = check_ids(text, "Uid", w->uid, e);

	if (r == 0)
		r = check_ids(text, "Gid", w->gid, e);
	if (r == 0 && w->own_uid)
		r = check_groups(text, e);
	for (size_t i = 0; r == 0 && i < nitems(sets); i++)
		r = check_number(text, sets[i], 16, 0, e);
	if (r == 0 && demanded(w, JAIL_LAYER_CAPS))
		r = check_number(text, "CapBnd", 16, 0, e);
	if (r == 0 && demanded(w, JAIL_LAYER_NNP))
		r = check_number(text, "NoNewPrivs", 10, 1, e);
	if (r == 0 && check_number(text, "Seccomp", 10, SECCOMP_DEAD, NULL) == 0)
		return err_set(e, -ESRCH, "its filter is ending it");
	if (r == 0 && demanded(w, JAIL_LAYER_SECCOMP))
		r = check_number(text, "Seccomp", 10, 2, e);
	return r == 0 ? check_threads(text, w, e) : r;
}

/* A row is the name, padded, then the soft and the hard limit. */
int verify_limits(const char *text, const struct verify_want *w, struct err *e)
{
	static const char name[] = "Max open files";
	const char *row = strstr(text, name);
	unsigned soft, hard;

	if (!demanded(w, JAIL_LAYER_LIMITS))
		return 0;
	if (row == NULL || sscanf(row + strlen(name), "%u %u", &soft, &hard) != 2)
		return err_set(e, -EPERM, "the limit on open files cannot be told");
	if (soft > w->nofile || hard > w->nofile)
		return err_set(e, -EPERM, "the limit on open files is %u instead of %u", hard, w->nofile);
	return 0;
}

/* #syscalls monitor: openat read close */
static int read_text(int dir, const char *name, char *buf, struct err *e)
{
	_cleanup_(fd_closep) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	ssize_t r = -1;

	if (fd >= 0)
		while (n < TEXT_MAX - 1 && (r = read(fd, buf + n, TEXT_MAX - 1 - n)) > 0)
			n += (size_t)r;
	if (r < 0)
		return err_sys(e, -errno, "cannot read /proc/PID/%s", name);
	buf[n] = '\0';
	return 0;
}

/* The directory of a process that is not dumpable opens for root only; without the right the count stays unknown, and
 * the limit, checked already, bounds it.
 * #syscalls monitor: openat fcntl(F_GETFL, F_SETFD) newfstatat getdents64 lseek close
 */
static int check_fds(int proc, const struct verify_want *w, struct err *e)
{
	int fd = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *ent;
	int r = 0;

	if (d == NULL) {
		r = errno == EACCES || errno == EPERM ? 0 : err_sys(e, -errno, "cannot read /proc/PID/fd");
		fd_closep(&fd);
		return r;
	}
	while (r == 0 && (ent = readdir(d)) != NULL) {
		uint64_t n;

		if (ent->d_name[0] == '.')
			continue;
		if (str_to_u64(ent->d_name, 0, UINT32_MAX, &n) < 0 || !verify_fd_is_planned(w, n))
			r = err_set(e, -EPERM, "descriptor %s is open", ent->d_name);
	}
	(void)closedir(d);
	return r;
}

int verify_process(pid_t pid, const struct verify_want *w, struct err *e)
{
	_cleanup_(fd_closep) int proc = -1;
	char path[32], text[TEXT_MAX];
	int r;

	(void)str_fmt(path, sizeof(path), "/proc/%d", (int)pid);
	proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return err_sys(e, -errno, "cannot open %s", path);
	r = read_text(proc, "status", text, e);
	if (r == 0)
		r = verify_status(text, w, e);
	if (r == 0)
		r = read_text(proc, "limits", text, e);
	if (r == 0)
		r = verify_limits(text, w, e);
	return r == 0 ? check_fds(proc, w, e) : r;
}
