/* SPDX-License-Identifier: ISC */
/*
 * The monitor without an API and without a VM: this program is the started process, vmmd and apid in one, and says to
 * the monitor what its standard input tells it to (as root):
 *
 *	mondrive FOLDER UIDS	start FOLDER/cloister-monitor; its block of user ids begins at UIDS (-1: none)
 *	apid NAME [FIELD=VALUE ...]	send that message as apid; FIELD may be "config.path", a list's values have commas between
 *	vmmd NAME [FIELD=VALUE ...]	the same as vmmd
 *	close N				close a descriptor that came
 *
 * What the monitor says is printed, a line each: "apid NAME FIELD=VALUE ... fds=N,N", "vmmd ...", "log LEVEL TEXT". Texts are
 * percent-encoded. The descriptors that came stay open at their numbers.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "jail/monitor_adopt.h"
#include "proto/chan.h"
#include "proto/msg.h"

enum { LINE_MAX_ = 16384, QUEUED = 1 << 20 };

struct drive {
	struct chan *vmmd, *apid;
	int log;
	pid_t monitor;
	uint32_t id;
};

__attribute__((noreturn)) static void die(const char *what)
{
	(void)fprintf(stderr, "mondrive: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* --- printing --------------------------------------------------------------------------------------------------- */

static void print_text(const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s <= ' ' || *s == '%' || *s == '=' || *s == ',' || (unsigned char)*s > '~')
			(void)printf("%%%02x", (unsigned char)*s);
		else
			(void)putchar(*s);
	}
}

static void print_object(const struct desc *d, const void *obj, const char *prefix);

static void print_value(const struct field_desc *f, const void *p, const char *name)
{
	uint64_t v = 0;

	switch (f->kind) {
	case FK_OBJ:
		print_object(f->obj, p, name);
		return;
	case FK_STR:
		(void)printf(" %s=", name);
		if (*(char *const *)p != NULL)
			print_text(*(char *const *)p);
		return;
	case FK_BOOL:
	case FK_U8:
		v = *(const uint8_t *)p;
		break;
	case FK_U16:
		v = *(const uint16_t *)p;
		break;
	case FK_I32:
		(void)printf(" %s=%d", name, *(const int32_t *)p);
		return;
	case FK_U32:
	case FK_ENUM:
		v = *(const uint32_t *)p;
		break;
	case FK_U64:
		v = *(const uint64_t *)p;
		break;
	case FK_ANY:
		return;
	}
	(void)printf(" %s=%llu", name, (unsigned long long)v);
}

static void print_object(const struct desc *d, const void *obj, const char *prefix)
{
	char name[256];

	for (size_t i = 0; i < d->n; i++) {
		const struct field_desc *f = &d->f[i];

		if (!field_is_list(f)) {
			(void)snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix != '\0' ? "." : "", f->name);
			print_value(f, (const char *)obj + f->off, name);
			continue;
		}
		for (size_t k = 0; k < field_count(f, obj); k++) {
			(void)snprintf(name, sizeof(name), "%s%s%s.%zu", prefix, *prefix != '\0' ? "." : "", f->name, k);
			print_value(f, (const char *)field_list(f, obj) + k * f->elem, name);
		}
	}
}

static void print_message(const char *who, struct chan_msg *m)
{
	const struct desc *d = msg_type_desc(m->type);
	const char *name = msg_type_name(m->type);
	struct err e;

	(void)printf("%s %s id=%u", who, name != NULL ? name : "?", m->id);
	if (d != NULL) {
		void *obj = calloc(1, d->size);

		if (obj == NULL || chan_decode(m, d, obj, &e) < 0)
			die("a message cannot be decoded");
		print_object(d, obj, "");
		obj_fini(d, obj);
		free(obj);
	}
	(void)printf(" fds=");
	for (unsigned i = 0; i < m->nfds; i++)
		(void)printf("%s%d", i > 0 ? "," : "", fd_take(&m->fds[i]));
	(void)putchar('\n');
}

/* --- sending ---------------------------------------------------------------------------------------------------- */

static enum msg_type type_by_name(const char *name)
{
	for (unsigned t = 1; t < 0x1000; t++) {
		const char *n = msg_type_name((enum msg_type)t);

		if (n != NULL && strcmp(n, name) == 0)
			return (enum msg_type)t;
	}
	errno = EINVAL;
	die(name);
}

