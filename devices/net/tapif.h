/* SPDX-License-Identifier: ISC */
/*
 * Interfaces as routing netlink sees them: what a name stands for, addresses, MTU, up. One socket; each request waits
 * for the kernel's answer, which comes at once.
 */
#ifndef DEVICES_NET_TAPIF_H
#define DEVICES_NET_TAPIF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "devices/net/tapdev.h"

/* An address and its prefix. */
struct tap_addr {
	uint8_t bytes[16];
	unsigned len; /* 4 or 16; 0: none */
	unsigned prefix;
};

/* @ip and @mask as texts of one family; the mask without holes. Pure. */
int tapif_parse_addr(const char *ip, const char *mask, struct tap_addr *out, struct err *e) __must_check;
/* Six groups of two hexadecimal digits. A host interface has an own address, not a group's. Pure. */
int tapif_parse_mac(const char *text, uint8_t mac[TAP_MAC_BYTES], struct err *e) __must_check;

/* A socket for the others, or -errno. */
int tapif_open(struct err *e) __must_check;

/* Fills @out; a name that nothing has is TAP_ABSENT, no failure. */
int tapif_find(int sock, const char *name, struct tap_found *out, struct err *e) __must_check;

/* What a new tap gets. */
struct tap_settings {
	const uint8_t *mac; /* NULL: the kernel's choice */
	uint32_t mtu;       /* 0: the kernel's choice */
	struct tap_addr addr;
};
int tapif_set_up(int sock, const char *name, const struct tap_settings *s, struct err *e) __must_check;

/* The answer to a question about one interface, @len bytes of attributes from the kernel. Pure. */
void tapif_read_attrs(const uint8_t *attrs, size_t len, struct tap_found *out);

#endif
