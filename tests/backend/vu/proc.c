/* SPDX-License-Identifier: ISC */
/*
 * The back end's process. A preset one gets what the monitor would give it: descriptors 3 (control) and 4 (log), then by
 * message the socket, the back end channel, err, memory, in-flight region, dirty log, statistics, events and what is the
 * device's own.
 */
#include "tests/backend/vu/vu.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/fd.h"
#include "tests/backend/vu/tests.h"

enum {
	FD_CONTROL = 3,
	FD_LOG = 4,
	CHILD_FAILED = 127,
	SIGNAL_BASE = 128,
	MSG_MAX = 65536,
	EVENTS_A_MESSAGE = 252,
};

const char *vu_build(void)
{
	const char *build = getenv("CLOISTER_BUILD");

	return build != NULL && *build != '\0' ? build : "build";
}

static bool is_sanitized(void)
{
	const char *san = getenv("SAN");

	return san != NULL && *san != '\0';
}

/* --- the child ----------------------------------------------------------------------------------------------------------------- */

static void keep_as(int fd, int number)
{
	if (dup2(fd, number) < 0)
		_exit(CHILD_FAILED);
}

static void pin(const struct vu *v)
{
	cpu_set_t set;

	if (v->cfg.cpu <= 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)v->cfg.cpu - 1, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

static void __attribute__((noreturn)) child(const struct vu *v, char *const *argv, int control, int log)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	static char *const no_env[] = { NULL };
	bool preset = v->cfg.mode == VU_PRESET;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(v);
	/* Through high numbers, as theirs may be among those that are written over. */
	int high_log = fcntl(log, F_DUPFD_CLOEXEC, 100), high_null = fcntl(null, F_DUPFD_CLOEXEC, 100);
	int high_control = control >= 0 ? fcntl(control, F_DUPFD_CLOEXEC, 100) : -1;

	keep_as(high_null, 0);
	keep_as(high_null, 1);
	if (preset) {
		if (!is_sanitized())
			keep_as(high_null, 2);
		keep_as(high_control, FD_CONTROL);
		keep_as(high_log, FD_LOG);
	} else {
		keep_as(high_log, 2);
	}
	if (preset && !is_sanitized())
		(void)execve(argv[0], argv, no_env);
	else
		(void)execvp(argv[0], argv);
	(void)dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(CHILD_FAILED);
}

/* --- a thread instead --------------------------------------------------------------------------------------------------------------- */

struct thread_start {
	struct vu *v;
	int control, log;
};