static uint64_t number(const struct field_desc *f, const char *text)
{
	for (unsigned i = 0; f->kind == FK_ENUM && i < f->en->n; i++)
		if (f->en->names[i].json != NULL && strcmp(f->en->names[i].json, text) == 0)
			return i;
	if (f->kind == FK_I32)
		return (uint32_t)strtol(text, NULL, 0);
	return strcmp(text, "on") == 0 ? 1 : strcmp(text, "off") == 0 ? 0 : strtoull(text, NULL, 0);
}

static void set_list(const struct field_desc *f, void *obj, char *text)
{
	char *list = calloc(300, f->elem), *save = NULL;
	size_t n = 0;

	if (list == NULL)
		die("memory");
	for (char *w = strtok_r(text, ",", &save); w != NULL && n < 300; w = strtok_r(NULL, ",", &save))
		field_store(f->kind, list + f->elem * n++, number(f, w));
	field_set_ptr(f, obj, list);
	field_set_count(f, obj, n);
}

/* "config.path" to @text. */
static void set_field(const struct desc *d, void *obj, char *name, char *text)
{
	char *dot = strchr(name, '.');

	if (dot != NULL)
		*dot = '\0';
	for (size_t i = 0; i < d->n; i++) {
		const struct field_desc *f = &d->f[i];

		if (strcmp(f->name, name) != 0)
			continue;
		if (f->pres == FP_OPT || f->pres == FP_OPTLIST)
			field_set_has(f, obj, true);
		if (dot != NULL)
			set_field(f->obj, (char *)obj + f->off, dot + 1, text);
		else if (field_is_list(f))
			set_list(f, obj, text);
		else if (f->kind == FK_STR)
			field_set_ptr(f, obj, strdup(text));
		else
			field_store(f->kind, (char *)obj + f->off, number(f, text));
		return;
	}
	errno = EINVAL;
	die(name);
}

static void send_line(struct drive *dr, struct chan *c, char *words)
{
	char *save = NULL, *name = strtok_r(words, " \n", &save);
	enum msg_type type = type_by_name(name != NULL ? name : "");
	const struct desc *d = msg_type_desc(type);
	void *obj = d == NULL ? NULL : calloc(1, d->size);

	if (d != NULL)
		obj_init(d, obj);
	for (char *w = strtok_r(NULL, " \n", &save); w != NULL; w = strtok_r(NULL, " \n", &save)) {
		char *eq = strchr(w, '=');

		if (d == NULL || eq == NULL)
			die(w);
		*eq = '\0';
		set_field(d, obj, w, eq + 1);
	}
	int r = chan_send(c, type, ++dr->id, d, obj, NULL, 0);
	if (r < 0) {
		errno = -r;
		die("sending");
	}
	if (d != NULL)
		obj_fini(d, obj);
	free(obj);
}

static void take_line(struct drive *dr, char *line)
{
	if (strncmp(line, "apid ", 5) == 0)
		send_line(dr, dr->apid, line + 5);
	else if (strncmp(line, "vmmd ", 5) == 0)
		send_line(dr, dr->vmmd, line + 5);
	else if (strncmp(line, "close ", 6) == 0)
		(void)close(atoi(line + 6));
	else
		die(line);
}

/* --- start ------------------------------------------------------------------------------------------------------ */

static void exec_monitor(const char *folder, const struct monitor_adopt *a, int start)
{
	char path[4096], word[MONITOR_ADOPT_MAX], name[] = "cloister-monitor", cloister[] = "cloister";
	char *argv[] = { name, word, cloister, NULL };

	(void)snprintf(path, sizeof(path), "%s/cloister-monitor", folder);
	monitor_adopt_write(a, start, word, sizeof(word));
	(void)execv(path, argv);
	die(path);
}

/* Nothing but a process that can be watched and killed. */
static void make_apid(struct monitor_adopt *a, int channel, int exe)
{
	int report[2];
	pid_t pid = fork();

	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		for (;;)
			(void)pause();
	}
	if (pid < 0 || pipe2(report, O_CLOEXEC | O_NONBLOCK) < 0)
		die("apid");
	*a = (struct monitor_adopt){ .channel = channel, .exe = exe, .child = SPAWN_CHILD_NONE };
	a->child.pid = pid;
	a->child.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	a->child.report_fd = report[0];
}

