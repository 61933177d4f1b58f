/* SPDX-License-Identifier: ISC */
/*
 * A network card without a guest: b_vun ROUNDS. The driver runs on core 0, cloister-net and the floors on core 1, one tap in a
 * network namespace of its own; they take turns. One line for each turn:
 *
 *	contender case rate cpu_ns p50_ns p99_ns	(frames a second; processor time of a frame)
 *
 * Cases: tx64, 64-byte frames as fast as they go; tso, TCP segments of 64 KiB that the kernel is to cut; rr, an echo that the host's
 * kernel answers at once. Floors: a process that does nothing but write() the same frames from the same memory to the same tap;
 * for rr one that is woken by an eventfd, writes the frame, reads the answer and wakes by an eventfd. b_vun.py makes verdicts.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/backend/vu/nic.h"
#include "tests/backend/vu/tests.h"

enum {
	DRIVER_CPU = 0,
	BACKEND_CPU = 1,
	HDR = 12,
	SMALL = 64,
	LARGE = 65000,
	BUFFERS = 128,
	SMALL_FRAMES = 100000,
	LARGE_FRAMES = 10000,
	ECHOES = 3000,
	ECHO_BYTES = ETH_HLEN + 20 + 8 + 32,
	RX_BYTES = 2048,
};

struct shared { /* with the floor's process */
	_Atomic uint64_t took_ns;
	_Atomic uint64_t cpu_ns;
};

static struct vu_nic *nic;
static uint64_t small_gpa, large_gpa, echo_gpa;
static struct shared *shared;
static uint32_t latency[ECHOES];

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}
static uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static void pin(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void say(const char *name, const char *what, unsigned n, uint64_t took, uint64_t cpu, bool latencies)
{
	if (latencies)
		qsort(latency, n, sizeof(latency[0]), by_value);
	(void)printf("%s %s %.0f %.0f %u %u\n", name, what, n * 1e9 / (double)took, (double)cpu / n, latencies ? latency[n / 2] : 0,
		     latencies ? latency[n * 99 / 100] : 0);
	(void)fflush(stdout);
}

/* --- frames --------------------------------------------------------------------------------------------------------------------------- */

static uint16_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void make_echo(uint8_t *f, const uint8_t *to)
{
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_ICMP, .tot_len = htons(ECHO_BYTES - ETH_HLEN),
			    .saddr = inet_addr("10.9.9.2"), .daddr = inet_addr("10.9.9.1") };
	struct icmphdr icmp = { .type = ICMP_ECHO };
	uint8_t *body = f + ETH_HLEN + sizeof(ip);

	memcpy(f, to, 6);
	memcpy(f + 6, nic->mac, 6);
	f[12] = 8;
	ip.check = checksum(&ip, sizeof(ip));
	memcpy(f + ETH_HLEN, &ip, sizeof(ip));
	memcpy(body, &icmp, sizeof(icmp));
	icmp.checksum = checksum(body, ECHO_BYTES - ETH_HLEN - sizeof(ip));
	memcpy(body, &icmp, sizeof(icmp));
}

static bool make_frames(void)
{
	struct ifreq ifr = { 0 };

	small_gpa = vu_alloc(nic->v, BUFFERS * (HDR + SMALL + 52), 128);
	large_gpa = vu_alloc(nic->v, UINT64_C(1) * BUFFERS * (HDR + LARGE + 524), 4096);
	echo_gpa = vu_alloc(nic->v, HDR + ECHO_BYTES, 64);
	if (small_gpa == 0 || large_gpa == 0 || echo_gpa == 0)
		return false;
	for (unsigned i = 0; i < BUFFERS; i++) {
		uint8_t *s = vu_ptr(nic->v, small_gpa + UINT64_C(128) * i, HDR + SMALL);
		uint8_t *l = vu_ptr(nic->v, large_gpa + UINT64_C(65536) * i, HDR + LARGE);

		vu_nic_stamp(s + HDR, SMALL, i);
		vu_nic_tcp(l + HDR, LARGE, 4, 1000, (struct virtio_net_hdr_v1 *)(void *)l);
	}
	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", VU_NIC_NAME);
	if (ioctl(nic->peer, SIOCGIFHWADDR, &ifr) < 0)
		return false;
	make_echo((uint8_t *)vu_ptr(nic->v, echo_gpa, HDR + ECHO_BYTES) + HDR, (const uint8_t *)ifr.ifr_hwaddr.sa_data);
	return vu_nic_ip("address add 10.9.9.1/24 dev " VU_NIC_NAME) &&
	       vu_nic_ip("neighbour add 10.9.9.2 lladdr 2e:01:02:03:04:05 dev " VU_NIC_NAME);
}

