/* SPDX-License-Identifier: ISC */
/* Texts here come from the kernel; a group's name in them is the operator's. */
#include "jail/jail_cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/str.h"

enum { TEXT_MAX = 256 * 1024 };

/* #syscalls monitor: openat read write close */
static char *read_file(const char *path)
{
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t cap = 4096, n = 0;
	char *buf = fd >= 0 ? malloc(cap) : NULL;

	while (buf != NULL) {
		ssize_t r = read(fd, buf + n, cap - 1 - n);

		if (r <= 0) {
			buf[n] = '\0';
			return buf;
		}
		n += (size_t)r;
		if (n + 1 < cap)
			continue;
		char *more = cap < TEXT_MAX ? realloc(buf, cap * 2) : NULL;
		if (more == NULL) {
			free(buf);
			return NULL;
		}
		buf = more;
		cap *= 2;
	}
	return NULL;
}

/* Is every word of the comma list @words in the comma list @list? */
static bool has_words(const char *list, size_t list_len, const char *words)
{
	for (const char *w = words; *w != '\0';) {
		size_t n = strcspn(w, ",");
		bool found = false;

		for (size_t i = 0; i < list_len && !found;) {
			size_t k = 0;

			while (i + k < list_len && list[i + k] != ',')
				k++;
			found = k == n && memcmp(list + i, w, n) == 0;
			i += k + 1;
		}
		if (!found)
			return false;
		w += n + (w[n] == ',');
	}
	return true;
}

static bool is_octal(const char *p)
{
	return p[0] >= '0' && p[0] <= '3' && p[1] >= '0' && p[1] <= '7' && p[2] >= '0' && p[2] <= '7';
}

/* Undo the kernel's \ooo for blanks in names. */
static bool unescape(const char *p, size_t n, char *out, size_t cap)
{
	size_t k = 0;

	for (size_t i = 0; i < n; k++) {
		if (k + 1 >= cap)
			return false;
		if (p[i] == '\\' && i + 3 < n && is_octal(p + i + 1)) {
			out[k] = (char)((p[i + 1] - '0') << 6 | (p[i + 2] - '0') << 3 | (p[i + 3] - '0'));
			i += 4;
		} else {
			out[k] = p[i++];
		}
	}
	out[k] = '\0';
	return true;
}

/* proc(5): "36 35 98:0 /root /mount/point opts tags... - type source superopts". Fields, blanks between them. */
struct mount_line {
	const char *root, *point, *type, *super;
	size_t root_len, point_len, type_len, super_len;
};

static bool split_line(const char *line, size_t len, struct mount_line *m)
{
	const char *end = line + len, *p = line;
	int field = 0, after_dash = -1;

	*m = (struct mount_line){ 0 };
	while (p < end) {
		size_t n = 0;

		while (p + n < end && p[n] != ' ')
			n++;
		if (after_dash < 0 && n == 1 && *p == '-' && field >= 6)
			after_dash = 0;
		else if (after_dash >= 0)
			after_dash++;
		if (field == 3)
			m->root = p, m->root_len = n;
		else if (field == 4)
			m->point = p, m->point_len = n;
		if (after_dash == 1)
			m->type = p, m->type_len = n;
		else if (after_dash == 3)
			m->super = p, m->super_len = n;
		field++;
		p += n + 1;
	}
	return m->super != NULL;
}

static bool is_word(const char *p, size_t n, const char *word)
{
	return n == strlen(word) && memcmp(p, word, n) == 0;
}

/* The part of @path below what the mount shows, NULL when it shows another part of the hierarchy. */
static const char *below(const char *root, const char *path)
{
	size_t n = strlen(root);

	if (strcmp(root, "/") == 0)
		return path;
	if (strncmp(path, root, n) != 0 || (path[n] != '/' && path[n] != '\0'))
		return NULL;
	return path + n;
}

