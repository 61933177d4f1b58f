/* SPDX-License-Identifier: ISC */
#include "vmmd/vcpu.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <linux/close_range.h>
#include <linux/kvm.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/str.h"
#include "jail/jail.h"
#include "vmmd/errand.h"
#include "vmmd/gate.h"
#include "vmmd/irq.h"
#include "vmmd/kvm.h"
#include "vmmd/log_ring.h"
#include "vmmd/vcpu_exit.h"

enum {
	/* Device models keep their buffers elsewhere; log records and error chains are the largest objects. */
	STACK_BYTES = 256 * 1024,
	CLOSE_WARN_MS = 1000,
	/* KVM_RUN answers EAGAIN once when a waiting application processor gets its INIT or SIPI. */
	EAGAIN_MAX = 100000,
};

struct vcpu {
	struct vcpus *all;    /* [const] */
	unsigned index;       /* [const] */
	int fd, lifeline;     /* [ctl] until the thread has its own copies */
	struct kvm_run *run;  /* [const] mapping; immediate_exit is also written by the control thread */
	struct log_ring *log; /* producer: the thread; consumer: control */
	bool running;         /* [ctl] there is a thread to join */
	pthread_t thread;     /* [ctl] */
	int setup;            /* result of the thread's set-up; read after the gate says that it is held */
	struct err setup_err;
};

struct vcpus {
	struct vcpus_cfg cfg; /* [const] */
	struct vcpu_env env;  /* [const] */
	size_t run_bytes;     /* [const] */
	int vm;               /* [ctl] during start */
	struct gate gate;
	_Atomic int request; /* enum vcpu_request, set once */
	unsigned n;          /* [ctl] added so far */
	struct vcpu v[];
};

/* --- making and unmaking ------------------------------------------------------------------------------------------- */

/* From a vCPU thread that waits for an errand. */
static void on_errand(void *arg)
{
	struct vcpus *vs = arg;

	gate_nudge(&vs->gate);
}

struct vcpus *vcpus_new(const struct vcpus_cfg *cfg)
{
	struct vcpus *vs = calloc(1, sizeof(*vs) + cfg->n * sizeof(vs->v[0]));

	if (vs == NULL)
		return NULL;
	if (gate_init(&vs->gate) < 0) {
		free(vs);
		return NULL;
	}
	vs->cfg = *cfg;
	vs->env = (struct vcpu_env){
		.pio = cfg->pio,
		.mmio = cfg->mmio,
		.eoi = cfg->eoi,
		.arg = cfg->arg,
		.over = &vs->request,
	};
	vs->vm = -1;
	errands_set_nudge(cfg->errands, on_errand, vs);
	return vs;
}

void vcpus_free(struct vcpus *vs)
{
	if (vs == NULL)
		return;
	vcpus_close(vs);
	vcpus_end(vs);
	for (unsigned i = 0; i < vs->n; i++) {
		struct vcpu *v = &vs->v[i];

		if (v->run != NULL)
			(void)munmap(v->run, vs->run_bytes);
		fd_closep(&v->fd);
		fd_closep(&v->lifeline);
		log_ring_free(v->log);
	}
	errands_set_nudge(vs->cfg.errands, NULL, NULL);
	gate_fini(&vs->gate);
	free(vs);
}

/*
 * #syscalls vmmd: mmap
 */
int vcpus_add(struct vcpus *vs, int *fd, size_t run_bytes, struct err *e)
{
	struct vcpu *v = &vs->v[vs->n];

	*v = (struct vcpu){ .all = vs, .index = vs->n, .fd = fd_take(fd), .lifeline = -1 };
	vs->n++;
	vs->run_bytes = run_bytes;
	v->log = log_ring_new();
	if (v->log == NULL)
		return err_set(e, -ENOMEM, "vCPU %u: out of memory", v->index);
	void *p = mmap(NULL, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);

	if (p == MAP_FAILED)
		return err_sys(e, -errno, "vCPU %u: mapping its run area", v->index);
	v->run = p;
	return 0;
}

int vcpus_fd(const struct vcpus *vs, unsigned index)
{
	return index < vs->n ? vs->v[index].fd : -1;
}

/* --- the thread ---------------------------------------------------------------------------------------------------- */

static void on_log(void *arg, const struct log_rec *rec)
{
	struct vcpu *v = arg;

	(void)log_ring_push(v->log, rec);
	wake_signal(v->all->cfg.wake);
}

