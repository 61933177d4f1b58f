/* SPDX-License-Identifier: ISC */
/*
 * From exec to the first answer: b_start [-n ROUNDS] [-f FLOOR] [-q QEMU] [-w FOLDER] PROGRAM
 *
 * Three contestants take turns, so that a slow minute of the machine hits all of them: PROGRAM (cloister, all jails in
 * place) until its reply to vmm.ping has been read; FLOOR (tests/bench/floor_start.c: three processes in the same jails
 * that do nothing) until its reply has been read; QEMU until its first QMP reply. The clock starts in the child,
 * right before exec. The client sleeps in inotify until the socket file appears, so that it takes no processor from the
 * processes that it measures.
 *
 * Output, one line a contestant: NAME ROUNDS min p10 p50 p90 max, in microseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ROUNDS = 2000, MAX_ARGS = 20, ANSWER_MS = 10000 };

#define PING "GET /api/v1/vmm.ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define STOP "PUT /api/v1/vmm.shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define QMP_HELLO "{\"execute\":\"qmp_capabilities\"}\n"

struct contestant {
	const char *name;
	const char *argv[MAX_ARGS];
	const char *request; /* its first request */
	const char *answer;  /* in its first reply */
	const char *stop;    /* NULL: killed */
	unsigned rounds;
	double us[MAX_ROUNDS];
};

static char socket_dir[80], socket_path[96];

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fprintf(stderr, "b_start: ");
	(void)vfprintf(stderr, fmt, ap);
	(void)fprintf(stderr, "\n");
	va_end(ap);
	exit(2);
}

static double now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* The child shares our memory until it has exec'ed: it leaves the time of its exec in @started. */
static pid_t start(const struct contestant *c, double *started)
{
	volatile double at = 0;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid = vfork();

	if (pid == 0) {
		(void)dup2(null, STDIN_FILENO);
		(void)dup2(null, STDOUT_FILENO);
		(void)dup2(null, STDERR_FILENO);
		at = now_us();
		(void)execv(c->argv[0], (char *const *)(uintptr_t)c->argv);
		_exit(127);
	}
	if (pid < 0)
		die("vfork: %s", strerror(errno));
	(void)close(null);
	*started = at;
	return pid;
}

/* Sleep until something changes in the folder, at most until @deadline. */
static void wait_change(int watch, double deadline)
{
	struct pollfd p = { .fd = watch, .events = POLLIN };
	char events[4096];

	if (poll(&p, 1, (int)((deadline - now_us()) / 1e3) + 1) > 0)
		(void)!read(watch, events, sizeof(events));
}

static int connect_when_there(const struct contestant *c, int watch)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	double deadline = now_us() + ANSWER_MS * 1e3;

	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", socket_path);
	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
			return fd;
		/* QEMU's file is there a little before it listens. */
		if (errno != ENOENT && errno != ECONNREFUSED)
			die("%s: connect: %s", c->name, strerror(errno));
		int refused = errno == ECONNREFUSED;
		(void)close(fd);
		if (now_us() >= deadline)
			die("%s: no socket within %d ms", c->name, ANSWER_MS);
		if (refused)
			(void)usleep(20);
		else
			wait_change(watch, deadline);
	}
}

static void talk(const struct contestant *c, int fd)
{
	char buf[4096];
	size_t n = 0;

	if (send(fd, c->request, strlen(c->request), MSG_NOSIGNAL) < 0)
		die("%s: send: %s", c->name, strerror(errno));
	while (n + 1 < sizeof(buf)) {
		ssize_t r = recv(fd, buf + n, sizeof(buf) - 1 - n, 0);

		if (r <= 0)
			die("%s: no reply: %s", c->name, r < 0 ? strerror(errno) : "end of file");
		n += (size_t)r;
		buf[n] = '\0';
		if (strstr(buf, c->answer) != NULL)
			return;
	}
	die("%s: unexpected reply", c->name);
}

static void stop(const struct contestant *c, int fd, pid_t pid)
{
	int status = 0;

	if (c->stop != NULL)
		(void)send(fd, c->stop, strlen(c->stop), MSG_NOSIGNAL);
	else
		(void)kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) < 0)
		die("waitpid: %s", strerror(errno));
	if (c->stop != NULL && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
		die("%s: ended with wait status %#x", c->name, (unsigned)status);
	(void)unlink(socket_path);
}

