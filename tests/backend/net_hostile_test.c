/* SPDX-License-Identifier: ISC */
/*
 * cloister-net under drivers that lie, starve it or break its rings, and over taps that fail. A broken ring may cost its guest
 * the device; nothing else, and never the process.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/backend/vu/hostile.h"
#include "tests/backend/vu/nic.h"
#include "tests/backend/vu/tests.h"

enum { RESETS = 200, RANDOM_CHAINS = 4000, RANDOM_CHAINS_IN = 1500, RANDOM_MESSAGES = 1500, RANDOM_HEADERS = 20000 };

static uint8_t frame[1 << 20], got[VU_NIC_FRAME_MAX];

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* A frame out and one in: the device serves. */
static bool serves(struct vu_nic *n)
{
	static uint32_t number = 1000000;
	struct virtio_net_hdr_v1 h;
	uint32_t len = 100;
	int r;

	vu_nic_stamp(frame, len, ++number);
	WANT(vu_nic_send(n, 0, NULL, frame, len, NULL) == 0, "no frame goes out");
	do
		r = vu_nic_peer_recv(n, &h, got, 2000);
	while (r > 0 && !vu_nic_is_stamped(got, (uint32_t)r, number)); /* what the test before left on the wire */
	WANT(r == (int)len, "the frame does not arrive");
	WANT(vu_nic_refill(n), "buffers");
	vu_nic_stamp(frame, len, ++number);
	WANT(vu_nic_peer_send(n, NULL, frame, len) == 0, "wire");
	do {
		r = vu_nic_recv(n, 0, NULL, got, NULL, 2000);
		WANT(vu_nic_refill(n), "buffers");
	} while (r > 0 && !vu_nic_is_stamped(got, (uint32_t)r, number));
	WANT(r == (int)len, "no frame comes in");
	return true;
}

/* --- headers --------------------------------------------------------------------------------------------------------------------- */

static bool frames_with_lying_headers_are_dropped(int mode)
{
	struct virtio_net_hdr_v1 good, back;
	static const struct {
		const char *what;
		struct virtio_net_hdr_v1 h;
		uint32_t len;
	} t[] = {
		{ "empty", { 0 }, 0 },
		{ "one byte", { .flags = 1 }, 1 },
		{ "13 bytes", { 0 }, 13 },
		{ "too long", { 0 }, 65535 + 14 + 8 + 40 + 1 },
		{ "1 MiB", { 0 }, (1 << 20) - 12 },
		{ "checksum outside", { .flags = 1, .csum_start = 90, .csum_offset = 16 }, 100 },
		{ "checksum far outside", { .flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff }, 100 },
		{ "segmentation of what is no IP", { .flags = 1, .gso_type = 1, .gso_size = 1448, .csum_start = 34, .csum_offset = 16 }, 9000 },
		{ "segmentation without checksum", { .gso_type = 1, .gso_size = 1448 }, 9000 },
		{ "segments of nothing", { .flags = 1, .gso_type = 1, .csum_start = 34, .csum_offset = 16 }, 9000 },
		{ "unknown segmentation", { .flags = 1, .gso_type = 0x7f, .gso_size = 1448, .csum_start = 34, .csum_offset = 16 }, 9000 },
	};
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode });

	WANT(n != NULL, "no device");
	n->out_gpa = vu_alloc(n->v, sizeof(frame) + 4096, 4096);
	for (uint32_t i = 0; i < nitems(t); i++) {
		uint8_t *p = vu_ptr(n->v, n->out_gpa, sizeof(frame));
		struct vu_buf out = { n->out_gpa, t[i].len + 12 };

		vu_nic_stamp(frame, t[i].len, i);
		memcpy(p, &t[i].h, 12);
		memcpy(p + 12, frame, t[i].len);
		WANT(vu_ring_do(n->v->ring[1], &out, 1, NULL, 0) == 0, "%s: does not come back", t[i].what);
		WANT(vu_nic_peer_recv(n, &back, got, 0) == 0, "%s: sent", t[i].what);
		vu_nic_tcp(frame, 9000, 4, 1, &good);
		WANT(vu_nic_send(n, 0, &good, frame, 9000, NULL) == 0 && vu_nic_peer_recv(n, &back, got, 2000) == 9000,
		     "%s: the next one is not sent", t[i].what);
	}
	for (uint32_t len = 0; len < 12; len++) {
		struct vu_buf out = { n->out_gpa, len }, in = { n->out_gpa, 64 };

		WANT(vu_ring_do(n->v->ring[1], &out, len > 0 ? 1 : 0, &in, 1) == 0, "a header of %u bytes", len);
	}
	WANT(vu_stat(n->v, STATS_GUEST_ERRORS) == nitems(t) + 12 || mode == VU_ALONE, "%llu counted",
	     (unsigned long long)vu_stat(n->v, STATS_GUEST_ERRORS));
	WANT(!vu_needs_reset(n->v, 0), "a bad frame is no reason for a reset");
	return serves(n) && vu_nic_free(n);
}