static void *thread(void *arg)
{
	struct thread_start s = *(struct thread_start *)arg;
	char name[32];
	char *argv[] = { name, NULL };

	free(arg);
	(void)snprintf(name, sizeof(name), "%s", s.v->cfg.program);
	pin(s.v);
	/* From here on numbers are the thread's own: our ends of its sockets are closed at its lock-down. */
	if (unshare(CLONE_FILES) < 0 || dup2(s.control, FD_CONTROL) < 0 || dup2(s.log, FD_LOG) < 0)
		return NULL;
	__atomic_store_n(&s.v->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	(void)s.v->cfg.thread_main(1, argv);
	return NULL;
}

static int run_thread(struct vu *v, int control, int log)
{
	struct thread_start *s = malloc(sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	*s = (struct thread_start){ v, fcntl(control, F_DUPFD_CLOEXEC, 100), fcntl(log, F_DUPFD_CLOEXEC, 100) };
	int high[2] = { s->control, s->log };
	int r = pthread_create(&v->thread, NULL, thread, s);

	while (r == 0 && __atomic_load_n(&v->tid, __ATOMIC_ACQUIRE) == 0)
		(void)poll(NULL, 0, 1);
	fd_close_all(high, nitems(high));
	return -r;
}

static int run(struct vu *v, char *const *argv, int control, int log)
{
	if (v->cfg.thread_main != NULL)
		return run_thread(v, control, log);
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		child(v, argv, control, log);
	v->pid = pid;
	return 0;
}

/* --- arguments ----------------------------------------------------------------------------------------------------------------- */

enum { ARGS_MAX = 48 };

struct args {
	char *v[ARGS_MAX + 1];
	unsigned n;
};

static void args_add(struct args *a, const char *fmt, const char *value)
{
	char *text = NULL;
	const char *at = strstr(fmt, "%s");

	if (a->n == ARGS_MAX)
		return;
	if (at == NULL)
		text = strdup(fmt);
	else if (asprintf(&text, "%.*s%s%s", (int)(at - fmt), fmt, value, at + 2) < 0)
		text = NULL;
	if (text != NULL)
		a->v[a->n++] = text;
}

static void args_fini(struct args *a)
{
	for (unsigned i = 0; i < a->n; i++)
		free(a->v[i]);
}

static void make_args(const struct vu *v, struct args *a)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/libexec/cloister/%s", vu_build(), v->cfg.program);
	args_add(a, v->cfg.mode == VU_FOREIGN ? v->cfg.program : path, "");
	if (v->cfg.mode == VU_ALONE)
		args_add(a, "--socket-path=%s", v->socket);
	if (v->cfg.mode == VU_PRESET && v->cfg.word != NULL)
		args_add(a, v->cfg.word, "");
	if (v->cfg.mode != VU_PRESET)
		for (unsigned i = 0; v->cfg.args != NULL && v->cfg.args[i] != NULL; i++)
			args_add(a, v->cfg.args[i], v->socket);
}

/* --- start ----------------------------------------------------------------------------------------------------------------------- */

static int start_with_socket(struct vu *v, const struct args *a)
{
	fd_closep(&v->text_fd);
	v->text_fd = memfd_create("stderr", MFD_CLOEXEC);
	(void)unlink(v->socket);
	return v->text_fd < 0 ? -errno : run(v, a->v, -1, v->text_fd);
}

static int start_preset(struct vu *v, const struct args *a)
{
	int control[2], log[2], vhost[2], backend[2];

	fd_closep(&v->text_fd);
	chan_free(v->control);
	v->control = NULL;
	vu_disconnect(v);
	if (fd_socketpair(SOCK_SEQPACKET, control) < 0 || fd_socketpair(SOCK_SEQPACKET, log) < 0 ||
	    fd_socketpair(SOCK_STREAM, vhost) < 0 || fd_socketpair(SOCK_STREAM, backend) < 0)
		return -errno;
	int r = run(v, a->v, control[1], log[1]);

	(void)close(control[1]);
	(void)close(log[1]);
	v->text_fd = log[0];
	v->control = chan_new(control[0], MSG_MAX, 4 * MSG_MAX);
	v->sock = vhost[0];
	v->backend = backend[0];
	v->their_sock = vhost[1];
	v->their_backend = backend[1];
	return r < 0 ? r : v->control == NULL ? -ENOMEM : 0;
}

int vu_proc_start(struct vu *v)
{
	struct args a = { .n = 0 };
	int r = 0;

	if (v->cfg.program == NULL)
		return 0;
	if (v->cfg.mode != VU_PRESET && v->cfg.socket == NULL && v->dir[0] == '\0') {
		(void)snprintf(v->dir, sizeof(v->dir), "/tmp/vuXXXXXX");
		if (mkdtemp(v->dir) == NULL)
			return -errno;
		(void)snprintf(v->socket, sizeof(v->socket), "%s/s", v->dir);
	}
	make_args(v, &a);
	r = v->cfg.mode == VU_PRESET ? start_preset(v, &a) : start_with_socket(v, &a);
	args_fini(&a);
	if (r < 0)
		vu_diag("%s is not started: %s", v->cfg.program, strerror(-r));
	return r;
}

/* --- the descriptor phase ---------------------------------------------------------------------------------------------------------- */

static int control_recv(struct vu *v, struct chan_msg *m, enum msg_type want)
{
	int r = chan_recv_timeout(v->control, m, VU_TIMEOUT_MS);

	if (r < 0) {
		vu_diag("control socket: %s, waiting for %s", strerror(-r), msg_type_name(want));
		vu_proc_text(v);
		return r;
	}
	if (m->type == want)
		return 0;
	vu_diag("control socket: %s instead of %s", msg_type_name(m->type), msg_type_name(want));
	if (m->type == MSG_RESULT) {
		struct msg_result res;
		struct err e;
		char text[1024] = "";

		err_clear(&e);
		if (chan_decode(m, &desc_msg_result, &res, NULL) == 0) {
			msg_result_err(&res, &e);
			(void)err_join(&e, text, sizeof(text));
			vu_diag("  %s", text);
			obj_fini(&desc_msg_result, &res);
		}
	}
	chan_msg_fini(m);
	return -EPROTO;
}

static int send_vhost(struct vu *v)
{
	struct msg_hlp_vhost msg = { .n_queues = v->n_queues, .queue_size = v->queue_size, .ram_bytes = v->ram_bytes,
				     .inflight_bytes = v->inflight_bytes, .log_bytes = v->log_bytes };
	int fds[7] = { v->their_sock, v->their_backend, v->err_fd, v->ram_fd, v->inflight_fd, v->log_fd, v->stats_fd };
	int r = chan_send(v->control, MSG_HLP_VHOST, 1, &desc_msg_hlp_vhost, &msg, fds, nitems(fds));

	fd_closep(&v->their_sock);
	fd_closep(&v->their_backend);
	return r;
}

static int send_events(struct vu *v)
{
	int fds[2 * VU_QUEUES], r = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < v->n_queues; i++) {
		fds[n++] = v->call[i];
		fds[n++] = v->kick[i];
	}
	for (unsigned at = 0; at < n && r == 0; at += EVENTS_A_MESSAGE) {
		struct msg_hlp_events msg = { .n = n - at < EVENTS_A_MESSAGE ? n - at : EVENTS_A_MESSAGE };

		r = chan_send(v->control, MSG_HLP_EVENTS, 2, &desc_msg_hlp_events, &msg, fds + at, msg.n);
	}
	return r;
}

