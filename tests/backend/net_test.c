/* SPDX-License-Identifier: ISC */
/* cloister-net under a correct driver: frames both ways, offloads, many queues, the control queue, limits (virtio v1.2 5.1). */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "tests/backend/vu/nic.h"
#include "tests/backend/vu/tests.h"

static uint8_t frame[VU_NIC_FRAME_MAX], got[VU_NIC_FRAME_MAX];

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct vu_nic *nic(int mode)
{
	return vu_nic_new(&(struct vu_nic_opts){ .mode = mode });
}

/* --- what it is ---------------------------------------------------------------------------------------------------------------- */

static bool offers(struct vu_nic_opts opts, uint64_t want)
{
	struct vu_nic *n = vu_nic_new(&opts);
	const uint64_t library = VU_NIC_BIT(VIRTIO_F_VERSION_1) | VU_NIC_BIT(29) | VU_NIC_BIT(VHOST_USER_F_PROTOCOL_FEATURES) |
				 VU_NIC_BIT(VHOST_USER_F_LOG_ALL);

	WANT(n != NULL, "no device");
	WANT((n->v->offered & ~library) == want, "0x%llx instead of 0x%llx", (unsigned long long)(n->v->offered & ~library),
	     (unsigned long long)want);
	WANT((n->v->offered & VU_NIC_BIT(28)) == 0, "indirect descriptors");
	return vu_nic_free(n);
}

static bool features_are_those_of_the_platform(int mode)
{
	return offers((struct vu_nic_opts){ .mode = mode }, VU_NIC_FEATURES);
}

static bool features_follow_the_switches(int mode)
{
	const uint64_t ufo = VU_NIC_BIT(VIRTIO_NET_F_HOST_UFO) | VU_NIC_BIT(VIRTIO_NET_F_GUEST_UFO);
	const uint64_t tso = VU_NIC_BIT(VIRTIO_NET_F_HOST_TSO4) | VU_NIC_BIT(VIRTIO_NET_F_HOST_TSO6) |
			     VU_NIC_BIT(VIRTIO_NET_F_HOST_ECN) | VU_NIC_BIT(VIRTIO_NET_F_GUEST_TSO4) |
			     VU_NIC_BIT(VIRTIO_NET_F_GUEST_TSO6) | VU_NIC_BIT(VIRTIO_NET_F_GUEST_ECN);
	const uint64_t csum = VU_NIC_BIT(VIRTIO_NET_F_CSUM) | VU_NIC_BIT(VIRTIO_NET_F_GUEST_CSUM) |
			      VU_NIC_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);

	return offers((struct vu_nic_opts){ .mode = mode, .no_ufo = true }, VU_NIC_FEATURES & ~ufo) &&
	       offers((struct vu_nic_opts){ .mode = mode, .no_tso = true }, VU_NIC_FEATURES & ~tso) &&
	       offers((struct vu_nic_opts){ .mode = mode, .no_tso = true, .no_ufo = true, .no_csum = true },
		      VU_NIC_FEATURES & ~(csum | tso | ufo));
}

static bool configuration_space_reads_as_written(int mode)
{
	static const uint8_t want[17] = { 0x2e, 1, 2, 3, 4, 5, VIRTIO_NET_S_LINK_UP, 0, 3, 0, 0xdc, 0x05 };
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode, .n_pairs = 3 });
	uint8_t c[17];

	WANT(n != NULL, "no device");
	WANT(vu_get_config(n->v, c, sizeof(c)) == 0 && memcmp(c, want, sizeof(c)) == 0, "mac, status, pairs, MTU");
	WANT(vu_set_config(n->v, 0, "\0\0\0\0\0\0", 6) >= 0, "a write");
	WANT(vu_get_config(n->v, c, sizeof(c)) == 0 && memcmp(c, want, sizeof(c)) == 0, "nothing of it can be written");
	return vu_nic_free(n);
}

/* --- frames ---------------------------------------------------------------------------------------------------------------------- */

static const uint32_t lengths[] = { 14, 15, 60, 61, 1513, 1514, 4096, 9014, 65549, 65550 };