/*
 * From the shared descriptor table to one with exactly four entries. The table is copied first, so nothing that is moved
 * or closed here is moved or closed for the process. The numbers below VCPU_FDS hold /dev/null and the monitor's channel
 * in the copy, so no source is overwritten before its turn.
 *
 * #syscalls vmmd: close_range(CLOSE_RANGE_UNSHARE, 0) dup3(arg1=0) dup3(arg1=1) dup3(arg1=2) dup3(arg1=3)
 */
static int take_table(const struct vcpu *v)
{
	const int from[VCPU_FDS] = { v->lifeline, v->fd, v->all->vm, v->all->cfg.wake->fd };

	if (close_range(~0U, ~0U, CLOSE_RANGE_UNSHARE) < 0)
		return -errno;
	for (int i = 0; i < VCPU_FDS; i++)
		if (dup3(from[i], i, O_CLOEXEC) < 0)
			return -errno;
	return close_range(VCPU_FDS, ~0U, 0) < 0 ? -errno : 0;
}

/*
 * #syscalls vmmd: prctl(PR_SET_NAME)
 */
static int set_up_thread(struct vcpu *v)
{
	char name[16];
	int r;

	(void)str_fmt(name, sizeof(name), "vcpu%u", v->index);
	(void)prctl(PR_SET_NAME, name);
	log_set_thread_name(name);
	log_set_thread_sink(on_log, v);
	r = take_table(v);
	if (r < 0)
		return err_sys(&v->setup_err, r, "vCPU %u: a descriptor table of its own", v->index);
	irqs_enter_thread(VCPU_FD_VM);
	wake_enter_thread(VCPU_FD_WAKE);
	r = jail_lock_thread(JAIL_VCPU, &v->setup_err);
	if (r < 0)
		return err_wrap(&v->setup_err, r, "vCPU %u", v->index);
	return 0;
}

/*
 * Take the kick that ended KVM_RUN, so that it doesn't end the next one too.
 *
 * #syscalls vcpu: rt_sigtimedwait
 * #syscalls vmmd: rt_sigtimedwait
 */
static void take_kicks(void)
{
	static const struct timespec none = { 0 };
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, VCPU_SIGNAL);
	while (sigtimedwait(&set, NULL, &none) > 0)
		continue;
}

/* One entry of the guest and what follows from its exit. */
static enum vcpu_next step(struct vcpu *v, unsigned *again, char why[VCPU_WHY_MAX])
{
	int r = kvm_run(VCPU_FD_VCPU);

	if (r >= 0) {
		*again = 0;
		return vcpu_exit_handle(v->run, v->all->run_bytes, &v->all->env, why);
	}
	if (r == -EINTR) {
		take_kicks();
		return VCPU_AGAIN;
	}
	if (r == -EAGAIN && ++*again < EAGAIN_MAX)
		return VCPU_AGAIN;
	(void)str_fmt(why, VCPU_WHY_MAX, "KVM_RUN: %s", strerrordesc_np(-r));
	return VCPU_FAILED;
}

static void run_guest(struct vcpu *v)
{
	char why[VCPU_WHY_MAX];
	unsigned again = 0;

	while (gate_is_open(&v->all->gate)) {
		switch (step(v, &again, why)) {
		case VCPU_AGAIN:
			break;
		case VCPU_RESET:
			vcpus_ask(v->all, VCPU_REQ_RESET);
			break;
		case VCPU_POWER_OFF:
			vcpus_ask(v->all, VCPU_REQ_POWER_OFF);
			break;
		case VCPU_FAILED:
			log_error("vCPU %u stops: %s", v->index, why);
			vcpus_ask(v->all, VCPU_REQ_FAILED);
			break;
		}
	}
}

/*
 * The wait after the loop is the gate's; leaving, the C library blocks all signals and gives back the stack.
 *
 * #syscalls vcpu: rt_sigprocmask
 */
static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;

	v->setup = set_up_thread(v);
	while (gate_pass(&v->all->gate)) {
		if (v->setup == 0)
			run_guest(v);
	}
	/* The mapping holds a reference to the VM, like the table that ends with this thread. */
	(void)munmap(v->run, v->all->run_bytes);
	return NULL;
}

/* --- control ------------------------------------------------------------------------------------------------------- */

/*
 * pthread_create() in a locked process: the C library's calls are declared here. (It tries clone3 first, which every
 * filter answers with ENOSYS.)
 *
 * #syscalls vmmd: clone clone3 rt_sigprocmask rt_sigaction set_robust_list rseq mprotect mmap
 */
