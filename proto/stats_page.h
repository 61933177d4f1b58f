/* SPDX-License-Identifier: ISC */
/*
 * The statistics page: one page of shared memory for each device, written by its helper, read by vmmd (which copies the
 * numbers into vm.counters and believes nothing else in it). It outlives the helper: counters go on after a restart.
 */
#ifndef PROTO_STATS_PAGE_H
#define PROTO_STATS_PAGE_H

#include <stdatomic.h>
#include <stdint.h>

enum { STATS_PAGE_BYTES = 4096, STATS_COUNTERS_MAX = 64 };

/* C(CONSTANT, "name in vm.counters", first value). A NULL name: ours, not shown there. */
#define STATS_BLK(C) \
	C(STATS_BLK_READ_BYTES, "read_bytes", 0) \
	C(STATS_BLK_WRITE_BYTES, "write_bytes", 0) \
	C(STATS_BLK_READ_OPS, "read_ops", 0) \
	C(STATS_BLK_WRITE_OPS, "write_ops", 0) \
	C(STATS_BLK_READ_LATENCY_MIN, "read_latency_min", UINT64_MAX) \
	C(STATS_BLK_READ_LATENCY_MAX, "read_latency_max", UINT64_MAX) \
	C(STATS_BLK_READ_LATENCY_AVG, "read_latency_avg", STATS_LATENCY_NONE) \
	C(STATS_BLK_WRITE_LATENCY_MIN, "write_latency_min", UINT64_MAX) \
	C(STATS_BLK_WRITE_LATENCY_MAX, "write_latency_max", UINT64_MAX) \
	C(STATS_BLK_WRITE_LATENCY_AVG, "write_latency_avg", STATS_LATENCY_NONE) \
	C(STATS_BLK_FLUSH_FAILED, NULL, 0) /* so will all until the device is reset */ \
	C(STATS_BLK_WRITE_THROUGH, NULL, 0) /* the driver turned the cache off */
#define STATS_NET(C) \
	C(STATS_NET_RX_BYTES, "rx_bytes", 0) \
	C(STATS_NET_RX_FRAMES, "rx_frames", 0) \
	C(STATS_NET_TX_BYTES, "tx_bytes", 0) \
	C(STATS_NET_TX_FRAMES, "tx_frames", 0) \
	C(STATS_NET_PAIRS, NULL, 0)    /* what the driver set by its control queue, for a successor: queue pairs, */ \
	C(STATS_NET_OFFLOADS, NULL, 0) /* offloads; 0: nothing yet */

/* Averages have four decimal places inside; vm.counters shows the whole number, so before the first request it shows
 * UINT64_MAX / 10000. */
enum { STATS_LATENCY_SCALE = 10000 };
#define STATS_LATENCY_NONE (UINT64_MAX / STATS_LATENCY_SCALE)

#define STATS_CONST(c, name, first) c,
enum stats_blk { STATS_BLK(STATS_CONST) STATS_BLK_END };
enum stats_net { STATS_NET(STATS_CONST) STATS_NET_END };
#undef STATS_CONST

/* Work counts that every virtio device has, behind its own; not in vm.counters. */
enum stats_common {
	STATS_KICKS = 48,      /* wake-ups by the guest */
	STATS_CALLS,           /* interrupts asked for */
	STATS_REQUESTS,        /* chains popped */
	STATS_GUEST_ERRORS,    /* broken rings and requests */
	STATS_LIMITED,         /* times that a limit held something back */
	STATS_DROPPED,         /* output that found no room */
	STATS_POLLS,           /* rounds of adaptive polling that found something */
};

struct stats_page {
	_Atomic uint64_t v[STATS_COUNTERS_MAX];
};
_Static_assert(sizeof(struct stats_page) <= STATS_PAGE_BYTES, "one page");

#endif