static bool frames_go_out_in_any_shape(int mode)
{
	static const uint32_t shapes[][40] = {
		{ 0 }, { 12, 0 }, { 1, 0 }, { 13, 0 }, { 12, 14, 0 }, { 4096, 4096, 0 }, { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0 },
		{ 6, 7, 13, 1, 100, 0 },
	};
	struct vu_nic *n = nic(mode);
	struct virtio_net_hdr_v1 h;
	uint32_t number = 0;

	WANT(n != NULL, "no device");
	for (unsigned i = 0; i < nitems(lengths); i++) {
		for (unsigned s = 0; s < nitems(shapes); s++, number++) {
			vu_nic_stamp(frame, lengths[i], number);
			WANT(vu_nic_send(n, 0, NULL, frame, lengths[i], shapes[s]) == 0, "%u bytes, shape %u", lengths[i], s);
			int len = vu_nic_peer_recv(n, &h, got, 2000);
			WANT(len == (int)lengths[i] && vu_nic_is_stamped(got, lengths[i], number), "%u bytes, shape %u: got %d", lengths[i], s, len);
			WANT(h.flags == 0 && h.gso_type == 0, "flags %u, type %u", h.flags, h.gso_type);
		}
	}
	WANT(vu_stat(n->v, STATS_NET_TX_FRAMES) == number || mode == VU_ALONE, "counted");
	return vu_nic_free(n);
}

/* One frame each: what does not fit the wire as it is goes as a segmentation request, of which only the length matters here. */
static bool send_in(struct vu_nic *n, uint32_t len, uint32_t number)
{
	vu_nic_stamp(frame, len, number);
	int r = vu_nic_peer_send(n, NULL, frame, len);

	WANT(r == 0, "%u bytes: %s", len, strerror(-r));
	return true;
}

static bool come_in(int mode, uint64_t without, unsigned count, uint32_t bytes, unsigned pieces)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode, .without = without });
	static const uint32_t lens[] = { 14, 60, 1000, 1513, 1514 };
	struct virtio_net_hdr_v1 h;
	unsigned buffers, sent = 0;
	uint64_t sum = 0;

	WANT(n != NULL, "no device");
	bool mergeable = (n->v->acked & VU_NIC_BIT(VIRTIO_NET_F_MRG_RXBUF)) != 0;
	for (unsigned round = 0; round < 40; round++) {
		if (vu_ring_in_flight(n->v->ring[0]) == 0) /* sometimes in front of the frame, sometimes behind it */
			WANT(vu_nic_fill(n, 0, count, bytes, pieces), "buffers");
		uint32_t len = lens[round % nitems(lens)];
		WANT(send_in(n, len, round), "round %u", round);
		sent++;
		sum += len;
		int r = vu_nic_recv(n, 0, &h, got, &buffers, 20);
		for (unsigned more = 0; r == 0 && more < 10; more++) {
			WANT(vu_nic_fill(n, 0, count - vu_ring_in_flight(n->v->ring[0]), bytes, pieces), "more buffers");
			r = vu_nic_recv(n, 0, &h, got, &buffers, 1000);
		}
		WANT(r == (int)len && vu_nic_is_stamped(got, len, round), "round %u: %d of %u bytes", round, r, len);
		uint32_t want = mergeable ? (len + n->hdr_bytes + bytes - 1) / bytes : 1;
		WANT(buffers == want, "%u buffers for %u bytes in pieces of %u", buffers, len, bytes);
		WANT(h.flags == 0 && h.gso_type == 0, "flags %u, type %u", h.flags, h.gso_type);
	}
	WANT(vu_stat(n->v, STATS_NET_RX_FRAMES) == sent || mode == VU_ALONE, "counted");
	WANT(vu_stat(n->v, STATS_NET_RX_BYTES) == sum || mode == VU_ALONE, "bytes counted");
	return vu_nic_free(n);
}

static bool frames_come_into_large_buffers(int mode)
{
	return come_in(mode, 0, 7, 70000, 1);
}
static bool frames_come_into_small_mergeable_buffers(int mode)
{
	return come_in(mode, 0, 128, 64, 1) && come_in(mode, 0, 200, 12, 1) && come_in(mode, 0, 50, 1526, 1);
}
static bool frames_come_into_chains(int mode)
{
	return come_in(mode, 0, 5, 2000, 17) && come_in(mode, VU_NIC_BIT(VIRTIO_NET_F_MRG_RXBUF), 5, 2000, 17) &&
	       come_in(mode, VU_NIC_BIT(VIRTIO_NET_F_MRG_RXBUF), 9, 1526, 1);
}
static bool frames_come_without_event_indexes(int mode)
{
	return come_in(mode, VU_NIC_BIT(29), 50, 1526, 1) && come_in(mode, VU_NIC_BIT(29), 128, 64, 2);
}
static bool frames_come_to_a_legacy_driver(int mode)
{
	return come_in(mode, VU_NIC_BIT(VIRTIO_F_VERSION_1) | VU_NIC_BIT(VIRTIO_NET_F_MRG_RXBUF), 9, 1524, 2);
}