/* By chance, most of them nearly right: the kernel gets whatever passes, and refuses none of it as no frame. */
static bool headers_by_chance(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode });
	struct virtio_net_hdr_v1 h, back;
	uint32_t seed = 7;

	WANT(n != NULL, "no device");
	for (unsigned i = 0; i < RANDOM_HEADERS; i++) {
		uint32_t len = 60 + vu_random(&seed) % 9000;
		uint8_t *bytes = (uint8_t *)&h;

		vu_nic_tcp(frame, len < 100 ? 100 : len, (vu_random(&seed) & 1) != 0 ? 4 : 6, 1, &h);
		for (unsigned k = vu_random(&seed) % 3; k > 0; k--)
			bytes[vu_random(&seed) % sizeof(h)] = (uint8_t)vu_random(&seed);
		if (vu_random(&seed) % 4 == 0)
			frame[12 + vu_random(&seed) % 80] = (uint8_t)vu_random(&seed);
		WANT(vu_nic_send(n, 0, &h, frame, len, NULL) == 0, "header %u", i);
		while (vu_nic_peer_recv(n, &back, got, 0) > 0)
			;
	}
	return serves(n) && vu_nic_free(n);
}

static bool a_thousand_pieces_are_one_frame(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode, .queue_size = 1024 });
	struct virtio_net_hdr_v1 back;
	static uint32_t pieces[1025];

	WANT(n != NULL, "no device");
	for (unsigned count = 1020; count <= 1024; count++) {
		for (unsigned i = 0; i < count - 1; i++)
			pieces[i] = 3;
		pieces[count - 1] = 0;
		vu_nic_stamp(frame, 4000, count);
		WANT(vu_nic_send(n, 0, NULL, frame, 4000, pieces) == 0, "%u pieces", count);
		int r = vu_nic_peer_recv(n, &back, got, 2000);
		WANT(r == 4000 && vu_nic_is_stamped(got, 4000, count), "%u pieces: %d bytes", count, r);
	}
	return vu_nic_free(n);
}

/* --- starvation --------------------------------------------------------------------------------------------------------------------- */

static bool flood(struct vu_nic *n, unsigned count)
{
	static uint32_t number;

	for (unsigned i = 0; i < count; i++) {
		vu_nic_stamp(frame, 300, number++);
		int r = vu_nic_peer_send(n, NULL, frame, 300);
		WANT(r == 0 || r == -ENOBUFS || r == -EAGAIN, "flood: %s", strerror(-r));
	}
	return true;
}

static bool starved_then_flooded_it_resumes_at_once(int mode)
{
	static const uint64_t without[] = { 0, VU_NIC_BIT(VIRTIO_NET_F_MRG_RXBUF), VU_NIC_BIT(29) };

	for (unsigned k = 0; k < nitems(without); k++) {
		struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode, .without = without[k] });
		uint64_t worst = 0;

		WANT(n != NULL, "no device");
		for (unsigned round = 0; round < 20; round++) {
			WANT(flood(n, 2000), "round %u", round);
			WANT(vu_ring_wait(n->v->ring[0], 20) == 0, "a frame without a buffer");
			uint64_t cpu = vu_proc_cpu_us(n->v);
			(void)poll(NULL, 0, 50);
			WANT(vu_proc_cpu_us(n->v) - cpu <= 20000, "busy while starved");
			uint64_t from = now_ms();
			WANT(vu_nic_fill(n, 0, 100, 1526, 1), "buffers");
			for (unsigned i = 0; i < 100; i++)
				WANT(vu_nic_recv(n, 0, NULL, got, NULL, 2000) == 300, "round %u, frame %u", round, i);
			worst = now_ms() - from > worst ? now_ms() - from : worst;
		}
		WANT(worst < 100, "%llu ms until it went on", (unsigned long long)worst);
		WANT(vu_nic_free(n), "end");
	}
	return true;
}