static double one_round(const struct contestant *c)
{
	int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	double started = 0, took;

	if (watch < 0 || inotify_add_watch(watch, socket_dir, IN_CREATE | IN_MOVED_TO | IN_ATTRIB) < 0)
		die("inotify: %s", strerror(errno));
	pid_t pid = start(c, &started);
	int fd = connect_when_there(c, watch);

	talk(c, fd);
	took = now_us() - started;
	stop(c, fd, pid);
	(void)close(fd);
	(void)close(watch);
	return took;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print(struct contestant *c)
{
	unsigned n = c->rounds;

	qsort(c->us, n, sizeof(c->us[0]), by_size);
	(void)printf("%s %u %.0f %.0f %.0f %.0f %.0f\n", c->name, n, c->us[0], c->us[n / 10], c->us[n / 2],
		     c->us[n * 9 / 10], c->us[n - 1]);
}

static struct contestant list[3];
static unsigned contestants;

static void add(const char *name, const char *program, const char *request, const char *answer, const char *stop_request,
		const char *const *args)
{
	struct contestant *c = &list[contestants++];
	unsigned n = 0;

	c->name = name;
	c->request = request;
	c->answer = answer;
	c->stop = stop_request;
	c->argv[n++] = program;
	while (args[n - 1] != NULL) {
		c->argv[n] = args[n - 1];
		n++;
	}
}

static void set_up(const char *program, const char *floor, const char *qemu)
{
	static char api[128], qmp[128];

	(void)snprintf(socket_path, sizeof(socket_path), "%s/sock", socket_dir);
	(void)snprintf(api, sizeof(api), "path=%s", socket_path);
	(void)snprintf(qmp, sizeof(qmp), "unix:%s,server=on,wait=off", socket_path);
	const char *ours[] = { "--api-socket", api, NULL };
	const char *floors[] = { socket_path, NULL };
	const char *theirs[] = { "-M", "microvm", "-accel", "kvm", "-nodefaults", "-no-user-config", "-display", "none",
				 "-S", "-qmp", qmp, NULL };

	add("cloister", program, PING, "\"version\"", STOP, ours);
	if (floor != NULL)
		add("floor", floor, PING, "floor", STOP, floors);
	if (qemu != NULL)
		add("qemu", qemu, QMP_HELLO, "\"return\"", NULL, theirs);
}

int main(int argc, char **argv)
{
	unsigned rounds = 100;
	const char *floor = NULL, *qemu = NULL, *folder = "/tmp";
	int opt;

	while ((opt = getopt(argc, argv, "n:f:q:w:")) != -1) {
		if (opt == 'n')
			rounds = (unsigned)strtoul(optarg, NULL, 10);
		else if (opt == 'f')
			floor = optarg;
		else if (opt == 'q')
			qemu = optarg;
		else if (opt == 'w')
			folder = optarg;
		else
			die("unknown option");
	}
	if (optind + 1 != argc || rounds == 0 || rounds > MAX_ROUNDS)
		die("b_start [-n ROUNDS] [-f FLOOR] [-q QEMU] [-w FOLDER] PROGRAM");
	(void)snprintf(socket_dir, sizeof(socket_dir), "%.60s/b_start.%d", folder, (int)getpid());
	if (mkdir(socket_dir, 0700) < 0)
		die("%s: %s", socket_dir, strerror(errno));
	set_up(argv[optind], floor, qemu);
	/* The first round of each warms caches and is not counted. 25 ms apart: a VM's end leaves work to the kernel. */
	for (unsigned i = 0; i <= rounds; i++) {
		for (unsigned k = 0; k < contestants; k++) {
			double us = one_round(&list[k]);

			if (i > 0)
				list[k].us[list[k].rounds++] = us;
			(void)usleep(25000);
		}
	}
	for (unsigned k = 0; k < contestants; k++)
		print(&list[k]);
	char lock[128];
	(void)snprintf(lock, sizeof(lock), "%s.lock", socket_path);
	(void)unlink(lock);
	(void)rmdir(socket_dir);
	return 0;
}