static bool a_frame_too_long_for_a_lone_buffer_is_dropped(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode, .without = VU_NIC_BIT(VIRTIO_NET_F_MRG_RXBUF) });

	WANT(n != NULL && vu_nic_fill(n, 0, 3, 500, 1), "no device");
	WANT(send_in(n, 1514, 1) && send_in(n, 489, 2) && send_in(n, 488, 3), "frames");
	WANT(vu_nic_recv(n, 0, NULL, got, NULL, 2000) == 488 && vu_nic_is_stamped(got, 488, 3), "the one that fits");
	WANT(vu_stat(n->v, STATS_DROPPED) == 2 || mode == VU_ALONE, "%llu counted", (unsigned long long)vu_stat(n->v, STATS_DROPPED));
	return vu_nic_free(n);
}

static bool a_frame_longer_than_the_whole_ring_is_dropped(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode, .queue_size = 16 });

	WANT(n != NULL && vu_nic_fill(n, 0, 16, 64, 1), "no device");
	WANT(send_in(n, 1514, 1) && send_in(n, 1000, 2), "frames");
	WANT(vu_nic_recv(n, 0, NULL, got, NULL, 2000) == 1000 && vu_nic_is_stamped(got, 1000, 2), "the one that fits");
	return vu_nic_free(n);
}

/* --- offloads ---------------------------------------------------------------------------------------------------------------------- */

static bool segmentation_goes_out(int mode)
{
	struct vu_nic *n = nic(mode);
	struct virtio_net_hdr_v1 h, back;

	WANT(n != NULL, "no device");
	for (int version = 4; version <= 6; version += 2) {
		uint32_t len = 65226;

		vu_nic_tcp(frame, len, version, 1000, &h);
		h.hdr_len = 0; /* a hint */
		WANT(vu_nic_send(n, 0, &h, frame, len, NULL) == 0, "IPv%d", version);
		int r = vu_nic_peer_recv(n, &back, got, 2000);
		WANT(r == (int)len && memcmp(got, frame, len) == 0, "IPv%d: %d of %u bytes", version, r, len);
		WANT(back.gso_type == h.gso_type && back.gso_size == 1448 && back.flags == VIRTIO_NET_HDR_F_NEEDS_CSUM &&
			     back.csum_start == h.csum_start && back.csum_offset == 16,
		     "IPv%d: type %u, size %u, flags %u", version, back.gso_type, back.gso_size, back.flags);
	}
	return vu_nic_free(n);
}

static bool segmentation_comes_in_over_many_buffers(int mode)
{
	struct vu_nic *n = nic(mode);
	struct virtio_net_hdr_v1 h, back;
	unsigned buffers;

	WANT(n != NULL && vu_nic_fill(n, 0, 200, 1536, 1), "no device");
	for (unsigned i = 0; i < 3; i++) { /* the first meets a device that expects little */
		vu_nic_tcp(frame, 64000, 4, 1000, &h);
		WANT(vu_nic_peer_send(n, &h, frame, 64000) == 0, "frame");
		int r = vu_nic_recv(n, 0, &back, got, &buffers, 2000);
		WANT(r == 64000 && memcmp(got, frame, 64000) == 0, "%d bytes", r);
		WANT(buffers == (64000 + 12 + 1535) / 1536, "%u buffers", buffers);
		WANT(back.gso_type == VIRTIO_NET_HDR_GSO_TCPV4 && back.gso_size == 1448 && back.flags == VIRTIO_NET_HDR_F_NEEDS_CSUM &&
			     back.csum_start == 34 && back.csum_offset == 16,
		     "type %u, size %u, flags %u", back.gso_type, back.gso_size, back.flags);
	}
	return vu_nic_free(n);
}