/* The frame that was read when buffers ran out is the next that comes. */
static bool no_frame_is_lost_between_buffers(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode });
	enum { FRAMES = 300 };

	WANT(n != NULL, "no device");
	for (uint32_t i = 0; i < FRAMES; i++) {
		vu_nic_stamp(frame, 1400, i);
		WANT(vu_nic_peer_send(n, NULL, frame, 1400) == 0, "wire");
	}
	for (uint32_t i = 0; i < FRAMES; i++) {
		int r = 0;

		/* One small buffer at a time: each frame waits for its last. */
		for (unsigned k = 0; r == 0 && k < 20; k++) {
			WANT(vu_nic_fill(n, 0, 1, 256, 1), "buffer");
			r = vu_ring_in_flight(n->v->ring[0]) < 6 ? 0 : vu_nic_recv(n, 0, NULL, got, NULL, k > 5 ? 1000 : 0);
		}
		WANT(r == 1400 && vu_nic_is_stamped(got, 1400, i), "frame %u: %d bytes", i, r);
	}
	return vu_nic_free(n);
}

static bool receive_buffers_without_room_for_a_header_ask_for_a_reset(int mode)
{
	for (uint32_t bytes = 1; bytes < 12; bytes += 5) {
		struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode });

		WANT(n != NULL && vu_nic_fill(n, 0, 200, bytes, 1) && flood(n, 3), "no device");
		WANT(vu_needs_reset(n->v, 2000), "buffers of %u bytes", bytes);
		WANT(vu_proc_alive(n->v) && vu_reset(n->v) == 0 && serves(n), "not served after the reset");
		WANT(vu_nic_free(n), "end");
	}
	return true;
}

/* --- taps that fail -------------------------------------------------------------------------------------------------------------------- */

static bool a_link_that_is_down_loses_frames_and_nothing_else(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode });

	WANT(n != NULL && serves(n), "no device");
	for (unsigned round = 0; round < 3; round++) {
		uint64_t dropped = vu_stat(n->v, STATS_DROPPED);

		WANT(vu_nic_ip("link set " VU_NIC_NAME " down"), "down");
		vu_nic_stamp(frame, 60, 1);
		for (unsigned i = 0; i < 100; i++)
			WANT(vu_nic_send(n, 0, NULL, frame, 60, NULL) == 0, "frame %u does not come back", i);
		WANT(vu_stat(n->v, STATS_DROPPED) == dropped + 100 || mode == VU_ALONE, "counted");
		uint64_t cpu = vu_proc_cpu_us(n->v);
		(void)poll(NULL, 0, 100);
		WANT(vu_proc_cpu_us(n->v) - cpu <= 30000, "busy");
		WANT(vu_nic_ip("link set " VU_NIC_NAME " up"), "up");
		WANT(serves(n), "not served after round %u", round);
	}
	return vu_nic_free(n);
}

static bool an_interface_that_is_deleted_leaves_a_quiet_process(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode });

	WANT(n != NULL && serves(n) && vu_nic_fill(n, 0, 20, 2048, 1), "no device");
	WANT(vu_nic_ip("link delete " VU_NIC_NAME), "delete");
	vu_nic_stamp(frame, 60, 1);
	for (unsigned i = 0; i < 100; i++)
		WANT(vu_nic_send(n, 0, NULL, frame, 60, NULL) == 0, "frame %u does not come back", i);
	(void)poll(NULL, 0, 50);
	uint64_t cpu = vu_proc_cpu_us(n->v);
	(void)poll(NULL, 0, 200);
	WANT(vu_proc_cpu_us(n->v) - cpu <= 30000, "%llu us of 200 ms", (unsigned long long)(vu_proc_cpu_us(n->v) - cpu));
	WANT(vu_stop(n->v) == 0 && vu_proc_alive(n->v), "does not stop");
	if (mode != VU_PRESET) /* for vu_nic_free() */
		WANT(vu_nic_ip("tuntap add dev " VU_NIC_NAME " mode tap"), "again");
	return vu_nic_free(n);
}

/* --- rings ------------------------------------------------------------------------------------------------------------------------------- */

static struct vu_nic *of_hostile;

static bool good(struct vu *v)
{
	return vu_nic_adopt(of_hostile, v) && serves(of_hostile);
}

/* A wire that is never quiet, so that a device that waits for frames looks at its ring. */
static pid_t chatter(struct vu_nic *n)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	vu_nic_stamp(frame, 200, 77);
	for (;;) {
		(void)vu_nic_peer_send(n, NULL, frame, 200);
		(void)poll(NULL, 0, 1);
	}
}

