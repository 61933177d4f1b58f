/* SPDX-License-Identifier: ISC */
/*
 * cloister-net killed under load, and its successor. Packets may be lost, or sent twice, as on a wire; nothing may be stuck: every
 * chain comes back once, frames go on in both directions, and what the driver chose stays chosen.
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

enum { KILLS = 60, OUT_SLOTS = 100, IN_BUFFERS = 120, SENT = 800, MARK = 0x5a5a5a5a };

static uint8_t frame[VU_NIC_FRAME_MAX], got[VU_NIC_FRAME_MAX];

static uint64_t now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* --- the load ---------------------------------------------------------------------------------------------------------------------- */

struct load {
	struct vu_nic *n;
	uint64_t out_gpa, in_gpa;
	bool out_busy[OUT_SLOTS];
	uint32_t out_number;
	uint64_t sent, came, seen; /* out, in, at the other end */
};

static bool give_buffer(struct load *l, uint64_t slot)
{
	return vu_ring_add(l->n->v->ring[0], NULL, 0, &(struct vu_buf){ l->in_gpa + slot * 2048, 2048 }, 1, slot) >= 0;
}

static bool load_init(struct load *l, struct vu_nic *n)
{
	*l = (struct load){ .n = n };
	l->out_gpa = vu_alloc(n->v, OUT_SLOTS * 2048, 4096);
	l->in_gpa = vu_alloc(n->v, IN_BUFFERS * 2048, 4096);
	for (uint64_t i = 0; i < IN_BUFFERS; i++)
		WANT(give_buffer(l, i), "buffer");
	vu_ring_kick(n->v->ring[0]);
	return true;
}

static void send_some(struct load *l)
{
	struct vu_ring *r = l->n->v->ring[1];

	for (uint64_t i = 0; i < OUT_SLOTS; i++) {
		uint8_t *p = vu_ptr(l->n->v, l->out_gpa + i * 2048, 2048);

		if (l->out_busy[i])
			continue;
		memset(p, 0, 12);
		vu_nic_stamp(p + 12, SENT, l->out_number++);
		if (vu_ring_add(r, &(struct vu_buf){ l->out_gpa + i * 2048, 12 + SENT }, 1, NULL, 0, i) < 0)
			break;
		l->out_busy[i] = true;
	}
	vu_ring_kick(r);
}

static bool take_back(struct load *l)
{
	uint64_t slot;
	uint32_t len;
	int r;

	while ((r = vu_ring_pop(l->n->v->ring[1], &slot, &len)) == 1) {
		WANT(slot < OUT_SLOTS && l->out_busy[slot], "a frame came back twice");
		l->out_busy[slot] = false;
		l->sent++;
	}
	WANT(r == 0, "a chain that was not in flight");
	return true;
}

static bool take_frames(struct load *l)
{
	struct vu_ring *r = l->n->v->ring[0];
	uint64_t slot;
	uint32_t len;
	int got_one;

	while ((got_one = vu_ring_pop(r, &slot, &len)) == 1) {
		uint8_t *p = vu_ptr(l->n->v, l->in_gpa + slot * 2048, 2048);
		uint32_t number;

		WANT(len == 12 + SENT && p[10] == 1 && p[11] == 0, "%u bytes in %u buffers", len, p[10]);
		memcpy(&number, p + 12 + 14, sizeof(number));
		WANT(vu_nic_is_stamped(p + 12, SENT, number), "a frame that is none");
		l->came++;
		WANT(give_buffer(l, slot), "buffer");
	}
	WANT(got_one == 0, "a chain that was not in flight");
	vu_ring_kick(r);
	return true;
}

static bool look_at_wire(struct load *l)
{
	struct virtio_net_hdr_v1 h;
	uint32_t number;
	int r;

	for (unsigned i = 0; i < 500 && (r = vu_nic_peer_recv(l->n, &h, got, 0)) > 0; i++) {
		memcpy(&number, got + 14, sizeof(number));
		WANT(r == SENT && vu_nic_is_stamped(got, SENT, number), "a frame that is none: %d bytes", r);
		l->seen++;
	}
	return true;
}