/* Frames of a segmented request as the driver sees them: lengths in *@count. */
static bool segments_come(struct vu_nic *n, unsigned want, bool summed)
{
	struct virtio_net_hdr_v1 h, back;
	unsigned count = 0;
	int r;

	vu_nic_tcp(frame, 14 + 40 + 10 * 1448, 4, 1000, &h);
	WANT(vu_nic_peer_send(n, &h, frame, 14 + 40 + 10 * 1448) == 0, "frame");
	for (; count < want && (r = vu_nic_recv(n, 0, &back, got, NULL, 2000)) > 0; count++) {
		WANT(back.gso_type == 0, "type %u", back.gso_type);
		WANT((back.flags == 0) == summed, "flags %u", back.flags);
		WANT(r == 14 + 40 + 1448, "%d bytes", r);
	}
	WANT(count == want, "%u frames", count);
	WANT(vu_nic_recv(n, 0, NULL, got, NULL, 20) == 0, "one more");
	return true;
}

static bool a_driver_without_offloads_gets_whole_packets(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode, .without = VU_NIC_BIT(VIRTIO_NET_F_GUEST_CSUM) |
		VU_NIC_BIT(VIRTIO_NET_F_GUEST_TSO4) | VU_NIC_BIT(VIRTIO_NET_F_GUEST_TSO6) | VU_NIC_BIT(VIRTIO_NET_F_GUEST_ECN) |
		VU_NIC_BIT(VIRTIO_NET_F_GUEST_UFO) });

	WANT(n != NULL && vu_nic_fill(n, 0, 64, 2048, 1), "no device");
	WANT(segments_come(n, 10, true), "ten segments with their checksums");
	return vu_nic_free(n);
}

static bool a_driver_may_turn_offloads_off_and_on(int mode)
{
	static const uint8_t off[10] = { 5, 0, 0x02 }, none[10] = { 5, 0 }, all[10] = { 5, 0, 0x82, 0x07 };
	struct vu_nic *n = nic(mode);
	struct virtio_net_hdr_v1 h;

	WANT(n != NULL && vu_nic_fill(n, 0, 128, 2048, 1), "no device");
	WANT(vu_nic_ctrl(n, off, sizeof(off)) == VIRTIO_NET_OK, "checksums only");
	WANT(segments_come(n, 10, false), "segments");
	WANT(vu_nic_ctrl(n, none, sizeof(none)) == VIRTIO_NET_OK, "none");
	WANT(segments_come(n, 10, true), "segments");
	WANT(vu_nic_ctrl(n, all, sizeof(all)) == VIRTIO_NET_OK, "all");
	vu_nic_tcp(frame, 14000, 4, 1000, &h);
	WANT(vu_nic_peer_send(n, &h, frame, 14000) == 0 && vu_nic_recv(n, 0, &h, got, NULL, 2000) == 14000, "one frame");
	return vu_nic_free(n);
}

/* --- many queues ---------------------------------------------------------------------------------------------------------------------- */

enum { PAIRS = 4, FLOWS = 64 };

/* Frames of many flows: how many come on each ring. */
static bool spread(struct vu_nic *n, unsigned *counts)
{
	struct virtio_net_hdr_v1 h;
	unsigned all = 0;
	uint64_t until = now_ms() + 5000;

	memset(counts, 0, PAIRS * sizeof(*counts));
	for (uint16_t flow = 0; flow < FLOWS; flow++) {
		vu_nic_tcp(frame, 200, 4, (uint16_t)(5000 + 7 * flow), &h);
		h.gso_type = 0;
		h.gso_size = 0;
		WANT(vu_nic_peer_send(n, &h, frame, 200) == 0, "flow %u", flow);
	}
	while (all < FLOWS && now_ms() < until) {
		for (unsigned i = 0; i < PAIRS; i++) {
			int r = vu_nic_recv(n, i, NULL, got, NULL, 1);

			WANT(r == 0 || r == 200, "%d bytes", r);
			counts[i] += r > 0;
			all += r > 0;
		}
	}
	WANT(all == FLOWS, "%u of %u frames", all, FLOWS);
	return true;
}