static bool hostile(int mode, unsigned queue, bool (*run)(const struct vu_hostile *h))
{
	static const uint8_t header[12];
	struct vu_hostile h = { .queue = queue, .good = good, .head = header, .head_len = sizeof(header) };

	of_hostile = vu_nic_new_cold(&(struct vu_nic_opts){ .mode = mode });
	WANT(of_hostile != NULL, "no wire");
	h.cfg = of_hostile->cfg;
	pid_t pid = queue == 0 ? chatter(of_hostile) : 0;
	bool ok = run(&h);

	if (pid > 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
	}
	of_hostile->v = NULL; /* gone already */
	return vu_nic_free(of_hostile) && ok;
}

static unsigned seed(void)
{
	return getenv("VU_SEED") != NULL ? (unsigned)strtoul(getenv("VU_SEED"), NULL, 10) : 1;
}

static bool run_random(const struct vu_hostile *h)
{
	return vu_hostile_random_chains(h, seed(), h->queue == 0 ? RANDOM_CHAINS_IN : RANDOM_CHAINS);
}
static bool run_flipper(const struct vu_hostile *h)
{
	return vu_hostile_flipper(h, 500);
}
static bool run_resets(const struct vu_hostile *h)
{
	return vu_hostile_resets(h, RESETS);
}
static bool run_messages(const struct vu_hostile *h)
{
	return vu_hostile_random_messages(h, seed(), RANDOM_MESSAGES);
}

static bool broken_chains_to_be_sent(int mode)
{
	return hostile(mode, 1, vu_hostile_chains);
}
static bool broken_chains_to_be_filled(int mode)
{
	return hostile(mode, 0, vu_hostile_chains);
}
static bool broken_chains_of_commands(int mode)
{
	return hostile(mode, 2, vu_hostile_chains);
}
static bool chains_by_chance_to_be_sent(int mode)
{
	return hostile(mode, 1, run_random);
}
static bool chains_by_chance_to_be_filled(int mode)
{
	return hostile(mode, 0, run_random);
}
static bool chains_by_chance_of_commands(int mode)
{
	return hostile(mode, 2, run_random);
}
static bool descriptors_that_change_under_its_eyes(int mode)
{
	return hostile(mode, 1, run_flipper) && hostile(mode, 0, run_flipper);
}
static bool resets_at_any_moment(int mode)
{
	return hostile(mode, 1, run_resets) && hostile(mode, 0, run_resets);
}
static bool a_guest_does_not_fill_the_log(int mode)
{
	return hostile(mode, 1, vu_hostile_log_is_short);
}
static bool broken_messages(int mode)
{
	return hostile(mode, 1, vu_hostile_messages);
}
static bool messages_by_chance(int mode)
{
	return hostile(mode, 1, run_messages);
}
static bool spare_descriptors_are_closed(int mode)
{
	return hostile(mode, 1, vu_hostile_spare_fds);
}

int main(int argc, char **argv)
{
	static const struct vu_test tests[] = {
		TEST_BOTH(frames_with_lying_headers_are_dropped),
		TEST_BOTH(headers_by_chance),
		TEST_BOTH(a_thousand_pieces_are_one_frame),
		TEST_BOTH(starved_then_flooded_it_resumes_at_once),
		TEST_BOTH(no_frame_is_lost_between_buffers),
		TEST_BOTH(receive_buffers_without_room_for_a_header_ask_for_a_reset),
		TEST_BOTH(a_link_that_is_down_loses_frames_and_nothing_else),
		TEST_BOTH(an_interface_that_is_deleted_leaves_a_quiet_process),
		TEST_BOTH(broken_chains_to_be_sent),
		TEST_BOTH(broken_chains_to_be_filled),
		TEST_BOTH(broken_chains_of_commands),
		TEST_BOTH(chains_by_chance_to_be_sent),
		TEST_BOTH(chains_by_chance_to_be_filled),
		TEST_BOTH(chains_by_chance_of_commands),
		TEST_BOTH(descriptors_that_change_under_its_eyes),
		TEST_BOTH(resets_at_any_moment),
		TEST_BOTH(a_guest_does_not_fill_the_log),
		TEST_BOTH(broken_messages),
		TEST_BOTH(messages_by_chance),
		TEST_BOTH(spare_descriptors_are_closed),
	};

	return vu_tests_main(tests, nitems(tests), argc, argv);
}