int vu_proc_configure(struct vu *v, bool lock)
{
	struct msg_hlp_ready ready;
	struct chan_msg m;
	int r = control_recv(v, &m, MSG_HLP_HELLO);

	if (r < 0)
		return r;
	chan_msg_fini(&m);
	r = send_vhost(v);
	if (r == 0)
		r = send_events(v);
	if (r == 0 && v->cfg.config_desc != NULL)
		r = chan_send(v->control, v->cfg.config_type, 3, v->cfg.config_desc, v->cfg.config, v->cfg.fds, v->cfg.n_fds);
	if (r == 0 && lock)
		r = chan_send(v->control, MSG_HLP_LOCKDOWN, 4, NULL, NULL, NULL, 0);
	if (r < 0) {
		vu_diag("descriptor phase: %s", strerror(-r));
		vu_proc_text(v);
	}
	if (r < 0 || !lock)
		return r;
	r = control_recv(v, &m, MSG_HLP_READY);
	if (r < 0)
		return r;
	r = chan_decode(&m, &desc_msg_hlp_ready, &ready, NULL);
	v->ready_detail = r == 0 ? ready.detail : 0;
	chan_msg_fini(&m);
	return r;
}

/* --- afterwards -------------------------------------------------------------------------------------------------------------------- */

bool vu_proc_alive(struct vu *v)
{
	siginfo_t si = { .si_pid = 0 };

	return v->pid != 0 && waitid(P_PID, (id_t)v->pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid == 0;
}

int vu_proc_wait(struct vu *v, int timeout_ms)
{
	int pidfd = (int)syscall(SYS_pidfd_open, v->pid, 0), status = 0;

	if (pidfd < 0)
		return -errno;
	int r = fd_wait(pidfd, POLLIN, timeout_ms);

	(void)close(pidfd);
	if (r <= 0)
		return r < 0 ? r : -ETIMEDOUT;
	if (waitpid(v->pid, &status, 0) < 0)
		return -errno;
	v->pid = 0;
	/* It is over when its control socket hangs up: what it gave a device to do may outlive it (jail/monitor_helper.c). */
	if (v->control != NULL)
		(void)poll(&(struct pollfd){ .fd = chan_fd(v->control) }, 1, timeout_ms);
	return WIFSIGNALED(status) ? SIGNAL_BASE + WTERMSIG(status) : WEXITSTATUS(status);
}

int vu_wait_for(pid_t pid)
{
	int status = 0;

	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFSIGNALED(status) ? SIGNAL_BASE + WTERMSIG(status) : WEXITSTATUS(status);
}

void vu_proc_kill(struct vu *v)
{
	if (v->pid == 0)
		return;
	(void)kill(v->pid, SIGKILL);
	(void)vu_proc_wait(v, VU_TIMEOUT_MS);
}

void vu_proc_text(struct vu *v)
{
	char text[8192];
	off_t at = 0;

	if (v->text_fd < 0)
		return;
	for (unsigned i = 0; i < 64; i++) {
		ssize_t n = v->cfg.mode == VU_PRESET ? recv(v->text_fd, text, sizeof(text) - 1, MSG_DONTWAIT) :
						       pread(v->text_fd, text, sizeof(text) - 1, at);

		if (n <= 0)
			return;
		at += n;
		for (ssize_t c = 0; c < n; c++)
			if ((unsigned char)text[c] < ' ' && text[c] != '\n')
				text[c] = '.';
		text[n] = '\0';
		vu_diag("wrote: %s", text);
	}
}

static bool read_proc(const struct vu *v, const char *name, char *text, size_t size)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)v->pid, name);
	int fd = v->pid != 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, size - 1);

	(void)close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

uint64_t vu_proc_rss_kib(const struct vu *v)
{
	char text[4096];
	const char *at = read_proc(v, "status", text, sizeof(text)) ? strstr(text, "RssAnon:") : NULL;

	return at != NULL ? strtoull(at + strlen("RssAnon:"), NULL, 10) : 0;
}

unsigned vu_proc_fds(const struct vu *v)
{
	char path[64];
	unsigned n = 0;

	for (unsigned fd = 0; fd < 1024 && v->pid != 0; fd++) {
		(void)snprintf(path, sizeof(path), "/proc/%d/fd/%u", (int)v->pid, fd);
		char target[8];

		n += readlink(path, target, sizeof(target)) > 0;
	}
	return n;
}

uint64_t vu_proc_cpu_us(const struct vu *v)
{
	clockid_t clock;
	struct timespec t;

	if (v->pid == 0 || clock_getcpuclockid(v->pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
		return 0;
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}