static bool taps_serve_the_pairs_that_are_active(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode, .n_pairs = PAIRS });
	static const unsigned orders[] = { 1, 4, 2, 3, 1, 4 };
	unsigned counts[PAIRS];

	WANT(n != NULL, "no device");
	for (unsigned i = 0; i < PAIRS; i++)
		WANT(vu_nic_fill(n, i, 250, 2048, 1), "buffers");
	WANT(spread(n, counts) && counts[0] == FLOWS, "one pair until the driver says more: %u", counts[0]);
	for (unsigned k = 0; k < nitems(orders); k++) {
		const uint8_t command[] = { 4, 0, (uint8_t)orders[k], 0 };

		for (unsigned i = 0; i < PAIRS; i++)
			if (vu_ring_in_flight(n->v->ring[2 * i]) < FLOWS)
				WANT(vu_nic_fill(n, i, FLOWS, 2048, 1), "more buffers");
		WANT(vu_nic_ctrl(n, command, sizeof(command)) == VIRTIO_NET_OK, "%u pairs", orders[k]);
		WANT(spread(n, counts), "%u pairs", orders[k]);
		for (unsigned i = 0; i < PAIRS; i++)
			WANT((counts[i] > 0) == (i < orders[k]), "%u pairs: %u frames on ring %u", orders[k], counts[i], i);
	}
	return vu_nic_free(n);
}

static bool every_pair_sends(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode, .n_pairs = PAIRS });
	struct virtio_net_hdr_v1 h;

	WANT(n != NULL, "no device");
	for (uint32_t i = 0; i < 5 * PAIRS; i++) {
		vu_nic_stamp(frame, 100, i);
		WANT(vu_nic_send(n, i % PAIRS, NULL, frame, 100, NULL) == 0, "pair %u", i % PAIRS);
		WANT(vu_nic_peer_recv(n, &h, got, 2000) == 100 && vu_nic_is_stamped(got, 100, i), "pair %u", i % PAIRS);
	}
	return vu_nic_free(n);
}

/* A front end that keeps the control queue for itself (QEMU, DPDK): rings that run are active. */
static bool without_a_control_queue_running_rings_are_active(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode, .n_pairs = PAIRS, .without = VU_NIC_BIT(VIRTIO_NET_F_CTRL_VQ) });
	unsigned counts[PAIRS];

	WANT(n != NULL, "no device");
	for (unsigned i = 0; i < PAIRS; i++)
		WANT(vu_nic_fill(n, i, 200, 2048, 1), "buffers");
	WANT(spread(n, counts), "frames");
	for (unsigned i = 0; i < PAIRS; i++)
		WANT(counts[i] > 0, "none on ring %u", i);
	for (unsigned left = PAIRS - 1; left > 0; left--) {
		WANT(vu_stop_ring(n->v, 2 * left) >= 0 && vu_stop_ring(n->v, 2 * left + 1) >= 0, "stopping pair %u", left);
		WANT(spread(n, counts), "%u pairs", left);
		for (unsigned i = 0; i < PAIRS; i++)
			WANT((counts[i] > 0) == (i < left), "%u pairs: %u frames on ring %u", left, counts[i], i);
	}
	return vu_nic_free(n);
}

static bool without_mq_the_control_queue_comes_third(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode, .n_pairs = PAIRS, .without = VU_NIC_BIT(VIRTIO_NET_F_MQ) });
	unsigned counts[PAIRS];

	WANT(n != NULL && vu_nic_fill(n, 0, 200, 2048, 1), "no device");
	WANT(vu_nic_ctrl(n, "\3\0", 2) == VIRTIO_NET_OK, "on queue 2");
	WANT(vu_nic_ctrl(n, "\4\0\2\0", 4) == VIRTIO_NET_ERR, "pairs were not negotiated");
	WANT(spread(n, counts) && counts[0] == FLOWS, "one pair");
	return vu_nic_free(n);
}

/* --- control queue --------------------------------------------------------------------------------------------------------------------- */