static int make_thread(struct vcpu *v, struct err *e)
{
	pthread_attr_t attr;
	sigset_t all;
	int r = pthread_attr_init(&attr);

	if (r != 0)
		return err_sys(e, -r, "vCPU %u", v->index);
	(void)sigfillset(&all);
	r = pthread_attr_setstacksize(&attr, STACK_BYTES);
	if (r == 0)
		r = pthread_attr_setsigmask_np(&attr, &all);
	if (r == 0)
		r = pthread_create(&v->thread, &attr, vcpu_main, v);
	(void)pthread_attr_destroy(&attr);
	if (r != 0)
		return err_sys(e, -r, "vCPU %u: cannot make its thread", v->index);
	v->running = true;
	return 0;
}

/* Threads held so far are those that came through their set-up, well or not. */
static int await_set_up(struct vcpus *vs, unsigned made, struct err *e)
{
	while (!gate_wait_held(&vs->gate, made, CLOSE_WARN_MS))
		log_warn("vCPU threads take long to start");
	for (unsigned i = 0; i < made; i++)
		if (vs->v[i].setup < 0) {
			if (e != NULL)
				*e = vs->v[i].setup_err;
			return vs->v[i].setup;
		}
	return 0;
}

int vcpus_start(struct vcpus *vs, int vm, int *lifelines, unsigned n_lifelines, struct err *e)
{
	unsigned made = 0;
	int r = 0;

	if (n_lifelines != vs->n)
		r = err_set(e, -EINVAL, "%u lifelines for %u vCPUs", n_lifelines, vs->n);
	vs->vm = vm;
	for (; r == 0 && made < vs->n; made++) {
		struct vcpu *v = &vs->v[made];

		v->lifeline = fd_take(&lifelines[made]);
		r = kvm_set_signal_mask(v->fd, VCPU_SIGNAL);
		if (r < 0)
			r = err_sys(e, r, "vCPU %u: signal mask", v->index);
		else
			r = make_thread(v, e);
		if (r < 0)
			break;
	}
	int s = await_set_up(vs, made, r < 0 ? NULL : e);

	/* From here on each of these is in one thread's table only: its end is that thread's end. */
	for (unsigned i = 0; i < vs->n; i++) {
		fd_closep(&vs->v[i].lifeline);
		fd_closep(&vs->v[i].fd);
	}
	return r < 0 ? r : s;
}

void vcpus_open(struct vcpus *vs)
{
	for (unsigned i = 0; i < vs->n; i++)
		__atomic_store_n(&vs->v[i].run->immediate_exit, 0, __ATOMIC_RELAXED);
	gate_open(&vs->gate);
}

/*
 * immediate_exit stops a thread that has looked at the gate but not yet entered; the signal stops one that is inside.
 *
 * #syscalls vmmd: tgkill getpid
 */
static void kick(struct vcpu *v)
{
	if (!v->running)
		return;
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_RELAXED);
	(void)pthread_kill(v->thread, VCPU_SIGNAL);
}

static unsigned count_running(const struct vcpus *vs)
{
	unsigned n = 0;

	for (unsigned i = 0; i < vs->n; i++)
		n += vs->v[i].running;
	return n;
}

void vcpus_close(struct vcpus *vs)
{
	unsigned n = count_running(vs);

	gate_close(&vs->gate);
	for (unsigned i = 0; i < vs->n; i++)
		kick(&vs->v[i]);
	int64_t warn = clock_mono_ms() + CLOSE_WARN_MS;

	while (!gate_wait_held(&vs->gate, n, CLOSE_WARN_MS)) {
		errands_serve(vs->cfg.errands);
		if (clock_mono_ms() < warn)
			continue;
		log_warn("a vCPU takes long to stop");
		warn += CLOSE_WARN_MS;
	}
}

void vcpus_end(struct vcpus *vs)
{
	gate_end(&vs->gate);
	for (unsigned i = 0; i < vs->n; i++) {
		struct vcpu *v = &vs->v[i];

		if (!v->running)
			continue;
		(void)pthread_join(v->thread, NULL);
		v->running = false;
		v->run = NULL; /* unmapped by the thread */
	}
	vcpus_forward_logs(vs);
}

void vcpus_ask(struct vcpus *vs, enum vcpu_request req)
{
	int none = VCPU_REQ_NONE;

	if (!atomic_compare_exchange_strong(&vs->request, &none, req))
		return;
	gate_close(&vs->gate);
	wake_signal(vs->cfg.wake);
}

enum vcpu_request vcpus_request(const struct vcpus *vs)
{
	return (enum vcpu_request)atomic_load(&vs->request);
}

void vcpus_forward_logs(struct vcpus *vs)
{
	struct log_rec rec;

	for (unsigned i = 0; i < vs->n; i++)
		while (vs->v[i].log != NULL && log_ring_pop(vs->v[i].log, &rec))
			log_forward(&rec);
}