static void wire_sends(struct load *l, uint32_t *number)
{
	for (unsigned i = 0; i < 30; i++) {
		vu_nic_stamp(frame, SENT, (*number)++);
		(void)vu_nic_peer_send(l->n, NULL, frame, SENT);
	}
}

static bool run_for(struct load *l, uint64_t us)
{
	static uint32_t number;
	uint64_t until = now_us() + us;

	do {
		send_some(l);
		wire_sends(l, &number);
		if (!take_back(l) || !take_frames(l) || !look_at_wire(l))
			return false;
	} while (now_us() < until);
	return true;
}

/* Both directions move within a second. */
static bool moves(struct load *l)
{
	uint64_t sent = l->sent, came = l->came, seen = l->seen, until = now_us() + 1000000;

	while (now_us() < until && (l->sent == sent || l->came == came || l->seen == seen))
		if (!run_for(l, 1000))
			return false;
	WANT(l->sent != sent, "no frame goes out");
	WANT(l->seen != seen, "no frame arrives at the other end");
	WANT(l->came != came, "no frame comes in");
	return true;
}

static bool killed_under_load_nothing_is_stuck(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode });
	struct load l;
	uint32_t seed = 3;

	WANT(n != NULL && load_init(&l, n) && moves(&l), "no device");
	for (unsigned k = 0; k < KILLS; k++) {
		if (!run_for(&l, vu_random(&seed) % 15000))
			return false;
		WANT(vu_restart(n->v) == 0, "no successor after %u kills", k);
		if (!moves(&l)) {
			vu_diag("after %u kills", k + 1);
			return false;
		}
	}
	/* Whatever is in flight comes back. */
	uint64_t until = now_us() + 2000000;
	while (vu_ring_in_flight(n->v->ring[1]) > 0 && now_us() < until)
		if (!take_back(&l) || !look_at_wire(&l))
			return false;
	WANT(vu_ring_in_flight(n->v->ring[1]) == 0, "%u frames never come back", vu_ring_in_flight(n->v->ring[1]));
	WANT(vu_ring_in_flight(n->v->ring[0]) == IN_BUFFERS, "%u buffers are lost", IN_BUFFERS - vu_ring_in_flight(n->v->ring[0]));
	vu_diag("%u kills: %llu sent, %llu arrived, %llu came", KILLS, (unsigned long long)l.sent, (unsigned long long)l.seen,
		(unsigned long long)l.came);
	return vu_nic_free(n);
}

/* Killed while it waits for buffers, with a frame read. */
static bool killed_while_starved_it_takes_buffers_again(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode });

	WANT(n != NULL, "no device");
	for (unsigned round = 0; round < 10; round++) {
		WANT(vu_nic_fill(n, 0, 3, 256, 1), "buffers");
		vu_nic_stamp(frame, 1400, round);
		WANT(vu_nic_peer_send(n, NULL, frame, 1400) == 0, "wire");
		WANT(vu_ring_wait(n->v->ring[0], 20) == 0, "a frame without room");
		WANT(vu_restart(n->v) == 0, "no successor");
		WANT(vu_nic_fill(n, 0, 6, 256, 1), "buffers");
		vu_nic_stamp(frame, 1400, round);
		WANT(vu_nic_peer_send(n, NULL, frame, 1400) == 0, "wire");
		WANT(vu_nic_recv(n, 0, NULL, got, NULL, 2000) == 1400 && vu_nic_is_stamped(got, 1400, round), "round %u", round);
		while (vu_ring_in_flight(n->v->ring[0]) > 0) { /* use up the rest */
			vu_nic_stamp(frame, 60, MARK);
			WANT(vu_nic_peer_send(n, NULL, frame, 60) == 0, "wire");
			WANT(vu_nic_recv(n, 0, NULL, got, NULL, 2000) == 60, "round %u: a buffer is lost", round);
		}
	}
	return vu_nic_free(n);
}

/* --- what the driver chose ------------------------------------------------------------------------------------------------------------ */

