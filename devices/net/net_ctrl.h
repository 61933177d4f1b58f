/* SPDX-License-Identifier: ISC */
/*
 * Commands of the control queue (virtio v1.2 5.1.6.5): class, command, data that the device reads; one byte that it
 * writes. Pure: copied bytes in, a decision out.
 */
#ifndef DEVICES_NET_NET_CTRL_H
#define DEVICES_NET_NET_CTRL_H

#include <stdint.h>

enum {
	NET_CTRL_BYTES_MAX = 16, /* as many as any command that has an effect has; no more is copied */
};

/* What to do. */
enum net_ctrl_act {
	NET_CTRL_REFUSE,
	NET_CTRL_IGNORE, /* accepted, without effect */
	NET_CTRL_SET_PAIRS,
	NET_CTRL_SET_OFFLOADS,
	NET_CTRL_ANNOUNCED,
};

struct net_ctrl {
	enum net_ctrl_act act;
	uint16_t pairs;
	uint64_t offloads; /* bits as of the features */
};

/* GUEST_* feature bits that GUEST_OFFLOADS may name. */
#define NET_CTRL_OFFLOADS UINT64_C(0x782) /* CSUM 1, TSO4 7, TSO6 8, ECN 9, UFO 10 */

/* A command of @len bytes, of which the first (at most NET_CTRL_BYTES_MAX) are @p, by a driver that accepted @features on a
 * device with @pairs_max queue pairs. */
struct net_ctrl net_ctrl_parse(const uint8_t *p, uint32_t len, uint64_t features, unsigned pairs_max);

/* The tap's flags (TUN_F_*) that belong to accepted features or to the offloads of a command. */
unsigned net_ctrl_tap_offloads(uint64_t features);

#endif