/* --- floors --------------------------------------------------------------------------------------------------------------------------- */

static void floor_write(uint64_t gpa, unsigned stride, unsigned len, unsigned n)
{
	uint64_t from = now_ns(), cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	for (unsigned i = 0; i < n; i++)
		if (write(nic->taps[0], vu_ptr(nic->v, gpa + UINT64_C(1) * stride * (i % BUFFERS), len), len) != (ssize_t)len)
			_exit(1);
	shared->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
	shared->took_ns = now_ns() - from;
}

static void floor_tx(const char *what, uint64_t gpa, unsigned stride, unsigned len, unsigned n)
{
	pid_t pid = fork();

	if (pid == 0) {
		pin(BACKEND_CPU);
		floor_write(gpa, stride, len, n / 20);
		floor_write(gpa, stride, len, n);
		_exit(0);
	}
	int status = vu_wait_for(pid);

	if (status == 0)
		say("floor", what, n, shared->took_ns, shared->cpu_ns, false);
}

static void __attribute__((noreturn)) floor_echo(int kick, int call)
{
	uint8_t answer[RX_BYTES];
	uint64_t n = 1;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(BACKEND_CPU);
	for (;;) {
		struct pollfd p = { .fd = kick, .events = POLLIN }, t = { .fd = nic->taps[0], .events = POLLIN };

		(void)poll(&p, 1, -1);
		(void)!read(kick, &n, sizeof(n));
		(void)!write(nic->taps[0], vu_ptr(nic->v, echo_gpa, HDR + ECHO_BYTES), HDR + ECHO_BYTES);
		while (read(nic->taps[0], answer, sizeof(answer)) < 0)
			(void)poll(&t, 1, -1);
		(void)!write(call, &n, sizeof(n));
	}
}

static void floor_rr(void)
{
	int kick = eventfd(0, EFD_NONBLOCK), call = eventfd(0, EFD_NONBLOCK);
	pid_t pid = fork();
	uint64_t n = 1;

	if (pid == 0)
		floor_echo(kick, call);
	uint64_t from = now_ns();

	for (unsigned i = 0; i < ECHOES; i++) {
		struct pollfd p = { .fd = call, .events = POLLIN };
		uint64_t begun = now_ns();

		(void)!write(kick, &n, sizeof(n));
		(void)poll(&p, 1, VU_TIMEOUT_MS);
		(void)!read(call, &n, sizeof(n));
		n = 1;
		latency[i] = (uint32_t)(now_ns() - begun);
	}
	say("floor", "rr", ECHOES, now_ns() - from, 0, true);
	(void)kill(pid, SIGKILL);
	(void)vu_wait_for(pid);
	(void)close(kick);
	(void)close(call);
}

/* --- ours ------------------------------------------------------------------------------------------------------------------------------ */

static bool send_all(uint64_t gpa, unsigned stride, unsigned len, unsigned n)
{
	struct vu_ring *r = nic->v->ring[1];
	unsigned sent = 0, done = 0;
	uint64_t token;
	uint32_t used;

	r->no_interrupts = true;
	while (done < n) {
		while (sent < n && sent - done < BUFFERS &&
		       vu_ring_add(r, &(struct vu_buf){ gpa + UINT64_C(1) * stride * (sent % BUFFERS), len }, 1, NULL, 0, sent) >= 0)
			sent++;
		vu_ring_kick(r);
		if (vu_ring_wait(r, VU_TIMEOUT_MS) == 0)
			return false;
		while (vu_ring_pop(r, &token, &used) == 1)
			done++;
	}
	return true;
}

