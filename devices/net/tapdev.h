/* SPDX-License-Identifier: ISC */
/*
 * Taps as /dev/net/tun sees them: attaching to one by name, or checking a descriptor that somebody gave. All in the state
 * that virtio-net wants: whole frames with a virtio header of 12 bytes in little endian, no offload until a driver asks
 * for it, non-blocking. A tap that is made here goes when its last descriptor does.
 */
#ifndef DEVICES_NET_TAPDEV_H
#define DEVICES_NET_TAPDEV_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

enum {
	TAP_NAME_BYTES = 16, /* IFNAMSIZ */
	TAP_PAIRS_MAX = 127,
	TAP_MAC_BYTES = 6,
};

/* What stands behind a name, as far as it matters (tapif.h finds out). */
enum tap_kind { TAP_ABSENT, TAP_TAP, TAP_TUN, TAP_OTHER };
struct tap_found {
	enum tap_kind kind;
	char what[TAP_NAME_BYTES]; /* TAP_OTHER: "macvtap", "bridge", ..., or "" */
	bool multi_queue;
	bool packet_info;
	bool is_up;
	uint32_t mtu;
	uint8_t mac[TAP_MAC_BYTES];
};

/* May an interface have this name? Says why not. */
int tapdev_check_name(const char *name, struct err *e) __must_check;

/* Open the control device once for each of @n descriptors. All or none. */
int tapdev_open_control(int *fds, unsigned n, struct err *e) __must_check;

/* Attach the @n descriptors to @name ("vmtap%d": the kernel completes it), which is there already (@found) or is made.
 * @name becomes the real one, *@made whether it is new. */
int tapdev_attach(const int *fds, unsigned n, char name[TAP_NAME_BYTES], const struct tap_found *found, bool *made,
		  struct err *e) __must_check;

/* A descriptor that was given: is it a tap that can serve one of @n_pairs? @name gets its interface's, @mac its address. */
int tapdev_check_given(int fd, unsigned n_pairs, char name[TAP_NAME_BYTES], uint8_t mac[TAP_MAC_BYTES],
		       struct err *e) __must_check;

/* TUNGETIFF of newer kernels says IFF_NO_PI always: who knows better says it with this. */
int tapdev_refuse_pi(const char *name, struct err *e);

#endif