static bool commands_are_answered(int mode)
{
	static const struct {
		const char *bytes;
		uint32_t len;
		int answer;
	} t[] = {
		{ "\4\0\1\0", 4, VIRTIO_NET_OK },    { "\4\0\2\0", 4, VIRTIO_NET_OK },	 { "\4\0\3\0", 4, VIRTIO_NET_ERR },
		{ "\4\0\0\0", 4, VIRTIO_NET_ERR },   { "\4\0\1", 3, VIRTIO_NET_ERR },	 { "\4\0\1\0\0", 5, VIRTIO_NET_ERR },
		{ "\4\0\xff\xff", 4, VIRTIO_NET_ERR }, { "\4\1\1\0", 4, VIRTIO_NET_ERR }, { "\0\0\1", 3, VIRTIO_NET_OK },
		{ "\0\5\0", 3, VIRTIO_NET_OK },	     { "\2\0\1\0", 4, VIRTIO_NET_OK },	 { "\2\1\xff\xff", 4, VIRTIO_NET_OK },
		{ "\1\1\0\0\0\0\0\0", 8, VIRTIO_NET_ERR }, { "\1\0\xff\xff\xff\xff", 6, VIRTIO_NET_ERR },
		{ "\3\0", 2, VIRTIO_NET_OK },	     { "\3\1", 2, VIRTIO_NET_ERR },	 { "\3", 1, VIRTIO_NET_ERR },
		{ "", 0, VIRTIO_NET_ERR },	     { "\x17\0", 2, VIRTIO_NET_ERR },	 { "\5\1\0\0\0\0\0\0\0\0", 10, VIRTIO_NET_ERR },
		{ "\5\0\1\0\0\0\0\0\0\0", 10, VIRTIO_NET_ERR }, { "\5\0\0\0\0\0\0\0\0\x80", 10, VIRTIO_NET_ERR },
		{ "\5\0\2\0\0\0\0\0\0\0", 10, VIRTIO_NET_OK },
	};
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode, .n_pairs = 2 });

	WANT(n != NULL, "no device");
	for (unsigned round = 0; round < 20; round++)
		for (unsigned i = 0; i < nitems(t); i++) {
			int r = vu_nic_ctrl(n, t[i].bytes, t[i].len);

			WANT(r == t[i].answer, "command %u: %d", i, r);
		}
	return vu_nic_free(n);
}

static bool commands_in_pieces_and_without_room_for_an_answer(int mode)
{
	struct vu_nic *n = nic(mode);

	WANT(n != NULL, "no device");
	uint8_t *p = vu_ptr(n->v, n->ctrl_gpa, 64);
	struct vu_buf out[4] = { { n->ctrl_gpa, 1 }, { n->ctrl_gpa + 1, 1 }, { n->ctrl_gpa + 2, 1 }, { n->ctrl_gpa + 3, 1 } };
	struct vu_buf in = { n->ctrl_gpa + 32, 16 };
	struct vu_ring *r = n->v->ring[2];

	memcpy(p, "\4\0\1\0", 4);
	memset(p + 32, 0xaa, 16);
	WANT(vu_ring_do(r, out, 4, &in, 1) == 1 && p[32] == VIRTIO_NET_OK && p[33] == 0xaa, "in pieces");
	WANT(vu_ring_do(r, out, 4, NULL, 0) == 0, "no room for an answer");
	memset(p + 32, 0xaa, 16);
	WANT(vu_ring_do(r, out, 4, &in, 1) == 1 && p[32] == VIRTIO_NET_OK, "and the next one");
	out[0].len = 65536;
	out[0].gpa = n->out_gpa;
	WANT(vu_ring_do(r, out, 1, &in, 1) == 1 && p[32] != 0xaa, "64 KiB of command");
	return vu_nic_free(n);
}

/* Behind the configuration space: how many pairs the driver has set, for the front end. */
static int pairs_told(struct vu_nic *n)
{
	uint8_t c[19];

	return vu_get_config(n->v, c, sizeof(c)) == 0 && c[8] == 2 && c[9] == 0 ? c[17] | c[18] << 8 : -1;
}

static bool control_queue_alone_is_served_for_others(int mode)
{
	struct vu_nic *n = vu_nic_new(&(struct vu_nic_opts){ .mode = mode, .n_pairs = 2, .control_only = true });

	WANT(n != NULL, "no device");
	WANT(pairs_told(n) == 0, "pairs before the driver has told them");
	WANT(vu_nic_ctrl(n, "\4\0\2\0", 4) == VIRTIO_NET_OK && vu_nic_ctrl(n, "\4\0\3\0", 4) == VIRTIO_NET_ERR, "pairs");
	WANT(pairs_told(n) == 2, "pairs");
	WANT(vu_restart(n->v) == 0 && pairs_told(n) == 2, "pairs of a successor");
	WANT(vu_reset(n->v) == 0 && pairs_told(n) == 0, "pairs of the next driver");
	WANT(vu_nic_ctrl(n, "\3\0", 2) == VIRTIO_NET_OK, "announcement");
	WANT(vu_nic_ctrl(n, "\5\0\0\0\0\0\0\0\0\0", 10) == VIRTIO_NET_ERR, "offloads of taps that are not here");
	return vu_nic_free(n);
}