static void start_monitor(struct drive *dr, const char *folder)
{
	int start[2], apid[2];
	struct monitor_adopt a;
	pid_t parent = getpid();

	if (fd_socketpair(SOCK_SEQPACKET, start) < 0 || fd_socketpair(SOCK_SEQPACKET, apid) < 0)
		die("socketpair");
	dr->monitor = fork();
	if (dr->monitor == 0) {
		if (getppid() != parent)
			exit(1);
		make_apid(&a, apid[0], open("/dev/null", O_PATH | O_CLOEXEC));
		exec_monitor(folder, &a, start[0]);
	}
	(void)close(start[0]);
	(void)close(apid[0]);
	dr->vmmd = chan_new(start[1], CHAN_MONITOR_MAX, QUEUED);
	dr->apid = chan_new(apid[1], CHAN_MONITOR_MAX, QUEUED);
}

static void send_start(struct drive *dr, int uids)
{
	struct msg_mon_start m = { .vmmd_pid = getpid(), .uid_base = uids, .start_mono_ns = clock_mono_ns(), .verbosity = 3 };
	const struct msg_mon_namespaces ns = { 0 };
	const struct msg_mon_jailed jailed = { 0 };
	const struct msg_mon_args_ok ok = { 0 };
	int log[2], fds[3];

	if (fd_socketpair(SOCK_SEQPACKET, log) < 0)
		die("socketpair");
	fds[0] = log[0];
	fds[1] = log[1];
	fds[2] = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (chan_send(dr->vmmd, MSG_MON_START, 0, &desc_msg_mon_start, &m, fds, uids >= 0 ? 3 : 2) < 0 ||
	    chan_send(dr->vmmd, MSG_MON_NAMESPACES, 0, &desc_msg_mon_namespaces, &ns, NULL, 0) < 0 ||
	    chan_send(dr->vmmd, MSG_MON_JAILED, 0, &desc_msg_mon_jailed, &jailed, NULL, 0) < 0 ||
	    chan_send(dr->apid, MSG_MON_ARGS_OK, 0, &desc_msg_mon_args_ok, &ok, NULL, 0) < 0)
		die("start");
	dr->log = log[1];
	(void)close(fds[0]);
	(void)close(fds[2]);
}

/* --- loop ------------------------------------------------------------------------------------------------------- */

/* False at the end of the channel. */
static bool take_messages(const char *who, struct chan **c)
{
	struct chan_msg m;
	int r;

	if (*c == NULL)
		return false;
	while ((r = chan_recv(*c, &m)) == 1) {
		print_message(who, &m);
		chan_msg_fini(&m);
	}
	(void)chan_flush(*c);
	if (r == 0)
		return true;
	(void)printf("%s gone\n", who);
	chan_free(*c);
	*c = NULL;
	return false;
}

static void take_logs(int fd)
{
	uint8_t data[LOG_REC_MAX];
	struct log_rec rec;
	ssize_t n;

	while ((n = recv(fd, data, sizeof(data), MSG_DONTWAIT)) > 0) {
		if (log_rec_decode(&rec, data, (size_t)n) < 0)
			die("log record");
		(void)printf("log %u ", rec.level);
		print_text(rec.msg);
		(void)putchar('\n');
	}
}

int main(int argc, char **argv)
{
	struct drive dr = { .log = -1 };
	char line[LINE_MAX_];
	size_t used = 0;

	if (argc != 3)
		return 2;
	(void)signal(SIGPIPE, SIG_IGN);
	start_monitor(&dr, argv[1]);
	send_start(&dr, atoi(argv[2]));
	for (;;) {
		struct pollfd p[] = { { .fd = 0, .events = POLLIN }, { .fd = chan_fd(dr.vmmd), .events = POLLIN },
				      { .fd = dr.apid != NULL ? chan_fd(dr.apid) : -1, .events = POLLIN },
				      { .fd = dr.log, .events = POLLIN } };

		(void)poll(p, nitems(p), -1);
		take_logs(dr.log);
		bool lives = take_messages("vmmd", &dr.vmmd);
		(void)take_messages("apid", &dr.apid);
		(void)fflush(stdout);
		if (!lives)
			return 0;
		if (p[0].revents == 0)
			continue;
		ssize_t n = read(0, line + used, sizeof(line) - 1 - used);
		if (n <= 0)
			return 0;
		used += (size_t)n;
		line[used] = '\0';
		for (char *end; (end = memchr(line, '\n', used)) != NULL;) {
			*end = '\0';
			size_t taken = (size_t)(end + 1 - line);
			take_line(&dr, line);
			memmove(line, line + taken, used - taken + 1);
			used -= taken;
		}
	}
}