enum { PAIRS = 4, FLOWS = 64 };

/* Frames of many flows: on how many rings do they come? */
static int rings_used(struct vu_nic *n)
{
	struct virtio_net_hdr_v1 h;
	unsigned all = 0, used = 0;
	bool on[PAIRS] = { false };
	uint64_t until = now_us() + 5000000;

	for (uint16_t flow = 0; flow < FLOWS; flow++) {
		vu_nic_tcp(frame, 200, 4, (uint16_t)(5000 + 7 * flow), &h);
		h.gso_type = 0;
		h.gso_size = 0;
		if (vu_nic_peer_send(n, &h, frame, 200) < 0)
			return -1;
	}
	while (all < FLOWS && now_us() < until)
		for (unsigned i = 0; i < PAIRS; i++)
			if (vu_nic_recv(n, i, NULL, got, NULL, 1) > 0) {
				on[i] = true;
				all++;
			}
	for (unsigned i = 0; i < PAIRS; i++) {
		used += on[i];
		if (vu_ring_in_flight(n->v->ring[2 * i]) < FLOWS && !vu_nic_fill(n, i, FLOWS, 2048, 1))
			return -1;
	}
	return all == FLOWS ? (int)used : -1;
}

static bool pairs_and_offloads_stay_chosen(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode, .n_pairs = PAIRS });
	struct virtio_net_hdr_v1 h;

	WANT(n != NULL, "no device");
	for (unsigned i = 0; i < PAIRS; i++)
		WANT(vu_nic_fill(n, i, 250, 2048, 1), "buffers");
	WANT(vu_nic_ctrl(n, "\4\0\3\0", 4) == VIRTIO_NET_OK, "three pairs");
	WANT(vu_nic_ctrl(n, "\5\0\0\0\0\0\0\0\0\0", 10) == VIRTIO_NET_OK, "no offloads");
	WANT(rings_used(n) == 3, "three rings");
	for (unsigned k = 0; k < 3; k++) {
		WANT(vu_restart(n->v) == 0, "no successor");
		WANT(rings_used(n) == 3, "three rings after kill %u", k + 1);
		vu_nic_tcp(frame, 14 + 40 + 4 * 1448, 4, 5000, &h);
		WANT(vu_nic_peer_send(n, &h, frame, 14 + 40 + 4 * 1448) == 0, "wire");
		unsigned segments = 0;
		for (unsigned i = 0; i < 200 && segments < 4; i++) {
			int r = vu_nic_recv(n, i % PAIRS, &h, got, NULL, 10);

			WANT(r == 0 || (r == 14 + 40 + 1448 && h.flags == 0 && h.gso_type == 0), "%d bytes, flags %u, type %u", r, h.flags, h.gso_type);
			segments += r > 0;
		}
		WANT(segments == 4, "%u segments: offloads came back", segments);
	}
	/* A new driver begins anew, also in front of a process that never saw the old one. */
	WANT(vu_reset(n->v) == 0, "reset");
	for (unsigned i = 0; i < PAIRS; i++)
		WANT(vu_nic_fill(n, i, 250, 2048, 1), "buffers");
	WANT(rings_used(n) == 1, "one ring for a new driver");
	WANT(vu_restart(n->v) == 0 && rings_used(n) == 1, "and for its successor");
	return vu_nic_free(n);
}

int main(int argc, char **argv)
{
	static const struct vu_test tests[] = {
		{ .name = "killed_under_load_nothing_is_stuck", .run = killed_under_load_nothing_is_stuck, .arg = VU_ALONE, .suffix = ", alone",
		  .seconds = 120 },
		{ .name = "killed_under_load_nothing_is_stuck", .run = killed_under_load_nothing_is_stuck, .arg = VU_PRESET, .suffix = ", jailed",
		  .seconds = 120 },
		TEST_BOTH(killed_while_starved_it_takes_buffers_again),
		TEST(pairs_and_offloads_stay_chosen, VU_PRESET),
	};

	return vu_tests_main(tests, nitems(tests), argc, argv);
}