static bool ours_tx(const char *what, uint64_t gpa, unsigned stride, unsigned len, unsigned n)
{
	if (!send_all(gpa, stride, len, n / 20))
		return false;
	uint64_t cpu = vu_proc_cpu_us(nic->v), from = now_ns();

	if (!send_all(gpa, stride, len, n))
		return false;
	say("ours", what, n, now_ns() - from, (vu_proc_cpu_us(nic->v) - cpu) * 1000, false);
	return true;
}

static bool ours_rr(void)
{
	struct vu_ring *rx = nic->v->ring[0], *tx = nic->v->ring[1];
	static uint64_t gpa;
	uint64_t token;
	uint32_t used;

	if (gpa == 0)
		gpa = vu_alloc(nic->v, UINT64_C(1) * RX_BYTES * BUFFERS, 4096);
	for (unsigned i = 0; i < BUFFERS && rx->n_free > rx->size - BUFFERS; i++)
		(void)vu_ring_add(rx, NULL, 0, &(struct vu_buf){ gpa + (uint64_t)RX_BYTES * i, RX_BYTES }, 1, i);
	vu_ring_kick(rx);
	rx->no_interrupts = false;
	uint64_t from = now_ns(), cpu = vu_proc_cpu_us(nic->v);

	for (unsigned i = 0; i < ECHOES; i++) {
		uint64_t begun = now_ns();

		if (vu_ring_add(tx, &(struct vu_buf){ echo_gpa, HDR + ECHO_BYTES }, 1, NULL, 0, 0) < 0)
			return false;
		vu_ring_kick(tx);
		if (vu_ring_wait(rx, VU_TIMEOUT_MS) == 0 || vu_ring_pop(rx, &token, &used) != 1)
			return false;
		latency[i] = (uint32_t)(now_ns() - begun);
		(void)vu_ring_add(rx, NULL, 0, &(struct vu_buf){ gpa + (uint64_t)RX_BYTES * token, RX_BYTES }, 1, token);
		vu_ring_kick(rx);
		while (vu_ring_pop(tx, &token, &used) == 1)
			;
	}
	say("ours", "rr", ECHOES, now_ns() - from, (vu_proc_cpu_us(nic->v) - cpu) * 1000, true);
	return true;
}

static bool all_turns(unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		if (!ours_tx("tx64", small_gpa, 128, HDR + SMALL, SMALL_FRAMES))
			return false;
		floor_tx("tx64", small_gpa, 128, HDR + SMALL, SMALL_FRAMES);
		if (!ours_tx("tso", large_gpa, 65536, HDR + LARGE, LARGE_FRAMES))
			return false;
		floor_tx("tso", large_gpa, 65536, HDR + LARGE, LARGE_FRAMES);
	}
	/* The tap's answers must not find our helper waiting: floors of rr last, when it has no buffers. */
	for (unsigned i = 0; i < rounds; i++)
		if (!ours_rr())
			return false;
	return true;
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;

	if (rounds == 0) {
		(void)fprintf(stderr, "usage: b_vun ROUNDS\n");
		return 2;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	nic = vu_nic_new_cold(&(struct vu_nic_opts){ .mode = VU_PRESET });
	if (shared == MAP_FAILED || nic == NULL)
		return 2;
	nic->cfg.cpu = BACKEND_CPU + 1;
	if (!vu_nic_adopt(nic, vu_new(&nic->cfg)) || !make_frames()) {
		(void)fprintf(stderr, "no card\n");
		return 2;
	}
	fd_closep(&nic->peer); /* nobody listens: each frame is the tap's and the stack's work alone */
	pin(DRIVER_CPU);
	bool good = all_turns(rounds);

	if (!good)
		vu_proc_text(nic->v);
	if (good && vu_stop(nic->v) == 0)
		for (unsigned i = 0; i < rounds; i++)
			floor_rr();
	(void)vu_nic_free(nic);
	return good ? 0 : 1;
}