/* --- limits ------------------------------------------------------------------------------------------------------------------------------- */

enum { LIMITED = 60 };

static bool limited_out(struct vu_nic *n, uint64_t min_ms)
{
	struct virtio_net_hdr_v1 h;
	uint64_t from = now_ms();

	for (uint32_t i = 0; i < LIMITED; i++) {
		vu_nic_stamp(frame, 1000, i);
		WANT(vu_nic_send(n, 0, NULL, frame, 1000, NULL) == 0, "frame %u", i);
		WANT(vu_nic_peer_recv(n, &h, got, 2000) == 1000 && vu_nic_is_stamped(got, 1000, i), "frame %u", i);
	}
	uint64_t ms = now_ms() - from;
	WANT(ms >= min_ms && ms < 20 * min_ms, "out: %llu ms", (unsigned long long)ms);
	return true;
}

static bool limited_in(struct vu_nic *n, uint64_t min_ms)
{
	uint64_t from = now_ms();

	for (uint32_t i = 0; i < LIMITED; i++)
		WANT(send_in(n, 1000, i), "frame %u", i);
	for (uint32_t i = 0; i < LIMITED; i++)
		WANT(vu_nic_recv(n, 0, NULL, got, NULL, 2000) == 1000 && vu_nic_is_stamped(got, 1000, i), "frame %u", i);
	uint64_t ms = now_ms() - from;
	WANT(ms >= min_ms && ms < 20 * min_ms, "in: %llu ms", (unsigned long long)ms);
	return true;
}

static bool limits_hold_each_direction_by_itself(int mode)
{
	/* 20 at once, then 20 in 100 ms: the second and third twenty take 100 ms each. */
	static const struct vu_nic_opts limits[] = {
		{ .ops_size = 20, .ops_ms = 100 },
		{ .bw_size = 20000, .bw_ms = 100 },
	};

	for (unsigned i = 0; i < nitems(limits); i++) {
		struct vu_nic_opts o = limits[i];

		o.mode = mode;
		struct vu_nic *n = vu_nic_new(&o);
		WANT(n != NULL && vu_nic_fill(n, 0, LIMITED, 2048, 1), "no device");
		WANT(limited_out(n, 150) && limited_in(n, 150), "limits %u", i);
		WANT(vu_stat(n->v, STATS_LIMITED) > 0 || mode == VU_ALONE, "counted");
		WANT(vu_nic_free(n), "end");
	}
	return true;
}

int main(int argc, char **argv)
{
	static const struct vu_test tests[] = {
		TEST_BOTH(features_are_those_of_the_platform),
		TEST_BOTH(features_follow_the_switches),
		TEST_BOTH(configuration_space_reads_as_written),
		TEST_BOTH(frames_go_out_in_any_shape),
		TEST_BOTH(frames_come_into_large_buffers),
		TEST_BOTH(frames_come_into_small_mergeable_buffers),
		TEST_BOTH(frames_come_into_chains),
		TEST_BOTH(frames_come_without_event_indexes),
		TEST(frames_come_to_a_legacy_driver, VU_PRESET),
		TEST_BOTH(a_frame_too_long_for_a_lone_buffer_is_dropped),
		TEST_BOTH(a_frame_longer_than_the_whole_ring_is_dropped),
		TEST_BOTH(segmentation_goes_out),
		TEST_BOTH(segmentation_comes_in_over_many_buffers),
		TEST_BOTH(a_driver_without_offloads_gets_whole_packets),
		TEST_BOTH(a_driver_may_turn_offloads_off_and_on),
		TEST_BOTH(taps_serve_the_pairs_that_are_active),
		TEST_BOTH(every_pair_sends),
		TEST_BOTH(without_a_control_queue_running_rings_are_active),
		TEST_BOTH(without_mq_the_control_queue_comes_third),
		TEST_BOTH(commands_are_answered),
		TEST_BOTH(commands_in_pieces_and_without_room_for_an_answer),
		TEST(control_queue_alone_is_served_for_others, VU_PRESET),
		TEST_BOTH(limits_hold_each_direction_by_itself),
	};

	return vu_tests_main(tests, nitems(tests), argc, argv);
}