static bool locate_in(const struct mount_line *m, const char *controllers, const char *path, char *out, size_t cap)
{
	char root[4096], point[4096];
	bool v2 = *controllers == '\0';

	if (!is_word(m->type, m->type_len, v2 ? "cgroup2" : "cgroup") ||
	    (!v2 && !has_words(m->super, m->super_len, controllers)))
		return false;
	if (!unescape(m->root, m->root_len, root, sizeof(root)) ||
	    !unescape(m->point, m->point_len, point, sizeof(point)))
		return false;
	const char *rest = below(root, path);
	return rest != NULL && str_fmt(out, cap, "%s%s", point, strcmp(rest, "/") == 0 ? "" : rest);
}

int jail_cgroup_locate(const char *mountinfo, const char *controllers, const char *path, char *out, size_t cap)
{
	for (const char *line = mountinfo; *line != '\0';) {
		size_t len = strcspn(line, "\n");
		struct mount_line m;

		if (split_line(line, len, &m) && locate_in(&m, controllers, path, out, cap))
			return 0;
		line += len + (line[len] == '\n');
	}
	return -ENOENT;
}

static int join(const char *dir, const pid_t *pids, size_t n, struct err *e)
{
	char path[8300], text[16];
	_cleanup_(fd_closep) int fd = -1;

	if (!str_fmt(path, sizeof(path), "%s/cgroup.procs", dir))
		return err_set(e, -ENAMETOOLONG, "the cgroup's path is too long");
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, -errno, "cannot open \"%s\"", path);
	for (size_t i = 0; i < n; i++) {
		int len = snprintf(text, sizeof(text), "%d\n", (int)pids[i]);

		/* One that has just died has left all groups. */
		if (write(fd, text, (size_t)len) < 0 && errno != ESRCH)
			return err_sys(e, -errno, "cannot write to \"%s\"", path);
	}
	return 0;
}

/* One line of /proc/PID/cgroup: "N:controllers:/path"; v2 is "0::/path". */
static int follow_line(const char *line, size_t len, const char *mountinfo, const pid_t *pids, size_t n,
		       struct err *e)
{
	char copy[8192], dir[8192];
	char *controllers, *path;

	if (!str_fmt(copy, sizeof(copy), "%.*s", (int)(len > 8191 ? 8191 : len), line) ||
	    (controllers = strchr(copy, ':')) == NULL || (path = strchr(controllers + 1, ':')) == NULL)
		return err_set(e, -EBADMSG, "a cgroup of the started process cannot be told");
	*controllers++ = '\0';
	*path++ = '\0';
	if (jail_cgroup_locate(mountinfo, controllers, path, dir, sizeof(dir)) < 0)
		return err_set(e, -ENOENT, "the cgroup \"%s\" is not mounted here", path);
	return join(dir, pids, n, e);
}

static bool has_line(const char *text, const char *line, size_t len)
{
	for (const char *p = text; *p != '\0';) {
		size_t n = strcspn(p, "\n");

		if (n == len && memcmp(p, line, len) == 0)
			return true;
		p += n + (p[n] == '\n');
	}
	return false;
}

/* Only where the two differ: a hierarchy that is not mounted here is no obstacle while nobody moved in it. */
static int follow(const char *theirs, const char *ours, const pid_t *pids, size_t n, struct err *e)
{
	char *mountinfo = read_file("/proc/self/mountinfo");
	int first = 0;

	if (mountinfo == NULL)
		return err_set(e, -EIO, "cannot read /proc/self/mountinfo");
	for (const char *line = theirs; *line != '\0';) {
		size_t len = strcspn(line, "\n");

		if (!has_line(ours, line, len)) {
			int r = follow_line(line, len, mountinfo, pids, n, first == 0 ? e : NULL);

			first = first == 0 ? r : first;
		}
		line += len + (line[len] == '\n');
	}
	free(mountinfo);
	return first;
}

int jail_cgroup_follow(pid_t leader, const pid_t *pids, size_t n, struct err *e)
{
	char path[40];
	int r = 0;

	(void)str_fmt(path, sizeof(path), "/proc/%d/cgroup", (int)leader);
	char *theirs = read_file(path), *ours = read_file("/proc/self/cgroup");
	if (theirs == NULL || ours == NULL)
		r = err_set(e, -EIO, "cannot read %s", path);
	else if (strcmp(theirs, ours) != 0)
		r = follow(theirs, ours, pids, n, e);
	free(theirs);
	free(ours);
	return r;
}
